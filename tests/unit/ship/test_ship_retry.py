from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.retry import (
    ATTEMPTS_MAX,
    REASONS,
    WAIT_S_MAX,
    RetryPolicy,
    RetryReason,
    decide_retry,
    reason_of,
    wait_s,
)

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POLICY = RetryPolicy(attempts_max=3, first_s=600, last_s=3_600)


def retried(policy: RetryPolicy = POLICY, **more: Any) -> datetime | None:
    asked = {"attempt": 1, "began": False, "reason": "network", "seed": "c:V", "now": NOW, **more}
    return decide_retry(policy, **asked)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"gateway": "native", "code": "offline"}, "network"),
        ({"gateway": "native", "code": "busy"}, "ecu"),
        ({"gateway": "native", "code": "store_full"}, "storage"),
        ({"gateway": "native", "code": "restarts"}, "restarts"),
        ({"gateway": "ddi", "code": 500}, "not_begun"),
        ({"gateway": "native", "code": "hash_mismatch"}, None),  # the same bytes fail in the same way
        ({"gateway": "native", "code": "wrong_hardware"}, None),
        ({"gateway": "native", "code": ""}, None),
        ({"gateway": "native", "code": ["offline"]}, None),
        ({"gateway": "native"}, None),
        ({}, None),
    ],
)
def test_a_reason_that_may_pass_is_told_from_one_that_stays(
    body: dict[str, Any], reason: RetryReason | None
) -> None:
    assert reason_of(body) == reason


@pytest.mark.parametrize(
    "more",
    [
        {"began": True},  # it was touched: that counts, whatever follows
        {"reason": None},
        {"attempt": 3},
        {"attempt": 4},
        {"policy": RetryPolicy(reasons=("ecu",))},
    ],
)
def test_what_touched_the_vehicle_is_not_known_or_was_tried_enough_is_final(more: dict[str, Any]) -> None:
    assert retried(**more) is None


@given(
    attempt=st.integers(1, ATTEMPTS_MAX - 1), first_s=st.integers(1, WAIT_S_MAX), more_s=st.integers(0, WAIT_S_MAX),
    seed=st.text(max_size=40),
)  # fmt: skip
def test_the_wait_doubles_up_to_its_limit_and_is_spread_over_its_second_half(
    attempt: int, first_s: int, more_s: int, seed: str
) -> None:
    policy = RetryPolicy(attempts_max=ATTEMPTS_MAX, first_s=first_s, last_s=min(WAIT_S_MAX, first_s + more_s))
    whole_s = min(policy.last_s, first_s * 2 ** (attempt - 1))
    waited_s = wait_s(policy, attempt=attempt, seed=seed)
    assert whole_s / 2 <= waited_s <= whole_s
    assert waited_s == wait_s(policy, attempt=attempt, seed=seed)
    assert retried(policy, attempt=attempt, seed=seed) == NOW + timedelta(seconds=waited_s)


def test_vehicles_that_failed_together_come_back_apart() -> None:
    waits = [wait_s(POLICY, attempt=1, seed=f"c:{number}") for number in range(3_000)]
    assert min(waits) < 310
    assert max(waits) > 590
    assert abs(sum(waits) / len(waits) - 450) < 10
    assert waits != [wait_s(POLICY, attempt=1, seed=f"d:{number}") for number in range(3_000)]


@pytest.mark.parametrize(
    "given_policy",
    [
        {"attempts_max": 1},
        {"attempts_max": ATTEMPTS_MAX + 1},
        {"first_s": 0},
        {"first_s": 100, "last_s": 99},
        {"last_s": WAIT_S_MAX + 1},
        {"reasons": ()},
        {"reasons": ("bad luck",)},
    ],
)
def test_a_policy_that_never_ends_or_never_begins_is_refused(given_policy: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        RetryPolicy(**given_policy)


def test_every_reason_is_known() -> None:
    assert set(REASONS) == {"network", "ecu", "storage", "restarts", "not_begun"}
