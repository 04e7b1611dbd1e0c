"""Programmes and packages in PostgreSQL; `store.py` has releases and offers all of it.

The caller opens the transaction.

Invariant: a package's version, counter and digests are what its image says; its bytes lie under its sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.types.json import Jsonb

from ringroad.build.artifact_signature import (
    RegisteredKey,
    judge_signature,
    loosened,
    require_mender,
    require_signature,
)
from ringroad.build.images.facts import ImageFacts
from ringroad.build.model import Ecu, Package, Programme, Requirement
from ringroad.build.plant.line import check_line_of, with_line
from ringroad.build.plant.model import Plant
from ringroad.build.plant.read import plant_from_document
from ringroad.build.programme import read_programme
from ringroad.build.rows import package_of
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.versions import parse_range, parse_version
from ringroad.storage.db import Connection, expect_one, load_queries
from ringroad.storage.ledger import append_fact, causes_of, latest_fact
from ringroad.trust.artifact_keys import ArtifactKey

SQL = load_queries("ringroad.build")

NAME_CHARS_MAX: Final = 200
REQUIRES_MAX: Final = 64
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,150}")
_SUFFIX: Final = {
    "bin": "bin",
    "ihex": "hex",
    "srec": "srec",
    "mcuboot": "mcuboot.bin",
    "swu": "swu",
    "mender": "mender",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProgramme:
    """A programme as imported."""

    programme: Programme
    digest: str  # sha256 of the source
    source: str
    generation: int
    imported_at: datetime
    plant: Plant | None = None  # whose line builds it here; None: the file says it

    @property
    def plant_id(self) -> str | None:
        """The plant's id, if a plant document says the line."""
        return self.plant.id if self.plant else None


# Programmes ----------------------------------------------------------------------------------------


def import_programme(
    conn: Connection,
    ids: Ids,
    *,
    source: str,
    actor: str,
    now: datetime,
    generation: int | None = None,
    may_loosen: bool = True,
) -> StoredProgramme:
    """Import `programme.toml`; the same content twice changes nothing.

    Args:
        conn: a connection in a transaction.
        ids: makes the fact's id.
        source: the file's text.
        actor: who imports.
        now: when.
        generation: the one this file was edited from; needed to replace other content.
        may_loosen: whether the actor may change who signs for an ECU.

    Raises:
        InvalidInput: the file has problems,
            or the plant that builds it here could not any more.
        Conflict: another content is stored, or vehicles on the road would lose their variant or ECU.
        Forbidden: it changes who signs for an ECU, and the actor may not.
    """
    programme = read_programme(source)
    digest = hashlib.sha256(source.encode()).hexdigest()
    new: dict[str, Any] = {
        "programme_id": programme.id,
        "digest": digest,
        "source": source,
        "document": Jsonb(programme.to_document()),
        "now": now,
    }
    if SQL.insert_programme(conn, **new) == 0:
        stored = get_programme(conn, programme.id)
        if stored.digest == digest:
            return stored
        if generation is None:
            raise Conflict(
                f"programme {programme.id} exists with other content",
                hint=f"to replace it, pass its generation, {stored.generation}",
            )
        if generation != stored.generation:  # so that what is compared below is what is replaced
            expect_one(0, f"programme {programme.id}")
        change = loosened(stored.programme, programme, good_keys(conn, programme.id))
        if change is not None and not may_loosen:
            raise Forbidden(change, hint="an approver imports this file")
        _keep_the_road(conn, programme)
        if stored.plant is not None:
            check_line_of(stored.plant, programme)
        expect_one(SQL.update_programme(conn, generation=generation, **new), f"programme {programme.id}")
    append_fact(
        conn,
        ids,
        kind=FactKind.PROGRAMME_IMPORTED,
        subject=programme.id,
        actor=actor,
        now=now,
        causes=causes_of(conn, [(FactKind.PROGRAMME_IMPORTED, programme.id)]),
        body={"digest": digest, "variants": len(programme.variants), "ecus": len(programme.ecus)},
    )
    return get_programme(conn, programme.id)


def get_programme(conn: Connection, programme_id: str) -> StoredProgramme:
    """Return a programme. Raises: NotFound."""
    row = SQL.programme(conn, programme_id=programme_id)
    if row is None:
        raise NotFound(f"there is no programme {programme_id!r}", hint="ringroad programme list")
    return _programme(row)


def list_programmes(conn: Connection) -> list[StoredProgramme]:
    """Return all programmes by id."""
    return [_programme(row) for row in SQL.programmes(conn, rows_max=PAGE_ROWS_MAX)]


# Packages ------------------------------------------------------------------------------------------


