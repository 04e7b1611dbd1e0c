"""A schedule of a shop at once: by a dispatch rule, or the running one repaired. Plain Python, for the server.

`dispatch` places task after task: of those whose job is ready, the one that could start first, and of these the
one whose job is most pressed. `repair` keeps the running schedule's order on each resource and shifts it to the
right as far as the past, the calendar and set-ups demand; new tasks are placed behind by the same rule.

Places are made here a second time, slowly, beside `kernels/shop.py`; tests hold them against each other.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringroad.build.shop.check import count_cost
from ringroad.build.shop.problem import Placed, Resource, Schedule, ShopProblem, Task

Order = list[tuple[str, str]]  # task and its resource, in the order in which they are placed


def dispatch(problem: ShopProblem) -> Schedule:
    """Place every task by the rule."""
    return place_all(problem, rule_order(problem, []))


def repair(problem: ShopProblem) -> Schedule:
    """Keep the running schedule's order and shift it, then place what it does not have."""
    return place_all(problem, rule_order(problem, running_order(problem)))


def running_order(problem: ShopProblem) -> Order:
    """Return the tasks of the running schedule that may still be placed, in an order that jobs allow."""
    jobs = {task.id: (job.id, place) for job in problem.jobs for place, task in enumerate(job.tasks)}
    free = {task.id: task for _, task in problem.tasks() if task.fixed is None}
    running = [
        each for each in problem.running if each.task in free and each.resource in free[each.task].work
    ]
    has = {each.task for each in running}
    wanted = sorted(running, key=lambda each: (each.start, each.end, jobs[each.task][1]))
    # A task whose job has an earlier one that is new, or stands behind it, is placed anew with what follows it.
    found: Order = []
    done: dict[str, int] = {}
    for each in wanted:
        job_id, place = jobs[each.task]
        job = next(job for job in problem.jobs if job.id == job_id)
        before = [task.id for task in job.tasks[:place] if task.fixed is None]
        if all(task_id in has for task_id in before) and done.get(job_id, 0) == len(before):
            found.append((each.task, each.resource))
            done[job_id] = done.get(job_id, 0) + 1
    return found


def rule_order(problem: ShopProblem, given: Order) -> Order:
    """Return an order that begins with a given one and places the other tasks by the rule."""
    state = Places(problem)
    order = list(given)
    for task_id, resource_id in given:
        state.put(state.tasks[task_id], resource_id)
    done = {task_id for task_id, _ in given}
    left = {
        job.id: [task for task in job.tasks if task.fixed is None and task.id not in done]
        for job in problem.jobs
    }
    due = {job.id: (job.due if job.due is not None else problem.now) for job in problem.jobs}
    has_due = {job.id: job.due is not None for job in problem.jobs}
    while any(left.values()):
        best: tuple[tuple[int, int, int, str], Task, str] | None = None
        for job_id, tasks in left.items():
            if not tasks:
                continue
            _, start, resource_id = min(
                (place.end, place.start, place.resource)
                for place in (state.where(tasks[0], resource_id) for resource_id in tasks[0].work)
            )
            rest = sum(min(task.work.values()) for task in tasks)
            slack = due[job_id] - start - rest if has_due[job_id] else 1 << 40
            key = (start, min(slack, 1 << 40), -rest, tasks[0].id)
            if best is None or key < best[0]:
                best = (key, tasks[0], resource_id)
        assert best is not None  # noqa: S101 - some job has a task left
        _, task, resource_id = best
        state.put(task, resource_id)
        order.append((task.id, resource_id))
        left[state.job_of[task.id]].pop(0)
    return order


def place_all(problem: ShopProblem, order: Sequence[tuple[str, str]]) -> Schedule:
    """Place tasks in an order, each as early as it can be there, and count what that costs."""
    state = Places(problem)
    for task_id, resource_id in order:
        state.put(state.tasks[task_id], resource_id)
    placed = tuple(sorted(state.placed, key=lambda each: (each.start, each.end)))
    return Schedule(placed=placed, cost=count_cost(problem, placed))


class Places:
    """Where tasks would stand: when each job and each resource is free, and what the latter is set up for."""

    def __init__(self, problem: ShopProblem) -> None:
        self.problem = problem
        self.tasks = {task.id: task for _, task in problem.tasks()}
        self.job_of = {task.id: job.id for job, task in problem.tasks()}
        self.resources = {resource.id: resource for resource in problem.resources}
        self.placed = [task.fixed for task in self.tasks.values() if task.fixed is not None]
        self.free = {resource.id: problem.now for resource in problem.resources}
        self.family = {resource.id: resource.family for resource in problem.resources}
        for past in sorted(self.placed, key=lambda each: (each.end, each.start)):
            self.free[past.resource] = max(self.free[past.resource], past.end)
            self.family[past.resource] = self.tasks[past.task].family
        self.ready = {job.id: ready_at(problem, job.id) for job in problem.jobs}
        self._behind = behind_fixed(problem)

    def where(self, task: Task, resource_id: str) -> Placed:
        """Return where a task would stand on a resource now."""
        resource = self.resources[resource_id]
        setup = self.problem.setups.get((resource_id, self.family[resource_id], task.family), 0)
        start = self.free[resource_id]
        if setup:
            start = end_of(resource, begin(resource, start, 1, splits=True), setup)
        start = max(start, self.ready[self.job_of[task.id]], self._behind.get(task.id, start))
        work = task.work[resource_id]
        start = begin(resource, start, work, splits=resource.splits)
        return Placed(task=task.id, resource=resource_id, start=start, end=end_of(resource, start, work))

    def put(self, task: Task, resource_id: str) -> None:
        """Place a task."""
        place = self.where(task, resource_id)
        self.placed.append(place)
        self.free[resource_id] = place.end
        self.family[resource_id] = task.family
        self.ready[self.job_of[task.id]] = place.end


def ready_at(problem: ShopProblem, job_id: str) -> int:
    """Return when the first free task of a job may start, by its release and by what was done before it."""
    job = next(job for job in problem.jobs if job.id == job_id)
    ready = max(job.release, problem.now)
    for task in job.tasks:
        if task.fixed is None:
            break
        ready = max(ready, task.fixed.end)
    return ready


def behind_fixed(problem: ShopProblem) -> dict[str, int]:
    """Return, for free tasks that stand behind a fixed one of their job, when that ends."""
    found = {}
    for job in problem.jobs:
        latest = None
        for task in job.tasks:
            if task.fixed is not None:
                latest = max(task.fixed.end, latest or task.fixed.end)
            elif latest is not None:
                found[task.id] = latest
    return found


def begin(resource: Resource, earliest: int, work: int, *, splits: bool) -> int:
    """Return the first open time, and of work that does not split the first with room for all of it."""
    at = earliest
    for start, end in resource.closed:
        if end <= at:
            continue
        if at < start and (splits or at + work <= start):
            break
        if work == 0 and at <= start:
            break
        at = end
    return at


def end_of(resource: Resource, start: int, work: int) -> int:
    """Return when work is done that pauses while the resource is closed."""
    at, left = start, work
    for since, to in resource.closed:
        if left <= 0 or at + left <= since:
            break
        if to <= at:
            continue
        left -= max(0, since - at)
        at = to
    return at + max(0, left)
