"""A good sequence at once: built greedily, or repaired with few moves. Numpy only, for the server.

`greedy` places car after car. `repair` keeps a running order: cars that are gone leave gaps that close, new
ones go where they cost least, then some of those that stand in violated windows are tried elsewhere.
The search (`solve.py`) goes on from there where there is time.

Source: Gottlieb, Puchta, Solnon (2003), dynamic utilisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ringroad.build.sequence.problem import Level, Problem
from ringroad.build.sequence.tables import Ints, Tables, ints, tables_of

INSERTIONS_MAX: Final = (
    60  # new cars placed one by one, about 1.5 ms each; more are placed greedily at the end
)
REINSERTIONS_MAX: Final = 40  # cars tried elsewhere, as long each; 1,300 cars with 20 ratios
_NEVER: Final = 1 << 40  # positions


def greedy(problem: Problem, *, start: Sequence[int] = ()) -> list[int]:
    """Place cars one by one: what costs least in the problem's levels, then the scarcest options first.

    Args:
        problem: whose cars.
        start: indices of cars that are placed already, the frozen ones first; default the frozen ones.

    Returns:
        Indices of all cars.
    """
    tables = tables_of(problem)
    order = list(start) or list(range(problem.frozen))
    total = len(problem.cars)
    groups: dict[tuple[int, int], list[int]] = {}
    for car in sorted(set(range(total)) - set(order), key=lambda car: (_due(problem, car), car)):
        groups.setdefault((int(tables.kind[car]), int(tables.colour[car])), []).append(car)
    members = [cars[::-1] for cars in groups.values()]  # pop() takes the most urgent
    need = tables.need[[kind for kind, _ in groups]]
    shade = ints(colour for _, colour in groups)
    counts = ints(len(cars) for cars in members)
    urgent = ints(_due(problem, cars[-1]) for cars in members)
    has = np.zeros((total, len(tables.span)), dtype=np.int64)
    has[: len(order)] = tables.need[tables.kind[order]]
    options = np.arange(len(tables.span))
    recent = ints(has[max(0, len(order) - q + 1) : len(order), o].sum() for o, q in enumerate(tables.span))
    for position in range(len(order), total):
        demand = (counts @ need) * tables.span / np.maximum(1, tables.limit * (total - position))
        breaks = need * (tables.limit <= recent)
        same = shade == tables.colour[order[-1]] if order else shade < 0
        full = same & (0 < problem.batch_max <= _batch(tables, order))
        costs = {Level.TIMES: urgent, Level.PAINT: ~same, Level.OVERLONG: full, Level.STABILITY: same & False}
        for level in tables.ratio_levels:
            costs[level] = breaks[:, tables.low[level] : tables.high[level]].sum(axis=1)
        keys = [costs[level] for level in problem.order]
        picks = np.lexsort((-(need @ demand), *keys[::-1], counts == 0))
        pick = int(picks[0])
        order.append(members[pick].pop())
        counts[pick] -= 1
        urgent[pick] = _due(problem, members[pick][-1]) if members[pick] else _NEVER
        has[position] = need[pick]
        gone = position - tables.span + 1
        recent += need[pick] - np.where(gone >= 0, has[np.maximum(0, gone), options], 0)
    return order


def _batch(tables: Tables, order: Sequence[int]) -> int:
    """Return how many cars at the end have the colour of the last one."""
    batch = 0
    while batch < len(order) and tables.colour[order[-1 - batch]] == tables.colour[order[-1]]:
        batch += 1
    return batch


def repair(problem: Problem, running: Sequence[int]) -> list[int]:
    """Keep a running order and place what it does not have.

    Args:
        problem: whose cars.
        running: indices of cars in their running order, the frozen ones first.

    Returns:
        Indices of all cars.
    """
    tables = tables_of(problem)
    order = list(running)
    known = set(order)
    new = [car for car in range(len(problem.cars)) if car not in known]
    new.sort(key=lambda car: (_due(problem, car), car))
    for car in new[:INSERTIONS_MAX]:
        order.insert(_cheapest(problem, tables, order, car), car)
    if new[INSERTIONS_MAX:]:
        return greedy(problem, start=order)
    for car in _hurting(problem, tables, order):
        position = order.index(car)
        order.remove(car)
        order.insert(_cheapest(problem, tables, order, car, now=position), car)
    return order


def _due(problem: Problem, car: int) -> int:
    """Return what cars are placed by: the due position, sooner for more weight; never for those without."""
    given = problem.cars[car]
    return given.due_position - given.lateness_weight if given.lateness_weight else _NEVER


def _cheapest(problem: Problem, tables: Tables, order: Sequence[int], car: int, *, now: int = -1) -> int:
    """Return the position at which a car that is not in the order costs least; `now` wins a tie, then the last."""
    prices = [_price(problem, tables, order, car, level)[problem.frozen :] for level in problem.order]
    ranks = [level.tolist() for level in prices]
    best = min(zip(*ranks, strict=True))
    places = [index for index, rank in enumerate(zip(*ranks, strict=True)) if rank == best]
    return now if now - problem.frozen in places else places[-1] + problem.frozen


def _price(problem: Problem, tables: Tables, order: Sequence[int], car: int, level: Level) -> Ints:
    """Return what a level costs more for each position from 0 to the length of the order."""
    match level:
        case Level.RATIOS | Level.SOFT_RATIOS:
            total = np.zeros(len(order) + 1, dtype=np.int64)
            kinds = tables.kind[list(order)]
            for option in range(tables.low[level], tables.high[level]):
                total += _windows(
                    tables, tables.need[kinds, option], int(tables.need[tables.kind[car], option]), option
                )
            return total
        case Level.TIMES:
            return _times(problem, order, car)
        case Level.PAINT | Level.OVERLONG:
            return _paint(problem, tables, order, car, level)
        case Level.STABILITY:
            return np.zeros(
                len(order) + 1, dtype=np.int64
            )  # to move as little as possible is what repair does


def _windows(tables: Tables, has: Ints, needs: int, option: int) -> Ints:
    """Return how many more windows are violated with one more car before each position, and behind the last.

    New are the windows with the car: q - 1 old cars and it. Lost are those that had both its neighbours.
    """
    q, p, cars = int(tables.span[option]), int(tables.limit[option]), len(has)
    if cars + 1 < q:
        return np.full(cars + 1, int(p < has.sum() + needs) - int(p < has.sum()), dtype=np.int64)
    sums = np.concatenate(([0], np.cumsum(has)))
    with_car = np.concatenate(([0], np.cumsum(p < sums[q - 1 :] - sums[: cars - q + 2] + needs)))
    without = (
        np.concatenate(([0], np.cumsum(p < sums[q:] - sums[: cars - q + 1])))
        if q <= cars
        else np.zeros(1, dtype=np.int64)
    )
    places = np.arange(cars + 1)
    low = np.maximum(0, places - q + 1)
    new = with_car[np.minimum(places, cars - q + 1) + 1] - with_car[np.minimum(low, cars - q + 1)]
    lost = without[np.minimum(places, len(without) - 1)] - without[np.minimum(low, len(without) - 1)]
    more: Ints = new - lost
    return more


def _times(problem: Problem, order: Sequence[int], car: int) -> Ints:
    """Return what the car costs at each position, and those behind it for being one later."""
    given = problem.cars[car]
    places = np.arange(len(order) + 1)
    own = given.lateness_weight * np.maximum(0, places - given.due_position)
    own += given.earliness_weight * np.maximum(0, given.ready_position - places)
    own += given.unwanted_weight * np.maximum(0, given.wanted_position - places)
    later = ints(
        (other.lateness_weight if other.due_position <= place else 0)
        - (other.earliness_weight if place < other.ready_position else 0)
        - (other.unwanted_weight if place < other.wanted_position else 0)
        for place, other in enumerate(problem.cars[index] for index in order)
    )
    behind = np.concatenate((np.cumsum(later[::-1])[::-1], [0]))
    total: Ints = own + behind
    return total


def _paint(problem: Problem, tables: Tables, order: Sequence[int], car: int, level: Level) -> Ints:
    """Return colour changes more, or whether the batch that the car would join is full."""
    shades = tables.colour[list(order)]
    mine = tables.colour[car]
    left = np.concatenate(([-1], shades))
    right = np.concatenate((shades, [-1]))
    if level is Level.PAINT:
        inner = (left != right) & (left >= 0) & (right >= 0)
        more: Ints = (
            ((left != mine) & (left >= 0)).astype(np.int64) + ((right != mine) & (right >= 0)) - inner
        )
        return more
    if problem.batch_max == 0:
        return np.zeros(len(order) + 1, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate(([True], shades[1:] != shades[:-1]))) if len(shades) else ints([])
    lengths = np.diff(np.append(starts, len(shades)))
    full = np.repeat(problem.batch_max <= lengths, lengths)
    joins_left = np.concatenate(([False], full)) & (left == mine)
    joins_right = np.concatenate((full, [False])) & (right == mine)
    over: Ints = (joins_left | joins_right).astype(np.int64)
    return over


def _hurting(problem: Problem, tables: Tables, order: Sequence[int]) -> list[int]:
    """Return cars that may move and stand last of those with the option in a violated window, in their order."""
    found: dict[int, None] = {}
    kinds = tables.kind[list(order)]
    for option in (
        range(tables.low[Level.RATIOS], tables.high[Level.RATIOS]) if Level.RATIOS in tables.low else ()
    ):
        q, p = int(tables.span[option]), int(tables.limit[option])
        has = tables.need[kinds, option]
        sums = np.concatenate(([0], np.cumsum(has)))
        for start in np.flatnonzero(p < sums[q:] - sums[:-q]) if q <= len(has) else ():
            position = int(start) + int(np.flatnonzero(has[start : start + q])[-1])
            if problem.frozen <= position:
                found[order[position]] = None
    return list(found)[:REINSERTIONS_MAX]
