"""Debian's unmodified SWUpdate as a vehicle's telebox: it polls over DDI, installs, restarts and confirms."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from ringroad.sim.demo.processes import Processes

LOOK_S = 0.2  # seconds between two looks into SWUpdate's log
INSTALLED = b"post-update actions"  # SWUpdate's word for: installed, restart me
CONFIRM_S = 3.0  # seconds after which a confirming SWUpdate goes back to polling


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """One SWUpdate client.

    Attributes:
        folder: its data folder; holds `token`.
        vin: its controller id.
        hardware: ``board:revision``.
        server: origin of the DDI gateway.
        certificate: whose signatures it accepts.
    """

    folder: Path
    vin: str
    hardware: str
    server: str
    certificate: Path

    def config(self) -> str:
        """Return swupdate.cfg."""
        board, revision = self.hardware.split(":")
        token = (self.folder / "token").read_text(encoding="ascii")
        return (
            'globals : { verbose = true; loglevel = 4; syslog = false; bootloader = "none";'
            f' public-key-file = "{self.certificate}"; }};\n'
            f'identify : ( {{ name = "hw_boardname"; value = "{board}"; }},'
            f' {{ name = "hw_revision"; value = "{revision}"; }} );\n'
            f'suricatta : {{ tenant = "DEFAULT"; id = "{self.vin}"; url = "{self.server}"; polldelay = 1; retry = 4;'
            f' retrywait = 1; userid = {os.getuid()}; groupid = {os.getgid()}; targettoken = "{token}"; }};\n'
        )

    def command(self, *, confirm: bool) -> list[str]:
        """Return the command line; `confirm` is how it starts after the restart that follows an update."""
        return [
            "swupdate", "-v", "-f", str(self.folder / "swupdate.cfg"), "-H", self.hardware,
            "-u", "-c 2" if confirm else "",
        ]  # fmt: skip


async def run_box(box: Box, processes: Processes) -> None:
    """Run one box until cancelled: poll, install, restart, confirm, poll."""
    config = box.folder / "swupdate.cfg"
    await asyncio.to_thread(config.write_text, box.config(), "ascii")
    config.chmod(0o600)  # holds the token
    temporary = box.folder / "tmp"
    await asyncio.to_thread(temporary.mkdir, exist_ok=True)
    log = box.folder / "swupdate.log"
    confirm = False
    while True:
        start = log.stat().st_size if await asyncio.to_thread(log.exists) else 0
        async with processes.started(
            box.vin, box.command(confirm=confirm), log=log, env={"TMPDIR": str(temporary)}
        ) as process:
            if confirm:
                await asyncio.wait({asyncio.create_task(process.wait())}, timeout=CONFIRM_S)
                confirm = False
                continue
            while process.returncode is None and not await asyncio.to_thread(_contains, log, start):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_S)
            confirm = process.returncode is None


def _contains(log: Path, start: int) -> bool:
    with log.open("rb") as file:
        file.seek(start)
        return INSTALLED in file.read()
