"""What is asked of a shop's schedule: jobs whose tasks have a choice of resources, calendars, set-ups, and a past.

A flexible job shop: the tasks of a job follow one another, each on one of its resources, each resource does one
task at a time. A resource rests while it is closed: work that `splits` pauses and goes on behind the break,
other work has to end before it. Between two tasks of different families a resource is set up, which is work
too, may pause, and needs no part: it can be done before the part is there.

What was done is a fact: a task with `fixed` keeps resource, start and end, even where the calendar, the order
of its job or another task says that this cannot have been. Everything else starts behind `now`.

Times are whole numbers of one unit, seconds in a plant. Costs are levels, as in `sequence/problem.py`.

Source: Brandimarte (1993), flexible job shop; Allahverdi (2015), set-ups that depend on the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

from ringroad.kernel.errors import InvalidInput

TASKS_MAX: Final = 3_000  # per shop; some shifts of a press shop, the largest published instance has 500
RESOURCES_MAX: Final = 200  # per shop
FAMILIES_MAX: Final = 100  # of set-ups per shop; a table of families twice for each resource
CLOSED_MAX: Final = 1_000  # closed times per resource; a year of nights and breaks
TIME_MAX: Final = 1_000_000_000  # units; 31 years in seconds, and sums stay within 64 bits
WEIGHT_MAX: Final = 1_000  # of a job's lateness


class Level(StrEnum):
    """One thing that a schedule may cost."""

    TARDINESS = "tardiness"  # weighted time that jobs end behind their due times
    MAKESPAN = "makespan"  # end of the last task
    CHANGES = "changes"  # tasks on another resource, or behind another task, than in the running schedule
    SETUP = "setup"  # time that resources are set up


ORDER: Final = (Level.TARDINESS, Level.MAKESPAN, Level.CHANGES, Level.SETUP)
CALM: Final = (
    Level.TARDINESS,
    Level.CHANGES,
    Level.MAKESPAN,
    Level.SETUP,
)  # as few changes as due times allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A task with its place: work and breaks from start to end, a set-up before it not counted."""

    task: str
    resource: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One step of a job.

    Attributes:
        id: of the task, one of its kind in the shop.
        work: time it takes, by resource that can do it.
        family: what the resource has to be set up for; "" for nothing.
        fixed: where it was done, is being done or is frozen; None for a task that may be placed.
    """

    id: str
    work: Mapping[str, int]
    family: str = ""
    fixed: Placed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Tasks in their order.

    Attributes:
        id: of the job.
        tasks: the first one first.
        release: its first task starts no earlier.
        due: its last task should have ended; None where nobody waits.
        weight: of each unit of time behind `due`.
    """

    id: str
    tasks: tuple[Task, ...]
    release: int = 0
    due: int | None = None
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One machine, press or station.

    Attributes:
        id: of the resource.
        closed: from-to times it rests, in order and apart from one another.
        splits: whether work pauses while it is closed; else it has to end before.
        family: what it is set up for at first; "" for nothing, from which every set-up is free unless listed.
    """

    id: str
    closed: tuple[tuple[int, int], ...] = ()
    splits: bool = True
    family: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopProblem:
    """What a schedule is asked for. Checked when it is made.

    Attributes:
        resources: of the shop.
        jobs: to be done.
        setups: time by resource, family before and family behind; what is not listed takes none.
        now: nothing that is not fixed starts earlier.
        order: the levels that matter, the most important first.
        running: where the running schedule has tasks, for `Level.CHANGES`.
    """

    resources: tuple[Resource, ...]
    jobs: tuple[Job, ...]
    setups: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    now: int = 0
    order: tuple[Level, ...] = ORDER
    running: tuple[Placed, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no schedule can hold. Raises: InvalidInput."""
        known = {resource.id for resource in self.resources}
        if len(known) != len(self.resources) or len(known) > RESOURCES_MAX:
            raise InvalidInput(f"a resource stands twice, or more than {RESOURCES_MAX} do")
        if not self.order or len(set(self.order)) != len(self.order):
            raise InvalidInput("no level to compare by, or one that stands twice")
        tasks = [task for _, task in self.tasks()]
        if len(tasks) > TASKS_MAX:
            raise InvalidInput(f"{len(tasks)} tasks, limit {TASKS_MAX}")
        for kind, ids in (("job", [job.id for job in self.jobs]), ("task", [task.id for task in tasks])):
            twice = next((one for one, other in pairwise(sorted(ids)) if one == other), None)
            if twice is not None:
                raise InvalidInput(f"{kind} {twice!r} stands twice")
        for resource in self.resources:
            _check_closed(resource)
        for job in self.jobs:
            _check_job(job)
        for task in tasks:
            _check_task(task, self.resources)
        if len({task.family for task in tasks} | {each.family for each in self.resources}) > FAMILIES_MAX:
            raise InvalidInput(f"more than {FAMILIES_MAX} families of set-ups")
        for (resource_id, before, after), time in self.setups.items():
            if resource_id not in known or not 0 <= time <= TIME_MAX:
                raise InvalidInput(
                    f"set-up of resource {resource_id!r} from {before!r} to {after!r} takes {time}, "
                    "or the resource is not known"
                )

    def tasks(self) -> Iterator[tuple[Job, Task]]:
        """Yield every task with its job."""
        for job in self.jobs:
            for task in job.tasks:
                yield job, task


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A place for every task and what that costs.

    Attributes:
        placed: by start.
        cost: of each level of the problem, in its order; counted by `check.py`, not by the search.
        moves: priced by the search, of its budget.
    """

    placed: tuple[Placed, ...]
    cost: Mapping[Level, int]
    moves: int = 0

    @property
    def rank(self) -> tuple[int, ...]:
        """What schedules of one problem are compared by; less is better."""
        return tuple(self.cost.values())


def _check_closed(resource: Resource) -> None:
    if len(resource.closed) > CLOSED_MAX:
        raise InvalidInput(
            f"resource {resource.id!r} is closed {len(resource.closed)} times, limit {CLOSED_MAX}"
        )
    end_before = -TIME_MAX
    for start, end in resource.closed:
        if not end_before < start < end <= TIME_MAX:
            raise InvalidInput(
                f"resource {resource.id!r} is closed from {start} to {end}: not in order, or no time at all",
                hint="closed times stand in order and do not touch",
            )
        end_before = end


def _check_job(job: Job) -> None:
    if not job.tasks:
        raise InvalidInput(f"job {job.id!r} has no task")
    if not 0 <= job.weight <= WEIGHT_MAX:
        raise InvalidInput(f"the weight of job {job.id!r} is not between 0 and {WEIGHT_MAX}")
    if not abs(job.release) <= TIME_MAX or not abs(job.due or 0) <= TIME_MAX:
        raise InvalidInput(f"a time of job {job.id!r} is out of bounds")
    if job.due is not None and job.due < job.release and all(task.fixed is None for task in job.tasks):
        raise InvalidInput(f"job {job.id!r} is due at {job.due}, before it is there at {job.release}")


def _check_task(task: Task, resources: tuple[Resource, ...]) -> None:
    by_id = {resource.id: resource for resource in resources}
    fixed = task.fixed
    if fixed is not None:
        if fixed.task != task.id or fixed.resource not in by_id or fixed.end < fixed.start:
            raise InvalidInput(f"task {task.id!r} is fixed to a place that is none: {fixed}")
        return
    if not task.work:
        raise InvalidInput(f"task {task.id!r} has no resource that can do it")
    fits = []
    for resource_id, work in task.work.items():
        if resource_id not in by_id:
            raise InvalidInput(
                f"task {task.id!r} wants resource {resource_id!r}, which the shop does not have"
            )
        if not 0 <= work <= TIME_MAX:
            raise InvalidInput(f"task {task.id!r} takes {work} on {resource_id!r}")
        resource = by_id[resource_id]
        # Behind the last break there is room for anything; a resource that is closed for ever has a last break.
        fits.append(resource.splits or not resource.closed or resource.closed[-1][1] < TIME_MAX)
    if not any(fits):
        raise InvalidInput(f"task {task.id!r} fits into no open time")
