"""Measured station times in PostgreSQL, and what they say of the line's twin.

The caller opens the transaction.

Invariant: a time is kept once, however often it is told; one that was refused is not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.station_times import TIMES_MAX, SortedTimes, StationTime, sort_times
from ringroad.build.store import get_programme
from ringroad.build.store_packages import SQL
from ringroad.build.twin.drift import WINDOW, StationDrift, WorkTime, drift_of
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.db import Connection, of_row

KEPT_DAYS: Final = 90


def take_times(
    conn: Connection, *, programme_id: str, delivered: Sequence[StationTime], now: datetime
) -> SortedTimes:
    """Keep what may be believed of a delivery, and say what of the rest is wrong.

    Raises:
        NotFound: no such programme.
        InvalidInput: too many times at once.
    """
    if len(delivered) > TIMES_MAX:
        raise InvalidInput(f"{len(delivered)} times, limit {TIMES_MAX}", hint="send them in parts")
    SQL.lock_programme(conn, programme_id=programme_id)  # two deliveries of the same take turns
    line = get_programme(conn, programme_id).programme.line
    order_ids = sorted({time.order_id for time in delivered})
    rows = SQL.orders_by_id(conn, programme_id=programme_id, order_ids=order_ids)
    orders = {row["id"]: of_row(Order, row, options=tuple(row["options"])) for row in rows}
    before = [
        of_row(StationTime, row)
        for row in SQL.times_before(
            conn, programme_id=programme_id, order_ids=order_ids, event_ids=[time.id for time in delivered]
        )
    ]
    found = sort_times(delivered, line, orders, before, now=now)
    for time in found.taken:
        SQL.insert_time(
            conn, programme_id=programme_id, event_id=time.id, order_id=time.order_id, station=time.station,
            worked_ms=time.worked_ms, finished_at=time.finished_at, now=now,
        )  # fmt: skip
    if found.taken:
        SQL.forget_times(
            conn, programme_id=programme_id, stations=sorted({time.station for time in found.taken}),
            oldest=now - timedelta(days=KEPT_DAYS),
        )  # fmt: skip
    return found


def line_drift(conn: Connection, programme_id: str, line: Line | None = None) -> tuple[StationDrift, ...]:
    """Return how each station of the twin fares against what was measured. Raises: NotFound."""
    told = line or get_programme(conn, programme_id).programme.line
    return drift_of(told, recent_work(conn, programme_id, told, rows_max=WINDOW))


def recent_work(
    conn: Connection,
    programme_id: str,
    line: Line,
    *,
    rows_max: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[WorkTime]:
    """Return the newest measured times of each station of a line, at most so many of each, the oldest first.

    With `since`, only of work that was finished after it; with `until`, not after that.
    """
    rows = SQL.recent_times(
        conn,
        programme_id=programme_id,
        stations=[station.name for station in line.stations],
        rows_max=rows_max,
        since=since,
        until=until,
    )
    return [
        WorkTime(
            station=row["station"], worked_s=row["worked_ms"] / 1000,
            features=frozenset({*row["options"], row["variant"]}),
        )
        for row in rows
    ]  # fmt: skip
