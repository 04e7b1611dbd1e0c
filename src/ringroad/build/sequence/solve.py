"""Find a good sequence: machine code, started warm and cold. Not for the server: see `kernels/`.

A budget is moves, not seconds: the same problem, budget and seed give the same sequence on every machine.
About 7 million moves a second for 100 cars with 5 ratios, 3 million for 1,000 cars with 20.

Levels are worked on one after the other, again and again: first the most important one, hot enough to leave
where it is stuck, then the next one while the first must not get worse. The best sequence seen is kept,
compared level by level, so that the start is never made worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

import numpy as np

from ringroad.build.kernels import moves, search
from ringroad.build.sequence.count import count_cost
from ringroad.build.sequence.problem import Level, Problem, Sequenced
from ringroad.build.sequence.repair import greedy
from ringroad.build.sequence.tables import Ints, Tables, tables_of
from ringroad.kernel.errors import Corrupt, InvalidInput

MOVES_MAX: Final = 20_000_000_000  # an hour or two
SLICE_MOVES_MAX: Final = 1_000_000  # on one level before the next one; found by trial, as are the next three
SLICES_MIN: Final = 12  # of a small budget: twice on each level
HOT: Final = (0.2, 2.0)  # temperature of levels that count windows, cars or changes, and of sums of positions
COLD: Final = (0.12, 0.2)

_KINDS: Final = {
    Level.OVERLONG: moves.OVERLONG,
    Level.RATIOS: moves.RATIOS,
    Level.TIMES: moves.TIMES,
    Level.PAINT: moves.PAINT,
    Level.SOFT_RATIOS: moves.RATIOS,
    Level.STABILITY: moves.STABILITY,
}

Stop = Callable[[tuple[int, ...], int], bool]


def solve(
    problem: Problem,
    *,
    moves_max: int,
    seed: int,
    start: Sequence[int] | None = None,
    stop: Stop | None = None,
) -> Sequenced:
    """Search from one start.

    Args:
        problem: what is asked.
        moves_max: budget.
        seed: of the search's random numbers.
        start: indices of the cars to start from; default greedy.
        stop: asked after each slice with the cost of the best sequence and the moves used; True ends the search.

    Raises:
        InvalidInput: more moves than allowed, or a start that moves a frozen car.
        Corrupt: the search and the checker disagree; a fault of ours.
    """
    if not 0 <= moves_max <= MOVES_MAX:
        raise InvalidInput(f"{moves_max} moves, limit {MOVES_MAX}")
    order = greedy(problem) if start is None else list(start)
    ids = [problem.cars[index].id for index in order]
    before = count_cost(problem, ids)
    if moves_max == 0 or len(order) - problem.frozen < 2 or not any(before.values()):
        return Sequenced(order=tuple(ids), cost=before, moves=0)
    arrays = _Arrays(problem, order, seed=seed)
    used = arrays.run(moves_max, stop)
    found = tuple(problem.cars[index].id for index in arrays.best)
    cost = count_cost(problem, found)
    if tuple(cost.values()) != tuple(arrays.best_cost.tolist()):
        raise Corrupt("the search lost count of a sequence", detail=f"{cost} is not {arrays.best_cost}")
    return Sequenced(order=found, cost=cost, moves=used)


def solve_twice(problem: Problem, *, moves_max: int, seed: int) -> tuple[Sequenced, Sequenced]:
    """Search from the order in which the cars stand and, at the same time, from a greedy one.

    Args:
        problem: its cars stand in the running order.
        moves_max: budget of each of the two.
        seed: of the first; the second has the next one.

    Returns:
        The running order as it is, and the better of the two answers; the first one, if they cost the same.
    """
    running = solve(problem, moves_max=0, seed=seed, start=range(len(problem.cars)))
    with ThreadPoolExecutor(max_workers=1) as pool:  # machine code lets Python's lock go
        cold = pool.submit(solve, problem, moves_max=moves_max, seed=seed + 1)
        warm = solve(problem, moves_max=moves_max, seed=seed, start=range(len(problem.cars)))
        found = min(warm, cold.result(), key=lambda each: each.rank)
    return running, replace(found, moves=warm.moves + cold.result().moves)


class _Arrays:
    """The arrays of one search; `kernels/` says what is in them."""

    def __init__(self, problem: Problem, order: Sequence[int], *, seed: int) -> None:
        tables = tables_of(problem)
        count, options = len(problem.cars), len(tables.ratios)
        self.levels = problem.order
        self.given = _given(problem, tables)
        self.groups = _groups(tables)
        self.state = (
            np.zeros((4, count + 1), dtype=np.int64),  # line
            np.zeros(count, dtype=np.int64),  # place
            np.zeros((options, count), dtype=np.int64),  # sums
            np.zeros(options * count + 1, dtype=np.int64),  # hurt
            np.zeros((options, count), dtype=np.int64),  # spot
            np.zeros(len(self.levels), dtype=np.int64),  # cost
        )
        self.seed = np.array([(2 * seed + 1) * 0x9E37_79B9_7F4A_7C15 % (1 << 64)], dtype=np.uint64)
        self.best = np.array(order, dtype=np.int64)
        search.place_all(*self.given, *self.state, self.best)
        self.best_cost = self.state[-1].copy()

    def run(self, moves_max: int, stop: Stop | None) -> int:
        """Work on the levels in turn until the budget is used or nothing costs anything; return moves used."""
        used, piece = 0, max(1, min(SLICE_MOVES_MAX, moves_max // SLICES_MIN))
        while used < moves_max and self.best_cost.any():
            for level in range(len(self.levels)):
                if not self.best_cost[: level + 1].any():
                    continue
                used += self._work_on(level, min(piece, moves_max - used))
                if used >= moves_max or (stop and stop(tuple(self.best_cost.tolist()), used)):
                    return used
        return used

    def _work_on(self, level: int, budget: int) -> int:
        hot = np.array([self._heat(each, level, HOT) for each in range(len(self.levels))])
        cold = np.array([self._heat(each, level, COLD) for each in range(len(self.levels))])
        if level:
            search.place_all(*self.given, *self.state, self.best)
        found = (self.best, self.best_cost)
        return int(
            search.search(*self.given, *self.groups, *self.state, self.seed, *found, level, hot, cold, budget)
        )

    def _heat(self, each: int, level: int, temperatures: tuple[float, float]) -> float:
        if each < level:
            return 0.0
        return temperatures[self.levels[each] in (Level.TIMES, Level.STABILITY)]


def _given(problem: Problem, tables: Tables) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Return what never changes: cars, rules, need, levels, fixed."""
    cars = [
        (kind, colour, car.lateness_weight, car.due_position, car.earliness_weight, car.ready_position,
         -1 if car.home is None else car.home, car.unwanted_weight, car.wanted_position)
        for car, kind, colour in zip(problem.cars, tables.kind, tables.colour, strict=True)
    ]  # fmt: skip
    over = np.arange(int(tables.span.max(initial=0)) + 2)[None, :] - tables.limit[:, None]
    price = np.maximum(0, over) if problem.measure == "excess" else (over > 0).astype(np.int64)
    rules = np.column_stack((tables.span, tables.first, tables.ends, price)).astype(np.int64)
    painted = len(set(tables.colour)) > 1 and not {Level.PAINT, Level.OVERLONG}.isdisjoint(problem.order)
    levels = [(_KINDS[level], tables.low[level], tables.high[level]) for level in problem.order]
    return (
        np.array(cars, dtype=np.int64),
        rules,
        tables.need,
        np.array(levels, dtype=np.int64),
        np.array([problem.frozen, problem.batch_max, painted], dtype=np.int64),
    )


def _groups(tables: Tables) -> tuple[Ints, Ints]:
    """Return, by class and by colour, the cars in order of it, and where each class or colour starts."""
    count = len(tables.kind)
    groups = np.zeros((2, count), dtype=np.int64)
    starts = np.full((2, count + 1), count, dtype=np.int64)
    for row, of in enumerate((tables.kind, tables.colour)):
        groups[row] = np.argsort(of, kind="stable")
        sizes = np.bincount(of)
        starts[row, : len(sizes) + 1] = np.concatenate(([0], np.cumsum(sizes)))
    return groups, starts
