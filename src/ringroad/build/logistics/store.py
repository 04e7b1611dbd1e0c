"""Shipments, their milestones and when they are expected, in PostgreSQL.

The caller opens the transaction.

Invariant: a milestone counts once, however often it is told; one that was refused changes nothing, and is kept to be
shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.build.logistics.availability import PartAvailability, never
from ringroad.build.logistics.milestones import (
    AGV_MILESTONES,
    TOLD_MAX,
    Refused,
    Shipment,
    Sorted,
    Told,
    Way,
    check_plan,
    sort_milestones,
)
from ringroad.build.plant.store import get_plant
from ringroad.build.store_packages import SQL as BUILD_SQL
from ringroad.build.store_packages import get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, expect_one, load_queries, of_row
from ringroad.storage.ledger import append_fact, last_of

SQL = load_queries("ringroad.build.logistics")

OPEN_MAX: Final = 5_000  # shipments of one programme on their way; a day of a large plant has some 1,000
LEARNED_MAX: Final = 50_000  # shipments that arrived, the newest, that are learned from
REFUSED_KEPT: Final = 200  # by programme
OUTLOOK_S: Final = 60  # seconds after which what is on its way is looked at again, though nothing was told
OUTLOOK_S_MAX: Final = 5 * OUTLOOK_S  # after which nothing that was said is believed any more
NOT_LOOKED: Final = "which nobody has looked at"  # in the reason of an order that is held for that


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """When shipments are expected, as the worker last said.

    Attributes:
        document: skill by stage, and an entry for each shipment.
        behind: what was told since.
        made_at: when; None before the first.
    """

    document: Mapping[str, Any]
    behind: int
    made_at: datetime | None

    def old(self, now: datetime) -> bool:
        """Whether it is too old to be believed; nothing is where nothing was ever told."""
        if self.made_at is None:
            return self.behind > 0
        return timedelta(seconds=OUTLOOK_S_MAX) < now - self.made_at


def ways_of(conn: Connection, programme_id: str) -> dict[str, Way]:
    """Return legs and fleets of AGVs that bring parts to a programme's line, by name. Raises: NotFound."""
    plant_id = get_programme(conn, programme_id).plant_id
    if plant_id is None:
        return {}
    structure = get_plant(conn, plant_id).plant.structure
    legs = [
        Way(name=leg.name, of_class=leg.mode, parts=leg.parts, milestones=leg.milestones)
        for leg in structure.legs
    ]
    fleets = [
        Way(name=each.name, of_class="agv", parts=(), milestones=AGV_MILESTONES) for each in structure.agvs
    ]
    return {way.name: way for way in (*fleets, *legs)}


def announce(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    name: str,
    leg: str,
    part: str,
    planned: Sequence[datetime],
    actor: str,
    now: datetime,
    order_ids: Sequence[str] = (),
    ways: Mapping[str, Way] | None = None,
) -> tuple[Shipment, bool]:
    """Take a shipment: what it brings, who waits for it, when it is to reach its milestones.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        programme_id: whose line waits.
        name: the sender's own.
        leg: that it goes by.
        part: what it brings.
        planned: when it is to reach each milestone.
        actor: who says so.
        now: when.
        order_ids: orders that wait for it.
        ways: of the programme, where they were read in this transaction.

    Returns:
        The shipment, and whether it is new.

    Raises:
        NotFound: no such programme or order.
        InvalidInput: no such leg, a part that it does not bring, or times that cannot be.
        Conflict: the name was another shipment before, or too many are on their way.
    """
    BUILD_SQL.lock_programme(conn, programme_id=programme_id)
    way = (ways_of(conn, programme_id) if ways is None else ways).get(leg)
    check_plan(way, leg=leg, part=part, planned=planned, orders=order_ids, now=now)
    assert way is not None  # noqa: S101 - check_plan refused it
    waiting = _known_orders(conn, programme_id, order_ids)
    wanted = Shipment(
        id=ids.new("shipment"), programme_id=programme_id, name=name, leg=leg, of_class=way.of_class, part=part,
        order_ids=tuple(waiting), milestones=way.milestones, planned=tuple(planned), told=(None,) * len(planned),
        announced_at=now,
    )  # fmt: skip
    known = list(SQL.shipments_by_name(conn, programme_id=programme_id, names=[name]))
    if known:
        return _as_before(_shipment(known[0]), wanted), False
    if SQL.count_open_shipments(conn, programme_id=programme_id) >= OPEN_MAX:
        raise Conflict(
            f"{OPEN_MAX} shipments of {programme_id} are on their way",
            hint="tell the arrival of those that are there, and which are lost",
        )
    SQL.insert_shipment(
        conn, id=wanted.id, programme_id=programme_id, name=name, leg=leg, of_class=way.of_class, part=part,
        order_ids=waiting, milestones=list(way.milestones), planned=list(planned), told=list(wanted.told),
        announced_at=now, actor=actor,
    )  # fmt: skip
    SQL.note_told(conn, programme_id=programme_id)
    append_fact(
        conn, ids, kind=FactKind.SHIPMENT_ANNOUNCED, subject=wanted.id, actor=actor, now=now,
        body={
            "programme_id": programme_id, "name": name, "leg": leg, "part": part, "order_ids": waiting,
            "planned": [at.isoformat() for at in planned],
        },
    )  # fmt: skip
    return wanted, True


