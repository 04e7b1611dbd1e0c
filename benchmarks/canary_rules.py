"""Rules that may stop a campaign, and two ways to let it grow; all on the same counts.

`EProcess` and `HarmRamp` call the product's own decisions in `ringroad.ship`; the others are peers' rules.
A rule is asked after every tick, with what is known by then.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from benchmarks.canary_fleet import BASE, TARGETS, TICK_H, WINDOW_H, Flags, Fleet
from ringroad.kernel.rates import ALTERNATIVES
from ringroad.ship.evidence import BELOW, Array, Counts, Scale
from ringroad.ship.guard import BOUND_MICRONATS
from ringroad.ship.ramp import HarmBudget, RampFacts, beyond_control, decide_release, excess_risk

ALPHA_PPM = 10_000
UPPER_ALPHA_PPM = 50_000
BOUNDS_BELOW = 40  # of the lower bound, up to a ratio of 6: whoever is beyond is halted
WAVES = ((0, 10_000), (48, 50_000), (96, 200_000), (168, TARGETS))  # hour, vehicles offered from then on


class Rule(Protocol):
    """Sees each tick once it is known, and says which replicates it would halt."""

    def see(self, counts: Counts, *, at_h: float) -> Flags: ...


class FixedShare:
    """hawkBit: failures in percent of the vehicles released so far, `>`; 10 is what its user interface offers."""

    def __init__(self, percent: int) -> None:
        self._percent = percent
        self._failed: Array | float = 0.0

    def see(self, counts: Counts, *, at_h: float) -> Flags:
        self._failed = self._failed + counts.treated
        released = max(vehicles for hour, vehicles in WAVES if hour <= at_h)
        return np.asarray(self._failed * 100 > self._percent * released)


class MannWhitney:
    """Kayenta: hourly failure rates of both arms, Mann-Whitney at 98 %, looked at every hour."""

    HOURS_MIN = 5  # fewer points per arm cannot reach 98 %
    Z = 2.326  # both sides at 98 %

    def __init__(self, replicates: int) -> None:
        self._treated = np.zeros((replicates, 400))
        self._control = np.zeros((replicates, 400))
        self._hour: list[Counts] = []
        self._hours = 0
        self._u = np.zeros(replicates)

    def see(self, counts: Counts, *, at_h: float) -> Flags:
        self._hour.append(counts)
        if len(self._hour) < round(1 / TICK_H):
            return np.zeros(self._u.size, dtype=bool)
        treated, control, treated_exposure, control_exposure = np.sum(
            [(c.treated, c.control, c.treated_exposure, c.control_exposure) for c in self._hour], axis=0
        )
        treated, control = treated / np.maximum(treated_exposure, 1), control / control_exposure
        self._hour.clear()
        n = self._hours
        self._treated[:, n], self._control[:, n] = treated, control
        self._hours = n + 1
        others, mine = self._control[:, : n + 1], self._treated[:, :n]
        self._u += (treated[:, None] > others).sum(axis=1) + 0.5 * (treated[:, None] == others).sum(axis=1)
        self._u += (mine > control[:, None]).sum(axis=1) + 0.5 * (mine == control[:, None]).sum(axis=1)
        size = n + 1
        if size < self.HOURS_MIN:
            return np.zeros(self._u.size, dtype=bool)
        z = (self._u - size * size / 2) / math.sqrt(size * size * (2 * size + 1) / 12)
        return np.asarray(z > self.Z)


class OBrienFleming:
    """Group-sequential z-test of the pooled rates at the end of each wave, 5 % over four looks."""

    LOOKS = ((48, 4.049), (96, 2.863), (168, 2.337), (336, 2.024))

    def __init__(self) -> None:
        self._sums = np.zeros(4)[:, None]

    def see(self, counts: Counts, *, at_h: float) -> Flags:
        self._sums = self._sums + np.stack(
            [counts.treated, counts.control, counts.treated_exposure, counts.control_exposure]
        )
        critical = dict(self.LOOKS).get(int(at_h)) if at_h == int(at_h) else None
        k_t, k_c, e_t, e_c = self._sums
        if critical is None:
            return np.zeros(k_t.size, dtype=bool)
        rate = (k_t + k_c) / (e_t + e_c)
        z = (k_t / e_t - k_c / e_c) / np.sqrt(np.maximum(rate, 1e-12) * (1 / e_t + 1 / e_c))
        return np.asarray(z > critical)


class AgainstHistory:
    """mSPRT: the treated rate against the known rate of the past, no control group."""

    def __init__(self) -> None:
        self._failed: Array | float = 0.0
        self._windows: Array | float = 0.0

    def see(self, counts: Counts, *, at_h: float) -> Flags:
        self._failed = self._failed + counts.treated
        self._windows = self._windows + counts.treated_exposure / WINDOW_H
        ratios = np.array(ALTERNATIVES)
        gain = np.multiply.outer(self._failed, np.log(ratios))
        gain -= np.multiply.outer(self._windows * BASE, ratios - 1)
        return np.asarray(np.exp(np.minimum(gain, 700)).mean(axis=-1) >= 1_000_000 / ALPHA_PPM)


class EProcess:
    """Ours: the conditional-binomial e-process against the concurrent control group."""

    def __init__(self, replicates: int, *, margin_milli: int, ramp: bool = False) -> None:
        self.margin_milli = margin_milli
        self.scale = Scale.for_harm(margin_milli) if ramp else Scale(margin_milli, bounds=np.empty(0))
        self.evidence = np.zeros((replicates, self.scale.points.size))
        lowest = 1 / Scale.for_harm(margin_milli).bounds[BOUNDS_BELOW::-1] if ramp else np.empty(0)
        self._below = Scale(margin_milli, bounds=lowest)  # of the arms exchanged
        self._swapped = np.zeros((replicates, self._below.points.size))
        self.treated = np.zeros(replicates)
        self.low = np.zeros(replicates)  # lower bound of the rate ratio; 0 where it is not above 1
        self.control_failed = np.zeros(replicates)
        self.control_windows = np.zeros(replicates)

    def see(self, counts: Counts, *, at_h: float) -> Flags:
        self.evidence += self.scale.log_likelihood(counts)
        if self._below.bounds.size:
            self._swapped += self._below.log_likelihood(counts.swapped())
            self.low = 1 / self._below.upper(self._swapped, alpha_ppm=UPPER_ALPHA_PPM)
        self.treated += counts.treated
        self.control_failed += counts.control
        self.control_windows += counts.control_exposure / WINDOW_H
        return np.asarray(self.log_e() >= math.log(1_000_000 / ALPHA_PPM))

    def log_e(self) -> Array:
        """Return the logarithm of the e-value of each replicate."""
        return self.scale.log_e(self.evidence)

    def settle(self) -> None:
        """Leave the upper bound: nothing is left to release."""
        margin = self.scale.points.size - self.scale.bounds.size * (1 + len(BELOW))
        self.scale = Scale(self.margin_milli, bounds=np.empty(0))
        self.evidence = self.evidence[:, :margin]


class Calendar:
    """Waves at fixed hours."""

    def release(self, fleet: Fleet, *, at_h: float) -> Array | float:
        """Return how many more vehicles to offer the update to."""
        before = max((vehicles for hour, vehicles in WAVES if hour < at_h), default=0)
        return float(max(vehicles for hour, vehicles in WAVES if hour <= at_h) - before)

    def pauses(self, fleet: Fleet) -> Flags:
        """Return which replicates wait for a person: none does."""
        return np.zeros(fleet.exposed.size, dtype=bool)


class HarmRamp:
    """Ours: as many vehicles as the budget of harm allows, by the evidence so far."""

    def __init__(self, rule: EProcess, budget: HarmBudget, replicates: int, *, pauses: bool = True) -> None:
        self._rule = rule
        self._budget = budget
        self._pauses = pauses
        self._offered = np.zeros(replicates)  # ever
        self._more = np.full(replicates, np.inf)  # that were released last
        self._offered_s = np.zeros(replicates)

    def release(self, fleet: Fleet, *, at_h: float) -> Array | float:
        """Return how many more vehicles to offer the update to."""
        rule, left = self._rule, TARGETS - self._offered
        if not left.any():
            if rule.scale.bounds.size:
                rule.settle()
            return 0.0
        upper = rule.scale.upper(rule.evidence, alpha_ppm=UPPER_ALPHA_PPM)
        more = decide_release(
            self._budget,
            RampFacts(
                upper=upper,
                risk=excess_risk(
                    upper, control_failed=rule.control_failed, control_windows=rule.control_windows
                ),
                in_flight=fleet.in_flight(),
                offered=fleet.waiting,
                begun=fleet.exposed,
                offered_s=self._offered_s,
            ),
        )
        seen = (rule.low * 1_000 > rule.margin_milli) | (rule.log_e() >= BOUND_MICRONATS / 1_000_000)
        more = np.where(seen, 0.0, np.minimum(more, left))  # as `harm_seen` holds
        self._offered += more
        self._more = more
        self._offered_s += (fleet.waiting + more) * TICK_H * 3_600
        return more

    def pauses(self, fleet: Fleet) -> Flags:
        """Return which replicates pause: harm that spends the budget is proved, and somebody has not begun.

        Where all that began count, also those that released nobody more, and in which all were watched.
        """
        spent = np.zeros(fleet.exposed.size, dtype=bool)
        if self._budget.whole:
            spent |= (self._more == 0) & (fleet.waiting + fleet.watched == 0) & (fleet.exposed < TARGETS)
        if self._pauses:
            for each in np.flatnonzero((self._rule.low > 1) & (fleet.exposed < TARGETS)):
                failed, low_milli = int(self._rule.treated[each]), math.floor(self._rule.low[each] * 1_000)
                spent[each] = beyond_control(failed, low_milli) >= self._budget.harmed_last
        return spent


Ramp = Calendar | HarmRamp
