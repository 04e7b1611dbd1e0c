"""What a hub tells a site: its programmes, the orders that wait, and the plan; and what a site does with that.

The caller opens the transaction.

Invariants:
    A message says how things stand, not what changed: the newest is enough, one taken twice changes nothing.
    What is on the site's line stays there, whatever the hub says: a cancellation comes too late for it.
    What only the site knows (its stops, its vehicles) is laid over the hub's sequence by the same planner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from ringroad.build.plan_line import Order
from ringroad.build.plant.model import Plant
from ringroad.build.plant.read import plant_from_document
from ringroad.build.plant.revise import keep_learned
from ringroad.build.plant.store import choose_plant, get_plant, lock_site_of_plant, runs_of, save_plant
from ringroad.build.site.lines import SQL
from ringroad.build.site.store_held import keep_sequence, want_baseline
from ringroad.build.store import get_baseline, get_programme, import_programme
from ringroad.build.store_plant import (
    block_option,
    blocked_options,
    cancel_order,
    current_schedule,
    keep_order,
    replan,
    start_order,
    unblock_option,
    waiting_orders,
)
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import NotFound, Unavailable
from ringroad.protocol.site import DOWN_FORMAT, ORDERS_MAX, Down, DownBaseline, DownOrder
from ringroad.storage.db import Connection

ACTOR: Final = "system:hub"
BLOCKED_BY_HUB: Final = (
    "hub: "  # before the reason of an option that the hub blocked, so that it alone unblocks it
)
CANCELLED: Final = "cancelled at the hub"
REASON_CHARS_MAX: Final = 2_000


# At the hub ----------------------------------------------------------------------------------------


def parts_to_tell(conn: Connection, site_id: str, *, now: datetime) -> Iterator[tuple[str, str, Down]]:
    """Yield what a site does not have yet: name of the part, digest of what it says, and the message."""
    try:
        programmes = runs_of(conn, get_plant(conn, site_id))
    except NotFound:
        return
    number = _next_number(conn, site_id, now)
    for programme_id in programmes:
        place = hashlib.sha256(programme_id.encode()).hexdigest()[:16]
        for name, said in _parts(conn, programme_id):
            digest = hashlib.sha256(msgspec.json.encode(said)).hexdigest()
            part = f"{place}.{name}"
            if _number(digest) != _told(conn, site_id, part):
                yield part, digest, msgspec.structs.replace(said, number=number)
                number += 1


def has_been_told(
    conn: Connection, site_id: str, part: str, digest: str, said: Down, *, now: datetime
) -> None:
    """Note that the broker keeps a part for a site."""
    SQL.set_place(conn, name=f"told/{site_id}/{part}", number=_number(digest), now=now)
    SQL.set_place(conn, name=f"number/{site_id}", number=said.number, now=now)


def newest_fact(conn: Connection) -> int:
    """Return the number of the newest fact: without a new one there is nothing to tell."""
    return int(SQL.newest_fact(conn))


def _parts(conn: Connection, programme_id: str) -> Iterator[tuple[str, Down]]:
    stored = get_programme(conn, programme_id)
    plain = Down(format=1, number=1, programme_id=programme_id)
    yield "programme", msgspec.structs.replace(
        plain, format=_format(stored.plant), source=stored.source, plant=stored.plant.to_document() if stored.plant else None,
        blocked=blocked_options(conn, programme_id=programme_id), baseline=_baseline(conn, programme_id),
    )  # fmt: skip
    if (parent := _parent(conn, stored.plant)) is not None:
        yield "parent", msgspec.structs.replace(plain, parent=parent.to_document())
    orders = waiting_orders(conn, programme_id=programme_id)
    for number, some in enumerate(_chunks(orders)):
        yield f"orders-{number}", msgspec.structs.replace(plain, orders=[_order(each) for each in some])
    schedule = current_schedule(conn, programme_id)
    yield (
        "plan",
        msgspec.structs.replace(
            plain,
            open=[each.id for each in orders],
            sequence=list(schedule.document.sequence) if schedule else [],
        ),
    )


def _parent(conn: Connection, plant: Plant | None) -> Plant | None:
    """Return what a plant is a clone of: from its beliefs it learns; None without a document of it here."""
    try:
        found = get_plant(conn, plant.identity.parent) if plant and plant.identity.parent else None
    except NotFound:
        return None
    return found.plant if found and found.generation else None


def _format(plant: Plant | None) -> int:
    """Return 2 for a document that sites of before refuse for good: it waits until they are up to date."""
    if plant is None:
        return 1
    return 2 if plant.identity.time_zone or any(key.kind == "inspects_all" for key in plant.parameters) else 1


def _chunks(orders: list[Order]) -> Iterator[list[Order]]:
    for first in range(0, len(orders), ORDERS_MAX):
        yield orders[first : first + ORDERS_MAX]


def _order(order: Order) -> DownOrder:
    return DownOrder(
        id=order.id, variant=order.variant, options=list(order.options), region=order.region, rush=order.rush,
        due_at=order.due_at, received_at=order.received_at, building=order.state == "building",
        earliest_at=order.earliest_at,
    )  # fmt: skip


def _baseline(conn: Connection, programme_id: str) -> DownBaseline | None:
    found = get_baseline(conn, programme_id)
    if found is None:
        return None
    package_ids = sorted({each for ecus in found.packages.values() for each in ecus.values()})
    return DownBaseline(
        release=msgspec.to_builtins(SQL.release_row(conn, release_id=found.release_id)),
        packages=[msgspec.to_builtins(row) for row in SQL.package_rows(conn, package_ids=package_ids)],
        targets={variant: dict(ecus) for variant, ecus in found.packages.items()},
        rxswins=dict(found.rxswins),
    )


def _told(conn: Connection, site_id: str, part: str) -> int | None:
    row = SQL.place(conn, name=f"told/{site_id}/{part}")
    return row["number"] if row else None


def _next_number(conn: Connection, site_id: str, now: datetime) -> int:
    """Return a number above all before, also where the hub's database is an older one than it was."""
    row = SQL.place(conn, name=f"number/{site_id}")
    return max((row["number"] if row else 0) + 1, int(now.timestamp() * 1_000_000))


