"""How many vehicles does a bad update harm, and how long does a good one take? Rules side by side, simulated.

The set-up is in `canary_fleet.py`, the rules are in `canary_rules.py`; ours are the product's own decisions.
The policy was tuned on other seeds; this one was fixed before its first run, and so were the replicates.

Run: python -m benchmarks canary
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.canary_fleet import (
    BAD_1,
    BAD_2,
    BAD_5,
    BAD_20,
    BASE,
    COLD,
    DATA,
    DEAD,
    GOOD,
    HALT,
    LATE,
    TARGETS,
    TICK_H,
    TICKS,
    VEHICLES,
    WINDOW,
    Flags,
    Fleet,
    Update,
)
from benchmarks.canary_rules import (
    AgainstHistory,
    Calendar,
    EProcess,
    FixedShare,
    HarmRamp,
    MannWhitney,
    OBrienFleming,
    Ramp,
    Rule,
)
from benchmarks.figures import Figure
from ringroad.ship.evidence import Array
from ringroad.ship.ramp import HarmBudget

SEED = 53_054
REPLICATES = 4_000  # of the policy whose figures are kept
REPLICATES_PEERS = 1_000
REPLICATES_BUDGET = 400  # of each ratio at which an update spends the budget
RATIOS = (1.1, 1.2, 1.3, 1.4, 1.5, 2.0)  # rate of updates that are worse, against control's
MARGIN_MILLI = 1_250  # the default of the product, as are alpha and the budget
BUDGET = HarmBudget()

Policy = Callable[[int], tuple[Rule, Ramp]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of the replicates of one policy and one update."""

    harmed: Array
    exposed: Array
    halted_h: Array  # infinite where it never was
    paused: Flags  # as the budget of harm was spent
    to_90_h: Array  # hours until 90 % of all vehicles had the update; infinite where they never had


def simulate(
    policy: Policy, update: Update, *, replicates: int, seed: int = SEED, ticks: int = TICKS
) -> Outcome:
    """Run one campaign `replicates` times, for so many ticks at most."""
    fleet = Fleet(update, replicates=replicates, seed=seed)
    rule, ramp = policy(replicates)
    stopped = np.full(replicates, np.inf)  # tick from which on nothing is begun
    halted = np.zeros(replicates, dtype=bool)
    paused = np.zeros(replicates, dtype=bool)
    to_90 = np.full(replicates, np.inf)
    late = []
    for tick in range(ticks):
        fleet.waiting += np.where(halted | paused, 0.0, ramp.release(fleet, at_h=tick * TICK_H))
        late.append(fleet.step(active=tick < stopped))
        to_90 = np.where((fleet.exposed >= 0.9 * VEHICLES) & np.isinf(to_90), tick + 1.0, to_90)
        if len(late) > DATA:
            halted |= rule.see(late.pop(0), at_h=(tick + 1) * TICK_H)
            paused |= ramp.pauses(fleet) & ~halted
            stopped = np.where(halted | paused, np.minimum(stopped, tick + 1 + HALT), stopped)
        if (stopped + WINDOW < tick).all() or (fleet.exposed >= TARGETS).all():
            break
    return Outcome(
        harmed=fleet.harmed, exposed=fleet.exposed, halted_h=np.where(halted, stopped, np.inf) * TICK_H,
        paused=paused, to_90_h=to_90 * TICK_H,
    )  # fmt: skip


def harm_budget(replicates: int, *, pauses: bool = True, budget: HarmBudget = BUDGET) -> tuple[Rule, Ramp]:
    rule = EProcess(replicates, margin_milli=MARGIN_MILLI, ramp=True)
    return rule, HarmRamp(rule, budget, replicates, pauses=pauses)


POLICIES: dict[str, Policy] = {
    "hawkBit, 10 %": lambda _: (FixedShare(10), Calendar()),
    "hawkBit, 1 %": lambda _: (FixedShare(1), Calendar()),
    "Mann-Whitney as Kayenta": lambda replicates: (MannWhitney(replicates), Calendar()),
    "O'Brien-Fleming, 4 looks": lambda _: (OBrienFleming(), Calendar()),
    "mSPRT against history": lambda _: (AgainstHistory(), Calendar()),
    "ours, calendar waves": lambda replicates: (
        EProcess(replicates, margin_milli=MARGIN_MILLI),
        Calendar(),
    ),
    "ours, harm budget": harm_budget,
}
OURS = "ours, harm budget"
UPDATES = (GOOD, COLD, BAD_1, BAD_2, BAD_5, BAD_20, DEAD, LATE)


