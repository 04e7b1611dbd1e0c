"""What is asked of a sequence: cars, what the line can bear, and what matters more than what.

Each ratio p/q says: of any q successive cars at most p have the option. A window of q cars with more is
violated. Every complete window counts that has a car which is still to be placed, and the whole sequence if it
is shorter than q.

Costs are levels, compared one after the other: a sequence with less of an earlier level is better, whatever
the later ones say.

Source: CSPLib prob001; ROADEF 2005 challenge (paint batches, two kinds of ratios, order of objectives).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from ringroad.build.model import Ratio
from ringroad.kernel.errors import InvalidInput

CARS_MAX: Final = 2_000  # per sequence; a day of a large plant, and the limit of the ROADEF 2005 challenge
RATIOS_MAX: Final = 128  # per line; the largest published instance has 26
RATIO_Q_MAX: Final = 1_000  # vehicles
WEIGHT_MAX: Final = 1_000  # of one car's lateness or of what it is too early for; keeps sums within 64 bits

Measure = Literal["windows", "excess"]


class Level(StrEnum):
    """One thing that a sequence may cost."""

    OVERLONG = "overlong"  # cars beyond the longest batch of one colour
    RATIOS = "ratios"  # violated windows, or cars over the limit in them
    TIMES = "times"  # weighted positions too late, too early, or before the parts are there
    PAINT = "paint"  # colour changes
    SOFT_RATIOS = "soft_ratios"  # as RATIOS, of ratios that may be broken
    STABILITY = "stability"  # positions that cars are moved from where the running plan has them


LINE_ORDER: Final = (
    Level.OVERLONG,
    Level.RATIOS,
    Level.TIMES,
    Level.PAINT,
    Level.SOFT_RATIOS,
    Level.STABILITY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """One car to be placed. Positions count from 0.

    Attributes:
        id: the order's id.
        features: options it has, and its variant; only those with a ratio matter here.
        colour: of its paint; "" where nothing is painted.
        lateness_weight: cost of each position behind `due_position`; 0 for a car nobody waits for.
        due_position: last position that is in time.
        earliness_weight: cost of each position before `ready_position`.
        ready_position: first position at which its parts are there.
        unwanted_weight: cost of each position before `wanted_position`.
        wanted_position: first position that is not too early for whoever waits for it.
        home: where the running plan has it; None for a car that it does not have.
    """

    id: str
    features: frozenset[str]
    colour: str = ""
    lateness_weight: int = 0
    due_position: int = 0
    earliness_weight: int = 0
    ready_position: int = 0
    unwanted_weight: int = 0
    wanted_position: int = 0
    home: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a sequence is asked for. Checked when it is made.

    Attributes:
        cars: in any order; the first `frozen` keep their places.
        ratios: what the line can bear.
        frozen: cars that are on the line, or were built before; no window of these alone counts.
        batch_max: longest batch of one colour, in cars; 0 for no limit.
        order: the levels that matter, the most important first.
        measure: whether a violated window counts once, or by the cars it has too many.
        open_end: whether windows that reach beyond the end count, as if plain cars followed.
    """

    cars: tuple[Car, ...]
    ratios: tuple[Ratio, ...]
    frozen: int = 0
    batch_max: int = 0
    order: tuple[Level, ...] = LINE_ORDER
    measure: Measure = "windows"
    open_end: bool = False

    def __post_init__(self) -> None:
        """Refuse what no search can use. Raises: InvalidInput."""
        if len(self.cars) > CARS_MAX:
            raise InvalidInput(f"{len(self.cars)} cars, limit {CARS_MAX}")
        if len(self.ratios) > RATIOS_MAX:
            raise InvalidInput(f"{len(self.ratios)} ratios, limit {RATIOS_MAX}")
        if not 0 <= self.frozen <= len(self.cars):
            raise InvalidInput(f"{self.frozen} frozen of {len(self.cars)} cars")
        if self.batch_max < 0:
            raise InvalidInput(f"a longest batch of {self.batch_max} cars")
        if not self.order or len(set(self.order)) != len(self.order):
            raise InvalidInput("no level to compare by, or one that stands twice")
        if len({car.id for car in self.cars}) != len(self.cars):
            raise InvalidInput("a car stands twice in the list")
        for ratio in self.ratios:
            if not 0 <= ratio.p <= ratio.q or not 1 <= ratio.q <= RATIO_Q_MAX:
                raise InvalidInput(f"ratio {ratio.p}/{ratio.q} of {ratio.option!r} is no limit")
        for car in self.cars:
            weights = (car.lateness_weight, car.earliness_weight, car.unwanted_weight)
            if not all(0 <= weight <= WEIGHT_MAX for weight in weights):
                raise InvalidInput(f"a weight of car {car.id!r} is not between 0 and {WEIGHT_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced:
    """A sequence and what it costs.

    Attributes:
        order: ids of all cars.
        cost: of each level of the problem, in its order; counted by `count.py`, not by the search.
        moves: priced by the search, of its budget.
    """

    order: tuple[str, ...]
    cost: Mapping[Level, int]
    moves: int

    @property
    def rank(self) -> tuple[int, ...]:
        """What sequences of one problem are compared by; less is better."""
        return tuple(self.cost.values())
