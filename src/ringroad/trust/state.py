"""What a vehicle trusts: a frozen value that survives restarts, and the values it is asked about.

Not storage: `to_bytes` and `from_bytes` are pure; the vehicle writes them atomically.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.protocol.vehicle import EcuTarget, VehiclePackage
from ringroad.trust.metadata import RepositoryName, Root, Terms, check_signatures, parse_file

_MAGIC: Final = b"ringroad-trust-1\n"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryState:
    """The newest verified file of each role, whole; empty when there is none yet."""

    root: bytes
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustState:
    """Everything the verifier must not forget.

    Attributes:
        image: the Image repository.
        director: the vehicle's Director repository.
        verified_at: the latest time at which both repositories were current; the clock is never believed
            when it says an earlier one. It moves only with a complete refresh, so a wild clock cannot move it
            past the nearest expiry.
    """

    image: RepositoryState
    director: RepositoryState
    verified_at: datetime = EPOCH

    def of(self, repository: RepositoryName) -> RepositoryState:
        """Return one repository's state."""
        return self.image if repository == "image" else self.director

    def put(self, repository: RepositoryName, changed: RepositoryState) -> TrustState:
        """Return a new state with one repository replaced."""
        if repository == "image":
            return replace(self, image=changed)
        return replace(self, director=changed)

    def to_bytes(self) -> bytes:
        """Return the state as bytes with a digest, so that a torn write is noticed."""
        body = msgspec.msgpack.encode(self)
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def from_bytes(cls, raw: bytes) -> TrustState:
        """Return the state that `to_bytes` wrote.

        Raises:
            Corrupt: these are not such bytes, or not all of them.
        """
        digest, body = raw[len(_MAGIC) : len(_MAGIC) + 32], raw[len(_MAGIC) + 32 :]
        if not raw.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
            raise Corrupt("the stored trust state does not read back", hint="provision the vehicle again")
        try:
            state = msgspec.msgpack.decode(body, type=cls)
        except msgspec.DecodeError as error:
            raise Corrupt("the stored trust state does not read back", detail=str(error)) from error
        if state.verified_at.tzinfo is None:
            raise Corrupt("the stored trust state has a time without zone")
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuIdentity:
    """One ECU as the vehicle itself knows it.

    Attributes:
        serial: the ECU's unique id.
        hardware_id: what it is.
        release_counter: of the image it last committed; an image with a lower one is refused.
    """

    serial: str
    hardware_id: str
    release_counter: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleInventory:
    """The ECUs of one vehicle."""

    ecus: tuple[EcuIdentity, ...]

    def __post_init__(self) -> None:
        """Refuse an inventory in which one serial names two ECUs."""
        if len({ecu.serial for ecu in self.ecus}) != len(self.ecus):
            raise InvalidInput("the inventory names one ECU serial twice")

    def by_serial(self) -> Mapping[str, EcuIdentity]:
        """Return the ECUs by serial."""
        return {ecu.serial: ecu for ecu in self.ecus}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedTarget:
    """One image for one ECU that both repositories vouch for.

    Attributes:
        serial: the ECU.
        filename: target name; the file is served as ``{sha256}.{filename}``.
        length: bytes.
        sha256: hex.
        sha512: hex.
        hardware_ids: what it runs on.
        release_counter: to commit together with the image.
        ecu_target: how to install it.
        terms: what the offline keys say of it; None if they did not.
        may_go_back_over: digests of newer images that a signed decision lets it replace in this release.
    """

    serial: str
    filename: str
    length: int
    sha256: str
    sha512: str
    hardware_ids: tuple[str, ...]
    release_counter: int
    ecu_target: EcuTarget
    terms: Terms | None = None
    may_go_back_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshResult:
    """What a complete, verified refresh says.

    Attributes:
        state: to persist before anything is installed.
        targets: by ECU serial; empty when there is nothing to install.
        vehicle_package: how the targets belong together; None exactly when there are none.
        targets_version: version of the Director's Targets metadata.
        changed: whether the Director's Targets metadata is another than before.
    """

    state: TrustState
    targets: Mapping[str, VerifiedTarget]
    vehicle_package: VehiclePackage | None
    targets_version: int
    changed: bool


def provision(*, image_root: bytes, director_root: bytes) -> TrustState:
    """Return the state of a new vehicle, which trusts two roots and nothing else.

    Raises:
        Untrusted: a root is malformed or not signed by itself.

    Source: Uptane 2.1 section 5.4.1.
    """
    for raw in (image_root, director_root):
        file = parse_file(raw, Root)
        check_signatures(file, root=file.signed, role="root")
    return TrustState(image=RepositoryState(root=image_root), director=RepositoryState(root=director_root))
