"""How far a hub has what the lines of a site said: at the site, what it was told; at the hub, what it lacks.

The caller opens the transaction.

Invariants:
    Events and words about stops are taken in their order, without a gap that could be filled.
    What a hub lacks, as after a backup of its database, its site tells again: it keeps what it told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ringroad.protocol.site import (
    LINES_MAX,
    NUMBER_MAX,
    STOPS_MAX,
    UP_BYTES_MAX,
    SiteLine,
    SiteStop,
    Trust,
    Up,
)
from ringroad.storage.db import Connection, load_queries

SQL = load_queries("ringroad.build.site")

SENT: Final = "sent/"  # before a line: at its site, the last event that the hub's broker has
STOPS: Final = "stops/"  # before a line: at its site, the last word about a stop that the hub's broker has
AGAIN_FROM: Final = "again/"  # before a line: at its site, when it was told again
TAKEN: Final = "taken/"  # before a site and a line: at its hub, the last event that was taken
STOPS_TAKEN: Final = "stops-taken/"  # likewise, the last word about a stop
LACKING: Final = "lacking/"  # likewise, how many of both were told and are missing
EPOCHS: Final = "epoch/"  # before a site: at its hub, of the database whose numbers it took
PROGRAMMES_MAX: Final = 10_000  # of a site that are told of
AGAIN_S: Final = 60  # seconds between two times that a line is told again: its hub reads it meanwhile


# At the site ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StopsToTell:
    """What a hub does not have of the stops of one line: the next of them, and how many there are."""

    stops: tuple[SiteStop, ...]
    waiting: int

    def due(self, events_told: int) -> list[SiteStop]:
        """Return the first of them that follow no event which the hub does not have, as many as a message holds."""
        found: list[SiteStop] = []
        bytes_left = UP_BYTES_MAX
        for each in self.stops:
            bytes_left -= len(msgspec.json.encode(each))
            if each.after > events_told or (found and bytes_left < 0):
                break
            found.append(each)
        return found


def lines_told(conn: Connection) -> list[SiteLine]:
    """Return how far the hub's broker has what each line said."""
    return [SiteLine(**row) for row in SQL.lines_told(conn, rows_max=PROGRAMMES_MAX)]


def spoken_of(lines: Sequence[SiteLine], programme_id: str, *, turn: int) -> list[SiteLine]:
    """Return of which lines a message speaks: all, or where they are too many the one that it is about and some in turn."""
    if len(lines) <= LINES_MAX:
        return list(lines)
    first = turn * (LINES_MAX - 1) % len(lines)
    others = [each for each in (*lines[first:], *lines[:first]) if each.programme_id != programme_id]
    about = [each for each in lines if each.programme_id == programme_id]
    return (about + others)[:LINES_MAX]


def next_stops(conn: Connection, lines: Sequence[SiteLine]) -> dict[str, StopsToTell]:
    """Return the next words about stops that the hub does not have, by line."""
    found = {}
    for line in lines:
        rows = list(
            SQL.stops_to_tell(conn, programme_id=line.programme_id, after=line.stops_told, rows_max=STOPS_MAX)
        )
        if rows:
            stops = tuple(SiteStop(**row) for row in rows)
            waiting = SQL.stops_waiting(conn, programme_id=line.programme_id, after=line.stops_told)
            found[line.programme_id] = StopsToTell(stops=stops, waiting=int(waiting))
    return found


def tell_lines_again(conn: Connection, given: Trust, *, now: datetime) -> list[str]:
    """Go back to where a hub lacks what lines said; return those that are told again."""
    found = []
    for line in lines_told(conn):
        events = given.events_have.get(line.programme_id, line.told)
        stops = given.stops_have.get(line.programme_id, line.stops_told)
        name = AGAIN_FROM + line.programme_id
        lately = SQL.place(conn, name=name)
        if (events >= line.told and stops >= line.stops_told) or (
            lately is not None and timedelta() <= now - lately["at"] < timedelta(seconds=AGAIN_S)
        ):
            continue
        SQL.set_place(conn, name=name, number=0, now=now)
        SQL.set_place(conn, name=SENT + line.programme_id, number=min(events, line.told), now=now)
        SQL.set_place(conn, name=STOPS + line.programme_id, number=min(stops, line.stops_told), now=now)
        found.append(line.programme_id)
    return found


# At the hub ----------------------------------------------------------------------------------------


