"""Build: software packages, uploaded as images."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from anyio import to_thread
from litestar import Router
from litestar.params import Parameter, QueryParameter

from ringroad.build import store_images, store_packages
from ringroad.build.images import read_image
from ringroad.build.model import Requirement
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import NAME_PATTERN, Id, Limit, Name, Offset, Req, route
from ringroad.http.uploads import spooled
from ringroad.http.views_build import AddedPackageView, PackageView
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import IMAGE_BYTES_MAX
from ringroad.storage.db import connect, transaction

Wanted = Annotated[str, Parameter(pattern=NAME_PATTERN, min_length=1, max_length=200)]
Counter = Annotated[int | None, Parameter(ge=0, le=2**31 - 1)]
Neighbours = Annotated[
    str | None,
    Parameter(
        pattern=r"^[A-Za-z0-9_\-]+[<>=!~].*$", max_length=2000, description="ecu>=1.2,<2; separated by ;"
    ),
]
Format = Annotated[
    Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"] | None, QueryParameter(name="format")
]


@route("GET", "/packages", role=Role.VIEWER, tag="build")
def list_packages(
    ctx: Ctx,
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
def get_package(ctx: Ctx, *, package_id: Id) -> PackageView:
    """Read a package and what was read from its image."""
    with ctx.connection() as conn:
        return reading.one(reading.packages(conn, package_id=package_id), f"package {package_id}")


class PackageInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of an image besides its bytes."""

    programme_id: str
    ecu: str
    name: str
    version: str | None
    filename: str | None
    release_counter: int | None
    declared_format: str | None
    requires: str | None
    conflicts: str | None
    upgrades_from: str | None
    change_id: str | None


@route(
    "POST", "/packages", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 413, 422],
    body_bytes_max=IMAGE_BYTES_MAX, upload="application/octet-stream",
)  # fmt: skip
async def add_package(
    ctx: Ctx,
    request: Req,
    *,
    programme_id: Wanted,
    ecu: Wanted,
    name: Wanted,
    version: Name = None,
    filename: Name = None,
    release_counter: Counter = None,
    image_format: Format = None,
    requires: Neighbours = None,
    conflicts: Neighbours = None,
    upgrades_from: Annotated[
        str | None,
        Parameter(
            pattern=r"^[<>=!*].*$",
            max_length=200,
            description="versions that it may be installed over: >=1.2,<2",
        ),
    ] = None,
    change_id: Name = None,
) -> AddedPackageView:
    """Upload an image, streamed; its version, addresses and hash are read from it where its format has them."""
    info = PackageInfo(
        programme_id=programme_id, ecu=ecu, name=name, version=version, filename=filename,
        release_counter=release_counter, declared_format=image_format, requires=requires,
        conflicts=conflicts, upgrades_from=upgrades_from, change_id=change_id,
    )  # fmt: skip
    async with spooled(ctx, request, bytes_max=IMAGE_BYTES_MAX) as path:
        return await to_thread.run_sync(partial(_add, ctx, path, info, request.user.name))


def _add(ctx: Context, path: Path, info: PackageInfo, actor: str) -> AddedPackageView:
    started = ctx.clock.now()
    image = read_image(path, declared_format=info.declared_format)
    requires, conflicts = (
        [parse_requirement(item) for item in (text or "").split(";") if item.strip()]
        for text in (info.requires, info.conflicts)
    )
    add = partial(
        store_packages.add_package, ids=ctx.ids, programme_id=info.programme_id, ecu=info.ecu, name=info.name,
        image=image, actor=actor, now=ctx.clock.now(), version=info.version, filename=info.filename,
        release_counter=info.release_counter, requires=requires, conflicts=conflicts,
        upgrades_from=info.upgrades_from or "*", change_id=info.change_id, work_started_at=started,
    )  # fmt: skip
    # A connection of its own: storing takes as long as the store does, and the pool is for those who do not wait.
    with connect(ctx.settings.database_url) as conn, store_images.storing(conn):
        with transaction(conn), conn.transaction(force_rollback=True):
            add(conn)  # and taken back: whatever refuses the package does so before its image is stored
        ctx.blobs.put_file(path, expected_sha256=image.sha256)
        with transaction(conn):
            made = add(conn)
            view = reading.one(reading.packages(conn, package_id=made.id), f"package {made.id}")
            alike = store_packages.packages_alike(conn, made.programme_id, [made])
    same = [each.version for each in alike if each.ecu == made.ecu and each.id != made.id]
    return AddedPackageView(**msgspec.structs.asdict(view), same_bytes_as=same)


def parse_requirement(text: str) -> Requirement:
    """Read ``"gateway>=1.2,<2"``.

    Raises:
        InvalidInput: there is no ECU or no range.
    """
    match = re.fullmatch(r"\s*([A-Za-z0-9_-]+)\s*([<>=!~].*)", text)
    if match is None:
        raise InvalidInput(f"{text[:80]!r} is no requirement", hint="for example gateway>=1.2,<2")
    return Requirement(ecu=match[1], range=match[2].strip())


router = Router("/", route_handlers=[list_packages, get_package, add_package])
