"""The harm budget: nothing known releases only the first few; worse evidence never releases more."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.evidence import Array
from ringroad.ship.ramp import RELEASED_MAX, HarmBudget, RampFacts, budget_now, decide_release, excess_risk

BUDGET = HarmBudget(harmed_first=40, harmed_last=400, reaction_s=8_100)


def number(value: float) -> Array:
    return np.asarray(value, dtype=np.float64)


NOTHING = RampFacts(
    upper=number(math.inf), risk=number(1), in_flight=number(0), offered=number(0), begun=number(0),
    offered_s=number(0),
)  # fmt: skip
KNOWN = RampFacts(
    upper=number(2.0), risk=number(0.005), in_flight=number(1_000), offered=number(3_000), begun=number(5_000),
    offered_s=number(5_000 * 18 * 3_600),
)  # fmt: skip


def test_without_evidence_every_vehicle_is_taken_to_fail() -> None:
    assert float(decide_release(BUDGET, NOTHING)) == 40
    assert float(decide_release(BUDGET, replace(NOTHING, offered=number(40)))) == 0
    assert float(decide_release(BUDGET, replace(NOTHING, in_flight=number(15), offered=number(25)))) == 0


def test_offers_that_are_begun_late_leave_room_for_more_offers_but_not_for_more_risk() -> None:
    """Three of forty offers begun in ten hours: within the reaction time few of the rest will begin."""
    slow = replace(
        NOTHING, in_flight=number(3), offered=number(37), begun=number(3), offered_s=number(37 * 36_000)
    )
    more = float(decide_release(BUDGET, slow))
    assert 0 < (more + 37) * 3 / (37 * 36_000) * BUDGET.reaction_s < 40 - 3


def test_offers_that_stand_are_not_taken_back() -> None:
    assert float(decide_release(BUDGET, replace(NOTHING, in_flight=number(500), offered=number(900)))) == 0


def test_a_harmless_update_is_released_to_everybody() -> None:
    harmless = replace(KNOWN, upper=number(0.9), risk=number(0.0))
    assert float(decide_release(BUDGET, harmless)) >= RELEASED_MAX


def test_the_budget_rises_from_first_to_last_and_no_further() -> None:
    given_bounds = np.array([math.inf, 4.0, 3.0, 2.0, 1.5, 1.1, 0.5])
    budgets = budget_now(BUDGET, given_bounds)
    assert budgets[0] == pytest.approx(40)
    assert budgets[-1] == pytest.approx(400)
    assert (np.diff(budgets) >= 0).all()


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(st.floats(0.1, 500), st.floats(1, 3), st.floats(0, 1), st.floats(1, 3), st.floats(0, 1e6))
def test_worse_evidence_or_more_vehicles_in_flight_never_release_more(
    upper: float, worse: float, risk: float, riskier: float, in_flight: float
) -> None:
    facts = replace(KNOWN, upper=number(upper), risk=number(risk), in_flight=number(in_flight))
    here = float(decide_release(BUDGET, facts))
    assert float(decide_release(BUDGET, replace(facts, upper=number(upper * worse)))) <= here
    assert float(decide_release(BUDGET, replace(facts, risk=number(min(1.0, risk * riskier))))) <= here
    assert float(decide_release(BUDGET, replace(facts, in_flight=number(in_flight * worse)))) <= here


def test_what_is_in_flight_could_not_harm_more_than_the_budget() -> None:
    facts = replace(KNOWN, offered=number(0), begun=number(0), offered_s=number(0), in_flight=number(0))
    released = float(decide_release(BUDGET, facts))
    assert released * 0.005 <= float(budget_now(BUDGET, number(2.0)))


WHOLE = replace(BUDGET, counts="whole_campaign")


def test_over_the_whole_campaign_all_that_began_and_every_offer_that_stands_count() -> None:
    """Nobody is in flight any more: in flight there would be room again, over the campaign there is not."""
    most = float(budget_now(WHOLE, number(2.0))) / 0.005
    facts = replace(KNOWN, in_flight=number(0))
    for begun, offered in ((5_000, 3_000), (8_000, 0), (0, 8_000)):
        these = replace(facts, begun=number(begun), offered=number(offered))
        assert float(decide_release(WHOLE, these)) == math.floor(most - 8_000)
        assert float(decide_release(WHOLE, these, budgets=2)) == math.floor(2 * most - 8_000)
    spent = replace(facts, begun=number(most))
    assert float(decide_release(WHOLE, spent)) == 0 < float(decide_release(BUDGET, spent))
    assert float(decide_release(WHOLE, replace(NOTHING, begun=number(40)))) == 0


@pytest.mark.parametrize(
    ("upper", "failed", "windows", "expected"),
    [
        (math.inf, 100, 20_000, 1.0),  # the update was never observed
        (2.0, 0, 0, 1.0),  # no control group
        (2.0, 99, 20_000, 0.005),
        (2.0, 0, 20_000, 0.00005),  # a control group without failures does not make the update harmless
        (0.8, 99, 20_000, 0.0),
        (400.0, 99, 2_000, 1.0),  # never above 1
    ],
)
def test_the_risk_is_one_unless_the_evidence_says_less(
    upper: float, failed: float, windows: float, expected: float
) -> None:
    risk = excess_risk(number(upper), control_failed=number(failed), control_windows=number(windows))
    assert float(risk) == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        {"harmed_first": 0}, {"harmed_first": 500}, {"harmed_last": 39}, {"harmed_last": 2_000_000},
        {"reaction_s": 0}, {"reaction_s": 10**9},
    ],
)  # fmt: skip
def test_refuses_budgets_that_are_none(wrong: dict[str, int]) -> None:
    asked: dict[str, Any] = {"harmed_first": 40, "harmed_last": 400, **wrong}
    with pytest.raises(InvalidInput):
        HarmBudget(**asked)
