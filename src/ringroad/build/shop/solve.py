"""Find a good schedule of a shop: machine code, started warm and cold. Not for the server: see `kernels/`.

A budget is moves, not seconds: the same problem, budget and seed give the same schedule on every machine.
About 0.7 million moves a second for 100 tasks, 0.3 million for 250.

Levels are worked on as in `sequence/solve.py`. Each answer is placed once more by `dispatch.py` and counted by
`check.py`, which share nothing with the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ringroad.build.kernels import shop
from ringroad.build.shop.bound import lower_bound
from ringroad.build.shop.check import neighbours
from ringroad.build.shop.dispatch import Places, behind_fixed, dispatch, place_all, ready_at, repair
from ringroad.build.shop.problem import Level, Schedule, ShopProblem
from ringroad.kernel.errors import Corrupt, InvalidInput

MOVES_MAX: Final = 10_000_000_000  # some hours
SLICE_MOVES: Final = 2_000_000  # on one level before the next one, then hot again; found by trial
SLICES_MIN: Final = 2
HOT: Final = (
    0.1  # temperature, in mean times of a task, set-ups or changes; found by trial, as is the next one
)
COLD: Final = 0.04

_KINDS: Final = {
    Level.TARDINESS: shop.TARDINESS,
    Level.MAKESPAN: shop.MAKESPAN,
    Level.CHANGES: shop.CHANGES,
    Level.SETUP: shop.SETUP,
}


def solve(problem: ShopProblem, *, moves_max: int, seed: int, start: Schedule | None = None) -> Schedule:
    """Search from one start.

    Args:
        problem: what is asked.
        moves_max: budget.
        seed: of the search's random numbers.
        start: to start from; default by the dispatch rule.

    Raises:
        InvalidInput: more moves than allowed.
        Corrupt: the search and the checker disagree; a fault of ours.
    """
    if not 0 <= moves_max <= MOVES_MAX:
        raise InvalidInput(f"{moves_max} moves, limit {MOVES_MAX}")
    before = start or dispatch(problem)
    bound = tuple(lower_bound(problem).values())
    if moves_max == 0 or before.rank == bound or all(task.fixed for _, task in problem.tasks()):
        return before
    arrays = _Arrays(problem, before, seed=seed)
    used = arrays.run(moves_max, bound)
    found = place_all(problem, arrays.order())
    if found.rank != tuple(arrays.best_cost.tolist()):
        raise Corrupt("the search lost count of a schedule", detail=f"{found.cost} is not {arrays.best_cost}")
    return replace(min(before, found, key=lambda each: each.rank), moves=used)


def solve_twice(
    problem: ShopProblem, *, moves_max: int, seed: int, start: Schedule | None = None
) -> Schedule:
    """Search from a schedule and, at the same time, from a dispatched one.

    Args:
        problem: with its running schedule.
        moves_max: budget of each of the two.
        seed: of the first; the second has the next one.
        start: of the first; default: the running schedule, repaired.

    Returns:
        The better of the two answers; the first one, if they cost the same.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:  # machine code lets Python's lock go
        cold = pool.submit(solve, problem, moves_max=moves_max, seed=seed + 1)
        warm = solve(problem, moves_max=moves_max, seed=seed, start=start or repair(problem))
        found = min(warm, cold.result(), key=lambda each: each.rank)
    return replace(found, moves=warm.moves + cold.result().moves)


