"""The shapes of TUF and Uptane metadata, and how bytes become one of them.

Not trust: a parsed file says only that it is well formed. `repository.py` decides whether to believe it.
Unknown members are kept in the signed bytes and ignored here, as TUF asks.

Source: TUF 1.0.31 section 4; Uptane 2.1 section 5.2.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from ringroad.kernel.limits import ECUS_MAX, IMAGE_BYTES_MAX, METADATA_BYTES_MAX
from ringroad.protocol.vehicle import EcuTarget, Name, Sha256, ShortText, VehiclePackage, Word
from ringroad.trust.attacks import Attack, refuse
from ringroad.trust.canonical import INTEGER_MAX, decode_canonical, encode_decoded
from ringroad.trust.keys import PublicKey, check_public_key, key_id, verifies

RepositoryName = Literal["image", "director"]
RoleName = Literal["root", "timestamp", "snapshot", "targets"]
ROLES: Final[tuple[RoleName, ...]] = ("root", "timestamp", "snapshot", "targets")

KEYS_MAX: Final = 64  # keys per root; best practice is 5-of-8 for Root and fewer elsewhere
SIGNATURES_MAX: Final = 32  # signatures per file; old and new root thresholds together
TARGETS_MAX: Final = 10_000  # targets per file; a programme of 150 ECUs with 60 releases each
RANGES_MAX: Final = 128  # requirements, and conflicts, per image; a package has at most 64 of both
OVER_MAX: Final = 256  # images per decision; an ECU of a programme has some dozens of versions
DOWNGRADES_MAX: Final = 1_000  # decisions at a time, ECUs times releases; each is some 500 bytes
SPEC_VERSION: Final = re.compile(r"1\.\d{1,3}(\.\d{1,3})?")  # the major version we can read
EXPIRES: Final = "%Y-%m-%dT%H:%M:%SZ"
TIMESTAMP_BYTES_MAX: Final = 64 * 1024  # bytes; one snapshot entry and a few signatures need 1 kB
_EXPIRES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_FILENAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,199}")

Version = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
KeyId = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Sha512 = Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
HardwareId = Annotated[str, Meta(min_length=1, max_length=200)]
Serial = Annotated[str, Meta(min_length=1, max_length=200)]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of signed shapes: unknown members are ignored here and stay in the signed bytes."""


class MetadataSignature(Shape, frozen=True, kw_only=True):
    """One entry of `signatures`."""

    keyid: KeyId
    sig: Annotated[str, Meta(pattern="^([0-9a-f]{2})+$", max_length=16_384)]


class RoleKeys(Shape, frozen=True, kw_only=True):
    """Who may sign a role, and how many of them must."""

    keyids: Annotated[list[KeyId], Meta(min_length=1, max_length=KEYS_MAX)]
    threshold: Annotated[int, Meta(ge=1, le=KEYS_MAX)]


