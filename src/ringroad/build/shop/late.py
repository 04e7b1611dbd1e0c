"""What of a shop's plan is late, by how much, and what it waits for. Pure; for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ringroad.build.plant.parameters import path_of
from ringroad.build.shop.problem import Job, Placed, Resource, ShopProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class LateJob:
    """A job that ends behind its due time.

    Attributes:
        job: its id.
        due: when it should have ended.
        end: when it ends.
        why: the longest of its waits, in a sentence.
    """

    job: str
    due: int
    end: int
    why: str


def late_jobs(problem: ShopProblem, placed: Sequence[Placed], due: Mapping[str, int]) -> list[LateJob]:
    """Return the jobs that are late, the latest first.

    Args:
        problem: what was planned.
        placed: the plan.
        due: when each job should end; jobs that nobody waits for are left out.
    """
    at = {each.task: each for each in placed}
    found = []
    for job in problem.jobs:
        end = max(at[task.id].end for task in job.tasks)
        if job.id in due and due[job.id] < end:
            found.append(LateJob(job=job.id, due=due[job.id], end=end, why=_why(problem, job, at, placed)))
    return sorted(found, key=lambda each: (each.due - each.end, each.job))


def _why(problem: ShopProblem, job: Job, at: Mapping[str, Placed], placed: Sequence[Placed]) -> str:
    """Return what the job waits for longest; nothing to wait for means that it began too late."""
    resources = {each.id: each for each in problem.resources}
    waits: list[tuple[int, str]] = []
    ready = max(job.release, problem.now)
    for task in job.tasks:
        here = at[task.id]
        step = path_of(task.id)[-1]
        over = here.end - here.start - task.work.get(here.resource, here.end - here.start)
        if task.fixed is not None and over > 0:
            waits.append((over, f"{step} is interrupted for {span(over)} on {here.resource}"))
        elif task.fixed is None and ready < here.start:
            waits.append((here.start - ready, _cause(step, here, ready, resources[here.resource], placed)))
        ready = max(ready, here.end)
    if not waits:
        return "its work alone takes longer than is left"
    return max(waits)[1]


def _cause(step: str, here: Placed, ready: int, resource: Resource, placed: Sequence[Placed]) -> str:
    """Return why a step starts later than its job is ready: what the resource does in that time, most of it."""
    wait = here.start - ready
    shut = sum(max(0, min(here.start, to) - max(ready, since)) for since, to in resource.closed)
    busy = [
        (min(here.start, each.end) - max(ready, each.start), each.task)
        for each in placed
        if each.resource == here.resource
        and each.task != here.task
        and each.start < here.start
        and ready < each.end
    ]
    worked = sum(seconds for seconds, _ in busy)
    if max(shut, worked, wait - shut - worked) == shut:
        return f"{step} waits {span(wait)} for {resource.id}, which rests or stands for {span(shut)} of it"
    if worked >= wait - shut - worked:
        return f"{step} waits {span(wait)} for {resource.id}, which does {_others(busy)} before it"
    return f"{step} waits {span(wait)} for {resource.id}, which is set up for it"


def _others(busy: Sequence[tuple[int, str]]) -> str:
    if len(busy) == 1:
        return busy[0][1]
    return f"{len(busy)} others"


def span(seconds: int) -> str:
    """Return a length of time as people say it."""
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
