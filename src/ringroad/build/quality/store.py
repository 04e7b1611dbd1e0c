"""Results of checks in PostgreSQL, and whether each vehicle passed its stations at once.

The caller opens the transaction.

Invariants:
    A result is kept once, however often it is told; one that was refused is not kept.
    A vehicle passed a station at once as long as no check there failed at its first attempt.
    Sums of days (`store_days.py`) of which a result changes something are taken back as it is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg.types.json import Jsonb

from ringroad.build.plan_line import Order
from ringroad.build.plant.model import Plant
from ringroad.build.quality.periods import REACH, period_of
from ringroad.build.quality.results import (
    KEPT_DAYS,
    LOTS_MAX,
    RESULTS_MAX,
    CheckResult,
    Outcome,
    SortedResults,
    sort_results,
)
from ringroad.build.store_packages import SQL as BUILD
from ringroad.build.store_packages import get_programme
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, load_queries, of_row

SQL = load_queries("ringroad.build.quality")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResult:
    """A result as it is kept.

    Attributes:
        plant_id: whose line it was: a plant document, or the programme where its file says the line.
        gate: of that document, that makes this check; "" if none does.
        order_id: the vehicle, if it is an order of ours.
    """

    id: str
    plant_id: str
    station: str
    gate: str
    check: str
    vehicle: str
    order_id: str | None
    variant: str
    software: str
    lots: Mapping[str, str]
    passed: bool
    attempt: int
    outcome: Outcome
    at: datetime
    told_at: datetime
    told_by: str


def take_results(
    conn: Connection, *, programme_id: str, delivered: Sequence[CheckResult], actor: str, now: datetime
) -> SortedResults:
    """Keep what may be believed of a delivery, and say what of the rest is wrong.

    Raises:
        NotFound: no such programme.
        InvalidInput: too many results at once.
    """
    if len(delivered) > RESULTS_MAX:
        raise InvalidInput(f"{len(delivered)} results, limit {RESULTS_MAX}", hint="send them in parts")
    BUILD.lock_programme(conn, programme_id=programme_id)  # two deliveries of the same take turns
    stored = get_programme(conn, programme_id)
    named = sorted({each.vehicle for each in delivered})
    orders = [
        of_row(Order, row, options=tuple(row["options"]))
        for row in SQL.orders_of_vehicles(conn, programme_id=programme_id, vehicles=named)
    ]
    known = {name: order for order in orders for name in (order.id, order.vin) if name}
    before = [
        of_row(CheckResult, row)
        for row in SQL.results_before(
            conn, programme_id=programme_id, vehicles=sorted({*named, *(each.id for each in orders)}),
            event_ids=[each.id for each in delivered],
        )
    ]  # fmt: skip
    found = sort_results(
        delivered, stored.programme, known, before, now=now,
        software=SQL.baseline_version(conn, programme_id=programme_id) or "",
    )  # fmt: skip
    plant_id, ours = stored.plant_id or programme_id, {each.id for each in orders}
    for result in found.taken:
        SQL.insert_result(
            conn, programme_id=programme_id, event_id=result.id, plant_id=plant_id, station=result.station,
            gate=gate_of(stored.plant, programme_id, result.station, result.check), check=result.check,
            vehicle=result.vehicle, order_id=result.vehicle if result.vehicle in ours else None,
            variant=result.variant, software=result.software, lots=Jsonb(dict(result.lots)),
            passed=result.passed, attempt=result.attempt, at=result.at, now=now, actor=actor,
        )  # fmt: skip
    moments = _count(conn, programme_id, plant_id, found.taken, now=now)
    SQL.forget_days(
        conn,
        programme_id=programme_id,
        days=sorted({at.astimezone(UTC).date() for at in moments}),
        before=None,
    )
    return found


def recent_passes(
    conn: Connection,
    programme_id: str,
    stations: Sequence[str],
    *,
    rows_max: int,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, tuple[int, int]]:
    """Return by station how many of the newest vehicles were checked, and of these right at once."""
    rows = SQL.recent_passes(
        conn, programme_id=programme_id, stations=list(stations), rows_max=rows_max, since=since, until=until
    )
    return {row["station"]: (row["vehicles"], row["at_once"]) for row in rows}


def forget(conn: Connection, programme_id: str, *, now: datetime) -> None:
    """Forget results that are old, and then which vehicles passed, but for those that alarms compare."""
    oldest = now - timedelta(days=KEPT_DAYS)
    SQL.forget_results(conn, programme_id=programme_id, oldest=oldest)
    SQL.forget_passes(conn, programme_id=programme_id, oldest=oldest, reach=REACH)


def gate_of(plant: Plant | None, programme_id: str, station: str, check: str) -> str:
    """Return the gate of a station that makes a check: the one that names it, or has its name; "" for none."""
    lines = plant.structure.lines if plant else ()
    for line in lines:
        if line.programme != programme_id:
            continue
        for cell in line.stations:
            for gate in cell.gates if cell.name == station else ():
                if check in gate.checks or check == gate.name:
                    return gate.name
    return ""


def lots_used(conn: Connection, programme_id: str, order_id: str, station: str) -> dict[str, str]:
    """Return the lots of the parts that events said went into a vehicle at a station, the newest of each part."""
    rows = SQL.lots_used(
        conn, programme_id=programme_id, order_id=order_id, station=station, rows_max=LOTS_MAX
    )
    return {row["part"]: row["lot"] for row in rows}


def list_results(
    conn: Connection,
    programme_id: str,
    *,
    vehicle: str | None = None,
    station: str | None = None,
    rows_max: int = PAGE_ROWS_MAX,
) -> list[KeptResult]:
    """Return results, newest first: of all vehicles, or of one by its order, VIN or number."""
    rows = SQL.list_results(
        conn, programme_id=programme_id, vehicle=vehicle, station=station, rows_max=rows_max
    )
    return [of_row(KeptResult, row, id=row["event_id"], outcome=_read(row).outcome) for row in rows]


def _read(row: Mapping[str, object]) -> CheckResult:
    return of_row(CheckResult, row, id=str(row["event_id"]))


def _count(
    conn: Connection, programme_id: str, plant_id: str, taken: Collection[CheckResult], *, now: datetime
) -> list[datetime]:
    """Keep what results mean for first-pass yield: a row per vehicle and station; and note what they change of one.

    Returns:
        When that was of which it changes something: these results, the first ones of the same vehicles at the same
        stations, when a vehicle was checked first so far, and when one that was checked nowhere had left the line.
    """
    vehicles = sorted({each.vehicle for each in taken})
    seen: dict[tuple[str, str], datetime] = {
        (row["station"], row["vehicle"]): row["at"]
        for row in SQL.passes_of(conn, programme_id=programme_id, vehicles=vehicles)
    }
    first: dict[str, datetime] = {}
    for (_, vehicle), at in seen.items():
        first[vehicle] = min(at, first.get(vehicle, at))
    moments = [each.at for each in taken]
    moments += [seen[place] for each in taken if (place := (each.station, each.vehicle)) in seen]
    moments += [first[each.vehicle] for each in taken if each.at < first.get(each.vehicle, each.at)]
    unseen = [vehicle for vehicle in vehicles if vehicle not in first]
    moments += [
        row["born_at"] for row in SQL.births_of_orders(conn, programme_id=programme_id, orders=unseen)
    ]
    numbers = _numbers(
        conn, programme_id, {each.station for each in taken if (each.station, each.vehicle) not in seen}
    )
    changed: set[tuple[str, int]] = set()
    for result in _oldest_first(taken):
        place, lots = (result.station, result.vehicle), Jsonb(dict(result.lots))
        at_once = result.passed or result.attempt > 1
        if place in seen:
            period = SQL.update_pass(
                conn, programme_id=programme_id, station=result.station, vehicle=result.vehicle,
                at_once=at_once, lots=lots,
            )  # fmt: skip
            if period is not None:
                changed.add((result.station, period))
            continue
        seen[place] = result.at
        number = numbers.get(result.station, 0)
        numbers[result.station] = number + 1
        SQL.insert_pass(
            conn, programme_id=programme_id, station=result.station, vehicle=result.vehicle, plant_id=plant_id,
            variant=result.variant, software=result.software, lots=lots, at_once=at_once, number=number,
            period=period_of(number), at=result.at,
        )  # fmt: skip
    SQL.note_late(
        conn,
        [
            {"programme_id": programme_id, "station": station, "period": period, "now": now}
            for station, period in sorted(changed)
        ],
    )
    return moments


def _numbers(conn: Connection, programme_id: str, stations: Collection[str]) -> dict[str, int]:
    """Return how many vehicles came to stations that get another one."""
    if not stations:
        return {}
    rows = SQL.vehicles_passed(conn, programme_id=programme_id, stations=sorted(stations))
    return {row["station"]: row["vehicles"] for row in rows}


def _oldest_first(taken: Iterable[CheckResult]) -> list[CheckResult]:
    return sorted(taken, key=lambda each: each.at)
