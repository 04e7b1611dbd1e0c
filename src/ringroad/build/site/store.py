"""Sites in PostgreSQL: at a hub, which there are and what they told; at a site, how far its hub has what it tells.

The caller opens the transaction.

Invariants:
    A site is its plant: it may tell only of programmes whose line is that plant's.
    What a site's line took is never forgotten before its hub has it (`plant/queries.sql`, `forget_events`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from ringroad.build.plant.store import get_plant, lock_site_of_plant, require_none_contained
from ringroad.build.site.lines import LACKING, SENT, SQL, STOPS, lines_told, next_stops, spoken_of
from ringroad.build.store_packages import get_programme
from ringroad.kernel import errors
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.site import (
    EVENTS_MAX,
    NUMBER_MAX,
    UP_BYTES_MAX,
    UP_FORMAT,
    SiteBirth,
    SiteEvent,
    SiteLine,
    Up,
    check_site_name,
)
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact, last_of, latest_fact

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

ACTOR: Final = "system:site"
HEARD_S: Final = 5  # seconds between two signs of life of a site that has nothing else to tell
SILENT_S: Final = 4 * HEARD_S  # seconds after which a site counts as cut off
TOKEN_BYTES: Final = 32
BIRTHS: Final = "births"  # the place of the last birth that the hub has
TAKEN: Final = "births/"  # before a site: at its hub, the last of its births before which none is missing
LACKS: Final = "births-lacking/"  # before a site: at its hub, how many that were told are missing
AGAIN_S: Final = 60  # seconds between two times that births are told again: its hub reads them meanwhile
AGAIN: Final = "births-again"  # the place of when they were
AGAIN_TO: Final = "births-again-to"  # the place of the last of them
REACHED: Final = "reached"  # the place of when the hub's broker took something: 1, events; 0, something else
EPOCH: Final = "epoch"  # the place of when this database became a site's
HUB_READS: Final = "hub-reads"  # the place of the newest format of what this site tells that its hub reads
HUB_TELLS: Final = (
    "hub-tells"  # the place of the format of what its hub tells, while this site cannot read it
)
HUB_ASIDE: Final = (
    "hub-aside"  # the place of how much of what this site told its hub could not read, and keeps
)
SPEAKS: Final = (
    "speaks/"  # before a site: at its hub, the format that it tells in, while the hub cannot read it
)
SEEN: Final = "seen"  # the place of the latest time that a site knows of, in microseconds
CONFLICTS_MAX: Final = 1_000  # of a site that are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site as its hub knows it.

    Attributes:
        id: its plant's.
        waiting: events that it had and the hub had not, when it was last heard.
        births_waiting: vehicles that it bore and the hub did not have, when it was last heard.
        vin_plant: what stands for it in its VINs; None until its key is certified.
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
    births_waiting: int = 0
    vin_plant: str | None = None
    births_refused: int = 0  # that wait for a person
    births_lacking: int = 0  # that it told and the hub does not have, as after a backup; it tells them again
    events_lacking: int = 0  # likewise, with stops of its lines
    speaks: int | None = None  # the format that it tells in, which this hub cannot read: it keeps what it has
    aside: int = 0  # events and words about stops that this hub could not read, and keeps for a person

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
    births_waiting: int = 0
    hub_reads: int | None = None  # the newest format that it reads, where this site tells in a newer one
    hub_tells: int | None = None  # the format that it tells in, where this site cannot read it
    aside: int = 0  # events and words about stops that the hub could not read, and keeps for a person

    def is_connected(self, now: datetime) -> bool:
        """Return whether the hub took something lately: a site tells it every few seconds that it is there."""
        return self.reached_at is not None and now - self.reached_at <= timedelta(seconds=SILENT_S)


# At the hub ----------------------------------------------------------------------------------------


def builder_of(conn: Connection, programme_id: str) -> Site | None:
    """Return the site that builds a programme; None: it is built here. Raises: NotFound, no such programme."""
    plant_id = (
        get_programme(conn, programme_id).plant_id or programme_id
    )  # a line in the programme's own file
    row = SQL.site(conn, site_id=plant_id)
    return of_row(Site, row) if row is not None and row["removed_at"] is None else None


def built_here(conn: Connection, programme_id: str) -> None:
    """Raise if a site builds a programme, whose line hears nothing of what is told here.

    Raises:
        Conflict: it does.
        NotFound: no such programme.
    """
    site = builder_of(conn, programme_id)
    if site is not None:
        raise errors.Conflict(
            f"{programme_id} is built at site {site.id}, whose line would go on",
            code="line_of_site",
            hint=f"tell it at site {site.id}; an option that is blocked here is blocked there: ringroad schedule block",
        )


def told_here(conn: Connection, stop_id: str, programme_id: str) -> None:
    """Raise if a stop was told by a site that still builds the programme: there it is ended, and here when it tells.

    Raises:
        Conflict: it was.
        NotFound: no such programme.
    """
    site = builder_of(conn, programme_id)
    fact = latest_fact(conn, kind=FactKind.STATION_STOPPED, subject=stop_id)
    if site is not None and fact is not None and fact.recorded_at >= site.added_at:
        raise errors.Conflict(
            f"site {site.id} told this stop, and builds {programme_id}: it would go on standing there",
            code="line_of_site",
            hint=f"end it at site {site.id}; it ends here when the site is heard",
        )


def add_site(conn: Connection, ids: Ids, *, site_id: str, token: str, actor: str, now: datetime) -> Site:
    """Let a plant be a site; again: with a new token, the old one ends.

    Raises:
        NotFound: there is no such plant.
        InvalidInput: its id cannot be a site's name.
        Conflict: lots are contained here for its lines.
    """
    check_site_name(site_id)
    lock_site_of_plant(conn, site_id)
    get_plant(conn, site_id)
    require_none_contained(conn, site_id, becomes_site=True)
    tell_all(conn, site_id)  # it may be another installation
    for name in (TAKEN + site_id, LACKS + site_id, SPEAKS + site_id):
        SQL.forget_place(conn, name=name)
    SQL.forget_places(conn, prefix=f"{LACKING}{site_id}/")
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
    births = {row["site_id"]: row["births"] for row in SQL.births_refused_counts(conn)}
    lacking = {row["name"].removeprefix(LACKS): row["number"] for row in SQL.places(conn, prefix=LACKS)}
    aside = {row["site_id"]: row["waiting"] for row in SQL.aside_counts(conn)}
    speaks = {row["name"].removeprefix(SPEAKS): row["number"] for row in SQL.places(conn, prefix=SPEAKS)}
    return [
        of_row(
            Site,
            row,
            conflicts=counts.get(row["id"], 0),
            births_refused=births.get(row["id"], 0),
            births_lacking=lacking.get(row["id"], 0),
            events_lacking=sum(events_lacking(conn, row["id"]).values()),
            speaks=speaks.get(row["id"]),
            aside=aside.get(row["id"], 0),
        )
        for row in SQL.sites(conn, rows_max=PAGE_ROWS_MAX)
    ]


def events_lacking(conn: Connection, site_id: str) -> dict[str, int]:
    """Return by line how many events and words about stops a site told that are not here, and come again."""
    prefix = f"{LACKING}{site_id}/"
    return {row["name"].removeprefix(prefix): int(row["number"]) for row in SQL.places(conn, prefix=prefix)}


def list_conflicts(conn: Connection, site_id: str, *, rows_max: int = PAGE_ROWS_MAX) -> list[Conflict]:
    """Return where a site and its hub had different truths, newest first."""
    return [of_row(Conflict, row) for row in SQL.conflicts(conn, site_id=site_id, rows_max=rows_max)]


def put_conflict(
    conn: Connection, site_id: str, kind: str, subject: str, reason: str, *, now: datetime
) -> None:
    """List where a site and its hub had different truths, and how that was settled."""
    SQL.put_conflict(
        conn, site_id=site_id, kind=kind, subject=subject, reason=reason[:2_000], now=now, rows_max=CONFLICTS_MAX
    )  # fmt: skip


# At the site ---------------------------------------------------------------------------------------


def joined(conn: Connection, *, now: datetime) -> None:
    """Note that this is a site: from here on nothing is forgotten that its hub does not have."""
    SQL.put_place(conn, name="joined", number=0, now=now)
    if SQL.place(conn, name=EPOCH) is None:
        SQL.put_place(conn, name=EPOCH, number=(now - _EPOCH) // timedelta(microseconds=1), now=now)


def link_of(conn: Connection) -> Link:
    """Return what the hub does not have yet."""
    reached = SQL.place(conn, name=REACHED)
    return Link(
        waiting=sum(int(row["events"]) for row in SQL.unsent(conn)) + int(SQL.untold_stops(conn)),
        reached_at=reached["at"] if reached else None,
        births_waiting=_births_behind(conn, _births_told(conn)),
        hub_reads=_noted(conn, HUB_READS),
        hub_tells=_noted(conn, HUB_TELLS),
        aside=_noted(conn, HUB_ASIDE) or 0,
    )


def note_format(conn: Connection, name: str, form: int | None, *, now: datetime) -> None:
    """Note that a hub or a site has another format than is read here; None: it has not any more."""
    if form is None:
        SQL.forget_place(conn, name=name)
    else:
        SQL.set_place(conn, name=name, number=form, now=now)


def note_aside(conn: Connection, count: int, *, now: datetime) -> None:
    """At a site: note how much of what it told its hub could not read."""
    if count != (_noted(conn, HUB_ASIDE) or 0):
        SQL.set_place(conn, name=HUB_ASIDE, number=count, now=now)


def _noted(conn: Connection, name: str) -> int | None:
    row = SQL.place(conn, name=name)
    return int(row["number"]) if row else None


def look_for_news(conn: Connection) -> tuple[int, bool]:
    """Return the number of the newest fact, and whether events or births wait; with neither new, no stop is new."""
    row = SQL.news(conn)
    return int(row["fact"]), bool(row["events"]) or int(row["birth"]) > _births_told(conn)


def next_to_tell(conn: Connection, *, now: datetime) -> Up:
    """Return what the hub does not have next, with some of its lines where they are too many for one message.

    A birth comes without: it may take all the room that a message has.
    """
    lines = lines_told(conn)
    told = _next_to_tell(conn, lines, now=now)
    turn = int(now.timestamp()) // HEARD_S
    spoken = [] if told.birth is not None else spoken_of(lines, told.programme_id, turn=turn)
    return msgspec.structs.replace(told, lines=spoken)


def _next_to_tell(conn: Connection, lines: Sequence[SiteLine], *, now: datetime) -> Up:
    """Return what the hub does not have next: events in the order of their line, a birth or a stop behind those before it.

    Events and births that are told again take turns: of those there may be years. None: a sign of life, as for a hub
    that does not read this format: what is told waits until it does.
    """
    rows = {row["programme_id"]: row for row in SQL.unsent(conn)}
    stops = next_stops(conn, lines)
    waiting = sum(int(row["events"]) for row in rows.values()) + sum(each.waiting for each in stops.values())
    before, epoch = _births_told(conn), SQL.place(conn, name=EPOCH)
    sign = Up(
        format=UP_FORMAT, sent_at=now, waiting=waiting, births_waiting=_births_behind(conn, before), births_told=before,
        epoch=epoch["number"] if epoch else 0,
    )  # fmt: skip
    if _noted(conn, HUB_READS) is not None:
        return sign
    for programme_id, each in stops.items():
        due = each.due(rows[programme_id]["sent"] if programme_id in rows else NUMBER_MAX)
        if due:
            return msgspec.structs.replace(
                sign, programme_id=programme_id, stops=due, waiting=waiting - len(due)
            )
    born = SQL.next_birth(conn, after=before)
    if born is None or (rows and _turn_of_events(conn, before)):
        first, upto = next(iter(rows.values()), None), NUMBER_MAX
    else:
        birth = msgspec.json.decode(bytes(born["told"]), type=SiteBirth)
        first, upto = rows.get(birth.programme_id), birth.after
        if first is None or birth.after <= first["sent"]:
            return msgspec.structs.replace(
                sign, programme_id=birth.programme_id, birth=birth, births_waiting=_births_behind(conn, birth.number)
            )  # fmt: skip
    if first is None:
        return sign
    programme_id = first["programme_id"]
    if programme_id in stops:
        upto = min(upto, stops[programme_id].stops[0].after)
    events = _events_to_send(conn, programme_id, after=first["sent"], upto=upto)
    return msgspec.structs.replace(
        sign, programme_id=programme_id, events=events, waiting=waiting - len(events)
    )


def _events_to_send(conn: Connection, programme_id: str, *, after: int, upto: int) -> list[SiteEvent]:
    rows = SQL.events_to_send(conn, programme_id=programme_id, after=after, upto=upto, rows_max=EVENTS_MAX)
    return _fitting(
        [
            SiteEvent(
                position=row["position"], seq=row["seq"], received_at=row["received_at"],
                event=msgspec.Raw(msgspec.json.encode(row["body"])),
            )
            for row in rows
        ]
    )  # fmt: skip


def has_told(conn: Connection, told: Up, *, now: datetime) -> None:
    """Note that the hub's broker has what was told, unless it was asked meanwhile to be told from before again."""
    before = next((each for each in told.lines if each.programme_id == told.programme_id), None)
    if told.events:
        SQL.advance_place(
            conn, name=f"{SENT}{told.programme_id}", number=told.events[-1].position, now=now,
            before=before.told if before else 0,
        )  # fmt: skip
    if told.stops:
        SQL.advance_place(
            conn, name=f"{STOPS}{told.programme_id}", number=told.stops[-1].seq, now=now,
            before=before.stops_told if before else 0,
        )  # fmt: skip
    if told.birth is not None:
        SQL.put_place(conn, name=BIRTHS, number=told.birth.number, now=now)
    SQL.set_place(conn, name=REACHED, number=int(bool(told.events)), now=now)


