"""Build: what another update server qualified becomes packages and a draft, in one call; and who may sign it.

`look` says what a body would become and what is refused, and stores nothing; the import itself does all of it or nothing.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
from anyio import to_thread
from litestar import Router
from litestar.params import JSONBody, QueryParameter
from msgspec import Meta

from ringroad.build import store, store_artifact_keys, store_images, store_packages
from ringroad.build.artifact_signature import RegisteredKey, judge_signature, policy_of
from ringroad.build.importing import Found, Part, read_upload
from ringroad.build.model import Ecu, Programme
from ringroad.build.release_shape import document_of_packages
from ringroad.http import reading
from ringroad.http.auth import Role
from ringroad.http.build_packages import Wanted
from ringroad.http.context import Context, Ctx
from ringroad.http.routes import NAME_PATTERN, Command, Done, Id, Name, Ref, Req, Title, route
from ringroad.http.uploads import copied, spooled
from ringroad.http.views_build import PackageView, ReleaseView
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError, Untrusted
from ringroad.kernel.limits import ECUS_MAX, IMAGE_BYTES_MAX, PUBLIC_KEY_CHARS_MAX
from ringroad.storage.db import Connection, connect, transaction

UPLOAD_TYPE = "application/octet-stream"

Ecus = Annotated[
    list[str] | None,
    QueryParameter(
        name="ecu",
        max_items=ECUS_MAX,
        description="MODULE=ECU, once for each module; or one ECU. Without it: the only ECU that speaks DDI",
    ),
]


PackagesOnly = Annotated[bool, QueryParameter(name="packages_only", description="Make no release")]


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """Why something is not taken."""

    kind: str
    code: str
    message: str
    hint: str


class ImportedPart(msgspec.Struct, frozen=True, kw_only=True):
    """One file that came: what was read from it, what it becomes, or why it is refused."""

    module: str
    filename: str
    bytes: int | None
    sha256: str | None
    format: str | None
    ecu: str | None
    version: str | None
    signature: str | None  # of a Mender artifact, in words
    signature_policy: str | None
    refused: Refused | None


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """What a body holds and would become."""

    kind: str  # hawkbit, mender
    name: str
    version: str | None
    sha256: str
    parts: list[ImportedPart]
    refused: Refused | None  # why no release is made of it, where each file may be taken


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What was made."""

    kind: str
    packages: list[PackageView]
    release: ReleaseView | None
    already_there: bool  # nothing was made: the same was imported before


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked besides the bytes."""

    programme_id: str
    ecus: tuple[str, ...]
    name: str | None
    version: str | None
    packages_only: bool
    actor: str
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An upload that was read, and where it goes."""

    ctx: Context
    conn: Connection
    wish: Wish
    programme: Programme
    found: Found


class NewArtifactKey(Command, frozen=True, kw_only=True):
    """A public key, and whose artifacts it may sign."""

    programme_id: Ref
    name: Title
    public_key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=PUBLIC_KEY_CHARS_MAX,
            pattern=NAME_PATTERN,
            description="PEM: RSA, or ECDSA on P-256",
        ),
    ]
    supplier: Annotated[
        str, Meta(max_length=100, pattern=NAME_PATTERN, description="Of the ECUs; empty: every supplier")
    ] = ""


class ArtifactKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key that artifacts are, or were, signed with."""

    id: str
    programme_id: str
    supplier: str
    name: str
    kind: str
    sha256: str
    pem: str
    added_by: str
    added_at: datetime
    revoked_by: str | None
    revoked_at: datetime | None


@route(
    "POST", "/imports/look", role=Role.OPERATOR, tag="build", errors=[404, 413, 422],
    body_bytes_max=IMAGE_BYTES_MAX, upload=UPLOAD_TYPE,
)  # fmt: skip
async def look_at_import(
    ctx: Ctx,
    request: Req,
    *,
    programme_id: Wanted,
    ecus: Ecus = None,
    name: Name = None,
    version: Name = None,
    packages_only: PackagesOnly = False,
) -> Looked:
    """Say what a Mender artifact, or a tar of a hawkBit distribution set and its files, would become; store nothing."""
    wish = _wish(
        ctx, request, ecus, programme_id=programme_id, name=name, version=version, packages_only=packages_only
    )
    async with spooled(ctx, request, bytes_max=IMAGE_BYTES_MAX) as path:
        return await to_thread.run_sync(partial(_look, ctx, path, wish))


@route(
    "POST", "/imports", role=Role.OPERATOR, tag="build", status=201, errors=[404, 409, 413, 422],
    body_bytes_max=IMAGE_BYTES_MAX, upload=UPLOAD_TYPE,
)  # fmt: skip
async def import_release(
    ctx: Ctx,
    request: Req,
    *,
    programme_id: Wanted,
    ecus: Ecus = None,
    name: Name = None,
    version: Name = None,
    packages_only: PackagesOnly = False,
) -> Imported:
    """Make packages and a draft out of a Mender artifact, or a tar of a hawkBit distribution set and its files."""
    wish = _wish(
        ctx, request, ecus, programme_id=programme_id, name=name, version=version, packages_only=packages_only
    )
    async with spooled(ctx, request, bytes_max=IMAGE_BYTES_MAX) as path:
        return await to_thread.run_sync(partial(_import, ctx, path, wish))


@route("GET", "/artifact-keys", role=Role.VIEWER, tag="build")
def list_artifact_keys(ctx: Ctx, *, programme_id: Name = None) -> list[ArtifactKeyView]:
    """List the keys that artifacts are signed with, newest first; revoked ones too."""
    with ctx.connection() as conn:
        return artifact_keys(conn, programme_id=programme_id)


@route("POST", "/artifact-keys", role=Role.APPROVER, tag="build", status=201, errors=[404, 409, 422])
def add_artifact_key(ctx: Ctx, request: Req, data: JSONBody[NewArtifactKey]) -> Done:
    """Register a public key: what it signs may become packages of a programme, or of one supplier's ECUs in it."""
    with ctx.transaction() as conn:
        key_id = store_artifact_keys.add_key(
            conn, ctx.ids, programme_id=data.programme_id, supplier=data.supplier, name=data.name,
            pem=data.public_key, actor=request.user.name, now=ctx.clock.now(),
        )  # fmt: skip
    return Done(id=key_id, state="good")


@route("DELETE", "/artifact-keys/{key_id:str}", role=Role.APPROVER, tag="build", errors=[404])
def revoke_artifact_key(ctx: Ctx, request: Req, *, key_id: Id) -> Done:
    """End a key: nothing that it signed becomes a package, or passes a release's check, any more."""
    with ctx.transaction() as conn:
        store_artifact_keys.revoke_key(
            conn, ctx.ids, key_id=key_id, actor=request.user.name, now=ctx.clock.now()
        )
    return Done(id=key_id, state="revoked")


def artifact_keys(conn: Connection, *, programme_id: str | None = None) -> list[ArtifactKeyView]:
    """Return all keys; for the API and for the console."""
    return msgspec.convert(
        store_artifact_keys.list_keys(conn, programme_id=programme_id), list[ArtifactKeyView]
    )


def _wish(ctx: Context, request: Req, ecus: list[str] | None, **asked: Any) -> Wish:
    if any("\0" in word for word in ecus or ()):
        raise InvalidInput("an ECU's name has a NUL character")
    return Wish(ecus=tuple(ecus or ()), actor=request.user.name, now=ctx.clock.now(), **asked)


@contextmanager
def _work(ctx: Context, path: Path, wish: Wish) -> Iterator[Work]:
    """Read an upload; its parts are views of the file, which is mapped and not loaded."""
    # A connection of its own: storing takes as long as the store does, and the pool is for those who do not wait.
    with connect(ctx.settings.database_url) as conn:
        programme = store_packages.get_programme(conn, wish.programme_id).programme
        speaking = sorted(name for name, ecu in programme.ecus.items() if ecu.agent == "ddi")
        with path.open("rb") as file:
            # Not closed by hand: parts, and the traceback of a refusal, are views of it.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        found = read_upload(memoryview(mapped), ecus=wish.ecus, speaking=speaking)
        yield Work(ctx=ctx, conn=conn, wish=wish, programme=programme, found=found)


def _look(ctx: Context, path: Path, wish: Wish) -> Looked:
    with _work(ctx, path, wish) as work:
        conn, found, programme = work.conn, work.found, work.programme
        keys = store_packages.good_keys(conn, programme.id)
        with transaction(conn), conn.transaction(force_rollback=True):
            tried = [_try(conn, partial(_add, work, part)) for part in found.parts]
            whole = None
            if not any(error for _, error in tried) and not wish.packages_only:
                made = {
                    part.ecu or "": str(added) for part, (added, _) in zip(found.parts, tried, strict=True)
                }
                _, whole = _try(conn, partial(_release, work, made))
        parts = [
            _shown(part, error, programme.ecus.get(part.ecu or ""), keys, wish)
            for part, (_, error) in zip(found.parts, tried, strict=True)
        ]
        return Looked(
            kind=found.kind, name=found.name, version=found.version, sha256=found.sha256, parts=parts,
            refused=_refused(whole),
        )  # fmt: skip


