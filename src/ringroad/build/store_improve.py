"""A better schedule of a line in PostgreSQL: what is loaded for the search, and what becomes of its answer.

The caller opens the transactions: one to load, one to save, none while the search and the twin run.

Invariant: an answer becomes current only if the twin released it, no other schedule became current and no car
entered the line out of its order. One that the twin did not release leaves a fact that says why.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.store_packages import SQL
from ringroad.build.store_plant import Schedule, current_schedule, save_schedule, waiting_orders
from ringroad.build.store_running import Running
from ringroad.build.twin.compare import PlanCheck
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, causes_of

ACTOR = "system:planner"


def current_generations(conn: Connection) -> dict[str, int]:
    """Return the newest generation of each programme whose newest schedule was not challenged yet."""
    return {row["programme_id"]: row["generation"] for row in SQL.current_generations(conn)}


def is_any_line_planned(conn: Connection) -> bool:
    """Say whether any line has a schedule, so that searches and twins will be asked for."""
    return bool(SQL.is_any_line_planned(conn))


def save_answer(
    conn: Connection,
    ids: Ids,
    clock: Clock,
    *,
    running: Running,
    document: ScheduleDocument,
    check: PlanCheck,
    triggered_s: float,
) -> Schedule | None:
    """Make a schedule current that the twin released, or note why the running one stays.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        clock: measures the latency.
        running: what the search was given.
        document: its answer.
        check: what the twin says of it.
        triggered_s: `clock.monotonic_s()` when the search was asked for.

    Returns:
        The new schedule, or None if the running one stays.

    Raises:
        Conflict: another schedule became current, or a car entered the line that the answer has later.
    """
    programme_id, before = running.schedule.programme_id, running.schedule
    SQL.lock_programme(conn, programme_id=programme_id)
    current = current_schedule(conn, programme_id)
    if current is None or current.generation != before.generation:
        raise Conflict(f"the schedule of {programme_id} changed", hint="search again from where it stands")
    now = clock.now()
    worked_us = round((clock.monotonic_s() - triggered_s) * 1_000_000)
    numbers: dict[str, Any] = {
        "better_permille": check.twin.better_permille,
        "replications": check.twin.replications,
        "vehicles": check.vehicles,
        "moved": check.moved,
        "checked_us": max(
            worked_us, (now - before.made_at) // timedelta(microseconds=1) + before.replan_latency_us
        ),
        "worked_us": worked_us,
    }
    SQL.insert_check(
        conn, check_id=ids.new("check"), programme_id=programme_id, schedule_id=before.id,
        generation=before.generation, released=check.twin.released, reason=check.twin.reason,
        document=Jsonb(check.to_document()), now=now, **numbers,
    )  # fmt: skip
    share = {"moved_permille": 1000 * check.moved // max(1, check.vehicles)}
    evidence = numbers | share | check.twin.to_document()
    if not check.twin.released:
        append_fact(
            conn, ids, kind=FactKind.SCHEDULE_KEPT, subject=programme_id, actor=ACTOR, now=now,
            causes=causes_of(conn, [(FactKind.SCHEDULE_REPLANNED, programme_id)]),
            body={"schedule_id": before.id, "generation": before.generation} | evidence,
        )  # fmt: skip
        return None
    waiting = {order.id: order for order in waiting_orders(conn, programme_id=programme_id)}
    left = [waiting[order_id] for order_id in document.sequence if order_id in waiting]
    building = [order.state == "building" for order in left]
    if sorted(building, reverse=True) != building:
        raise Conflict(
            f"a car entered the line of {programme_id} meanwhile", hint="search again from where it stands"
        )
    return save_schedule(
        conn, ids, programme_id=programme_id, generation=before.generation, cause="improved",
        document=document, replan_latency_us=worked_us, actor=ACTOR, now=now, check=evidence,
    )  # fmt: skip
