"""Signal: fault codes over a vehicle's life, and over a programme by software version and build week, or lots of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Router
from litestar.params import Parameter, QueryParameter

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import Id, route
from ringroad.protocol.fault_status import ACTIVE
from ringroad.protocol.names import fault_name
from ringroad.signal.fault_history import FaultChange, fold
from ringroad.signal.store import SQL
from ringroad.signal.store_names import load_names
from ringroad.storage.lake import Lake, View, from_us, to_us

CHANGES_MAX: Final = 20_000  # of one vehicle; a code that flickers every minute makes as many in two weeks
PAIRS_MAX: Final = 200_000  # vehicles with the code; a recall has as many
LOT_WEEKS_MAX: Final = 520
LOT_DAYS: Final = 90  # looked back, unless somebody says otherwise
PART_LOTS_MAX: Final = 1_000  # lots that the most vehicles with the code have

FaultCodeAsked = Annotated[
    str,
    QueryParameter(
        name="code", pattern=r"^[PCBU][0-3][0-9A-F]{3}-[0-9A-F]{2}$", description="Fault code, as P0A1F-00"
    ),
]
LotsBy = Annotated[
    Literal["week", "part"],
    QueryParameter(description="The week they were built, or the lots of their parts"),
]
DaysBack = Annotated[int, Parameter(ge=1, le=3_650, description="Days looked back")]


class FaultHistoryView(msgspec.Struct, frozen=True, kw_only=True):
    """One code of one ECU over the vehicle's life; `frame` are the signals when it last began to fail.

    `counted_from`: only the vehicle's newest changes, from then on, were counted; null: all were.
    """

    ecu: str
    code: str
    name: str
    status: int
    active: bool
    occurrences: int
    first_at: datetime
    last_at: datetime
    odometer_first_km: float | None
    odometer_last_km: float | None
    software_versions: list[str]
    frame: dict[str, Any]
    counted_from: datetime | None


class FaultLot(msgspec.Struct, frozen=True, kw_only=True):
    """How many vehicles of one build week, or with one lot of a part, had a code on one software version.

    `at_least`: more had the code than are counted in one answer, so `vehicles_with_fault` may be too low.
    """

    ecu: str
    software_version: str
    lot: str  # of the part; without one the ISO week in which the vehicles were born, 2026-W48
    vehicles_born: int
    vehicles_with_fault: int
    permille: int
    at_least: bool
    part: str = ""  # whose lot it is


@route("GET", "/vehicles/{vin:str}/fault-history", role=Role.VIEWER, tag="signal", errors=[404])
def list_fault_history(ctx: Ctx, vin: Id) -> list[FaultHistoryView]:
    """List every fault a vehicle told of: when, how often, at what distance and on which software."""
    return history_of(ctx, vin)[0]


@route("GET", "/programmes/{programme_id:str}/fault-lots", role=Role.VIEWER, tag="signal", errors=[422])
def list_fault_lots(
    ctx: Ctx, programme_id: Id, code: FaultCodeAsked, days: DaysBack = LOT_DAYS, by: LotsBy = "week"
) -> list[FaultLot]:
    """Count the vehicles that had a code, by software version and by build week, or by the lots that their birth records name."""
    return lots_of(ctx, programme_id, code, days=days, by=by)


def lots_of(
    ctx: Context, programme_id: str, code: str, *, days: int = LOT_DAYS, by: Literal["week", "part"]
) -> list[FaultLot]:
    """Return how many vehicles of a programme had a code, by software and by build week or lots of their parts."""
    since = to_us(ctx.clock.now() - timedelta(days=days))

    def ask(view: View) -> list[dict[str, Any]]:
        faults = view.table("faults")
        wanted = faults.filter(
            (faults.programme == programme_id)
            & (faults.code == code)
            & (faults.at_us >= since)
            & (faults.status != 0)
        )
        return view.rows(wanted.select("vin", "ecu", "software_version").distinct().limit(PAIRS_MAX + 1))

    rows = Lake(ctx.settings.lake).read(ask)
    at_least = len(rows) > PAIRS_MAX
    vins = sorted({row["vin"] for row in rows})
    with ctx.connection() as conn:
        lots = list(
            SQL.build_weeks(conn, programme_id=programme_id, vins=vins, rows_max=LOT_WEEKS_MAX)
            if by == "week"
            else SQL.fault_lots(conn, programme_id=programme_id, vins=vins, rows_max=PART_LOTS_MAX)
        )
    return _by_lot(rows, lots, at_least=at_least)


def _by_lot(
    rows: Sequence[Mapping[str, Any]], lots: Sequence[Mapping[str, Any]], *, at_least: bool
) -> list[FaultLot]:
    """Return how many vehicles of each lot had the code, by ECU and software. Pure."""
    seen: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        seen.setdefault((row["ecu"], row["software_version"]), set()).add(row["vin"])
    told = []
    for (ecu, version), vins in sorted(seen.items()):
        for lot in lots:
            hit = len(vins.intersection(lot["vins"]))
            if hit:
                told.append(
                    FaultLot(
                        ecu=ecu, software_version=version, part=lot.get("part", ""), lot=lot["lot"],
                        vehicles_born=lot["vehicles"], vehicles_with_fault=hit,
                        permille=1000 * hit // max(hit, lot["vehicles"]), at_least=at_least,
                    )
                )  # fmt: skip
    return sorted(told, key=lambda each: (each.ecu, each.software_version, each.part, each.lot))


def history_of(ctx: Context, vin: str) -> tuple[list[FaultHistoryView], datetime | None]:
    """Return every fault that a vehicle told of, as it is shown, and from when on; None: all. Raises: NotFound."""
    with ctx.connection() as conn:
        vehicle = reading.one(reading.vehicles(conn, vin=vin), f"vehicle {vin}")
        names = load_names(conn, vehicle.programme_id)
    changes, counted_from = _changes(ctx, vin)
    return [
        FaultHistoryView(
            ecu=each.ecu, code=each.code, name=fault_name(names, each.ecu, each.code), status=each.status,
            active=bool(each.status & ACTIVE), occurrences=each.occurrences, first_at=from_us(each.first_us),
            last_at=from_us(each.last_us), odometer_first_km=each.odometer_first_km,
            odometer_last_km=each.odometer_last_km, software_versions=list(each.versions), frame=dict(each.frame),
            counted_from=counted_from,
        )
        for each in fold(changes)
    ], counted_from  # fmt: skip


def _changes(ctx: Context, vin: str) -> tuple[list[FaultChange], datetime | None]:
    """Return a vehicle's newest changes, and from when on where there are older ones; what came last is never cut."""

    def ask(view: View) -> list[dict[str, Any]]:
        faults = view.table("faults")
        return view.rows(
            faults.filter(faults.vin == vin).order_by(faults.at_us.desc()).limit(CHANGES_MAX + 1)
        )

    rows = Lake(ctx.settings.lake).read(ask)
    newest = rows[:CHANGES_MAX]
    return [
        FaultChange(
            ecu=row["ecu"], code=row["code"], at_us=row["at_us"], status=row["status"],
            software_version=row["software_version"], snapshot=msgspec.json.decode(row["snapshot"], type=dict[str, Any]),
        )
        for row in newest
    ], from_us(newest[-1]["at_us"]) if len(rows) > CHANGES_MAX else None  # fmt: skip


router = Router("/", route_handlers=[list_fault_history, list_fault_lots])
