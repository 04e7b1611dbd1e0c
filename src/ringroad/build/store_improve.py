"""A better schedule of a line in PostgreSQL: what is loaded for the search, and how its answer becomes current.

The caller opens the transactions: one to load, one to save, none while the search runs.

Invariant: an answer becomes current only if no other schedule did and no car entered the line out of its order.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringroad.build.model import Line
from ringroad.build.plan_line import Order, ScheduleDocument
from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL
from ringroad.build.store_plant import Schedule, current_schedule, save_schedule, waiting_orders
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, NotFound
from ringroad.storage.db import Connection

ACTOR = "system:planner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a search needs to know of a line."""

    schedule: Schedule
    orders: tuple[Order, ...]
    line: Line


def current_generations(conn: Connection) -> dict[str, int]:
    """Return the newest generation of each programme that has a schedule."""
    return {row["programme_id"]: row["generation"] for row in SQL.current_generations(conn)}


def load_running(conn: Connection, programme_id: str) -> Running:
    """Return the current schedule with its orders. Raises: NotFound before the first schedule."""
    schedule = current_schedule(conn, programme_id)
    if schedule is None:
        raise NotFound(f"{programme_id} has no schedule")
    return Running(
        schedule=schedule,
        orders=tuple(waiting_orders(conn, programme_id=programme_id)),
        line=get_programme(conn, programme_id).programme.line,
    )


def save_improved(
    conn: Connection,
    ids: Ids,
    clock: Clock,
    *,
    running: Running,
    document: ScheduleDocument,
    triggered_s: float,
) -> Schedule:
    """Make a better schedule current.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        clock: measures the latency.
        running: what the search was given.
        document: its answer.
        triggered_s: `clock.monotonic_s()` when the search was asked for.

    Raises:
        Conflict: another schedule became current, or a car entered the line that the answer has later.
    """
    programme_id = running.schedule.programme_id
    SQL.lock_programme(conn, programme_id=programme_id)
    waiting = {order.id: order for order in waiting_orders(conn, programme_id=programme_id)}
    left = [waiting[order_id] for order_id in document.sequence if order_id in waiting]
    building = [order.state == "building" for order in left]
    if sorted(building, reverse=True) != building:
        raise Conflict(
            f"a car entered the line of {programme_id} meanwhile", hint="search again from where it stands"
        )
    return save_schedule(
        conn, ids, programme_id=programme_id, generation=running.schedule.generation, cause="improved",
        document=document, replan_latency_us=round((clock.monotonic_s() - triggered_s) * 1_000_000),
        actor=ACTOR, now=clock.now(),
    )  # fmt: skip
