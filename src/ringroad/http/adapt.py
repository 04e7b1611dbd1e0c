"""Adapt: laps, lead times, outcomes."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import Limit, Name, Offset, route
from ringroad.http.views import LapView
from ringroad.http.views_build import OutcomeView


@route("GET", "/laps", role=Role.VIEWER, tag="adapt")
def list_laps(
    ctx: Context,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[LapView]:
    """List laps, newest first."""
    with ctx.connection() as conn:
        return reading.laps(conn, limit=limit, offset=offset)


@route("GET", "/outcomes", role=Role.VIEWER, tag="adapt")
def list_outcomes(
    ctx: Context,
    *,
    lap_id: Name = None,
    finding_id: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[OutcomeView]:
    """List outcomes, newest first."""
    with ctx.connection() as conn:
        return reading.outcomes(conn, lap_id=lap_id, finding_id=finding_id, limit=limit, offset=offset)


router = Router("/", route_handlers=[list_laps, list_outcomes])
