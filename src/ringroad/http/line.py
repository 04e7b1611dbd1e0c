"""Build: what a running plant line asks: who enters, what is flashed, the bytes of an image."""

from __future__ import annotations

import msgspec
from litestar import Router
from litestar.params import JSONBody
from litestar.response import Stream

from ringroad.build import store, store_packages, store_plant
from ringroad.http import reading, site_births
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.routes import Done, Go, Id, Req, route
from ringroad.http.views_build import PackageView
from ringroad.kernel.errors import NotFound


class LineBaseline(msgspec.Struct, frozen=True, kw_only=True):
    """What the end of the line flashes onto one variant."""

    programme_id: str
    variant: str
    release_id: str
    packages: list[PackageView]


@route("POST", "/orders/{order_id:str}/start", role=Role.OPERATOR, tag="build", errors=[404, 409])
def start_order(ctx: Ctx, request: Req, order_id: Id, data: JSONBody[Go]) -> Done:
    """Note that a car entered the line; 409 if its order is not open any more."""
    del data
    with ctx.transaction() as conn:
        store_plant.start_order(
            conn, ctx.ids, order_id=order_id, actor=request.user.name, now=ctx.clock.now()
        )
    return Done(id=order_id, state="building")


@route("POST", "/orders/{order_id:str}/reopen", role=Role.OPERATOR, tag="build", errors=[404, 409])
def reopen_order(ctx: Ctx, request: Req, order_id: Id, data: JSONBody[Go]) -> Done:
    """Put an order back whose car left the line unfinished."""
    del data
    with ctx.transaction() as conn:
        store_plant.reopen_order(
            conn, ctx.ids, order_id=order_id, actor=request.user.name, now=ctx.clock.now()
        )
    return Done(id=order_id, state="open")


@route(
    "GET",
    "/programmes/{programme_id:str}/baseline/{variant:str}",
    role=Role.VIEWER,
    tag="build",
    errors=[404],
)
def get_line_baseline(ctx: Ctx, *, programme_id: Id, variant: Id) -> LineBaseline:
    """Return what the line flashes onto a variant now: a package for each ECU.

    At a site only while what it holds of its hub's word has not ended; the line stands until then.
    """
    with ctx.transaction() as conn:
        site_births.may_flash(ctx, conn, programme_id)
        baseline = store.get_baseline(conn, programme_id)
        packages = store.baseline_targets(conn, programme_id, variant)
        if baseline is None:
            raise NotFound(f"the line of {programme_id} has no baseline")
        views = [
            reading.one(reading.packages(conn, package_id=package.id), f"package {package.id}")
            for package in packages.values()
        ]
    return LineBaseline(
        programme_id=programme_id, variant=variant, release_id=baseline.release_id, packages=views
    )


@route("GET", "/packages/{package_id:str}/image", role=Role.VIEWER, tag="build", errors=[404])
def get_image(ctx: Ctx, *, package_id: Id) -> Stream:
    """Download a package's image as it was uploaded."""
    with ctx.connection() as conn:
        package = store_packages.get_package(conn, package_id)
    if not ctx.blobs.exists(package.image_sha256):
        raise NotFound(
            "the image is not in the blob store", hint="restore it from a backup, or upload it again"
        )
    return Stream(ctx.blobs.read(package.image_sha256), media_type="application/octet-stream")


router = Router("/", route_handlers=[start_order, reopen_order, get_line_baseline, get_image])
