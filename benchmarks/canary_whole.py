"""A budget of harm that counts over the whole campaign: how much does an update harm, and how far does it come?

The set-up and the rules are those of `canary.py`, for twice as long: the last offers are begun late, and all are watched
before it pauses. A campaign that neither halted nor paused is held for harm (`harm_seen`), or reached every vehicle.

Run: python -m benchmarks canary_whole
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks.canary import harm_budget, quantile_of, simulate
from benchmarks.canary_fleet import BASE, TICKS, Update
from benchmarks.figures import Figure
from ringroad.ship.ramp import HarmBudget

REPLICATES = 200  # of each ratio and budget
RATIOS = (1.0, 1.1, 1.2, 1.5, 2.0, 20.0)  # rate of the update, against control's
BUDGETS = (50, 400)  # vehicles, over the whole campaign


def run() -> list[Figure]:
    print(
        f"{'budget':<8} {'rate ratio':<12} {'halted':>7} {'paused':>7} {'beyond control mean/p95/max':>29}"
        f" {'updated p5/median/p95':>29}"
    )
    worst = []
    for last in BUDGETS:
        budget = HarmBudget(harmed_last=last, counts="whole_campaign")
        for ratio in RATIOS:
            update = Update(name=f"{ratio:g} times", failed=BASE * ratio)
            policy = partial(harm_budget, budget=budget)
            outcome = simulate(policy, update, replicates=REPLICATES, ticks=2 * TICKS)
            beyond = outcome.exposed * BASE * (ratio - 1)  # expected, given whom it met
            updated = " / ".join(f"{quantile_of(outcome.exposed, q):,.0f}" for q in (0.05, 0.5, 0.95))
            print(
                f"{last:<8} {ratio:<12g} {np.isfinite(outcome.halted_h).mean():>7.1%} {outcome.paused.mean():>7.1%} "
                f"{f'{beyond.mean():,.0f} / {quantile_of(beyond, 0.95):,.0f} / {beyond.max():,.0f}':>29} {updated:>29}",
                flush=True,
            )
            worst.append((float(beyond.mean()) / last, last, ratio))
    share, last, at = max(worst)
    note = f"budget {last} over the whole campaign, at {at:g} times the rate; {REPLICATES} replicates of each"
    return [
        Figure(
            name="canary_whole.beyond_control_share", value=share, unit="share of budget", target=1.0,
            better="lower", note=note,
        )
    ]  # fmt: skip
