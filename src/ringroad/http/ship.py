"""Ship: campaigns and vehicles."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Router
from litestar.params import Parameter

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.reading_compared import compared
from ringroad.http.reading_judged import let_go, with_today
from ringroad.http.routes import Id, InState, Limit, Name, Offset, Req, route
from ringroad.http.views import (
    AssignmentView,
    CampaignView,
    ComparedView,
    DifferenceView,
    EcuView,
    FleetVersion,
    GateDecisionView,
    GateReplayView,
    LetGoView,
    PlanView,
    ReadingView,
    ReplayView,
    ReportView,
    ResolutionView,
    VehicleResolutionView,
    VehicleView,
    WaveCount,
)
from ringroad.ship.replay import decide_again, word_of
from ringroad.ship.store.difference import read_difference
from ringroad.ship.store.evidence import read_reading, replay
from ringroad.ship.store.judging import judge_today
from ringroad.ship.store.reading import why_not_selected

PlanGeneration = Annotated[int | None, Parameter(ge=1, le=2**31 - 1, description="Of a plan")]
NUMBER_CHARS_MAX = 18  # digits that fit into 64 bits


@route("GET", "/vehicles", role=Role.FLEET, tag="ship")
def list_vehicles(
    ctx: Ctx,
    request: Req,
    *,
    q: Name = None,
    programme_id: Name = None,
    variant: Name = None,
    release_id: Name = None,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[VehicleView]:
    """List vehicles by VIN; `q` is any part of a VIN."""
    with ctx.connection() as conn:
        return reading.vehicles(
            conn,
            q=q,
            programme_id=programme_id,
            variant=variant,
            release_id=release_id,
            state=in_state,
            limit=limit,
            offset=offset,
            fleet=request.user.fleet,
        )


@route("GET", "/vehicles/{vin:str}", role=Role.FLEET, tag="ship", errors=[404])
def get_vehicle(ctx: Ctx, request: Req, *, vin: Id) -> VehicleView:
    """Read a vehicle with its newest assignment."""
    with ctx.connection() as conn:
        return reading.one(reading.vehicles(conn, vin=vin, fleet=request.user.fleet), f"vehicle {vin}")


@route("GET", "/campaigns", role=Role.FLEET, tag="ship")
def list_campaigns(
    ctx: Ctx,
    request: Req,
    *,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[CampaignView]:
    """List campaigns, newest first."""
    with ctx.connection() as conn:
        found = reading.campaigns(conn, state=in_state, limit=limit, offset=offset, fleet=request.user.fleet)
    return [reading.for_reader(each, fleet=request.user.fleet) for each in found]


@route("GET", "/campaigns/{campaign_id:str}", role=Role.FLEET, tag="ship", errors=[404])
def get_campaign(ctx: Ctx, request: Req, *, campaign_id: Id) -> CampaignView:
    """Read a campaign with its counts."""
    with ctx.connection() as conn:
        found = reading.campaigns(conn, campaign_id=campaign_id, fleet=request.user.fleet)
    return reading.for_reader(reading.one(found, f"campaign {campaign_id}"), fleet=request.user.fleet)


@route("GET", "/fleet/versions", role=Role.FLEET, tag="ship")
def list_fleet_versions(ctx: Ctx, request: Req) -> list[FleetVersion]:
    """Count vehicles per release and variant."""
    with ctx.connection() as conn:
        return reading.fleet_versions(conn, fleet=request.user.fleet)


@route("GET", "/vehicles/{vin:str}/ecus", role=Role.FLEET, tag="ship")
def list_ecus(ctx: Ctx, request: Req, *, vin: Id) -> list[EcuView]:
    """List a vehicle's ECUs and what they run."""
    with ctx.connection() as conn:
        reading.require_own(conn, vin, fleet=request.user.fleet)
        return reading.vehicle_ecus(conn, vin)


@route("GET", "/vehicles/{vin:str}/reports", role=Role.VIEWER, tag="ship")
def list_reports(ctx: Ctx, *, vin: Id, limit: Limit = 100) -> list[ReportView]:
    """List a vehicle's newest reports."""
    with ctx.connection() as conn:
        return reading.vehicle_reports(conn, vin, limit=limit)


