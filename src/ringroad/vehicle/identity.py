"""The vehicle's signed word about itself: the vehicle version manifest, and when it is due.

One is sent at the first start and after every campaign; and, if ECUs run something else than it said, as a workshop
leaves them, at a start and before an update is refused, so that the server can tell why. An image that is neither one
of the vehicle's own nor listed by the Image repository is told as just that, with the digest that its ECU tells, once
the repository was asked for an update.
Each ECU's report is signed with that ECU's key, the whole with the Primary's.

Source: Uptane 2.1 sections 5.4.2.1.1 and 5.4.2.1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from securesystemslib.signer import CryptoSigner

from ringroad.kernel.errors import Corrupt, RingroadError, Unavailable
from ringroad.kernel.vin import Vin
from ringroad.trust.attacks import Attack
from ringroad.trust.manifest import UNLISTED, build_ecu_report, build_manifest, decode_manifest
from ringroad.trust.state import TrustState, VerifiedTarget
from ringroad.trust.verify import ListedImage, find_image
from ringroad.vehicle.agents.base import EcuInventory, Failed
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.plan import EcuOnBoard
from ringroad.vehicle.states import CampaignState

MANIFEST_NAME: Final = "manifest.state"
LOOKS_MAX: Final = 5  # after a start, while an ECU does not answer


Inventory = Mapping[str, EcuInventory | Failed]  # what ECUs answered, by serial


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlistedImage:
    """What an ECU runs that nobody lists: its digest is all that is known."""

    sha256: str
    filename: str = UNLISTED
    length: None = None
    sha512: None = None


class ManifestState(msgspec.Struct, frozen=True, kw_only=True):
    """What must not be forgotten between manifests."""

    counter: int = 0  # of the newest report signed; never used twice
    told: str = ""  # the state of affairs the server last accepted a manifest of
    shown: dict[str, str] = {}  # digest of the image that it said each ECU runs, by serial


class ManifestBook:
    """The counter of manifests and what was told, in one small file."""

    def __init__(self, folder: Path, *, durability: Durability) -> None:
        """Read the file.

        Raises:
            Corrupt: it does not read back.
        """
        self._path = folder / MANIFEST_NAME
        self._durability: Durability = durability
        self._state = ManifestState()
        if self._path.exists():
            try:
                self._state = msgspec.json.decode(self._path.read_bytes(), type=ManifestState)
            except msgspec.MsgspecError as error:
                raise Corrupt(
                    f"{MANIFEST_NAME} does not read back", hint="the vehicle needs a service"
                ) from error

    def due(self, state: CampaignState) -> bool:
        """Say whether the server has not seen a manifest since the last campaign ended."""
        return state.resting and self._state.told != _affairs(state)

    def next_counter(self) -> int:
        """Return a number higher than any before, durably taken."""
        self._put(msgspec.structs.replace(self._state, counter=self._state.counter + 1))
        return self._state.counter

    def differs(self, inventory: Inventory) -> bool:
        """Say whether an ECU runs an image that the server was not told of; one that does not answer says nothing."""
        shown = self._state.shown
        return any(sha256 != shown.get(serial) for serial, sha256 in _running(inventory).items())

    def accepted(self, state: CampaignState, manifest: bytes) -> None:
        """Note that the server has the manifest of `state`, and what it says.

        What it says to be listed nowhere is told again: it may be listed by then.
        """
        images = {serial: one.installed_image for serial, one in decode_manifest(manifest).reports.items()}
        shown = {serial: one.hashes.sha256 for serial, one in images.items() if one.filename != UNLISTED}
        self._put(ManifestState(counter=self._state.counter, told=_affairs(state), shown=shown))

    def _put(self, state: ManifestState) -> None:
        replace_file(self._path, msgspec.json.encode(state), durability=self._durability)
        self._state = state


def sign_manifest(
    *,
    vin: Vin,
    ecus: tuple[EcuOnBoard, ...],
    inventory: Inventory,
    state: CampaignState,
    trust: TrustState,
    keys: Mapping[str, CryptoSigner],
    counter: int,
    fresh: bool,
    now: datetime,
) -> bytes:
    """Return the signed manifest of what every ECU runs.

    Args:
        vin: of the vehicle.
        ecus: all of them.
        inventory: what each of them answered, by serial.
        state: of the orchestrator; knows which images were installed, and an attack that ended the last campaign.
        trust: of the vehicle; knows images that others installed, if the Image repository lists them.
        keys: each ECU's signer, by serial.
        counter: from `ManifestBook.next_counter`.
        fresh: what is listed was asked for, for this update; else nothing can be said to be listed nowhere.
        now: UTC.

    Raises:
        Unavailable: an ECU does not answer, or runs an image that nobody knows; a manifest that leaves one out
            would be refused.
    """
    attack = state.code if state.code in set(Attack) else ""
    reports = []
    for ecu in ecus:
        image = _running_image(ecu, inventory[ecu.serial], state, trust, fresh=fresh)
        reports.append(
            build_ecu_report(
                keys[ecu.serial],
                serial=ecu.serial,
                filename=image.filename,
                length=image.length,
                sha256=image.sha256,
                sha512=image.sha512,
                latest_time=now,
                counter=counter,
                attacks_detected=attack if ecu.primary else "",
            )
        )
    primary = next(ecu.serial for ecu in ecus if ecu.primary)
    return build_manifest(keys[primary], vin=vin, primary_serial=primary, reports=reports)


def is_worth_a_look(inventory: Inventory, failed: RingroadError | None, *, looks: int) -> bool:
    """Say whether a later look at what ECUs run may tell more.

    Args:
        inventory: what they answered now; one that did not may do so later, also when all others are as told.
        failed: why the server could not be told.
        looks: so far, since the start.
    """
    if any(isinstance(answer, Failed) for answer in inventory.values()):
        return looks < LOOKS_MAX
    return isinstance(failed, Unavailable) and failed.code != "manifest_unknown_image"


def _running_image(
    ecu: EcuOnBoard, answer: EcuInventory | Failed, state: CampaignState, trust: TrustState, *, fresh: bool
) -> VerifiedTarget | ListedImage | UnlistedImage:
    if isinstance(answer, Failed):
        raise Unavailable(f"{ecu.name} does not answer: {answer.reason}", code="manifest_incomplete")
    running = answer.running.sha256 if answer.running is not None else ""
    known = [state.installed.get(ecu.serial), ecu.factory]
    if state.plan is not None and ecu.serial in state.ecus:
        planned = state.plan.ecu(ecu.serial)
        known += [planned.target, planned.backup]
    for image in known:
        if image is not None and image.sha256 == running:
            return image
    if answer.running is not None:
        listed = find_image(trust, running, hardware_id=answer.hardware_id, version=answer.running.version)
        if listed is not None:
            return listed
        if fresh:
            return UnlistedImage(sha256=running)
    what = f"an unknown image {running[:12]}" if running else "no software"
    raise Unavailable(f"{ecu.name} runs {what}", code="manifest_unknown_image")


def _running(inventory: Inventory) -> dict[str, str]:
    return {
        serial: answer.running.sha256
        for serial, answer in inventory.items()
        if not isinstance(answer, Failed) and answer.running is not None
    }


def _affairs(state: CampaignState) -> str:
    return f"{state.epoch} {state.action_id} {state.state}"