def release_of_version(
    conn: Connection, programme_id: str, version: str, *, document: Mapping[str, Any]
) -> str | None:
    """Return the id of the release that has this version and says the same; None where there is none of it.

    Raises:
        Conflict: a release of this version says something else.
    """
    row = SQL.release_of_version(conn, programme_id=programme_id, version=version)
    if row is not None and row["document"] != document:
        raise Conflict(
            f"release {version} of {programme_id} exists with other content",
            hint="give what is imported another version",
        )
    return None if row is None else str(row["id"])


def add_package(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    ecu: str,
    name: str,
    image: ImageFacts,
    actor: str,
    now: datetime,
    version: str | None = None,
    filename: str | None = None,
    hardware_ids: Sequence[str] | None = None,
    release_counter: int | None = None,
    requires: Sequence[Requirement] = (),
    conflicts: Sequence[Requirement] = (),
    upgrades_from: str = "*",
    change_id: str | None = None,
    lap_id: str | None = None,
    work_started_at: datetime | None = None,
) -> Package:
    """Add a software package whose image the shell has put into the blob store under its sha256.

    Version and release counter are the image's own, if any; what is typed must agree. The same twice changes nothing.

    Raises:
        NotFound: no such programme or ECU.
        InvalidInput: no version, a value that contradicts the image, a range that cannot be read, no Mender artifact.
        Untrusted: a Mender artifact that must be signed, and is not by a registered key.
        Conflict: this version of this ECU exists with another image.
    """
    programme = get_programme(conn, programme_id).programme
    if ecu not in programme.ecus:
        raise NotFound(f"programme {programme_id} has no ECU {ecu!r}")
    if not 0 < len(name) <= NAME_CHARS_MAX:
        raise InvalidInput(f"a package name has 1 to {NAME_CHARS_MAX} characters")
    version = _agree("version", version, image.version)
    if version is None:
        raise InvalidInput(f"a {image.format} image has no version of its own", hint="give one")
    parse_version(version)
    counter = _agree("release_counter", release_counter, image.security_counter)
    _check_ranges(ecu, requires, conflicts, upgrades_from)
    filename = filename or f"{programme_id}-{ecu}-{version}.{_SUFFIX[image.format]}"
    if not _FILENAME.fullmatch(filename):
        raise InvalidInput(
            f"{filename[:200]!r} is no filename", hint="letters, digits and . _ + -, up to 151"
        )
    _check_artifact(conn, image, programme.ecus[ecu], programme_id)
    fits = hardware_ids if hardware_ids is not None else [programme.ecus[ecu].hardware_id]
    package_id = ids.new("pkg")
    rows = SQL.insert_package(
        conn, id=package_id, programme_id=programme_id, ecu=ecu, name=name, version=version, filename=filename,
        format=image.format, hardware_ids=list(fits), image_sha256=image.sha256, image_sha512=image.sha512,
        image_bytes=image.file_bytes, release_counter=counter or 0, facts=Jsonb(image.to_document()),
        requires=_jsonb(requires), conflicts=_jsonb(conflicts), upgrades_from=upgrades_from, now=now,
    )  # fmt: skip
    if rows == 0:
        stored = package_of(SQL.package_of_version(conn, programme_id=programme_id, ecu=ecu, version=version))
        if stored.image_sha256 != image.sha256:
            raise Conflict(
                f"{ecu} {version} exists with another image", hint="give the new image a new version"
            )
        return stored
    append_fact(
        conn, ids, kind=FactKind.PACKAGE_ADDED, subject=package_id, actor=actor, now=now,
        lap_id=lap_of(conn, change_id, lap_id), work_started_at=work_started_at,
        causes=causes_of(conn, [(FactKind.CHANGE_APPROVED, change_id), (FactKind.PROGRAMME_IMPORTED, programme_id)]),
        body={"ecu": ecu, "version": version, "sha256": image.sha256, "format": image.format},
    )  # fmt: skip
    return get_package(conn, package_id)


def get_package(conn: Connection, package_id: str) -> Package:
    """Return a package. Raises: NotFound."""
    row = SQL.package(conn, package_id=package_id)
    if row is None:
        raise NotFound(f"there is no package {package_id!r}")
    return package_of(row)


def list_packages(
    conn: Connection,
    *,
    programme_id: str | None = None,
    ecu: str | None = None,
    after_id: str = "",
    rows_max: int = PAGE_ROWS_MAX,
) -> list[Package]:
    """Return packages by id, oldest first, one page."""
    rows = SQL.packages(
        conn, programme_id=programme_id, ecu=ecu, after_id=after_id, rows_max=min(rows_max, PAGE_ROWS_MAX)
    )
    return [package_of(row) for row in rows]


# For the other stores of this stage -------------------------------------------------------------


