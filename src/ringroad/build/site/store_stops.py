"""At a hub: what stands on the lines of its sites, told there by people and by stations.

The caller opens the transaction.

Invariants:
    A stop is taken once, and once its end, by its id: a site whose database is an older one numbers its words anew.
    They are taken in the order in which the site wrote them down, behind the events that its line had taken before.
    The hub plans nothing anew for it: the site that builds did.
"""

from __future__ import annotations

from datetime import datetime

from ringroad.build.site.lines import SQL, STOPS_TAKEN, events_to, line_of, waits_for
from ringroad.build.site.store import ACTOR, put_conflict
from ringroad.build.stops import LineStop
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_stops import find_stop, keep_end, keep_stop
from ringroad.kernel.clock import Ids
from ringroad.protocol.site import SiteStop, Up
from ringroad.storage.db import Connection


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
