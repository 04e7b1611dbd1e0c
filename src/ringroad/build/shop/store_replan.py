"""A unit of a shop stands, or goes on: kept, and a plan asked for in the same transaction.

Invariant: a unit stands once; a stop that cannot be changes nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ringroad.build.plant.store import get_plant
from ringroad.build.shop.of_plant import find_shop, shop_id, unit_ids
from ringroad.build.shop.store import (
    ACTOR,
    SQL,
    Cause,
    ask_plan,
    current_plan,
    expect_work,
    keep_plan,
    move_work,
)
from ringroad.build.shop.store_stops import ShopStop, get_stop, list_stops
from ringroad.build.stops import EXPECTED_S_MAX, OVERDUE_S
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, expect_one
from ringroad.storage.ledger import append_fact, causes_of

OVERDUE_MAX: Final = 20  # shops asked again at once
GONE: Final = "the plant's document has no such shop any more"


def stop_resource(
    conn: Connection, ids: Ids, *, plant_id: str, shop: str, resource: str, reason: str, expected_s: int, actor: str,
    now: datetime,
) -> ShopStop:  # fmt: skip
    """Record that a unit of a shop stands, and ask for a plan without it.

    Raises:
        NotFound: no such plant or shop.
        InvalidInput: no such unit, no reason, or a time out of bounds.
        Conflict: it stands already.
    """
    found = find_shop(get_plant(conn, plant_id).plant, shop)
    units = [unit for each in found.resources for unit in unit_ids(each)]
    if resource not in units:
        raise InvalidInput(
            f"shop {shop_id(found)} has no resource {resource!r}", hint=f"one of {', '.join(units)}"
        )
    if not reason.strip():
        raise InvalidInput(f"a stop of {resource} needs a reason")
    if not 1 <= expected_s <= EXPECTED_S_MAX:
        raise InvalidInput(
            f"{resource} cannot be expected to stand for {expected_s} s", hint=f"from 1 to {EXPECTED_S_MAX}"
        )
    SQL.lock_shop(conn, plant_id=plant_id, shop=shop_id(found))
    if any(each.resource == resource for each in list_stops(conn, plant_id, shop_id(found), only_open=True)):
        raise Conflict(f"{resource} of shop {shop_id(found)} stands already", hint="end that stop first")
    stop = ShopStop(
        id=ids.new("shopstop"), plant_id=plant_id, shop=shop_id(found), resource=resource, reason=reason.strip(),
        began_at=now, expected_s=expected_s, stopped_by=actor,
    )  # fmt: skip
    SQL.insert_stop(
        conn, id=stop.id, plant_id=plant_id, shop=stop.shop, resource=resource, reason=stop.reason, began_at=now,
        expected_s=expected_s, stopped_by=actor,
    )  # fmt: skip
    fact = append_fact(
        conn, ids, kind=FactKind.RESOURCE_STOPPED, subject=stop.id, actor=actor, now=now,
        body={"plant_id": plant_id, "shop": stop.shop, "resource": resource, "reason": stop.reason, "expected_s": expected_s},
    )  # fmt: skip
    _plan_again(conn, ids, stop, cause="stopped", actor=actor, now=now, fact_id=fact.id)
    return stop


def resume_resource(
    conn: Connection, ids: Ids, *, stop_id: str, actor: str, now: datetime
) -> tuple[ShopStop, bool]:
    """Record that a unit goes on, and ask for a plan with it.

    Returns:
        The stop, and whether it ended now.

    Raises:
        NotFound: no such stop.
    """
    stop = get_stop(conn, stop_id)
    SQL.lock_shop(conn, plant_id=stop.plant_id, shop=stop.shop)
    stop = get_stop(conn, stop_id)
    if stop.ended_at is not None:
        return stop, False
    expect_one(SQL.end_stop(conn, stop_id=stop_id, actor=actor, now=now), f"stop {stop_id}")
    fact = append_fact(
        conn, ids, kind=FactKind.RESOURCE_RESUMED, subject=stop_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.RESOURCE_STOPPED, stop_id)]),
        body={
            "plant_id": stop.plant_id, "shop": stop.shop, "resource": stop.resource,
            "stood_s": round((now - stop.began_at).total_seconds()),
        },
    )  # fmt: skip
    _plan_again(conn, ids, stop, cause="resumed", actor=actor, now=now, fact_id=fact.id)
    return get_stop(conn, stop_id), True


def overdue_shops(conn: Connection, *, now: datetime) -> list[tuple[str, str]]:
    """Return plant and name of shops where something stands longer than expected, to be asked again."""
    rows = SQL.overdue_shops(
        conn, now=now, before=now - timedelta(seconds=OVERDUE_S), gone=GONE, rows_max=OVERDUE_MAX
    )
    return [(row["plant_id"], row["shop"]) for row in rows]


def ask_overdue(conn: Connection, ids: Ids, *, plant_id: str, shop: str, now: datetime) -> None:
    """Ask again for the plan of a shop where something stands longer than expected.

    A shop that left its plant's document is noted as such, and looked at again only after a while, so that it stands
    in no other's way.
    """
    if _is_planned(conn, plant_id, shop):
        ask_plan(conn, ids, plant_id=plant_id, shop=shop, actor=ACTOR, now=now, cause="overdue")
        return
    work = expect_work(conn, plant_id, shop)
    if work.note == GONE:
        move_work(conn, work, to="failed", note=GONE, bound=None, now=now)
    else:
        keep_plan(conn, ids, work=work, reason=GONE, now=now)


def _plan_again(
    conn: Connection, ids: Ids, stop: ShopStop, *, cause: Cause, actor: str, now: datetime, fact_id: str
) -> None:
    """Ask for a plan, where the shop follows one."""
    if _is_planned(conn, stop.plant_id, stop.shop):
        ask_plan(
            conn,
            ids,
            plant_id=stop.plant_id,
            shop=stop.shop,
            actor=actor,
            now=now,
            cause=cause,
            causes=[fact_id],
        )


def _is_planned(conn: Connection, plant_id: str, shop: str) -> bool:
    """Return whether a shop follows a plan, and its plant still has it."""
    known = {shop_id(each) for each in get_plant(conn, plant_id).plant.structure.shops}
    return shop in known and current_plan(conn, plant_id, shop) is not None