def run() -> list[Figure]:
    print(
        f"{'policy':<26} {'update':<16} {'halted':>7} {'harmed median/p95':>20} {'exposed max':>12} {'90 % after':>11}"
    )
    kept: dict[str, Outcome] = {}
    for name, policy in POLICIES.items():
        for update in UPDATES:
            outcome = simulate(policy, update, replicates=REPLICATES if name == OURS else REPLICATES_PEERS)
            show_row(name, update, outcome)
            if name == OURS:
                kept[update.name] = outcome
    return [
        *beyond_control_rows(),
        paused("good", kept[GOOD.name]),
        false_halt("good", kept[GOOD.name]),
        false_halt("cold_snap", kept[COLD.name]),
        *harmed("bad_2pct", kept[BAD_2.name], median=40, p95=60),
        *harmed("bad_5pct", kept[BAD_5.name], median=60, p95=90),
        figure(
            "exposed.dead", float(kept[DEAD.name].exposed.max()), 50, "vehicles",
            f"the worst of {REPLICATES}; p95 {np.percentile(kept[DEAD.name].exposed, 95):.0f}",
        ),
        quantile("good_to_90pct_h", kept[GOOD.name].to_90_h, 0.5, target=120, unit="h"),
    ]  # fmt: skip


def beyond_control_rows() -> list[Figure]:
    """Print how much an update harms that is a little worse, with the pause of a spent budget and without."""
    print(f"{'rate ratio':<12} {'pauses':<8} {'halted':>7} {'paused':>7} {'beyond control mean/p95/max':>29}")
    found = []
    for ratio in RATIOS:
        for pauses in (False, True):
            update = Update(name=f"{ratio:g} times", failed=BASE * ratio)
            policy = partial(harm_budget, pauses=pauses)
            outcome = simulate(policy, update, replicates=REPLICATES_BUDGET)
            beyond = outcome.exposed * BASE * (ratio - 1)  # expected, given whom it met
            print(
                f"{ratio:<12g} {'yes' if pauses else 'no':<8} {np.isfinite(outcome.halted_h).mean():>7.1%} "
                f"{outcome.paused.mean():>7.1%} "
                f"{f'{beyond.mean():,.0f} / {quantile_of(beyond, 0.95):,.0f} / {beyond.max():,.0f}':>29}",
                flush=True,
            )
            found.append((beyond.mean(), ratio, pauses))
    worst, at, _ = max(each for each in found if each[2])
    before, at_before, _ = max(each for each in found if not each[2])
    note = f"at {at:g} times the rate, {REPLICATES_BUDGET} replicates; {before:.0f} at {at_before:g} times without the pause"
    return [figure("beyond_control_mean.worst", float(worst), None, "vehicles", note)]


def show_row(name: str, update: Update, outcome: Outcome) -> None:
    """Print one row; hours where fewer than half of the replicates got there are left out."""
    median, p95 = (quantile_of(outcome.harmed, q) for q in (0.5, 0.95))
    hours = quantile_of(outcome.to_90_h, 0.5)
    print(
        f"{name:<26} {update.name:<16} {np.isfinite(outcome.halted_h).mean():>7.2%} "
        f"{f'{median:,.0f} / {p95:,.0f}':>20} {outcome.exposed.max():>12,.0f} "
        f"{f'{hours:.0f} h' if np.isfinite(hours) else '-':>11}",
        flush=True,
    )


def false_halt(name: str, outcome: Outcome) -> Figure:
    halts, replicates = int(np.isfinite(outcome.halted_h).sum()), outcome.halted_h.size
    # Wilson's interval, upper end, 95 %
    share, z2 = halts / replicates, 1.96**2
    spread = 1.96 * np.sqrt(share * (1 - share) / replicates + z2 / (4 * replicates**2))
    upper = (share + z2 / (2 * replicates) + spread) / (1 + z2 / replicates)
    note = f"{halts} of {replicates} halted, 95 % bound {upper:.4f}"
    return figure(f"false_halt.{name}", share, 0.01, "share", note)


def paused(name: str, outcome: Outcome) -> Figure:
    pauses, replicates = int(outcome.paused.sum()), outcome.paused.size
    return figure(
        f"paused.{name}", pauses / replicates, 0.01, "share", f"{pauses} of {replicates} asked a person"
    )


def harmed(name: str, outcome: Outcome, *, median: float, p95: float) -> list[Figure]:
    return [
        quantile(f"harmed_median.{name}", outcome.harmed, 0.5, target=median, unit="vehicles"),
        quantile(f"harmed_p95.{name}", outcome.harmed, 0.95, target=p95, unit="vehicles"),
    ]


def quantile(name: str, values: Array, share: float, *, target: float, unit: str) -> Figure:
    """Return a quantile, with the order statistics that hold it with 95 % confidence in the note."""
    step = 1.96 * np.sqrt(share * (1 - share) / values.size)
    low, high = (quantile_of(values, min(1.0, max(0.0, share + sign * step))) for sign in (-1, 1))
    note = f"{values.size} replicates, 95 % interval {low:g} to {high:g}"
    return figure(name, quantile_of(values, share), target, unit, note)


def quantile_of(values: Array, share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))  # a value that occurred, infinite or not


def figure(name: str, value: float, target: float | None, unit: str, note: str) -> Figure:
    note = f"harm budget {BUDGET.harmed_first} to {BUDGET.harmed_last}; {note}"
    return Figure(name=f"canary.{name}", value=value, unit=unit, target=target, better="lower", note=note)
