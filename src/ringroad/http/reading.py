"""Read models, read: joins across stages for list operations and pages. Nothing is written here.

Each function takes the caller's connection and returns the structs of `views.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from ringroad.build.model import Programme
from ringroad.build.plant.line import with_line
from ringroad.build.plant.read import plant_from_document
from ringroad.http.accounts_store import SQL
from ringroad.http.views import (
    AssignmentView,
    CampaignView,
    ChangeView,
    EcuView,
    ExposureView,
    FactView,
    FindingView,
    FleetOverview,
    FleetVersion,
    GateDecisionView,
    LapView,
    Overview,
    PlanView,
    ReadingView,
    ReportView,
    ResolutionView,
    VehicleResolutionView,
    VehicleView,
    WaveCount,
)
from ringroad.http.views_build import (
    Baseline,
    BlockedOption,
    ComplaintView,
    LineCheckView,
    LineStopView,
    NamesView,
    OrderView,
    OutcomeView,
    PackageView,
    ProgrammeView,
    QuarantineView,
    ReleaseView,
    ScheduleView,
    WhatIfView,
)
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection

T = TypeVar("T")

EXAMPLES_LOOKED_AT_MAX = 10_000  # vehicles after the first of a kind, where that one is held back
STRETCHES = 60  # points of a chart over a campaign's time
EXACT_VEHICLES_MAX = (
    20_000  # of a campaign whose chart is drawn to the second; of more, from the tally, to the minute
)
RAW_BYTES_SHOWN = 2_000  # bytes of a quarantined row


def one(rows: list[T], what: str) -> T:
    """Return the only row.

    Raises:
        NotFound: there is none.
    """
    if not rows:
        raise NotFound(f"no {what}", hint="check the id")
    return rows[0]


def overview(conn: Connection) -> Overview:
    """Return the counts of the Loop page."""
    return msgspec.convert(SQL.overview(conn), Overview)


def facts(
    conn: Connection,
    *,
    subject: str | None = None,
    lap_id: str | None = None,
    stage: str | None = None,
    kind: str | None = None,
    fact_id: str | None = None,
    before_seq: int | None = None,
    limit: int = 100,
) -> list[FactView]:
    """Return facts, newest first; `fact_id` returns that fact and what it caused."""
    rows = SQL.facts_latest(
        conn, subject=subject, lap_id=lap_id, stage=stage, kind=kind, fact_id=fact_id,
        before_seq=before_seq, rows_max=limit,
    )  # fmt: skip
    return _all(rows, FactView)


def laps(conn: Connection, *, lap_id: str | None = None, limit: int = 100, offset: int = 0) -> list[LapView]:
    """Return laps, newest first."""
    return _all(SQL.laps(conn, lap_id=lap_id, rows_max=limit, rows_skip=offset), LapView)


def vehicles(
    conn: Connection,
    *,
    vin: str | None = None,
    q: str | None = None,
    programme_id: str | None = None,
    variant: str | None = None,
    release_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
    fleet: str | None = None,
) -> list[VehicleView]:
    """Return vehicles by VIN; `q` is any part of a VIN."""
    find = SQL.vins_of_updates if state in {"updating", "failed"} else SQL.vins
    found = find(
        conn, vin=vin, q=q, programme_id=programme_id, variant=variant, release_id=release_id, state=state,
        fleet=fleet, rows_max=limit, rows_skip=offset,
    )  # fmt: skip
    return _all(SQL.vehicles(conn, vins=[row["vin"] for row in found]), VehicleView)


def for_reader(campaign: CampaignView, *, fleet: str | None) -> CampaignView:
    """Return what a fleet's operator may know of a campaign: not who made it, what it answers to, or what people said."""
    if fleet is None:
        return campaign
    said = campaign.state_reason if campaign.state == "halted" else ""  # a rule's word
    return msgspec.structs.replace(campaign, created_by="", lap_id=None, plan_id=None, state_reason=said)


