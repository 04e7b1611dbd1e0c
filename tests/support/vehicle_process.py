"""`ringroad vehicle run` with any number of virtual ECUs on DoIP and a server over HTTPS, and what memory it takes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import uvicorn

from ringroad.kernel.clock import SystemClock
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.server import VecuServer
from ringroad.storage.pki import ensure_pki
from ringroad.trust.keys import private_pem
from ringroad.vehicle.agents.base import BytesSource, Done, image_of, no_progress
from ringroad.vehicle.config import write_config
from ringroad.vehicle.connect import connect_agents
from support.ports import free_port
from support.vehicle_world import VIN, World, content_of

PATIENCE_S = 240.0
SIGNALS = 50  # VSS signals of which the vehicle keeps a ring
# httpx imports these where they are; development tools bring them, and a vehicle has none of them.
START = """
import sys
sys.modules.update(dict.fromkeys(("rich", "pygments", "zstandard")))
from ringroad.cli import main
main()
"""
ENDS = {"SUCCEEDED", "ROLLED_BACK", "FAILED", "ROLLBACK_FAILED"}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What the vehicle's process had resident, and how long it took to its first poll."""

    idle_kib: int
    peak_kib: int
    start_s: float
    start_cpu_s: float  # of its own work, which another process's hardly changes


class WholeVehicle:
    """A vehicle folder, its ECUs in a thread, its server in another."""

    def __init__(self, folder: Path, *, ecus: Sequence[tuple[str, Literal["ab", "inplace"]]]) -> None:
        self.folder = folder / "vehicle"
        self.world = World(self.folder, ecus=ecus, now=datetime.now(UTC))
        self.world.server.clock = lambda: datetime.now(UTC)

    def update(self) -> Memory:
        """Run the process, let it rest, update every ECU, end it; return its memory."""
        loop = asyncio.new_event_loop()
        ecus = threading.Thread(target=loop.run_forever)
        ecus.start()
        pki = ensure_pki(self.folder / "pki", names=["127.0.0.1"], now=datetime.now(UTC))
        config = uvicorn.Config(
            self.world.server, host="127.0.0.1", port=0, ssl_certfile=str(pki.server_certificate),
            ssl_keyfile=str(pki.server_key), log_level="error", lifespan="off", ws="none",
        )  # fmt: skip
        server = uvicorn.Server(config)
        web = threading.Thread(target=server.run)
        web.start()

        def on_ecus(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=PATIENCE_S)

        served: list[VecuServer] = []
        try:
            self._until(lambda: server.started)
            url = f"https://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            served = on_ecus(self._build(url))
            return self._measure()
        finally:
            for one in served:
                on_ecus(one.close())
            server.should_exit = True
            web.join(60)
            loop.call_soon_threadsafe(loop.stop)
            ecus.join(60)
            loop.close()

    async def _build(self, url: str) -> list[VecuServer]:
        served, ecus = [], []
        for number, ecu in enumerate(self.world.config.ecus):
            made = EcuConfig(
                serial=ecu.serial, hardware_id=ecu.hardware_id, vin=VIN, layout=ecu.mode, bank_bytes=8_192
            )  # fmt: skip
            table = ServerTable(flash=f"{ecu.name}.flash", fsync=False, logical_address=0x1001 + number)
            server = VecuServer(ServerConfig(ecu=made, server=table, folder=self.folder), clock=SystemClock())
            served.append(server)
            (self.folder / f"{ecu.name}.pem").write_bytes(private_pem(self.world.keys[ecu.serial]))
            ecus.append(
                msgspec.structs.replace(
                    ecu,
                    port=await server.start(),
                    logical_address=0x1001 + number,
                    key_file=f"{ecu.name}.pem",
                )
            )
        # Nobody is its broker: what it observes is stored, with the ring of its signals around faults.
        config = msgspec.structs.replace(
            self.world.config, server_url=url, ca_file="pki/ca.pem", ecus=tuple(ecus), retry_base_s=0.05,
            mqtt_host="127.0.0.1", mqtt_port=free_port(), telemetry_s=5.0,
        )  # fmt: skip
        self.signals = self.folder / config.signals_file
        self.signals.write_bytes(msgspec.json.encode({f"Vehicle.Signal{n}": n / 7 for n in range(SIGNALS)}))
        write_config(self.folder, config, durability="buffered")
        (self.folder / "image.root.json").write_bytes(self.world.server.image_root)
        (self.folder / "director.root.json").write_bytes(self.world.server.director_root)
        for serial, agent in connect_agents(self.folder, config).items():
            image = image_of(self.world.factory(serial))
            source = BytesSource(content_of(image.target.name, "1.0.0"))
            assert isinstance(await agent.prepare(image, source, progress=no_progress), Done)
            assert isinstance(await agent.install(image, source, progress=no_progress), Done)
            assert isinstance(await agent.activate(image), Done)
            assert isinstance(await agent.commit(image), Done)
            await agent.close()
        return served

    def _measure(self) -> Memory:
        server = self.world.server
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", START, "vehicle", "run", "--data", str(self.folder)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        try:
            self._until(lambda: bool(server.asked), process)
            start_s, start_cpu_s = time.monotonic() - began, _cpu_s(process.pid)
            self._until(lambda: len(server.asked) > 3 and bool(server.manifests), process)
            idle_kib = _status(process.pid, "VmRSS")
            self.world.order(preconditions=())
            self._until(
                lambda: bool({one.state for one in list(server.reports.values()) if not one.ecu} & ENDS),
                process,
            )
            ended = {one.state for one in list(server.reports.values()) if not one.ecu} & ENDS
            assert ended == {"SUCCEEDED"}, ended
            peak_kib = _status(process.pid, "VmHWM")
            return Memory(idle_kib=idle_kib, peak_kib=peak_kib, start_s=start_s, start_cpu_s=start_cpu_s)
        finally:
            process.terminate()
            output, _ = process.communicate(timeout=60)
            self.output = output

    def _until(self, done: Any, process: subprocess.Popen[str] | None = None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, "it takes too long"
            assert process is None or process.poll() is None, "the vehicle ended"
            if process is not None:
                self.signals.touch()
            time.sleep(0.05)


def _cpu_s(pid: int) -> float:
    """What a process computed so far, in seconds of a core."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    """A field of /proc, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
