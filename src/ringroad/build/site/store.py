"""Sites in PostgreSQL: at a hub, which there are and what they told; at a site, how far its hub has what it tells.

The caller opens the transaction.

Invariants:
    A site is its plant: it may tell only of programmes whose line is that plant's.
    What a site's line took is never forgotten before its hub has it (`plant/queries.sql`, `forget_events`).
    A message of a site taken twice changes nothing the second time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.plant.store_events import Told, list_refused, refuse_message, take_events
from ringroad.build.store_plant import resume_order
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.mes import SUBJECT_PREFIX
from ringroad.protocol.site import (
    EVENTS_MAX,
    UP_BYTES_MAX,
    UP_FORMAT,
    SiteEvent,
    Up,
    Word,
    check_site_name,
    site_of,
)
from ringroad.storage.db import Connection, load_queries, of_row
from ringroad.storage.ledger import append_fact, last_of

SQL = load_queries("ringroad.build.site")

ACTOR: Final = "system:site"
HEARD_S: Final = 5  # seconds between two signs of life of a site that has nothing else to tell
SILENT_S: Final = 4 * HEARD_S  # seconds after which a site counts as cut off
TOKEN_BYTES: Final = 32
REFUSED_MAX: Final = 10_000  # messages of a site that are kept though nobody can take them
CONFLICTS_MAX: Final = 1_000  # of a site that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site as its hub knows it.

    Attributes:
        id: its plant's.
        waiting: events that it had and the hub had not, when it was last heard.
        heard_at: when it was last heard; None: never.
        reconciled_at: when it was last heard with nothing waiting.
        conflicts: kept ones.
    """

    id: str
    generation: int
    added_by: str
    added_at: datetime
    waiting: int
    heard_at: datetime | None
    reconciled_at: datetime | None
    conflicts: int = 0

    def cut_off_since(self, now: datetime) -> datetime | None:
        """Return since when it is not heard; None: it is connected. One never heard is cut off since it was added."""
        heard = self.heard_at or self.added_at
        return heard if self.heard_at is None or timedelta(seconds=SILENT_S) < now - heard else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Where a site and its hub had different truths, and how that was settled."""

    kind: str
    subject: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """At a site: what its hub does not have yet."""

    waiting: int
    reached_at: datetime | None  # the hub's broker last took something

    def is_connected(self, now: datetime) -> bool:
        """Return whether the hub took something lately: a site tells it every few seconds that it is there."""
        return self.reached_at is not None and now - self.reached_at <= timedelta(seconds=SILENT_S)


# At the hub ----------------------------------------------------------------------------------------


def add_site(conn: Connection, ids: Ids, *, site_id: str, token: str, actor: str, now: datetime) -> Site:
    """Let a plant be a site; again: with a new token, the old one ends.

    Raises:
        NotFound: there is no such plant.
        InvalidInput: its id cannot be a site's name.
    """
    check_site_name(site_id)
    get_plant(conn, site_id)
    tell_all(conn, site_id)  # it may be another installation
    SQL.put_site(
        conn, site_id=site_id, token_sha256=hashlib.sha256(token.encode()).digest(), actor=actor, now=now
    )
    append_fact(
        conn,
        ids,
        kind=FactKind.SITE_ADDED,
        subject=site_id,
        actor=actor,
        now=now,
        causes=last_of(conn, site_id),
    )
    return get_site(conn, site_id)


def tell_all(conn: Connection, site_id: str) -> None:
    """Forget what a site was told: it is told all again."""
    SQL.forget_places(conn, prefix=f"told/{site_id}/")


def remove_site(conn: Connection, ids: Ids, *, site_id: str, actor: str, now: datetime) -> None:
    """Let a plant be no site any more: its token ends. Raises: NotFound."""
    if SQL.remove_site(conn, site_id=site_id, now=now) != 1:
        raise NotFound(f"there is no site {site_id!r}", hint="ringroad site list")
    append_fact(
        conn,
        ids,
        kind=FactKind.SITE_REMOVED,
        subject=site_id,
        actor=actor,
        now=now,
        causes=last_of(conn, site_id),
    )


def get_site(conn: Connection, site_id: str) -> Site:
    """Return a site. Raises: NotFound."""
    row = SQL.site(conn, site_id=site_id)
    if row is None or row["removed_at"] is not None:
        raise NotFound(f"there is no site {site_id!r}", hint="ringroad site list")
    return of_row(Site, row)


def list_sites(conn: Connection) -> list[Site]:
    """Return every site."""
    counts = {row["site_id"]: row["conflicts"] for row in SQL.conflict_counts(conn)}
    return [
        of_row(Site, row, conflicts=counts.get(row["id"], 0))
        for row in SQL.sites(conn, rows_max=PAGE_ROWS_MAX)
    ]


def list_conflicts(conn: Connection, site_id: str, *, rows_max: int = PAGE_ROWS_MAX) -> list[Conflict]:
    """Return where a site and its hub had different truths, newest first."""
    return [of_row(Conflict, row) for row in SQL.conflicts(conn, site_id=site_id, rows_max=rows_max)]


def take_told(conn: Connection, ids: Ids, clock: Clock, message: Told) -> None:
    """Take what a site told; what cannot be taken is kept and named, so that no site holds up another."""
    site_id = site_of(message.subject)
    row = SQL.site(conn, site_id=site_id)
    if row is None or row["removed_at"] is not None:
        _refuse(conn, site_id, message, f"there is no site {site_id}", code="no_site")
        return
    try:
        told = msgspec.json.decode(message.payload, type=Up)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _refuse(conn, site_id, message, str(error), code="unreadable")
        return
    if told.format != UP_FORMAT:
        reason = f"site {site_id} speaks format {told.format}; bring the hub up to date first"
        _refuse(conn, site_id, message, reason, code="newer_format")
        _conflict(conn, site_id, "newer_format", site_id, reason, now=clock.now())
        return
    if told.events:
        if told.programme_id not in runs_of(conn, get_plant(conn, site_id)):
            reason = f"the line of {told.programme_id} is not of plant {site_id}"
            _refuse(conn, site_id, message, reason, code="no_programme")
            _conflict(conn, site_id, "not_its_line", site_id, reason, now=clock.now())
        else:
            _take_events(conn, ids, clock, site_id, told)
    SQL.hear_site(conn, site_id=site_id, waiting=told.waiting, now=clock.now())


def _take_events(conn: Connection, ids: Ids, clock: Clock, site_id: str, told: Up) -> None:
    programme_id = told.programme_id
    place = f"taken/{site_id}/{programme_id}"
    _look_for_gap(conn, site_id, told, SQL.place(conn, name=place), now=clock.now())
    _resume_cancelled(conn, ids, clock, site_id, told)
    found = take_events(
        conn, ids, clock, programme_id=programme_id,
        messages=[
            _Event(SUBJECT_PREFIX + programme_id, bytes(each.event), each.seq, each.received_at) for each in told.events
        ],
    )  # fmt: skip
    SQL.put_place(conn, name=place, number=told.events[-1].position, now=clock.now())
    if found.refused:
        newest = next(iter(list_refused(conn, programme_id, rows_max=1)), None)
        reason = f"the site took what cannot be here; kept as it came: {newest.reason if newest else ''}"
        _conflict(conn, site_id, "event_refused", programme_id, reason, now=clock.now())


def _look_for_gap(
    conn: Connection, site_id: str, told: Up, taken: Mapping[str, Any] | None, *, now: datetime
) -> None:
    """List events that the site told before and this hub does not have, as after a backup: they do not come again."""
    after, first = taken["number"] if taken else 0, told.events[0].position
    if first <= after + 1:
        return
    reason = (
        f"events {after + 1} to {first - 1} of the line are not here and do not come again; the site has them"
    )
    _conflict(conn, site_id, "gap", f"{told.programme_id}/{after + 1}", reason, now=now)


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
        _conflict(conn, site_id, "order_cancelled", row["id"], reason, now=clock.now())


def _refuse(conn: Connection, site_id: str, message: Told, reason: str, *, code: str) -> None:
    """Keep a message of a site under the site's own name, whatever line it speaks of; no more than so many."""
    if SQL.refused_count(conn, programme_id=site_id, rows_max=REFUSED_MAX) < REFUSED_MAX:
        refuse_message(conn, message, reason, programme_id=site_id, code=code)


