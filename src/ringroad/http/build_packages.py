"""Build: software packages, uploaded as images."""

from __future__ import annotations

from litestar import Router

from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context
from ringroad.http.routes import Id, Limit, Name, Offset, route
from ringroad.http.views_build import PackageView


@route("GET", "/packages", role=Role.VIEWER, tag="build")
def list_packages(
    ctx: Context,
    *,
    programme_id: Name = None,
    ecu: Name = None,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[PackageView]:
    """List software packages, newest first."""
    with ctx.connection() as conn:
        return reading.packages(conn, programme_id=programme_id, ecu=ecu, limit=limit, offset=offset)


@route("GET", "/packages/{package_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_package(ctx: Context, *, package_id: Id) -> PackageView:
    """Read a package and what was read from its image."""
    with ctx.connection() as conn:
        return reading.one(reading.packages(conn, package_id=package_id), f"package {package_id}")


router = Router("/", route_handlers=[list_packages, get_package])