def begin_anew(conn: Connection, site_id: str, told: Up, *, births: str, now: datetime) -> None:
    """Forget how far a site was heard if another database speaks for it now: that one's numbers begin anew."""
    row = SQL.place(conn, name=EPOCHS + site_id)
    if told.epoch == 0 or (row is not None and row["number"] == told.epoch):
        return
    SQL.set_place(conn, name=EPOCHS + site_id, number=told.epoch, now=now)
    if row is None:  # as after this hub was brought up to date
        return
    for prefix in (TAKEN, STOPS_TAKEN, LACKING):
        SQL.forget_places(conn, prefix=f"{prefix}{site_id}/")
    SQL.forget_place(conn, name=births)


def taken_to(conn: Connection, prefix: str, site_id: str, programme_id: str) -> int:
    """Return how far events (`TAKEN`) or words about stops (`STOPS_TAKEN`) of a line are here."""
    row = SQL.place(conn, name=f"{prefix}{site_id}/{programme_id}")
    return int(row["number"]) if row else 0


def waits_for(conn: Connection, site_id: str, told: Up, *, first: int | None) -> bool:
    """Say whether something is missing before what a message says that the site can tell again: then both come again.

    Args:
        conn: a connection in a transaction.
        site_id: whose.
        told: the message.
        first: position of its first event; None: it is about stops.
    """
    line = line_of(told)
    if first is None:
        return line is None or line.stops_told > taken_to(conn, STOPS_TAKEN, site_id, told.programme_id)
    after = taken_to(conn, TAKEN, site_id, told.programme_id)
    return line is not None and after + 1 < first and line.kept_from < first


def events_to(conn: Connection, site_id: str, line: SiteLine) -> int:
    """Return up to which event of a line everything is here that its site can tell."""
    return max(taken_to(conn, TAKEN, site_id, line.programme_id), line.kept_from - 1)


def line_of(told: Up) -> SiteLine | None:
    """Return what a message says of the line that it is about."""
    return next((each for each in told.lines if each.programme_id == told.programme_id), None)


def note_lines(
    conn: Connection, site_id: str, told: Up, lines: Collection[str], *, is_sign: bool, now: datetime
) -> Mapping[str, int]:
    """Note how many events and words about stops of its lines a site told that are not here.

    A site with nothing to tell that told less than is here has an older database, as after a restore: it counts on from
    there, and so does its hub.

    Args:
        conn: a connection in a transaction.
        site_id: whose.
        told: its message.
        lines: that it builds.
        is_sign: it came with nothing else, readable or not.
        now: UTC.

    Returns:
        Of lines that lacked nothing before, how many are missing.
    """
    prefix = f"{LACKING}{site_id}/"
    for row in SQL.places(conn, prefix=prefix):
        if (
            row["name"].removeprefix(prefix) not in lines
        ):  # another builds it: the site tells nothing of it again
            SQL.forget_place(conn, name=row["name"])
    new = {}
    for line in told.lines:
        if line.programme_id not in lines:
            continue
        if is_sign:
            for prefix, number in ((TAKEN, line.told), (STOPS_TAKEN, line.stops_told)):
                if number < taken_to(conn, prefix, site_id, line.programme_id):
                    SQL.set_place(conn, name=f"{prefix}{site_id}/{line.programme_id}", number=number, now=now)
        after = events_to(conn, site_id, line)
        stops = line.stops_told > taken_to(conn, STOPS_TAKEN, site_id, line.programme_id)
        lacking = min(NUMBER_MAX // LINES_MAX, max(0, line.told - after) + int(stops))
        name = f"{LACKING}{site_id}/{line.programme_id}"
        row = SQL.place(conn, name=name)
        before = int(row["number"]) if row else 0
        if lacking != before:
            SQL.set_place(conn, name=name, number=lacking, now=now)
        if lacking and not before:
            new[line.programme_id] = lacking
    return new


def lines_lacking(conn: Connection, site_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return by line behind which event, and which word about a stop, a site is to tell again."""
    prefix = f"{LACKING}{site_id}/"
    lines = [row["name"].removeprefix(prefix) for row in SQL.places(conn, prefix=prefix) if row["number"] > 0]
    return (
        {each: taken_to(conn, TAKEN, site_id, each) for each in lines},
        {each: taken_to(conn, STOPS_TAKEN, site_id, each) for each in lines},
    )
