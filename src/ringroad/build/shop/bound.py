"""What does any schedule of a shop need at least? Proved by counting, without a solver.

- A job cannot end before its tasks were done one after the other, each on its fastest resource.
- Resources that alone can do some tasks cannot have done them before their work is shared out evenly: counted
  for all sets of resources where there are few, else for each one and for all. What must come before the first
  of these tasks and behind the last of them is added.

Breaks, set-ups and the running schedule only make schedules longer, so they are left out.
"""

from __future__ import annotations

from typing import Final

from ringroad.build.shop.problem import Job, Level, ShopProblem

SETS_RESOURCES_MAX: Final = 15  # 32,767 sets, a second


def lower_bound(problem: ShopProblem) -> dict[Level, int]:
    """Return, level by level, a cost that no schedule of the problem can be below."""
    least = {Level.TARDINESS: 0, Level.MAKESPAN: 0, Level.CHANGES: 0, Level.SETUP: 0}
    for job in problem.jobs:
        end = _ready(problem, job) + sum(_fastest(job))
        past = max((task.fixed.end for task in job.tasks if task.fixed), default=end)
        end = max(end, past)
        least[Level.MAKESPAN] = max(least[Level.MAKESPAN], end)
        if job.due is not None:
            least[Level.TARDINESS] += job.weight * max(0, end - job.due)
    least[Level.MAKESPAN] = max(least[Level.MAKESPAN], _shared(problem))
    return {level: least[level] for level in problem.order}


def _fastest(job: Job) -> list[int]:
    """Return the least time of each task that is not fixed; 0 for the others."""
    return [0 if task.fixed else min(task.work.values()) for task in job.tasks]


def _ready(problem: ShopProblem, job: Job) -> int:
    """Return when the first task that is not fixed could start."""
    before = [job.release, problem.now] if any(not task.fixed for task in job.tasks) else [job.release]
    for task in job.tasks:
        if task.fixed is None:
            break
        before.append(task.fixed.end)
    return max(before)


def _shared(problem: ShopProblem) -> int:
    """Return what the work needs that only some resources can do, over sets of resources."""
    number = {resource.id: index for index, resource in enumerate(problem.resources)}
    everything = (1 << len(number)) - 1
    tasks: list[tuple[int, int, int, int]] = []  # resources as bits, least time, time before, time behind
    for job in problem.jobs:
        fastest, start = _fastest(job), _ready(problem, job)
        for index, task in enumerate(job.tasks):
            if task.fixed is None:
                bits = sum(1 << number[resource_id] for resource_id in task.work)
                tasks.append((bits, fastest[index], start + sum(fastest[:index]), sum(fastest[index + 1 :])))
    if not tasks:
        return 0
    few = len(number) <= SETS_RESOURCES_MAX
    sets = range(1, everything + 1) if few else [*(1 << index for index in range(len(number))), everything]
    found = 0
    for chosen in sets:
        inside = [task for task in tasks if task[0] & ~chosen == 0]
        if inside:
            work = -(-sum(task[1] for task in inside) // chosen.bit_count())
            found = max(found, min(task[2] for task in inside) + work + min(task[3] for task in inside))
    return found
