"""The benchmark's campaigns, a few of each: what the policy promises must not be lost on the way.

The figures themselves come from `make bench ARGS=canary`; here a seed is fixed and the limits are the targets.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from benchmarks.canary import POLICIES, harm_budget, simulate
from benchmarks.canary_fleet import BAD_2, BAD_5, BASE, COLD, CONTROL, DEAD, GOOD, TARGETS, TICKS, Update

from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.reach import expected_reach

OURS = POLICIES["ours, harm budget"]
SEED = 1


@pytest.mark.parametrize(("update", "median", "p95"), [(BAD_2, 40, 60), (BAD_5, 60, 90)])
def test_a_bad_update_harms_few(update: Update, median: float, p95: float) -> None:
    outcome = simulate(OURS, update, replicates=200, seed=SEED)
    assert np.isfinite(outcome.halted_h).all()
    assert np.median(outcome.harmed) <= median
    assert np.quantile(outcome.harmed, 0.95) <= p95


def test_a_dead_update_meets_no_more_than_fifty_vehicles() -> None:
    outcome = simulate(OURS, DEAD, replicates=400, seed=SEED)
    assert np.isfinite(outcome.halted_h).all()
    assert outcome.exposed.max() <= 50


def test_a_little_worse_update_pauses_once_the_budget_is_proved_to_be_spent() -> None:
    """Within the margin and a little beyond, where hardly anything halts: half as many are harmed."""
    update = Update(name="1.3 times", failed=BASE * 1.3)
    with_it, without = (
        simulate(partial(harm_budget, pauses=pauses), update, replicates=40, seed=SEED)
        for pauses in (True, False)
    )
    assert with_it.paused.mean() > 0.8
    assert not without.paused.any()
    assert with_it.exposed.mean() < 0.7 * without.exposed.mean()


@pytest.mark.parametrize("ratio", [1.1, 1.2, 1.5])
def test_a_budget_over_the_whole_campaign_bounds_what_a_little_worse_update_is_expected_to_harm(
    ratio: float,
) -> None:
    """One that counts who is in flight harms two to five times as many as it says, at these ratios."""
    update = Update(name=f"{ratio:g} times", failed=BASE * ratio)
    whole = HarmBudget(harmed_last=100, counts="whole_campaign")
    outcome = simulate(partial(harm_budget, budget=whole), update, replicates=40, seed=SEED)
    assert (outcome.exposed * BASE * (ratio - 1)).mean() <= 100
    assert outcome.exposed.mean() > 3_000  # and it does grow


def test_a_good_update_comes_about_as_far_as_the_checker_says() -> None:
    budget = HarmBudget(harmed_last=100, counts="whole_campaign")
    said = expected_reach(budget, SequentialPolicy(), held=CONTROL, treated=TARGETS)
    outcome = simulate(partial(harm_budget, budget=budget), GOOD, replicates=40, seed=SEED, ticks=2 * TICKS)
    assert said / 2 < np.median(outcome.exposed) < said * 2


@pytest.mark.parametrize("update", [GOOD, COLD])
def test_a_good_update_is_hardly_ever_halted_and_is_out_in_five_days(update: Update) -> None:
    outcome = simulate(OURS, update, replicates=60, seed=SEED)
    assert np.isfinite(outcome.halted_h).sum() <= 3  # at 1 % more would come once in 2,000 seeds
    assert outcome.paused.sum() <= 3
    assert np.median(outcome.to_90_h) <= 120