def pass_time(conn: Connection, *, now: datetime, passed: timedelta = timedelta()) -> None:
    """Note the time: never an earlier one than was noted, and what passed since by a clock that nobody sets.

    Args:
        conn: a connection in a transaction.
        now: by the clock that somebody may set back.
        passed: since it was noted last; none: not known.
    """
    before = seen_at(conn)
    latest = max(now, before + passed) if before else now
    SQL.put_place(conn, name=SEEN, number=(latest - _EPOCH) // timedelta(microseconds=1), now=now)


def believe_time(conn: Connection, *, now: datetime) -> None:
    """Note the time by which the hub's newest word was good: a clock that was set ahead is put right by it."""
    SQL.set_place(conn, name=SEEN, number=(now - _EPOCH) // timedelta(microseconds=1), now=now)


def seen_at(conn: Connection) -> datetime | None:
    """Return the latest time that this site knows of; None: it noted none."""
    row = SQL.place(conn, name=SEEN)
    return _EPOCH + timedelta(microseconds=row["number"]) if row else None


def tell_again(conn: Connection, *, after: int, now: datetime) -> int:
    """Go back to the birth behind which a hub lacks some; return how many are told again."""
    told, row = _births_told(conn), SQL.place(conn, name=AGAIN)
    if told <= after or (row is not None and timedelta() <= now - row["at"] < timedelta(seconds=AGAIN_S)):
        return 0
    SQL.set_place(conn, name=BIRTHS, number=after, now=now)
    SQL.set_place(conn, name=AGAIN, number=after, now=now)
    SQL.put_place(conn, name=AGAIN_TO, number=told, now=now)
    return told - after


def _turn_of_events(conn: Connection, told: int) -> bool:
    """Say whether births are told again and one of them went last."""
    again, reached = SQL.place(conn, name=AGAIN_TO), SQL.place(conn, name=REACHED)
    return again is not None and told < again["number"] and (reached is None or reached["number"] == 0)


def _births_behind(conn: Connection, number: int) -> int:
    """Return how many births there are behind one; their numbers have no gaps, so none is counted."""
    return max(0, int(SQL.last_birth(conn)) - number)


def _births_told(conn: Connection) -> int:
    row = SQL.place(conn, name=BIRTHS)
    return int(row["number"]) if row else 0


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
