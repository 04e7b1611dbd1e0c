"""Signal: what the lake says: samples of one vehicle, fault rates by software version."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

import ibis
import msgspec
from litestar import Router
from litestar.params import Parameter

from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Id, Limit, Name, route
from ringroad.protocol.names import fault_name
from ringroad.signal.store_names import load_names
from ringroad.storage.lake import Lake, View, from_us, to_us
from ringroad.storage.measures import Window, measure_faults

HOUR_US = 3_600 * 1_000_000
Hours = Annotated[int, Parameter(ge=1, le=24 * 90, description="Hours looked back")]


class SampleView(msgspec.Struct, frozen=True, kw_only=True):
    """One VSS sample; `clock` says whether its time can be believed: ok, late, ahead, unset."""

    at: datetime
    path: str
    kind: str
    number: float | None
    text: str | None
    clock: str


class FaultRate(msgspec.Struct, frozen=True, kw_only=True):
    """How often one fault code came up on one software version of one ECU."""

    ecu: str
    software_version: str
    fault_code: str
    fault_name: str  # empty without one
    vehicles_exposed: int
    vehicles_with_fault: int
    exposure_us: int
    per_1000_vehicle_hours: float | None  # vehicles with the fault; None without exposure


@route("GET", "/vehicles/{vin:str}/telemetry", role=Role.VIEWER, tag="signal")
def list_telemetry(ctx: Ctx, vin: Id, path: Name = None, limit: Limit = 100) -> list[SampleView]:
    """List a vehicle's newest samples, of one VSS path or of all."""

    def ask(view: View) -> list[dict[str, Any]]:
        samples = view.table("samples")
        wanted = samples.filter(samples.vin == vin)
        if path is not None:
            wanted = wanted.filter(wanted.path == path)
        return view.rows(wanted.order_by(ibis.desc("at_us")).limit(limit))

    rows = Lake(ctx.settings.lake).read(ask)
    names = ("path", "kind", "number", "text", "clock")
    return [SampleView(at=from_us(row["at_us"]), **{name: row[name] for name in names}) for row in rows]


@route("GET", "/programmes/{programme_id:str}/fault-rates", role=Role.VIEWER, tag="signal", errors=[422])
def list_fault_rates(ctx: Ctx, programme_id: Id, ecu: Name = None, hours: Hours = 24 * 14) -> list[FaultRate]:
    """Measure fault rates as the detector does, over the last hours."""
    until = ctx.clock.now()
    window = Window(
        programme=programme_id, since_us=to_us(until - timedelta(hours=hours)), until_us=to_us(until) + 1,
        tick_us=HOUR_US, gap_us=HOUR_US, ecu=ecu,
    )  # fmt: skip
    counts = measure_faults(Lake(ctx.settings.lake), window).counts
    with ctx.connection() as conn:
        names = load_names(conn, programme_id)
    return [
        FaultRate(
            ecu=count.ecu, software_version=count.software_version, fault_code=count.fault_code,
            fault_name=fault_name(names, count.ecu, count.fault_code),
            vehicles_exposed=count.vehicles_exposed, vehicles_with_fault=count.vehicles_with_fault,
            exposure_us=count.exposure_us,
            per_1000_vehicle_hours=(
                1000 * count.vehicles_with_fault * HOUR_US / count.exposure_us if count.exposure_us else None
            ),
        )
        for count in counts
    ]  # fmt: skip


router = Router("/", route_handlers=[list_telemetry, list_fault_rates])
