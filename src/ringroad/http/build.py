"""Build: programmes and releases. Packages are in `build_packages.py`, the line in `plant.py`."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Router
from litestar.params import JSONBody
from msgspec import Meta

from ringroad.build import store, store_downgrade, store_packages
from ringroad.build.model import Package
from ringroad.build.repository import store as repository
from ringroad.build.store_replanned import replanned
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.context import Ctx
from ringroad.http.deltas import deltas_of
from ringroad.http.routes import (
    LONG_NAME_PATTERN,
    LONG_TEXT_PATTERN,
    Command,
    Generation,
    Go,
    Id,
    InState,
    Limit,
    Name,
    Offset,
    Ref,
    Req,
    Stop,
    Title,
    route,
)
from ringroad.http.views_build import DeltaView, ProgrammeView, ReleaseView
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.storage.db import Connection
from ringroad.trust.metadata import EcuRange, Terms
from ringroad.trust.sign import ImageTarget


@route("GET", "/programmes", role=Role.VIEWER, tag="build")
def list_programmes(
    ctx: Ctx,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
) -> list[ProgrammeView]:
    """List vehicle programmes."""
    with ctx.connection() as conn:
        return reading.programmes(conn, limit=limit, offset=offset)


@route("GET", "/programmes/{programme_id:str}", role=Role.VIEWER, tag="build", errors=[404])
def get_programme(ctx: Ctx, *, programme_id: Id) -> ProgrammeView:
    """Read a programme."""
    with ctx.connection() as conn:
        return reading.one(reading.programmes(conn, programme_id=programme_id), f"programme {programme_id}")


@route("GET", "/releases", role=Role.VIEWER, tag="build")
def list_releases(
    ctx: Ctx,
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
def get_release(ctx: Ctx, *, release_id: Id) -> ReleaseView:
    """Read a release with the findings of its last check."""
    with ctx.connection() as conn:
        return reading.one(reading.releases(conn, release_id=release_id), f"release {release_id}")


class NewProgramme(Command, frozen=True, kw_only=True):
    """A programme file as it is."""

    source: Annotated[str, Meta(min_length=1, max_length=1_000_000, pattern=LONG_TEXT_PATTERN)]
    generation: Generation = None


class NewRelease(Command, frozen=True, kw_only=True):
    """A release to create; the document names packages per variant, groups and checks."""

    programme_id: Ref
    name: Title
    version: Title
    document: dict[str, Any]
    change_id: Ref | None = None


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """Image Targets metadata for the offline keys to sign."""

    release_id: str
    payload: str  # the metadata file, unsigned
    needed: bool  # False: everything is published already


class Signature(Command, frozen=True, kw_only=True):
    """The signed metadata file; empty if nothing was pending."""

    signed: Annotated[str, Meta(max_length=METADATA_BYTES_MAX, pattern=LONG_NAME_PATTERN)]
    generation: Generation = None


@route("POST", "/programmes", role=Role.OPERATOR, tag="build", errors=[409, 422])
def import_programme(ctx: Ctx, request: Req, data: JSONBody[NewProgramme]) -> ProgrammeView:
    """Import a programme file; every problem is named with its line. A line that it makes another one replans.

    An approver imports one that changes who signs for an ECU: `mender_signature` loosened, another supplier.
    """
    with ctx.transaction() as conn, replanned(conn, ctx.ids, ctx.clock, actor=request.user.name):
        made = store_packages.import_programme(
            conn, ctx.ids, source=data.source, actor=request.user.name, now=ctx.clock.now(),
            generation=data.generation, may_loosen=request.user.may(Role.APPROVER),
        )  # fmt: skip
        programme_id = made.programme.id
        return reading.one(reading.programmes(conn, programme_id=programme_id), f"programme {programme_id}")


@route("POST", "/releases", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 422])
def create_release(ctx: Ctx, request: Req, data: JSONBody[NewRelease]) -> ReleaseView:
    """Create a release as a draft."""
    with ctx.transaction() as conn:
        made = store.create_release(
            conn, ctx.ids, programme_id=data.programme_id, name=data.name, version=data.version,
            document=data.document, actor=request.user.name, now=ctx.clock.now(), change_id=data.change_id,
        )  # fmt: skip
        return _release(conn, made.id)


@route("POST", "/releases/{release_id:str}/check", role=Role.OPERATOR, tag="build", errors=[404, 409])
def check_release(ctx: Ctx, request: Req, release_id: Id, data: JSONBody[Go]) -> ReleaseView:
    """Check a release as a whole; its findings are in the answer."""
    with ctx.transaction() as conn:
        generation = data.generation or store.get_release(conn, release_id).generation
        store.check_release(
            conn, ctx.ids, release_id=release_id, generation=generation, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
        return _release(conn, release_id)


@route(
    "POST",
    "/releases/{release_id:str}/approve-downgrade",
    role=Role.APPROVER,
    tag="build",
    errors=[404, 409, 422],
)
def approve_downgrade(ctx: Ctx, request: Req, release_id: Id, data: JSONBody[Go]) -> ReleaseView:
    """Approve that a checked release takes ECUs back to older software; never by whoever created it.

    Which image may go over which is fixed by this, and becomes part of what the offline keys sign.
    """
    with ctx.transaction() as conn:
        generation = data.generation or store.get_release(conn, release_id).generation
        store_downgrade.approve_downgrade(
            conn, ctx.ids, release_id=release_id, generation=generation, actor=request.user.name,
            now=ctx.clock.now(),
        )  # fmt: skip
        return _release(conn, release_id)


@route(
    "GET",
    "/releases/{release_id:str}/pending-targets",
    role=Role.APPROVER,
    tag="build",
    errors=[404, 409, 422],
)
def get_pending_targets(ctx: Ctx, release_id: Id) -> Pending:
    """Return what the offline keys must sign so that this release's images are published."""
    now = ctx.clock.now()
    with ctx.transaction() as conn:
        release = store.get_release(conn, release_id)
        packages = store_packages.packages_by_id(conn, release.package_ids)
        payload = repository.pending_targets(
            conn, packages=[_image(package) for package in packages.values()], now=now,
            downgrades=store_downgrade.decisions_to_publish(conn, release, now=now),
        )  # fmt: skip
    return Pending(release_id=release_id, payload=(payload or b"").decode(), needed=payload is not None)


