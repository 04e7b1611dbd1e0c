"""Build and sign metadata of both repositories, with python-tuf's data model and our canonical bytes.

Not key handling and not publishing: signers, versions and expiry are arguments, bytes are the result.
The vehicle never imports this module.

Invariant: what is signed here is read by our verifier and by stock TUF clients alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from securesystemslib.exceptions import FormatError
from securesystemslib.signer import Key, Signer, SSlibKey
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import MetadataSerializer, SignedSerializer

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.kernel.limits import METADATA_BYTES_MAX
from ringroad.protocol.vehicle import EcuTarget, VehiclePackage
from ringroad.trust import metadata as shapes
from ringroad.trust.canonical import decode_canonical, encode_canonical
from ringroad.trust.metadata import RoleName


class CanonicalSigned(SignedSerializer):
    """The bytes that signatures are over."""

    def serialize(self, signed_obj: Signed) -> bytes:
        """Return the canonical form of a signed part."""
        return encode_canonical(signed_obj.to_dict())


class CanonicalMetadata(MetadataSerializer):
    """The bytes that are stored and sent."""

    def serialize(self, metadata_obj: Metadata[Any]) -> bytes:
        """Return the canonical form of a whole file."""
        return encode_canonical(metadata_obj.to_dict())


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHolders:
    """The public keys of a role, and how many of them must sign."""

    keys: tuple[Key, ...]
    threshold: int

    def __post_init__(self) -> None:
        """Refuse thresholds that cannot be reached."""
        if not 1 <= self.threshold <= len({key.keyid for key in self.keys}):
            raise InvalidInput(f"a threshold of {self.threshold} needs as many keys, not {len(self.keys)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTarget:
    """One image as the Image repository lists it.

    Attributes:
        filename: target name.
        length: bytes.
        sha256: hex.
        sha512: hex.
        hardware_ids: what it runs on.
        release_counter: never goes down on an ECU.
        terms: its version, and where it may run.
    """

    filename: str
    length: int
    sha256: str
    sha512: str
    hardware_ids: tuple[str, ...]
    release_counter: int
    terms: shapes.Terms | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorTarget:
    """One image for one ECU of one vehicle, as the Director lists it.

    Attributes:
        serial: the ECU.
        filename: target name.
        length: bytes.
        sha256: hex.
        sha512: hex.
        hardware_ids: what it runs on.
        release_counter: never goes down on an ECU.
        ecu_target: how to install it on this ECU.
    """

    serial: str
    filename: str
    length: int
    sha256: str
    sha512: str
    hardware_ids: tuple[str, ...]
    release_counter: int
    ecu_target: EcuTarget

    def image(self) -> ImageTarget:
        """Return the image without the ECU."""
        return ImageTarget(
            filename=self.filename,
            length=self.length,
            sha256=self.sha256,
            sha512=self.sha512,
            hardware_ids=self.hardware_ids,
            release_counter=self.release_counter,
        )


def build_root(*, version: int, expires: datetime, holders: Mapping[RoleName, RoleHolders]) -> Root:
    """Return an unsigned Root.

    Raises:
        InvalidInput: a role is missing, or one key serves two roles.
    """
    if set(holders) != set(shapes.ROLES):
        raise InvalidInput("a root names root, timestamp, snapshot and targets")
    keys = {key.keyid: key for who in holders.values() for key in who.keys}
    if len(keys) != sum(len(who.keys) for who in holders.values()):
        raise InvalidInput("one key serves two roles, or one role twice", hint="each role has its own keys")
    return Root(
        version=version,
        expires=_utc(expires),
        keys=keys,
        roles={name: Role([key.keyid for key in who.keys], who.threshold) for name, who in holders.items()},
        consistent_snapshot=True,
    )


def build_image_targets(
    *,
    version: int,
    expires: datetime,
    targets: Sequence[ImageTarget],
    downgrades: Sequence[shapes.Downgrade] = (),
) -> Targets:
    """Return unsigned Targets of the Image repository.

    Raises:
        InvalidInput: one file name for two different images.
    """
    fields: dict[str, Any] = {"downgrades": msgspec.to_builtins(list(downgrades))} if downgrades else {}
    return Targets(
        version=version,
        expires=_utc(expires),
        targets=_target_files(targets, {}),
        unrecognized_fields=fields,
    )


def build_director_targets(
    *,
    version: int,
    expires: datetime,
    vin: str,
    vehicle_package: VehiclePackage | None,
    targets: Sequence[DirectorTarget],
) -> Targets:
    """Return unsigned Targets of one vehicle; the VIN is always in them, also when there are no targets.

    Raises:
        InvalidInput: one file name for two different images, or an ECU twice.
    """
    ecus: dict[str, dict[str, Any]] = {}
    if len({target.serial for target in targets}) != len(targets):
        raise InvalidInput("an ECU is given two images")
    for target in targets:
        plain = msgspec.json.decode(
            msgspec.json.encode(target.ecu_target)
        )  # lists, where the type has tuples
        ecus.setdefault(target.filename, {})[target.serial] = plain
    fields: dict[str, Any] = {"vin": vin}
    if vehicle_package is not None:
        fields["vehicle_package"] = msgspec.to_builtins(vehicle_package)
    return Targets(
        version=version,
        expires=_utc(expires),
        targets=_target_files([target.image() for target in targets], ecus),
        unrecognized_fields=fields,
    )


def build_snapshot(
    *, version: int, expires: datetime, targets_version: int, targets_raw: bytes, vin: str = ""
) -> Snapshot:
    """Return an unsigned Snapshot that names one Targets file by version, length and digest."""
    return Snapshot(
        version=version,
        expires=_utc(expires),
        meta={"targets.json": MetaFile.from_data(targets_version, targets_raw, ["sha256"])},
        unrecognized_fields=_vin(vin),
    )


def build_timestamp(
    *, version: int, expires: datetime, snapshot_version: int, snapshot_raw: bytes, vin: str = ""
) -> Timestamp:
    """Return an unsigned Timestamp that names one Snapshot by version, length and digest."""
    return Timestamp(
        version=version,
        expires=_utc(expires),
        snapshot_meta=MetaFile.from_data(snapshot_version, snapshot_raw, ["sha256"]),
        unrecognized_fields=_vin(vin),
    )


def sign(signed: Root | Targets | Snapshot | Timestamp, signers: Sequence[Signer]) -> bytes:
    """Return a whole file, signed by each of `signers`; without signers, the file to be signed elsewhere."""
    whole: Metadata[Any] = Metadata(signed)
    for signer in signers:
        whole.sign(signer, append=True, signed_serializer=CanonicalSigned())
    return whole.to_bytes(CanonicalMetadata())


def add_signatures(raw: bytes, signers: Sequence[Signer]) -> bytes:
    """Return a file with further signatures; a signer's earlier signature is replaced.

    Raises:
        InvalidInput: this is not a metadata file in canonical form.
    """
    try:
        document = decode_canonical(raw, bytes_max=METADATA_BYTES_MAX)
        signatures = {one["keyid"]: one for one in document["signatures"]}
        signed_bytes = encode_canonical(document["signed"])
    except (Untrusted, KeyError, TypeError) as error:
        raise InvalidInput("this is not a metadata file", detail=str(error)) from error
    for signer in signers:
        signature = signer.sign(signed_bytes)
        signatures[signature.keyid] = {"keyid": signature.keyid, "sig": signature.signature}
    ordered = [signatures[keyid] for keyid in sorted(signatures)]
    return encode_canonical({"signatures": ordered, "signed": document["signed"]})


def role_holders(root: shapes.Root) -> dict[RoleName, RoleHolders]:
    """Return the holders of a parsed root, to build the next one from."""
    return {
        role: RoleHolders(
            keys=tuple(_sslib_key(keyid, root) for keyid in root.roles.of(role).keyids),
            threshold=root.roles.of(role).threshold,
        )
        for role in shapes.ROLES
    }


def image_targets_of(targets: shapes.Targets) -> tuple[ImageTarget, ...]:
    """Return the images that parsed Targets list, in order of file name."""
    return tuple(
        ImageTarget(
            filename=filename,
            length=target.length,
            sha256=target.hashes.sha256,
            sha512=target.hashes.sha512,
            hardware_ids=tuple(target.custom.must_match.hardware_ids),
            release_counter=target.custom.must_match.release_counter,
            terms=target.custom.terms,
        )
        for filename, target in sorted(targets.targets.items())
    )


def director_targets_of(targets: shapes.Targets) -> list[DirectorTarget]:
    """Return what parsed Targets of a Director put onto which ECU."""
    return [
        DirectorTarget(
            serial=serial,
            filename=image.filename,
            length=image.length,
            sha256=image.sha256,
            sha512=image.sha512,
            hardware_ids=image.hardware_ids,
            release_counter=image.release_counter,
            ecu_target=ecu_target,
        )
        for image in image_targets_of(targets)
        for serial, ecu_target in targets.targets[image.filename].custom.ecus.items()
    ]


def _target_files(
    targets: Sequence[ImageTarget], ecus: Mapping[str, Mapping[str, Any]]
) -> dict[str, TargetFile]:
    files: dict[str, TargetFile] = {}
    seen: dict[str, ImageTarget] = {}
    for target in targets:
        if seen.setdefault(target.filename, target) != target:
            raise InvalidInput(f"{target.filename} names two different images")
        custom: dict[str, Any] = {
            "must_match": {
                "hardware_ids": list(target.hardware_ids),
                "release_counter": target.release_counter,
            }
        }
        if target.terms is not None:
            custom["terms"] = msgspec.to_builtins(target.terms)
        if ecus:
            custom["ecus"] = dict(ecus[target.filename])
        files[target.filename] = TargetFile(
            target.length,
            {"sha256": target.sha256, "sha512": target.sha512},
            target.filename,
            {"custom": custom},
        )
    return files


def _sslib_key(keyid: str, root: shapes.Root) -> SSlibKey:
    try:
        return SSlibKey.from_dict(keyid, root.keys[keyid].to_dict())
    except (ValueError, FormatError) as error:
        raise InvalidInput("not a key", detail=str(error)) from error


def _vin(vin: str) -> dict[str, Any]:
    return {"vin": vin} if vin else {}


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise InvalidInput("an expiry has no time zone", hint="use UTC")
    return moment.astimezone(UTC)
