"""Say when shipments are expected, after something was told of one, and each minute; let the line replan by it.

Load, learn (when something arrived since), expect, save; replan where an order would get another place.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.logistics.boosted import LEGS_MIN, fit_boosted
from ringroad.build.logistics.learn import ROUTE, Fit
from ringroad.build.logistics.outlook import Expected, Known, availability, expect, learn_legs
from ringroad.build.logistics.quantiles import fit_grouped
from ringroad.build.logistics.store import (
    NOT_LOOKED,
    arrived_shipments,
    availability_document,
    availability_from,
    get_outlook,
    open_shipments,
    outlooks_due,
    save_outlook,
)
from ringroad.build.plan_line import READY_STEP_S
from ringroad.build.store_plant import current_schedule, replan
from ringroad.kernel.clock import Clock, Ids
from ringroad.storage.db import Connection, apart, transaction

ACTOR: Final = "system:logistics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What was learned, and of which arrivals."""

    arrived: tuple[int, str]  # how many, and the newest
    known: Known | None


def look_at_shipments(conn: Connection, ids: Ids, clock: Clock, seen: dict[str, Remembered]) -> list[str]:
    """Say when shipments are expected, of each programme of which something was told or a minute passed.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: tells what has not arrived yet.
        seen: what was learned, by programme; is changed.

    Returns:
        Programmes whose line was replanned. One whose shipments break this is left out; the others go on.
    """
    replanned: list[str] = []
    with transaction(conn):
        due = outlooks_due(conn, now=clock.now())
    for programme_id, told in due.items():
        with apart(conn, programme_id=programme_id):
            if _look_at_programme(conn, ids, clock, seen, programme_id=programme_id, told=told):
                replanned.append(programme_id)
    return replanned


def _look_at_programme(
    conn: Connection, ids: Ids, clock: Clock, seen: dict[str, Remembered], *, programme_id: str, told: int
) -> bool:
    """Say when a programme's shipments are expected; return whether its line was replanned."""
    triggered_s, now = clock.monotonic_s(), clock.now()
    with transaction(conn):
        arrived, waiting = arrived_shipments(conn, programme_id), open_shipments(conn, programme_id)
    key = (len(arrived), arrived[0].id if arrived else "")
    remembered = seen.get(programme_id)
    if remembered is None or remembered.arrived != key:
        remembered = Remembered(arrived=key, known=learn_legs(arrived, _candidates(len(arrived))))
        seen[programme_id] = remembered
    expected = [expect(shipment, remembered.known, now=now) for shipment in waiting]
    orders = availability(expected)
    with transaction(conn):
        before = {
            order_id: availability_from(each)
            for order_id, each in get_outlook(conn, programme_id).document.get("orders", {}).items()
        }
        document = _document(remembered.known, expected, orders, arrived=len(arrived))
        saved = save_outlook(conn, programme_id=programme_id, told=told, document=document, now=now)
        schedule = current_schedule(conn, programme_id)
        if not saved or schedule is None:
            return False
        if not _moved(before, orders) and not any(
            NOT_LOOKED in each.reason for each in schedule.document.held
        ):
            return False
        replan(
            conn, ids, clock, programme_id=programme_id, cause="parts_on_their_way", actor=ACTOR,
            triggered_s=triggered_s, triggered_at=now,
        )  # fmt: skip
    return True


def _candidates(arrived: int) -> Mapping[str, Fit]:
    """Return what may be learned with: trees only where they are installed, and have enough to grow on."""
    if arrived < LEGS_MIN or importlib.util.find_spec("lightgbm") is None:
        return {ROUTE: fit_grouped}
    return {ROUTE: fit_grouped, "boosted": fit_boosted}


def _moved(before: Mapping[str, PartAvailability], now: Mapping[str, PartAvailability]) -> bool:
    """Whether parts of an order are there at another time than was said before, by enough to matter."""
    return {key: _step(each.ready_at()) for key, each in before.items()} != {
        key: _step(each.ready_at()) for key, each in now.items()
    }


def _step(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() // READY_STEP_S)


def _document(
    known: Known | None, expected: Sequence[Expected], orders: Mapping[str, PartAvailability], *, arrived: int
) -> dict[str, Any]:
    stages = known.stages.values() if known else ()
    return {
        "arrived": arrived,
        "stages": [each.skill.to_document() for each in stages if each.skill],
        "expected": [each.to_document() for each in expected],
        "orders": {order_id: availability_document(each) for order_id, each in orders.items()},
    }
