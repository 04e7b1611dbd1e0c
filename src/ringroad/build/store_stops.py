"""Breakdowns and quality stops of a line in PostgreSQL.

The caller opens the transaction, and replans in it: the line never runs on a schedule that has not seen a stop.

Invariants: an event is kept once, however often it is told, and one that cannot be changes nothing; of one kind and for
the same options a station has one stop at a time, whoever tells of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.model import Programme
from ringroad.build.station_times import AHEAD_S_MAX
from ringroad.build.stops import EXPECTED_S_MAX, LineStop, StopKind, expected_s
from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, expect_one, of_row
from ringroad.storage.ledger import append_fact, causes_of

OPEN_MAX: Final = 100  # stops of one line at once


def begin_stop(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    station: str,
    kind: StopKind,
    reason: str,
    actor: str,
    now: datetime,
    options: Sequence[str] = (),
    expect_s: int | None = None,
    event_id: str = "",
    began_at: datetime | None = None,
    after: int | None = None,
) -> tuple[LineStop, bool]:
    """Record that a station stands.

    Args:
        conn: a connection in a transaction.
        ids: makes the ids.
        programme_id: whose line.
        station: of that line.
        kind: ``breakdown`` or ``quality``.
        reason: for the record.
        actor: who says so.
        now: when.
        options: options or variants that cannot pass; none: nothing can.
        expect_s: how long it is expected to stand, on the wall; None: what the programme says of the station's repairs.
        event_id: the sender's own; the same again changes nothing.
        began_at: when it began; None: now.
        after: position of the event that tells it; None: behind those that the line has taken.

    Returns:
        The stop, and whether it is new. Where the station stands for this already, told by whomever, that is the stop:
        it stays as it is, and ends once.

    Raises:
        NotFound: no such programme.
        InvalidInput: no such station or option, no reason, or a time that cannot be.
        Conflict: the event was another one before, or too many stops stand.
    """
    SQL.lock_programme(conn, programme_id=programme_id)
    programme = get_programme(conn, programme_id).programme
    wanted = LineStop(
        id=ids.new("stop"), programme_id=programme_id, station=station, kind=kind, reason=reason.strip(),
        options=tuple(sorted(set(options))), event_id=event_id, began_at=began_at or now,
        expected_s=_expected(programme, station, expect_s, began_at or now), stopped_by=actor,
    )  # fmt: skip
    _check(programme, wanted, now=now)
    known = SQL.stop_of_event(conn, programme_id=programme_id, event_id=event_id) if event_id else None
    if known is not None:
        return _known(_stop(known), wanted, said_when=began_at is not None), False
    standing = open_stops(conn, programme_id=programme_id)
    same = _joined(conn, wanted, standing)
    if same is not None:
        return same, False
    if len(standing) >= OPEN_MAX:
        raise Conflict(f"{OPEN_MAX} stops of {programme_id} stand", hint="end those that are over")
    keep_stop(conn, ids, wanted, actor=actor, now=now, after=after)
    return wanted, True


def keep_stop(
    conn: Connection, ids: Ids, stop: LineStop, *, actor: str, now: datetime, event_at: datetime | None = None,
    after: int | None = None, more: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Keep a stop as it is said, with its fact; nothing is asked of it.

    Args:
        conn: a connection in a transaction that has locked the programme.
        ids: makes the fact's id.
        stop: that stands.
        actor: of the fact.
        now: when it is recorded.
        event_at: when it happened, where that was elsewhere.
        after: as `begin_stop`.
        more: of the fact's body.
    """
    row = asdict(stop) | {"options": list(stop.options)}
    del row["ended_at"], row["ended_by"]
    SQL.insert_stop(conn, **row)
    append_fact(
        conn, ids, kind=FactKind.STATION_STOPPED, subject=stop.id, actor=actor, now=now, event_at=event_at,
        body={
            "programme_id": stop.programme_id, "station": stop.station, "kind": stop.kind, "reason": stop.reason,
            "options": list(stop.options), "expected_s": stop.expected_s, "event_id": stop.event_id,
            "began_at": stop.began_at.isoformat(), "after": _place(conn, stop, after), **(more or {}),
        },
    )  # fmt: skip


