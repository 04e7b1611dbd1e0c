"""Update agents of an ECU with two slots that a program of its own writes: SWUpdate, RAUC.

The program checks, writes and boots; the agent knows which image lies in which slot, and reads the slot back.

::

    state.json    what each slot holds, with the digest of its content; the slot that was committed; the counter;
                  during a trial the slot to go back to
    arrived       the image file that the program is given

1. prepare: the image is received and hashed; the slot's record is dropped; the program writes the slot; it is read back.
2. activate: the slot to go back to is written down; the program boots the other, on trial where its bootloader can.
3. commit: the program confirms it, and the counter advances.
4. rollback: the slot that was written down is booted, whatever lies in either, and confirmed, even if it never ceased
   to run: the bootloader may have been told to take the other one next.

Invariant: a slot counts as holding an image only if its content has the digest it had when the program had written it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import (
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    ImageSource,
    Outcome,
    Progress,
    Reason,
    Software,
    is_as_signed,
    unfit,
)
from ringroad.vehicle.agents.commands import Ended
from ringroad.vehicle.agents.disk import replace
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.receive import SMALL_BYTES, beside, receive
from ringroad.vehicle.agents.session import Refusal

STATE: Final = "state.json"
ARRIVED: Final = "arrived"


class SlotSystem(Protocol):
    """Two slots, and the program that writes and boots them. Every call may be repeated."""

    @property
    def formats(self) -> frozenset[str]:
        """Image formats that the program installs."""
        ...

    async def slots(self) -> tuple[str, str]:
        """Return the booted slot and the other one. Raises: Refusal, if the program does not say."""
        ...

    async def write(self, image: Path, slot: str, *, size_bytes: int, progress: Progress) -> Ended:
        """Check an image file and write it into the slot that is not booted."""
        ...

    async def boot(self, slot: str) -> Ended:
        """Boot a slot, on trial if the bootloader knows one; return once it is booted or failed."""
        ...

    async def confirm(self, slot: str) -> Ended:
        """Make the booted slot the one that is booted for good, whichever one the bootloader would take next."""
        ...

    async def self_test(self, slot: str) -> Ended:
        """Run the self-test of what is booted."""
        ...

    def content(self, slot: str) -> Path:
        """Return the file or device of a slot."""
        ...

    @property
    def operations(self) -> frozenset[str]:
        """``self-test`` where there is a health check, ``reset`` where there is a program that restarts what is booted."""
        ...

    async def restart(self) -> Ended:
        """Restart what is booted."""
        ...


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one slot holds."""

    version: str
    sha256: str  # of the image file
    release_counter: int
    content_sha256: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows; everything else is asked of the program."""

    slots: dict[str, Held] = {}
    committed: str = ""  # slot; empty before the first commit
    committed_counter: int = 0
    origin: str = ""  # slot that was booted before a trial; empty once it was committed or rolled back


class SlotsAgent:
    """An `UpdateAgent` for two slots of a program."""

    def __init__(self, site: AgentSite, system: SlotSystem) -> None:
        if site.mode != "ab":
            raise InvalidInput(f'{site.name}: it has two slots, so its mode is "ab"')
        self._site = site
        self._system = system
        self._disk = site.disk
        self._folder = site.folder

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Have the image written into the slot that is not booted."""
        try:
            return await self._stage(image, source, progress)
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return Failed(reason=Reason.TRANSFER_FAILED, detail=f"{error.strerror or error}")

    # The slot may have been lost since it was staged; then it is written again.
    install = prepare

    async def activate(self, image: EcuImage) -> Outcome:
        """Boot the slot that holds the image."""
        try:
            booted, other = await self._system.slots()
            if _is(await self._held(booted), image):
                return Done(already=True)
            if not _is(await self._held(other), image):
                return Failed(reason=Reason.NOT_STAGED, detail=f"slot {other} does not hold this image")
            self._keep(msgspec.structs.replace(self._state(), origin=booted))
            return await self._boot(other)
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return _failed(error)

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),  # noqa: ARG002 - the program stores no fault codes
    ) -> Outcome:
        """Read the booted slot back; with ``self_test`` run the health check."""
        try:
            booted, _ = await self._system.slots()
            running = await self._held(booted)
            if not _is(running, image):
                detail = (
                    f"{running.version} runs" if running is not None else f"slot {booted} holds nothing known"
                )
                return Failed(reason=Reason.NOT_ACTIVE, detail=detail)
            if running is not None and "version" in checks and running.version != image.target.version:
                return Failed(reason=Reason.VERSION_MISMATCH, detail=f"{running.version!r} is here")
            if "self_test" in checks and not (ended := await self._system.self_test(booted)).good:
                return Failed(reason=Reason.SELF_TEST_FAILED, detail=ended.told)
            return Done()
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return _failed(error)

    async def commit(self, image: EcuImage) -> Outcome:
        """Confirm the booted slot, and advance the counter."""
        try:
            booted, _ = await self._system.slots()
            if not _is(await self._held(booted), image):
                return Failed(reason=Reason.NOT_ACTIVE, detail="another image runs; activate again")
            state = self._state()
            counter = max(state.committed_counter, image.release_counter)
            if state.committed == booted and state.committed_counter == counter and not state.origin:
                return Done(already=True)
            if not (ended := await self._system.confirm(booted)).good:
                return Failed(reason=Reason.ECU_REFUSED, detail=ended.told)
            state = msgspec.structs.replace(state, committed=booted, committed_counter=counter, origin="")
            self._keep(state)
            return Done()
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return _failed(error)

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,  # noqa: ARG002 - the other slot is the backup
        source: ImageSource | None = None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        """Boot the slot that was booted before the trial, and make it the one that is booted for good."""
        try:
            booted, other = await self._system.slots()
            state = self._state()
            origin = state.origin
            if not origin:
                # By its record alone: whoever wrote into the slot since did not undo the update.
                if not _is(state.slots.get(booted), image):
                    return Done(already=True)
                if state.committed == booted:
                    if state.committed_counter < image.release_counter:
                        return Done(already=True)  # it ran before the update
                    return Failed(reason=Reason.ALREADY_COMMITTED, detail="roll forward with a new release")
                origin = other  # it was booted by a version of this agent that wrote no origin down
            if origin != booted and isinstance(outcome := await self._boot(origin), Failed):
                return outcome
            if not (ended := await self._system.confirm(origin)).good:
                return Failed(reason=Reason.ECU_REFUSED, detail=ended.told)
            self._keep(msgspec.structs.replace(state, origin=""))
            return Done()
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return _failed(error)

    async def inventory(self) -> EcuInventory | Failed:
        """Ask the program, and read the slots."""
        try:
            booted, other = await self._system.slots()
            state = self._state()
            running, staged = await self._held(booted), await self._held(other)
        except Refusal as refusal:
            return refusal.failed
        except OSError as error:
            return _failed(error)
        return EcuInventory(
            serial=self._site.serial,
            hardware_id=self._site.hardware_id,
            mode="application" if running is not None else "bootloader",
            running=_software(running),
            trial=(running is not None and booted != state.committed) or state.origin not in {"", booted},
            staged=_software(staged),
            committed_counter=state.committed_counter,
            faults=(),
        )

    @property
    def operations(self) -> frozenset[str]:
        """As the program has them."""
        return self._system.operations

    async def operate(self, operation: str) -> Mapping[str, Any] | Failed:
        """Restart what is booted, or run its health check."""
        try:
            if operation == "self-test":
                ended = await self._system.self_test((await self._system.slots())[0])
                return {"passed": ended.good, "said": ended.told}
            ended = await self._system.restart()
            return {} if ended.good else Failed(reason=Reason.BOOT_FAILED, detail=ended.told)
        except Refusal as refusal:
            return refusal.failed

    async def close(self) -> None:
        """Nothing to drop."""

    # Steps -----------------------------------------------------------------------------------------

    async def _stage(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        state = self._state()
        booted, other = await self._system.slots()
        if _is(await self._held(booted), image):
            return Done(already=True)
        refused = unfit(image, hardware_id=self._site.hardware_id, committed_counter=state.committed_counter)
        if refused is not None:
            return refused
        if image.target.format not in self._system.formats:
            return Failed(
                reason=Reason.UNSUPPORTED_FORMAT,
                detail=f"{image.target.format} is not what its program installs",
            )
        held = await self._held(other)
        if held is not None and _is(held, image):
            if state.committed != other and not is_as_signed(held, image):
                named = msgspec.structs.replace(
                    held, version=image.target.version, release_counter=image.release_counter
                )
                self._keep(msgspec.structs.replace(state, slots={**state.slots, other: named}))
            return Done(already=True)
        if state.committed == other:
            return Failed(reason=Reason.PRECONDITION, detail="another image is on trial")
        arrived = self._folder / ARRIVED
        await receive(image, source, arrived, disk=self._disk, progress=progress)
        if other in state.slots:
            state = msgspec.structs.replace(state, slots={k: v for k, v in state.slots.items() if k != other})
            self._keep(state)
        ended = await self._system.write(arrived, other, size_bytes=image.length_bytes, progress=progress)
        self._disk.remove(arrived)
        if not ended.good:
            return Failed(reason=Reason.CHECK_FAILED, detail=ended.told)
        held = Held(
            version=image.target.version, sha256=image.sha256, release_counter=image.release_counter,
            content_sha256=await self._digest(other),
        )  # fmt: skip
        self._keep(msgspec.structs.replace(state, slots={**state.slots, other: held}))
        return Done()

    async def _boot(self, slot: str) -> Outcome:
        ended = await self._system.boot(slot)
        if not ended.good:
            return Failed(reason=Reason.BOOT_FAILED, detail=ended.told)
        booted, _ = await self._system.slots()
        if booted != slot:
            return Failed(reason=Reason.BOOT_FAILED, detail=f"slot {booted} was booted, not {slot}")
        return Done()

    async def _held(self, slot: str) -> Held | None:
        """Return what a slot holds, if it still does."""
        held = self._state().slots.get(slot)
        return held if held is not None and await self._digest(slot) == held.content_sha256 else None

    async def _digest(self, slot: str) -> str:
        path = self._system.content(slot)
        # How large a device is, is known once it was read.
        return await beside(lambda: _digest(path), size_bytes=SMALL_BYTES + 1)

    def _state(self) -> State:
        path = self._folder / STATE
        if not path.exists():
            return State()
        try:
            return msgspec.json.decode(path.read_bytes(), type=State)
        except msgspec.MsgspecError as error:
            raise OSError(0, f"{path} does not read back") from error

    def _keep(self, state: State) -> None:
        replace(self._disk, self._folder / STATE, msgspec.json.encode(state))


def _digest(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is(held: Held | None, image: EcuImage) -> bool:
    return held is not None and held.sha256 == image.sha256


def _software(held: Held | None) -> Software | None:
    if held is None:
        return None
    return Software(version=held.version, sha256=held.sha256, release_counter=held.release_counter)


def _failed(error: OSError) -> Failed:
    return Failed(reason=Reason.ECU_REFUSED, detail=f"its slots cannot be used: {error.strerror or error}")
