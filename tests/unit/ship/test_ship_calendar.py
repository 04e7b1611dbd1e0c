from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.calendar import decide_first, in_time
from ringroad.ship.difference import compare_documents
from ringroad.ship.gate import Advance, Finish, GateDecision, GatePolicy, Halt, Hold, Pause
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.harm import harm_held
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.reason_words import reason_words

AT = datetime(2027, 1, 11, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("decision", "before"),
    [
        (Advance(), Hold("before_its_time: 2027-01-11 08:00 UTC")),
        (Advance("silence_accepted"), Hold("before_its_time: 2027-01-11 08:00 UTC")),
        (Hold("too_few_reports"), Hold("too_few_reports")),
        (Pause("too_few_reports_for_good"), Pause("too_few_reports_for_good")),
        (Halt("too_many_failures"), Halt("too_many_failures")),
        (Finish(), Finish()),
    ],
)
def test_a_date_holds_what_the_gate_would_open_and_nothing_else(
    decision: GateDecision, before: GateDecision
) -> None:
    assert in_time(decision, AT, now=AT - timedelta(seconds=1)) == before
    assert in_time(decision, AT, now=AT) == decision
    assert in_time(decision, None, now=AT) == decision


def test_the_first_wave_opens_unless_its_release_was_withdrawn_or_reports_wait() -> None:
    assert decide_first(withdrawn=False, reports_waiting=False) == Advance("its_time_came")
    assert decide_first(withdrawn=False, reports_waiting=True) == Hold("reports_waiting")
    assert decide_first(withdrawn=True, reports_waiting=True) == Halt("release_withdrawn")


def test_the_hold_says_until_when_and_harm_that_is_over_is_passed() -> None:
    hold = in_time(Advance(), AT, now=AT - timedelta(days=1))
    assert reason_words(hold.reason) == "its time has not come: not before 2027-01-11 08:00 UTC"
    assert not harm_held(hold, before=True)


def test_a_date_is_an_instant_of_whole_minutes() -> None:
    for at in (AT.replace(tzinfo=None), AT.replace(second=1), AT.replace(microsecond=1)):
        with pytest.raises(InvalidInput, match="whole minutes"):
            WaveSize(vehicles=1, not_before=at)


def test_only_waves_have_dates() -> None:
    dated = WaveSize(vehicles=1, not_before=AT)
    refused: list[dict[str, Any]] = [
        {"control": dated},
        {"waves": (dated,), "ramp": HarmBudget(), "gate": GatePolicy(sequential=SequentialPolicy())},
    ]
    for more in refused:
        with pytest.raises(InvalidInput, match="only a wave has a date"):
            PlanRequest(query="all", **more)


def test_a_date_is_a_difference_of_two_plans_and_none_is_none() -> None:
    old: dict[str, Any] = {"request": {"waves": [{"vehicles": 5, "permille": None}, {"permille": 100}]}}
    same = {"request": {"waves": [{"vehicles": 5, "permille": None, "not_before": None}, {"permille": 100}]}}
    assert compare_documents(old, same) == ()
    dated = {"request": {"waves": [{"vehicles": 5}, {"permille": 100, "not_before": AT.isoformat()}]}}
    (found,) = compare_documents(old, dated)
    assert (found.before, found.after) == ("5, 10 %", "5, 10 % from 2027-01-11 08:00 UTC")


def test_a_wave_opens_at_its_own_date() -> None:
    request = PlanRequest(query="all", waves=(WaveSize(vehicles=1), WaveSize(permille=10, not_before=AT)))
    assert [request.opens_at(number) for number in (1, 2, 3)] == [None, AT, None]
    assert replace(request, waves=()).opens_at(1) is None