def _conflict(conn: Connection, site_id: str, kind: str, subject: str, reason: str, *, now: datetime) -> None:
    SQL.put_conflict(
        conn, site_id=site_id, kind=kind, subject=subject, reason=reason[:2_000], now=now, rows_max=CONFLICTS_MAX
    )  # fmt: skip


class _About(msgspec.Struct, frozen=True):
    """What of an event says which order it begins; the rest is for the fold."""

    kind: str = ""
    order_id: Word = ""


def _readable(event: SiteEvent) -> _About | None:
    try:
        return msgspec.json.decode(event.event, type=_About)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


@dataclass(frozen=True, slots=True)
class _Event:
    """An event of a site as `take_events` takes one of the hub's own stream."""

    subject: str
    payload: bytes
    seq: int
    received_at: datetime


# At the site ---------------------------------------------------------------------------------------


def joined(conn: Connection, *, now: datetime) -> None:
    """Note that this is a site: from here on nothing is forgotten that its hub does not have."""
    SQL.put_place(conn, name="joined", number=0, now=now)


def link_of(conn: Connection) -> Link:
    """Return what the hub does not have yet."""
    reached = SQL.place(conn, name="reached")
    return Link(
        waiting=sum(int(row["events"]) for row in SQL.unsent(conn)),
        reached_at=reached["at"] if reached else None,
    )


def next_to_tell(conn: Connection, *, now: datetime) -> Up:
    """Return the next events that the hub does not have, in the order of their line; none: a sign of life."""
    rows = list(SQL.unsent(conn))
    waiting = sum(int(row["events"]) for row in rows)
    if not rows:
        return Up(format=UP_FORMAT, sent_at=now, waiting=0)
    first = rows[0]
    events = _fitting(
        [
            SiteEvent(
                position=row["position"], seq=row["seq"], received_at=row["received_at"],
                event=msgspec.Raw(msgspec.json.encode(row["body"])),
            )
            for row in SQL.events_to_send(
                conn, programme_id=first["programme_id"], after=first["sent"], rows_max=EVENTS_MAX
            )
        ]
    )  # fmt: skip
    return Up(
        format=UP_FORMAT,
        sent_at=now,
        waiting=waiting - len(events),
        programme_id=first["programme_id"],
        events=events,
    )


def has_told(conn: Connection, told: Up, *, now: datetime) -> None:
    """Note that the hub's broker has what was told."""
    if told.events:
        SQL.put_place(conn, name=f"sent/{told.programme_id}", number=told.events[-1].position, now=now)
    SQL.put_place(conn, name="reached", number=0, now=now)


def _fitting(events: Sequence[SiteEvent]) -> list[SiteEvent]:
    """Return as many of the first events as fit into a message; one fits always."""
    found: list[SiteEvent] = []
    bytes_left = UP_BYTES_MAX
    for event in events:
        bytes_left -= len(bytes(event.event)) + 200  # around each: numbers, a time, names
        if found and bytes_left < 0:
            break
        found.append(event)
    return found