def good_keys(conn: Connection, programme_id: str) -> list[RegisteredKey]:
    """Return the keys that artifacts of a programme may be signed with now."""
    rows = SQL.artifact_keys(conn, programme_id=programme_id, only_good=True, rows_max=PAGE_ROWS_MAX)
    return [
        RegisteredKey(
            id=row["id"], name=row["name"], supplier=row["supplier"],
            key=ArtifactKey(sha256=row["sha256"], kind=row["kind"], pem=row["pem"]),
        )
        for row in rows
    ]  # fmt: skip


def packages_by_id(conn: Connection, package_ids: Sequence[str]) -> dict[str, Package]:
    """Return packages by id; unknown ids are absent."""
    rows = SQL.packages_by_id(conn, package_ids=list(package_ids))
    return {row["id"]: package_of(row) for row in rows}


def packages_alike(conn: Connection, programme_id: str, packages: Iterable[Package]) -> list[Package]:
    """Return the programme's packages of the same images, themselves included."""
    sha256s = sorted({each.image_sha256 for each in packages})
    rows = SQL.packages_of_images(conn, programme_id=programme_id, sha256s=sha256s)
    return [package_of(row) for row in rows]


def lap_of(conn: Connection, change_id: str | None, lap_id: str | None) -> str | None:
    """Return the lap given, else the one its approved change belongs to."""
    if lap_id is not None or change_id is None:
        return lap_id
    approved = latest_fact(conn, kind=FactKind.CHANGE_APPROVED, subject=change_id)
    return approved.lap_id if approved else None


# Helpers ---


def _programme(row: Mapping[str, Any]) -> StoredProgramme:
    programme = Programme.from_document(row["document"])
    plant = plant_from_document(row["plant"], what=f"plant {row['plant_id']}") if row["plant"] else None
    return StoredProgramme(
        programme=with_line(programme, plant) if plant else programme,
        plant=plant,
        digest=row["digest"],
        source=row["source"],
        generation=row["generation"],
        imported_at=row["imported_at"],
    )


def _keep_the_road(conn: Connection, programme: Programme) -> None:
    """Refuse a programme that no longer describes vehicles on the road."""
    for row in SQL.ecus_on_the_road(conn, programme_id=programme.id):
        variant = programme.variants.get(row["variant"])
        ecu = programme.ecus.get(row["name"])
        if variant is None or ecu is None or row["name"] not in variant.ecus:
            raise Conflict(f"vehicles on the road have {row['variant']}/{row['name']}, which the file drops")
        if ecu.hardware_id != row["hardware_id"]:
            raise Conflict(
                f"vehicles on the road have hardware {row['hardware_id']!r} as {row['name']}, the file says {ecu.hardware_id!r}",
                hint="give the new hardware a new ECU name",
            )


def _check_artifact(conn: Connection, image: ImageFacts, ecu: Ecu, programme_id: str) -> None:
    """Refuse a Mender artifact for other devices, as its client would on every vehicle, or one that nobody signed."""
    require_mender(image.format, ecu=ecu)
    if image.format != "mender":
        return
    wanted = (image.details.get("depends") or {}).get("device_type") or []
    types = [wanted] if isinstance(wanted, str) else list(wanted)
    if types and ecu.hardware_id not in types:
        raise InvalidInput(
            f"the artifact is for device type {', '.join(types)[:200]}, ECU {ecu.name} has hardware {ecu.hardware_id!r}",
            hint="name the ECU that it is for, or write the device type as hardware_id into programme.toml",
            code="wrong_hardware",
        )
    require_signature(judge_signature(image.details, good_keys(conn, programme_id), ecu=ecu), ecu=ecu)


def _check_ranges(
    ecu: str, requires: Sequence[Requirement], conflicts: Sequence[Requirement], upgrades_from: str
) -> None:
    if len(requires) + len(conflicts) > REQUIRES_MAX:
        raise InvalidInput(
            f"{len(requires) + len(conflicts)} requirements and conflicts, limit {REQUIRES_MAX}"
        )
    for each in (*requires, *conflicts):
        parse_range(each.range)
    if any(each.ecu == ecu for each in conflicts):
        raise InvalidInput(
            f"a package of {ecu} cannot conflict with {ecu}", hint="say what it upgrades from instead"
        )
    parse_range(upgrades_from)


def _jsonb(items: Sequence[Requirement]) -> Jsonb:
    return Jsonb([{"ecu": item.ecu, "range": item.range} for item in items])


def _agree(name: str, typed: Any, own: Any) -> Any:
    if typed is not None and own is not None and typed != own:
        raise InvalidInput(
            f"{name} {typed!r} was given, but the image says {own!r}",
            code=f"{name}_mismatch",
            hint="leave it out: the image's own is taken",
        )
    return own if own is not None else typed
