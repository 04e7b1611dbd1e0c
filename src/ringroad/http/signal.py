"""Signal: complaints, quarantine, telemetry."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import Limit, Name, Offset, route
from ringroad.http.views_build import ComplaintView, QuarantineView


@route("GET", "/complaints", role=Role.VIEWER, tag="signal")
def list_complaints(
    ctx: Context,
    *,
    component: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ComplaintView]:
    """List complaints, newest first; `component` is any part of its name."""
    with ctx.connection() as conn:
        return reading.complaints(conn, component=component, limit=limit, offset=offset)


@route("GET", "/quarantine", role=Role.VIEWER, tag="signal")
def list_quarantine(
    ctx: Context,
    *,
    source: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[QuarantineView]:
    """List what could not be read, and why."""
    with ctx.connection() as conn:
        return reading.quarantined(conn, source=source, limit=limit, offset=offset)


router = Router("/", route_handlers=[list_complaints, list_quarantine])
