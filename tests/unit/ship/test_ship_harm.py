"""Since when harm holds a campaign: a fold over decisions of its gate."""

from __future__ import annotations

import pytest

from ringroad.ship.gate import Advance, Finish, GateDecision, Grow, Halt, Hold, Pause
from ringroad.ship.harm import beside_others, harm_held


@pytest.mark.parametrize(
    "decision", [Hold("harm_seen"), Hold("harm_seen: fault"), Hold("harm_seen: fault in city/EU")]
)
@pytest.mark.parametrize("before", [False, True])
def test_a_hold_for_harm_is_one_whatever_was_before(decision: GateDecision, *, before: bool) -> None:
    assert harm_held(decision, before=before)


@pytest.mark.parametrize(
    "decision",
    [Advance(), Grow(3), Finish(), Hold("budget_in_flight"), Hold("outcomes_awaited"), Hold("watching")],
)
def test_a_gate_that_looked_and_goes_on_ends_it(decision: GateDecision) -> None:
    assert not harm_held(decision, before=True)


def test_a_last_wave_that_soaks_was_looked_at_before() -> None:
    assert not harm_held(Hold("soaking"), before=True, last_wave=True)
    assert harm_held(Hold("reading_too_old"), before=True, last_wave=True)
    assert harm_held(Hold("harm_seen: fault"), before=False, last_wave=True)


@pytest.mark.parametrize(
    "decision",
    [
        Hold("reports_waiting"), Hold("reading_too_old"), Hold("no_reading"), Hold("soaking"), Hold("control_too_small"),
        Hold("too_few_reports"), Pause("too_few_reports_for_good"), Halt("worse_than_control: fault"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [False, True])
def test_one_that_does_not_say_leaves_it_as_it_was(decision: GateDecision, *, before: bool) -> None:
    assert harm_held(decision, before=before) is before


def test_harm_elsewhere_pauses_what_its_own_gate_neither_halts_nor_ends() -> None:
    paused = Pause("release_harmed_elsewhere: fix (campaign_1)")
    ended: tuple[GateDecision, ...] = (Halt("too_many_failures"), Finish())
    others: tuple[GateDecision, ...] = (
        Advance(),
        Grow(2),
        Hold("soaking"),
        Pause("too_few_reports_for_good"),
    )
    for decision in others + ended:
        expected = decision if decision in ended else paused
        assert beside_others(decision, harmed_elsewhere="fix (campaign_1)") == expected
        assert beside_others(decision, harmed_elsewhere="") == decision