def _shown(
    part: Part, error: RingroadError | None, ecu: Ecu | None, keys: list[RegisteredKey], wish: Wish
) -> ImportedPart:
    image, signature, policy = part.image, None, None
    if image is not None and image.format == "mender" and ecu is not None:
        signature, policy = judge_signature(image.details, keys, ecu=ecu).sentence, policy_of(ecu)
    return ImportedPart(
        module=part.module, filename=part.filename, ecu=part.ecu,
        bytes=None if part.content is None else len(part.content), sha256=image.sha256 if image else None,
        format=image.format if image else None, version=part.version or wish.version, signature=signature,
        signature_policy=policy, refused=_refused(error),
    )  # fmt: skip


def _import(ctx: Context, path: Path, wish: Wish) -> Imported:
    with _work(ctx, path, wish) as work, store_images.storing(work.conn):
        conn = work.conn
        with transaction(conn), conn.transaction(force_rollback=True):
            _make(work)  # and taken back: whatever refuses it does so before anything is stored
        for part in work.found.parts:
            if part.content is not None and part.image is not None:
                with copied(ctx, part.content) as copy:
                    ctx.blobs.put_file(copy, expected_sha256=part.image.sha256)
        with transaction(conn):
            made, release_id = _make(work)
            packages = [
                reading.one(reading.packages(conn, package_id=each), f"package {each}")
                for each in made.values()
            ]
            releases = reading.releases(conn, release_id=release_id) if release_id else []
    made_at = [*(each.added_at for each in packages), *(each.created_at for each in releases)]
    return Imported(
        kind=work.found.kind, packages=packages, release=releases[0] if releases else None,
        already_there=all(at < wish.now for at in made_at),
    )  # fmt: skip


def _make(work: Work) -> tuple[dict[str, str], str | None]:
    made = {part.ecu or "": _add(work, part) for part in work.found.parts}
    return made, None if work.wish.packages_only else _release(work, made)


def _try(conn: Connection, act: Callable[[], str]) -> tuple[str | None, RingroadError | None]:
    try:
        with transaction(conn):
            return act(), None
    except (InvalidInput, NotFound, Conflict, Untrusted) as error:
        return None, error


def _add(work: Work, part: Part) -> str:
    programme, wish = work.programme, work.wish
    if part.error is not None:
        raise part.error
    if part.ecu is None or part.image is None:
        raise InvalidInput(f"no ECU is named for module {part.module!r}", code="no_ecu")
    if part.ecu not in programme.ecus:
        raise InvalidInput(f"programme {programme.id} has no ECU {part.ecu[:80]!r}", code="no_ecu")
    if part.version is None and wish.version is None:
        raise InvalidInput("the artifact says no version", hint="--version", code="no_version")
    own = part.image.version  # the image's own counts
    return store_packages.add_package(
        work.conn, work.ctx.ids, programme_id=programme.id, ecu=part.ecu, name=part.module, image=part.image,
        version=None if own is not None else (part.version or wish.version), actor=wish.actor, now=wish.now,
    ).id  # fmt: skip


def _release(work: Work, made: Mapping[str, str]) -> str:
    found, wish = work.found, work.wish
    version = wish.version or found.version
    if version is None:
        raise InvalidInput("the artifact says no version", hint="--version", code="no_version")
    document = document_of_packages(work.programme.to_document(), made, notes=found.origin)
    stored = store_packages.release_of_version(work.conn, work.programme.id, version, document=document)
    return stored or store.create_release(
        work.conn, work.ctx.ids, programme_id=work.programme.id, name=wish.name or found.name, version=version,
        document=document, actor=wish.actor, now=wish.now,
    ).id  # fmt: skip


def _refused(error: RingroadError | None) -> Refused | None:
    if error is None:
        return None
    return Refused(kind=error.kind, code=error.code, message=error.message, hint=error.hint)


router = Router(
    "/",
    route_handlers=[
        look_at_import,
        import_release,
        list_artifact_keys,
        add_artifact_key,
        revoke_artifact_key,
    ],
)
