"""What an offline key is asked to sign: read, held to its limits, and told in words. Pure.

The payload comes from a server that may be in a stranger's hands. The holder's eyes are the last check, so
that whatever cannot be shown completely is not signed.

Invariant: only unexpired Image Targets are signed; no published name gets another content.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from ringroad.build.repository.decide import IMAGE_TARGETS_LIFETIME, merge_images
from ringroad.cli.release_downgrade import decided
from ringroad.kernel.errors import InvalidInput
from ringroad.trust.metadata import Downgrade, Targets, Terms, parse_file
from ringroad.trust.sign import ImageTarget, image_targets_of

_SLACK = timedelta(days=1)  # between the clock of the server and that of the machine with the keys


@dataclass(frozen=True, slots=True, kw_only=True)
class SignRequest:
    """Image Targets that wait for signatures.

    Attributes:
        version: of the metadata.
        expires: as it is written.
        images: everything the signature will vouch for.
        new: file names that the previous Targets do not have.
        gone: file names that only the previous Targets have.
        downgrades: which image may go over which newer ones.
    """

    version: int
    expires: str
    images: tuple[ImageTarget, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]
    downgrades: tuple[Downgrade, ...]


def read_request(raw: bytes, *, previous: bytes | None, now: datetime) -> SignRequest:
    """Read a payload.

    Args:
        raw: unsigned, or signed by other holders.
        previous: the Image Targets that were signed last, when they are at hand.
        now: the time on the machine with the keys.

    Raises:
        Untrusted: not metadata, or not Targets.
        InvalidInput: of one vehicle, delegating, expired, valid for too long, or not newer than the previous.
        Conflict: a published file name has another content.
    """
    file = parse_file(raw, Targets)
    signed = file.signed
    aimed = any(target.custom.ecus for target in signed.targets.values())
    if signed.delegations is not None or signed.vin or signed.vehicle_package is not None or aimed:
        raise InvalidInput("Image Targets neither delegate nor speak of one vehicle", hint="do not sign this")
    if not now < file.expires_at <= now + IMAGE_TARGETS_LIFETIME + _SLACK:
        raise InvalidInput(
            f"valid until {signed.expires}; usual are {IMAGE_TARGETS_LIFETIME.days} days from now",
            hint="is this machine's clock right? else make a new payload",
        )
    images = image_targets_of(signed)
    before = parse_file(previous, Targets).signed if previous is not None else None
    known = {image.filename for image in (image_targets_of(before) if before else ())}
    if before is not None:
        merge_images(before, images)
        if signed.version <= before.version:
            raise InvalidInput(f"version {signed.version} does not follow version {before.version}")
    names = {image.filename for image in images}
    return SignRequest(
        version=signed.version,
        expires=signed.expires,
        images=images,
        new=tuple(sorted(names - known)),
        gone=tuple(sorted(known - names)),
        downgrades=tuple(signed.downgrades),
    )


def describe(request: SignRequest) -> Iterator[str]:
    """Yield lines that show everything the signature will stand for."""
    yield f"Image Targets version {request.version}, valid until {request.expires}"
    for image in request.images:
        yield (
            f"  {image.filename}  {image.length} bytes  for {', '.join(image.hardware_ids)}"
            f"  counter {image.release_counter}"
        )
        yield f"    sha256 {image.sha256}"
        if image.terms is not None:
            yield f"    version {image.terms.version}{_terms(image.terms)}"
    for name in request.gone:
        yield f"  {name} is withdrawn"
    for line in decided(msgspec.to_builtins(request.downgrades)):
        yield f"  {line}"


def _terms(terms: Terms) -> str:
    said = [f"over {terms.upgrades_from}"] if terms.upgrades_from != "*" else []
    said += [f"requires {one.ecu} {one.range}" for one in terms.requires]
    said += [f"conflicts with {one.ecu} {one.range}" for one in terms.conflicts]
    return "".join(f", {each}" for each in said)
