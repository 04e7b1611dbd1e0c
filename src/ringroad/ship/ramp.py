"""How many more vehicles may be offered the update now, so that it can harm only so many? Pure.

A budget of harm instead of a calendar. Vehicles in flight are those that began and whose time of watching is not
over; what they may suffer beyond the control group is bounded by the evidence so far:

1. Risk: control's risk within one window x (upper bound of the rate ratio - 1), at most 1.
   Without evidence every vehicle is taken to fail.
2. Budget: rises from `harmed_first` to `harmed_last` as the upper bound falls from `RATIO_GROSS` to `RATIO_KNOWN`.
3. At risk at once: budget / risk.
4. Room: that, less the vehicles in flight; one whose window is half over counts half.
5. Offers: an offer is begun before the next decision can take effect only with some chance, whose upper bound is
   learned from the offers so far; without evidence all are taken to begin at once.
6. More: room / chance, less the offers that are open. Never less than 0: offers that stand are not taken back.

A budget may count over the whole campaign: then all that began and all offers that stand take the place of 4 and 5, so
that at the bound of the moment everyone who was ever offered the update suffers at most the budget.

Arrays in, arrays out: for one campaign on the server, for thousands at once in the benchmark.

Invariants:
    Without evidence at most `harmed_first` vehicles are offered the update.
    A higher bound of the rate ratio, or more vehicles in flight, never releases more.
    More proved harm never lets go on what less would pause.
    Counted over the whole campaign, time frees nothing: only a lower bound, an offer that was not begun, or an approver.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.evidence import Array
from ringroad.ship.guard import HARM, Reading, SequentialPolicy

RATIO_GROSS = 4.0  # rate ratio; while as much as this cannot be excluded, the budget is `harmed_first`
RATIO_KNOWN = 1.5  # rate ratio; when more than this is excluded, the budget is `harmed_last`
HARMED_MAX = 1_000_000  # vehicles; a budget above this is none
RELEASED_MAX = 100_000_000  # vehicles; larger than any fleet, so that a risk of nothing is a number
BEGUN_SIGMAS = 3.0  # standard deviations by which offers may be begun faster than they were so far: 99.9 %
BEGUN_PRIOR = 7.0  # offers; 99.9 % bound of how many would have been begun where none was: -ln(0.001)
SECONDS_MAX = 366 * 86_400  # seconds of a window or a reaction

HarmCounts = Literal["in_flight", "whole_campaign"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmBudget:
    """How many vehicles the update may harm beyond control before it is stopped, in expectation.

    Attributes:
        harmed_first: vehicles, while there is no evidence; also the size of the first offer.
        harmed_last: vehicles, once the rate ratio is known to be at most `RATIO_KNOWN`.
        reaction_s: seconds from a failure until no vehicle begins any more: its report arrives, it is counted,
            the halt takes effect.
        counts: of whom; ``in_flight`` of vehicles whose time of watching is not over, ``whole_campaign`` of all that
            began, so that the expected harm of the campaign stays within the budget.
    """

    harmed_first: int = 35
    harmed_last: int = 400
    reaction_s: int = 8_100
    counts: HarmCounts = "in_flight"

    def __post_init__(self) -> None:
        """Refuse a budget that shrinks with evidence, or is none."""
        if not 1 <= self.harmed_first <= self.harmed_last <= HARMED_MAX:
            raise InvalidInput(f"1 <= harmed_first <= harmed_last <= {HARMED_MAX} is needed")
        if not 1 <= self.reaction_s <= SECONDS_MAX:
            raise InvalidInput(f"reaction_s must be between 1 and {SECONDS_MAX}")

    @property
    def whole(self) -> bool:
        """Tell whether all that began count, however long ago."""
        return self.counts == "whole_campaign"


@dataclass(frozen=True, slots=True, kw_only=True)
class RampFacts:
    """What is known when the ramp decides; arrays of one shape, or single numbers as arrays of none.

    Attributes:
        upper: upper bound of the rate ratio of the worst metric; infinite without evidence.
        risk: chance that a vehicle is harmed beyond control within its window, at that bound: `excess_risk`.
        in_flight: vehicles that began, each weighed by the part of its window that is still to come.
        offered: vehicles with an open offer that they did not begin.
        begun: offers that were begun so far.
        offered_s: seconds that offers stood open, summed over vehicles.
    """

    upper: Array
    risk: Array
    in_flight: Array
    offered: Array
    begun: Array
    offered_s: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class RampState:
    """Where one campaign stands on its ramp. Whole numbers, as they are stored with the decision.

    Attributes:
        begun: vehicles that began, whatever became of them.
        offered: vehicles with an offer that they did not begin, or that is being made.
        offered_s: seconds that offers stood open, summed over vehicles.
        in_flight_milli: thousandths of vehicles: each that began counts by the part of its window not read yet.
        left: vehicles that were not released yet.
    """

    begun: int
    offered: int
    offered_s: int
    in_flight_milli: int
    left: int

    def __post_init__(self) -> None:
        """Refuse what cannot be true."""
        if min(self.begun, self.offered, self.offered_s, self.in_flight_milli, self.left) < 0:
            raise InvalidInput("a ramp counts vehicles and seconds, none below 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """A campaign that grows by a budget of harm instead of in waves.

    Attributes:
        budget: of the plan.
        state: where it stands.
        used: id of the reading that released vehicles last; each does so once.
        harm_holds: whether harm that was seen holds it, as of every decision now; those recorded without it are
            replayed as they were made.
        unseen: a metric that sets the pace and of which the newest ticks saw nothing; empty while they did.
        unseen_milli: thousandths of vehicles in flight if time without a sight of it frees none; from `unseen` on.
        steps: whether who goes on without what is not known releases at most the first budget by that, as of every
            decision now; in those of before it was as much as time frees.
        limit: failures beyond control at which it pauses once so many are proved: the last budget, on top of what was
            proved when an approver last went on; 0 in decisions of before, which paused for none.
        budgets: of one that counts over the whole campaign, how many: the plan's, and one for each time an approver went on.
    """

    budget: HarmBudget
    state: RampState
    used: int = 0
    harm_holds: bool = False
    unseen: str = ""
    unseen_milli: int = 0
    steps: bool = False
    limit: int = 0
    budgets: int = 1

    def is_spent(self, readings: Sequence[Reading]) -> bool:
        """Tell whether so much harm is proved, while somebody is left who could be kept from it."""
        unbegun = self.state.left + self.state.offered
        return unbegun > 0 and 0 < self.limit <= harm_proved(readings)


def decide_growth(
    budget: HarmBudget,
    readings: Sequence[Reading],
    state: RampState,
    *,
    window_us: int,
    harmed: float = 0.0,
    budgets: int = 1,
) -> int:
    """Return how many more vehicles of one campaign to release; 0 while the budget is in flight.

    Args:
        budget: of the plan.
        readings: the newest of each metric; those that count harm set the pace, their risks added up.
        state: where the campaign stands.
        window_us: microseconds for which a vehicle is watched.
        harmed: vehicles that were harmed beyond control and spend the budget, from `harm_unbounded`.
        budgets: how many there are, where all that began count.
    """
    upper, risk = 0.0, 0.0
    for reading in readings:
        if reading.metric in HARM:
            high = math.inf if reading.high_milli is None else reading.high_milli / 1_000
            upper = max(upper, high)
            risk += float(
                excess_risk(
                    np.asarray(high),
                    control_failed=np.asarray(float(reading.control)),
                    control_windows=np.asarray(reading.control_exposure / window_us),
                )
            )
    if not any(reading.metric in HARM for reading in readings):
        upper, risk = math.inf, 1.0
    facts = RampFacts(
        upper=np.asarray(upper),
        risk=np.asarray(min(1.0, risk)),
        in_flight=np.asarray(state.in_flight_milli / 1_000 + harmed),
        offered=np.asarray(float(state.offered)),
        begun=np.asarray(float(state.begun)),
        offered_s=np.asarray(float(state.offered_s)),
    )
    return min(state.left, int(decide_release(budget, facts, budgets=budgets)))


def growth(
    policy: SequentialPolicy, ramp: Ramp, readings: Sequence[Reading], *, unread: str
) -> tuple[int, int, float]:
    """Return how many vehicles more by time, how many by what was seen, and how many harmed nothing bounds."""
    harmed = harm_unbounded(readings) if ramp.harm_holds else 0.0
    unseen_milli = 1_000 * ramp.state.begun if unread else ramp.unseen_milli if ramp.unseen else 0
    seen_state = replace(ramp.state, in_flight_milli=max(ramp.state.in_flight_milli, unseen_milli))
    by_time, by_sight = (
        decide_growth(
            ramp.budget, readings, state,
            window_us=policy.window_s * 1_000_000, harmed=harmed, budgets=ramp.budgets,
        )
        for state in (ramp.state, seen_state)
    )  # fmt: skip
    return by_time, by_sight, harmed


def harm_unbounded(readings: Sequence[Reading]) -> float:
    """Return how many vehicles were harmed beyond control while nothing bounds from above how many will be.

    Every vehicle is taken to fail then, so that who did fail is no longer at risk and has spent the budget all the same.
    Where there is an upper bound the budget goes by it, and the gate by the lower one.
    """
    harmed = 0.0
    for each in readings:
        if each.metric in HARM and each.high_milli is None:
            usual = (
                each.control * each.treated_exposure / each.control_exposure if each.control_exposure else 0
            )
            harmed += max(0.0, each.treated - usual)
    return harmed


def harm_proved(readings: Sequence[Reading]) -> int:
    """Return how many failures beyond control are proved, at the lower bound of each metric that counts harm."""
    return sum(beyond_control(each.treated, each.low_milli) for each in readings if each.metric in HARM)


def beyond_control(failed: int, ratio_milli: int) -> int:
    """Return how many of the failures of updated vehicles control would not have had, at a rate ratio; rounded down.

    The attributable part of the cases, 1 - 1 / ratio: what hits both arms is in neither factor.

    Source: Rothman et al., Modern Epidemiology, attributable fraction among the exposed.
    """
    return failed * (ratio_milli - 1_000) // ratio_milli if ratio_milli > 1_000 else 0


def excess_risk(upper: Array, *, control_failed: Array, control_windows: Array) -> Array:
    """Return the chance that a vehicle is harmed beyond control within one window; 1 without evidence.

    Args:
        upper: upper bound of the rate ratio.
        control_failed: vehicles of the control group that failed.
        control_windows: time at risk of the control group, in windows.
    """
    known = np.isfinite(upper) & (control_windows > 0)
    # One failure more than was seen: a control group that had none yet does not make the update harmless.
    base = (control_failed + 1.0) / np.where(known, control_windows, 1.0)
    risk: Array = np.where(known, base * (np.where(known, upper, 1.0) - 1.0), 1.0)
    return np.clip(risk, 0.0, 1.0)


def budget_now(budget: HarmBudget, upper: Array) -> Array:
    """Return how many vehicles may be harmed beyond control while the rate ratio may be as high as `upper`."""
    excess = np.clip(upper - 1.0, RATIO_KNOWN - 1.0, RATIO_GROSS - 1.0)
    share = np.log((RATIO_GROSS - 1.0) / excess) / np.log((RATIO_GROSS - 1.0) / (RATIO_KNOWN - 1.0))
    now: Array = budget.harmed_first * (budget.harmed_last / budget.harmed_first) ** share
    return now


def decide_release(budget: HarmBudget, facts: RampFacts, *, budgets: int = 1) -> Array:
    """Return how many more vehicles to offer the update to, whole numbers of at least 0.

    Args:
        budget: of the plan.
        facts: what is known.
        budgets: how many there are, where all that began count.
    """
    least = budget.harmed_last / RELEASED_MAX
    at_risk_max = budget_now(budget, facts.upper) / np.maximum(facts.risk, least)  # 1 to 3
    if budget.whole:  # who is offered the update begins sooner or later
        whole: Array = np.floor(np.maximum(budgets * at_risk_max - facts.begun - facts.offered, 0.0))
        return whole
    room = np.maximum(at_risk_max - facts.in_flight, 0.0)  # 4
    open_for_s = np.maximum(facts.offered_s, 1e-9)
    hazard = (facts.begun + BEGUN_SIGMAS * np.sqrt(facts.begun) + BEGUN_PRIOR) / open_for_s  # 5
    chance = -np.expm1(-hazard * budget.reaction_s)
    more: Array = np.floor(np.maximum(room / chance - facts.offered, 0.0))  # 6
    return more
