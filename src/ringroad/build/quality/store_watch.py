"""Yields and alarms of a line in PostgreSQL.

The caller opens the transaction.

Invariants:
    What is watched keeps its number, and so its share of the bound on false alarms, until an alarm of its station closes.
    Of one thing one alarm stands at a time; that it began and ended are facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.build.quality.periods import BEHIND, BEHIND_LONG, first_of, period_of
from ringroad.build.quality.store import SQL
from ringroad.build.quality.store_days import tallies_since
from ringroad.build.quality.watch import (
    BLOCK,
    Alarm,
    Counted,
    Watched,
    find_alarms,
    unnumbered,
)
from ringroad.build.quality.yields import Kind, Yields, fit_yields
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact, causes_of

DAYS: Final = 30  # that yields are learned from, unless said otherwise
DAYS_MAX: Final = 365
ROWS_MAX: Final = 800_000  # vehicles alike in one block; what five periods of 200 stations come to
PERIODS_MAX: Final = 8  # of a station that one look goes on by; of a line that it looks at again
QUIET_S: Final = (
    600  # without a late result of a period, until it is looked at again: a delivery is to be whole
)
WAIT_S: Final = 86_400  # that a period waits for that at most
ACTOR: Final = "rule:quality"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlarm:
    """An alarm as it is kept."""

    id: str
    programme_id: str
    plant_id: str
    station: str
    kind: Kind
    value: str
    evidence: Mapping[str, Any]
    finding_id: str | None
    opened_at: datetime
    closed_at: datetime | None
    closed_by: str
    reason: str

    @property
    def watched(self) -> Watched:
        """What it is of."""
        return Watched(self.station, self.kind, self.value)


def line_yields(conn: Connection, programme_id: str, *, now: datetime, days: int = DAYS) -> Yields:
    """Return what is believed of a line's first-pass yield, from the results of some days.

    Raises:
        InvalidInput: too many kinds of vehicles in these days.
    """
    return fit_yields(tallies_since(conn, programme_id, since=now - timedelta(days=days), now=now))


def blocks_of(conn: Connection, programme_id: str) -> dict[str, int]:
    """Return how many full blocks of vehicles each station of a line has had."""
    return {name: vehicles // BLOCK for name, (vehicles, _) in _places(conn, programme_id).items()}


def look(conn: Connection, ids: Ids, *, programme_id: str, now: datetime) -> list[StoredAlarm]:
    """Look at what was checked, and keep what is an alarm with its fact. Raises: NotFound.

    A period that has ended since is looked at once to its end, before it is what others are compared with; no more
    than `PERIODS_MAX` of a station at once: `is_behind` says whether there are more. One before, that late results
    changed, is looked at again, with another share of the bound: the first was spent on what was known then.
    """
    BUILD.lock_programme(conn, programme_id=programme_id)  # two looks take turns
    newest, begun = _newest(conn, programme_id), _begun(conn, programme_id)
    found: list[StoredAlarm] = []
    for step in range(PERIODS_MAX + 1):
        now_at = {name: begun.get(name, 0) + step for name in newest}
        periods = {name: period for name, period in now_at.items() if period <= newest[name][1]}
        if not periods:
            break
        found += _look_at(conn, ids, newest, periods, programme_id=programme_id, now=now)
    for row in list(SQL.take_late(conn, programme_id=programme_id, rows_max=PERIODS_MAX, **_due(now))):
        station, period = row["station"], row["period"]
        if station in newest and period < begun.get(station, 0):
            SQL.watch_anew(conn, programme_id=programme_id, station=station, period=period)
            found += _look_at(conn, ids, newest, {station: period}, programme_id=programme_id, now=now)
    return found


def is_late(conn: Connection, programme_id: str, *, now: datetime) -> bool:
    """Return whether results changed a vehicle that had been checked, and the last of these is some time ago."""
    return bool(SQL.is_late(conn, programme_id=programme_id, **_due(now)))


def is_behind(conn: Connection, programme_id: str) -> bool:
    """Return whether a station has periods that nobody has looked at yet."""
    begun = _begun(conn, programme_id)
    return any(period > begun.get(name, 0) for name, (_, period) in _newest(conn, programme_id).items())


def _look_at(
    conn: Connection,
    ids: Ids,
    newest: Mapping[str, tuple[int, int]],
    periods: Mapping[str, int],
    *,
    programme_id: str,
    now: datetime,
) -> list[StoredAlarm]:
    """Look at one period of each of some stations, as if it were the newest one."""
    SQL.forget_late(conn, programme_id=programme_id, stations=list(periods), periods=list(periods.values()))
    counts = [
        of_row(Counted, row, lots=_lots(row))
        for row in SQL.counted(
            conn, programme_id=programme_id, block=BLOCK, stations=list(periods),
            numbers=[min(newest[name][0], first_of(period + 1)) for name, period in periods.items()],
            firsts=[first_of(period - BEHIND_LONG) for period in periods.values()],
            wholes=[first_of(period - BEHIND) for period in periods.values()], rows_max=ROWS_MAX,
        )
    ]  # fmt: skip
    counts = [each for each in counts if each.period <= periods[each.station]]
    numbers = _numbered(conn, programme_id, counts, periods)
    standing = [each.watched for each in list_alarms(conn, programme_id, only_open=True)]
    stored = get_programme(conn, programme_id)
    plant_id = stored.plant_id or programme_id
    return [
        _keep(conn, ids, alarm, programme_id=programme_id, plant_id=plant_id, now=now)
        for alarm in find_alarms(counts, numbers, standing)
    ]


def list_alarms(
    conn: Connection, programme_id: str, *, only_open: bool = False, rows_max: int = PAGE_ROWS_MAX
) -> list[StoredAlarm]:
    """Return alarms of a line, those that stand first."""
    rows = SQL.alarms(conn, programme_id=programme_id, only_open=only_open, rows_max=rows_max)
    return [of_row(StoredAlarm, row) for row in rows]


def get_alarm(conn: Connection, alarm_id: str) -> StoredAlarm:
    """Return an alarm. Raises: NotFound."""
    row = SQL.alarm(conn, alarm_id=alarm_id)
    if row is None:
        raise NotFound(f"there is no alarm {alarm_id!r}", hint="ringroad quality alarms")
    return of_row(StoredAlarm, row)


def set_finding(conn: Connection, alarm_id: str, finding_id: str) -> None:
    """Note the finding that an alarm opened."""
    SQL.set_alarm_finding(conn, alarm_id=alarm_id, finding_id=finding_id)


def close_alarm(
    conn: Connection, ids: Ids, *, alarm_id: str, reason: str, actor: str, now: datetime
) -> StoredAlarm:
    """End an alarm: its vehicles up to now tell nothing any more, and its station is watched anew.

    Raises:
        NotFound: no such alarm.
        InvalidInput: no reason.
        Conflict: it was closed before.
    """
    if not reason.strip():
        raise InvalidInput("an alarm is closed with a reason", hint="what was wrong, and what was done")
    found = get_alarm(conn, alarm_id)
    BUILD.lock_programme(conn, programme_id=found.programme_id)
    if SQL.close_alarm(conn, alarm_id=alarm_id, actor=actor, reason=reason.strip(), now=now) != 1:
        raise Conflict(f"alarm {alarm_id} is closed", hint="read it again")
    period = _begun(conn, found.programme_id).get(found.station, 0)
    SQL.watch_anew(conn, programme_id=found.programme_id, station=found.station, period=period)
    append_fact(
        conn, ids, kind=FactKind.QUALITY_CLOSED, subject=alarm_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.QUALITY_ALARMED, alarm_id)]),
        body={"programme_id": found.programme_id, "station": found.station, "reason": reason.strip()},
    )  # fmt: skip
    return get_alarm(conn, alarm_id)


def programmes_with_results(conn: Connection) -> list[str]:
    """Return programmes whose line has told results."""
    return [row["id"] for row in SQL.programmes_with_results(conn)]


def _places(conn: Connection, programme_id: str) -> dict[str, tuple[int, int]]:
    """Return by station how many vehicles it has had, and the period of the newest one."""
    line = get_programme(conn, programme_id).programme.line
    rows = SQL.vehicles_passed(
        conn, programme_id=programme_id, stations=[station.name for station in line.stations]
    )
    return {row["station"]: (row["vehicles"], row["period"]) for row in rows}


def _newest(conn: Connection, programme_id: str) -> dict[str, tuple[int, int]]:
    """Return by station the vehicles of its full blocks, and the period of the last one of these."""
    full = {name: vehicles // BLOCK * BLOCK for name, (vehicles, _) in _places(conn, programme_id).items()}
    return {name: (vehicles, period_of(vehicles - 1)) for name, vehicles in full.items() if vehicles}


def _begun(conn: Connection, programme_id: str) -> dict[str, int]:
    """Return by station the newest period of which anything is watched."""
    rows = SQL.begun(conn, programme_id=programme_id, stations=list(_places(conn, programme_id)))
    return {row["station"]: row["period"] for row in rows}


def _due(now: datetime) -> dict[str, datetime]:
    """Return since when a period that late results changed must be quiet, or wait, to be looked at again."""
    return {"quiet_since": now - timedelta(seconds=QUIET_S), "waited_since": now - timedelta(seconds=WAIT_S)}


def _numbered(
    conn: Connection, programme_id: str, counts: Sequence[Counted], periods: Mapping[str, int]
) -> dict[tuple[Watched, int], int]:
    """Return the numbers of what is watched; what is watched for the first time gets the next ones.

    The station itself has one in each period, also where all vehicles belong to closed alarms: it says how far we are.
    """
    rows = SQL.watched(
        conn, programme_id=programme_id, stations=list(periods), periods=list(periods.values()), behind=BEHIND
    )
    known = {
        (Watched(row["station"], row["kind"], row["value"]), row["period"]): row["number"] for row in rows
    }
    so_far = SQL.watched_so_far(conn, programme_id=programme_id)
    stations = {(Watched(name, "station", ""), period) for name, period in periods.items() if period > 0}
    new = sorted({*unnumbered(counts, known), *(stations - known.keys())})
    for number, (watched, period) in enumerate(new, start=so_far + 1):
        SQL.insert_watch(
            conn, programme_id=programme_id, station=watched.station, kind=watched.kind, value=watched.value,
            period=period, number=number,
        )  # fmt: skip
        known[watched, period] = number
    return known


def _keep(
    conn: Connection, ids: Ids, alarm: Alarm, *, programme_id: str, plant_id: str, now: datetime
) -> StoredAlarm:
    alarm_id, (station, kind, value) = ids.new("alarm"), alarm.watched
    evidence = alarm.to_document()
    SQL.insert_alarm(
        conn, alarm_id=alarm_id, programme_id=programme_id, plant_id=plant_id, station=station, kind=kind,
        value=value, evidence=Jsonb(evidence), now=now,
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.QUALITY_ALARMED, subject=alarm_id, actor=ACTOR, now=now,
        body={"programme_id": programme_id, "plant_id": plant_id, "station": station, "kind": kind, "value": value}
        | evidence,
    )  # fmt: skip
    return get_alarm(conn, alarm_id)


def _lots(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(row["lots"].items()))
