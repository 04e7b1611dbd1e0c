"""What a vehicle and the native gateway say to each other.

Paths, all below ``/uptane/v1``, all over HTTPS, `Authorization: Bearer <device token>` where a VIN is named::

    GET  /image/{file}                     metadata of the Image repository: timestamp.json, 3.root.json, ...
    GET  /image/targets/{sha256}.{name}    an image; Range is honoured
    GET  /image/targets/{sha256}.delta     a delta that a Director target offers; Range is honoured
    GET  /director/{vin}/{file}            metadata of the vehicle's Director repository
    GET  /vehicles/{vin}                   Poll -> Command; answered from memory, ETag, 304; `HEARS` and `HEARS_WHY` beside it
    PUT  /vehicles/{vin}/manifest          signed vehicle version manifest (Uptane 5.4.2.1.1)
    POST /vehicles/{vin}/reports           ReportBatch -> Acknowledged; durable before it is answered

MQTT topics, user = VIN, password = device token::

    ringroad/v1/{vin}/telemetry            TelemetryBatch, QoS 1, vehicle to server
    ringroad/v1/{vin}/wake                 empty, QoS 0, server to vehicle: poll now
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.limits import ACTION_ID_MAX, DELTAS_MAX, ECUS_MAX, IMAGE_BYTES_MAX, TELEMETRY_BATCH_MAX

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
ShortText = Annotated[str, Meta(max_length=2_000)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Word = Annotated[str, Meta(max_length=200)]
ActionId = Annotated[int, Meta(ge=1, le=ACTION_ID_MAX)]
Bytes = Annotated[int, Meta(ge=0, le=2**53 - 1)]  # what every JSON library keeps exactly


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of our own messages: frozen, named, unknown fields refused."""


