"""Would a schedule that costs less do better on the line? It and the running one run on the twin, with the same luck.

For the worker: the twin's kernels are machine code. The picture is of one run without luck, in which each station
takes its mean time and nothing breaks down; the verdict is `judge.py`'s, over all runs.

Invariant: a twin that cannot run the line releases nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.model import Line
from ringroad.build.plan_line import Order, count_moved
from ringroad.build.twin.arrays import Floats, Ints, LineArrays, line_arrays
from ringroad.build.twin.assumed import LineSource, assumptions
from ringroad.build.twin.judge import DUE_QUANTILE_PERMILLE, TwinCheck, judge
from ringroad.build.twin.parts import Waits, draw_ready, waits_of
from ringroad.build.working_time import WorkingTime, stands_at_work, working_time
from ringroad.kernel.errors import InvalidInput

REPLICATIONS: Final = 1_000  # of each plan
VEHICLES_SHOWN: Final = 60  # of a comparison's picture; the first of the new plan


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleTimes:
    """When one vehicle leaves the line at the 0.9 quantile of the runs, seconds from now."""

    order_id: str
    running_s: int
    new_s: int
    due_s: int | None  # None: nobody waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class StationFill:
    """How full a station and the room before it are, in thousandths of a vehicle, in the mean of a run without luck."""

    name: str
    places: int  # vehicles there is room for
    running_permille: int
    new_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCheck:
    """A new plan beside the running one.

    Attributes:
        twin: the verdict.
        vehicles: of each plan.
        moved: vehicles whose order among the others is another.
        assumed: what the twin was not told about the line, for a person.
        source: who says the rest, for a person.
        times: of the first vehicles of the new plan.
        stations: of the line.
        runs: [replication, vehicle] when each leaves the line with the running plan, in seconds from now.
    """

    twin: TwinCheck
    vehicles: int
    moved: int
    assumed: tuple[str, ...] = ()
    source: str = ""
    times: tuple[VehicleTimes, ...] = ()
    stations: tuple[StationFill, ...] = field(default=())
    runs: Floats | None = field(default=None, compare=False, repr=False)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `line_check.document`."""
        return {
            "twin": self.twin.to_document(),
            "vehicles": self.vehicles,
            "moved": self.moved,
            "assumed": list(self.assumed),
            "source": self.source,
            "times": [
                {
                    "order_id": each.order_id,
                    "running_s": each.running_s,
                    "new_s": each.new_s,
                    "due_s": each.due_s,
                }
                for each in self.times
            ],
            "stations": [
                {
                    "name": each.name,
                    "places": each.places,
                    "running_permille": each.running_permille,
                    "new_permille": each.new_permille,
                }
                for each in self.stations
            ],
        }


def compare(
    running: Sequence[str],
    new: Sequence[str],
    orders: Mapping[str, Order],
    line: Line,
    *,
    now: datetime,
    seed: int,
    threads: int,
    replications: int = REPLICATIONS,
    stops: Mapping[str, float] | None = None,
    available: Mapping[str, PartAvailability] | None = None,
    source: LineSource | None = None,
    before: PlanCheck | None = None,
) -> PlanCheck:
    """Run both plans on the twin.

    Args:
        running: order ids as the line builds them now, the ones on the line first.
        new: the same orders in another sequence.
        orders: by id.
        line: stations and ratios.
        now: when the runs begin.
        seed: of the twin's luck.
        threads: to use.
        replications: runs of each plan.
        stops: stations that stand now, and for how many seconds more.
        available: when the parts of an order are there, where they are on their way; both plans wait for them.
        source: who says what the line is, and what of it.
        before: of the same running plan, `now` and `seed` beside another new one: its runs are not made again.
    """
    moved = count_moved(running, new)
    placed = [orders[order_id] for order_id in running]
    time = working_time(line.calendar, start=now)
    try:
        arrays = line_arrays(line, placed, stops=stands_at_work(stops, time))
        plans = _rows(running, new)
        waits = waits_of(placed, available or {}, now=now)
        known = before.runs if before is not None else None
        finish = _replicate(
            arrays, plans if known is None else plans[1:], placed, replications=replications, seed=seed,
            threads=threads, waits=waits, time=time,
        )  # fmt: skip
        if known is not None:
            finish = np.stack((known, finish[:, 0]), axis=1)
    except InvalidInput as error:
        refused = TwinCheck(
            released=False, reason=f"the twin cannot run this line: {error.message}", replications=0,
            better_permille=0, late_s=(0, 0), end_s=(0, 0), broken=(),
        )  # fmt: skip
        return PlanCheck(twin=refused, vehicles=len(running), moved=moved)
    wall = time.done_each(finish)
    due = [(order.due_at - now).total_seconds() if order.due_at else float("inf") for order in placed]
    return PlanCheck(
        twin=judge(wall[:, 0], wall[:, 1], due, running, takt_s=arrays.takt_s),
        vehicles=len(running),
        moved=moved,
        assumed=assumptions(line, source),
        source=source.name if source else "",
        times=_times(finish, running, new, due, time),
        stations=_fill(
            line, arrays, plans, sum(order.state == "building" for order in placed),
            time.worked_each(waits.median()) if waits.rows else None,
        ),
        runs=finish[:, 0],
    )  # fmt: skip


