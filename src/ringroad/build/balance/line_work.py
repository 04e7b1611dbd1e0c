"""The work of a line as it was told, and as the line does it; what came of looking whether to balance it anew.

Who told a line's work said how long each task takes, and which station does it. What stations were learned to take,
and what the options on order add to that, is what they really have to do: each station's tasks are stretched or shrunk
together until they take that long.

Pure. Invariant: work that names a station which the line does not have, or leaves one out, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ringroad.build.balance.problem import Work
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.plant.model import digest
from ringroad.kernel.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancedStation:
    """A station as it is and as it would be, seconds of work and tasks."""

    name: str
    now_s: int
    new_s: int
    tasks: tuple[str, ...]
    moved: tuple[str, ...]  # of those, the ones that come from another station


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """What came of looking at a line.

    Attributes:
        proposed: whether the twin finds the new balance better.
        reason: why, for a person.
        stations: of the line.
        takt_s: of the fullest station, now and then.
        at_least_s: no balance is below.
        end_s: when the last of 200 vehicles leaves, now and then, in the mean; nothing if the twin was not asked.
        better_permille: of the twin's runs.
    """

    proposed: bool
    reason: str
    stations: tuple[BalancedStation, ...] = ()
    takt_s: tuple[int, int] = (0, 0)
    at_least_s: int = 0
    end_s: tuple[int, int] = (0, 0)
    better_permille: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return its JSON form."""
        stations = [
            asdict(each) | {"tasks": list(each.tasks), "moved": list(each.moved)} for each in self.stations
        ]
        return {
            "proposed": self.proposed, "reason": self.reason, "stations": stations, "takt_s": list(self.takt_s),
            "at_least_s": self.at_least_s, "end_s": list(self.end_s), "better_permille": self.better_permille,
        }  # fmt: skip


def check_work(tasks: Sequence[Work], line: Line) -> None:
    """See that a line does the work that was told of it. Raises: InvalidInput, naming task or station."""
    names = {station.name for station in line.stations}
    for task in tasks:
        if task.station not in names:
            said = f"at {task.station!r}, which the line does not have" if task.station else "at no station"
            raise InvalidInput(f"task {task.id!r} is done {said}", hint=f"one of {', '.join(sorted(names))}")
    idle = names - {task.station for task in tasks}
    if idle:
        raise InvalidInput(
            f"no task is done at {min(idle)}", hint="name the work of every station of the line"
        )


def work_now(tasks: Sequence[Work], line: Line, orders: Sequence[Order]) -> tuple[Work, ...]:
    """Return the work as the line does it: what its stations were learned to take, and what the mix on order adds.

    The tasks of a station take that together, in whole seconds, and each at least one.
    """
    told: dict[str, dict[str, int]] = {}
    for task in tasks:
        told.setdefault(task.station, {})[task.id] = task.seconds
    takes = {station.name: float(station.cycle_s) for station in line.stations}
    for station in line.stations:
        for option, seconds in station.extra_s.items():
            share = sum(option in order.features for order in orders) / max(1, len(orders))
            takes[station.name] += share * seconds
    dealt: dict[str, int] = {}
    for station_name, told_s in told.items():
        dealt |= _stretched(told_s, round(takes[station_name]))
    return tuple(replace(task, seconds=dealt[task.id]) for task in tasks)


def state_of(tasks: Sequence[Work], line: Line, orders: Sequence[Order]) -> str:
    """Return a digest of what an answer rests on: as long as it is the same, so is the answer."""
    try:
        check_work(tasks, line)
        work = work_now(tasks, line, orders)
    except InvalidInput as error:
        return digest([error.message])
    return digest(
        [[asdict(task) for task in work], [asdict(replace(each, extra_s={})) for each in line.stations]]
    )


def _stretched(seconds: Mapping[str, int], total: int) -> dict[str, int]:
    """Deal whole seconds out by how long tasks were told to take; what is left over goes to the largest remainders."""
    left, rest = max(total, len(seconds)), dict(seconds)
    while short := [name for name, each in rest.items() if each * left < sum(rest.values())]:
        left -= len(short)  # those take the one second that every task takes
        rest = {name: each for name, each in rest.items() if name not in short}
    told = sum(rest.values())
    dealt = {name: each * left // told for name, each in rest.items()}
    larger = sorted(rest, key=lambda name: -(rest[name] * left % told))
    for name in larger[: left - sum(dealt.values())]:
        dealt[name] += 1
    return dict.fromkeys(seconds, 1) | dealt


def work_document(tasks: Sequence[Work]) -> list[dict[str, Any]]:
    """Return tasks as a fact keeps them."""
    return [{"id": t.id, "seconds": t.seconds, "after": list(t.after), "station": t.station} for t in tasks]


def work_from(rows: Sequence[Mapping[str, Any]]) -> tuple[Work, ...]:
    """Return what `work_document` wrote."""
    return tuple(
        Work(id=row["id"], seconds=row["seconds"], after=tuple(row["after"]), station=row["station"])
        for row in rows
    )