def keep_end(
    conn: Connection, ids: Ids, stop: LineStop, *, at: datetime, by: str, actor: str, now: datetime,
    event_at: datetime | None = None, after: int | None = None, more: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Keep that a stop is over, with its fact, as `keep_stop`. Raises: Conflict, it was over before."""
    expect_one(SQL.end_stop(conn, stop_id=stop.id, ended_at=at, actor=by), f"stop {stop.id}")
    append_fact(
        conn, ids, kind=FactKind.STATION_RESUMED, subject=stop.id, actor=actor, now=now, event_at=event_at,
        causes=causes_of(conn, [(FactKind.STATION_STOPPED, stop.id)]),
        body={
            "programme_id": stop.programme_id, "station": stop.station, "kind": stop.kind,
            "stood_s": round((at - stop.began_at).total_seconds()), "after": _place(conn, stop, after), **(more or {}),
        },
    )  # fmt: skip


def end_stop(
    conn: Connection, ids: Ids, *, stop_id: str, actor: str, now: datetime, ended_at: datetime | None = None,
    after: int | None = None,
) -> tuple[LineStop, bool]:  # fmt: skip
    """Record that a stop is over; one that ended before stays as it is.

    Returns:
        The stop, and whether it ended now.

    Raises:
        NotFound: no such stop.
        InvalidInput: it ends before it began, or in the future.
    """
    programme_id = get_stop(conn, stop_id).programme_id
    SQL.lock_programme(conn, programme_id=programme_id)
    stop = get_stop(conn, stop_id)
    if stop.ended_at is not None:
        return stop, False
    at = ended_at or max(now, stop.began_at)  # a station's clock may be ahead of ours
    if at > now + timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (at - now).total_seconds()
        raise InvalidInput(
            f"{stop.station} cannot go on {ahead_s:.0f} s in the future", hint="set the station's clock"
        )
    if at < stop.began_at:
        raise InvalidInput(
            f"{stop.station} cannot go on at {at.isoformat()}, before it stood at {stop.began_at.isoformat()}",
            hint="set the station's clock",
        )
    keep_end(conn, ids, stop, at=at, by=actor, actor=actor, now=now, after=after)
    return get_stop(conn, stop_id), True


def get_stop(conn: Connection, stop_id: str) -> LineStop:
    """Return a stop. Raises: NotFound."""
    row = SQL.stop(conn, stop_id=stop_id)
    if row is None:
        raise NotFound(f"there is no stop {stop_id!r}")
    return _stop(row)


def find_stop(conn: Connection, *, programme_id: str, stop_id: str, event_id: str) -> LineStop | None:
    """Return a stop of a line by the event that told it, or by its id; None: it is not here."""
    row = SQL.stop_of_event(conn, programme_id=programme_id, event_id=event_id) if event_id else None
    row = row or SQL.stop(conn, stop_id=stop_id)
    return _stop(row) if row else None


def open_stops(conn: Connection, *, programme_id: str) -> list[LineStop]:
    """Return what stands on a line now, oldest first."""
    return [_stop(row) for row in SQL.open_stops(conn, programme_id=programme_id, rows_max=OPEN_MAX)]


def stops_at(conn: Connection, *, programme_id: str, at: datetime) -> list[LineStop]:
    """Return what stood on a line at a time, oldest first."""
    return [_stop(row) for row in SQL.stops_at(conn, programme_id=programme_id, at=at, rows_max=OPEN_MAX)]


def _place(conn: Connection, stop: LineStop, after: int | None) -> int:
    """Return how many events the line has taken: it is locked, so no clock has a say in what came first."""
    return int(SQL.events_taken(conn, programme_id=stop.programme_id)) if after is None else after


def _expected(programme: Programme, name: str, given: int | None, began_at: datetime) -> int:
    names = {station.name: station for station in programme.line.stations}
    if name not in names:
        raise InvalidInput(
            f"the line has no station {name!r}",
            hint=f"one of {', '.join(names)}" if names else "the programme names no stations",
        )
    found = expected_s(programme.line, names[name], began_at) if given is None else given
    if not 1 <= found <= EXPECTED_S_MAX:
        raise InvalidInput(
            f"{name} cannot be expected to stand for {found} s", hint=f"from 1 to {EXPECTED_S_MAX} seconds"
        )
    return found


def _check(programme: Programme, stop: LineStop, *, now: datetime) -> None:
    """Raise InvalidInput if a stop cannot be."""
    known = set(programme.variants) | {each for v in programme.variants.values() for each in v.options}
    unknown = sorted(set(stop.options) - known)
    if unknown:
        raise InvalidInput(
            f"{stop.station} cannot stand for {unknown[0]!r}: there is no such option or variant",
            hint=f"one of {', '.join(sorted(known))}",
        )
    if not stop.reason:
        raise InvalidInput(f"a stop of {stop.station} needs a reason")
    if stop.began_at > now + timedelta(seconds=AHEAD_S_MAX):
        ahead_s = (stop.began_at - now).total_seconds()
        raise InvalidInput(
            f"{stop.station} cannot stand {ahead_s:.0f} s in the future",
            hint="set the station's clock; for what may come ask `schedule what-if`",
        )
    if (now - stop.began_at).total_seconds() > EXPECTED_S_MAX:
        raise InvalidInput(
            f"{stop.station} cannot have stood since {stop.began_at.isoformat()} unnoticed",
            hint=f"at most {EXPECTED_S_MAX} seconds ago",
        )


def _joined(conn: Connection, told: LineStop, standing: Sequence[LineStop]) -> LineStop | None:
    """Return the stop that is told of once more: one that stands, or stood when this began, clocks apart."""
    settled = told.began_at + timedelta(seconds=AHEAD_S_MAX)
    over = [
        each
        for each in stops_at(conn, programme_id=told.programme_id, at=told.began_at)
        if each.ended_at is not None and settled < each.ended_at
    ]
    what = (told.station, told.kind, told.options)
    return next(
        (each for each in (*standing, *over) if (each.station, each.kind, each.options) == what), None
    )


def _known(kept: LineStop, told: LineStop, *, said_when: bool) -> LineStop:
    """Return a stop that was told before. Raises: Conflict, if its event was another one."""
    same = (kept.station, kept.kind, kept.options) == (told.station, told.kind, told.options)
    if not same or (said_when and kept.began_at != told.began_at):
        raise Conflict(
            f"event {told.event_id} was a {kept.kind} of {kept.station} at {kept.began_at.isoformat()} before",
            code="event_reused",
            hint="give every event an id of its own",
        )
    return kept


def _stop(row: Mapping[str, Any]) -> LineStop:
    return of_row(LineStop, row, options=tuple(row["options"]))
