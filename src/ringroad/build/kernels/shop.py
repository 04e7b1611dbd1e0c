"""A shop's schedule, decoded from an order of tasks, and a search for a better order: machine code.

A schedule is an order of all free tasks and a choice for each. Tasks are placed one after the other, each as
early as its job, its resource, the set-up and the calendar allow. A move takes a task out of the order and puts
it back elsewhere between its neighbours of the same job, before or behind a task of a resource that it chooses.
After each move that is taken the order is sorted by start times, so that such moves are short ways.

A move is judged by the first level that it changes, as in `search.py`.

Functions share these arrays of 64-bit whole numbers, with columns named below:

- `tasks[task, column]`, `choices[choice, column]`, `jobs[job, column]`, `machines[machine, column]`: never change
- `closed[machine, n, 0 or 1]`: when a machine rests; never changes
- `setups[machine, family, family]`: never changes
- `order[place]`: which task; `pick[task]`: which choice
- `place[task]`: where it stands in the order
- `line[row, task]`: when it starts and ends, and which task it waited for
- `work[row, machine or job]`: room to work
- `trial_line`, `trial_work`, `trial`: the same of a move that is not taken yet

Source: Mastrolilli, Gambardella (2000), moves of critical tasks between resources; Van Laarhoven, Aarts, Lenstra
(1992), annealing of job shops.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.kernels.chance import Ints, Seed, accepts, below, is_less
from ringroad.build.kernels.compiled import compiled, part

# Columns of `tasks`
JOB: Final = 0
LOW: Final = 1  # first of its choices
HIGH: Final = 2  # one behind the last
FAMILY: Final = 3
TAIL: Final = 4  # least time from its end to the end of its job
HOME: Final = 5  # machine in the running schedule, or -1
AFTER: Final = 6  # task before it there, -1 for none
EARLIEST: Final = 7  # start, by the release of its job, by now, and by what was done before it

# Columns of `choices`
MACHINE: Final = 0
WORK: Final = 1

# Columns of `jobs`
DONE: Final = 0  # when the last of its tasks ended that was done; far below 0 for none
DUE: Final = 1
WEIGHT: Final = 2

# Columns of `machines`
FREE: Final = 0
SET: Final = 1  # family
SPLITS: Final = 2
RESTS: Final = 3  # number of closed times

# Rows of `line`
START: Final = 0
END: Final = 1
WHY: Final = 2  # task that it waited for, -1 for none

# Rows of `work`
AT: Final = 0  # by job: when the task before ended
LAST: Final = 1  # by job: which task that was
OPEN: Final = 2  # by machine: when the task before ended
ON: Final = 3  # by machine: which task that was
IS: Final = 4  # by machine: family
KNOWN: Final = 5  # by machine: last task that the running schedule has
REST: Final = 6  # by machine: first closed time that is not over

# What a level counts
TARDINESS: Final = 0
MAKESPAN: Final = 1
CHANGES: Final = 2
SETUP: Final = 3

_CRITICAL_PERMILLE: Final = 850  # of moves; found by trial on Brandimarte's instances, as is the next one
_STAY_PERMILLE: Final = 350  # of moves that keep the machine
_STEPS_MAX: Final = 10_000  # back along what a task waited for; more than a schedule has tasks
_LATE: Final = 1 << 60


@part
def _do(closed: Ints, machine: int, rests: int, rest: int, start: int, work: int) -> int:
    """Return when work is done that begins at `start` and pauses while the machine is closed."""
    at = start
    left = work
    for n in range(rest, rests):
        if left <= 0 or at + left <= closed[machine, n, 0]:
            break
        if closed[machine, n, 1] <= at:
            continue
        left -= max(0, closed[machine, n, 0] - at)
        at = closed[machine, n, 1]
    return at + max(0, left)


@part
def _begin(closed: Ints, machine: int, rests: int, rest: int, splits: int, earliest: int, work: int) -> int:
    """Return the first open time; of work that does not split, the first with room for all of it."""
    at = earliest
    for n in range(rest, rests):
        start, end = closed[machine, n, 0], closed[machine, n, 1]
        if end <= at:
            continue
        if at < start and (splits == 1 or at + work <= start):
            break
        if work == 0 and at <= start:
            break
        at = end
    return at


@part
def decode(
    tasks: Ints, choices: Ints, jobs: Ints, machines: Ints, closed: Ints, setups: Ints, levels: Ints,
    order: Ints, pick: Ints, line: Ints, work: Ints, cost: Ints, limit: int,
) -> bool:  # fmt: skip
    """Place every task and count what that costs; stop and say False where the last end would be behind `limit`."""
    for job in range(jobs.shape[0]):
        work[AT, job] = -_LATE
        work[LAST, job] = -1
    for machine in range(machines.shape[0]):
        work[OPEN, machine] = machines[machine, FREE]
        work[ON, machine] = -1
        work[IS, machine] = machines[machine, SET]
        work[KNOWN, machine] = -1
        work[REST, machine] = 0
    last, moved, set_up = -_LATE, 0, 0
    for at in range(order.shape[0]):
        task = order[at]
        machine, length = choices[pick[task], MACHINE], choices[pick[task], WORK]
        job, family = tasks[task, JOB], tasks[task, FAMILY]
        extra = setups[machine, work[IS, machine], family]
        free = work[OPEN, machine]
        rests = machines[machine, RESTS]
        if rests > 0:
            rest = work[REST, machine]
            while rest < rests and closed[machine, rest, 1] <= free:
                rest += 1
            work[REST, machine] = rest
            if extra > 0:
                free = _do(
                    closed, machine, rests, rest, _begin(closed, machine, rests, rest, 1, free, 1), extra
                )
            start = max(free, work[AT, job], tasks[task, EARLIEST])
            start = _begin(closed, machine, rests, rest, machines[machine, SPLITS], start, length)
            end = _do(closed, machine, rests, rest, start, length)
        else:
            free += extra
            start = max(free, work[AT, job], tasks[task, EARLIEST])
            end = start + length
        if end + tasks[task, TAIL] > limit:
            return False
        line[START, task] = start
        line[END, task] = end
        line[WHY, task] = work[ON, machine] if work[AT, job] <= free else work[LAST, job]
        set_up += extra
        if tasks[task, HOME] >= 0:
            if tasks[task, HOME] != machine or tasks[task, AFTER] != work[KNOWN, machine]:
                moved += 1
            work[KNOWN, machine] = task
        work[AT, job] = end
        work[LAST, job] = task
        work[OPEN, machine] = end
        work[ON, machine] = task
        work[IS, machine] = family
        last = max(last, end)
    _count(jobs, levels, work, cost, last, moved, set_up)
    return True


@part
def _count(jobs: Ints, levels: Ints, work: Ints, cost: Ints, last: int, moved: int, set_up: int) -> None:
    """Write what a schedule costs, level by level."""
    late = 0
    for job in range(jobs.shape[0]):
        last = max(last, jobs[job, DONE])
        late += jobs[job, WEIGHT] * max(0, max(work[AT, job], jobs[job, DONE]) - jobs[job, DUE])
    for level in range(levels.shape[0]):
        what = levels[level]
        if what == TARDINESS:
            cost[level] = late
        elif what == MAKESPAN:
            cost[level] = last
        elif what == CHANGES:
            cost[level] = moved
        else:
            cost[level] = set_up


@part
def _culprit(jobs: Ints, line: Ints, work: Ints, seed: Seed, other: int, what: int) -> int:
    """Return a task that the level's cost hangs on: one that a last or a late task waited for; else the other."""
    if what == MAKESPAN:
        end = -_LATE
        task, ties = 0, 0
        for job in range(jobs.shape[0]):
            if work[LAST, job] >= 0 and work[AT, job] >= end:
                ties = ties + 1 if work[AT, job] == end else 1
                if ties == 1 or below(seed, ties) == 0:
                    task = work[LAST, job]
                end = work[AT, job]
    elif what == TARDINESS:
        task, ties = -1, 0
        for job in range(jobs.shape[0]):
            if work[LAST, job] >= 0 and jobs[job, WEIGHT] > 0 and work[AT, job] > jobs[job, DUE]:
                ties += 1
                if below(seed, ties) == 0:
                    task = work[LAST, job]
        if task < 0:
            return other
    else:
        return other
    found = task
    for seen in range(_STEPS_MAX):
        if task < 0:
            break
        if below(seed, seen + 1) == 0:
            found = task
        task = line[WHY, task]
    return found


