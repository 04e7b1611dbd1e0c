"""At a hub: what its sites told is taken, or kept and named where it cannot be.

The caller opens the transaction.

Invariants:
    A message of a site taken twice changes nothing the second time, and no site holds up another.
    An event or a word about a stop that cannot be read, or breaks its reader, is put aside whole, and holds up nothing
        behind it; where there is no room for it, it stays at its site with what is behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Annotated, Final, TypeVar

import msgspec
import structlog
from msgspec import Meta
from psycopg import OperationalError

from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.plant.store_events import Told, list_refused, refuse_message, take_events
from ringroad.build.site.lines import SQL, STOPS_TAKEN, TAKEN, begin_anew, note_lines, taken_to, waits_for
from ringroad.build.site.store import ACTOR, SPEAKS, events_lacking, note_format, put_conflict
from ringroad.build.site.store import TAKEN as TAKEN_BIRTHS
from ringroad.build.site.store_aside import (
    BREAKS,
    Unread,
    get_aside,
    keep_aside,
    settle_aside,
)
from ringroad.build.site.store_births import BROKEN, keep_birth, note_births, take_birth
from ringroad.build.site.store_stops import take_stop, take_stops
from ringroad.build.site.store_sums import SUMS_TAKEN, take_sums
from ringroad.build.store_plant import resume_order
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound, Unavailable
from ringroad.protocol.mes import SUBJECT_PREFIX, MesEvent
from ringroad.protocol.site import (
    EVENTS_MAX,
    NUMBER_MAX,
    STOPS_MAX,
    UP_FORMAT,
    Count,
    SiteEvent,
    SiteStop,
    SiteSums,
    Up,
    Word,
    format_of,
    site_of,
)
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)

T = TypeVar("T")

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
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
        told, parts = _parts_of(message.payload)
    except UNDECODABLE as error:
        _refuse(conn, site_id, message, str(error), code="unreadable")
        _pass_birth(conn, site_id, message, str(error), now=clock.now())
        return
    note_format(conn, SPEAKS + site_id, None, now=clock.now())
    begin_anew(conn, site_id, told, births=TAKEN_BIRTHS + site_id, now=clock.now())
    lines = _lines_of(conn, site_id)
    if parts and told.programme_id not in lines:
        reason = f"the line of {told.programme_id} is not of plant {site_id}"
        _refuse(conn, site_id, message, reason, code="no_programme")
        put_conflict(conn, site_id, "not_its_line", site_id, reason, now=clock.now())
    else:
        for part in parts:
            if not _take_part(conn, ids, clock, site_id, part, told=told, message=message):
                break
    if told.birth is not None:
        take_birth(conn, ids, clock, site_id, told.birth)
    number = told.birth.number if told.birth is not None else None
    note_births(conn, site_id, number=number, told=told.births_told, now=clock.now())
    if told.sums is not None:
        _take_sums(conn, ids, clock, site_id, sums=told.sums, message=message)
    is_sign = not parts and told.birth is None
    _note_missing(conn, site_id, told, lines, is_sign=is_sign, now=clock.now())


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


def _note_missing(
    conn: Connection, site_id: str, told: Up, lines: Collection[str], *, is_sign: bool, now: datetime
) -> None:
    for programme_id, count in note_lines(conn, site_id, told, lines, is_sign=is_sign, now=now).items():
        after = taken_to(conn, TAKEN, site_id, programme_id)
        reason = f"{count} of what the line said, from event {after + 1} on, were not here, as after a backup; they are told again"
        put_conflict(conn, site_id, "events_missed", f"{programme_id}/{after + 1}", reason, now=now)
    lacking = sum(events_lacking(conn, site_id).values())
    SQL.hear_site(
        conn, site_id=site_id, waiting=min(NUMBER_MAX, told.waiting + lacking), births_waiting=told.births_waiting,
        now=now,
    )  # fmt: skip


def put_aside(conn: Connection, ids: Ids, clock: Clock, message: Told, reason: str) -> None:
    """Keep a message that breaks its reader, and go on behind it; what of it can be taken alone is taken."""
    site_id = site_of(message.subject)
    _refuse(conn, site_id, message, reason, code="broken")
    if SQL.site(conn, site_id=site_id) is None:
        return
    _pass_birth(conn, site_id, message, reason, now=clock.now())
    try:
        told, parts = _parts_of(message.payload, together=1)
    except UNDECODABLE:
        return
    if told.programme_id not in _lines_of(conn, site_id):
        return
    for part in parts:
        try:
            with transaction(conn):
                goes_on = _take_part(conn, ids, clock, site_id, part, told=told, message=message)
        except (Unavailable, Corrupt, OperationalError):
            raise
        except Exception as error:  # any: nobody foresaw it, and what is behind it is to be taken
            LOG.warning("what a line said breaks its reader", site=site_id, exc_info=True)
            goes_on = _set_aside(
                conn, ids, site_id, _unread(part, error), told=told, message=message, now=clock.now()
            )
        if not goes_on:
            break


def try_again(conn: Connection, ids: Ids, clock: Clock, *, site_id: str, sha256: str, actor: str) -> str:
    """Take what was put aside, once this version can; return what it is.

    It comes behind what was taken meanwhile: the line's state is that of the events in the order in which they came here.

    Raises:
        NotFound: nothing of that digest is kept.
        Conflict: it was taken before, or still cannot be.
    """
    found, raw = get_aside(conn, site_id, sha256)
    what = f"{found.what} {found.number} of {found.programme_id}"
    item = _read(raw, SiteEvent) if found.what == "event" else _read(raw, SiteStop)
    if item is None or (isinstance(item, SiteEvent) and _read(item.event, MesEvent) is None):
        raise Conflict(
            f"{what} still cannot be read", hint="it is kept; a later version of this software may"
        )
    try:
        if isinstance(item, SiteEvent):
            _resume_cancelled(conn, ids, clock, site_id, programme_id=found.programme_id, events=[item])
            if _fold(conn, ids, clock, found.programme_id, [item]):
                newest = next(iter(list_refused(conn, found.programme_id, rows_max=1)))
                raise Conflict(f"{what} cannot be taken: {newest.reason}", hint="it is kept")
        else:
            take_stop(conn, ids, site_id, found.programme_id, item, now=clock.now())
    except BROKEN as error:
        raise Conflict(
            f"{what} still breaks its reader: {error!r}", code=BREAKS,
            hint="it is kept; a later version of this software may take it",
        ) from error  # fmt: skip
    settle_aside(conn, ids, site_id, found, actor=actor, now=clock.now())
    return what


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


def _take_part(
    conn: Connection, ids: Ids, clock: Clock, site_id: str, part: Up | Unread, *, told: Up, message: Told
) -> bool:
    """Take events, or words about stops, that follow each other; False: what is behind them is not to be taken."""
    if isinstance(part, Unread):
        return _set_aside(conn, ids, site_id, part, told=told, message=message, now=clock.now())
    if part.stops:
        return take_stops(conn, ids, site_id, part, now=clock.now())
    return _take_events(conn, ids, clock, site_id, part)


def _set_aside(
    conn: Connection, ids: Ids, site_id: str, unread: Unread, *, told: Up, message: Told, now: datetime
) -> bool:
    """Keep what cannot be read and pass it by, unless what is before it comes again, or there is no room."""
    programme_id, is_event = told.programme_id, unread.what == "event"
    first = unread.number if is_event else None
    if waits_for(conn, site_id, told, first=first) or not keep_aside(
        conn, ids, site_id, programme_id, unread, now=now
    ):
        return False
    if first is not None:
        _look_for_gap(conn, site_id, programme_id, first, now=now)
    if unread.event is not None:
        refuse_message(
            conn, _of_stream(programme_id, unread.event), unread.reason, programme_id=programme_id, code=unread.code
        )  # fmt: skip
    elif unread.code != BREAKS:
        _refuse(conn, site_id, message, unread.reason, code=unread.code)
    place = f"{TAKEN if is_event else STOPS_TAKEN}{site_id}/{programme_id}"
    SQL.put_place(conn, name=place, number=unread.number, now=now)
    about = f"{programme_id}/{unread.what} {unread.number}"
    put_conflict(
        conn, site_id, "put_aside", about, f"it cannot be read here; kept whole: {unread.reason}", now=now
    )
    return True


def _take_events(conn: Connection, ids: Ids, clock: Clock, site_id: str, told: Up) -> bool:
    programme_id, first = told.programme_id, told.events[0].position
    if waits_for(conn, site_id, told, first=first):
        return False
    _look_for_gap(conn, site_id, programme_id, first, now=clock.now())
    _resume_cancelled(conn, ids, clock, site_id, programme_id=programme_id, events=told.events)
    refused = _fold(conn, ids, clock, programme_id, told.events)
    place = f"{TAKEN}{site_id}/{programme_id}"
    SQL.put_place(conn, name=place, number=told.events[-1].position, now=clock.now())
    if refused:
        newest = next(iter(list_refused(conn, programme_id, rows_max=1)), None)
        reason = f"the site took what cannot be here; kept as it came: {newest.reason if newest else ''}"
        put_conflict(conn, site_id, "event_refused", programme_id, reason, now=clock.now())
    return True


def _fold(conn: Connection, ids: Ids, clock: Clock, programme_id: str, events: Sequence[SiteEvent]) -> int:
    """Take events into the fold of the line here; return how many cannot be."""
    messages = [_of_stream(programme_id, each) for each in events]
    found = take_events(conn, ids, clock, programme_id=programme_id, replans=False, messages=messages)
    return found.refused


def _of_stream(programme_id: str, told: SiteEvent) -> _Event:
    return _Event(SUBJECT_PREFIX + programme_id, bytes(told.event), told.seq, told.received_at)


def _look_for_gap(conn: Connection, site_id: str, programme_id: str, first: int, *, now: datetime) -> None:
    """List events that the site told before and nobody has any more, or that a site of before does not tell again."""
    after = taken_to(conn, TAKEN, site_id, programme_id)
    if first <= after + 1:
        return
    reason = f"events {after + 1} to {first - 1} of the line are not here and do not come again"
    put_conflict(conn, site_id, "gap", f"{programme_id}/{after + 1}", reason, now=now)


def _resume_cancelled(
    conn: Connection, ids: Ids, clock: Clock, site_id: str, *, programme_id: str, events: Sequence[SiteEvent]
) -> None:
    """Take up again what was cancelled here while the site had begun it: a vehicle on the line is not unbuilt."""
    begun = [
        event.order_id for event in map(_readable, events) if event is not None and event.kind == "entered"
    ]
    for row in SQL.cancelled_orders(conn, programme_id=programme_id, order_ids=begun):
        reason = f"cancelled while {site_id} was building it: it is built, and for a person to place"
        resume_order(conn, ids, order_id=row["id"], reason=reason, actor=ACTOR, now=clock.now())
        put_conflict(conn, site_id, "order_cancelled", row["id"], reason, now=clock.now())


# What a message says -------------------------------------------------------------------------------


def _parts_of(payload: bytes, *, together: int = EVENTS_MAX) -> tuple[Up, list[Up | Unread]]:
    """Read a message: what it is, and its events or words about stops, those that cannot be read apart.

    Args:
        payload: its bytes.
        together: how many are taken at once, at most.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError, RecursionError: it cannot be read.
    """
    try:
        told = msgspec.json.decode(payload, type=Up)
    except msgspec.ValidationError:
        told, events, stops = _loosely(payload)
    else:
        events, stops = list(told.events), list(told.stops)
    alone = msgspec.structs.replace(told, events=[], stops=[], birth=None, sums=None)
    return told, [
        *_runs(alone, "events", [_sifted(each) for each in events], together),
        *_runs(alone, "stops", stops, together),
    ]


def _runs(
    alone: Up, name: str, items: Sequence[SiteEvent | SiteStop | Unread], together: int
) -> Iterator[Up | Unread]:
    for is_unread, group in groupby(items, key=lambda each: isinstance(each, Unread)):
        run = list(group)
        if is_unread:
            yield from (each for each in run if isinstance(each, Unread))
            continue
        for first in range(0, len(run), together):
            yield msgspec.structs.replace(alone, **{name: run[first : first + together]})


def _loosely(payload: bytes) -> tuple[Up, list[SiteEvent | Unread], list[SiteStop | Unread]]:
    """Read a message of which some events, or words about stops, cannot be read."""
    items = msgspec.json.decode(payload, type=_Items)
    rest = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    told = msgspec.json.decode(
        msgspec.json.encode({name: raw for name, raw in rest.items() if name not in {"events", "stops"}}), type=Up
    )  # fmt: skip
    events: list[SiteEvent | Unread] = []
    for raw in items.events:
        try:
            events.append(msgspec.json.decode(raw, type=SiteEvent))
        except UNDECODABLE as error:
            number = msgspec.json.decode(raw, type=_Position).position
            events.append(Unread(what="event", number=number, told=bytes(raw), reason=str(error)))
    stops: list[SiteStop | Unread] = []
    for raw in items.stops:
        try:
            stops.append(msgspec.json.decode(raw, type=SiteStop))
        except UNDECODABLE as error:
            number = msgspec.json.decode(raw, type=_Seq).seq
            stops.append(Unread(what="stop", number=number, told=bytes(raw), reason=str(error)))
    return told, events, stops


def _sifted(given: SiteEvent | Unread) -> SiteEvent | Unread:
    """Return an event as it is, or as one that is of no kind that this version knows."""
    if isinstance(given, Unread):
        return given
    try:
        msgspec.json.decode(given.event, type=MesEvent)
    except UNDECODABLE as error:
        raw = msgspec.json.encode(given)
        return Unread(what="event", number=given.position, told=raw, reason=str(error), event=given)
    return given


def _unread(part: Up | Unread, error: Exception) -> Unread:
    """Return what broke its reader, alone."""
    if isinstance(part, Unread):
        raise error
    item = (part.events or part.stops)[0]
    raw = msgspec.json.encode(item)
    if isinstance(item, SiteEvent):
        return Unread(what="event", number=item.position, told=raw, reason=repr(error), code=BREAKS)
    return Unread(what="stop", number=item.seq, told=raw, reason=repr(error), code=BREAKS)


def _refuse(conn: Connection, site_id: str, message: Told, reason: str, *, code: str) -> None:
    """Keep a message of a site under the site's own name, whatever line it speaks of; no more than so many."""
    if SQL.refused_count(conn, programme_id=site_id, rows_max=REFUSED_MAX) < REFUSED_MAX:
        refuse_message(conn, message, reason, programme_id=site_id, code=code)


class _About(msgspec.Struct, frozen=True):
    """What of an event says which order it begins; the rest is for the fold."""

    kind: str = ""
    order_id: Word = ""


class _Items(msgspec.Struct, frozen=True):
    """What a line said, each as its bytes."""

    events: Annotated[list[msgspec.Raw], Meta(max_length=EVENTS_MAX)] = msgspec.field(default_factory=list)
    stops: Annotated[list[msgspec.Raw], Meta(max_length=STOPS_MAX)] = msgspec.field(default_factory=list)


class _Position(msgspec.Struct, frozen=True):
    position: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]


class _Seq(msgspec.Struct, frozen=True):
    seq: Annotated[int, Meta(ge=1, le=NUMBER_MAX)]


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
    except UNDECODABLE:
        return None


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a site as `take_events` takes one of the hub's own stream."""

    subject: str
    payload: bytes
    seq: int
    received_at: datetime
