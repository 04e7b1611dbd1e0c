"""What the checks of a line found over months, in PostgreSQL: days that are over are counted once, by the worker.

The caller opens the transaction; whoever counts or takes back holds the programme's lock. Sums are read in several
statements: whoever reads them holds that lock too, or lets them all see one snapshot.

Invariants:
    A sum is that of the results themselves, counted or not: a day that was not counted yet is counted as it is read.
    A day of which something is told late, or of which a gate's choice comes late, is taken back and counted anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.build.quality.store import SQL
from ringroad.build.quality.yields import CELLS_MAX, Tally
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import get_programme
from ringroad.kernel.errors import InvalidInput
from ringroad.storage.db import Connection

COUNTED_DAYS: Final = 366  # back; the longest time that yields are asked for
SETTLED: Final = timedelta(days=1)  # after a day's end, until it is counted: stations tell late
ROWS_MAX: Final = 500_000  # vehicles alike on one day; more are no kinds of vehicles
TOGETHER_MAX: Final = 7  # days that are counted at once; a second of work on a large line

Place = tuple[str, str]  # station, gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Vehicles that a gate looked at by chance, and of these not right at once."""

    inspected: int
    refused: int


def tallies_since(conn: Connection, programme_id: str, *, since: datetime, now: datetime) -> list[Tally]:
    """Return vehicles alike at each station, from the day of `since` on. Raises: InvalidInput, too many kinds of them."""
    days = _uncounted(conn, programme_id, since=since, until=now)
    rows_max = CELLS_MAX + 1
    counted = SQL.counted_tallies(conn, programme_id=programme_id, since=_day(since), rows_max=rows_max)
    live = _tallies_of(conn, programme_id, days)
    found: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], tuple[int, int]] = {}
    for row in (*counted, *live):
        key = row["station"], row["variant"], row["software"], tuple(sorted(row["lots"].items()))
        vehicles, failed = found.get(key, (0, 0))
        found[key] = vehicles + row["vehicles"], failed + row["failed"]
    if len(found) > CELLS_MAX:
        raise InvalidInput(f"more than {CELLS_MAX} kinds of vehicles, the limit", hint="look at fewer days")
    return [
        Tally(
            station=station, variant=variant, software=software, lots=lots, vehicles=vehicles, failed=failed
        )
        for (station, variant, software, lots), (vehicles, failed) in sorted(found.items())
    ]


def gates_since(
    conn: Connection, programme_id: str, *, since: datetime, now: datetime
) -> dict[Place, Looked]:
    """Return what each gate found, from the day of `since` on."""
    days = _uncounted(conn, programme_id, since=since, until=now)
    found: dict[Place, Looked] = {}
    for row in (
        *SQL.counted_gates(conn, programme_id=programme_id, since=_day(since)),
        *SQL.gates_of_days(conn, programme_id=programme_id, **_span(days)),
    ):
        place = row["station"], row["gate"]
        before = found.get(place, Looked(inspected=0, refused=0))
        found[place] = Looked(
            inspected=before.inspected + row["inspected"], refused=before.refused + row["refused"]
        )
    return found


def vehicles_since(conn: Connection, programme_id: str, *, since: datetime, now: datetime) -> int:
    """Return how many vehicles were checked for the first time, from the day of `since` on."""
    days = _uncounted(conn, programme_id, since=since, until=now)
    live = SQL.vehicles_of_days(
        conn, programme_id=programme_id, stations=_stations(conn, programme_id), **_span(days)
    )
    counted: int = SQL.counted_vehicles(conn, programme_id=programme_id, since=_day(since))
    return counted + sum(int(row["vehicles"]) for row in live)


def count_days(conn: Connection, programme_id: str, *, now: datetime) -> int:
    """Count the oldest days that are over and were not counted; return how many. Raises: NotFound."""
    oldest, until = now - timedelta(days=COUNTED_DAYS), now - SETTLED - timedelta(days=1)
    if not _uncounted(conn, programme_id, since=oldest, until=until, rows_max=1):
        return 0
    BUILD.lock_programme(conn, programme_id=programme_id)  # nothing of these days is told meanwhile
    days = _uncounted(conn, programme_id, since=oldest, until=until, rows_max=TOGETHER_MAX)
    SQL.forget_days(conn, programme_id=programme_id, days=[], before=_day(oldest))
    named = {"programme_id": programme_id}
    vehicles = _by_day(
        SQL.vehicles_of_days(conn, **named, stations=_stations(conn, programme_id), **_span(days))
    )
    passes = _by_day(_tallies_of(conn, programme_id, days))
    gates = _by_day(SQL.gates_of_days(conn, **named, **_span(days)))
    for day in days:
        total = sum(row["vehicles"] for row in vehicles.get(day, ()))
        SQL.insert_day(conn, **named, day=day, vehicles=total, now=now)
        SQL.insert_day_pass(
            conn, [named | dict(row) | {"lots": Jsonb(row["lots"])} for row in passes.get(day, ())]
        )
        SQL.insert_day_gate(conn, [named | dict(row) for row in gates.get(day, ())])
    return len(days)


def take_back_vehicle(conn: Connection, programme_id: str, vehicle: str) -> None:
    """Take back the days on which a vehicle was looked at."""
    SQL.forget_days_of_vehicle(conn, programme_id=programme_id, vehicle=vehicle)


def _tallies_of(conn: Connection, programme_id: str, days: Collection[date]) -> list[Mapping[str, Any]]:
    rows = list(SQL.tallies_of_days(conn, programme_id=programme_id, rows_max=ROWS_MAX + 1, **_span(days)))
    if len(rows) > ROWS_MAX:
        raise InvalidInput(
            f"more than {ROWS_MAX} kinds of vehicles in {len(days)} days, the limit",
            hint="look at fewer days",
        )
    return rows


def _uncounted(
    conn: Connection, programme_id: str, *, since: datetime, until: datetime, rows_max: int = COUNTED_DAYS + 2
) -> list[date]:
    rows = SQL.uncounted_days(
        conn, programme_id=programme_id, since=_day(since), until=_day(until), rows_max=rows_max
    )
    return [row["day"] for row in rows]


def _span(days: Collection[date]) -> dict[str, Any]:
    """Return days, and the moments between which they are; of none, none."""
    first, last = (min(days), max(days)) if days else (date.max, date.max)
    return {
        "days": list(days),
        "first": _midnight(first),
        "until": _midnight(last) + timedelta(days=bool(days)),
    }


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _by_day(rows: Iterable[Mapping[str, Any]]) -> dict[date, list[Mapping[str, Any]]]:
    found: dict[date, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["day"], []).append(row)
    return found


def _stations(conn: Connection, programme_id: str) -> Collection[str]:
    return [each.name for each in get_programme(conn, programme_id).programme.line.stations]


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
