"""Work of a line to be dealt to its stations: tasks with times and an order, for a takt or a number of stations.

Simple assembly line balancing: each task at one station, none before what it follows, and no station with more
work than the takt. With a takt the fewest stations are wanted (type 1), with a number of stations the shortest
takt (type 2).

Pure. Source: Scholl, Becker (2006), exact and heuristic solution procedures for simple assembly line balancing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from ringroad.kernel.errors import InvalidInput

TASKS_MAX: Final = 1_000  # the largest published instances
STATIONS_MAX: Final = 400  # of a line
SECONDS_MAX: Final = 100_000  # of one task, a day and some
DOCUMENT_BYTES_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One task of the line.

    Attributes:
        id: of the task.
        seconds: it takes.
        after: tasks that must be done before.
        station: that does it now; "" where that is not said.
    """

    id: str
    seconds: int
    after: tuple[str, ...] = ()
    station: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceProblem:
    """What is to be dealt out. Checked when it is made; tasks stand in an order that `after` allows.

    Attributes:
        tasks: of the line.
        takt: seconds; None to find the shortest one.
        stations: how many; None to find the fewest.
    """

    tasks: tuple[Work, ...]
    takt: int | None = None
    stations: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no line can do. Raises: InvalidInput."""
        if not 1 <= len(self.tasks) <= TASKS_MAX:
            raise InvalidInput(f"{len(self.tasks)} tasks, between 1 and {TASKS_MAX} can be dealt out")
        names = [task.id for task in self.tasks]
        twice = next((one for one, other in pairwise(sorted(names)) if one == other), None)
        if twice is not None:
            raise InvalidInput(f"task {twice!r} stands twice")
        for task in self.tasks:
            if not 1 <= task.seconds <= SECONDS_MAX:
                raise InvalidInput(f"task {task.id!r} takes {task.seconds} s")
            for before in task.after:
                if before not in names:
                    raise InvalidInput(f"task {task.id!r} follows {before!r}, which is not there")
        if (self.takt is None) == (self.stations is None):
            raise InvalidInput("a takt or a number of stations is wanted, and not both")
        longest = max(self.tasks, key=lambda task: task.seconds)
        if self.takt is not None and self.takt < longest.seconds:
            raise InvalidInput(
                f"task {longest.id!r} takes {longest.seconds} s, more than the takt of {self.takt} s"
            )
        if self.stations is not None and not 1 <= self.stations <= STATIONS_MAX:
            raise InvalidInput(f"{self.stations} stations, limit {STATIONS_MAX}")
        object.__setattr__(self, "tasks", _in_order(self.tasks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Which station does what.

    Attributes:
        stations: ids of tasks, station by station, in the order in which they are done.
        takt: work of the fullest station, in seconds.
        bound: seconds of takt, or stations, that no balance can be below.
    """

    stations: tuple[tuple[str, ...], ...]
    takt: int
    bound: int


def check_balance(problem: BalanceProblem, balance: Balance) -> list[str]:
    """Return what is wrong with a balance, in sentences; nothing if it holds. Slow, obvious, apart from the search."""
    seconds = {task.id: task.seconds for task in problem.tasks}
    at = {name: place for place, names in enumerate(balance.stations) for name in names}
    if sorted(name for names in balance.stations for name in names) != sorted(seconds):
        return ["the balance does not have each task once"]
    wrong = [
        f"task {task.id} is done before {before}"
        for task in problem.tasks for before in task.after if at[task.id] < at[before]
    ]  # fmt: skip
    loads = [sum(seconds[name] for name in names) for names in balance.stations]
    if max(loads) != balance.takt:
        wrong.append(f"the fullest station has {max(loads)} s, not {balance.takt} s")
    if problem.takt is not None and max(loads) > problem.takt:
        wrong.append(f"a station has {max(loads)} s of work in a takt of {problem.takt} s")
    if problem.stations is not None and len(balance.stations) > problem.stations:
        wrong.append(f"{len(balance.stations)} stations, {problem.stations} are there")
    return wrong


def read_work(text: str) -> tuple[Work, ...]:
    """Return the tasks of a JSON document. Raises: InvalidInput, naming the place."""
    try:
        rows = msgspec.json.decode(text, type=_Document).tasks
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"not the work of a line: {error}") from error
    return tuple(
        Work(id=row.id, seconds=row.seconds, after=tuple(row.after), station=row.station) for row in rows
    )


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    seconds: int
    after: list[str] = []
    station: str = ""


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    tasks: list[_Row]


def _in_order(tasks: tuple[Work, ...]) -> tuple[Work, ...]:
    """Return the tasks so that each stands behind those it follows. Raises: InvalidInput on a circle."""
    left, found, known = list(tasks), list[Work](), set[str]()
    while left:
        ready = [task for task in left if known.issuperset(task.after)]
        if not ready:
            raise InvalidInput(f"task {left[0].id!r} follows itself, over others that follow it")
        found += ready
        known |= {task.id for task in ready}
        left = [task for task in left if task.id not in known]
    return tuple(found)
