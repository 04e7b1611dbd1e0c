"""When does each vehicle enter and leave the line, and when does the line rest? On the wall, for people and programs.

The picture of the line (`picture.py`) at mean times, with the rests of its calendar put back.

Pure. Nothing follows from it: plans and the twin go by worked seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.twin.picture import Visit, picture
from ringroad.build.working_time import WorkingTime, stands_at_work, working_time

RESTS_SHOWN: Final = 100  # the first ones; of a week with two breaks a day there are some twenty


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVehicle:
    """One vehicle of a schedule.

    Attributes:
        order_id: whose.
        enters_at: the first station begins with it; None: it is on the line.
        leaves_at: it leaves the last one.
    """

    order_id: str
    enters_at: datetime | None
    leaves_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """A rest of the line.

    Attributes:
        since: when it begins; now, of one that did before.
        until: when it ends.
        worked_s: seconds from now that are worked before it.
    """

    since: datetime
    until: datetime
    worked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LineNow:
    """A line from now on.

    Attributes:
        orders: of the schedule, as they enter.
        visits: of the first of them; none without stations.
        time: that the line works.
        rests: until the last of these has left, and the one that is now.
    """

    orders: tuple[Order, ...]
    visits: tuple[Visit, ...]
    time: WorkingTime
    rests: tuple[Rest, ...]


def line_now(
    line: Line,
    sequence: Sequence[str],
    orders: Iterable[Order],
    *,
    standing: Mapping[str, float],
    now: datetime,
) -> LineNow:
    """Return a line from now on, by a sequence of its orders.

    Args:
        line: stations, ratios, calendar.
        sequence: order ids as the line builds them; those that are no order any more are left out.
        orders: open and building ones.
        standing: stations that stand, and for how many seconds more.
        now: the moment.
    """
    known = {order.id: order for order in orders}
    listed = [known[each] for each in sequence if each in known]
    placed = tuple(
        sorted(listed, key=lambda order: order.state != "building")
    )  # those on the line went in first
    time = working_time(line.calendar, start=now)
    visits: list[Visit] = []
    if line.stations and placed:
        on_line = sum(order.state == "building" for order in placed)
        visits = picture(line, placed, on_line=on_line, standing=stands_at_work(standing, time))
    until = max((each.leaves for each in visits), default=0.0)
    return LineNow(
        orders=placed, visits=tuple(visits), time=time, rests=tuple(rests_within(time, until, now=now))
    )


def planned_vehicles(seen: LineNow, *, now: datetime) -> list[PlannedVehicle]:
    """Return when the vehicles of a line enter and leave, in its order; those that have left are left out."""
    building = {order.id for order in seen.orders if order.state == "building"}
    time = seen.time
    first: dict[str, Visit] = {}
    last: dict[str, Visit] = {}
    for each in seen.visits:
        first.setdefault(each.order_id, each)
        last[each.order_id] = each
    return [
        PlannedVehicle(
            order_id=order_id,
            enters_at=None if order_id in building else now + timedelta(seconds=time.begun(begins.starts)),
            leaves_at=now + timedelta(seconds=time.done(last[order_id].leaves)),
        )
        for order_id, begins in first.items()
        if last[order_id].leaves > 0
    ]


def rests_within(time: WorkingTime, worked_s: float, *, now: datetime) -> list[Rest]:
    """Return the rests before so many seconds are worked, and the one that is now; the first `RESTS_SHOWN`."""
    return [
        Rest(since=now + timedelta(seconds=since), until=now + timedelta(seconds=until), worked_s=at)
        for since, until, at in zip(time.since, time.until, time.at, strict=True)
        if at < worked_s or since == 0
    ][:RESTS_SHOWN]
