"""An update agent in a page: a door module with two slots on a disk, whose software is one small file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from ringroad.sim.agentkit import Image
from ringroad.sim.benches import FolderBench
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
    read_image,
    unfit,
)  # fmt: skip
from ringroad.vehicle.agents.disk import replace
from ringroad.vehicle.agents.plugins import AgentSite

SLOT_BYTES = 64 * 1024


class State(msgspec.Struct, frozen=True):
    """All that the door remembers; changed in one step."""

    running: Software | None = None
    other: Software | None = None
    trial: bool = False
    counter: int = 0

    def swapped(self, *, trial: bool) -> State:
        return State(self.other, self.running, trial, self.counter)


class DoorAgent:
    """Every verb reads the state first, changes it once, and finds "already so" a success."""

    def __init__(self, site: AgentSite) -> None:
        self.site = site
        self.file = site.folder / "door.json"

    def state(self) -> State:
        return msgspec.json.decode(self.file.read_bytes(), type=State) if self.file.exists() else State()

    def keep(self, state: State) -> Done:
        replace(self.site.disk, self.file, msgspec.json.encode(state))
        return Done()

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        state = self.state()
        refused = unfit(image, hardware_id=self.site.hardware_id, committed_counter=state.counter)
        if refused or holds(state.running, image) or is_as_signed(state.other, image):
            return refused or Done(already=True)
        if state.trial:
            return Failed(reason=Reason.PRECONDITION, detail="another image is on trial")
        content = await read_image(image, source, bytes_max=SLOT_BYTES)
        if isinstance(content, Failed):
            return content
        replace(self.site.disk, self.site.folder / image.sha256, content)
        progress(image.length_bytes, image.length_bytes)
        staged = Software(
            version=image.target.version, sha256=image.sha256, release_counter=image.release_counter
        )
        return self.keep(msgspec.structs.replace(state, other=staged))

    install = prepare

    async def activate(self, image: EcuImage) -> Outcome:
        state = self.state()
        if holds(state.running, image):
            return Done(already=True)
        if not holds(state.other, image):
            return Failed(reason=Reason.NOT_STAGED)
        return self.keep(state.swapped(trial=True))

    async def verify(
        self, image: EcuImage, checks: frozenset[CheckKind], *, known_faults: frozenset[str] = frozenset()
    ) -> Outcome:
        running = self.state().running
        if running is None or not holds(running, image):
            return Failed(reason=Reason.NOT_ACTIVE)
        if "version" in checks and running.version != image.target.version:
            return Failed(reason=Reason.VERSION_MISMATCH, detail=f"{running.version!r} is here")
        return Done()  # a door tests nothing of itself and stores no faults

    async def commit(self, image: EcuImage) -> Outcome:
        state = self.state()
        if not holds(state.running, image):
            return Failed(reason=Reason.NOT_ACTIVE)
        counter = max(state.counter, image.release_counter)
        if not state.trial and state.counter == counter:
            return Done(already=True)
        return self.keep(msgspec.structs.replace(state, trial=False, counter=counter))

    async def rollback(
        self, image: EcuImage, *, backup: EcuImage | None = None, source: ImageSource | None = None,
        progress: Progress,
    ) -> Outcome:  # fmt: skip
        state = self.state()
        if not holds(state.running, image):
            return Done(already=True)
        if not state.trial:
            return Failed(reason=Reason.ALREADY_COMMITTED)
        return self.keep(state.swapped(trial=False))

    async def inventory(self) -> EcuInventory | Failed:
        state = self.state()
        return EcuInventory(
            serial=self.site.serial, hardware_id=self.site.hardware_id,
            mode="application" if state.running else "bootloader", running=state.running,
            staged=state.other, trial=state.trial, committed_counter=state.counter, faults=(),
        )  # fmt: skip

    async def close(self) -> None:
        """There is no connection to drop."""


def holds(slot: Software | None, image: EcuImage) -> bool:
    return slot is not None and slot.sha256 == image.sha256


def bench() -> FolderBench:
    """The door on a bench, for `ringroad vehicle check-agent door_agent:bench`."""
    return FolderBench(
        DoorAgent, Path(tempfile.mkdtemp()) / "door",
        old=Image(content=b"door 1.0", version="1.0", release_counter=1),
        new=Image(content=b"door 2.0", version="2.0", release_counter=2),
    )  # fmt: skip
