"""Read a flexible job shop in the format of Brandimarte's instances (`.fjs`).

The first line has the number of jobs and of machines (what follows on it is not read). Each further line is a
job: its number of tasks, then for each task the number of machines that can do it and, for each of those, the
machine's number and the time. Machines count from 1, or from 0 where a file has a machine 0.

Pure: text in, a problem out.

Source: Brandimarte (1993), Routing and scheduling in a flexible job shop by tabu search; the format of the
instances of Mastrolilli.
"""

from __future__ import annotations

from typing import Final

from ringroad.build.shop.problem import RESOURCES_MAX, TASKS_MAX, Job, Resource, ShopProblem, Task
from ringroad.kernel.errors import InvalidInput

FILE_BYTES_MAX: Final = 4_000_000  # the largest published instance has 60 kB


def read_brandimarte(text: str) -> ShopProblem:
    """Return the problem of a file. Raises: InvalidInput, naming the line."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or len(lines[0]) < 2:
        raise InvalidInput("no flexible job shop: the first line has the number of jobs and of machines")
    jobs, machines = _whole(lines[0][0], "line 1"), _whole(lines[0][1], "line 1")
    if not 1 <= machines <= RESOURCES_MAX:
        raise InvalidInput(f"{machines} machines, limit {RESOURCES_MAX}")
    if jobs != len(lines) - 1:
        raise InvalidInput(f"the first line says {jobs} jobs, but {len(lines) - 1} follow")
    listed = [_job(words, f"j{number}") for number, words in enumerate(lines[1:], start=1)]
    used = {machine for tasks in listed for task in tasks for machine, _ in task}
    first = 0 if 0 in used else 1
    if used and not first <= min(used) <= max(used) < first + machines:
        raise InvalidInput(f"a task wants machine {max(used)} of {machines} that count from {first}")
    return ShopProblem(
        resources=tuple(Resource(id=f"m{number}") for number in range(first, first + machines)),
        jobs=tuple(
            Job(
                id=f"j{number}",
                tasks=tuple(
                    Task(id=f"j{number}.{step}", work={f"m{machine}": time for machine, time in task})
                    for step, task in enumerate(tasks, start=1)
                ),
            )
            for number, tasks in enumerate(listed, start=1)
        ),
    )


def _job(words: list[str], job_id: str) -> list[list[tuple[int, int]]]:
    """Return the machines and times of each task of a job."""
    numbers = iter([_whole(word, f"job {job_id}") for word in words])
    try:
        count = min(next(numbers), TASKS_MAX + 1)
        tasks = [[(next(numbers), next(numbers)) for _ in range(next(numbers))] for _ in range(count)]
    except (StopIteration, RuntimeError):
        raise InvalidInput(f"job {job_id} ends in the middle of a task") from None
    if next(numbers, None) is not None:
        raise InvalidInput(f"job {job_id} has numbers behind its last task")
    return tasks


def _whole(word: str, where: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 9):
        raise InvalidInput(f"{word[:20]!r} in {where} is no whole number")
    return int(word)
