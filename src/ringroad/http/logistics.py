"""Build: parts on their way: shipments, their milestones, and when they are expected."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.logistics import store
from ringroad.build.logistics.availability import PARTS_MAX
from ringroad.build.logistics.milestones import TOLD_MAX, Told
from ringroad.build.store_packages import get_programme
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Limit, Reason, Req, Title, route
from ringroad.http.views_logistics import (
    LogisticsView,
    MilestonesTaken,
    RefusedMilestoneView,
    ShipmentView,
    StageSkillView,
    expected_by_id,
    refused_view,
    shipment_view,
    way_view,
)

MILESTONES_MAX = 50  # of one leg

Zoned = Annotated[datetime, Meta(tz=True)]
OnlyOpen = Annotated[bool, Parameter(description="Only what is on its way, soonest first")]


class NewShipment(Command, frozen=True, kw_only=True):
    """Parts that set out on a leg."""

    name: Title  # the sender's own
    leg: Title
    part: Title
    order_ids: Annotated[list[str], Meta(max_length=PARTS_MAX)] = msgspec.field(default_factory=list)
    planned: Annotated[list[Zoned], Meta(min_length=1, max_length=MILESTONES_MAX)]


class NewShipments(Command, frozen=True, kw_only=True):
    """Shipments that set out; all of them, or none where one cannot be."""

    strict: ClassVar[bool] = True
    shipments: Annotated[list[NewShipment], Meta(min_length=1, max_length=TOLD_MAX)]


class NewMilestone(Command, frozen=True, kw_only=True):
    """A shipment reached a milestone."""

    id: Title  # the sender's own, so that a repeated one is known
    shipment: Title
    milestone: Title
    at: Zoned


class NewMilestones(Command, frozen=True, kw_only=True):
    """What was told of shipments; each counts once."""

    strict: ClassVar[bool] = True
    milestones: Annotated[list[NewMilestone], Meta(min_length=1, max_length=TOLD_MAX)]


@route("GET", "/programmes/{programme_id:str}/logistics", role=Role.VIEWER, tag="build", errors=[404])
def get_logistics(ctx: Ctx, *, programme_id: Id, limit: Limit = 50) -> LogisticsView:
    """Show the plant's legs, how good predictions are, and what was refused."""
    with ctx.connection() as conn:
        ways = store.ways_of(conn, programme_id)
        outlook = store.get_outlook(conn, programme_id)
        refused = store.refused_milestones(conn, programme_id, rows_max=limit)
    return LogisticsView(
        ways=[way_view(way) for way in ways.values()],
        arrived=outlook.document.get("arrived", 0),
        behind=outlook.behind,
        made_at=outlook.made_at,
        stages=msgspec.convert(outlook.document.get("stages", []), list[StageSkillView]),
        refused=[msgspec.convert(row, RefusedMilestoneView) for row in refused],
    )


@route("GET", "/programmes/{programme_id:str}/shipments", role=Role.VIEWER, tag="build", errors=[404])
def list_shipments(
    ctx: Ctx, *, programme_id: Id, only_open: OnlyOpen = False, limit: Limit = 100
) -> list[ShipmentView]:
    """List shipments, newest first, with when they are expected."""
    with ctx.connection() as conn:
        get_programme(conn, programme_id)
        expected = expected_by_id(store.get_outlook(conn, programme_id))
        if only_open:
            rows = store.open_shipments(conn, programme_id)[:limit]
        else:
            rows = store.newest_shipments(conn, programme_id, rows_max=limit)
    return [shipment_view(row, expected.get(row.id)) for row in rows]


@route(
    "POST", "/programmes/{programme_id:str}/shipments", role=Role.OPERATOR, tag="build", status=201,
    errors=[404, 409, 422],
)  # fmt: skip
def announce_shipments(
    ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewShipments]
) -> list[ShipmentView]:
    """Announce shipments; the same again changes nothing."""
    with ctx.transaction() as conn:
        ways = store.ways_of(conn, programme_id)
        found = [
            store.announce(
                conn, ctx.ids, programme_id=programme_id, name=each.name, leg=each.leg, part=each.part,
                planned=each.planned, order_ids=each.order_ids, actor=request.user.name, now=ctx.clock.now(),
                ways=ways,
            )
            for each in data.shipments
        ]  # fmt: skip
    return [shipment_view(shipment, None) for shipment, _ in found]


@route(
    "POST", "/programmes/{programme_id:str}/milestones", role=Role.OPERATOR, tag="build", errors=[404, 409, 422]
)  # fmt: skip
def take_milestones(
    ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[NewMilestones]
) -> MilestonesTaken:
    """Take milestones; what cannot be is refused one by one, and the rest is taken."""
    delivered = [
        Told(id=each.id, shipment=each.shipment, milestone=each.milestone, at=each.at)
        for each in data.milestones
    ]
    with ctx.transaction() as conn:
        found = store.take_milestones(
            conn, ctx.ids, programme_id=programme_id, delivered=delivered, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
    return MilestonesTaken(
        taken=len(found.taken),
        repeated=found.repeated,
        refused=[refused_view(each) for each in found.refused],
    )


@route("POST", "/shipments/{shipment_id:str}/lost", role=Role.OPERATOR, tag="build", errors=[404, 409, 422])
def lose_shipment(ctx: Ctx, request: Req, shipment_id: Id, data: JSONBody[Reason]) -> ShipmentView:
    """Note that a shipment never arrives; orders that wait for it are held until another is announced for them."""
    with ctx.transaction() as conn:
        shipment = store.lose_shipment(
            conn, ctx.ids, shipment_id=shipment_id, reason=data.reason, actor=request.user.name,
            now=ctx.clock.now(), generation=data.generation,
        )  # fmt: skip
    return shipment_view(shipment, None)


router = Router(
    "/", route_handlers=[get_logistics, list_shipments, announce_shipments, take_milestones, lose_shipment]
)