@part
def _shift(order: Ints, place: Ints, source: int, target: int) -> None:
    """Take the task at a place out of the order and put it to another place."""
    task = order[source]
    if source < target:
        for at in range(source, target):
            order[at] = order[at + 1]
            place[order[at]] = at
    else:
        for at in range(source, target, -1):
            order[at] = order[at - 1]
            place[order[at]] = at
    order[target] = task
    place[task] = target


@part
def _sort(order: Ints, place: Ints, line: Ints) -> None:
    """Sort the order by start; it nearly is. Tasks of the same start keep their order."""
    for at in range(1, order.shape[0]):
        task = order[at]
        start = line[START, task]
        hole = at
        while hole > 0 and line[START, order[hole - 1]] > start:
            order[hole] = order[hole - 1]
            hole -= 1
        order[hole] = task
    for at in range(order.shape[0]):
        place[order[at]] = at


@part
def _target(
    tasks: Ints, choices: Ints, order: Ints, pick: Ints, place: Ints, seed: Seed, task: int, machine: int
) -> int:
    """Return a place for a task on a machine, between its neighbours of the same job; -1 if that changes nothing."""
    here, job = place[task], tasks[task, JOB]
    low, high = 0, order.shape[0] - 1
    if task > 0 and tasks[task - 1, JOB] == job:
        low = place[task - 1] + 1
    if task + 1 < tasks.shape[0] and tasks[task + 1, JOB] == job:
        high = place[task + 1] - 1
    others, mine = (
        0,
        0,
    )  # tasks of the machine between low and high, and those of them before it
    for at in range(low, high + 1):
        if at == here:
            mine = others
        elif choices[pick[order[at]], MACHINE] == machine:
            others += 1
    same = choices[pick[task], MACHINE] == machine
    if same and others == 0:
        return -1
    slot = below(seed, others if same else others + 1)  # tasks of the machine that it shall stand behind
    if same and slot >= mine:
        slot += 1
    if slot == mine:
        return here
    seen = 0
    for at in range(low, high + 1):
        if at != here and choices[pick[order[at]], MACHINE] == machine:
            if slot < mine and seen == slot:
                return at
            seen += 1
            if slot > mine and seen == slot:
                return at
    return here