def _rows(running: Sequence[str], new: Sequence[str]) -> list[list[int]]:
    """Return both plans as rows of the arrays, which stand in the running order."""
    if sorted(running) != sorted(new):
        raise InvalidInput("the two plans do not hold the same orders")
    row = {order_id: number for number, order_id in enumerate(running)}
    return [list(range(len(running))), [row[order_id] for order_id in new]]


def _replicate(
    arrays: LineArrays, plans: Sequence[Sequence[int]], placed: Sequence[Order], *, replications: int, seed: int,
    threads: int, waits: Waits, time: WorkingTime,
) -> Floats:  # fmt: skip
    from ringroad.build.twin.run import replicate  # noqa: PLC0415 - loads a compiler

    on_line = sum(order.state == "building" for order in placed)
    return replicate(
        arrays, plans, on_line=on_line, replications=replications, seed=seed, threads=threads,
        ready=draw_ready(waits, replications=replications, seed=seed, time=time),
    )  # fmt: skip


def _times(
    finish: Floats, running: Sequence[str], new: Sequence[str], due: Sequence[float], time: WorkingTime
) -> tuple[VehicleTimes, ...]:
    if not running:
        return ()
    row = {order_id: number for number, order_id in enumerate(running)}
    shown = [row[order_id] for order_id in new[:VEHICLES_SHOWN]]
    late = time.done_each(np.quantile(finish[:, :, shown], DUE_QUANTILE_PERMILLE / 1000, axis=0))
    if not np.isfinite(late).all():
        return ()
    return tuple(
        VehicleTimes(
            order_id=running[number], running_s=round(late[0, place]), new_s=round(late[1, place]),
            due_s=round(due[number]) if np.isfinite(due[number]) else None,
        )
        for place, number in enumerate(shown)
    )  # fmt: skip


def _fill(
    line: Line, arrays: LineArrays, plans: Sequence[Sequence[int]], on_line: int, ready: Floats | None
) -> tuple[StationFill, ...]:
    """Return how full each station is in both plans, by Little's law: time spent there over time that passes."""
    if not plans[0]:
        return ()
    running, new = (_present(arrays, np.array(plan, dtype=np.int64), on_line, ready) for plan in plans)
    return tuple(
        StationFill(
            name=station.name, places=1 + station.buffer, running_permille=round(1000 * before),
            new_permille=round(1000 * after),
        )
        for station, before, after in zip(line.stations, running.tolist(), new.tolist(), strict=True)
    )  # fmt: skip


def _present(arrays: LineArrays, plan: Ints, on_line: int, ready: Floats | None) -> Floats:
    from ringroad.build.kernels.flow import flow  # noqa: PLC0415 - loads a compiler

    release: Floats = (np.arange(len(plan), dtype=np.float64) - on_line) * arrays.takt_s
    if ready is not None:
        release = np.maximum.accumulate(np.maximum(release, ready[plan]))
    left: Floats = np.zeros((len(plan), len(arrays.plan)))
    busy: Floats = np.zeros((len(arrays.crews), 1 + int(arrays.crews.max(initial=0))))
    places, transfer = arrays.plan[:, 0].copy(), arrays.times[:, 0].copy()
    crews = (arrays.crew_from, arrays.crews, arrays.crew_hold, arrays.wants)
    none: Floats = np.empty((len(arrays.plan), 0))
    flow(plan, arrays.mean, release, places, transfer, none, none, *crews, busy, left)
    entered = np.maximum(release, _first_room(left[:, 0], int(places[0])))
    arrives = np.column_stack((entered, left[:, :-1])) + transfer
    present: Floats = (left - arrives).sum(axis=0) / max(1.0, left[-1, -1] - release[0])
    return present


def _first_room(left: Floats, places: int) -> Floats:
    """Return from when on each vehicle has room at the first station."""
    room: Floats = np.full(len(left), -np.inf)
    room[places:] = left[: max(0, len(left) - places)]
    return room
