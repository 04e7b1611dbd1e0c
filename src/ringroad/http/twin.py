"""Build: what the line's twin said of schedules."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Id, Limit, route
from ringroad.http.views_build import LineCheckView


@route("GET", "/programmes/{programme_id:str}/schedule-checks", role=Role.VIEWER, tag="build")
def list_schedule_checks(ctx: Ctx, *, programme_id: Id, limit: Limit = 20) -> list[LineCheckView]:
    """List what the twin said of schedules that cost less than the running one, newest first."""
    with ctx.connection() as conn:
        return reading.line_checks(conn, programme_id, limit=limit)


router = Router("/", route_handlers=[list_schedule_checks])
