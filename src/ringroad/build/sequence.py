"""Sequence cars on one line so that its stations can bear them.

Each ratio p/q says: of any q successive cars at most p have the option. A window of q cars with more
is one violation. Every complete window counts, and the whole sequence if it is shorter than q.

The search is heat-bath annealing: take a car, mostly one in a violated window, price its exchange with
every other car at once (numpy), draw one by its price, cool down, start over warm. It is seeded and
counts iterations, not seconds: the same input gives the same sequence on every machine.

`count_violations` is written the slow obvious way and shares nothing with the search; tests hold one against the other.

Source: CSPLib prob001; Gottlieb, Puchta, Solnon (2003), greedy start by dynamic utilisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.model import Ratio
from ringroad.kernel.errors import InvalidInput

CARS_MAX: Final = 2_000  # per sequence; a day of a large plant, and 16 MB of lateness costs
ITERATIONS_MAX: Final = 10_000_000
VIOLATION_COST: Final = 10_000  # one violated window outweighs any lateness below it
_NEAR_EVERY: Final = 4  # iterations; measuring close exchanges costs as much as all others together
_NEVER: Final = 1 << 60
_HOT: Final = 0.3  # violations; found by trial on CSPLib instances, as are the next two
_COLD: Final = 0.1
_CYCLE_ITERATIONS: Final = 3_000
_COLD_TIMED: Final = 0.0003  # lateness costs thousandths of a violation, so it needs more cooling

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """One car to be placed.

    Attributes:
        id: the order's id.
        features: options it has, and its variant; only those with a ratio matter here.
        lateness_weight: cost of each position behind `due_position`; 0 for a car nobody waits for.
        due_position: last position that is in time.
    """

    id: str
    features: frozenset[str]
    lateness_weight: int = 0
    due_position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced:
    """A sequence and what it costs."""

    order: tuple[str, ...]
    violations: int  # windows
    lateness: int  # weighted positions
    iterations: int  # used, of the budget


def count_violations(features: Sequence[frozenset[str]], ratios: Sequence[Ratio]) -> int:
    """Count violated windows, slowly and obviously. The checker of every sequence."""
    violations = 0
    for ratio in ratios:
        for start in range(max(1, len(features) - ratio.q + 1)):
            window = features[start : start + ratio.q]
            if sum(1 for car in window if ratio.option in car) > ratio.p:
                violations += 1
    return violations


def sequence(
    cars: Sequence[Car],
    ratios: Sequence[Ratio],
    *,
    frozen: int,
    iterations_max: int,
    seed: int,
    start: Sequence[int] | None = None,
) -> Sequenced:
    """Find an order of cars with few violations, then little lateness.

    Args:
        cars: in any order; the first `frozen` keep their places.
        ratios: what the line can bear.
        frozen: cars that are already on the line.
        iterations_max: budget; about 10,000 per second for 200 cars.
        seed: of the search's own random numbers.
        start: indices of `cars` to start from, besides the greedy start; the better one is taken.

    Raises:
        InvalidInput: more cars, frozen cars or iterations than allowed.
    """
    if len(cars) > CARS_MAX:
        raise InvalidInput(f"{len(cars)} cars, limit {CARS_MAX}")
    if not 0 <= frozen <= len(cars) or not 0 <= iterations_max <= ITERATIONS_MAX:
        raise InvalidInput("frozen must be within the cars, and the iterations within their limit")
    if not cars:
        return Sequenced(order=(), violations=0, lateness=0, iterations=0)
    search = _Search(cars, ratios, frozen=frozen, rng=np.random.default_rng(seed))
    starts = [search.greedy()] if start is None else [search.greedy(), np.array(start, dtype=np.int64)]
    search.place(min(starts, key=search.cost_of))
    used = search.improve(iterations_max)
    order = tuple(cars[index].id for index in search.best)
    found = [cars[index].features for index in search.best]
    late = int(search.late[search.best, np.arange(len(cars))].sum())
    return Sequenced(order=order, violations=count_violations(found, ratios), lateness=late, iterations=used)


class _Search:
    """The state of one search.

    `has[o, k]` is 1 if the car at position k has option o; `sums[o][s]` counts it in the window that
    starts at s; `more[o, k]` and `fewer[o, k]` are the windows over k that would break with one more,
    or be mended by one fewer; `change[c, k]` is what a car of class c at position k would change.
    """

    def __init__(
        self, cars: Sequence[Car], ratios: Sequence[Ratio], *, frozen: int, rng: np.random.Generator
    ) -> None:
        self.count = len(cars)
        self.frozen = frozen
        self.rng = rng
        names = [ratio.option for ratio in ratios]
        wanted = [tuple(int(name in car.features) for name in names) for car in cars]
        classes = sorted(set(wanted))
        self.class_of: Ints = np.array([classes.index(row) for row in wanted], dtype=np.int64)
        self.needs: Ints = np.array(classes, dtype=np.int64).reshape(len(classes), len(names))
        self.p = [ratio.p for ratio in ratios]
        self.q = [min(ratio.q, self.count) for ratio in ratios]
        self.reach = max(self.q, default=1)
        weights = np.array([car.lateness_weight for car in cars], dtype=np.int64)
        due = np.array([car.due_position for car in cars], dtype=np.int64)
        self.timed = bool(weights.any())
        behind = np.maximum(0, np.arange(self.count)[None, :] - due[:, None])
        self.late: Ints = weights[:, None] * behind
        self.at: Ints = np.arange(self.count)
        self.best: Ints = self.at
        self.best_cost = 0
        self.has: Ints = np.zeros((len(names), self.count), dtype=np.int64)
        self.change: Ints = np.zeros((len(classes), self.count), dtype=np.int64)
        self.sums: list[list[int]] = []
        self.more: Ints = self.has
        self.fewer: Ints = self.has

    # Costs ---

    def cost_of(self, at: Ints) -> int:
        """Violations and lateness of an order, from scratch."""
        has = self.needs[self.class_of[at]].T
        violated = sum(int((self._sums(has, o) > self.p[o]).sum()) for o in range(len(self.p)))
        return violated * VIOLATION_COST + int(self.late[at, np.arange(self.count)].sum())

    def place(self, at: Ints) -> None:
        """Start from an order."""
        self.at = at.copy()
        self.best = at.copy()
        self.best_cost = self.cost = self.cost_of(at)
        self.has = np.ascontiguousarray(self.needs[self.class_of[at]].T)
        self._rebuild()

    def _sums(self, has: Ints, option: int) -> Ints:
        total: Ints = np.concatenate(([0], np.cumsum(has[option])))
        q = self.q[option]
        return total[q:] - total[:-q]

    def _rebuild(self) -> None:
        """Compute all windows from `has`."""
        self.sums = [self._sums(self.has, option).tolist() for option in range(len(self.p))]
        self.more = np.zeros_like(self.has)
        self.fewer = np.zeros_like(self.has)
        for option, (p, q) in enumerate(zip(self.p, self.q, strict=True)):
            for first, total in enumerate(self.sums[option]):
                if total == p:
                    self.more[option, first : first + q] += 1
                elif total == p + 1:
                    self.fewer[option, first : first + q] += 1
        self._price_columns(0, self.count)

    def _price_columns(self, low: int, high: int) -> None:
        """Recompute `change` for the positions low to high from `more` and `fewer`."""
        low, high = max(0, low), min(self.count, high)
        has = self.has[:, low:high]
        gained = self.needs @ ((1 - has) * self.more[:, low:high])
        mended = (1 - self.needs) @ (has * self.fewer[:, low:high])
        self.change[:, low:high] = gained - mended

    def _set(self, option: int, position: int, step: int) -> None:
        """Give or take an option at a position; only the windows that cover it change."""
        p, q = self.p[option], self.q[option]
        sums, more, fewer = self.sums[option], self.more[option], self.fewer[option]
        self.has[option, position] += step
        for first in range(max(0, position - q + 1), min(position, self.count - q) + 1):
            before = sums[first]
            after = sums[first] = before + step
            if before == p:
                more[first : first + q] -= 1
            elif before == p + 1:
                fewer[first : first + q] -= 1
            if after == p:
                more[first : first + q] += 1
            elif after == p + 1:
                fewer[first : first + q] += 1

    # Start ---

    def greedy(self) -> Ints:
        """Place car by car: fewest new violations, then the scarcest options, then the most urgent."""
        chosen: list[int] = list(range(self.frozen))
        left = [
            [index for index in range(self.frozen, self.count) if self.class_of[index] == c]
            for c in range(len(self.needs))
        ]
        urgency = [-int(weight) for weight in self.late[:, -1]]
        for members in left:
            members.sort(
                key=lambda index: (urgency[index], index), reverse=True
            )  # pop() takes the most urgent
        counts = np.array([len(members) for members in left])
        p, q = np.array(self.p), np.array(self.q)
        has = np.zeros((len(self.p), self.count), dtype=np.int64)
        if chosen:
            has[:, : self.frozen] = self.needs[self.class_of[: self.frozen]].T
        for position in range(self.frozen, self.count):
            remaining = self.count - position
            demand = self.needs.T @ counts if len(self.p) else np.zeros(0)
            scarcity = demand * q / (p * remaining) if len(self.p) else demand
            recent = np.array(
                [has[o, max(0, position - self.q[o] + 1) : position].sum() for o in range(len(self.p))]
            )
            broken = (self.needs * (recent >= p)[None, :]).sum(axis=1) if len(self.p) else np.zeros(len(left))
            score = (self.needs * scarcity[None, :]).sum(axis=1) if len(self.p) else np.zeros(len(left))
            urgent = np.array([urgency[members[-1]] if members else 0 for members in left])
            pick = min(
                (c for c in range(len(left)) if counts[c]), key=lambda c: (broken[c], urgent[c], -score[c], c)
            )
            chosen.append(left[pick].pop())
            counts[pick] -= 1
            has[:, position] = self.needs[pick]
        return np.array(chosen, dtype=np.int64)

    # Search ---

    def improve(self, iterations_max: int) -> int:
        """Search until nothing is left to improve or the budget is used; return iterations used.

        Heat bath: a car is exchanged with a partner drawn with probability exp(-cost / temperature),
        staying included; adding Gumbel noise and taking the smallest draws exactly that.
        """
        free = self.count - self.frozen
        if free < 2:
            return 0
        cold = _COLD_TIMED if self.timed else _COLD
        for iteration in range(iterations_max):
            if self.best_cost == 0:
                return iteration
            phase = iteration % _CYCLE_ITERATIONS / _CYCLE_ITERATIONS
            temperature = _HOT * (cold / _HOT) ** phase * VIOLATION_COST
            if self.rng.random() < 0.5:
                position = self._pick_position()
            else:
                position = int(self.rng.integers(self.frozen, self.count))
            delta = self._deltas(position, near=iteration % _NEAR_EVERY == 0)
            drawn = delta[self.frozen :] / temperature - self.rng.gumbel(size=free)
            other = int(drawn.argmin()) + self.frozen
            if other != position:
                self._swap(position, other, int(delta[other]))
                if self.cost < self.best_cost:
                    self.best, self.best_cost = self.at.copy(), self.cost
        return iterations_max

    def _pick_position(self) -> int:
        """A position that hurts: one whose car, if it were plain, would mend a window, or that is late."""
        hurt = self.change.min(axis=0)[self.frozen :] < 0
        if self.timed:
            hurt |= self.late[self.at, np.arange(self.count)][self.frozen :] > 0
        where = np.flatnonzero(hurt)
        if not len(where):
            return int(self.rng.integers(self.frozen, self.count))
        return int(where[self.rng.integers(len(where))]) + self.frozen

    def _deltas(self, position: int, *, near: bool) -> Ints:
        """What an exchange of `position` with every other one changes; staying changes nothing.

        Positions closer than a window share windows and are measured one by one, or left out.
        """
        kinds = self.class_of[self.at]
        delta: Ints = (self.change[kinds, position] + self.change[kinds[position], :]) * VIOLATION_COST
        low, high = max(self.frozen, position - self.reach + 1), min(self.count, position + self.reach)
        if near or self.count - self.frozen < 4 * self.reach:
            for other in range(low, high):
                delta[other] = self._near(position, other) * VIOLATION_COST
        else:
            delta[low:high] = _NEVER
        if self.timed:
            here, places = self.at[position], np.arange(self.count)
            own = self.late[self.at, places]
            delta += self.late[self.at, position] + self.late[here, places] - own - own[position]
        delta[position] = 0
        return delta

    def _near(self, left: int, right: int) -> int:
        """Change of violations when two close positions are exchanged: windows that cover only one of them."""
        if left > right:
            left, right = right, left
        change = 0
        for option, (p, q) in enumerate(zip(self.p, self.q, strict=True)):
            sums = self.sums[option]
            step = int(self.has[option, right] - self.has[option, left])
            if step == 0:
                continue
            ends = self.count - q
            only_left = range(max(0, left - q + 1), min(left, ends, right - q) + 1)
            only_right = range(max(left + 1, right - q + 1), min(right, ends) + 1)
            for windows, sign in ((only_left, step), (only_right, -step)):
                for first in windows:
                    change += int(sums[first] + sign > p) - int(sums[first] > p)
        return change

    def _swap(self, left: int, right: int, delta: int) -> None:
        self.at[left], self.at[right] = self.at[right], self.at[left]
        for option, step in enumerate((self.has[:, right] - self.has[:, left]).tolist()):
            if step:
                self._set(option, left, step)
                self._set(option, right, -step)
        for position in (left, right):
            self._price_columns(position - 2 * self.reach, position + 2 * self.reach)
        self.cost += delta