def require_own(conn: Connection, vin: str, *, fleet: str | None) -> None:
    """Raise unless a vehicle is of this fleet; without one, every vehicle is.

    Raises:
        NotFound: it is not, or there is none: whoever asks cannot tell which.
    """
    if fleet is not None and not SQL.is_own(conn, fleet=fleet, vin=vin):
        raise NotFound(f"no vehicle {vin}", hint="check the id")


def ddi_variants(conn: Connection) -> dict[str, list[str]]:
    """Return the variants, by programme, of the programmes that have ECUs which speak DDI."""
    found: dict[str, list[str]] = {}
    for row in SQL.ddi_variants(conn):
        found.setdefault(row["programme_id"], []).append(row["variant"])
    return found


def vehicle_credentials(conn: Connection, vin: str) -> dict[str, Any]:
    """Return what is known of how a vehicle on DDI proves who it is; no secret, no digest."""
    found: dict[str, Any] = SQL.vehicle_credentials(conn, vin=vin)
    return found


def fleet_overview(conn: Connection, fleet: str) -> FleetOverview:
    """Return the counts of one fleet."""
    return msgspec.convert(SQL.fleet_overview(conn, fleet=fleet), FleetOverview)


def variants(conn: Connection) -> list[str]:
    """Return the variants that exist on the road."""
    return [row["variant"] for row in SQL.variants(conn)]


def fleet_versions(conn: Connection, *, fleet: str | None = None) -> list[FleetVersion]:
    """Return how many vehicles run which release."""
    if fleet is not None:
        return _all(SQL.fleet_versions_of_fleet(conn, fleet=fleet), FleetVersion)
    return _all(SQL.fleet_versions(conn), FleetVersion)


def vehicle_attributes(conn: Connection, vin: str) -> dict[str, Any]:
    """Return what the vehicle said about itself."""
    row = SQL.vehicle_attributes(conn, vin=vin)
    return dict(row["attributes"]) if row else {}


def vehicle_ecus(conn: Connection, vin: str) -> list[EcuView]:
    """Return the ECUs of a vehicle, the Primary first."""
    return _all(SQL.vehicle_ecus(conn, vin=vin), EcuView)


def vehicle_reports(conn: Connection, vin: str, *, limit: int = 100) -> list[ReportView]:
    """Return the newest reports of a vehicle."""
    return _all(SQL.vehicle_reports(conn, vin=vin, rows_max=limit), ReportView)


def assignments(
    conn: Connection,
    *,
    campaign_id: str | None = None,
    vin: str | None = None,
    wave: int | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
    fleet: str | None = None,
) -> list[AssignmentView]:
    """Return assignments of a campaign by VIN, or of a vehicle or a fleet's vehicles, newest first."""
    asked = {"campaign_id": campaign_id, "wave": wave, "state": state, "rows_max": limit, "rows_skip": offset}
    if campaign_id is not None and vin is None and fleet is None:
        return _all(SQL.assignments_of_campaign(conn, **asked), AssignmentView)
    return _all(SQL.assignments_of_few(conn, vin=vin, fleet=fleet, **asked), AssignmentView)


def campaign_resolutions(
    conn: Connection, campaign_id: str, *, limit: int = 100, offset: int = 0
) -> list[ResolutionView]:
    """Return what a campaign's plan made of its vehicles, those alike together, most vehicles first."""
    rows = SQL.campaign_resolutions(
        conn, campaign_id=campaign_id, rows_max=limit, rows_skip=offset, looked_at_max=EXAMPLES_LOOKED_AT_MAX
    )
    return _all(rows, ResolutionView)


def vehicle_resolutions(
    conn: Connection, vin: str, *, campaign_id: str | None = None, limit: int = 20
) -> list[VehicleResolutionView]:
    """Return what the current plans of campaigns made of a vehicle, newest campaign first."""
    rows = SQL.vehicle_resolutions(conn, vin=vin, campaign_id=campaign_id, rows_max=limit)
    return _all(rows, VehicleResolutionView)


