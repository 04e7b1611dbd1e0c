"""The page of what is on its way: when it arrives, what is late, and which vehicles wait for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from litestar import Response

from ringroad.build.logistics import store, store_stock
from ringroad.build.logistics.availability import LEVELS_PERMILLE
from ringroad.build.logistics.store_stock import Moves
from ringroad.http import reading
from ringroad.http.console.render import page
from ringroad.http.console.shared import Req, chosen_programme, shown, url_of
from ringroad.http.context import Ctx
from ringroad.http.stock import dispatch_view, warehouse_view
from ringroad.http.views_logistics import (
    RefusedMilestoneView,
    ShipmentView,
    StageSkillView,
    expected_by_id,
    shipment_view,
)
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.storage.db import Connection

SHIPMENTS_SHOWN: Final = 200
REFUSED_SHOWN: Final = 20
PARTS_SHOWN: Final = 50  # of the warehouse
AHEAD_MIN: Final = 60  # of the sequence that trips are shown for
UNITS: Final = 1_000  # of the width of a picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Fan:
    """When a shipment arrives, as places from 0 to `UNITS` on a time line that all on the page share.

    Attributes:
        planned: of its plan.
        outer: of the 90 % interval, from and width.
        inner: of its half in the middle.
        median: of the quantile in the middle.
        told: in words, for those who do not see it.
    """

    planned: float
    outer: tuple[float, float]
    inner: tuple[float, float]
    median: float
    told: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A shipment on the board."""

    view: ShipmentView
    fan: Fan | None
    waits: tuple[tuple[str, str], ...]  # orders that wait for it, and where they stand


@shown("/logistics")
def logistics_page(ctx: Ctx, request: Req) -> Response[str]:
    """Shipments on a board, the skill of predictions, and what was refused."""
    with ctx.connection() as conn:
        programmes, programme = chosen_programme(conn, request)
        values: dict[str, Any] = {}
        if programme is not None:
            outlook = store.get_outlook(conn, programme.id)
            expected = expected_by_id(outlook)
            views = [
                shipment_view(each, expected.get(each.id))
                for each in store.open_shipments(conn, programme.id)
            ]
            schedules = reading.schedules(conn, programme.id, limit=1)
            stages = msgspec.convert(outlook.document.get("stages", []), list[StageSkillView])
            late = sum(bool(each.expected and each.expected.late) for each in views)
            overdue = sum(bool(each.expected and each.expected.overdue) for each in views)
            values = {
                "rows": board(views[:SHIPMENTS_SHOWN], schedules[0].document if schedules else {}),
                "ways": list(store.ways_of(conn, programme.id).values()),
                "stages": stages,
                "classes": sorted({name for each in stages for name in each.coverage}),
                "no_skill": any(each.stage == "planned" and not each.shown for each in stages),
                "arrived": outlook.document.get("arrived", 0),
                "outlook": outlook,
                **_inside(ctx, conn, programme.id),
                "refused": [
                    msgspec.convert(row, RefusedMilestoneView)
                    for row in store.refused_milestones(conn, programme.id, rows_max=REFUSED_SHOWN)
                ],
                "figures": [
                    (len(views), "on their way", "#board"),
                    (late, "late", "#board"),
                    (overdue, "overdue or lost", "#board"),
                    (outlook.document.get("arrived", 0), "arrived, learned from", "#skill"),
                ],
            }
    return page(
        "logistics.html", account=request.user, url=url_of(request), programmes=programmes, programme=programme,
        **values,
    )  # fmt: skip


def _inside(ctx: Ctx, conn: Connection, programme_id: str) -> dict[str, Any]:
    """Return what the page shows of the warehouse and the AGVs; nothing where the plant has none."""
    now = ctx.clock.now()
    try:
        stock = store_stock.get_stock(conn, programme_id)
        warehouse = warehouse_view(stock, store_stock.layout_of(stock), limit=PARTS_SHOWN)
    except (NotFound, InvalidInput):
        return {}
    values: dict[str, Any] = {"warehouse": warehouse}
    try:
        moves = store_stock.plan_moves(conn, programme_id, stock, ahead_s=60 * AHEAD_MIN, now=now)
    except (NotFound, InvalidInput) as error:
        return values | {"no_dispatch": error.message}
    return values | {"dispatch": dispatch_view(moves, now), "agvs": lanes(moves), "ahead_min": AHEAD_MIN}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The trips of one AGV, as places from 0 to `UNITS` on a time line that all of them share."""

    name: str
    trips: tuple[tuple[float, float, bool, str], ...]  # from, width, whether a part is late, in words


def lanes(moves: Moves) -> list[Lane]:
    """Lay out trips, a lane for each AGV that has one. Pure."""
    trips = moves.plan.trips
    first, last = min((t.leaves_s for t in trips), default=0.0), max((t.back_s for t in trips), default=0.0)
    unit = UNITS / max(1.0, last - first)
    found: dict[tuple[str, int], list[tuple[float, float, bool, str]]] = {}
    for trip in trips:
        brings = ", ".join(move.part for move in trip.moves)
        found.setdefault((trip.fleet, trip.agv), []).append((
            round(unit * (trip.leaves_s - first), 1), round(max(3.0, unit * (trip.back_s - trip.leaves_s)), 1),
            trip.late_s > 0,
            f"{brings} to {trip.place}, there in {trip.arrives_s / 60:.0f} min"
            + (f", {trip.late_s / 60:.0f} min late" if trip.late_s > 0 else ""),
        ))  # fmt: skip
    return [Lane(name=f"{fleet} {agv}", trips=tuple(found[fleet, agv])) for fleet, agv in sorted(found)]


def board(views: Sequence[ShipmentView], schedule: Mapping[str, Any]) -> list[Row]:
    """Lay out shipments: all pictures have one time line, from the first plan or quantile to the last. Pure."""
    times = [
        at
        for view in views
        for at in (view.milestones[-1].planned_at, *(at for _, at in (view.expected.quantiles if view.expected else [])))
    ]  # fmt: skip
    first, last = min(times, default=None), max(times, default=None)
    places = {
        order_id: f"place {place}" for place, order_id in enumerate(schedule.get("sequence") or [], start=1)
    }
    held = {each["order_id"]: "held" for each in schedule.get("held") or []}
    return [
        Row(
            view=view,
            fan=_fan(view, first, last) if first and last else None,
            waits=tuple((each, (places | held).get(each, "not in the sequence")) for each in view.order_ids),
        )
        for view in views
    ]


def _fan(view: ShipmentView, first: datetime, last: datetime) -> Fan | None:
    if view.expected is None or not view.expected.quantiles:
        return None
    length_s = max(1.0, (last - first).total_seconds())
    at = dict(view.expected.quantiles)
    places = {level: UNITS * (when - first).total_seconds() / length_s for level, when in at.items()}
    low, high = min(places.values()), max(places.values())
    median = (
        next(place for level, place in sorted(places.items()) if level >= 500) if max(places) >= 500 else high
    )
    inner = (places.get(LEVELS_PERMILLE[2], median), places.get(LEVELS_PERMILLE[4], median))
    words = ", ".join(f"{level / 10:g} % by {when:%d %b %H:%M} UTC" for level, when in sorted(at.items()))
    return Fan(
        planned=round(UNITS * (view.milestones[-1].planned_at - first).total_seconds() / length_s, 1),
        outer=(round(low, 1), round(max(4.0, high - low), 1)),
        inner=(round(inner[0], 1), round(max(2.0, inner[1] - inner[0]), 1)),
        median=round(median, 1), told=words,
    )  # fmt: skip


handlers = [logistics_page]
