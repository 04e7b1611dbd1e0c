"""RAUC, the Debian program, as the writer of two slots, through its D-Bus service: ``rauc install``, ``rauc status``.

Its ``system.conf`` must have ``activate-installed=false``: an installed slot is booted by `activate`, not by RAUC.

Its settings:

=========== ===============================================================================================
``conf``    its configuration file; default RAUC's own, ``/etc/rauc/system.conf``
``restart`` program that boots the slot which RAUC marked active, and returns when it is booted
``health``  program that ends with 0 when what is booted is well; default none
``bus``     D-Bus address of the service, if it is not on the system bus
=========== ===============================================================================================
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, Final

import msgspec

from ringroad.vehicle.agents.base import Progress, Reason, UpdateAgent
from ringroad.vehicle.agents.commands import Ended, run_command
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.session import Refusal
from ringroad.vehicle.agents.slots import SlotsAgent

INSTALL_S_MAX: Final = 3_600  # s; 8 GiB at 3 MB/s, the slowest flash of the trade
COMMAND_S_MAX: Final = 300
_PERCENT: Final = re.compile(r"^\s*(\d{1,3})% ")


class RaucSlots:
    """A `SlotSystem` whose program is RAUC. Slots have RAUC's names, such as ``rootfs.0``."""

    formats = frozenset({"bin"})  # a bundle is a file of its own kind, which packages hold as bytes

    def __init__(self, site: AgentSite) -> None:
        site.known("conf", "restart", "health", "bus")
        self._folder = site.folder
        conf, bus = site.setting("conf", ""), site.setting("bus", "")
        self._rauc = ["rauc", *([f"--conf={conf}"] if conf else [])]
        self._env = {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": bus} if bus else {}
        self._restart = shlex.split(site.setting("restart"))
        self._health = shlex.split(site.setting("health", ""))
        self._devices: dict[str, Path] = {}

    async def slots(self) -> tuple[str, str]:
        """Ask RAUC which slot is booted."""
        ended = await self._run("status", "--output-format=json")
        if not ended.good:
            raise Refusal(Reason.UNREACHABLE, ended.told)
        try:
            # RAUC's own messages may stand before the one line of JSON.
            line = next(line for line in ended.output.splitlines() if line.startswith("{"))
            listed: list[dict[str, Any]] = msgspec.json.decode(line)["slots"]
            found = {name: slot for entry in listed for name, slot in entry.items() if slot["bootname"]}
            self._devices = {name: Path(slot["device"]) for name, slot in found.items()}
            booted = [name for name, slot in found.items() if slot["state"] == "booted"]
        except (
            StopIteration, msgspec.MsgspecError, RecursionError, KeyError, TypeError, AttributeError
        ) as error:  # fmt: skip
            raise Refusal(Reason.ECU_REFUSED, f"what RAUC says is not understood: {error}") from error
        if len(booted) != 1 or len(found) != 2:
            raise Refusal(
                Reason.ECU_REFUSED,
                f"RAUC knows {len(found)} slots, {len(booted)} of them booted; two and one",
            )
        (other,) = set(found) - set(booted)
        return booted[0], other

    async def write(
        self,
        image: Path,
        slot: str,  # noqa: ARG002 - RAUC takes the slot that is not booted
        *,
        size_bytes: int,
        progress: Progress,
    ) -> Ended:
        """Have the bundle installed; RAUC checks its signature first, and writes the slot that is not booted."""

        def line(text: str) -> None:
            if found := _PERCENT.match(text):
                progress(size_bytes * min(int(found.group(1)), 100) // 100, size_bytes)

        return await self._run("install", str(image), within_s=INSTALL_S_MAX, line=line)

    async def boot(self, slot: str) -> Ended:
        """Mark a slot active, and restart."""
        ended = await self._run("status", "mark-active", slot)
        if not ended.good:
            return ended
        return await self.restart()

    async def confirm(self, slot: str) -> Ended:
        """Mark the booted slot active and good: after a restart that failed, another one may still be active."""
        ended = await self._run("status", "mark-active", slot)
        if not ended.good:
            return ended
        return await self._run("status", "mark-good", slot)

    async def self_test(self, slot: str) -> Ended:  # noqa: ARG002 - it is the booted one
        """Run the health check."""
        if not self._health:
            return Ended(status=0, output="")
        return await run_command(self._health, within_s=COMMAND_S_MAX, folder=self._folder)

    def content(self, slot: str) -> Path:
        """Return the slot's device."""
        return self._devices[slot]

    @property
    def operations(self) -> frozenset[str]:
        """A restart always, a self-test where there is a health check."""
        return frozenset({"reset", "self-test"} if self._health else {"reset"})

    async def restart(self) -> Ended:
        """Boot the slot that is active; with no update under way that is the booted one."""
        return await run_command(self._restart, within_s=COMMAND_S_MAX, folder=self._folder)

    async def _run(self, *words: str, within_s: float = COMMAND_S_MAX, line: Any = None) -> Ended:
        return await run_command(
            [*self._rauc, *words], within_s=within_s, folder=self._folder, env=self._env, line=line
        )


def make_agent(site: AgentSite) -> UpdateAgent:
    """Return the agent of a box with RAUC. Raises: InvalidInput, if a setting is missing."""
    return SlotsAgent(site, RaucSlots(site))
