"""At a hub: what its sites told is taken, or kept and named where it cannot be.

The caller opens the transaction.

Invariant: a message of a site taken twice changes nothing the second time, and no site holds up another.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

import msgspec

from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.plant.store_events import Told, list_refused, refuse_message, take_events
from ringroad.build.site.lines import SQL, TAKEN, begin_anew, come_again, note_lines, taken_to
from ringroad.build.site.store import ACTOR, SPEAKS, events_lacking, note_format, put_conflict
from ringroad.build.site.store import TAKEN as TAKEN_BIRTHS
from ringroad.build.site.store_births import keep_birth, note_births, take_birth
from ringroad.build.site.store_stops import take_stops
from ringroad.build.site.store_sums import SUMS_TAKEN, take_sums
from ringroad.build.store_plant import resume_order
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.mes import SUBJECT_PREFIX
from ringroad.protocol.site import (
    NUMBER_MAX,
    UP_FORMAT,
    Count,
    SiteEvent,
    SiteSums,
    Up,
    Word,
    format_of,
    site_of,
)
from ringroad.storage.db import Connection

T = TypeVar("T")

REFUSED_MAX: Final = 10_000  # messages of a site that are kept though nobody can take them


def take_told(conn: Connection, ids: Ids, clock: Clock, message: Told) -> None:
    """Take what a site told; what cannot be taken is kept and named, so that no site holds up another."""
    site_id = site_of(message.subject)
    row = SQL.site(conn, site_id=site_id)
    if row is None or row["removed_at"] is not None:
        _refuse(conn, site_id, message, f"there is no site {site_id}", code="no_site")
        return
    form = format_of(message.payload)
    if form > UP_FORMAT:
        _leave_there(conn, site_id, form, now=clock.now())
        return
    try:
        told = msgspec.json.decode(message.payload, type=Up)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(conn, site_id, message, str(error), code="unreadable")
        _pass_birth(conn, site_id, message, str(error), now=clock.now())
        return
    note_format(conn, SPEAKS + site_id, None, now=clock.now())
    begin_anew(conn, site_id, told, births=TAKEN_BIRTHS + site_id, now=clock.now())
    lines = _lines_of(conn, site_id)
    if (told.events or told.stops) and told.programme_id not in lines:
        reason = f"the line of {told.programme_id} is not of plant {site_id}"
        _refuse(conn, site_id, message, reason, code="no_programme")
        put_conflict(conn, site_id, "not_its_line", site_id, reason, now=clock.now())
    else:
        if told.events:
            _take_events(conn, ids, clock, site_id, told)
        if told.stops:
            take_stops(conn, ids, site_id, told, now=clock.now())
    if told.birth is not None:
        take_birth(conn, ids, clock, site_id, told.birth)
    number = told.birth.number if told.birth is not None else None
    note_births(conn, site_id, number=number, told=told.births_told, now=clock.now())
    if told.sums is not None:
        _take_sums(conn, ids, clock, site_id, sums=told.sums, message=message)
    _note_missing(conn, site_id, told, lines, now=clock.now())


def _leave_there(conn: Connection, site_id: str, form: int, *, now: datetime) -> None:
    """Take nothing of a site that is newer than this hub: it keeps what it told, and tells it when this hub asks."""
    reason = f"it tells in format {form}, this hub reads {UP_FORMAT}: the site keeps it until the hub is up to date"
    note_format(conn, SPEAKS + site_id, form, now=now)
    put_conflict(conn, site_id, "newer_format", site_id, reason, now=now)
    SQL.see_site(conn, site_id=site_id, now=now)


def _lines_of(conn: Connection, site_id: str) -> list[str]:
    try:
        return runs_of(conn, get_plant(conn, site_id))
    except NotFound:  # its programme has another plant's line by now
        return []


def _take_sums(
    conn: Connection, ids: Ids, clock: Clock, site_id: str, *, sums: SiteSums, message: Told
) -> None:
    try:
        take_sums(conn, ids, site_id, sums, now=clock.now())
    except (InvalidInput, NotFound) as error:
        _refuse(conn, site_id, message, error.message, code="sums_refused")
        put_conflict(conn, site_id, "sums_refused", site_id, error.message, now=clock.now())
    else:
        SQL.put_place(conn, name=SUMS_TAKEN + site_id, number=sums.number, now=clock.now())


def _note_missing(conn: Connection, site_id: str, told: Up, lines: Collection[str], *, now: datetime) -> None:
    for programme_id, count in note_lines(conn, site_id, told, lines, now=now).items():
        after = taken_to(conn, TAKEN, site_id, programme_id)
        reason = f"{count} of what the line said, from event {after + 1} on, were not here, as after a backup; they are told again"
        put_conflict(conn, site_id, "events_missed", f"{programme_id}/{after + 1}", reason, now=now)
    lacking = sum(events_lacking(conn, site_id).values())
    SQL.hear_site(
        conn, site_id=site_id, waiting=min(NUMBER_MAX, told.waiting + lacking), births_waiting=told.births_waiting,
        now=now,
    )  # fmt: skip


def put_aside(conn: Connection, message: Told, reason: str, *, now: datetime) -> None:
    """Keep a message that breaks its reader, and go on behind it; a birth that can be read is kept whole."""
    site_id = site_of(message.subject)
    _refuse(conn, site_id, message, reason, code="broken")
    if SQL.site(conn, site_id=site_id) is not None:
        _pass_birth(conn, site_id, message, reason, now=now)


def _pass_birth(conn: Connection, site_id: str, message: Told, reason: str, *, now: datetime) -> None:
    """Go on behind a birth that cannot be taken: else its site would tell all that follow again and again."""
    told = _read(message.payload, _Births)
    if told is None or told.birth is None:
        return
    number = told.birth.number
    whole = _read(message.payload, Up)
    if whole is not None and whole.birth is not None:
        keep_birth(conn, site_id, whole.birth, reason, now=now)
    else:
        why = f"its birth is not taken; {site_id} has it whole: {reason}"
        put_conflict(conn, site_id, "birth_refused", f"number {number}", why, now=now)
    note_births(conn, site_id, number=number, told=told.births_told, now=now)


def _take_events(conn: Connection, ids: Ids, clock: Clock, site_id: str, told: Up) -> None:
    if come_again(conn, site_id, told):
        return
    programme_id = told.programme_id
    _look_for_gap(conn, site_id, told, now=clock.now())
    _resume_cancelled(conn, ids, clock, site_id, told)
    found = take_events(
        conn, ids, clock, programme_id=programme_id, replans=False,
        messages=[
            _Event(SUBJECT_PREFIX + programme_id, bytes(each.event), each.seq, each.received_at) for each in told.events
        ],
    )  # fmt: skip
    place = f"{TAKEN}{site_id}/{programme_id}"
    SQL.put_place(conn, name=place, number=told.events[-1].position, now=clock.now())
    if found.refused:
        newest = next(iter(list_refused(conn, programme_id, rows_max=1)), None)
        reason = f"the site took what cannot be here; kept as it came: {newest.reason if newest else ''}"
        put_conflict(conn, site_id, "event_refused", programme_id, reason, now=clock.now())


def _look_for_gap(conn: Connection, site_id: str, told: Up, *, now: datetime) -> None:
    """List events that the site told before and nobody has any more, or that a site of before does not tell again."""
    after, first = taken_to(conn, TAKEN, site_id, told.programme_id), told.events[0].position
    if first <= after + 1:
        return
    reason = f"events {after + 1} to {first - 1} of the line are not here and do not come again"
    put_conflict(conn, site_id, "gap", f"{told.programme_id}/{after + 1}", reason, now=now)


def _resume_cancelled(conn: Connection, ids: Ids, clock: Clock, site_id: str, told: Up) -> None:
    """Take up again what was cancelled here while the site had begun it: a vehicle on the line is not unbuilt."""
    begun = [
        event.order_id
        for event in map(_readable, told.events)
        if event is not None and event.kind == "entered"
    ]
    for row in SQL.cancelled_orders(conn, programme_id=told.programme_id, order_ids=begun):
        reason = f"cancelled while {site_id} was building it: it is built, and for a person to place"
        resume_order(conn, ids, order_id=row["id"], reason=reason, actor=ACTOR, now=clock.now())
        put_conflict(conn, site_id, "order_cancelled", row["id"], reason, now=clock.now())


def _refuse(conn: Connection, site_id: str, message: Told, reason: str, *, code: str) -> None:
    """Keep a message of a site under the site's own name, whatever line it speaks of; no more than so many."""
    if SQL.refused_count(conn, programme_id=site_id, rows_max=REFUSED_MAX) < REFUSED_MAX:
        refuse_message(conn, message, reason, programme_id=site_id, code=code)


class _About(msgspec.Struct, frozen=True):
    """What of an event says which order it begins; the rest is for the fold."""

    kind: str = ""
    order_id: Word = ""


class _Number(msgspec.Struct, frozen=True):
    number: Count


class _Births(msgspec.Struct, frozen=True):
    """What of a message that cannot be read says which birth it is."""

    birth: _Number | None = None
    births_told: Count = 0


def _readable(event: SiteEvent) -> _About | None:
    return _read(event.event, _About)


def _read(raw: bytes | msgspec.Raw, shape: type[T]) -> T | None:
    try:
        return msgspec.json.decode(raw, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a site as `take_events` takes one of the hub's own stream."""

    subject: str
    payload: bytes
    seq: int
    received_at: datetime