@route("GET", "/vehicles/{vin:str}/assignments", role=Role.FLEET, tag="ship")
def list_vehicle_assignments(
    ctx: Ctx, request: Req, *, vin: Id, limit: Limit = 100, offset: Offset = 0
) -> list[AssignmentView]:
    """List the campaigns a vehicle was in, newest first."""
    with ctx.connection() as conn:
        reading.require_own(conn, vin, fleet=request.user.fleet)
        return reading.assignments(conn, vin=vin, limit=limit, offset=offset, fleet=request.user.fleet)


@route("GET", "/campaigns/{campaign_id:str}/assignments", role=Role.FLEET, tag="ship")
def list_campaign_assignments(
    ctx: Ctx,
    request: Req,
    *,
    campaign_id: Id,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[AssignmentView]:
    """List a campaign's vehicles."""
    with ctx.connection() as conn:
        return reading.assignments(
            conn,
            campaign_id=campaign_id,
            state=in_state,
            limit=limit,
            offset=offset,
            fleet=request.user.fleet,
        )


@route("GET", "/campaigns/{campaign_id:str}/progress", role=Role.FLEET, tag="ship")
def get_progress(ctx: Ctx, request: Req, *, campaign_id: Id) -> list[WaveCount]:
    """Count a campaign's vehicles per wave and state."""
    with ctx.connection() as conn:
        return reading.campaign_progress(conn, campaign_id, fleet=request.user.fleet)


@route("GET", "/campaigns/{campaign_id:str}/plans", role=Role.VIEWER, tag="ship")
def list_plans(ctx: Ctx, *, campaign_id: Id, limit: Limit = 20) -> list[PlanView]:
    """List a campaign's plans, newest first, with the checker's findings."""
    with ctx.connection() as conn:
        return reading.campaign_plans(conn, campaign_id, limit=limit)


@route("GET", "/campaigns/{campaign_id:str}/difference", role=Role.VIEWER, tag="ship", errors=[404])
def get_difference(
    ctx: Ctx, *, campaign_id: Id, older: PlanGeneration = None, newer: PlanGeneration = None
) -> DifferenceView:
    """Compare two plans: the newest with the one it was to take the place of, unless generations are named."""
    with ctx.transaction() as conn:
        found = read_difference(conn, campaign_id, older=older, newer=newer)
    return msgspec.convert(msgspec.to_builtins(found), DifferenceView)


@route("GET", "/campaigns/{campaign_id:str}/resolutions", role=Role.VIEWER, tag="ship")
def list_resolutions(
    ctx: Ctx, *, campaign_id: Id, limit: Limit = 100, offset: Offset = 0
) -> list[ResolutionView]:
    """List what a campaign's plan made of its vehicles, those alike together, most vehicles first."""
    with ctx.connection() as conn:
        return reading.campaign_resolutions(conn, campaign_id, limit=limit, offset=offset)


@route(
    "GET",
    "/campaigns/{campaign_id:str}/vehicles/{vin:str}",
    role=Role.VIEWER,
    tag="ship",
    errors=[404],
)
def explain_vehicle(ctx: Ctx, *, campaign_id: Id, vin: Id) -> VehicleResolutionView:
    """Say why a vehicle is or is not in a campaign: by its plan, and by what is known of the vehicle today."""
    with ctx.transaction() as conn:
        found = reading.vehicle_resolutions(conn, vin, campaign_id=campaign_id, limit=1)
        if found:
            return with_today(conn, found, vin=vin, now=ctx.clock.now())[0]
        campaign = reading.one(reading.campaigns(conn, campaign_id=campaign_id), f"campaign {campaign_id}")
        today = judge_today(conn, vin=vin, release_ids=[campaign.release_id], now=ctx.clock.now()).get(
            campaign.release_id
        )
        reason, sentence = why_not_selected(conn, campaign_id, vin, today=today)
    selected = (
        today if reason in {"no_plan", "after_the_plan"} else None
    )  # else the query leaves it out today, too
    return VehicleResolutionView(
        campaign_id=campaign.id, campaign_name=campaign.name, campaign_state=campaign.state,
        release_id=campaign.release_id, release_version=campaign.release_version, verdict="not_selected", reason=reason, sentence=sentence, wave=0,
        steps=[], install_bytes=0, install_s=0, today=selected.verdict if selected else "",
        today_sentence=selected.sentence if selected else "",
    )  # fmt: skip


@route("GET", "/campaigns/{campaign_id:str}/let-go", role=Role.VIEWER, tag="ship")
def list_let_go(ctx: Ctx, *, campaign_id: Id) -> list[LetGoView]:
    """List whom a campaign let go since its plan, because what is known of them changed, by today's verdict."""
    with ctx.connection() as conn:
        reading.one(reading.campaigns(conn, campaign_id=campaign_id), f"campaign {campaign_id}")
        return let_go(conn, campaign_id)


@route("GET", "/vehicles/{vin:str}/resolutions", role=Role.VIEWER, tag="ship")
def list_vehicle_resolutions(ctx: Ctx, *, vin: Id, limit: Limit = 20) -> list[VehicleResolutionView]:
    """List what the current plans of campaigns made of a vehicle, newest campaign first."""
    with ctx.connection() as conn:
        return reading.vehicle_resolutions(conn, vin, limit=limit)


@route("GET", "/campaigns/{campaign_id:str}/gate-decisions", role=Role.VIEWER, tag="ship")
def list_gate_decisions(ctx: Ctx, *, campaign_id: Id, limit: Limit = 100) -> list[GateDecisionView]:
    """List what the gate decided, on which evidence, newest first."""
    with ctx.connection() as conn:
        return reading.gate_decisions(conn, campaign_id, limit=limit)


@route("GET", "/campaigns/{campaign_id:str}/gate-decisions/replay", role=Role.VIEWER, tag="ship")
def replay_gate(ctx: Ctx, *, campaign_id: Id, limit: Limit = 100) -> list[GateReplayView]:
    """Make the gate's decisions again from what was recorded with them, and compare; newest first."""
    with ctx.connection() as conn:
        decided = reading.gate_decisions(conn, campaign_id, limit=limit)
    return [_made_again(each) for each in decided]


def _made_again(each: GateDecisionView) -> GateReplayView:
    found = decide_again(each.facts, each.policy, decided_at=each.decided_at)
    again, reason = word_of(found) if found else (None, None)
    return GateReplayView(
        id=each.id, decided_at=each.decided_at, wave=each.wave, decision=each.decision, reason=each.reason, again=again,
        again_reason=reason, same=None if found is None else (again, reason) == (each.decision, each.reason),
    )  # fmt: skip


@route("GET", "/campaigns/{campaign_id:str}/readings", role=Role.VIEWER, tag="ship")
def list_readings(ctx: Ctx, *, campaign_id: Id, limit: Limit = 100) -> list[ReadingView]:
    """List what was read of updated vehicles against the control group, newest first."""
    with ctx.connection() as conn:
        return reading.gate_readings(conn, campaign_id, limit=limit)


@route("GET", "/campaigns/{campaign_id:str}/compared", role=Role.VIEWER, tag="ship", errors=[404])
def list_compared(ctx: Ctx, *, campaign_id: Id) -> list[ComparedView]:
    """List every metric that the gate compares, with the control group or with the past, and which of them halted."""
    with ctx.connection() as conn:
        return compared(conn, campaign_id)


@route(
    "GET",
    "/campaigns/{campaign_id:str}/readings/{reading_id:str}/replay",
    role=Role.VIEWER,
    tag="ship",
    errors=[404],
)
def replay_reading(ctx: Ctx, *, campaign_id: Id, reading_id: Id) -> ReplayView:
    """Compute a reading again from the counts it had, and compare."""
    with ctx.connection() as conn:
        number = int(reading_id) if reading_id.isdecimal() and len(reading_id) <= NUMBER_CHARS_MAX else 0
        saved = read_reading(conn, campaign_id, number)
        computed = replay(conn, campaign_id, saved)
    return ReplayView(
        id=saved.id,
        stored=msgspec.to_builtins(saved.readings),
        computed=msgspec.to_builtins(computed),
        same=computed == saved.readings,
    )


router = Router(
    "/",
    route_handlers=[
        list_vehicles, get_vehicle, list_campaigns, get_campaign, list_fleet_versions, list_ecus, list_reports,
        list_vehicle_assignments, list_campaign_assignments, get_progress, list_plans, get_difference, list_gate_decisions,
        replay_gate, list_readings, replay_reading, list_resolutions, explain_vehicle, list_vehicle_resolutions,
        list_let_go, list_compared,
    ],
)  # fmt: skip
