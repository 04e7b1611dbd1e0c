"""Where parts lie and what AGVs bring, in PostgreSQL: what the layout and the dispatch are made from.

The caller opens the transaction.

Invariant: a part lies in a zone of the plant's warehouse, or nowhere; a move that was announced is not made again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.logistics.dispatch import Carrier, Dispatch, Move, Trip, agvs_needed, dispatch, in_time
from ringroad.build.logistics.milestones import Shipment
from ringroad.build.logistics.slotting import HORIZON_DAYS, Layout, StockPart, StockZone, lay_out
from ringroad.build.logistics.store import OPEN_MAX, SQL, announce, ways_of
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL as BUILD_SQL
from ringroad.build.store_plant import current_schedule, waiting_orders
from ringroad.build.working_time import worked_day_s, working_time
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact

STOCK_MAX: Final = 2_000  # parts of one programme; laid out in 0.2 s of a core in four zones, 2 s in thirty, 5 s in a hundred
PICK_S: Final = 60.0  # s, where the plant does not say what a pick in a zone takes
TRIP_S: Final = 180.0  # s, where it does not say how far a place is
MOVES_MAX: Final = 400  # that are planned at once; 1.2 s of a core with the count of AGVs that would do
AHEAD_S_MAX: Final = 8 * 3_600  # s of the sequence that moves are planned for
ORDER_CHARS: Final = 10  # of an order's id in the name of a move: all of them random
_HINT: Final = "[warehouse] of its document; ringroad plant import, ringroad plant choose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """The warehouse of a programme's plant, what lies in it, and who needs it.

    Attributes:
        zones: of the warehouse.
        parts: that lie in it, or come.
        told: picks a day of each part as they were told; None: by the orders that wait.
        plant: whose warehouse it is.
        line: of the programme.
        orders: that wait, or are on the line.
    """

    zones: tuple[StockZone, ...]
    parts: tuple[StockPart, ...]
    told: Mapping[str, float | None]
    plant: Plant
    line: Line
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """What AGVs are to bring in the time ahead.

    Attributes:
        plan: their trips.
        needed: the fewest AGVs of each fleet with which nothing would come late that can still be in time, where one fleet
            serves the line alone.
        unplaced: parts that orders need and that nobody said where they lie.
        under_way: moves that were announced, and are not made again.
    """

    plan: Dispatch
    needed: Mapping[str, int | None]
    unplaced: tuple[str, ...]
    under_way: int


def put_stock(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    parts: Sequence[tuple[str, int, float | None, str]],
    gone: Sequence[str],
    actor: str,
    now: datetime,
) -> tuple[Stock, Layout]:
    """Note where parts lie, the room they take and how often they are picked; forget those that are gone.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        programme_id: whose plant.
        parts: name, places, picks a day (None: by the orders that wait) and zone ("" for nowhere yet).
        gone: parts that are not kept any more.
        actor: who says so.
        now: when.

    Returns:
        What lies in the warehouse now, and where it should.

    Raises:
        NotFound: no such programme, or its plant has no warehouse.
        InvalidInput: what `lay_out` refuses, or more than `STOCK_MAX` parts.
    """
    BUILD_SQL.lock_programme(conn, programme_id=programme_id)
    SQL.drop_stock(conn, programme_id=programme_id, parts=list(gone))
    for part, places, picks_day, zone in parts:
        SQL.put_stock(
            conn, programme_id=programme_id, part=part, places=places, picks_day=picks_day, zone=zone, now=now,
            actor=actor,
        )  # fmt: skip
    count = SQL.count_stock(conn, programme_id=programme_id)
    if count > STOCK_MAX:
        raise InvalidInput(f"{count} parts in the warehouse, limit {STOCK_MAX}")
    stock = get_stock(conn, programme_id)
    _check_zones(stock, {part: zone for part, _, _, zone in parts if zone})
    layout = layout_of(stock)  # what cannot lie anywhere is refused
    _check_full(stock)
    append_fact(
        conn, ids, kind=FactKind.STOCK_TOLD, subject=programme_id, actor=actor, now=now,
        body={"parts": len(parts), "gone": len(gone), "kept": count},
    )  # fmt: skip
    return stock, layout


def _check_zones(stock: Stock, zones: Mapping[str, str]) -> None:
    names = [zone.name for zone in stock.zones]
    for part, zone in zones.items():
        if zone not in names:
            raise InvalidInput(
                f"part {part!r} lies in {zone!r}, which is no zone of the warehouse",
                hint=f"one of {', '.join(names)}",
            )


def _check_full(stock: Stock) -> None:
    for zone in stock.zones:
        used = sum(part.places for part in stock.parts if part.zone == zone.name)
        if used > zone.places:
            raise InvalidInput(
                f"parts take {used} places of zone {zone.name!r}, which has {zone.places}",
                hint="tell what left it, too",
            )


def get_stock(conn: Connection, programme_id: str) -> Stock:
    """Return the warehouse and what lies in it. Raises: NotFound, the plant has none."""
    stored = get_programme(conn, programme_id)
    plant = stored.plant
    store = plant.structure.warehouse if plant else None
    if plant is None or store is None:
        raise NotFound(f"the plant of {programme_id} has no warehouse", hint=_HINT)
    zones = tuple(
        StockZone(name=zone.name, places=zone.places, pick_s=_time(plant, (store.area, store.name, zone.name), "pick_s", PICK_S))
        for zone in store.zones
    )  # fmt: skip
    names = {zone.name for zone in zones}
    rows = list(SQL.stock(conn, programme_id=programme_id, rows_max=STOCK_MAX))
    line, orders = stored.programme.line, tuple(waiting_orders(conn, programme_id=programme_id))
    wanted = _picks(orders, line)
    parts = tuple(
        StockPart(
            name=row["part"], places=row["places"], zone=row["zone"] if row["zone"] in names else "",
            picks_day=wanted.get(row["part"], 0.0) if row["picks_day"] is None else row["picks_day"],
        )
        for row in rows
    )  # fmt: skip
    return Stock(
        zones=zones, parts=parts, told={row["part"]: row["picks_day"] for row in rows}, plant=plant, line=line,
        orders=orders,
    )  # fmt: skip


def layout_of(stock: Stock, *, horizon_days: float = HORIZON_DAYS) -> Layout:
    """Say where the parts should lie. Raises: InvalidInput."""
    return lay_out(stock.zones, stock.parts, horizon_days=horizon_days)


def plan_moves(
    conn: Connection,
    programme_id: str,
    stock: Stock,
    *,
    ahead_s: int,
    now: datetime,
    down: Mapping[str, int] | None = None,
) -> Moves:
    """Say which AGV brings what to the line, for the vehicles that enter it in the time ahead.

    Args:
        conn: a connection.
        programme_id: whose line.
        stock: of its plant.
        ahead_s: how far the sequence is looked at.
        now: when.
        down: AGVs that do not work, by fleet.

    Raises:
        NotFound: the line has no schedule.
        InvalidInput: no fleet serves the line, or a fleet that is not there is down.
    """
    carriers, line = _carriers(stock.plant, down or {}), stock.line
    schedule = current_schedule(conn, programme_id)
    if schedule is None:
        raise NotFound(f"{programme_id} has no schedule", hint="ringroad schedule replan")
    orders = {order.id: order for order in stock.orders}
    sequence = [orders[each] for each in schedule.document.sequence if each in orders]
    carried = list(SQL.carried(conn, programme_id=programme_id, rows_max=OPEN_MAX))
    done = {(order_id, row["part"]) for row in carried for order_id in row["order_ids"]}
    moves, unplaced = _moves(sequence, line, stock, done, ahead_s, now=now)
    if len(moves) > MOVES_MAX:
        raise InvalidInput(
            f"{len(moves)} parts are to be brought in that time, limit {MOVES_MAX}",
            hint="look less far ahead",
        )
    plan = dispatch(carriers, moves, free_s=_free(carriers, carried, line.name, now))
    serving = [each for each in carriers if line.name in each.trip_s]
    return Moves(
        plan=plan,
        needed={each.name: agvs_needed(each, in_time(each, moves)) for each in serving} if len(serving) == 1 else {},
        unplaced=unplaced, under_way=sum(row["told_at"] is None for row in carried),
    )  # fmt: skip


def announce_trips(
    conn: Connection, ids: Ids, *, programme_id: str, trips: Sequence[Trip], actor: str, now: datetime
) -> list[Shipment]:
    """Announce trips as shipments of their fleets, whose milestones the AGVs tell; the line replans by them.

    Raises:
        Conflict: somebody announced one of these moves meanwhile.
        InvalidInput, NotFound: see `announce`.
    """
    BUILD_SQL.lock_programme(conn, programme_id=programme_id)
    ways, found = ways_of(conn, programme_id), []
    for trip in trips:
        for move in trip.moves:
            shipment, is_new = announce(
                conn, ids, programme_id=programme_id, name=f"{move.order_id[-ORDER_CHARS:]}/{move.part}"[:200], leg=trip.fleet,
                part=move.part, planned=[now + timedelta(seconds=at) for at in (trip.leaves_s, trip.arrives_s)],
                actor=actor, now=now, order_ids=[move.order_id], ways=ways,
            )  # fmt: skip
            if not is_new:
                raise Conflict(
                    f"{move.part} of order {move.order_id} is under way already",
                    hint="look at the trips again",
                )
            found.append(shipment)
    return found


def _time(plant: Plant, path: tuple[str, ...], kind: str, default: float, per: str = "") -> float:
    belief = plant.parameters.get(Key(path, kind, per))
    return belief.mean if belief else default


def _picks(orders: Sequence[Order], line: Line) -> dict[str, float]:
    """Return how often the line needs each feature on a day of work, by the orders that wait."""
    day = worked_day_s(line.calendar) / max(1, line.takt_s)
    found: dict[str, float] = {}
    for order in orders:
        for feature in order.features:
            found[feature] = found.get(feature, 0.0) + day / len(orders)
    return found


def _carriers(plant: Plant, down: Mapping[str, int]) -> list[Carrier]:
    names = {fleet.name for fleet in plant.structure.agvs}
    unknown = sorted(set(down) - names)
    if unknown:
        raise InvalidInput(
            f"the plant has no fleet {unknown[0]!r}", hint=f"one of {', '.join(sorted(names)) or 'none'}"
        )
    return [
        Carrier(
            name=fleet.name, count=max(0, fleet.count - down.get(fleet.name, 0)), carries=fleet.carries,
            trip_s={place: _time(plant, ("agvs", fleet.name), "trip_s", TRIP_S, place) for place in fleet.serves},
        )
        for fleet in plant.structure.agvs
    ]  # fmt: skip


def _moves(
    sequence: Sequence[Order],
    line: Line,
    stock: Stock,
    done: set[tuple[str, str]],
    ahead_s: int,
    *,
    now: datetime,
) -> tuple[list[Move], tuple[str, ...]]:
    """Return what the vehicles that enter within the time ahead need; a part that lies nowhere cannot be picked."""
    pick_s = {zone.name: zone.pick_s for zone in stock.zones}
    parts = {part.name: part for part in stock.parts}
    open_orders = [order for order in sequence if order.state == "open"]
    moves, unplaced, time = [], set[str](), working_time(line.calendar, start=now)
    for place, order in enumerate(open_orders):
        due_s = time.begun(place * line.takt_s)
        if due_s > ahead_s:
            break
        for feature in sorted(order.features & set(parts)):
            if not parts[feature].zone:
                unplaced.add(feature)
            elif (order.id, feature) not in done:
                moves.append(Move(
                    order_id=order.id, part=feature, place=line.name, due_s=due_s,
                    pick_s=pick_s[parts[feature].zone],
                ))  # fmt: skip
    return moves, tuple(sorted(unplaced))


def _free(
    carriers: Sequence[Carrier], carried: Sequence[Mapping[str, Any]], place: str, now: datetime
) -> dict[tuple[str, int], float]:
    """Return when AGVs are back that are under way now.

    What was announced with the same times is one trip, as many as the AGV carries. One that delivered is on its way back.
    """
    found: dict[tuple[str, int], float] = {}
    for carrier in carriers:
        way_s = carrier.trip_s.get(place, 0.0)
        trips: dict[datetime, list[datetime | None]] = {}
        for row in carried:
            if row["leg"] == carrier.name:
                trips.setdefault(row["due_at"], []).append(row["told_at"])
        back: list[float] = []
        for due_at, told in trips.items():
            there = max((at for at in told if at is not None), default=due_at) if None not in told else due_at
            back += [(there - now).total_seconds() + way_s] * -(-len(told) // carrier.carries)
        away = sorted(at for at in back if at > 0)
        for number, at in enumerate(away):
            agv = 1 + number % max(1, carrier.count)
            found[carrier.name, agv] = max(found.get((carrier.name, agv), 0.0), at)
    return found
