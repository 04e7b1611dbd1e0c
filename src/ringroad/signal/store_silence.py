"""Telemetry falls silent and arrives again: two facts, which every process reads that has to tell of it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import Fact, FactKind
from ringroad.signal.silence import Silence, Watched, Why
from ringroad.signal.store import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, latest_of_kinds

SUBJECT: Final = "telemetry"  # there is one stream of it
ACTOR: Final = "system:server"


def read_silence(conn: Connection) -> Silence | None:
    """Return since when telemetry is silent, and why; None while it is not."""
    told = _told(conn)
    return None if told is None else Silence(since=told.event_at, why=Why(told.body["why"]))


def tell_silence(conn: Connection, ids: Ids, silence: Silence, *, now: datetime) -> bool:
    """Append that telemetry is silent, in the caller's transaction; say whether nobody had."""
    SQL.lock_silence(conn)
    if _told(conn) is not None:
        return False
    append_fact(
        conn, ids, kind=FactKind.TELEMETRY_LOST, subject=SUBJECT, actor=ACTOR, now=now, event_at=silence.since,
        body={"why": silence.why.value},
    )  # fmt: skip
    return True


def tell_back(conn: Connection, ids: Ids, seen: Watched, *, asked_at: datetime, now: datetime) -> bool:
    """Append that telemetry arrives again, in the caller's transaction; say whether it was told to be silent.

    Args:
        conn: a connection in a transaction.
        ids: for facts.
        seen: what a server saw.
        asked_at: when it asked: a silence that was told later is not over by what was seen before.
        now: the server's time.
    """
    told = _told(conn)
    if told is None or asked_at < told.recorded_at or not seen.is_over(Why(told.body["why"])):
        return False
    SQL.lock_silence(conn)
    again = _told(conn)
    if again is None or again.id != told.id:
        return False
    append_fact(
        conn, ids, kind=FactKind.TELEMETRY_BACK, subject=SUBJECT, actor=ACTOR, now=now, causes=[told.id],
        body={"silent_s": max(0, round((now - told.event_at).total_seconds()))},
    )  # fmt: skip
    return True


def _told(conn: Connection) -> Fact | None:
    """Return the fact by which telemetry is silent; None where it is not."""
    kinds = (FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK)
    fact = latest_of_kinds(conn, kinds, subject=SUBJECT)
    return fact if fact is not None and fact.kind is FactKind.TELEMETRY_LOST else None
