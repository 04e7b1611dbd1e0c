"""A million vehicles that are being updated, a thousand times over: counts by tick, no single vehicles.

Every number of the model is a constant here. Vehicles are alike and independent; what differs between replicates
is luck. Harm is every failure of a vehicle that was updated, the failures it would have had anyway included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringroad.ship.evidence import Array, Counts

VEHICLES = 1_000_000
CONTROL = 20_000  # held out of the update, concurrent
TARGETS = VEHICLES - CONTROL
TICK_H = 0.25  # hours
HORIZON_H = 336  # hours
CHECK_IN_H = 18.0  # hours, mean of an exponential: from the offer until a vehicle begins
WINDOW_H = 24  # hours after the update in which a vehicle may fail because of it, and is watched
EXCESS_H = 6.0  # hours, mean of an exponential cut at the window: when a bad update makes its victims fail
BASE = 0.005  # share of vehicles that fail in any window, update or not
RHYTHM = 0.4  # failures rise and fall by this share over the day
SNAP = 2.4  # factor on every failure while the cold snap lasts
SNAP_H = (48.0, 120.0)  # hours of the cold snap
DATA_H = 1.0  # hours until a failure, or time without one, is known
HALT_H = 1.0  # hours until a decision to halt keeps vehicles from beginning

WINDOW = round(WINDOW_H / TICK_H)
TICKS = round(HORIZON_H / TICK_H)
DATA = round(DATA_H / TICK_H)
HALT = round(HALT_H / TICK_H)
BEGIN = -np.expm1(-TICK_H / CHECK_IN_H)  # chance that an open offer is begun within a tick

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """One kind of update. `failed` is the share of updated vehicles that fail within the window."""

    name: str
    failed: float = BASE
    fails_at_h: float | None = None  # its victims all fail at this age; None: over hours, as EXCESS_H says
    cold_snap: bool = False


GOOD = Update(name="good")
COLD = Update(name="good, cold snap", cold_snap=True)
BAD_1, BAD_2, BAD_5, BAD_20 = (Update(name=f"bad {share} %", failed=share / 100) for share in (1, 2, 5, 20))
DEAD = Update(name="dead 95 %", failed=0.95, fails_at_h=0.0)
LATE = Update(name="dead after 20 h", failed=0.95, fails_at_h=20.0)


class Fleet:
    """Replicates of one campaign, side by side; the first axis of every array."""

    def __init__(self, update: Update, *, replicates: int, seed: int) -> None:
        self.update = update
        self.rng = np.random.default_rng(seed)
        self.tick = 0
        self.exposed = np.zeros(replicates)
        self.harmed = np.zeros(replicates)
        self.waiting = np.zeros(replicates)  # vehicles with an open offer
        self.watched = np.zeros(replicates)  # vehicles inside their window
        self._began = np.zeros((replicates, WINDOW))  # by tick, a ring
        self._to_fail = np.zeros((replicates, WINDOW))  # failures that the update will cause, by tick, a ring
        ages_h = np.arange(WINDOW) * TICK_H
        weights = np.exp(-ages_h / EXCESS_H)
        if update.fails_at_h is not None:
            weights = np.where(ages_h == update.fails_at_h, 1.0, 0.0)
        self._when = weights / weights.sum()

    def step(self, *, active: Flags) -> Counts:
        """Let one tick pass; where `active`, open offers are begun. Return what happened in it."""
        slot = self.tick % WINDOW
        begun = self.rng.binomial(self.waiting.astype(np.int64), BEGIN) * active
        self.waiting -= begun
        self.watched += begun - self._began[:, slot]
        self._began[:, slot] = begun
        victims = self.rng.binomial(begun, max(0.0, self.update.failed - BASE))
        hit = np.flatnonzero(victims)
        if hit.size:
            self._to_fail[hit] += np.roll(self.rng.multinomial(victims[hit], self._when), slot, axis=1)
        hazard = self._hazard()
        treated = self.rng.poisson(self.watched * hazard) + self._to_fail[:, slot]
        self._to_fail[:, slot] = 0.0
        control = self.rng.poisson(CONTROL * hazard, size=self.exposed.size).astype(np.float64)
        self.exposed += begun
        self.harmed += treated
        self.tick += 1
        return Counts(
            treated=treated,
            control=control,
            treated_exposure=self.watched * TICK_H,
            control_exposure=np.full(self.exposed.size, CONTROL * TICK_H),
        )

    def in_flight(self) -> Array:
        """Return vehicles inside their window, each weighed by the part of it that is not known yet."""
        ages = (self.tick - 1 - np.arange(WINDOW)) % WINDOW  # of the ring's slots, in ticks
        known = np.maximum(ages + 0.5 - DATA, 0.0)
        found: Array = self._began @ (1.0 - known / WINDOW)
        return found

    def _hazard(self) -> float:
        at_h = self.tick * TICK_H
        hazard = BASE * TICK_H / WINDOW_H * (1 + RHYTHM * np.sin(2 * np.pi * at_h / 24))
        snap = self.update.cold_snap and SNAP_H[0] <= at_h < SNAP_H[1]
        return float(hazard * (SNAP if snap else 1.0))
