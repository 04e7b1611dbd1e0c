"""Telemetry falls silent and arrives again: two facts, which every process reads that has to tell of it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import Fact, FactKind
from ringroad.signal.silence import AGAIN_S, UNANSWERED_S, Silence, Watched, Why
from ringroad.signal.store import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact, latest_of_kinds

SUBJECT: Final = "telemetry"  # there is one stream of it
ACTOR: Final = "system:server"


def hear(conn: Connection, *, now: datetime) -> None:
    """Note that this process hears the stream of telemetry: that another one does not is then told of that one alone."""
    SQL.hear_telemetry(conn, now=now)


def read_silence(conn: Connection) -> Silence | None:
    """Return since when telemetry is silent, and why; None while it is not."""
    told = _told(conn)
    return None if told is None else Silence(since=told.event_at, why=Why(told.body["why"]))


def tell_silence(conn: Connection, ids: Ids, silence: Silence, *, now: datetime) -> bool:
    """Append that telemetry is silent, in the caller's transaction; say whether that was to be told.

    It is not while it is told already, unless even who told it hears nothing any more, nor while somebody else hears the
    stream. One that somebody else said was over in the middle of it is told anew once it lasts for `AGAIN_S` after that.
    """
    if _begins(conn, silence, now=now) is None:
        return False
    SQL.lock_silence(conn)
    since = _begins(conn, silence, now=now)
    if since is None:
        return False
    untaken = {"untaken": True} if silence.why is Why.UNANSWERED and _told(conn) is not None else {}
    append_fact(
        conn, ids, kind=FactKind.TELEMETRY_LOST, subject=SUBJECT, actor=ACTOR, now=now, event_at=since,
        body={"why": silence.why.value, **untaken},
    )  # fmt: skip
    return True


def tell_back(conn: Connection, ids: Ids, seen: Watched, *, asked_at: datetime, now: datetime) -> bool:
    """Append that telemetry arrives again, in the caller's transaction; say whether it was told to be silent.

    Where nothing was taken before its stream stopped to answer, an answer alone does not end it.

    Args:
        conn: a connection in a transaction.
        ids: for facts.
        seen: what a server saw.
        asked_at: when it asked: a silence that was told later is not over by what was seen before.
        now: the server's time.
    """
    told = _told(conn)
    if told is None or asked_at < told.recorded_at:
        return False
    if not seen.is_over(Why.UNTAKEN if told.body.get("untaken") else Why(told.body["why"])):
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


def _begins(conn: Connection, silence: Silence, *, now: datetime) -> datetime | None:
    """Return since when a silence is to be told; None where it is not to be."""
    if silence.why is Why.UNANSWERED and _is_heard(conn, now=now):
        return None
    newest = _newest(conn)
    if newest is None:
        return silence.since
    if newest.kind is FactKind.TELEMETRY_LOST:
        untaken = newest.body["why"] == Why.UNTAKEN or newest.body.get("untaken")
        return newest.event_at if untaken and newest.body["why"] != silence.why else None
    lasts = newest.recorded_at <= silence.since or timedelta(seconds=AGAIN_S) < now - newest.recorded_at
    return max(silence.since, newest.recorded_at) if lasts else None


def _is_heard(conn: Connection, *, now: datetime) -> bool:
    """Tell whether somebody hears the stream; what a clock that is ahead wrote tells nothing."""
    heard_at = SQL.telemetry_heard_at(conn)
    return heard_at is not None and abs(now - heard_at) <= timedelta(seconds=UNANSWERED_S)


def _told(conn: Connection) -> Fact | None:
    """Return the fact by which telemetry is silent; None where it is not."""
    fact = _newest(conn)
    return fact if fact is not None and fact.kind is FactKind.TELEMETRY_LOST else None


def _newest(conn: Connection) -> Fact | None:
    kinds = (FactKind.TELEMETRY_LOST, FactKind.TELEMETRY_BACK)
    return latest_of_kinds(conn, kinds, subject=SUBJECT)
