"""Build: the line's twin: what it said of schedules, what stations measured, and whether it is still right."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build import store_times, store_what_if
from ringroad.build.station_times import TIMES_MAX, StationTime
from ringroad.build.stops import standing_s
from ringroad.build.store import get_programme
from ringroad.build.store_past import EVENTS_MAX, Branch
from ringroad.build.store_running import load_running
from ringroad.build.store_what_if import DOWN_S_MAX
from ringroad.build.twin.assumed import assumptions, source_of
from ringroad.build.twin.drift import VEHICLES_PER_FALSE_ALARM, StationDrift, out_of_calibration
from ringroad.build.twin.planned import line_now, planned_vehicles
from ringroad.build.working_time import rests_until
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Limit, Ref, Req, Title, route
from ringroad.http.views_build import (
    LineCheckView,
    RefusedTimeView,
    StationDriftView,
    TimesTaken,
    TwinView,
    WhatIfView,
)
from ringroad.http.views_plant import LineTimesView, PlannedVehicleView, RestView
from ringroad.protocol.mes import MesEvent

WORKED_S_MAX = 86_400  # seconds at one station; a day

Seconds = Annotated[float, Meta(ge=0.001, le=WORKED_S_MAX)]


class NewStationTime(Command, frozen=True, kw_only=True):
    """A station finished a vehicle."""

    id: Title  # the station's own, so that a repeated one is known
    order_id: Ref
    station: Title
    worked_s: Seconds
    finished_at: Annotated[datetime, Meta(tz=True)]


class WhatIf(Command, frozen=True, kw_only=True):
    """A station that would stand from now on, or from a state that was, or would be after events that did not happen."""

    station: Title
    down_s: Annotated[int, Meta(ge=1, le=DOWN_S_MAX)]
    position: Annotated[int, Meta(ge=1, le=2**53)] | None = None  # after so many events; none: now
    events: Annotated[list[MesEvent], Meta(max_length=EVENTS_MAX)] = msgspec.field(default_factory=list)


class StationTimes(Command, frozen=True, kw_only=True):
    """What stations measured, in any order; each counts once."""

    strict: ClassVar[bool] = True
    times: Annotated[list[NewStationTime], Meta(min_length=1, max_length=TIMES_MAX)]


@route("GET", "/programmes/{programme_id:str}/schedule-checks", role=Role.VIEWER, tag="build")
def list_schedule_checks(ctx: Ctx, *, programme_id: Id, limit: Limit = 20) -> list[LineCheckView]:
    """List what the twin said of schedules that cost less than the running one, newest first."""
    with ctx.connection() as conn:
        return reading.line_checks(conn, programme_id, limit=limit)


@route(
    "POST",
    "/programmes/{programme_id:str}/station-times",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 422],
)
def take_station_times(ctx: Ctx, programme_id: Id, data: JSONBody[StationTimes]) -> TimesTaken:
    """Take what stations measured; what cannot be is refused one by one, and the rest is taken."""
    delivered = [
        StationTime(
            id=each.id, order_id=each.order_id, station=each.station, worked_ms=round(each.worked_s * 1000),
            finished_at=each.finished_at,
        )
        for each in data.times
    ]  # fmt: skip
    with ctx.transaction() as conn:
        found = store_times.take_times(
            conn, programme_id=programme_id, delivered=delivered, now=ctx.clock.now()
        )
    refused = [
        RefusedTimeView(id=each.id, order_id=each.order_id, station=each.station, reason=each.reason)
        for each in found.refused
    ]
    return TimesTaken(taken=len(found.taken), repeated=found.repeated, refused=refused)


@route(
    "POST",
    "/programmes/{programme_id:str}/what-ifs",
    role=Role.OPERATOR,
    tag="build",
    status=201,
    errors=[404, 409, 422],
)
def ask_what_if(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[WhatIf]) -> WhatIfView:
    """Ask the twin what the schedule would do if a station stood from now on, or in a branch; the worker answers."""
    branch = None
    if data.position is not None or data.events:
        branch = Branch(position=data.position, events=tuple(data.events))
    with ctx.transaction() as conn:
        what_if_id = store_what_if.ask_what_if(
            conn, ctx.ids, programme_id=programme_id, station=data.station, down_s=data.down_s,
            actor=request.user.name, now=ctx.clock.now(), branch=branch,
        )  # fmt: skip
    with ctx.connection() as conn:
        found = reading.what_ifs(conn, programme_id, what_if_id=what_if_id)
    return reading.one(found, f"question {what_if_id}")


@route("GET", "/programmes/{programme_id:str}/what-ifs", role=Role.VIEWER, tag="build")
def list_what_ifs(ctx: Ctx, *, programme_id: Id, limit: Limit = 20) -> list[WhatIfView]:
    """List what planners asked the twin, newest first; `answer` is null until the worker has answered."""
    with ctx.connection() as conn:
        return reading.what_ifs(conn, programme_id, limit=limit)


@route("GET", "/programmes/{programme_id:str}/line-times", role=Role.VIEWER, tag="build", errors=[404])
def get_line_times(ctx: Ctx, *, programme_id: Id) -> LineTimesView:
    """Say when the vehicles of the current schedule enter and leave the line, and when it rests."""
    now = ctx.clock.now()
    with ctx.connection() as conn:
        running = load_running(conn, programme_id)
    seen = line_now(
        running.line, running.schedule.document.sequence, running.orders,
        standing=standing_s(running.stops, now), now=now,
    )  # fmt: skip
    calendar, due = running.line.calendar, {order.id: order.due_at for order in running.orders}
    return LineTimesView(
        programme_id=programme_id,
        generation=running.schedule.generation,
        calendar=calendar.name if calendar else "",
        time_zone=calendar.time_zone if calendar else "UTC",
        at=now,
        rests_until=rests_until(calendar, now=now),
        rests=[RestView(since=each.since, until=each.until) for each in seen.rests],
        vehicles=[
            PlannedVehicleView(
                order_id=each.order_id, enters_at=each.enters_at, leaves_at=each.leaves_at,
                due_at=(at := due[each.order_id]), late=at is not None and at < each.leaves_at,
            )
            for each in planned_vehicles(seen, now=now)
        ],
    )  # fmt: skip


@route("GET", "/programmes/{programme_id:str}/twin", role=Role.VIEWER, tag="build", errors=[404])
def get_twin(ctx: Ctx, *, programme_id: Id) -> TwinView:
    """Say whether the line takes the times that its twin is told, station by station."""
    with ctx.connection() as conn:
        stored = get_programme(conn, programme_id)
        line = stored.programme.line
        drift = store_times.line_drift(conn, programme_id, line)
    source = source_of(programme_id, stored.source, stored.plant)
    return twin_view(programme_id, drift, assumptions(line, source), source=source.name)


def twin_view(
    programme_id: str, drift: tuple[StationDrift, ...], assumed: tuple[str, ...], *, source: str
) -> TwinView:
    """Return how a twin fares, for people and programs. Pure."""
    states = {each.state for each in drift}
    return TwinView(
        programme_id=programme_id,
        state="differs" if out_of_calibration(drift) else "agrees" if "agrees" in states else "unmeasured",
        may_release=not out_of_calibration(drift),
        vehicles_per_false_alarm=VEHICLES_PER_FALSE_ALARM,
        assumed=list(assumed),
        source=source,
        stations=[StationDriftView(**each.to_document()) for each in drift],
    )


router = Router(
    "/",
    route_handlers=[
        list_schedule_checks,
        take_station_times,
        get_twin,
        get_line_times,
        ask_what_if,
        list_what_ifs,
    ],
)