def _number(digest: str) -> int:
    return int(digest[:15], 16)


# At the site ---------------------------------------------------------------------------------------


def take_down(conn: Connection, ids: Ids, clock: Clock, said: Down) -> bool:
    """Do what the hub says.

    Returns:
        False if it is older than what was taken.

    Raises:
        Unavailable: the hub is newer than this site; its messages wait until the site is as new.
        InvalidInput, Conflict, NotFound: it cannot be here; nothing was changed.
    """
    if not 1 <= said.format <= DOWN_FORMAT:
        raise Unavailable(f"the hub speaks format {said.format}", hint="bring this site up to date")
    row = SQL.place(conn, name="heard")
    if row and said.number <= row["number"]:
        return False
    SQL.put_place(conn, name="heard", number=said.number, now=clock.now())
    if said.source is not None:
        _take_programme(conn, ids, clock, said, said.source)
    if said.parent is not None:
        _take_parent(conn, ids, said.parent, now=clock.now())
    for order in said.orders:
        _take_order(conn, ids, clock, said.programme_id, order)
    if said.open is not None:
        _take_plan(conn, ids, clock, said, said.open)
    return True


def _take_programme(conn: Connection, ids: Ids, clock: Clock, said: Down, source: str) -> None:
    now = clock.now()
    plant = None if said.plant is None else plant_from_document(said.plant)
    if plant is not None:
        lock_site_of_plant(conn, plant.id)  # before its line, as whoever imports it does
    try:
        generation = get_programme(conn, said.programme_id).generation
    except NotFound:
        generation = None
    import_programme(conn, ids, source=source, actor=ACTOR, now=now, generation=generation)
    if plant is not None:
        try:
            here = get_plant(conn, plant.id)
            plant, _ = keep_learned(plant, here.plant, by_age=True)
            kept: int | None = here.generation or None
        except NotFound:
            kept = None
        save_plant(conn, ids, plant=plant, actor=ACTOR, now=now, generation=kept)
        choose_plant(conn, ids, plant_id=plant.id, programme_id=said.programme_id, actor=ACTOR, now=now)
    _take_blocked(conn, ids, said.programme_id, said.blocked or {}, now=now)
    if said.baseline is not None:
        want_baseline(conn, said.programme_id, said.baseline, now=now)
    replan(
        conn, ids, clock, programme_id=said.programme_id, cause="new_release", actor=ACTOR,
        triggered_s=clock.monotonic_s(), triggered_at=now,
    )  # fmt: skip


def _take_parent(conn: Connection, ids: Ids, document: Mapping[str, Any], *, now: datetime) -> None:
    """Keep what the site's plant learns from; a plant that builds here is its own, whatever the hub says of it."""
    parent = plant_from_document(document)
    try:
        here = get_plant(conn, parent.id)
    except NotFound:
        here = None
    if here is None or not runs_of(conn, here):
        save_plant(
            conn,
            ids,
            plant=parent,
            actor=ACTOR,
            now=now,
            generation=here.generation or None if here else None,
        )


def _take_blocked(
    conn: Connection, ids: Ids, programme_id: str, blocked: Mapping[str, str], *, now: datetime
) -> None:
    here = blocked_options(conn, programme_id=programme_id)
    for option, reason in here.items():
        if reason.startswith(BLOCKED_BY_HUB) and option not in blocked:
            unblock_option(conn, ids, programme_id=programme_id, option=option, actor=ACTOR, now=now)
    for option, reason in blocked.items():
        text = (BLOCKED_BY_HUB + reason)[:REASON_CHARS_MAX]
        block_option(conn, ids, programme_id=programme_id, option=option, reason=text, actor=ACTOR, now=now)


def _take_order(conn: Connection, ids: Ids, clock: Clock, programme_id: str, order: DownOrder) -> None:
    if list(SQL.known_orders(conn, programme_id=programme_id, order_ids=[order.id])):
        return
    kept = Order(
        id=order.id, programme_id=programme_id, variant=order.variant, options=tuple(order.options),
        region=order.region, rush=order.rush, due_at=order.due_at, received_at=order.received_at,
        earliest_at=order.earliest_at,
    )  # fmt: skip
    keep_order(conn, ids, kept, actor=ACTOR, now=clock.now())
    if order.building:  # it was on the line before this was a site
        start_order(conn, ids, order_id=order.id, actor=ACTOR, now=clock.now())


def _take_plan(conn: Connection, ids: Ids, clock: Clock, said: Down, wanted: list[str]) -> None:
    gone = SQL.other_open_orders(conn, programme_id=said.programme_id, order_ids=wanted, actor=ACTOR)
    for row in list(gone):
        cancel_order(conn, ids, order_id=row["id"], reason=CANCELLED, actor=ACTOR, now=clock.now())
    replan(
        conn, ids, clock, programme_id=said.programme_id, cause="new_orders", actor=ACTOR,
        triggered_s=clock.monotonic_s(), triggered_at=clock.now(), parent=said.sequence,
    )  # fmt: skip
    keep_sequence(conn, said.programme_id, said.sequence or [], now=clock.now())
