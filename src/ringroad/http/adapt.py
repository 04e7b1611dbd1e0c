"""Adapt: laps, lead times, outcomes."""

from __future__ import annotations

import dataclasses
from datetime import datetime

import msgspec
from litestar import Router

from ringroad.adapt import store
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Id, Limit, Name, Offset, route
from ringroad.http.views import LapView
from ringroad.http.views_build import OutcomeView


@route("GET", "/laps", role=Role.VIEWER, tag="adapt")
def list_laps(
    ctx: Ctx,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[LapView]:
    """List laps, newest first."""
    with ctx.connection() as conn:
        return reading.laps(conn, limit=limit, offset=offset)


@route("GET", "/outcomes", role=Role.VIEWER, tag="adapt")
def list_outcomes(
    ctx: Ctx,
    *,
    lap_id: Name = None,
    finding_id: Name = None,
    campaign_id: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[OutcomeView]:
    """List outcomes, newest first: verdicts, and what became of the vehicles of campaigns that were stopped."""
    with ctx.connection() as conn:
        return reading.outcomes(
            conn, lap_id=lap_id, finding_id=finding_id, campaign_id=campaign_id, limit=limit, offset=offset
        )


class StageTimes(msgspec.Struct, frozen=True, kw_only=True):
    """What one stage took, in microseconds."""

    stage: str
    elapsed_us: int
    working_us: int
    waiting_us: int
    visits: int
    censored: bool  # still running


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """One decision; while it is pending, the fact that asks for it."""

    kind: str  # of the fact
    subject: str
    actor: str
    at: datetime
    verdict: str  # given, refused or pending


class ApprovalCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions that were asked for."""

    given: int
    refused: int
    pending: int
    waiting_us: int
    each: list[ApprovalView]  # the latest hundred


class ReworkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What had to be done again."""

    releases_again: int
    campaigns_halted: int
    vehicles_rolled_back: int
    updates_failed: int
    replans: int


class LapTimes(msgspec.Struct, frozen=True, kw_only=True):
    """A lap, timed from its facts."""

    lap_id: str
    started_at: datetime
    ended_at: datetime | None
    measured_to: datetime
    elapsed_us: int
    stages: list[StageTimes]
    approvals: ApprovalCounts
    rework: ReworkCounts
    milestones: dict[str, datetime]


@route("GET", "/laps/{lap_id:str}", role=Role.VIEWER, tag="adapt", errors=[404, 422])
def get_lap_report(ctx: Ctx, lap_id: Id) -> LapTimes:
    """Time a lap: lead time per stage, working against waiting, approvals, rework."""
    with ctx.connection() as conn:
        report = store.get_lap_report(conn, lap_id, now=ctx.clock.now())
    return msgspec.convert(dataclasses.asdict(report), LapTimes)


router = Router("/", route_handlers=[list_laps, get_lap_report, list_outcomes])
