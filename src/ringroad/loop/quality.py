"""Look at what the checks of lines found, after each full block of vehicles, and hand on what is an alarm; count days.

An alarm about a software version opens a finding: the loop can change it. Anything else is the plant's: a person is
offered a quality stop.
"""

from __future__ import annotations

from ringroad.build.quality import store_days, store_watch
from ringroad.build.quality.store_watch import StoredAlarm
from ringroad.kernel.clock import Clock, Ids
from ringroad.signal.store_quality import open_alarmed
from ringroad.storage.db import Connection, apart, transaction


def look_at_results(
    conn: Connection, ids: Ids, clock: Clock, seen: dict[str, dict[str, int]]
) -> list[StoredAlarm]:
    """Look at each line of which a station has had another full block since the last call, or late results.

    Args:
        conn: a connection, not in a transaction.
        ids: makes the ids.
        clock: tells when.
        seen: full blocks looked at, by programme and station; is changed.

    Returns:
        New alarms. A line that breaks this is left out; the others go on.
    """
    found: list[StoredAlarm] = []
    with transaction(conn):
        programmes = store_watch.programmes_with_results(conn)
    for programme_id in programmes:
        with apart(conn, programme_id=programme_id), transaction(conn):
            store_days.count_days(conn, programme_id, now=clock.now())
        with apart(conn, programme_id=programme_id), transaction(conn):
            blocks = store_watch.blocks_of(conn, programme_id)
            now = clock.now()
            if blocks == seen.get(programme_id) and not store_watch.is_late(conn, programme_id, now=now):
                continue
            new = store_watch.look(conn, ids, programme_id=programme_id, now=now)
            for alarm in new:
                _hand_on(conn, ids, clock, alarm)
            found += new
            if not store_watch.is_behind(conn, programme_id):
                seen[programme_id] = blocks
    return found


def _hand_on(conn: Connection, ids: Ids, clock: Clock, alarm: StoredAlarm) -> None:
    if alarm.kind != "software":
        return
    seen = alarm.evidence
    title = (
        f"{alarm.station}: {seen['failed']} of {seen['vehicles']} vehicles with {alarm.value} fail at once,"
        f" {seen['usual_milli'] / 1000:.1f} were usual"
    )
    finding_id, _ = open_alarmed(
        conn, ids, alarm_id=alarm.id, programme_id=alarm.programme_id, station=alarm.station,
        version=alarm.value, title=title[:200], evidence=seen, now=clock.now(),
    )  # fmt: skip
    store_watch.set_finding(conn, alarm.id, finding_id)
