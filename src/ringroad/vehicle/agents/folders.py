"""Update agents of an ECU that is a folder of this computer: plain files, or a container's file system.

::

    versions/{sha256}/        one whole version, never changed once it has its name
    versions/{sha256}.json    what it is, and the digest of all that is in it
    current                   symbolic link to the version that runs
    state.json                the version that was committed, and the anti-rollback counter

Whatever uses the software opens it through ``current``, which is flipped in one step.
There is no bootloader: a version on trial stays until it is committed or rolled back, over power cuts too.

Invariant: what ``current`` is made to point at was read back and has the digest it had when its image's hash was checked;
but for what it pointed at before the first image came, which a rollback of that image gives back unseen.
"""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

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
from ringroad.vehicle.agents.commands import run_command
from ringroad.vehicle.agents.disk import point, replace
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.receive import beside, receive
from ringroad.vehicle.agents.session import Refusal
from ringroad.vehicle.agents.trees import tree_digest, unpack

COMMAND_S_MAX: Final = 120  # s; a restart or a health check that takes longer has failed
STATE: Final = "state.json"
CURRENT: Final = "current"
VERSIONS: Final = "versions"
SETTINGS: Final = ("restart", "health")


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What one folder of versions holds."""

    version: str
    sha256: str  # of the image file
    release_counter: int
    tree_sha256: str
    image_bytes: int = 0


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is for good, and which version was last started."""

    committed: str = ""  # SHA-256 of its image; empty for an ECU that has none yet
    committed_counter: int = 0
    started: str = ""
    before: str = (
        ""  # what `current` pointed at before the last image was activated; read until one is committed
    )