@part
def _takes(now: Ints, then: Ints, heat: NDArray[np.float64], seed: Seed) -> bool:
    """Say whether to take a move; the first level that it changes decides."""
    for level in range(now.shape[0]):
        more = then[level] - now[level]
        if more < 0:
            return True
        if more > 0:
            return bool(accepts(more, heat[level], seed))
    return True


@part
def _copy(order: Ints, place: Ints, line: Ints, work: Ints, trial_line: Ints, trial_work: Ints) -> None:
    """Make the trial true."""
    for row in range(line.shape[0]):
        for task in range(line.shape[1]):
            line[row, task] = trial_line[row, task]
    for row in (AT, LAST):
        for job in range(work.shape[1]):
            work[row, job] = trial_work[row, job]
    _sort(order, place, line)


@part
def _span(jobs: Ints, levels: Ints) -> int:
    """Return the level of the makespan if nothing before it can cost anything, else -1."""
    for level in range(levels.shape[0]):
        if levels[level] == MAKESPAN:
            return level
        if levels[level] != TARDINESS:
            return -1
        for job in range(jobs.shape[0]):
            if jobs[job, WEIGHT] > 0:
                return -1
    return -1


@part
def _is_there(best_cost: Ints, least: Ints, level: int) -> bool:
    """Say whether a level and those before it cost what they must."""
    above = 0
    for each in range(level + 1):
        above += max(0, best_cost[each] - least[each])
    return above == 0


@compiled
def search(
    tasks: Ints, choices: Ints, jobs: Ints, machines: Ints, closed: Ints, setups: Ints, levels: Ints,
    order: Ints, pick: Ints, place: Ints, line: Ints, work: Ints, cost: Ints,
    trial_line: Ints, trial_work: Ints, trial: Ints, seed: Seed,
    best: Ints, best_pick: Ints, best_cost: Ints, least: Ints,
    level: int, hot: NDArray[np.float64], cold: NDArray[np.float64], moves: int,
) -> int:  # fmt: skip
    """Work on one level from where the schedule stands, and keep the best order seen in `best`.

    `hot` and `cold` are the first and the last temperature of each level; 0 for a level that must not get
    worse. Moves that make the makespan far too long are left early where nothing before it can cost. `least` is what no schedule can be below: the search ends where the level
    and those before it are there. Returns the moves priced.
    """
    span = _span(jobs, levels)
    heat = hot.copy()
    cost[:] = _LATE
    for at in range(order.shape[0]):
        place[order[at]] = at
    for move in range(-1, moves):  # the first one changes nothing, and is taken
        if move >= 0 and move % 256 == 0:
            for each in range(heat.shape[0]):
                if hot[each] > 0:
                    heat[each] = hot[each] * (cold[each] / hot[each]) ** (move / moves)
            if _is_there(best_cost, least, level):
                return move
        task = below(seed, order.shape[0])
        if move >= 0 and below(seed, 1000) < _CRITICAL_PERMILLE:
            task = _culprit(jobs, line, work, seed, task, levels[level])
        before = pick[task]
        choice = before
        source = place[task]
        target = source
        if move >= 0:
            if below(seed, 1000) >= _STAY_PERMILLE:
                choice = tasks[task, LOW] + below(seed, tasks[task, HIGH] - tasks[task, LOW])
            target = _target(tasks, choices, order, pick, place, seed, task, choices[choice, MACHINE])
        if target < 0:
            continue
        pick[task] = choice
        _shift(order, place, source, target)
        limit = _LATE if span < 0 or move < 0 else cost[span] + np.int64(20 * heat[span])
        if decode(
            tasks,
            choices,
            jobs,
            machines,
            closed,
            setups,
            levels,
            order,
            pick,
            trial_line,
            trial_work,
            trial,
            limit,
        ) and _takes(cost, trial, heat, seed):
            cost[:] = trial
            _copy(order, place, line, work, trial_line, trial_work)
            if is_less(cost, best_cost):
                best_cost[:] = cost
                best[:] = order
                best_pick[:] = pick
        else:
            pick[task] = before
            _shift(order, place, target, source)
    return moves
