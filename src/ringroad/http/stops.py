"""Build: breakdowns and quality stops of the line; each makes it replan."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build import store_plant, store_stops
from ringroad.build.plan_line import Cause
from ringroad.build.site.store import built_here, told_here
from ringroad.build.stops import EXPECTED_S_MAX
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Limit, Req, Text, Title, route
from ringroad.http.views_build import LineStopView

Zoned = Annotated[datetime, Meta(tz=True)]
OnlyOpen = Annotated[bool, Parameter(description="Only what stands now")]


class NewStop(Command, frozen=True, kw_only=True):
    """A station that stands."""

    station: Title
    kind: Literal["breakdown", "quality"] = "breakdown"
    reason: Text
    options: Annotated[list[str], Meta(max_length=100)] = msgspec.field(default_factory=list)
    expected_s: Annotated[int, Meta(ge=1, le=EXPECTED_S_MAX)] | None = None
    event_id: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")] = ""  # the sender's own
    began_at: Zoned | None = None


class EndStop(Command, frozen=True, kw_only=True):
    """A station goes on."""

    ended_at: Zoned | None = None


@route("GET", "/programmes/{programme_id:str}/line-stops", role=Role.VIEWER, tag="build")
def list_stops(
    ctx: Ctx, *, programme_id: Id, only_open: OnlyOpen = False, limit: Limit = 100
) -> list[LineStopView]:
    """List breakdowns and quality stops of a line, newest first."""
    with ctx.connection() as conn:
        return reading.line_stops(conn, programme_id, only_open=only_open, limit=limit)


@route(
    "POST",
    "/programmes/{programme_id:str}/line-stops",
    role=Role.OPERATOR,
    tag="build",
    status=201,
    errors=[404, 409, 422],
)
def begin_stop(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewStop]) -> LineStopView:
    """Record that a station stands; the line replans. The same event again changes nothing.

    One that stands for this already, whoever told it, is that stop: the answer is as it was told first.

    Of a line that a site builds, there: the site hears nothing of a stop here.
    """
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        built_here(conn, programme_id)
        stop, new = store_stops.begin_stop(
            conn, ctx.ids, programme_id=programme_id, station=data.station, kind=data.kind, reason=data.reason,
            options=data.options, expect_s=data.expected_s, event_id=data.event_id, began_at=data.began_at,
            actor=request.user.name, now=now,
        )  # fmt: skip
        if new:
            cause: Cause = "breakdown" if stop.kind == "breakdown" else "quality_stop"
            store_plant.replan(
                conn, ctx.ids, ctx.clock, programme_id=programme_id, cause=cause, actor=request.user.name,
                triggered_s=triggered_s, triggered_at=now, stop_id=stop.id,
            )  # fmt: skip
    with ctx.connection() as conn:
        return reading.one(reading.line_stops(conn, programme_id, stop_id=stop.id), f"stop {stop.id}")


@route("POST", "/line-stops/{stop_id:str}/end", role=Role.OPERATOR, tag="build", errors=[403, 404, 409, 422])
def end_stop(ctx: Ctx, request: Req, stop_id: Id, data: JSONBody[EndStop]) -> LineStopView:
    """Record that a station goes on; the line replans. A quality stop is lifted by an approver.

    One that a site told, there: it ends here when the site is heard.
    """
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        before = store_stops.get_stop(conn, stop_id)
        if before.kind == "quality":
            request.user.require(Role.APPROVER)
        told_here(conn, stop_id, before.programme_id)
        stop, ended = store_stops.end_stop(
            conn, ctx.ids, stop_id=stop_id, actor=request.user.name, now=now, ended_at=data.ended_at
        )
        if ended:
            store_plant.replan(
                conn, ctx.ids, ctx.clock, programme_id=stop.programme_id, cause="station_resumed",
                actor=request.user.name, triggered_s=triggered_s, triggered_at=now, stop_id=stop_id,
            )  # fmt: skip
    with ctx.connection() as conn:
        found = reading.line_stops(conn, stop.programme_id, stop_id=stop_id)
    return reading.one(found, f"stop {stop_id}")


handlers = [list_stops, begin_stop, end_stop]  # of the line's router
