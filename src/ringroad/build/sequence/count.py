"""What does a sequence cost? Counted slowly and obviously, from the words of the problem alone.

The checker of every sequence; it shares nothing with the search but the problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ringroad.build.model import Ratio
from ringroad.build.sequence.problem import Car, Level, Measure, Problem
from ringroad.kernel.errors import InvalidInput


def count_violations(
    features: Sequence[frozenset[str]],
    ratios: Sequence[Ratio],
    *,
    frozen: int = 0,
    measure: Measure = "windows",
    open_end: bool = False,
) -> int:
    """Count violated windows, or the cars they have too many.

    Args:
        features: of each car in its place.
        ratios: what the line can bear.
        frozen: windows that end before this position do not count.
        measure: see `Problem`.
        open_end: see `Problem`.
    """
    found = 0
    for ratio in ratios:
        starts = len(features) if open_end else max(1, len(features) - ratio.q + 1)
        for start in range(starts):
            window = features[start : start + ratio.q]
            if start + len(window) <= frozen:
                continue
            excess = sum(1 for car in window if ratio.option in car) - ratio.p
            if excess > 0:
                found += excess if measure == "excess" else 1
    return found


def count_cost(problem: Problem, order: Sequence[str]) -> dict[Level, int]:
    """Return what an order of the problem's cars costs, level by level.

    Raises:
        InvalidInput: a car is missing, foreign or twice there, or a frozen one was moved.
    """
    by_id = {car.id: car for car in problem.cars}
    if sorted(order) != sorted(by_id):
        raise InvalidInput("the order does not have each car once")
    for position, car in enumerate(problem.cars[: problem.frozen]):
        if order[position] != car.id:
            raise InvalidInput(f"car {car.id!r} is frozen at position {position}, but stands elsewhere")
    cars = [by_id[car_id] for car_id in order]
    return {level: _count(problem, cars, level) for level in problem.order}


def _count(problem: Problem, cars: list[Car], level: Level) -> int:
    match level:
        case Level.RATIOS | Level.SOFT_RATIOS:
            wanted = [ratio for ratio in problem.ratios if ratio.soft == (level is Level.SOFT_RATIOS)]
            return count_violations(
                [car.features for car in cars],
                wanted,
                frozen=problem.frozen,
                measure=problem.measure,
                open_end=problem.open_end,
            )
        case Level.TIMES:
            return sum(
                car.lateness_weight * max(0, position - car.due_position)
                + car.earliness_weight * max(0, car.ready_position - position)
                + car.unwanted_weight * max(0, car.wanted_position - position)
                for position, car in enumerate(cars)
                if problem.frozen <= position
            )
        case Level.PAINT:
            return sum(
                cars[position - 1].colour != cars[position].colour
                for position in range(max(1, problem.frozen), len(cars))
            )
        case Level.OVERLONG:
            if problem.batch_max == 0:
                return 0
            batches = [len(list(batch)) for _, batch in groupby(car.colour for car in cars)]
            return sum(max(0, length - problem.batch_max) for length in batches)
        case Level.STABILITY:
            return sum(
                abs(position - car.home)
                for position, car in enumerate(cars)
                if problem.frozen <= position and car.home is not None
            )