class FolderAgent(ABC):
    """An `UpdateAgent` for one folder."""

    def __init__(self, site: AgentSite) -> None:
        if site.mode != "ab":
            raise InvalidInput(f'{site.name}: versions lie side by side, so its mode is "ab"')
        self._site = site
        self._disk = site.disk
        self._folder = site.folder
        self._restart = shlex.split(site.setting("restart", ""))
        self._health = shlex.split(site.setting("health", ""))

    @abstractmethod
    def _settle(self, arrived: Path, folder: Path) -> None:
        """Put what `arrived` holds into `folder`. Raises: InvalidInput, OSError."""

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """Put the version beside the one that runs."""
        try:
            return await self._stage(image, source, progress)
        except Refusal as refusal:
            return refusal.failed
        except InvalidInput as error:
            return Failed(reason=Reason.IMAGE_MALFORMED, detail=error.message)
        except OSError as error:
            return Failed(reason=Reason.TRANSFER_FAILED, detail=f"{error.strerror or error}")

    # It may have been lost since it was staged; then it is put there again.
    install = prepare

    async def activate(self, image: EcuImage) -> Outcome:
        """Flip ``current``, and start what it points at."""
        try:
            if (await self._found(image.sha256)) is None:
                return Failed(reason=Reason.NOT_STAGED, detail="the version is not here, or was changed")
            state = self._state()
            if not state.committed and self._current() != image.sha256:
                self._keep(msgspec.structs.replace(state, before=self._link()))
            return await self._run(image.sha256)
        except OSError as error:
            return _failed(error)

    async def verify(
        self,
        image: EcuImage,
        checks: frozenset[CheckKind],
        *,
        known_faults: frozenset[str] = frozenset(),  # noqa: ARG002 - a folder stores no fault codes
    ) -> Outcome:
        """Read all that runs back; with ``self_test`` run the health check."""
        try:
            running = await self._running()
        except OSError as error:
            return _failed(error)
        if running is None:
            return Failed(reason=Reason.BOOT_FAILED, detail="nothing whole runs")
        if running.sha256 != image.sha256:
            return Failed(reason=Reason.NOT_ACTIVE, detail=f"{running.version} runs")
        if "version" in checks and running.version != image.target.version:
            return Failed(reason=Reason.VERSION_MISMATCH, detail=f"{running.version!r} is here")
        if "self_test" in checks and self._health:
            ended = await run_command(self._health, within_s=COMMAND_S_MAX, folder=self._folder / CURRENT)
            if not ended.good:
                return Failed(reason=Reason.SELF_TEST_FAILED, detail=ended.told)
        return Done()

    async def commit(self, image: EcuImage) -> Outcome:
        """Keep what runs, and advance the counter; the version before goes."""
        try:
            running, state = await self._running(), self._state()
            if running is None or running.sha256 != image.sha256:
                return Failed(reason=Reason.NOT_ACTIVE, detail="another version runs; activate again")
            counter = max(state.committed_counter, image.release_counter)
            already = state.committed == image.sha256 and state.committed_counter == counter
            if not already:
                self._keep(msgspec.structs.replace(state, committed=image.sha256, committed_counter=counter))
            self._clear(image.sha256)
            return Done(already=already)
        except OSError as error:
            return _failed(error)

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,  # noqa: ARG002 - the version before is still here
        source: ImageSource | None = None,  # noqa: ARG002
        progress: Progress,  # noqa: ARG002
    ) -> Outcome:
        """Flip ``current`` back to what was committed."""
        try:
            state, now = self._state(), self._current()
            if state.committed == image.sha256:
                if state.committed_counter < image.release_counter:
                    return Done(already=True)  # it ran before, with a counter of its own
                return Failed(reason=Reason.ALREADY_COMMITTED, detail="roll forward with a new release")
            if state.committed:
                if now != state.committed and (await self._found(state.committed)) is None:
                    detail = "the version before is not here, or was changed"
                    return Failed(reason=Reason.BOOT_FAILED, detail=detail)
                return await self._run(state.committed, already=now != image.sha256)
            if now != image.sha256:
                return Done(already=True)  # what its supplier put there
            if state.before:
                return await self._run(Path(state.before).name, target=state.before)
            self._disk.remove(self._folder / CURRENT)  # it left its supplier without software
            return Done()
        except OSError as error:
            return _failed(error)

    async def inventory(self) -> EcuInventory | Failed:
        """Read the folder."""
        try:
            running, state = await self._running(), self._state()
            staged = [one for one in await self._all() if running is None or one.sha256 != running.sha256]
        except OSError as error:
            return _failed(error)
        return EcuInventory(
            serial=self._site.serial,
            hardware_id=self._site.hardware_id,
            mode="application" if running is not None else "bootloader",
            running=_software(running),
            trial=running is not None and running.sha256 != state.committed,
            staged=_software(staged[0]) if staged else None,
            committed_counter=state.committed_counter,
            faults=(),
        )

    @property
    def operations(self) -> frozenset[str]:
        """A restart and a self-test, where there are programs for them."""
        return frozenset(
            name for name, program in (("reset", self._restart), ("self-test", self._health)) if program
        )

    async def operate(self, operation: str) -> Mapping[str, Any] | Failed:
        """Run the program that starts what is current, or the health check."""
        program = self._restart if operation == "reset" else self._health
        ended = await run_command(program, within_s=COMMAND_S_MAX, folder=self._folder / CURRENT)
        if operation == "self-test":
            return {"passed": ended.good, "said": ended.told}
        return {} if ended.good else Failed(reason=Reason.BOOT_FAILED, detail=ended.told)

    async def close(self) -> None:  # noqa: B027 - a folder needs no connection
        """Nothing to drop."""

    # Steps ---------------------------------------------------------------------------------------

    async def _stage(self, image: EcuImage, source: ImageSource, progress: Progress) -> Outcome:
        state = self._state()
        refused = unfit(image, hardware_id=self._site.hardware_id, committed_counter=state.committed_counter)
        if refused is not None:
            return refused
        if (found := await self._found(image.sha256)) is not None:
            if not is_as_signed(found, image) and self._current() != image.sha256:
                self._label(
                    msgspec.structs.replace(
                        found, version=image.target.version, release_counter=image.release_counter
                    )
                )
            progress(image.length_bytes, image.length_bytes)
            return Done(already=True)
        arrived, fresh = self._folder / "arrived", self._folder / "fresh"
        await receive(image, source, arrived, disk=self._disk, progress=progress)
        self._disk.remove(fresh)
        self._disk.make_folder(fresh)
        await beside(lambda: self._settle(arrived, fresh), size_bytes=image.length_bytes)
        versions = self._folder / VERSIONS
        self._disk.make_folder(versions)
        what = Version(
            version=image.target.version,
            sha256=image.sha256,
            release_counter=image.release_counter,
            tree_sha256=await beside(lambda: tree_digest(fresh), size_bytes=image.length_bytes),
            image_bytes=image.length_bytes,
        )
        self._disk.remove(versions / image.sha256)
        self._label(what)
        self._disk.rename(fresh, versions / image.sha256)
        self._disk.remove(arrived)
        return Done()

    def _label(self, what: Version) -> None:
        replace(self._disk, self._folder / VERSIONS / f"{what.sha256}.json", msgspec.json.encode(what))

    async def _run(self, sha256: str, *, target: str = "", already: bool = False) -> Outcome:
        """Make a version current and started; both may be so already. `target`: where it is, if not among ours."""
        flip = self._current() != sha256
        if flip:
            point(self._disk, self._folder / CURRENT, target or f"{VERSIONS}/{sha256}")
        state = self._state()
        if self._restart and (flip or state.started != sha256):
            ended = await run_command(self._restart, within_s=COMMAND_S_MAX, folder=self._folder / CURRENT)
            if not ended.good:
                return Failed(reason=Reason.BOOT_FAILED, detail=ended.told)
            self._keep(msgspec.structs.replace(state, started=sha256))
            return Done()
        return Done(already=already or not flip)

    def _clear(self, keep: str) -> None:
        versions = self._folder / VERSIONS
        for path in sorted(versions.iterdir()):
            if path.name.partition(".")[0] != keep:
                self._disk.remove(path)
        for name in ("arrived", "fresh"):
            if (self._folder / name).exists():
                self._disk.remove(self._folder / name)

    # What is there -------------------------------------------------------------------------------

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

    def _current(self) -> str:
        """Return the digest that ``current`` points at; empty if it points nowhere."""
        return Path(self._link()).name

    def _link(self) -> str:
        path = self._folder / CURRENT
        return str(path.readlink()) if path.is_symlink() else ""

    async def _running(self) -> Version | None:
        return await self._found(self._current())

    async def _found(self, sha256: str) -> Version | None:
        """Return a version if it is here and nothing of it was changed."""
        folder, label = self._folder / VERSIONS / sha256, self._folder / VERSIONS / f"{sha256}.json"
        if not sha256 or not folder.is_dir() or not label.is_file():
            return None
        try:
            found = msgspec.json.decode(label.read_bytes(), type=Version)
        except msgspec.MsgspecError:
            return None
        if found.sha256 != sha256:
            return None
        digest = await beside(lambda: tree_digest(folder), size_bytes=found.image_bytes)
        return found if digest == found.tree_sha256 else None

    async def _all(self) -> list[Version]:
        versions = self._folder / VERSIONS
        names = sorted(path.name for path in versions.iterdir()) if versions.is_dir() else []
        return [found for name in names if "." not in name and (found := await self._found(name)) is not None]


class FilesAgent(FolderAgent):
    """The image is one file of the version, under the name its setting ``file`` says."""

    def __init__(self, site: AgentSite) -> None:
        super().__init__(site)
        self._name = site.setting("file", "image")
        if Path(self._name).name != self._name:
            raise InvalidInput(f"{site.name}: the setting file is a name, not a path")
        site.known(*SETTINGS, "file")

    def _settle(self, arrived: Path, folder: Path) -> None:
        self._disk.rename(arrived, folder / self._name)


class ContainerAgent(FolderAgent):
    """The image is a tar archive: of a file system, or an OCI image layout, whose layers are put on each other."""

    def __init__(self, site: AgentSite) -> None:
        super().__init__(site)
        site.known(*SETTINGS)

    def _settle(self, arrived: Path, folder: Path) -> None:
        unpack(arrived, folder, self._disk)


def _failed(error: OSError) -> Failed:
    return Failed(reason=Reason.ECU_REFUSED, detail=f"its folder cannot be used: {error.strerror or error}")


def _software(version: Version | None) -> Software | None:
    if version is None:
        return None
    return Software(version=version.version, sha256=version.sha256, release_counter=version.release_counter)
