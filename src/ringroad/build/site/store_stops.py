"""What stands on the lines of sites, told there by people and by stations: at the hub, and at a site that forgot it.

The caller opens the transaction.

Invariants:
    A stop is taken once, and once its end, by its id: a site whose database is an older one numbers its words anew.
    They are taken in the order in which the site wrote them down, behind the events that its line had taken before.
    The hub plans nothing anew for it: the site that builds did.
    A stop that either side knows both know, and an end that either knows wins over what stands: only the site ends what
        it told, so a site that has it otherwise has a database of before, as one that was restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import structlog

from ringroad.build.plan_line import Cause
from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.site.lines import SQL, STOPS_TAKEN, events_to, line_of, waits_for
from ringroad.build.site.store import ACTOR, get_site, put_conflict
from ringroad.build.stops import LineStop
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import get_programme
from ringroad.build.store_plant import replan
from ringroad.build.store_stops import find_stop, keep_end, keep_stop
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.protocol.site import STANDING_MAX, STOPS_MAX, SiteStop, Up
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)

HUB: Final = "system:hub"
STOPS_BYTES_MAX: Final = 256 * 1024  # bytes of stops in an answer, beside metadata; the broker takes 1 MiB
STANDING_BYTES_MAX: Final = 2_048  # bytes of a question about what stands; a hub of before takes 4,096 in all
WORD_CHARS: Final = 200  # of who told a stop and where

# At the hub ----------------------------------------------------------------------------------------


def take_stops(conn: Connection, ids: Ids, site_id: str, told: Up, *, now: datetime) -> bool:
    """Take what a site says of stops of one of its lines.

    Returns:
        False if events or words are missing before some of it: those are not taken, and all come again.
    """
    line = line_of(told)
    if line is None or waits_for(conn, site_id, told, first=None):
        return False
    BUILD.lock_programme(conn, programme_id=told.programme_id)
    events = events_to(conn, site_id, line)
    for each in told.stops:
        if each.after > events:
            return False
        take_stop(conn, ids, site_id, told.programme_id, each, now=now)
        SQL.put_place(conn, name=f"{STOPS_TAKEN}{site_id}/{told.programme_id}", number=each.seq, now=now)
    return True


def take_stop(
    conn: Connection, ids: Ids, site_id: str, programme_id: str, told: SiteStop, *, now: datetime
) -> None:
    """Take one word about a stop; what is known already changes nothing, whichever number it has."""
    began_at = min(told.began_at, now)  # a site's clock may be ahead, and nothing here stands from later on
    here = find_stop(conn, programme_id=programme_id, stop_id=told.id, event_id=told.event_id)
    if here is not None and here.programme_id != programme_id:
        reason = f"stop {told.id} is of the line of {here.programme_id}, and of no other"
        put_conflict(conn, site_id, "stop_refused", told.id, reason, now=now)
        return
    if here is None:
        here = LineStop(
            id=told.id, programme_id=programme_id, station=told.station, kind=told.kind, reason=told.reason,
            options=tuple(told.options), event_id=told.event_id, began_at=began_at, expected_s=told.expected_s,
            stopped_by=f"{told.stopped_by} at {site_id}",
        )  # fmt: skip
        keep_stop(
            conn, ids, here, actor=ACTOR, now=now, event_at=began_at,
            more={"site": site_id, "stopped_by": told.stopped_by},
        )  # fmt: skip
    if told.ended_at is None or here.ended_at is not None:
        return
    ended_at = max(min(told.ended_at, now), here.began_at)
    keep_end(
        conn, ids, here, at=ended_at, by=f"{told.ended_by} at {site_id}", actor=ACTOR, now=now,
        event_at=ended_at, more={"site": site_id, "ended_by": told.ended_by},
    )  # fmt: skip


def stops_otherwise(conn: Connection, site_id: str, standing: Sequence[str]) -> dict[str, list[msgspec.Raw]]:
    """Return by line what a site said of stops and has otherwise by now: each as it stands here.

    Args:
        conn: a connection.
        site_id: whose.
        standing: what it says stands there; what it just said, and is not here yet, is among the answers.
    """
    site = get_site(conn, site_id)
    rows = SQL.stops_of_site(
        conn, programme_ids=runs_of(conn, get_plant(conn, site_id)), standing=list(standing), since=site.added_at,
        rows_max=STOPS_MAX,
    )  # fmt: skip
    found: dict[str, list[msgspec.Raw]] = {}
    bytes_left = STOPS_BYTES_MAX
    for row in rows:
        stop = SiteStop(
            seq=1, after=0, id=row["id"], event_id=row["event_id"], station=row["station"], kind=row["kind"],
            reason=row["reason"], options=list(row["options"]), began_at=row["began_at"], expected_s=row["expected_s"],
            stopped_by=row["stopped_by"][:WORD_CHARS], ended_at=row["ended_at"], ended_by=(row["ended_by"] or "")[:WORD_CHARS],
        )  # fmt: skip
        raw = msgspec.json.encode(stop)
        bytes_left -= len(raw)
        if found and bytes_left < 0:
            break
        found.setdefault(row["programme_id"], []).append(msgspec.Raw(raw))
    return found


# At the site ---------------------------------------------------------------------------------------


def what_stands(conn: Connection) -> list[str]:
    """Return what stands at this site, oldest first: by the event that told it, else by its id."""
    found, bytes_left = [], STANDING_BYTES_MAX
    for row in SQL.stops_standing(conn, rows_max=STANDING_MAX):
        bytes_left -= len(msgspec.json.encode(row["known_by"])) + 1
        if bytes_left < 0:
            break
        found.append(row["known_by"])
    return found


def take_back(conn: Connection, ids: Ids, clock: Clock, programme_id: str, raw: msgspec.Raw) -> bool:
    """Know again what this site told its hub and forgot, as after a restore, and plan anew.

    Returns:
        False if nothing is new; what is on its way to the hub is not.

    Raises:
        NotFound: this site is yet to hear of the line.
        InvalidInput: it cannot be read.
    """
    try:
        told = msgspec.json.decode(raw, type=SiteStop)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("a stop that the hub says cannot be read", detail=str(error)) from error
    get_programme(conn, programme_id)
    BUILD.lock_programme(conn, programme_id=programme_id)
    here = find_stop(conn, programme_id=programme_id, stop_id=told.id, event_id=told.event_id)
    now = clock.now()
    if here is None and told.ended_at is None:
        here = LineStop(
            id=told.id, programme_id=programme_id, station=told.station, kind=told.kind, reason=told.reason,
            options=tuple(told.options), event_id=told.event_id, began_at=min(told.began_at, now),
            expected_s=told.expected_s, stopped_by=told.stopped_by,
        )  # fmt: skip
        keep_stop(conn, ids, here, actor=HUB, now=now, event_at=here.began_at)
        cause: Cause = "quality_stop" if here.kind == "quality" else "breakdown"
    elif (
        here is not None
        and here.programme_id == programme_id
        and here.ended_at is None
        and told.ended_at is not None
    ):
        ended_at = max(min(told.ended_at, now), here.began_at)
        keep_end(conn, ids, here, at=ended_at, by=told.ended_by, actor=HUB, now=now, event_at=ended_at)
        cause = "station_resumed"
    else:
        return False
    try:
        with transaction(conn):
            replan(
                conn, ids, clock, programme_id=programme_id, cause=cause, actor=HUB,
                triggered_s=clock.monotonic_s(), triggered_at=now, stop_id=here.id,
            )  # fmt: skip
    except (InvalidInput, Conflict, NotFound):
        LOG.exception("the line is not planned anew", programme=programme_id, cause=cause, stop=here.id)
    return True
