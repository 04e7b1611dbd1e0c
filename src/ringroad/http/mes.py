"""Build: what the stations of a line say, and where its vehicles are by that."""

from __future__ import annotations

import asyncio
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.plant import store_events
from ringroad.build.plant.line_state import fold
from ringroad.build.site.store import built_here
from ringroad.build.store import get_programme
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Id, Limit, route
from ringroad.http.views_plant import (
    BranchView,
    EventsAccepted,
    LineStateView,
    MesEventView,
    RefusedEventView,
    line_state_view,
    refused_view,
)
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.protocol.mes import EVENT_BYTES_MAX, SUBJECT_PREFIX, MesEvent
from ringroad.storage.streams import MES, publish

EVENTS_MAX = 1_000  # per request

Events = Annotated[list[MesEvent], Meta(min_length=1, max_length=EVENTS_MAX)]
Position = Annotated[
    int | None, Parameter(ge=0, le=2**53, description="After so many events; none: the newest")
]
Only = Annotated[
    str | None,
    Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200, description="Only events of this"),
]


class NewEvents(Command, frozen=True, kw_only=True):
    """Events of stations, in their order."""

    strict: ClassVar[bool] = True
    events: Events


class NewBranch(Command, frozen=True, kw_only=True):
    """Events that did not happen, after a state that was."""

    strict: ClassVar[bool] = True
    events: Events
    position: Annotated[int, Meta(ge=0, le=2**53)] | None = None  # none: now


@route(
    "POST",
    "/programmes/{programme_id:str}/mes-events",
    role=Role.OPERATOR,
    tag="build",
    status=202,
    errors=[404, 409, 422],
)
def tell_mes_events(ctx: Ctx, programme_id: Id, data: JSONBody[NewEvents]) -> EventsAccepted:
    """Put events of stations into the stream; what cannot be stands among the refused ones a moment later."""
    payloads = [msgspec.json.encode(event) for event in data.events]
    for event, payload in zip(data.events, payloads, strict=True):
        if len(payload) > EVENT_BYTES_MAX:
            raise InvalidInput(
                f"event {event.id} of {event.station} has {len(payload)} bytes, limit {EVENT_BYTES_MAX}"
            )
    with ctx.connection() as conn:
        get_programme(conn, programme_id)
        if any(event.kind in {"stopped", "resumed"} for event in data.events):
            built_here(conn, programme_id)
    if not ctx.settings.nats_url:
        raise Unavailable("this server has no NATS", hint="set nats_url")
    subject = SUBJECT_PREFIX + programme_id
    asyncio.run(publish(ctx.settings.nats_url, [(subject, payload) for payload in payloads], place=MES))
    return EventsAccepted(accepted=len(payloads))


@route("GET", "/programmes/{programme_id:str}/mes-events", role=Role.VIEWER, tag="build")
def list_mes_events(
    ctx: Ctx, *, programme_id: Id, order_id: Only = None, station: Only = None, limit: Limit = 100
) -> list[MesEventView]:
    """List events of stations that were taken, newest first."""
    with ctx.connection() as conn:
        found = store_events.list_events(
            conn, programme_id, order_id=order_id, station=station, rows_max=limit
        )
    return [
        MesEventView(
            position=each.position, received_at=each.received_at, event=msgspec.to_builtins(each.event)
        )
        for each in found
    ]


@route("GET", "/programmes/{programme_id:str}/refused-events", role=Role.VIEWER, tag="build")
def list_refused_events(ctx: Ctx, *, programme_id: Id, limit: Limit = 100) -> list[RefusedEventView]:
    """List events of stations that cannot be, newest first, each as it came."""
    with ctx.connection() as conn:
        return [refused_view(each) for each in store_events.list_refused(conn, programme_id, rows_max=limit)]


@route("GET", "/programmes/{programme_id:str}/line-state", role=Role.VIEWER, tag="build", errors=[404])
def get_line_state(ctx: Ctx, *, programme_id: Id, position: Position = None) -> LineStateView:
    """Say where the vehicles of a line are and what stands, now or after so many events."""
    with ctx.connection() as conn:
        line = get_programme(conn, programme_id).programme.line
        state = (
            store_events.standing_line(conn, programme_id, line)
            if position is None
            else store_events.line_state(conn, programme_id, line, position=position)
        )
    return line_state_view(programme_id, state, line)


@route(
    "POST",
    "/programmes/{programme_id:str}/line-state/branches",
    role=Role.VIEWER,
    tag="build",
    errors=[404, 422],
)
def branch_line_state(ctx: Ctx, programme_id: Id, data: JSONBody[NewBranch]) -> BranchView:
    """Say where the vehicles of a line would be after events that did not happen; nothing is kept of it."""
    now = ctx.clock.now()
    with ctx.connection() as conn:
        line = get_programme(conn, programme_id).programme.line
        state = (
            store_events.standing_line(conn, programme_id, line)
            if data.position is None
            else store_events.line_state(conn, programme_id, line, position=data.position)
        )
    heard = max([now, *(event.at for event in data.events)])  # in a branch nothing is in the future
    branched, refused = fold(state, [(event, heard) for event in data.events], line)
    return BranchView(
        state=line_state_view(programme_id, branched, line), refused=[each.reason for each in refused]
    )


router = Router(
    "/",
    route_handlers=[tell_mes_events, list_mes_events, list_refused_events, get_line_state, branch_line_state],
)
