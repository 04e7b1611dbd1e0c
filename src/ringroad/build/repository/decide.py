"""What has to be signed next. Pure: no clock, no database, no keys.

Invariant: a file is signed again before it expires, and never while its content and expiry are still good.

Lifetimes follow the Uptane Deployment Best Practices (key management): Root about a year, the Timestamp about a
day. A freeze attack is bounded by the shortest, so only the Timestamp has to be short.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from ringroad.kernel.errors import Conflict, InvalidInput, Untrusted
from ringroad.protocol.vehicle import VehiclePackage
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.metadata import (
    Downgrade,
    File,
    RoleName,
    Root,
    S,
    Snapshot,
    Targets,
    Timestamp,
    check_signatures,
    parse_time,
)
from ringroad.trust.sign import DirectorTarget, ImageTarget, build_director_targets, image_targets_of

ROOT_LIFETIME: Final = timedelta(days=365)
IMAGE_TARGETS_LIFETIME: Final = timedelta(
    days=180
)  # offline keys come out twice a year when nothing is released
DIRECTOR_TARGETS_LIFETIME: Final = timedelta(days=30)
SNAPSHOT_LIFETIME: Final = timedelta(days=30)
TIMESTAMP_LIFETIME: Final = timedelta(days=1)

Need = Literal["nothing", "timestamp", "snapshot", "targets"]  # each includes the ones before it


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSet:
    """The newest signed files of one repository."""

    targets: File[Targets]
    snapshot: File[Snapshot]
    timestamp: File[Timestamp]


def is_due(expires_at: datetime, *, lifetime: timedelta, now: datetime) -> bool:
    """Say whether less than half of a file's lifetime is left."""
    return expires_at <= now + lifetime / 2


def decide_need(
    current: CurrentSet | None,
    *,
    root: Root,
    content_changed: bool,
    targets_lifetime: timedelta,
    now: datetime,
) -> Need:
    """Decide which files of a repository must be signed again: changed, near expiry, or by rotated keys."""
    if current is None or content_changed:
        return "targets"
    steps: tuple[tuple[Need, datetime, timedelta, bool], ...] = (
        (
            "targets",
            current.targets.expires_at,
            targets_lifetime,
            is_signed(current.targets, root, "targets"),
        ),
        (
            "snapshot",
            current.snapshot.expires_at,
            SNAPSHOT_LIFETIME,
            is_signed(current.snapshot, root, "snapshot"),
        ),
        (
            "timestamp",
            current.timestamp.expires_at,
            TIMESTAMP_LIFETIME,
            is_signed(current.timestamp, root, "timestamp"),
        ),
    )
    for need, expires_at, lifetime, signed in steps:
        if not signed or is_due(expires_at, lifetime=lifetime, now=now):
            return need
    return "nothing"


def is_signed(file: File[S], root: Root, role: RoleName) -> bool:
    """Say whether a root's keys for a role signed a file; they did not after the role's keys were rotated."""
    try:
        check_signatures(file, root=root, role=role)
    except Untrusted:
        return False
    return True


def merge_images(
    published: Targets | None, added: Sequence[ImageTarget], *, withdrawn: Collection[str] = ()
) -> tuple[ImageTarget, ...]:
    """Return all images of the next Image Targets, in order of file name.

    Raises:
        Conflict: a file name was published with another content; names are never used twice.
    """
    images = {image.filename: image for image in (image_targets_of(published) if published else ())}
    for image in added:
        known = images.get(image.filename)
        if known is None or known == replace(image, terms=None):  # published before there were terms
            images[image.filename] = image
        elif known != image:
            raise Conflict(
                f"{image.filename} was published with another content",
                hint="give the new build a new version",
            )
    return tuple(images[name] for name in sorted(images) if name not in withdrawn)


def merge_downgrades(
    published: Targets | None, wanted: Sequence[Downgrade] | None, *, now: datetime
) -> tuple[Downgrade, ...]:
    """Return the decisions to go back of the next Image Targets: the wanted ones, None for those that are published."""
    kept = wanted if wanted is not None else published.downgrades if published else ()
    return tuple(
        sorted(
            (one for one in kept if now < parse_time(one.expires)),
            key=lambda one: (one.release_id, one.ecu, one.sha256),
        )
    )


def check_published(
    published: Targets | None, images: Sequence[ImageTarget], downgrades: Sequence[Downgrade] = ()
) -> None:
    """Refuse what the offline keys did not sign: a vehicle would refuse to install it, a line would flash it.

    Raises:
        InvalidInput: an image or a decision is not in the Image repository exactly as it is given here.
    """
    known = {image.filename: image for image in (image_targets_of(published) if published else ())}
    for image in images:
        found = known.get(image.filename)
        # A Director does not repeat the terms; only what the offline keys say of them counts.
        if found is None or image not in (found, replace(found, terms=None)):
            raise InvalidInput(
                f"{image.filename} is not in the signed Image repository as given",
                hint="sign the release first",
            )
    if any(published is None or one not in published.downgrades for one in downgrades):
        raise InvalidInput(
            "the decision to go back is not in the signed Image repository", hint="sign the pending targets"
        )


def director_content_changed(
    current: CurrentSet | None,
    *,
    vin: str,
    targets: Sequence[DirectorTarget],
    vehicle_package: VehiclePackage | None,
) -> bool:
    """Say whether a vehicle's signed Targets say something else than is wanted now."""
    if current is None:
        return True
    signed = current.targets.signed
    wanted = build_director_targets(
        version=signed.version,
        expires=current.targets.expires_at,
        vin=vin,
        vehicle_package=vehicle_package,
        targets=targets,
    )
    return encode_canonical(wanted.to_dict()) != current.targets.signed_bytes
