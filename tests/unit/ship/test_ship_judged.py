"""What was planned against what is known today: offered on, or let go; and what a refusal counts for."""

from __future__ import annotations

import pytest

from ringroad.ship.judged import REFUSALS, is_refusal, let_go_for, refused_for
from ringroad.ship.resolve import Resolution, Verdict

MATCH = Resolution(verdict="match", steps=("r2", "r3"))


def of(verdict: Verdict, reason: str = "") -> Resolution:
    return Resolution(verdict=verdict, reason=reason)


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (MATCH, None),
        (of("already_installed"), "already_installed"),
        (of("mismatch", "release_counter: brake runs 3"), "mismatch: release_counter: brake runs 3"),
        (
            of("unknown", "configuration: brake never reported"),
            "unknown: configuration: brake never reported",
        ),
        (Resolution(verdict="match", steps=("r3",)), "mismatch: another way leads there by now"),
        (Resolution(verdict="match"), "mismatch: another way leads there by now"),
    ],
)
def test_a_vehicle_is_offered_on_only_if_it_still_fits_and_by_the_same_way(
    today: Resolution, expected: str | None
) -> None:
    assert let_go_for(today, way=["r2", "r3"]) == expected


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_a_native_vehicle_refuses_by_a_code_of_its_own(code: str) -> None:
    assert is_refusal({"gateway": "native", "state": "FAILED", "code": code})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"gateway": "ddi", "code": "downgrade_undecided"},  # DDI names no reasons
        {"code": "downgrade_undecided"},
        {"gateway": "native", "code": "digest_differs"},
        {"gateway": "native", "code": None},
        {"gateway": "native", "code": ["downgrade_undecided"]},
        {"gateway": "native", "code": "downgrade_undecided", "ecu": "S1"},  # of one ECU, while it goes on
    ],
)
def test_anything_else_is_no_refusal(body: dict[str, object]) -> None:
    assert not is_refusal(body)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("downgrade_undecided", "downgrade: brake 3.0.0 to 2.0.0"),
        ("downgrade_undecided", "release_counter: brake runs 3"),
        ("counter_too_low", "release_counter: brake runs 3"),
        ("upgrades_from", "upgrades_from: brake 1.0.0 is not >=2"),
        ("requires", "requires: head needs brake >=2"),
        ("conflicts", "conflicts: head with brake <2"),
    ],
)
def test_a_refusal_is_let_go_with_a_verdict_that_says_the_same(code: str, reason: str) -> None:
    why = refused_for(of("mismatch", reason), code=code, detail=f"FAILED {code}")
    assert why == f"mismatch: {reason}; the vehicle said FAILED {code}"
    assert len(refused_for(of("mismatch", reason), code=code, detail="x" * 1_000) or "") == 500


@pytest.mark.parametrize("code", sorted(REFUSALS))
@pytest.mark.parametrize(
    "today",
    [
        MATCH,
        of("already_installed"),
        of("unknown", "configuration: brake never reported"),
        of("unknown", "upgrades_from: version of brake not known"),
        of("mismatch", "blocked: ROLLBACK_FAILED"),
        of("mismatch", "hardware: brake HW-2"),
    ],
)
def test_a_verdict_that_does_not_say_the_same_excuses_no_refusal(code: str, today: Resolution) -> None:
    assert refused_for(today, code=code, detail=f"FAILED {code}") is None


def test_a_refusal_by_one_reason_is_not_excused_by_another() -> None:
    today = of("mismatch", "release_counter: brake runs 3")
    assert refused_for(today, code="upgrades_from", detail="FAILED upgrades_from") is None