def campaigns(
    conn: Connection,
    *,
    campaign_id: str | None = None,
    change_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
    fleet: str | None = None,
) -> list[CampaignView]:
    """Return campaigns, newest first."""
    asked = {
        "campaign_id": campaign_id, "change_id": change_id, "state": state, "rows_max": limit, "rows_skip": offset,
    }  # fmt: skip
    if fleet is not None:
        return _all(SQL.campaigns_of_fleet(conn, fleet=fleet, **asked), CampaignView)
    return _all(SQL.campaigns(conn, **asked), CampaignView)


def campaign_progress(conn: Connection, campaign_id: str, *, fleet: str | None = None) -> list[WaveCount]:
    """Return vehicles per wave and state."""
    if fleet is not None:
        return _all(SQL.campaign_progress_of_fleet(conn, campaign_id=campaign_id, fleet=fleet), WaveCount)
    return _all(SQL.campaign_progress(conn, campaign_id=campaign_id), WaveCount)


def campaign_plans(conn: Connection, campaign_id: str, *, limit: int = 50) -> list[PlanView]:
    """Return plans, newest first."""
    return _all(SQL.campaign_plans(conn, campaign_id=campaign_id, rows_max=limit), PlanView)


def gate_decisions(conn: Connection, campaign_id: str, *, limit: int = 100) -> list[GateDecisionView]:
    """Return gate decisions, newest first."""
    return _all(SQL.gate_decisions(conn, campaign_id=campaign_id, rows_max=limit), GateDecisionView)


def exposure(conn: Connection, campaign_id: str) -> list[ExposureView]:
    """Return how many vehicles a campaign reached in each sixtieth of its time so far."""
    many = SQL.campaign_vehicles(conn, campaign_id=campaign_id) > EXACT_VEHICLES_MAX
    read = SQL.campaign_exposure_by_minute if many else SQL.campaign_exposure
    return _all(read(conn, campaign_id=campaign_id, stretches=STRETCHES), ExposureView)


def gate_readings(conn: Connection, campaign_id: str, *, limit: int = 100) -> list[ReadingView]:
    """Return readings against the control group, newest first."""
    return _all(SQL.gate_readings(conn, campaign_id=campaign_id, rows_max=limit), ReadingView)


