"""One `ringroad vecu run` with its folder, for tests that reach it from outside."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import BytesSource, Done, EcuImage, UpdateAgent, no_progress
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.connect import make_agent
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.uds import hmac_key
from support.udsoncan_flash import SECRET

Mode = Literal["ab", "inplace"]
START_S_MAX = 60.0
ADDRESS = 0x1001


@dataclass
class EcuProcess:
    """One `ringroad vecu run` and its folder."""

    folder: Path
    mode: Mode
    process: subprocess.Popen[bytes] | None = None
    port: int = 0

    def start(self) -> None:
        port_file = self.folder / "port"
        port_file.unlink(missing_ok=True)
        config = self.folder / "ecu.toml"
        config.write_text(
            f"""
[ecu]
serial = "SN1"
hardware_id = "HW1"
vin = "WRR00000000000001"
layout = "{self.mode}"
bank_bytes = 1048576
secret_hex = "{SECRET.hex()}"
block_bytes = 4095
supported_faults = ["P0A1F-00"]

[server]
flash = "flash.bin"
port_file = "port"
script = "script.json"
fsync = false
pending_ms = 20
identification = true
""",
            encoding="utf-8",
        )
        script = self.folder / "script.json"
        if not script.exists():
            script.write_text("{}", encoding="utf-8")
        command = [sys.executable, "-m", "ringroad.cli", "vecu", "run", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S_MAX
        while not port_file.exists():
            assert self.process.poll() is None, "the ECU ended at once"
            assert time.monotonic() < deadline, "the ECU did not start"
            time.sleep(0.02)
        self.port = int(port_file.read_text(encoding="ascii"))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def agent(self, *, restart_s_max: float = 30.0) -> UpdateAgent:
        channel = DoipChannel(DoipEntity("127.0.0.1", self.port), ecu_address=ADDRESS)
        access = EcuAccess(serial="SN1", derive=hmac_key(SECRET), restart_s_max=restart_s_max)
        return make_agent(self.mode, channel, access)


def image_of(data: bytes, mode: Mode, counter: int) -> EcuImage:
    return EcuImage(
        serial="SN1",
        target=EcuTarget(name="ecu", mode=mode, format="ihex", version=f"{counter}.0"),
        filename="firmware.hex",
        sha256=hashlib.sha256(data).hexdigest(),
        length_bytes=len(data),
        release_counter=counter,
        hardware_ids=("HW1",),
    )


async def update(ecu: EcuProcess, data: bytes, counter: int) -> None:
    """Install an image the way the vehicle does."""
    agent, wanted = ecu.agent(), image_of(data, ecu.mode, counter)
    source = BytesSource(data)
    assert isinstance(await agent.prepare(wanted, source, progress=no_progress), Done)
    assert isinstance(await agent.install(wanted, source, progress=no_progress), Done)
    assert isinstance(await agent.activate(wanted), Done)
    assert isinstance(await agent.verify(wanted, frozenset({"version"})), Done)
    assert isinstance(await agent.commit(wanted), Done)
    await agent.close()
