"""Improve the schedule of each line after it changed: load, search, make current."""

from __future__ import annotations

from ringroad.build.improve_line import improve_schedule
from ringroad.build.store_improve import current_generations, load_running, save_improved
from ringroad.build.store_plant import Schedule
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict
from ringroad.storage.db import Connection, transaction


def improve_changed(conn: Connection, ids: Ids, clock: Clock, seen: dict[str, int]) -> list[Schedule]:
    """Search for a better schedule of each line whose schedule is new since the last call.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: for due times and the latency.
        seen: generation looked at last, by programme; is changed.

    Returns:
        Schedules that became current. One that another schedule overtook is left out; it is looked at next time.
    """
    made: list[Schedule] = []
    with transaction(conn):
        generations = current_generations(conn)
    for programme_id, generation in generations.items():
        if seen.get(programme_id) == generation:
            continue
        triggered_s = clock.monotonic_s()
        with transaction(conn):
            running = load_running(conn, programme_id)
        seen[programme_id] = running.schedule.generation
        document = improve_schedule(
            running.schedule.document,
            running.orders,
            running.line,
            now=clock.now(),
            seed=running.schedule.generation,
        )
        if document is None:
            continue
        try:
            with transaction(conn):
                made.append(
                    save_improved(
                        conn, ids, clock, running=running, document=document, triggered_s=triggered_s
                    )
                )
        except Conflict:
            seen.pop(programme_id)
        else:
            seen[programme_id] = made[-1].generation
    return made