class RootRoles(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The four roles of a repository."""

    root: RoleKeys
    timestamp: RoleKeys
    snapshot: RoleKeys
    targets: RoleKeys

    def of(self, role: RoleName) -> RoleKeys:
        """Return one role's keys."""
        found: RoleKeys = getattr(self, role)
        return found


class Signed(Shape, frozen=True, kw_only=True):
    """What every signed part has."""

    spec_version: str
    version: Version
    expires: str


class Root(Signed, frozen=True, kw_only=True):
    """Which keys to trust."""

    type: Literal["root"] = msgspec.field(name="_type")
    consistent_snapshot: Literal[True]  # Uptane 5.2.7: files are named by version and hash
    keys: Annotated[dict[KeyId, PublicKey], Meta(max_length=KEYS_MAX)]
    roles: RootRoles


class SnapshotHashes(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digests of a metadata file."""

    sha256: Sha256


class FileInfo(Shape, frozen=True, kw_only=True):
    """Version, length and digest of a metadata file. Ours always names all three."""

    version: Version
    length: Annotated[int, Meta(ge=1, le=METADATA_BYTES_MAX)]
    hashes: SnapshotHashes


class TimestampMeta(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one file a Timestamp speaks of."""

    snapshot: FileInfo = msgspec.field(name="snapshot.json")


class Timestamp(Signed, frozen=True, kw_only=True):
    """Which Snapshot is current."""

    type: Literal["timestamp"] = msgspec.field(name="_type")
    meta: TimestampMeta
    vin: str = ""


class SnapshotMeta(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one Targets file a Snapshot speaks of; without delegations there is no other."""

    targets: FileInfo = msgspec.field(name="targets.json")


class Snapshot(Signed, frozen=True, kw_only=True):
    """Which Targets file is current."""

    type: Literal["snapshot"] = msgspec.field(name="_type")
    meta: SnapshotMeta
    vin: str = ""


class TargetHashes(Shape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Digests of an image: both, so that neither alone has to hold for 15 years."""

    sha256: Sha256
    sha512: Sha512


class MustMatch(Shape, frozen=True, kw_only=True):
    """What both repositories must say alike (Uptane 5.2.3.1.1, "SHALL match")."""

    hardware_ids: Annotated[list[HardwareId], Meta(min_length=1, max_length=ECUS_MAX)]
    release_counter: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class EcuRange(Shape, frozen=True, kw_only=True):
    """Versions of the software of an ECU, by the ECU's name in the programme."""

    ecu: Name
    range: Word


class Terms(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """What an image is called and where it may run; the Image repository alone says it, under the offline keys."""

    version: Name
    upgrades_from: Word = "*"  # versions of its own ECU that it may be installed over
    requires: Annotated[list[EcuRange], Meta(max_length=RANGES_MAX)] = []
    conflicts: Annotated[list[EcuRange], Meta(max_length=RANGES_MAX)] = []


class Custom(Shape, frozen=True, kw_only=True):
    """Our part of a target. `ecus` is the Director's, by ECU serial; `terms` are the Image repository's."""

    must_match: MustMatch
    ecus: Annotated[dict[Serial, EcuTarget], Meta(max_length=ECUS_MAX)] = {}
    terms: Terms | None = None  # None in metadata that was signed before there were any


class Downgrade(Shape, frozen=True, kw_only=True):
    """The decision that one release may put one image over newer ones; in the Image repository's Targets only.

    Source: ADR 0082.
    """

    release_id: Name
    ecu: Name  # in the programme
    version: Name  # older than all of `over`
    sha256: Sha256  # of its image
    over: Annotated[dict[Sha256, Name], Meta(min_length=1, max_length=OVER_MAX)]  # version by image
    reason: ShortText
    asked_by: Name
    approved_by: Name
    expires: str


class Target(Shape, frozen=True, kw_only=True):
    """One image."""

    length: Annotated[int, Meta(ge=1, le=IMAGE_BYTES_MAX)]
    hashes: TargetHashes
    custom: Custom


class Targets(Signed, frozen=True, kw_only=True):
    """Which images exist (Image repository), or which go onto which ECU (Director)."""

    type: Literal["targets"] = msgspec.field(name="_type")
    targets: Annotated[dict[str, Target], Meta(max_length=TARGETS_MAX)]
    delegations: dict[str, Any] | None = None
    vin: str = ""
    vehicle_package: VehiclePackage | None = None
    downgrades: Annotated[list[Downgrade], Meta(max_length=DOWNGRADES_MAX)] = []


S = TypeVar("S", Root, Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class File(Generic[S]):
    """One parsed metadata file.

    Attributes:
        raw: the whole file.
        signed: its typed content.
        signed_bytes: what the signatures are over.
        signatures: hex signature by key id.
        expires_at: the first moment it is not valid any more.
    """

    raw: bytes
    signed: S
    signed_bytes: bytes
    signatures: dict[str, str]
    expires_at: datetime


def parse_file(raw: bytes, shape: type[S], *, bytes_max: int = METADATA_BYTES_MAX) -> File[S]:
    """Return the parsed form of one metadata file, believed by nobody yet.

    Raises:
        Untrusted: `endless_data` or `malformed`; `path_traversal` for an unsafe target name.
    """
    document = decode_canonical(raw, bytes_max=bytes_max)
    if not isinstance(document, dict) or set(document) != {"signatures", "signed"}:
        raise refuse(Attack.MALFORMED, "metadata has two members, signatures and signed")
    try:
        signatures = msgspec.convert(document["signatures"], list[MetadataSignature])
        signed = msgspec.convert(document["signed"], shape)
    except msgspec.ValidationError as error:
        raise refuse(Attack.MALFORMED, f"not {shape.__name__} metadata", detail=str(error)) from error
    by_key = {signature.keyid: signature.sig for signature in signatures}
    if len(by_key) != len(signatures) or len(signatures) > SIGNATURES_MAX:
        raise refuse(Attack.MALFORMED, "more than one signature by one key, or too many signatures")
    if not SPEC_VERSION.fullmatch(signed.spec_version):
        raise refuse(Attack.MALFORMED, f"specification version {signed.spec_version[:20]!r} is not 1.x")
    if isinstance(signed, Root):
        _check_root(signed)
    if isinstance(signed, Targets):
        for name in signed.targets:
            check_filename(name)
        for decision in signed.downgrades:
            parse_time(decision.expires)
    return File(
        raw=raw,
        signed=signed,
        signed_bytes=encode_decoded(document["signed"]),
        signatures=by_key,
        expires_at=parse_time(signed.expires),
    )


def check_filename(name: str) -> None:
    """Refuse names that could leave a folder or be read as something else.

    Raises:
        Untrusted: `path_traversal`: other than 1 to 200 of letters, digits and `._+-`, or a leading dot.

    Source: Uptane 2.1 section 5.2.7 (3).
    """
    if not _FILENAME.fullmatch(name):
        raise refuse(Attack.PATH_TRAVERSAL, f"{name[:40]!r} is not a safe file name")


def parse_time(text: str) -> datetime:
    """Return a metadata time.

    Raises:
        Untrusted: `malformed`: not of the form 2030-01-31T23:59:59Z.
    """
    try:
        if _EXPIRES.fullmatch(text):
            return datetime.strptime(text, EXPIRES).replace(tzinfo=UTC)
    except ValueError:
        pass
    raise refuse(Attack.MALFORMED, f"{text[:40]!r} is not a time such as 2030-01-31T23:59:59Z")


def check_signatures(file: File[S], *, root: Root, role: RoleName) -> None:
    """Check that enough of a role's keys signed a file.

    Raises:
        Untrusted: `arbitrary_software`.

    Source: TUF 1.0.31 section 5.3.4; Uptane 2.1 section 5.4.4.3.
    """
    who = root.roles.of(role)
    valid = sum(
        verifies(root.keys[keyid], keyid=keyid, signature=file.signatures[keyid], data=file.signed_bytes)
        for keyid in who.keyids
        if keyid in file.signatures
    )
    if valid < who.threshold:
        raise refuse(
            Attack.ARBITRARY_SOFTWARE, f"{role}: {valid} valid signatures, {who.threshold} are needed"
        )


def matches(info: FileInfo, raw: bytes) -> bool:
    """Say whether bytes are the file that a Timestamp or Snapshot described."""
    return info.length == len(raw) and info.hashes.sha256 == hashlib.sha256(raw).hexdigest()


def _check_root(root: Root) -> None:
    """Refuse roots whose key ids lie, repeat, dangle, or cannot reach a threshold."""
    for keyid, key in root.keys.items():
        check_public_key(key)
        if key_id(key) != keyid:
            raise refuse(Attack.MALFORMED, f"key id {keyid[:12]} is not the digest of its key")
    seen: set[str] = set()
    for role in ROLES:
        who = root.roles.of(role)
        if len(set(who.keyids)) != len(who.keyids) or len(who.keyids) < who.threshold:
            raise refuse(Attack.MALFORMED, f"{role}: repeated key ids, or fewer keys than its threshold")
        if not set(who.keyids) <= set(root.keys):
            raise refuse(Attack.MALFORMED, f"{role}: a key id without its key")
        if not seen.isdisjoint(who.keyids):
            raise refuse(Attack.MALFORMED, f"{role}: its key serves another role too")
        seen.update(who.keyids)
