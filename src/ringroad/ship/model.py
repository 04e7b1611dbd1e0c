"""Values of the ship stage: what a campaign knows of vehicles, releases and actions. No I/O.

Facts are read by `store`, judged by `plan`, `check`, `gate`, `report` and `director`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ringroad.protocol.vehicle import DeltaOffer


class CampaignState(StrEnum):
    """Where a campaign stands. `halted`, `aborted` and `finished` are final."""

    DRAFT = "draft"
    PLANNED = "planned"
    APPROVED = "approved"
    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    ABORTED = "aborted"
    FINISHED = "finished"


class AssignmentState(StrEnum):
    """Where one vehicle stands in one action."""

    PENDING = "pending"  # its wave was not released, or another action is still open on the vehicle
    OFFERED = "offered"  # the gateway tells the vehicle; no report yet
    ACTIVE = "active"  # the vehicle reported work on it
    CANCELLING = "cancelling"  # the vehicle is told to stop; its answer is awaited
    DOWNLOADED = "downloaded"  # stored and verified, as a plan asked that only downloads
    INSTALLED = "installed"  # confirmed by the manifest; over DDI by what `ship/claims.py` takes for true
    FAILED = "failed"  # nothing was installed
    ROLLED_BACK = "rolled_back"  # installed and undone
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # the deadline passed without an outcome; silence is an outcome


OPEN_STATES = frozenset({AssignmentState.OFFERED, AssignmentState.ACTIVE, AssignmentState.CANCELLING})
CLOSED_STATES = frozenset(AssignmentState) - OPEN_STATES - {AssignmentState.PENDING}


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuFacts:
    """One ECU of one vehicle and the image it last reported; None where it never did."""

    name: str
    serial: str
    hardware_id: str
    is_primary: bool = False
    filename: str | None = None
    version: str | None = None
    image_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleFacts:
    """What is known of one vehicle: identity, place, tags, lists and last known configuration."""

    vin: str
    programme_id: str
    variant: str
    region: str = ""
    gateway: str = "native"
    release_id: str | None = None
    blocked_reason: str | None = None
    shut_out: bool = False  # its credentials were ended, and it neither enrolled nor reported since
    tags: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()  # that it is in
    attributes: Mapping[str, Any] = field(default_factory=dict)
    telemetry: Mapping[str, float | bool | str] = field(default_factory=dict)  # last known, by VSS path
    born_at: datetime | None = None
    ecus: Mapping[str, EcuFacts] = field(default_factory=dict)  # by ECU name


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """One software package as far as shipping needs it."""

    id: str
    ecu: str
    version: str
    filename: str
    format: str
    hardware_ids: tuple[str, ...]
    image_sha256: str
    image_sha512: str
    image_bytes: int
    release_counter: int
    requires: tuple[tuple[str, str], ...] = ()  # (ECU name, version range)
    conflicts: tuple[tuple[str, str], ...] = ()  # (ECU name, versions that must not run beside it)
    upgrades_from: str = "*"  # versions of its own ECU that it may be installed over


# (what the ECU can apply: "linux" or "mcu"; image it has; image it shall have) -> the delta between them
Deltas = Mapping[tuple[str, str, str], DeltaOffer]


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuDesign:
    """What the programme says of an ECU."""

    storage: str  # "ab" or "inplace"
    hardware_id: str = ""
    agent: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def ecu_class(self) -> str:
        """What the ECU could apply by itself: as `build/deltas` makes it."""
        return "linux" if self.storage == "ab" else "mcu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """ECUs, by name, that are installed together or not at all."""

    name: str
    ecus: tuple[str, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """One release, its packages resolved, and the programme's ECUs."""

    id: str
    programme_id: str
    version: str
    state: str
    lap_id: str | None = None
    variants: Mapping[str, Mapping[str, PackageFacts]]  # variant -> ECU name -> package
    groups: tuple[Group, ...] = ()
    post_checks: tuple[tuple[str, str], ...] = ()  # (ECU name, kind)
    preconditions: tuple[str, ...] = ()
    notes: str = ""
    rxswin: str = ""
    ecus: Mapping[str, EcuDesign] = field(default_factory=dict)
    back: Mapping[tuple[str, str], frozenset[str]] = field(
        default_factory=dict
    )  # ECU name and image -> newer images that a signed decision lets it replace
    back_until: datetime | None = None  # when those decisions end
    deltas: Deltas = field(default_factory=dict)  # to its images

    def delta(self, package: PackageFacts, has_sha256: str | None) -> DeltaOffer | None:
        """Return the delta from what an ECU has to one of this release's packages, if there is one."""
        design = self.ecus.get(package.ecu, EcuDesign(storage="inplace"))
        if has_sha256 is None:
            return None
        return self.deltas.get((design.ecu_class, has_sha256, package.image_sha256))


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownImages:
    """Images the programme has packages for: what can be fetched again, and at which counter."""

    counter_of: Mapping[str, int] = field(default_factory=dict)  # image sha256 -> release counter
    packages: Mapping[tuple[str, str], PackageFacts] = field(
        default_factory=dict
    )  # by ECU name, image sha256
    named: Mapping[tuple[str, str, str], PackageFacts] = field(
        default_factory=dict
    )  # by these and the file name: all packages of an image


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is on record of an ECU from before a campaign's update.

    Attributes:
        image_sha256: that the image which runs now took the place of since; None: it did not, or nobody saw it.
        known: whether it was on record, by then, what the ECU ran.
        filename: under which the vehicle told that image.
    """

    image_sha256: str | None
    known: bool
    filename: str = ""


NOTHING_ON_RECORD = Before(image_sha256=None, known=False)


class Severity(StrEnum):
    """What a finding does to the plan."""

    BLOCKING = "blocking"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFinding:
    """One thing the checker says about a plan."""

    severity: Severity
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """One campaign as it is stored."""

    id: str
    name: str
    release_id: str
    lap_id: str | None
    state: CampaignState
    state_reason: str
    state_at: datetime | None
    wave: int
    plan_id: str | None
    generation: int
    created_by: str
    created_at: datetime
    finished_at: datetime | None