def findings(
    conn: Connection,
    *,
    finding_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[FindingView]:
    """Return findings, newest first."""
    rows = SQL.findings(conn, finding_id=finding_id, state=state, rows_max=limit, rows_skip=offset)
    return _all(rows, FindingView)


def listed_names(conn: Connection, programme_id: str) -> list[NamesView]:
    """Return which ECUs of a programme have names."""
    return _all(SQL.listed_names(conn, programme_id=programme_id), NamesView)


def changes(
    conn: Connection,
    *,
    change_id: str | None = None,
    finding_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[ChangeView]:
    """Return changes, newest first."""
    rows = SQL.changes(
        conn, change_id=change_id, finding_id=finding_id, state=state, rows_max=limit, rows_skip=offset
    )
    return _all(rows, ChangeView)


def programmes(
    conn: Connection, *, programme_id: str | None = None, limit: int = 100, offset: int = 0
) -> list[ProgrammeView]:
    """Return vehicle programmes."""
    rows = SQL.programmes(conn, programme_id=programme_id, rows_max=limit, rows_skip=offset)
    return _all([_with_plants_line(row) for row in rows], ProgrammeView)


def packages(
    conn: Connection,
    *,
    package_id: str | None = None,
    programme_id: str | None = None,
    ecu: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[PackageView]:
    """Return software packages, newest first."""
    rows = SQL.packages(
        conn, package_id=package_id, programme_id=programme_id, ecu=ecu, rows_max=limit, rows_skip=offset
    )
    return _all(rows, PackageView)


def releases(
    conn: Connection,
    *,
    release_id: str | None = None,
    programme_id: str | None = None,
    change_id: str | None = None,
    state: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[ReleaseView]:
    """Return releases, newest first, and how many vehicles have each."""
    rows = SQL.releases(
        conn, release_id=release_id, programme_id=programme_id, change_id=change_id, state=state, rows_max=limit,
        rows_skip=offset,
    )  # fmt: skip
    return _all(rows, ReleaseView)


def orders(
    conn: Connection,
    *,
    programme_id: str | None = None,
    state: str | None = None,
    ids: list[str] | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[OrderView]:
    """Return orders, newest first."""
    rows = SQL.orders(conn, programme_id=programme_id, state=state, ids=ids, rows_max=limit, rows_skip=offset)
    return _all(rows, OrderView)


def orders_by_state(conn: Connection, programme_id: str) -> dict[str, int]:
    """Return how many orders are in which state."""
    return {row["state"]: row["orders"] for row in SQL.orders_by_state(conn, programme_id=programme_id)}


def schedules(conn: Connection, programme_id: str, *, limit: int = 60) -> list[ScheduleView]:
    """Return line schedules; the first is current."""
    return _all(SQL.schedules(conn, programme_id=programme_id, rows_max=limit), ScheduleView)


def line_checks(conn: Connection, programme_id: str, *, limit: int = 20) -> list[LineCheckView]:
    """Return what the twin said of schedules, newest first."""
    return _all(SQL.line_checks(conn, programme_id=programme_id, rows_max=limit), LineCheckView)


def what_ifs(
    conn: Connection, programme_id: str, *, what_if_id: str | None = None, limit: int = 20
) -> list[WhatIfView]:
    """Return what planners asked the twin, newest first."""
    rows = SQL.what_ifs(conn, programme_id=programme_id, what_if_id=what_if_id, rows_max=limit)
    return _all(rows, WhatIfView)


def line_stops(
    conn: Connection,
    programme_id: str,
    *,
    stop_id: str | None = None,
    only_open: bool = False,
    limit: int = 100,
) -> list[LineStopView]:
    """Return breakdowns and quality stops of a line, newest first."""
    rows = SQL.line_stops(
        conn, programme_id=programme_id, stop_id=stop_id, only_open=only_open, rows_max=limit
    )
    return _all(rows, LineStopView)


def blocked_options(conn: Connection, programme_id: str) -> list[BlockedOption]:
    """Return options that cannot be built now."""
    return _all(SQL.blocked_options(conn, programme_id=programme_id), BlockedOption)


def baseline(conn: Connection, programme_id: str) -> Baseline | None:
    """Return what new vehicles are flashed with, if that is settled."""
    row = SQL.baseline(conn, programme_id=programme_id)
    return msgspec.convert(row, Baseline) if row else None


def outcomes(
    conn: Connection,
    *,
    lap_id: str | None = None,
    finding_id: str | None = None,
    campaign_id: str | None = None,
    limit: int = 100,
    offset: int = 0,
) -> list[OutcomeView]:
    """Return measured outcomes, newest first."""
    rows = SQL.outcomes(
        conn, lap_id=lap_id, finding_id=finding_id, campaign_id=campaign_id, rows_max=limit, rows_skip=offset
    )
    return _all(rows, OutcomeView)


def complaints(
    conn: Connection, *, component: str | None = None, limit: int = 100, offset: int = 0
) -> list[ComplaintView]:
    """Return complaints, newest first; `component` is any part of its name."""
    return _all(SQL.complaints(conn, component=component, rows_max=limit, rows_skip=offset), ComplaintView)


def quarantined(
    conn: Connection, *, source: str | None = None, limit: int = 100, offset: int = 0
) -> list[QuarantineView]:
    """Return rows that could not be read, newest first; unreadable bytes are shown as U+FFFD."""
    rows = [
        {**row, "raw": bytes(row["raw"])[:RAW_BYTES_SHOWN].decode("utf-8", "replace")}
        for row in SQL.quarantined(conn, source=source, rows_max=limit, rows_skip=offset)
    ]
    return _all(rows, QuarantineView)


def _all(rows: Iterable[Mapping[str, Any]], kind: type[T]) -> list[T]:
    return msgspec.convert(list(rows), list[kind])  # type: ignore[valid-type]


def _with_plants_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a programme's row with the line of the plant that builds it here."""
    found = dict(row)
    plant = found.pop("plant")
    if plant is not None:
        programme = with_line(Programme.from_document(found["document"]), plant_from_document(plant))
        found["document"] = programme.to_document()
    return found
