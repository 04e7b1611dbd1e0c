"""Design: findings become changes."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import Id, InState, Limit, Name, Offset, route
from ringroad.http.views import ChangeView, FindingView


@route("GET", "/findings", role=Role.VIEWER, tag="design")
def list_findings(
    ctx: Context,
    *,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[FindingView]:
    """List findings, newest first."""
    with ctx.connection() as conn:
        return reading.findings(conn, state=in_state, limit=limit, offset=offset)


@route("GET", "/findings/{finding_id:str}", role=Role.VIEWER, tag="design", errors=[404])
def get_finding(ctx: Context, *, finding_id: Id) -> FindingView:
    """Read a finding with its evidence."""
    with ctx.connection() as conn:
        return reading.one(reading.findings(conn, finding_id=finding_id), f"finding {finding_id}")


@route("GET", "/changes", role=Role.VIEWER, tag="design")
def list_changes(
    ctx: Context,
    *,
    in_state: InState = None,
    finding_id: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ChangeView]:
    """List changes, newest first."""
    with ctx.connection() as conn:
        return reading.changes(conn, state=in_state, finding_id=finding_id, limit=limit, offset=offset)


@route("GET", "/changes/{change_id:str}", role=Role.VIEWER, tag="design", errors=[404])
def get_change(ctx: Context, *, change_id: Id) -> ChangeView:
    """Read a change."""
    with ctx.connection() as conn:
        return reading.one(reading.changes(conn, change_id=change_id), f"change {change_id}")


router = Router("/", route_handlers=[list_findings, get_finding, list_changes, get_change])
