"""What follows from one attempt to deliver."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.publish.delivery import (
    Again,
    Answered,
    Decision,
    Delivered,
    DeliveryPolicy,
    Disable,
    Outcome,
    Unreached,
    decide,
)

NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)
POLICY = DeliveryPolicy()
DEAD = timedelta(seconds=POLICY.dead_s)


def after(
    outcome: Outcome, *, failures: int = 0, since: datetime | None = None, fraction: float = 0.0
) -> Decision:
    return decide(POLICY, outcome, failures=failures, failing_since=since, fraction=fraction, now=NOW)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_a_success_however_long_it_failed(status: int) -> None:
    assert after(Answered(status=status), failures=99, since=NOW - 2 * DEAD) == Delivered()


@pytest.mark.parametrize(
    "outcome",
    [Answered(status=status) for status in (100, 199, 300, 301, 302, 307, 308, 400, 404, 429, 500, 503, 0)]
    + [Unreached(reason="timed_out"), Unreached(reason="address_not_allowed")],
    ids=repr,
)
def test_everything_else_is_tried_again(outcome: Outcome) -> None:
    decision = after(outcome)
    assert isinstance(decision, Again)
    assert NOW + timedelta(seconds=2.5) == decision.at


def test_gone_ends_it_at_once() -> None:
    assert after(Answered(status=410)) == Disable(reason="gone")


@pytest.mark.parametrize("outcome", [Answered(status=500), Unreached(reason="not_reached")])
def test_an_endpoint_that_fails_for_three_days_is_dead(outcome: Outcome) -> None:
    assert after(outcome, failures=9, since=NOW - DEAD) == Disable(reason="dead")
    assert isinstance(after(outcome, failures=9, since=NOW - DEAD + timedelta(seconds=1)), Again)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_limit_and_half_of_each_is_chance(failures: int, fraction: float) -> None:
    decision = after(Unreached(reason="x"), failures=failures, fraction=fraction)
    assert isinstance(decision, Again)
    pause_s = (decision.at - NOW).total_seconds()
    whole_s = min(POLICY.retry_s_first * 2.0 ** min(failures, 40), POLICY.retry_s_max)
    assert whole_s / 2 - 1e-5 <= pause_s <= whole_s


@pytest.mark.parametrize(("asked_s", "pause_s"), [(None, 2.5), (0, 2.5), (60, 60), (999_999, 3_600)])
def test_an_endpoint_may_ask_for_a_longer_pause_within_the_limit(asked_s: int | None, pause_s: float) -> None:
    decision = after(Answered(status=503, retry_after_s=asked_s))
    assert isinstance(decision, Again)
    assert decision.at == NOW + timedelta(seconds=pause_s)


@pytest.mark.parametrize(
    "wrong",
    [{"attempt_s_max": 0}, {"retry_s_first": -1}, {"retry_s_max": 1}, {"dead_s": 0}, {"at_once_max": 0}],
)
def test_a_policy_that_never_delivers_or_never_stops_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        DeliveryPolicy(**wrong)