class _Arrays:
    """The arrays of one search; `kernels/shop.py` says what is in them."""

    def __init__(self, problem: ShopProblem, start: Schedule, *, seed: int) -> None:
        self.free = [task for _, task in problem.tasks() if task.fixed is None]
        self.levels = problem.order
        self.machines = [resource.id for resource in problem.resources]
        self.choices = [
            (index, resource_id) for index, task in enumerate(self.free) for resource_id in task.work
        ]
        self.given = _given(problem)
        number = {task.id: index for index, task in enumerate(self.free)}
        choice = {pair: index for index, pair in enumerate(self.choices)}
        placed = [each for each in start.placed if each.task in number]
        self.best = np.array([number[each.task] for each in placed], dtype=np.int64)
        self.best_pick = np.zeros(len(self.free), dtype=np.int64)
        for each in placed:
            self.best_pick[number[each.task]] = choice[number[each.task], each.resource]
        self.best_cost = np.array(start.rank, dtype=np.int64)
        count = len(self.free)
        room = (7, max(len(self.machines), len(problem.jobs)))
        self.now = (self.best.copy(), self.best_pick.copy())
        self.state = (
            np.zeros(count, dtype=np.int64),  # place
            np.zeros((3, count), dtype=np.int64),  # line
            np.zeros(room, dtype=np.int64),  # work
            np.zeros(len(self.levels), dtype=np.int64),  # cost
            np.zeros((3, count), dtype=np.int64),  # trial_line
            np.zeros(room, dtype=np.int64),  # trial_work
            np.zeros(len(self.levels), dtype=np.int64),  # trial
            np.array([(2 * seed + 1) * 0x9E37_79B9_7F4A_7C15 % (1 << 64)], dtype=np.uint64),  # seed
        )
        works = [work for task in self.free for work in task.work.values()]
        setups = [time for time in problem.setups.values() if time] or [1]
        self.unit = {
            Level.TARDINESS: sum(works) / len(works),
            Level.MAKESPAN: sum(works) / len(works),
            Level.CHANGES: 1.0,
            Level.SETUP: sum(setups) / len(setups),
        }

    def order(self) -> list[tuple[str, str]]:
        """Return the best order found, as tasks and their resources."""
        picks = self.best_pick.tolist()
        return [(self.free[task].id, self.choices[picks[task]][1]) for task in self.best.tolist()]

    def run(self, moves_max: int, bound: Sequence[int]) -> int:
        """Work on the levels in turn until the budget is used or nothing is left to gain; return moves used."""
        used, piece = 0, max(1, min(SLICE_MOVES, moves_max // SLICES_MIN))
        while used < moves_max and (self.best_cost > np.array(bound)).any():
            for level in range(len(self.levels)):
                if (self.best_cost[: level + 1] <= np.array(bound)[: level + 1]).all():
                    continue
                used += self._work_on(level, min(piece, moves_max - used), bound)
                if used >= moves_max:
                    break
        return used

    def _work_on(self, level: int, budget: int, bound: Sequence[int]) -> int:
        hot, cold = (
            np.array([0.0 if each < level else heat * self.unit[self.levels[each]] for each in range(len(self.levels))])
            for heat in (HOT, COLD)
        )  # fmt: skip
        if level:
            self.now[0][:], self.now[1][:] = self.best, self.best_pick
        found = (self.best, self.best_pick, self.best_cost, np.array(bound, dtype=np.int64))
        search: Any = shop.search  # mypy cannot count arguments of such kinds
        return int(search(*self.given, *self.now, *self.state, *found, level, hot, cold, budget))


def _given(problem: ShopProblem) -> tuple[Any, ...]:
    """Return what never changes: tasks, choices, jobs, machines, closed, setups, levels."""
    machine = {resource.id: index for index, resource in enumerate(problem.resources)}
    free = [(job, task) for job, task in problem.tasks() if task.fixed is None]
    number = {task.id: index for index, (_, task) in enumerate(free)}
    names = {""} | {task.family for _, task in problem.tasks()} | {each.family for each in problem.resources}
    family = {name: index for index, name in enumerate(sorted(names))}
    places = Places(problem)
    homes = neighbours(problem.running, number)
    behind = behind_fixed(problem)
    tasks: list[tuple[int, ...]] = []
    choices: list[tuple[int, int]] = []
    for job_index, job in enumerate(problem.jobs):
        mine = [task for task in job.tasks if task.fixed is None]
        for index, task in enumerate(mine):
            tail = sum(min(other.work.values()) for other in mine[index + 1 :])
            home, after = homes.get(task.id, ("", ""))
            earliest = max(ready_at(problem, job.id), behind.get(task.id, problem.now))
            tasks.append(
                (job_index, len(choices), len(choices) + len(task.work), family[task.family], tail,
                 machine.get(home, -1), number.get(after, -1), earliest)
            )  # fmt: skip
            choices += [(machine[resource_id], work) for resource_id, work in task.work.items()]
    jobs = [
        (
            max((task.fixed.end for task in job.tasks if task.fixed), default=-(1 << 60)),
            job.due or 0,
            0 if job.due is None else job.weight,
        )
        for job in problem.jobs
    ]
    machines = [
        (places.free[each.id], family[places.family[each.id]], int(each.splits), len(each.closed))
        for each in problem.resources
    ]
    rests = max((len(each.closed) for each in problem.resources), default=0)
    closed = np.zeros((len(machines), rests + 1, 2), dtype=np.int64)
    for index, each in enumerate(problem.resources):
        closed[index, : len(each.closed)] = np.array(each.closed, dtype=np.int64).reshape(-1, 2)
    setups = np.zeros((len(machines), len(family), len(family)), dtype=np.int64)
    for (resource_id, before, after_), time in problem.setups.items():
        if before in family and after_ in family:
            setups[machine[resource_id], family[before], family[after_]] = time
    levels = np.array([_KINDS[level] for level in problem.order], dtype=np.int64)
    rows = (tasks, choices, jobs, machines)
    return (*(np.array(each, dtype=np.int64) for each in rows), closed, setups, levels)