class Command(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Answer to a poll: what the vehicle should do next."""

    kind: Literal["none", "update", "cancel"]
    poll_s: int  # seconds until the next poll
    action_id: int | None = None
    # Whoever runs the fleet agreed to all of it in the driver's place. Said only to a vehicle whose poll has the
    # header `HEARS`: one from before refuses an answer with a member that it does not know.
    agreed: bool = False
    reason: ShortText = (
        ""  # why a cancel was ordered; said only to a vehicle whose poll has the header `HEARS_WHY`
    )


DRIVER_ALONE = (
    "by the driver alone"  # in the detail of a vehicle that waits, and takes no word but its driver's
)
HEARS = ("ringroad-hears", "agreed")  # header of a poll, and what it says
HEARS_WHY = ("ringroad-hears-why", "cancel")  # another, of a vehicle that takes the reason of a cancel

VehicleState = Literal[
    "IDLE", "SYNCING", "AWAITING_CONSENT", "DOWNLOADING", "VERIFYING", "STAGING", "READY", "INSTALLING", "CHECKING",
    "COMMITTING", "SUCCEEDED", "ROLLING_BACK", "ROLLED_BACK", "ROLLBACK_FAILED", "CANCELLED", "SUPERSEDED", "FAILED",
    "DOWNLOADED",
]  # fmt: skip
TERMINAL_STATES = frozenset(
    {"SUCCEEDED", "ROLLED_BACK", "ROLLBACK_FAILED", "CANCELLED", "SUPERSEDED", "FAILED", "DOWNLOADED"}
)


class Report(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One step of an update, told once; `id` is unique per vehicle and survives restarts.

    FAILED means that nothing was installed (verification, precondition); ROLLED_BACK that it was undone;
    DOWNLOADED that everything is stored and verified, as a campaign asked that only downloads.
    """

    id: Name
    action_id: ActionId
    state: VehicleState
    at: datetime
    ecu: Word = ""  # ECU serial, empty for the whole vehicle
    ecu_state: Word = (
        ""  # IDLE, STAGING, STAGED, INSTALLING, ACTIVATED, VERIFIED, COMMITTED, ROLLING_BACK, ...
    )
    done_bytes: Bytes = 0
    total_bytes: Bytes = 0
    code: Word = ""  # typed reason, e.g. "hash_mismatch", "precondition"
    detail: ShortText = ""


class ReportBatch(Message, frozen=True, kw_only=True):
    """Reports in the order they happened."""

    reports: Annotated[list[Report], Meta(max_length=1_000)]


class Acknowledged(Message, frozen=True, kw_only=True):
    """Ids of reports that are durable now; the vehicle may forget them."""

    ids: list[str]


class Sample(Message, frozen=True, kw_only=True):
    """One VSS sample."""

    at: datetime
    path: Name  # VSS path, e.g. Vehicle.Speed
    value: float | int | bool | str


class FaultEvent(Message, frozen=True, kw_only=True, omit_defaults=True):
    """A DTC's status changed on an ECU."""

    at: datetime
    ecu: Name  # ECU name in the programme
    code: Name  # e.g. P0A1F-00
    status: int  # ISO 14229 DTC status byte
    software_version: str  # "": the ECU runs none
    snapshot: dict[str, Any] = {}


class TelemetryBatch(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What a vehicle observed since its last batch; `(vin, batch)` is unique and survives restarts."""

    vin: Name
    batch: int
    made_at: datetime
    software: dict[str, str]  # ECU name -> running software version; without those that run none
    release: str = ""  # id of the release the vehicle last committed
    samples: Annotated[list[Sample], Meta(max_length=TELEMETRY_BATCH_MAX)] = []
    faults: Annotated[list[FaultEvent], Meta(max_length=TELEMETRY_BATCH_MAX)] = []


# Vehicle package ------------------------------------------------------------------------------------
# Travels inside the Director's signed Targets metadata as the top-level member "vehicle_package",
# next to the top-level member "vin". Signed metadata keeps unknown members, so these allow them.


class SignedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what travels inside signed metadata: unknown members are kept by the signer and ignored here."""


class UpdateGroup(SignedMessage, frozen=True, kw_only=True):
    """ECUs that are installed together or not at all."""

    name: Name
    ecus: Annotated[
        list[str], Meta(min_length=1, max_length=ECUS_MAX)
    ]  # ECU serials, in order of installation
    after: list[str] = []  # names of groups that must be committed first


class PostCheck(SignedMessage, frozen=True, kw_only=True):
    """What must hold after activation, before commit."""

    ecu: str  # ECU serial
    kind: Literal["version", "self_test", "no_new_faults"]


Urgency = Literal["forced", "soft", "download_only"]
Phase = Literal["download", "install", "activate"]
PHASES: tuple[Phase, ...] = ("download", "install", "activate")
# A vehicle that obeys `Conduct` counts this as true. One from before knows no such signal: it gets everything ready,
# names this term as what it waits for, and installs nothing that its driver was to be asked about.
OBEYS_CONDUCT = "Ringroad.ObeysConduct == true"


class Conduct(SignedMessage, frozen=True, kw_only=True):
    """How the vehicle goes about an update.

    Attributes:
        urgency: ``soft`` leaves it to the driver when it is installed; ``download_only`` stores it and ends there.
        consent: phases before which the driver is asked.
        install_s: seconds that the installation is estimated to take; 0 if nobody knows.
    """

    urgency: Urgency = "forced"
    consent: Annotated[list[Phase], Meta(max_length=len(PHASES))] = []
    install_s: Annotated[int, Meta(ge=0, le=2**31)] = 0

    @property
    def must_be_obeyed(self) -> bool:
        """Whether a vehicle that knows nothing of this must not install."""
        return bool(self.consent) or self.urgency == "download_only"


class VehiclePackage(SignedMessage, frozen=True, kw_only=True):
    """The signed manifest of one release for one vehicle."""

    release_id: Name
    release_version: Name
    action_id: int
    groups: Annotated[list[UpdateGroup], Meta(max_length=ECUS_MAX)]
    post_checks: list[PostCheck] = []
    preconditions: list[str] = []  # VSS terms, e.g. "Vehicle.Speed == 0"
    notes: ShortText = ""
    rxswin: str = ""
    rollback: bool = False  # a signed return to the previous release
    conduct: Conduct = Conduct()


DELTA_FILENAME = "delta"  # what every delta is served as, behind its digest


class DeltaOffer(SignedMessage, frozen=True, kw_only=True):
    """A shorter way to a target for whoever has another image; whoever cannot use it fetches the target.

    It says nothing that is installed: what comes of it is compared with the target's own digests.
    """

    algorithm: Word  # of `protocol.delta.apply`; a vehicle passes over what it does not know
    from_sha256: Sha256  # the image that the ECU has
    sha256: Sha256  # of the delta
    sha512: Annotated[str, Meta(pattern="^[0-9a-f]{128}$")]
    length: Annotated[int, Meta(ge=1, le=IMAGE_BYTES_MAX)]


class EcuTarget(SignedMessage, frozen=True, kw_only=True, omit_defaults=True):
    """`custom.ecus[serial]` of a Director target: how this image goes onto this ECU."""

    name: Name  # ECU name in the programme
    mode: Literal["ab", "inplace"]
    format: Literal["bin", "ihex", "srec", "mcuboot", "swu", "mender"]
    version: Name
    deltas: Annotated[tuple[DeltaOffer, ...], Meta(max_length=DELTAS_MAX)] = ()
