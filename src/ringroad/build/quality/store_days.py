"""What the checks of a line found over months, in PostgreSQL: days that are over are counted once, by the worker.

The caller opens the transaction; whoever counts or takes back holds the programme's lock. Sums are read in several
statements: whoever reads them holds that lock too, or lets them all see one snapshot.

Invariants:
    A sum is that of the results themselves, counted or not: a day that was not counted yet is counted as it is read.
    A day of which something is told late, or of which a gate's choice comes late, is taken back and counted anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
ROWS_MAX: Final = 500_000  # kinds of vehicles, each day's, that were not counted; more are no kinds
TOGETHER_MAX: Final = 7  # days that are counted at once; a second of work on a large line

Place = tuple[str, str]  # station, gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Vehicles that a gate looked at by chance, and of these not right at once."""

    inspected: int
    refused: int


def tallies_since(
    conn: Connection, programme_id: str, *, since: datetime, now: datetime, stations: Sequence[str] | None = None
) -> list[Tally]:  # fmt: skip
    """Return vehicles alike at some stations, or at each, from the day of `since` on.

    Raises:
        InvalidInput: too many kinds of them.
    """
    days = _uncounted(conn, programme_id, since=since, until=now)
    named: dict[str, Any] = {"programme_id": programme_id, "since": _day(since)}
    if SQL.crowded_day(conn, **named, rows_max=CELLS_MAX):
        raise _too_many()
    counted = SQL.counted_tallies(conn, **named, stations=stations, rows_max=CELLS_MAX + 1)
    live = _tallies_of(conn, programme_id, days, rows_max=ROWS_MAX + 1, stations=stations)
    if len(live) > ROWS_MAX:
        raise _too_many()
    found: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], tuple[int, int]] = {}
    for row in (*counted, *live):
        key = row["station"], row["variant"], row["software"], tuple(sorted(row["lots"].items()))
        vehicles, failed = found.get(key, (0, 0))
        found[key] = vehicles + row["vehicles"], failed + row["failed"]
    if len(found) > CELLS_MAX:
        raise _too_many()
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
        *_gates_of(conn, programme_id, days),
    ):
        place = row["station"], row["gate"]
        before = found.get(place, Looked(inspected=0, refused=0))
        found[place] = Looked(
            inspected=before.inspected + row["inspected"], refused=before.refused + row["refused"]
        )
    return found


def vehicles_since(conn: Connection, programme_id: str, *, since: datetime, now: datetime) -> int:
    """Return how many vehicles were checked for the first time, or left unchecked, from the day of `since` on."""
    days = _uncounted(conn, programme_id, since=since, until=now)
    live = _vehicles_of(conn, programme_id, days)
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
    vehicles = _by_day(_vehicles_of(conn, programme_id, days))
    gates = _by_day(_gates_of(conn, programme_id, days))
    for number, day in enumerate(days, start=1):
        total = sum(row["vehicles"] for row in vehicles.get(day, ()))
        SQL.insert_day(conn, **named, day=day, vehicles=total, now=now)
        passes = _tallies_of(conn, programme_id, [day], rows_max=CELLS_MAX + 1)
        SQL.insert_day_pass(conn, [named | dict(row) | {"lots": Jsonb(row["lots"])} for row in passes])
        SQL.insert_day_gate(conn, [named | dict(row) for row in gates.get(day, ())])
        if len(passes) > CELLS_MAX:  # the rest of them is not kept: whoever reads them is refused
            return number
    return len(days)


def take_back_choices(conn: Connection, programme_id: str, vehicle: str, stations: Collection[str]) -> None:
    """Take back the days on which a vehicle was looked at where something else was chosen for it now."""
    SQL.forget_days_of_vehicle(
        conn, programme_id=programme_id, vehicle=vehicle, stations=sorted(set(stations))
    )


def take_back_birth(conn: Connection, programme_id: str, *, born_at: datetime) -> None:
    """Take back the day on which a vehicle left the line that is told only now, from a site."""
    BUILD.lock_programme(conn, programme_id=programme_id)
    SQL.forget_days(conn, programme_id=programme_id, days=[_day(born_at)], before=None)


def _too_many() -> InvalidInput:
    return InvalidInput(f"more than {CELLS_MAX} kinds of vehicles, the limit", hint="look at fewer days")


def _tallies_of(
    conn: Connection, programme_id: str, days: Collection[date], *, rows_max: int, stations: Sequence[str] | None = None
) -> list[Mapping[str, Any]]:  # fmt: skip
    found: list[Mapping[str, Any]] = []
    for span in _spans(days):
        found += SQL.tallies_of_days(
            conn, programme_id=programme_id, stations=stations, rows_max=rows_max - len(found), **span
        )
    return found


def _gates_of(conn: Connection, programme_id: str, days: Collection[date]) -> list[Mapping[str, Any]]:
    return [
        row for span in _spans(days) for row in SQL.gates_of_days(conn, programme_id=programme_id, **span)
    ]


def _vehicles_of(conn: Connection, programme_id: str, days: Collection[date]) -> list[Mapping[str, Any]]:
    stations = [each.name for each in get_programme(conn, programme_id).programme.line.stations]
    return [
        row
        for span in _spans(days)
        for row in SQL.vehicles_of_days(
            conn, programme_id=programme_id, stations=stations, weeks=_weeks(span["days"]), **span
        )
    ]


def _uncounted(
    conn: Connection, programme_id: str, *, since: datetime, until: datetime, rows_max: int = COUNTED_DAYS + 2
) -> list[date]:
    rows = SQL.uncounted_days(
        conn, programme_id=programme_id, since=_day(since), until=_day(until), rows_max=rows_max
    )
    return [row["day"] for row in rows]


def _spans(days: Collection[date]) -> Iterator[dict[str, Any]]:
    """Yield days that follow each other, and the moments between which they are."""
    run: list[date] = []
    for day in (*sorted(days), None):
        if run and (day is None or (day - run[-1]).days > 1):
            yield {"days": run, "first": _midnight(run[0]), "until": _midnight(run[-1]) + timedelta(days=1)}
            run = []
        if day is not None:
            run.append(day)


def _weeks(days: Iterable[date]) -> list[str]:
    """Return the weeks of days, as traits of births name them."""
    return sorted({f"{year}-W{week:02d}" for year, week, _ in (day.isocalendar() for day in days)})


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _by_day(rows: Iterable[Mapping[str, Any]]) -> dict[date, list[Mapping[str, Any]]]:
    found: dict[date, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["day"], []).append(row)
    return found


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()
