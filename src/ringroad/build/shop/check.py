"""Does a schedule keep the rules, and what does it cost? Slow and obvious, and apart from every search.

Nothing here is shared with what makes schedules: open time is counted from the calendar's words, resource by
resource, and each rule is looked at for each task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

from ringroad.build.shop.problem import Job, Level, Placed, Resource, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput


def check_schedule(problem: ShopProblem, placed: Sequence[Placed]) -> list[str]:
    """Return what is wrong with a schedule, in sentences; nothing if it holds.

    Args:
        problem: what was asked.
        placed: the answer, in any order.
    """
    tasks = {task.id: task for _, task in problem.tasks()}
    if sorted(each.task for each in placed) != sorted(tasks):
        return ["the schedule does not have each task once"]
    at = {each.task: each for each in placed}
    wrong: list[str] = []
    for job in problem.jobs:
        wrong += _job_faults(problem, job, at)
    for resource in problem.resources:
        wrong += _resource_faults(problem, resource, placed, tasks)
    return wrong


def count_cost(problem: ShopProblem, placed: Sequence[Placed]) -> dict[Level, int]:
    """Return what a schedule costs, level by level.

    Raises:
        InvalidInput: it breaks a rule.
    """
    wrong = check_schedule(problem, placed)
    if wrong:
        raise InvalidInput(f"the schedule does not hold: {wrong[0]}")
    return {level: _count(problem, placed, level) for level in problem.order}


def open_time(resource: Resource, start: int, end: int) -> int:
    """Return how much of the time from start to end a resource is open."""
    shut = sum(max(0, min(end, to) - max(start, since)) for since, to in resource.closed)
    return end - start - shut


def _job_faults(problem: ShopProblem, job: Job, at: dict[str, Placed]) -> Iterator[str]:
    resources = {resource.id: resource for resource in problem.resources}
    ready = job.release
    for task in job.tasks:
        here = at[task.id]
        if task.fixed is not None:
            if here != task.fixed:
                yield f"task {task.id} was fixed and has moved"
        elif here.resource not in task.work:
            yield f"task {task.id} cannot be done on {here.resource}"
        else:
            work, resource = task.work[here.resource], resources[here.resource]
            if here.start < problem.now:
                yield f"task {task.id} starts in the past"
            if here.start < ready:
                yield f"task {task.id} starts before its job is there"
            if open_time(resource, here.start, here.end) != work:
                yield f"task {task.id} has not the time that it takes"
            if not resource.splits and here.end - here.start != work:
                yield f"task {task.id} is interrupted, and may not be"
            if work and any(since <= here.start < to for since, to in resource.closed):
                yield f"task {task.id} starts while {resource.id} is closed"
        ready = max(ready, here.end)


def _on(resource: Resource, placed: Iterable[Placed], tasks: dict[str, Task]) -> list[Placed]:
    """Return what a resource does in its order: what was done, then what is to be done."""
    mine = [each for each in placed if each.resource == resource.id]
    return sorted(mine, key=lambda each: (tasks[each.task].fixed is None, each.start, each.end))


def _resource_faults(
    problem: ShopProblem, resource: Resource, placed: Sequence[Placed], tasks: dict[str, Task]
) -> Iterator[str]:
    mine = _on(resource, placed, tasks)
    past = max((each.end for each in mine if tasks[each.task].fixed is not None), default=problem.now)
    family, end = _family(resource, mine, tasks), max(past, problem.now)
    for each in mine:
        task = tasks[each.task]
        if task.fixed is not None:
            continue
        setup = problem.setups.get((resource.id, family, task.family), 0)
        if each.start < end:
            yield f"task {each.task} starts on {resource.id} before the one before it ends"
        elif open_time(resource, end, each.start) < setup:
            yield f"task {each.task} starts on {resource.id} before it is set up"
        family, end = task.family, each.end


def _family(resource: Resource, mine: Sequence[Placed], tasks: dict[str, Task]) -> str:
    """Return what a resource is set up for when its past ends."""
    done = [each for each in mine if tasks[each.task].fixed is not None]
    return tasks[max(done, key=lambda each: (each.end, each.start)).task].family if done else resource.family


def _count(problem: ShopProblem, placed: Sequence[Placed], level: Level) -> int:
    tasks = {task.id: task for _, task in problem.tasks()}
    free = [each for each in placed if tasks[each.task].fixed is None]
    match level:
        case Level.MAKESPAN:
            return max((each.end for each in placed), default=0)
        case Level.TARDINESS:
            ends = {each.task: each.end for each in placed}
            return sum(
                job.weight * max(0, max(ends[task.id] for task in job.tasks) - job.due)
                for job in problem.jobs
                if job.due is not None
            )
        case Level.SETUP:
            total = 0
            for resource in problem.resources:
                mine = _on(resource, placed, tasks)
                families = [_family(resource, mine, tasks)]
                families += [tasks[each.task].family for each in mine if tasks[each.task].fixed is None]
                total += sum(problem.setups.get((resource.id, *pair), 0) for pair in pairwise(families))
            return total
        case Level.CHANGES:
            both = {each.task for each in free} & {each.task for each in problem.running}
            before, after = neighbours(problem.running, both), neighbours(free, both)
            return sum(place != before[task] for task, place in after.items())


def neighbours(placed: Iterable[Placed], among: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the resource of each task and the task before it there; tasks that are not among those do not count."""
    last: dict[str, str] = {}
    found = {}
    for each in sorted(placed, key=lambda each: (each.start, each.end)):
        if each.task in among:
            found[each.task] = (each.resource, last.get(each.resource, ""))
            last[each.resource] = each.task
    return found
