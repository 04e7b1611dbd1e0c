"""SWUpdate, the Debian program, as the writer of two slots: ``swupdate -e SELECTION,SLOT -i image.swu``.

Its settings:

============== ================================================================================================
``public_key`` certificate or key that the image must be signed with (``-k``); without one nothing is installed
``hardware``   ``board:revision`` that the image must be for (``-H``)
``selection``  software set of ``sw-description``; default ``stable``. The slot's name is the mode in it
``slot_a``     file or device that mode ``slot-a`` of the set writes, read back by the agent
``slot_b``     the same for ``slot-b``
``boot``       program that knows the bootloader: ``current`` prints the booted slot, ``try SLOT`` boots one on trial and
               returns when it is booted, ``confirm SLOT`` ends the trial: the booted ``SLOT`` is booted from then on, also
               if a ``try`` of the other one failed half-way
``health``     program that ends with 0 when what is booted is well; default none
============== ================================================================================================
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.agents.base import Progress, Reason, UpdateAgent
from ringroad.vehicle.agents.commands import Ended, run_command
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import Refusal
from ringroad.vehicle.agents.slots import SlotsAgent

INSTALL_S_MAX: Final = 3_600  # s; 8 GiB at 3 MB/s, the slowest flash of the trade
BOOT_S_MAX: Final = 300
TRIES_MAX: Final = 3  # when it says neither that it was successful nor that it failed
SUCCESSFUL: Final = "SWUPDATE successful"
FAILED: Final = "SWUPDATE failed"
CONNECT_S: Final = 0.02  # s; between two looks for its progress socket
MESSAGE_BYTES: Final = 2_416  # of one message on it
STEPS_MAX: Final = 1_000  # more images than a .swu has; other numbers are of another version's message
_MESSAGE: Final = struct.Struct(
    "<III4xQIII"
)  # magic, status, download in percent and bytes, steps, step, percent
SLOTS: Final = ("slot-a", "slot-b")


class SwupdateSlots:
    """A `SlotSystem` whose program is SWUpdate."""

    formats = frozenset({"swu"})

    def __init__(self, site: AgentSite) -> None:
        site.known(
            "public_key",
            "hardware",
            "selection",
            *(name.replace("-", "_") for name in SLOTS),
            "boot",
            "health",
        )
        self._folder = site.folder
        self._key = Path(site.setting("public_key"))
        if not self._key.is_file():
            raise InvalidInput(f"{site.name}: {self._key} is no file", hint="the setting public_key")
        self._hardware = site.setting("hardware")
        self._selection = site.setting("selection", "stable")
        self._content = {name: Path(site.setting(name.replace("-", "_"))) for name in SLOTS}
        self._boot = shlex.split(site.setting("boot"))
        self._health = shlex.split(site.setting("health", ""))

    async def slots(self) -> tuple[str, str]:
        """Ask the boot program."""
        ended = await self._boot_program("current")
        booted = ended.output.strip()
        if not ended.good or booted not in SLOTS:
            raise Refusal(Reason.ECU_REFUSED, f"the boot program does not name a slot: {ended.told}")
        return booted, SLOTS[1 - SLOTS.index(booted)]

    async def write(self, image: Path, slot: str, *, size_bytes: int, progress: Progress) -> Ended:
        """Run swupdate; its verification of signature, hashes and hardware comes before the first byte is written."""
        progress(0, size_bytes)
        ended = Ended(status=-1, output="")
        for _ in range(TRIES_MAX):
            ended = await self._install(image, slot, size_bytes=size_bytes, progress=progress)
            if ended.good or FAILED in ended.output:
                break
        if ended.good:
            progress(size_bytes, size_bytes)
        return ended

    async def _install(self, image: Path, slot: str, *, size_bytes: int, progress: Progress) -> Ended:
        """Run it once; what it says counts, not how it ends.

        Found with 2022.12 on a busy machine: one run in five ends with 1 although it said that it was successful, because
        its processes end each other.
        """
        command = [
            "swupdate", "-H", self._hardware, "-k", str(self._key), "-e", f"{self._selection},{slot}", "-i", str(image),
        ]  # fmt: skip
        watching = asyncio.create_task(
            _watch(
                self._folder / "swupdateprog",
                lambda permille: progress(size_bytes * permille // 1_000, size_bytes),
            )
        )
        try:
            # Its sockets live in TMPDIR: in the agent's own folder two of them do not meet.
            ended = await run_command(
                command, within_s=INSTALL_S_MAX, folder=self._folder, env={"TMPDIR": str(self._folder)}
            )
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if SUCCESSFUL in ended.output and FAILED not in ended.output:
            return Ended(status=0, output="")
        return Ended(status=ended.status or -1, output=_errors(ended.output))

    async def boot(self, slot: str) -> Ended:
        """Boot a slot on trial."""
        return await self._boot_program("try", slot)

    async def confirm(self, slot: str) -> Ended:
        """End the trial."""
        return await self._boot_program("confirm", slot)

    async def self_test(self, slot: str) -> Ended:  # noqa: ARG002 - it is the booted one
        """Run the health check."""
        if not self._health:
            return Ended(status=0, output="")
        return await run_command(self._health, within_s=BOOT_S_MAX, folder=self._folder)

    def content(self, slot: str) -> Path:
        """Return what the slot is."""
        return self._content[slot]

    @property
    def operations(self) -> frozenset[str]:
        """A self-test where there is a health check; its boot program knows no restart without a trial."""
        return frozenset({"self-test"} if self._health else ())

    async def restart(self) -> Ended:
        """Say that there is none."""
        return Ended(status=-1, output="its boot program restarts on trial alone")

    async def _boot_program(self, *words: str) -> Ended:
        return await run_command([*self._boot, *words], within_s=BOOT_S_MAX, folder=self._folder)


def make_agent(site: AgentSite) -> UpdateAgent:
    """Return the agent of a box with SWUpdate. Raises: InvalidInput, if a setting is missing."""
    return SlotsAgent(site, SwupdateSlots(site))


def read_progress(message: bytes) -> int | None:
    """Return how far SWUpdate is, in thousandths; None for a message that says nothing of it.

    Source: struct progress_msg of SWUpdate 2022.12, as it stands on its socket.
    """
    if len(message) != MESSAGE_BYTES:
        return None
    _, _, _, _, steps, step, percent = _MESSAGE.unpack_from(message)
    if not 1 <= step <= steps <= STEPS_MAX or percent > 100:
        return None
    permille: int = ((step - 1) * 1_000 + percent * 10) // steps
    return permille


async def _watch(socket: Path, told: Callable[[int], None]) -> None:
    """Tell how far SWUpdate is, as long as it says so. Nothing depends on it."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                while True:
                    permille = read_progress(await reader.readexactly(MESSAGE_BYTES))
                    if permille is not None:
                        told(permille)
            finally:
                writer.close()
        await asyncio.sleep(CONNECT_S)


def _errors(output: str) -> str:
    """Return the lines that name an error; the first one is usually the cause."""
    lines = [line.strip() for line in output.splitlines() if "ERROR" in line]
    return "\n".join(lines[:3]) or output