def take_milestones(
    conn: Connection, ids: Ids, *, programme_id: str, delivered: Sequence[Told], actor: str, now: datetime
) -> Sorted:
    """Take what may be believed of a delivery, and keep what of the rest is wrong.

    Raises:
        NotFound: no such programme.
        InvalidInput: too many milestones at once.
    """
    if len(delivered) > TOLD_MAX:
        raise InvalidInput(f"{len(delivered)} milestones, limit {TOLD_MAX}", hint="send them in parts")
    get_programme(conn, programme_id)
    BUILD_SQL.lock_programme(conn, programme_id=programme_id)  # two deliveries of the same take turns
    names = sorted({told.shipment for told in delivered})
    rows = SQL.shipments_by_name(conn, programme_id=programme_id, names=names)
    events = [told.id for told in delivered]
    before = [
        of_row(Told, row)
        for row in SQL.milestones_by_event(conn, programme_id=programme_id, event_ids=events)
    ]
    found = sort_milestones(
        delivered, {row["name"]: _shipment(row) for row in rows}, {told.id: told for told in before}, now=now
    )
    for told, shipment, place in found.taken:
        SQL.insert_milestone(
            conn, programme_id=programme_id, event_id=told.id, shipment_id=shipment.id, milestone=told.milestone,
            at=told.at, now=now, actor=actor,
        )  # fmt: skip
        moved = SQL.move_shipment(
            conn, shipment_id=shipment.id, generation=shipment.generation, place=place + 1, at=told.at
        )
        expect_one(moved, f"shipment {shipment.name}")
        append_fact(
            conn, ids, kind=FactKind.SHIPMENT_MOVED, subject=shipment.id, actor=actor, now=now,
            causes=last_of(conn, shipment.id),
            body={
                "programme_id": programme_id, "milestone": told.milestone, "at": told.at.isoformat(),
                "late_s": round((told.at - shipment.planned[place]).total_seconds()), "event_id": told.id,
            },
        )  # fmt: skip
    refuse(conn, programme_id=programme_id, refused=found.refused, actor=actor, now=now)
    if found.taken:
        SQL.note_told(conn, programme_id=programme_id)
    return found


def refuse(
    conn: Connection, *, programme_id: str, refused: Sequence[Refused], actor: str, now: datetime
) -> None:
    """Keep milestones that are not believed, to be shown; the oldest are forgotten."""
    for each in refused:
        SQL.insert_refused(
            conn, programme_id=programme_id, event_id=each.told.id, shipment=each.told.shipment,
            milestone=each.told.milestone, at=each.told.at, reason=each.reason, actor=actor, now=now,
        )  # fmt: skip
    if refused:
        SQL.forget_refused(conn, programme_id=programme_id, kept=REFUSED_KEPT)


def lose_shipment(
    conn: Connection,
    ids: Ids,
    *,
    shipment_id: str,
    reason: str,
    actor: str,
    now: datetime,
    generation: int | None = None,
) -> Shipment:
    """Note that a shipment will never arrive; orders that wait for it are held until somebody announces another.

    Raises:
        NotFound: no such shipment.
        InvalidInput: no reason.
        Conflict: it arrived, is lost already, or moved on since `generation`.
    """
    shipment = get_shipment(conn, shipment_id)
    if not reason.strip():
        raise InvalidInput(f"shipment {shipment.name} cannot be lost without a reason")
    rows = SQL.lose_shipment(
        conn, shipment_id=shipment_id, generation=generation or shipment.generation, reason=reason.strip()
    )
    if rows != 1:
        raise Conflict(f"shipment {shipment.name} is {shipment.state!r}", code="shipment_state")
    SQL.note_told(conn, programme_id=shipment.programme_id)
    append_fact(
        conn, ids, kind=FactKind.SHIPMENT_LOST, subject=shipment_id, actor=actor, now=now,
        causes=last_of(conn, shipment_id),
        body={"programme_id": shipment.programme_id, "name": shipment.name, "reason": reason.strip()},
    )  # fmt: skip
    return get_shipment(conn, shipment_id)


def get_shipment(conn: Connection, shipment_id: str) -> Shipment:
    """Return a shipment. Raises: NotFound."""
    row = SQL.shipment(conn, shipment_id=shipment_id)
    if row is None:
        raise NotFound(f"there is no shipment {shipment_id!r}", hint="ringroad logistics list")
    return _shipment(row)


def open_shipments(conn: Connection, programme_id: str) -> list[Shipment]:
    """Return what is on its way, and what is lost for orders that nobody announced another for; soonest first."""
    rows = SQL.open_shipments(conn, programme_id=programme_id, rows_max=OPEN_MAX)
    return [replace(_shipment(row), order_ids=tuple(row["still_wait"])) for row in rows]


