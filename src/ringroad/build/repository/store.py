"""Publishing: roots, Image Targets signed offline, and everything the online keys sign.

Reads and writes `repository_metadata`; decides nothing (`decide.py`) and holds no keys (signers are arguments).
The caller opens the transaction and appends its own fact (`release.signed`, `campaign.started`, ...).

Invariant: what stands in the table verifies against the newest root in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from securesystemslib.signer import Signer

from ringroad.build.repository.decide import (
    DIRECTOR_TARGETS_LIFETIME,
    IMAGE_TARGETS_LIFETIME,
    SNAPSHOT_LIFETIME,
    TIMESTAMP_LIFETIME,
    CurrentSet,
    Need,
    check_published,
    decide_need,
    director_content_changed,
    is_due,
    is_signed,
    merge_downgrades,
    merge_images,
)
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound, Untrusted
from ringroad.protocol.vehicle import VehiclePackage
from ringroad.storage.db import Connection, load_queries
from ringroad.trust import sign
from ringroad.trust.metadata import (
    Downgrade,
    File,
    RepositoryName,
    RoleName,
    Root,
    S,
    Snapshot,
    Targets,
    Timestamp,
    check_signatures,
    parse_file,
)
from ringroad.trust.sign import DirectorTarget, ImageTarget

SQL = load_queries("ringroad.build.repository")

LOG = structlog.get_logger(__name__)
EXPIRING_PAGES_MAX: Final = 100  # pages of repositories that cannot be renewed, until the next call
EXPIRING_ROWS_MAX: Final = 500  # repositories per call; 500 signed sets are about one second of CPU
_FILE = re.compile(r"([1-9][0-9]{0,8})\.(root|snapshot|targets)\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineSigners:
    """The keys a server holds."""

    image_snapshot: Signer
    image_timestamp: Signer
    director_targets: Signer
    director_snapshot: Signer
    director_timestamp: Signer

    def of(self, repository: RepositoryName, role: RoleName) -> Signer:
        """Return the signer of an online role."""
        found: Signer = getattr(self, f"{repository}_{role}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedVersions:
    """The versions that are current after a call, and whether the call signed anything."""

    targets: int
    snapshot: int
    timestamp: int
    changed: bool


def install_roots(conn: Connection, *, image_root: bytes, director_root: bytes, now: datetime) -> None:
    """Install one root of each repository; the same roots again are no change.

    Raises:
        Untrusted: a root is malformed or does not verify.
        Conflict: another root of that version is installed, or a version was skipped.
    """
    install_root(conn, repository="image", raw=image_root, now=now)
    install_root(conn, repository="director", raw=director_root, now=now)


def install_root(conn: Connection, *, repository: RepositoryName, raw: bytes, now: datetime) -> int:
    """Install the next root of one repository and return its version.

    Raises:
        Untrusted: it is malformed or not signed by the thresholds of itself and of the root before.
        Conflict: another root of that version is installed, or a version was skipped.
    """
    _lock(conn, repository, "")
    file = parse_file(raw, Root)
    version = file.signed.version
    check_signatures(file, root=file.signed, role="root")
    stored = SQL.metadata_bytes(conn, repository=repository, vin="", role="root", version=version)
    if stored is not None:
        if bytes(stored) != raw:
            raise Conflict(f"another {repository} root of version {version} is installed")
        return version
    latest = SQL.latest_metadata(conn, repository=repository, vin="", role="root")
    if version != (latest["version"] if latest else 0) + 1:
        raise Conflict(f"{repository} root {version} does not follow the installed one")
    if latest:
        check_signatures(file, root=parse_file(latest["bytes"], Root).signed, role="root")
    _insert(conn, repository, "", "root", file, now=now)
    return version


def pending_targets(
    conn: Connection,
    *,
    packages: Sequence[ImageTarget],
    now: datetime,
    withdrawn: Collection[str] = (),
    downgrades: Sequence[Downgrade] | None = None,
) -> bytes | None:
    """Return the next Image Targets for the offline keys to sign, or None when there is nothing to sign.

    Args:
        conn: an open connection.
        packages: images to add to those that are published; known ones may be repeated.
        now: UTC.
        withdrawn: file names to leave out.
        downgrades: every decision to go back that shall hold; None for those that are published.

    Raises:
        Conflict: a file name was published with another content.
    """
    current = _current(conn, "image", "")
    published = current.targets.signed if current else None
    images = merge_images(published, packages, withdrawn=withdrawn)
    decided = merge_downgrades(published, downgrades, now=now)
    unchanged = (
        published is not None
        and images == sign.image_targets_of(published)
        and decided == merge_downgrades(published, None, now=now)
    )
    if (
        current
        and unchanged
        and is_signed(current.targets, _root(conn, "image"), "targets")
        and not is_due(current.targets.expires_at, lifetime=IMAGE_TARGETS_LIFETIME, now=now)
    ):
        return None
    version = published.version + 1 if published else 1
    unsigned = sign.build_image_targets(
        version=version, expires=now + IMAGE_TARGETS_LIFETIME, targets=images, downgrades=decided
    )
    return sign.sign(unsigned, ())


def accept_image_targets(
    conn: Connection, signers: OnlineSigners, signed: bytes, *, now: datetime
) -> PublishedVersions:
    """Publish Image Targets that the offline keys signed, with a new Snapshot and Timestamp.

    The same bytes again are no change.

    Raises:
        Untrusted: malformed, or too few valid signatures.
        InvalidInput: expired, delegating, or speaking of one vehicle.
        Conflict: not the next version.
        NotFound: no root is installed.
        Corrupt: the online keys are not those of the root.
    """
    _lock(conn, "image", "")
    root = _root(conn, "image")
    current = _current(conn, "image", "")
    if current and current.targets.raw == signed:
        return _versions(current, changed=False)
    file = parse_file(signed, Targets)
    check_signatures(file, root=root, role="targets")
    if file.expires_at <= now:
        raise InvalidInput("these Image Targets are expired", hint="make a new payload and sign that")
    if file.signed.delegations is not None or file.signed.vin or file.signed.vehicle_package is not None:
        raise InvalidInput("Image Targets neither delegate nor speak of one vehicle")
    expected = current.targets.signed.version + 1 if current else 1
    if file.signed.version != expected:
        raise Conflict(
            f"Image Targets version {file.signed.version}, the next is {expected}",
            hint="make a new payload and sign that",
        )
    _insert(conn, "image", "", "targets", file, now=now)
    return _sign_above(conn, signers, "image", "", root=root, current=current, targets=file, now=now)


def require_published(
    conn: Connection, images: Sequence[ImageTarget], downgrades: Sequence[Downgrade] = ()
) -> int:
    """Make sure that the offline keys signed these images and decisions; return the version of the Targets that say so.

    Raises:
        InvalidInput: an image or a decision is not published exactly as it is given, or nothing is.
    """
    current = _current(conn, "image", "")
    check_published(current.targets.signed if current else None, images, downgrades)
    return current.targets.signed.version if current else 0


def issue_director_bundle(
    conn: Connection,
    signers: OnlineSigners,
    *,
    vin: str,
    targets: Sequence[DirectorTarget],
    vehicle_package: VehiclePackage | None,
    now: datetime,
) -> PublishedVersions:
    """Sign what one vehicle should install; the same content again signs only what is near expiry.

    With no targets and no package it says "nothing to install", which every new vehicle needs once.
    Issue nothing else to a vehicle before its manifest or report closed the bundle before (partial bundles).

    Raises:
        InvalidInput: an image is not in the signed Image repository as given, or an ECU is named twice.
        NotFound: no root is installed.
        Corrupt: the online keys are not those of the root.
    """
    _lock(conn, "director", vin)
    image = _current(conn, "image", "") if targets else None
    check_published(image.targets.signed if image else None, [target.image() for target in targets])
    current = _current(conn, "director", vin)
    changed = director_content_changed(current, vin=vin, targets=targets, vehicle_package=vehicle_package)
    root = _root(conn, "director")
    need = decide_need(
        current,
        root=root,
        content_changed=changed,
        targets_lifetime=DIRECTOR_TARGETS_LIFETIME,
        now=now,
    )
    if current and need != "targets":
        return _renew(conn, signers, "director", vin, current=current, need=need, now=now)
    unsigned = sign.build_director_targets(
        version=current.targets.signed.version + 1 if current else 1,
        expires=now + DIRECTOR_TARGETS_LIFETIME,
        vin=vin,
        vehicle_package=vehicle_package,
        targets=targets,
    )
    file = _checked(sign.sign(unsigned, [signers.director_targets]), Targets, root, "targets")
    _insert(conn, "director", vin, "targets", file, now=now)
    return _sign_above(conn, signers, "director", vin, root=root, current=current, targets=file, now=now)


def refresh_expiring(
    conn: Connection, signers: OnlineSigners, *, now: datetime, rows_max: int = EXPIRING_ROWS_MAX
) -> int:
    """Sign again what has less than half of its life left, or was signed under an older root.

    Call it again while it returns more than 0, then now and then.
    Image Targets are never renewed here: their keys are offline.
    A repository that cannot be renewed is told in the log and left as it is: its vehicle refuses what expires, the
    others get theirs, however many there are of it.

    Returns:
        How many repositories were renewed.

    Raises:
        Unavailable: the database went away.
    """
    renewed = 0
    broken: dict[tuple[str, str], str] = {}
    for _ in range(EXPIRING_PAGES_MAX):
        due = SQL.expiring(
            conn, before=now + TIMESTAMP_LIFETIME / 2, rows_max=rows_max, rows_skipped=len(broken)
        )
        rows = [(row["repository"], row["vin"]) for row in due]
        for repository, vin in rows:
            try:
                with conn.transaction():
                    renewed += _refresh(conn, signers, repository, vin, now=now)
            except (Corrupt, InvalidInput, NotFound, Untrusted) as error:
                broken[repository, vin] = " ".join(filter(None, (error.message, error.detail)))
        if renewed or len(rows) < rows_max:
            break
    if broken:
        (_, vin), why = next(iter(broken.items()))
        LOG.error("metadata cannot be renewed", repositories=len(broken), vin=vin, error=why)
    return renewed


def _refresh(
    conn: Connection, signers: OnlineSigners, repository: RepositoryName, vin: str, *, now: datetime
) -> bool:
    """Sign one repository again; tell whether anything was signed."""
    _lock(conn, repository, vin)
    current = _current(conn, repository, vin)
    if current is None:
        raise Corrupt(f"the {repository} repository has a Timestamp without the rest")
    director = repository == "director"
    need = decide_need(
        current,
        root=_root(conn, repository),
        content_changed=False,
        targets_lifetime=DIRECTOR_TARGETS_LIFETIME if director else IMAGE_TARGETS_LIFETIME,
        now=now,
    )
    if need == "targets":
        if director:
            _renew_director_targets(conn, signers, vin, current, now=now)
            return True
        need = "snapshot"
    if need == "nothing":
        need = "timestamp"  # written before the newest root: say again that it still holds
    return _renew(conn, signers, repository, vin, current=current, need=need, now=now).changed


def read_metadata(conn: Connection, *, repository: RepositoryName, vin: str, filename: str) -> bytes:
    """Return one metadata file as it is served, for example ``timestamp.json`` or ``3.root.json``.

    Args:
        conn: an open connection.
        repository: which.
        vin: of the Director's vehicle; empty for the Image repository. Roots are the same for all vehicles.
        filename: as in the URL.

    Raises:
        NotFound: there is no such file.
    """
    if filename == "timestamp.json":
        row = SQL.latest_metadata(conn, repository=repository, vin=vin, role="timestamp")
        found = row["bytes"] if row else None
    elif match := _FILE.fullmatch(filename):
        role = match[2]
        found = SQL.metadata_bytes(
            conn, repository=repository, vin="" if role == "root" else vin, role=role, version=int(match[1])
        )
    else:
        found = None
    if found is None:
        raise NotFound(f"the {repository} repository has no {filename[:60]}")
    return bytes(found)


def _renew_director_targets(
    conn: Connection, signers: OnlineSigners, vin: str, current: CurrentSet, *, now: datetime
) -> None:
    """Sign the same Targets under a new version and expiry."""
    signed = current.targets.signed
    unsigned = sign.build_director_targets(
        version=signed.version + 1,
        expires=now + DIRECTOR_TARGETS_LIFETIME,
        vin=vin,
        vehicle_package=signed.vehicle_package,
        targets=sign.director_targets_of(signed),
    )
    root = _root(conn, "director")
    file = _checked(sign.sign(unsigned, [signers.director_targets]), Targets, root, "targets")
    _insert(conn, "director", vin, "targets", file, now=now)
    _sign_above(conn, signers, "director", vin, root=root, current=current, targets=file, now=now)


def _renew(
    conn: Connection,
    signers: OnlineSigners,
    repository: RepositoryName,
    vin: str,
    *,
    current: CurrentSet,
    need: Need,
    now: datetime,
) -> PublishedVersions:
    if need == "nothing":
        return _versions(current, changed=False)
    return _sign_above(
        conn,
        signers,
        repository,
        vin,
        root=_root(conn, repository),
        current=current,
        targets=current.targets,
        snapshot=current.snapshot if need == "timestamp" else None,
        now=now,
    )


def _sign_above(
    conn: Connection,
    signers: OnlineSigners,
    repository: RepositoryName,
    vin: str,
    *,
    root: Root,
    current: CurrentSet | None,
    targets: File[Targets],
    snapshot: File[Snapshot] | None = None,
    now: datetime,
) -> PublishedVersions:
    """Sign the Timestamp over a Snapshot over the Targets; a given Snapshot is kept."""
    if snapshot is None:
        unsigned = sign.build_snapshot(
            version=current.snapshot.signed.version + 1 if current else 1,
            expires=now + SNAPSHOT_LIFETIME,
            targets_version=targets.signed.version,
            targets_raw=targets.raw,
            vin=vin,
        )
        raw = sign.sign(unsigned, [signers.of(repository, "snapshot")])
        snapshot = _checked(raw, Snapshot, root, "snapshot")
        _insert(conn, repository, vin, "snapshot", snapshot, now=now)
    unsigned_timestamp = sign.build_timestamp(
        version=current.timestamp.signed.version + 1 if current else 1,
        expires=now + TIMESTAMP_LIFETIME,
        snapshot_version=snapshot.signed.version,
        snapshot_raw=snapshot.raw,
        vin=vin,
    )
    raw = sign.sign(unsigned_timestamp, [signers.of(repository, "timestamp")])
    timestamp = _checked(raw, Timestamp, root, "timestamp")
    _insert(conn, repository, vin, "timestamp", timestamp, now=now)
    made = CurrentSet(targets=targets, snapshot=snapshot, timestamp=timestamp)
    SQL.delete_superseded(
        conn,
        repository=repository,
        vin=vin,
        timestamp_version=timestamp.signed.version,
        snapshot_version=snapshot.signed.version,
    )
    return _versions(made, changed=True)


def _checked(raw: bytes, shape: type[S], root: Root, role: RoleName) -> File[S]:
    """Read back what was just signed, as a vehicle would."""
    try:
        file = parse_file(raw, shape)
        check_signatures(file, root=root, role=role)
    except Untrusted as error:
        raise Corrupt(
            f"the online {role} key does not fit the installed root",
            hint="are the keys in var/keys/online those of the installed root?",
            detail=error.message,
        ) from error
    return file


def _insert(
    conn: Connection, repository: RepositoryName, vin: str, role: RoleName, file: File[S], *, now: datetime
) -> None:
    SQL.insert_metadata(
        conn,
        repository=repository,
        vin=vin,
        role=role,
        version=file.signed.version,
        bytes=file.raw,
        expires_at=file.expires_at,
        written_at=now,
    )


def _lock(conn: Connection, repository: RepositoryName, vin: str) -> None:
    SQL.lock_repository(conn, repository=repository, vin=vin)


def _root(conn: Connection, repository: RepositoryName) -> Root:
    row = SQL.latest_metadata(conn, repository=repository, vin="", role="root")
    if row is None:
        raise NotFound(f"no {repository} root is installed", hint="ringroad keys init, then ringroad up")
    return parse_file(bytes(row["bytes"]), Root).signed


def _current(conn: Connection, repository: RepositoryName, vin: str) -> CurrentSet | None:
    rows = {row["role"]: bytes(row["bytes"]) for row in SQL.latest_set(conn, repository=repository, vin=vin)}
    if not rows:
        return None
    if len(rows) != 3:
        raise Corrupt(f"the {repository} repository is incomplete", detail=f"vin {vin}: {sorted(rows)}")
    return CurrentSet(
        targets=parse_file(rows["targets"], Targets),
        snapshot=parse_file(rows["snapshot"], Snapshot),
        timestamp=parse_file(rows["timestamp"], Timestamp),
    )


def _versions(made: CurrentSet, *, changed: bool) -> PublishedVersions:
    return PublishedVersions(
        targets=made.targets.signed.version,
        snapshot=made.snapshot.signed.version,
        timestamp=made.timestamp.signed.version,
        changed=changed,
    )