@route(
    "POST", "/releases/{release_id:str}/signature", role=Role.APPROVER, tag="build", errors=[404, 409, 422]
)
def sign_release(ctx: Ctx, request: Req, release_id: Id, data: JSONBody[Signature]) -> ReleaseView:
    """Publish Image Targets that the offline keys signed, and mark the release as signed."""
    if ctx.load_signers is None:
        raise Conflict("this server has no online keys", hint="ringroad keys init")
    signers, now = ctx.load_signers(), ctx.clock.now()
    with ctx.transaction() as conn:
        release = store.get_release(conn, release_id)
        images = [_image(p) for p in store_packages.packages_by_id(conn, release.package_ids).values()]
        decided = store_downgrade.decisions_to_publish(conn, release, now=now)
        if data.signed:
            repository.accept_image_targets(conn, signers, data.signed.encode(), now=now)
        elif repository.pending_targets(conn, packages=images, now=now, downgrades=decided) is not None:
            raise InvalidInput("these images are not published yet", hint="sign the pending targets")
        # A valid signature is not enough: it may be of other images, even of those published long ago.
        version = repository.require_published(conn, images, release.downgrades)
        store.mark_signed(
            conn, ctx.ids, release_id=release_id, generation=data.generation or release.generation,
            actor=request.user.name, now=now, image_targets_version=version,
        )  # fmt: skip
        return _release(conn, release_id)


@route("POST", "/releases/{release_id:str}/withdraw", role=Role.APPROVER, tag="build", errors=[404, 409, 422])
def withdraw_release(ctx: Ctx, request: Req, release_id: Id, data: JSONBody[Stop]) -> ReleaseView:
    """Withdraw a release: no campaign and no line may take it any more."""
    with ctx.transaction() as conn:
        generation = data.generation or store.get_release(conn, release_id).generation
        store.withdraw(
            conn, ctx.ids, release_id=release_id, generation=generation, reason=data.reason,
            actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
        return _release(conn, release_id)


@route("GET", "/releases/{release_id:str}/deltas", role=Role.VIEWER, tag="build", errors=[404])
def list_deltas(ctx: Ctx, *, release_id: Id) -> list[DeltaView]:
    """List the deltas to a release's images that vehicles need, made or not; most needed first."""
    with ctx.connection() as conn:
        _release(conn, release_id)
        return deltas_of(conn, release_id, now=ctx.clock.now())


def _release(conn: Connection, release_id: str) -> ReleaseView:
    return reading.one(reading.releases(conn, release_id=release_id), f"release {release_id}")


def _image(package: Package) -> ImageTarget:
    return ImageTarget(
        filename=package.filename,
        length=package.image_bytes,
        sha256=package.image_sha256,
        sha512=package.image_sha512,
        hardware_ids=package.hardware_ids,
        release_counter=package.release_counter,
        terms=Terms(
            version=package.version,
            upgrades_from=package.upgrades_from,
            requires=[EcuRange(ecu=one.ecu, range=one.range) for one in package.requires],
            conflicts=[EcuRange(ecu=one.ecu, range=one.range) for one in package.conflicts],
        ),
    )


router = Router(
    "/",
    route_handlers=[
        list_programmes, get_programme, list_releases, get_release, list_deltas, import_programme, create_release,
        check_release, approve_downgrade, get_pending_targets, sign_release, withdraw_release,
    ],
)  # fmt: skip
