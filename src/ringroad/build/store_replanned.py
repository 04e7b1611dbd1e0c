"""Lines that become others, planned again in the transaction that makes them so.

The caller opens the transaction.

Invariant: a line that has a schedule never runs on one that has not seen its stations, calendar, variants and options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ringroad.build.model import Programme
from ringroad.build.store_packages import list_programmes
from ringroad.build.store_plant import current_schedule, replan
from ringroad.kernel.clock import Clock, Ids
from ringroad.storage.db import Connection


@contextmanager
def replanned(conn: Connection, ids: Ids, clock: Clock, *, actor: str) -> Iterator[None]:
    """Replan every line that becomes another one within, or is to build other variants, ECUs or options.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        clock: measures the latency, from when this is entered.
        actor: who makes the change.

    Raises:
        Conflict: as `replan`.
    """
    triggered_s, triggered_at = clock.monotonic_s(), clock.now()
    before = {each.programme.id: _built(each.programme) for each in list_programmes(conn)}
    yield
    for each in list_programmes(conn):
        of = each.programme.id
        if _built(each.programme) != before.get(of) and current_schedule(conn, of) is not None:
            replan(
                conn, ids, clock, programme_id=of, cause="line_changed", actor=actor, triggered_s=triggered_s,
                triggered_at=triggered_at,
            )  # fmt: skip


def _built(programme: Programme) -> tuple[object, ...]:
    """Return what a schedule goes by."""
    return programme.line, programme.variants
