"""What of a shop's schedule is left to place at a moment: the past is fixed, what stands is closed.

Pure. A task that began before now, or within the frozen time behind it, is a fact: it keeps resource and start,
and ends when the calendar allows; so is the next task of a resource that is being set up for it, since a set-up
that began is not begun again. Tasks whose true times are known keep those, even where they cannot have
been; so nothing that was confirmed can break a replan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ringroad.build.shop.check import open_time
from ringroad.build.shop.dispatch import end_of
from ringroad.build.shop.problem import CALM, TIME_MAX, Placed, Resource, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput


def replan_at(
    problem: ShopProblem,
    running: Sequence[Placed],
    *,
    now: int,
    frozen: int = 0,
    down: Mapping[str, int] | None = None,
    done: Mapping[str, Placed] | None = None,
    before: Mapping[str, Resource] | None = None,
) -> ShopProblem:
    """Return the problem that is left.

    Args:
        problem: what was asked; may have new jobs.
        running: the schedule that the shop follows.
        now: of the replan.
        frozen: tasks that would start in this time from now on keep their places too, unless theirs stands.
        down: resources that stand from now on, and for how long.
        done: true times of tasks, as the shop told them.
        before: resources as the running schedule took them to be, where that is not what they are now: a stop that
            ended before it was expected to, so that a task under way is done earlier.

    Raises:
        InvalidInput: a resource or a task is not the shop's, or a time is none.
    """
    down, done = dict(down or {}), dict(done or {})
    resources = {each.id: each for each in problem.resources}
    tasks = {task.id for _, task in problem.tasks()}
    for name in down:
        if name not in resources or not 0 < down[name] <= TIME_MAX:
            raise InvalidInput(f"resource {name!r} is not in the shop, or stands for no time: {down[name]}")
    for name, place in done.items():
        if name not in tasks or place.resource not in resources or place.end < place.start:
            raise InvalidInput(f"task {name!r} or its resource {place.resource!r} is not in the shop")
        if now < place.start:
            raise InvalidInput(f"task {name!r} began at {place.start}, which is in the future at {now}")
    shut = {
        each.id: replace(each, closed=_with(each.closed, now, now + down[each.id]))
        if each.id in down
        else each
        for each in problem.resources
    }
    at = {each.task: each for each in running}
    awaited = _being_set_up(problem, running, now=now)
    jobs = []
    for job in problem.jobs:
        fixed: list[Task] = []
        ready = job.release  # of the next task, as far as those before it are fixed
        for task in job.tasks:
            until = max(now + frozen, at[task.id].start + 1) if task.id in awaited else now + frozen
            at_last = _fixed(task, at.get(task.id), done, shut, now=now, until=until, down=down)
            if at_last is not None and task.fixed is None and at_last.start < now < at_last.end and before:
                at_last = _going_on(at[task.id], before, shut, now=now)
            if at_last is not None and now <= at_last.start < ready:
                at_last = None  # frozen, but what it waits for moves
            fixed.append(replace(task, fixed=at_last))
            ready = TIME_MAX if at_last is None else max(ready, at_last.end)
        jobs.append(replace(job, tasks=tuple(fixed)))
    return replace(
        problem, resources=tuple(shut.values()), jobs=tuple(jobs), now=now, order=CALM, running=tuple(running)
    )


def affected(running: Sequence[Placed], problem: ShopProblem, repaired: Sequence[Placed]) -> tuple[str, ...]:
    """Return the tasks that the event moves: those that a repair has later than the running schedule, or anew."""
    before = {each.task: each for each in running}
    free = {task.id for _, task in problem.tasks() if task.fixed is None}
    return tuple(
        each.task
        for each in repaired
        if each.task in free
        and (
            each.task not in before
            or before[each.task].start < each.start
            or before[each.task].end < each.end
        )
    )


def _being_set_up(problem: ShopProblem, running: Sequence[Placed], *, now: int) -> set[str]:
    """Return the tasks that a resource, done with the one before, is or was set up for."""
    family_of = {task.id: task.family for _, task in problem.tasks()}
    found = set()
    for resource in problem.resources:
        mine = sorted(
            (each for each in running if each.resource == resource.id and each.task in family_of),
            key=lambda each: (each.start, each.end),
        )
        past = [each for each in mine if each.start < now]
        following = mine[len(past) :]
        before = family_of[past[-1].task] if past else resource.family
        if following and not (past and now <= past[-1].end):
            after = following[0].task
            if problem.setups.get((resource.id, before, family_of[after]), 0):
                found.add(after)
    return found


def _fixed(
    task: Task,
    place: Placed | None,
    done: Mapping[str, Placed],
    resources: Mapping[str, Resource],
    *,
    now: int,
    until: int,
    down: Mapping[str, int],
) -> Placed | None:
    if task.id in done:
        return done[task.id]
    if task.fixed is not None:
        return task.fixed
    if place is None or place.resource not in task.work:
        return None
    if now <= place.start and (place.resource in down or until <= place.start):
        return None
    if place.end <= now:
        return place
    # Of the work, what was done by now is done; the rest pauses while the resource is closed, or stands.
    end = end_of(resources[place.resource], place.start, task.work[place.resource])
    return replace(place, end=max(end, place.end) if place.resource in down else place.end)


def _going_on(
    place: Placed, before: Mapping[str, Resource], resources: Mapping[str, Resource], *, now: int
) -> Placed:
    """Return a task under way that ends when what the running schedule left of it is done."""
    left = open_time(before[place.resource], now, place.end)
    return replace(place, end=max(now, end_of(resources[place.resource], now, left)))


def _with(closed: Sequence[tuple[int, int]], since: int, to: int) -> tuple[tuple[int, int], ...]:
    """Return closed times with one more; those that touch become one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted([*closed, (since, to)]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return tuple(found)