def arrived_shipments(conn: Connection, programme_id: str) -> list[Shipment]:
    """Return what arrived, newest first, as much as is learned from."""
    rows = SQL.arrived_shipments(conn, programme_id=programme_id, rows_max=LEARNED_MAX)
    return [_shipment(row) for row in rows]


def newest_shipments(conn: Connection, programme_id: str, *, rows_max: int) -> list[Shipment]:
    """Return the newest shipments, whatever their state."""
    rows = SQL.newest_shipments(conn, programme_id=programme_id, rows_max=min(rows_max, PAGE_ROWS_MAX))
    return [_shipment(row) for row in rows]


def refused_milestones(conn: Connection, programme_id: str, *, rows_max: int) -> list[Mapping[str, Any]]:
    """Return what was refused, newest first."""
    return list(SQL.refused(conn, programme_id=programme_id, rows_max=min(rows_max, REFUSED_KEPT)))


def get_outlook(conn: Connection, programme_id: str) -> Outlook:
    """Return when shipments are expected, as was last said."""
    row = SQL.outlook(conn, programme_id=programme_id)
    if row is None:
        return Outlook(document={}, behind=0, made_at=None)
    return Outlook(document=row["document"], behind=row["told"] - row["seen"], made_at=row["made_at"])


def outlooks_due(conn: Connection, *, now: datetime) -> dict[str, int]:
    """Return programmes whose shipments have to be looked at again, with what was told so far."""
    rows = SQL.outlooks_due(conn, older_than=now - timedelta(seconds=OUTLOOK_S))
    return {row["programme_id"]: row["told"] for row in rows}


def save_outlook(
    conn: Connection, *, programme_id: str, told: int, document: Mapping[str, Any], now: datetime
) -> bool:
    """Keep when shipments are expected; False if somebody said so on newer milestones."""
    rows = SQL.save_outlook(
        conn, programme_id=programme_id, told=told, document=Jsonb(dict(document)), now=now
    )
    return bool(rows)


def availability_of(conn: Connection, programme_id: str, *, now: datetime) -> dict[str, PartAvailability]:
    """Return when the parts of each order are there, of orders that wait for something, as was last said.

    Of an order that waits for a shipment of which something was told since, or where all was said too long ago,
    nobody can say.
    """
    outlook = get_outlook(conn, programme_id)
    waits = {key: availability_from(given) for key, given in outlook.document.get("orders", {}).items()}
    old = outlook.old(now)
    if not old and not outlook.behind:
        return waits
    said = {each["shipment_id"]: each.get("generation") for each in outlook.document.get("expected", [])}
    since = f"since {outlook.made_at:%Y-%m-%d %H:%M:%S} UTC" if outlook.made_at else "yet"
    for each in open_shipments(conn, programme_id):
        if old or said.get(each.id) != each.generation:
            words = f"{each.part} of shipment {each.name} by {each.leg}, {NOT_LOOKED} {since}"
            waits |= dict.fromkeys(each.order_ids, never(words))
    return waits


def availability_from(document: Mapping[str, Any]) -> PartAvailability:
    """Return what `availability_document` wrote."""
    quantiles = tuple((level, datetime.fromisoformat(at)) for level, at in document["quantiles"])
    return PartAvailability(part=document["part"], quantiles=quantiles)


def availability_document(parts: PartAvailability) -> dict[str, Any]:
    """Return the JSON form of a distribution."""
    return {"part": parts.part, "quantiles": [[level, at.isoformat()] for level, at in parts.quantiles]}


def _shipment(row: Mapping[str, Any]) -> Shipment:
    return of_row(
        Shipment, row, order_ids=tuple(row["order_ids"]), milestones=tuple(row["milestones"]),
        planned=tuple(row["planned"]), told=tuple(row["told"]),
    )  # fmt: skip


def _known_orders(conn: Connection, programme_id: str, order_ids: Sequence[str]) -> list[str]:
    waiting = sorted(set(order_ids))
    named = [order_id for order_id in waiting if order_id.isprintable()]  # the database holds no zero byte
    rows = BUILD_SQL.orders_by_id(conn, programme_id=programme_id, order_ids=named) if named else []
    unknown = sorted(set(waiting) - {row["id"] for row in rows})
    if unknown:
        raise NotFound(f"there is no order {unknown[0]!r} for this line", hint="ringroad order list")
    return waiting


def _as_before(kept: Shipment, told: Shipment) -> Shipment:
    """Return a shipment that was announced before. Raises: Conflict, if it was another one."""
    if (kept.leg, kept.part, kept.order_ids, kept.planned) != (
        told.leg,
        told.part,
        told.order_ids,
        told.planned,
    ):
        raise Conflict(
            f"shipment {kept.name} was announced before, by {kept.leg} with {kept.part} for"
            f" {len(kept.order_ids)} orders",
            code="shipment_reused",
            hint="give every shipment a name of its own",
        )
    return kept
