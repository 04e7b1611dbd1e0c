"""Build: the plant line: orders, schedules, blocks, the baseline, births."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build import store, store_packages, store_plant
from ringroad.build.plan_line import Cause
from ringroad.http import reading, stops
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import (
    Command,
    Done,
    Go,
    Id,
    InState,
    Limit,
    Name,
    Offset,
    Ref,
    Req,
    Text,
    Title,
    route,
)
from ringroad.http.views_build import BlockedOption, OrderView, PlacedOrderView, ScheduleView
from ringroad.storage.db import Connection

Option = str
Short = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


@route("GET", "/orders", role=Role.VIEWER, tag="build")
def list_orders(
    ctx: Ctx,
    *,
    programme_id: Name = None,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[OrderView]:
    """List orders, newest first."""
    with ctx.connection() as conn:
        return reading.orders(conn, programme_id=programme_id, state=in_state, limit=limit, offset=offset)


@route("GET", "/programmes/{programme_id:str}/schedules", role=Role.VIEWER, tag="build")
def list_schedules(ctx: Ctx, *, programme_id: Id, limit: Limit = 20) -> list[ScheduleView]:
    """List line schedules of a programme; the first is current."""
    with ctx.connection() as conn:
        return reading.schedules(conn, programme_id, limit=limit)


@route("GET", "/programmes/{programme_id:str}/blocked-options", role=Role.VIEWER, tag="build")
def list_blocked_options(ctx: Ctx, *, programme_id: Id) -> list[BlockedOption]:
    """List options that the line cannot build now."""
    with ctx.connection() as conn:
        return reading.blocked_options(conn, programme_id)


class NewOrder(Command, frozen=True, kw_only=True):
    """A vehicle to build."""

    programme_id: Ref
    variant: Title
    options: Annotated[list[Option], Meta(max_length=100)] = msgspec.field(default_factory=list)
    region: Short = ""
    rush: bool = False
    due_at: Annotated[datetime, Meta(tz=True)] | None = None
    earliest_at: Annotated[datetime, Meta(tz=True)] | None = None  # nobody wants it before


class CancelOrder(Command, frozen=True, kw_only=True):
    """Why it is not wanted any more."""

    reason: Text


class Block(Command, frozen=True, kw_only=True):
    """An option whose parts are missing or bad."""

    option: Option
    reason: Text


class Unblock(Command, frozen=True, kw_only=True):
    """An option that can be built again."""

    option: Option


@route("POST", "/orders", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 422])
def add_order(ctx: Ctx, request: Req, data: JSONBody[NewOrder]) -> PlacedOrderView:
    """Order a vehicle; the line replans at once, and the answer names orders that this makes late."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        order = store_plant.add_order(
            conn, ctx.ids, programme_id=data.programme_id, variant=data.variant, actor=request.user.name,
            now=now, options=data.options, region=data.region, rush=data.rush, due_at=data.due_at,
            earliest_at=data.earliest_at,
        )  # fmt: skip
        cause: Cause = "rush_order" if data.rush else "new_orders"
        late = _replan(
            conn, ctx, data.programme_id, cause, request=request, triggered_s=triggered_s, triggered_at=now,
            order_id=order.id,
        ).document.made_late  # fmt: skip
    with ctx.connection() as conn:
        found = reading.one(reading.orders(conn, ids=[order.id]), f"order {order.id}")
    return PlacedOrderView(
        **msgspec.structs.asdict(found),
        late=order.id in late,
        made_late=[each for each in late if each != order.id],
    )


