"""What must any sequence cost at least? Proved by counting; usually far below what can be reached.

For a ratio p/q: if the cars with the option are more than fit without a violation, each of them too many
costs. For paint: a colour with more cars than a batch may have needs more batches.
"""

from __future__ import annotations

from collections import Counter

from ringroad.build.model import Ratio
from ringroad.build.sequence.problem import Level, Problem


def lower_bound(problem: Problem) -> dict[Level, int]:
    """Return, level by level, a cost that no sequence of the problem can be below."""
    return {level: _least(problem, level) for level in problem.order}


def _least(problem: Problem, level: Level) -> int:
    free = problem.cars[problem.frozen :]
    match level:
        case Level.RATIOS | Level.SOFT_RATIOS:
            wanted = [ratio for ratio in problem.ratios if ratio.soft == (level is Level.SOFT_RATIOS)]
            return sum(
                _too_many(
                    ratio,
                    sum(ratio.option in car.features for car in free),
                    len(free),
                    problem.measure == "excess",
                )
                for ratio in wanted
            )
        case Level.PAINT:
            cars = Counter(car.colour for car in free)
            batches = sum(-(-count // (problem.batch_max or count)) for count in cars.values())
            # Only batches of cars that may move; the first of them may go on with the colour before it.
            return max(0, batches - 1)
        case Level.OVERLONG | Level.TIMES | Level.STABILITY:
            return 0


def _too_many(ratio: Ratio, wanted: int, places: int, counts_excess: bool) -> int:  # noqa: FBT001 - one caller
    """Return the least cost of one ratio.

    Taking one car too many out of each violated window leaves a sequence without violations; the cars taken
    are not more than the excess, and one window has at most q - p of them.
    """
    if places < ratio.q:
        fits = min(places, ratio.p)
    else:
        fits = places // ratio.q * ratio.p + min(ratio.p, places % ratio.q)
    excess = max(0, wanted - fits)
    return excess if counts_excess or excess == 0 else -(-excess // max(1, ratio.q - ratio.p))
