"""Build: which vehicles the gates of a line look at, and lots of which every vehicle is looked at."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter

from ringroad.build.quality import store_draw
from ringroad.build.store_packages import get_programme
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Id, Limit, Ref, Req, Text, Title, route
from ringroad.http.views_quality import ContainedLotView, InspectionView

Only = Annotated[
    str | None,
    Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200, description="Only of this order or VIN"),
]
Every = Annotated[bool, Parameter(description="Released ones as well")]


class Arrival(Command, frozen=True, kw_only=True):
    """A vehicle is at a station, or at the end of the line."""

    order_id: Ref
    station: Title | None = None  # none: all gates of the line


class NewContainment(Command, frozen=True, kw_only=True):
    """A lot of which no vehicle leaves the line unseen."""

    part: Title
    lot: Title
    reason: Text


class LotRelease(Command, frozen=True, kw_only=True):
    """A lot is good, or used up."""

    reason: Text


@route(
    "POST",
    "/programmes/{programme_id:str}/inspections",
    role=Role.OPERATOR,
    tag="build",
    errors=[404, 409, 422],
)
def choose_inspections(
    ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[Arrival]
) -> list[InspectionView]:
    """Say which gates look at a vehicle; the first to ask makes the choice, and everybody after gets the same answer."""
    with ctx.transaction() as conn:
        found = store_draw.choose_for(
            conn, ctx.ids, programme_id=programme_id, order_id=data.order_id, station=data.station,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return [msgspec.convert(each, InspectionView, from_attributes=True) for each in found]


@route("GET", "/programmes/{programme_id:str}/inspections", role=Role.VIEWER, tag="build", errors=[404])
def list_inspections(
    ctx: Ctx, *, programme_id: Id, vehicle: Only = None, limit: Limit = 100
) -> list[InspectionView]:
    """List which vehicles gates were to look at and which not, newest first, and what came of it."""
    with ctx.connection() as conn:
        get_programme(conn, programme_id)
        found = store_draw.list_draws(conn, programme_id, order_id=vehicle, rows_max=limit)
    return [msgspec.convert(each, InspectionView, from_attributes=True) for each in found]


@route(
    "POST",
    "/programmes/{programme_id:str}/contained-lots",
    role=Role.OPERATOR,
    tag="build",
    status=201,
    errors=[404, 409, 422],
)
def contain_lot(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewContainment]) -> ContainedLotView:
    """Let no vehicle with a lot leave the line unless the gate that should catch it looked at it."""
    with ctx.transaction() as conn:
        found, orders = store_draw.contain_lot(
            conn, ctx.ids, programme_id=programme_id, part=data.part, lot=data.lot, reason=data.reason,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        born = store_draw.born_with(conn, programme_id=programme_id, part=data.part, lot=data.lot)
    return msgspec.structs.replace(
        msgspec.convert(found, ContainedLotView, from_attributes=True), on_line=orders, born=born
    )


@route("GET", "/programmes/{programme_id:str}/contained-lots", role=Role.VIEWER, tag="build", errors=[404])
def list_contained_lots(
    ctx: Ctx, *, programme_id: Id, every: Every = False, limit: Limit = 100
) -> list[ContainedLotView]:
    """List contained lots, newest first."""
    with ctx.connection() as conn:
        get_programme(conn, programme_id)
        found = store_draw.list_contained(conn, programme_id, only_open=not every, rows_max=limit)
    return [msgspec.convert(each, ContainedLotView, from_attributes=True) for each in found]


@route(
    "POST", "/contained-lots/{lot_id:str}/release", role=Role.APPROVER, tag="build", errors=[404, 409, 422]
)
def release_lot(ctx: Ctx, request: Req, lot_id: Id, data: JSONBody[LotRelease]) -> ContainedLotView:
    """End a containment, with why; vehicles that were chosen for it are still looked at."""
    with ctx.transaction() as conn:
        found = store_draw.release_lot(
            conn, ctx.ids, lot_id=lot_id, reason=data.reason, actor=request.user.name, now=ctx.clock.now()
        )
    return msgspec.convert(found, ContainedLotView, from_attributes=True)


router = Router(
    "/", route_handlers=[choose_inspections, list_inspections, contain_lot, list_contained_lots, release_lot]
)