@route("POST", "/orders/{order_id:str}/cancel", role=Role.OPERATOR, tag="build", errors=[404, 409, 422])
def cancel_order(ctx: Ctx, request: Req, order_id: Id, data: JSONBody[CancelOrder]) -> OrderView:
    """Cancel an order whose car is not on the line; the line replans."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        order = store_plant.cancel_order(
            conn, ctx.ids, order_id=order_id, reason=data.reason, actor=request.user.name, now=now
        )
        _replan(
            conn, ctx, order.programme_id, "order_cancelled", request=request, triggered_s=triggered_s,
            triggered_at=now, order_id=order_id,
        )  # fmt: skip
    with ctx.connection() as conn:
        return reading.one(reading.orders(conn, ids=[order_id]), f"order {order_id}")


@route(
    "POST",
    "/programmes/{programme_id:str}/blocked-options",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 409, 422],
)
def block_option(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[Block]) -> Done:
    """Block an option; orders with it wait, and the line replans."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        store_plant.block_option(
            conn, ctx.ids, programme_id=programme_id, option=data.option, reason=data.reason,
            actor=request.user.name, now=now,
        )  # fmt: skip
        _replan(
            conn,
            ctx,
            programme_id,
            "blocked_part",
            request=request,
            triggered_s=triggered_s,
            triggered_at=now,
        )
    return Done(id=data.option, state="blocked")


@route(
    "POST",
    "/programmes/{programme_id:str}/unblocked-options",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 409, 422],
)
def unblock_option(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[Unblock]) -> Done:
    """Let the line build an option again, and replan."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        store_packages.get_programme(conn, programme_id)
        store_plant.unblock_option(
            conn, ctx.ids, programme_id=programme_id, option=data.option, actor=request.user.name, now=now
        )
        _replan(
            conn,
            ctx,
            programme_id,
            "blocked_part",
            request=request,
            triggered_s=triggered_s,
            triggered_at=now,
        )
    return Done(id=data.option, state="unblocked")


@route(
    "POST", "/programmes/{programme_id:str}/replan", role=Role.OPERATOR, tag="build", errors=[404, 409, 422]
)
def replan_line(ctx: Ctx, request: Req, programme_id: Id) -> ScheduleView:
    """Plan the line again over the orders as they are now."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        store_packages.get_programme(conn, programme_id)
        _replan(
            conn, ctx, programme_id, "new_orders", request=request, triggered_s=triggered_s, triggered_at=now
        )
    with ctx.connection() as conn:
        return reading.one(reading.schedules(conn, programme_id, limit=1), f"schedule of {programme_id}")


@route("POST", "/releases/{release_id:str}/baseline", role=Role.APPROVER, tag="build", errors=[404, 409, 422])
def set_baseline(ctx: Ctx, request: Req, release_id: Id, data: JSONBody[Go]) -> Done:
    """Make a signed release what new vehicles are flashed with; the line replans."""
    triggered_s, now = ctx.clock.monotonic_s(), ctx.clock.now()
    with ctx.transaction() as conn:
        release = store.get_release(conn, release_id)
        current = store.get_baseline(conn, release.programme_id)
        generation = data.generation or (current.generation if current else 0)
        store.set_baseline(
            conn, ctx.ids, programme_id=release.programme_id, release_id=release_id, generation=generation,
            actor=request.user.name, now=now,
        )  # fmt: skip
        _replan(
            conn, ctx, release.programme_id, "new_release", request=request, triggered_s=triggered_s,
            triggered_at=now,
        )  # fmt: skip
    return Done(id=release_id, state="baseline")


def _replan(
    conn: Connection,
    ctx: Context,
    programme_id: str,
    cause: Cause,
    *,
    request: Req,
    triggered_s: float,
    triggered_at: datetime,
    order_id: str | None = None,
) -> store_plant.Schedule:
    """Replan in the transaction of the trigger: the line never runs on a schedule that has not seen it."""
    return store_plant.replan(
        conn, ctx.ids, ctx.clock, programme_id=programme_id, cause=cause, actor=request.user.name,
        triggered_s=triggered_s, triggered_at=triggered_at, order_id=order_id,
    )  # fmt: skip


router = Router(
    "/",
    route_handlers=[
        list_orders, list_schedules, list_blocked_options, add_order, cancel_order, block_option, unblock_option,
        set_baseline, replan_line, *stops.handlers,
    ],
)  # fmt: skip
