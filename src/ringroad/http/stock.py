"""Build: where parts lie in the warehouse, and which AGV brings what to the line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, ClassVar

import msgspec
from litestar import Router
from litestar.params import JSONBody, Parameter
from msgspec import Meta

from ringroad.build.logistics import store_stock
from ringroad.build.logistics.dispatch import AGVS_MAX, Trip
from ringroad.build.logistics.slotting import HORIZON_DAYS, Layout, fill_of
from ringroad.build.logistics.store_stock import AHEAD_S_MAX, STOCK_MAX, Moves, Stock
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Command, Id, Limit, Req, Title, route
from ringroad.http.views import View
from ringroad.http.views_logistics import ShipmentView, shipment_view
from ringroad.storage.db import Connection

FLEETS_MAX = 100
Minutes = Annotated[int, Parameter(ge=1, le=AHEAD_S_MAX // 60, description="Of the sequence ahead")]
Days = Annotated[float, Parameter(ge=0.1, le=365, description="Days of work in which a move must pay")]
Zone = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]


class StockedPart(Command, frozen=True, kw_only=True):
    """A part, where it lies and the room it takes."""

    part: Title
    places: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    picks_day: Annotated[float, Meta(ge=0, le=1e9)] | None = None  # None: by the orders that wait
    zone: Zone = ""  # "": nowhere yet


class StockTold(Command, frozen=True, kw_only=True):
    """What the warehouse says of parts; the others stay as they are."""

    strict: ClassVar[bool] = True
    parts: Annotated[list[StockedPart], Meta(max_length=STOCK_MAX)] = msgspec.field(default_factory=list)
    gone: Annotated[list[str], Meta(max_length=STOCK_MAX)] = msgspec.field(default_factory=list)


class DispatchAsked(Command, frozen=True, kw_only=True):
    """Which trips are announced: those that leave soon."""

    ahead_min: Annotated[int, Meta(ge=1, le=AHEAD_S_MAX // 60)] = 60
    leave_min: Annotated[int, Meta(ge=0, le=AHEAD_S_MAX // 60)] = (
        10  # trips that leave within so many minutes
    )
    down: Annotated[dict[Title, Annotated[int, Meta(ge=0, le=AGVS_MAX)]], Meta(max_length=FLEETS_MAX)] = (
        msgspec.field(default_factory=dict)
    )


class ZoneFill(View, frozen=True, kw_only=True):
    """A zone of the warehouse."""

    name: str
    places: int
    used: int
    pick_s: float


class StockView(View, frozen=True, kw_only=True):
    """A part in the warehouse, and where it should lie."""

    part: str
    places: int
    picks_day: float
    picks_told: bool  # else by the orders that wait
    zone: str
    should: str


class RelocationView(View, frozen=True, kw_only=True):
    """A part that is worth moving."""

    part: str
    source: str
    target: str
    places: int
    saves_s_day: float
    aside: bool  # something must be put aside for it first


class WarehouseView(View, frozen=True, kw_only=True):
    """The warehouse, where parts lie, and where they should."""

    zones: list[ZoneFill]
    parts: list[StockView]
    moves: list[RelocationView]  # in the order in which they can be made
    now_s_day: float  # what picks take a day
    new_s_day: float
    bound_s_day: float  # no layout takes less
    moving_s: float


class MoveView(View, frozen=True, kw_only=True):
    """A part that an AGV brings."""

    order_id: str
    part: str
    due_at: datetime
    late_s: float


class TripView(View, frozen=True, kw_only=True):
    """A trip of an AGV."""

    fleet: str
    agv: int
    place: str
    leaves_at: datetime
    arrives_at: datetime
    back_at: datetime
    moves: list[MoveView]


class DispatchView(View, frozen=True, kw_only=True):
    """What AGVs bring to the line in the time ahead."""

    trips: list[TripView]
    rule: str
    late: int
    late_s: float
    needed: dict[str, int | None]  # AGVs of each fleet with which nothing would be late
    unplaced: list[str]  # parts that are needed, and lie nowhere
    under_way: int


def warehouse_view(stock: Stock, layout: Layout, *, limit: int) -> WarehouseView:
    """Return the warehouse with where parts should lie."""
    return WarehouseView(
        zones=[msgspec.convert(each, ZoneFill) for each in fill_of(stock.zones, stock.parts)],
        parts=[
            StockView(
                part=each.name, places=each.places, picks_day=each.picks_day,
                picks_told=stock.told[each.name] is not None, zone=each.zone, should=layout.zones[each.name],
            )
            for each in stock.parts[:limit]
        ],
        moves=[
            RelocationView(
                part=each.part, source=each.source, target=each.target, places=each.places,
                saves_s_day=each.saves_s_day, aside=each.aside,
            )
            for each in layout.moves[:limit]
        ],
        now_s_day=layout.now_s_day, new_s_day=layout.new_s_day, bound_s_day=layout.bound_s_day,
        moving_s=layout.moving_s,
    )  # fmt: skip


def dispatch_view(moves: Moves, now: datetime) -> DispatchView:
    """Return trips at their times."""
    return DispatchView(
        trips=[_trip_view(trip, now) for trip in moves.plan.trips],
        rule=moves.plan.rule, late=moves.plan.late, late_s=moves.plan.late_s, needed=dict(moves.needed),
        unplaced=list(moves.unplaced), under_way=moves.under_way,
    )  # fmt: skip


def _trip_view(trip: Trip, now: datetime) -> TripView:
    def at(seconds: float) -> datetime:
        return now + timedelta(seconds=seconds)

    return TripView(
        fleet=trip.fleet, agv=trip.agv, place=trip.place, leaves_at=at(trip.leaves_s),
        arrives_at=at(trip.arrives_s), back_at=at(trip.back_s),
        moves=[
            MoveView(
                order_id=each.order_id, part=each.part, due_at=at(each.due_s),
                late_s=max(0.0, trip.arrives_s - each.due_s),
            )
            for each in trip.moves
        ],
    )  # fmt: skip


@route("GET", "/programmes/{programme_id:str}/stock", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_stock(
    ctx: Ctx, *, programme_id: Id, horizon_days: Days = HORIZON_DAYS, limit: Limit = 200
) -> WarehouseView:
    """Show the warehouse, what lies where, and what is worth moving."""
    with ctx.connection() as conn:
        stock = store_stock.get_stock(conn, programme_id)
    layout = store_stock.layout_of(stock, horizon_days=horizon_days)
    return warehouse_view(stock, layout, limit=limit)


@route(
    "POST", "/programmes/{programme_id:str}/stock", role=Role.OPERATOR, tag="build", errors=[404, 409, 422]
)
def put_stock(ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[StockTold]) -> WarehouseView:
    """Say where parts lie, the room they take and how often they are picked."""
    with ctx.transaction() as conn:
        stock, layout = store_stock.put_stock(
            conn, ctx.ids, programme_id=programme_id, gone=[name for name in data.gone if "\0" not in name], actor=request.user.name,
            now=ctx.clock.now(),
            parts=[(each.part, each.places, each.picks_day, each.zone) for each in data.parts],
        )  # fmt: skip
    return warehouse_view(stock, layout, limit=STOCK_MAX)


@route("GET", "/programmes/{programme_id:str}/dispatch", role=Role.VIEWER, tag="build", errors=[404, 422])
def get_dispatch(ctx: Ctx, *, programme_id: Id, ahead_min: Minutes = 60) -> DispatchView:
    """Show which AGV is to bring what to the line, for the vehicles that enter it next."""
    now = ctx.clock.now()
    with ctx.connection() as conn:
        return dispatch_view(_plan(conn, programme_id, ahead_min, {}, now), now)


@route(
    "POST", "/programmes/{programme_id:str}/dispatch", role=Role.OPERATOR, tag="build", status=201,
    errors=[404, 409, 422],
)  # fmt: skip
def announce_dispatch(
    ctx: Ctx, request: Req, programme_id: Id, data: JSONBody[DispatchAsked]
) -> list[ShipmentView]:
    """Announce the trips that leave soon as shipments of their fleets; AGVs tell their milestones."""
    now = ctx.clock.now()
    with ctx.transaction() as conn:
        moves = _plan(conn, programme_id, data.ahead_min, data.down, now)
        soon = [trip for trip in moves.plan.trips if trip.leaves_s <= 60 * data.leave_min]
        found = store_stock.announce_trips(
            conn, ctx.ids, programme_id=programme_id, trips=soon, actor=request.user.name, now=now
        )
    return [shipment_view(each, None) for each in found]


def _plan(
    conn: Connection, programme_id: str, ahead_min: int, down: Mapping[str, int], now: datetime
) -> Moves:
    stock = store_stock.get_stock(conn, programme_id)
    return store_stock.plan_moves(conn, programme_id, stock, ahead_s=60 * ahead_min, now=now, down=down)


router = Router("/", route_handlers=[get_stock, put_stock, get_dispatch, announce_dispatch])
