"""Build: programmes, releases, the line."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import Id, InState, Limit, Name, Offset, route
from ringroad.http.views_build import BlockedOption, OrderView, ProgrammeView, ReleaseView, ScheduleView


@route("GET", "/programmes", role=Role.VIEWER, tag="build")
def list_programmes(
    ctx: Context,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ProgrammeView]:
    """List vehicle programmes."""
    with ctx.connection() as conn:
        return reading.programmes(conn, limit=limit, offset=offset)


@route("GET", "/programmes/{programme_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_programme(ctx: Context, *, programme_id: Id) -> ProgrammeView:
    """Read a programme."""
    with ctx.connection() as conn:
        return reading.one(reading.programmes(conn, programme_id=programme_id), f"programme {programme_id}")


@route("GET", "/releases", role=Role.VIEWER, tag="build")
def list_releases(
    ctx: Context,
    *,
    programme_id: Name = None,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ReleaseView]:
    """List releases, newest first."""
    with ctx.connection() as conn:
        return reading.releases(conn, programme_id=programme_id, state=in_state, limit=limit, offset=offset)


@route("GET", "/releases/{release_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_release(ctx: Context, *, release_id: Id) -> ReleaseView:
    """Read a release with the findings of its last check."""
    with ctx.connection() as conn:
        return reading.one(reading.releases(conn, release_id=release_id), f"release {release_id}")


@route("GET", "/orders", role=Role.VIEWER, tag="build")
def list_orders(
    ctx: Context,
    *,
    programme_id: Name = None,
    in_state: InState = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[OrderView]:
    """List orders, newest first."""
    with ctx.connection() as conn:
        return reading.orders(conn, programme_id=programme_id, state=in_state, limit=limit, offset=offset)


@route("GET", "/programmes/{programme_id:str}/schedules", role=Role.VIEWER, tag="build")
def list_schedules(ctx: Context, *, programme_id: Id, limit: Limit = 20) -> list[ScheduleView]:
    """List line schedules of a programme; the first is current."""
    with ctx.connection() as conn:
        return reading.schedules(conn, programme_id, limit=limit)


@route("GET", "/programmes/{programme_id:str}/blocked-options", role=Role.VIEWER, tag="build")
def list_blocked_options(ctx: Context, *, programme_id: Id) -> list[BlockedOption]:
    """List options that the line cannot build now."""
    with ctx.connection() as conn:
        return reading.blocked_options(conn, programme_id)


router = Router(
    "/",
    route_handlers=[
        list_programmes, get_programme, list_releases, get_release, list_orders, list_schedules, list_blocked_options,
    ],
)  # fmt: skip
