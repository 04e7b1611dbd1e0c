"""Vehicles of the demo that are real processes: one per ECU and CAN bus, one per orchestrator, one per SWUpdate client.

A process that ends, however it ends, is started again from what is on its disk: a power cycle.
When the demo itself is killed they end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from ringroad.kernel.errors import Unavailable
from ringroad.sim.assembly import BornVehicle, keep_signals
from ringroad.sim.canserver import BusConfig, write_bus_config
from ringroad.sim.vecu.config import ServerConfig, read_config
from ringroad.sim.vecu.config import write_config as write_vecu_config
from ringroad.sim.vecu.script import Script
from ringroad.storage.process import leashed
from ringroad.vehicle.config import write_config

START_S_MAX = 30.0  # seconds an ECU process may take to print its port
RESTART_S = 0.3  # seconds a vehicle is without power
END_S_MAX = 5.0  # seconds a process gets to end

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Processes:
    """Child processes that are started again when they die, and ended together."""

    restarts: int = 0
    running: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def keep(self, name: str, command: list[str], *, log: Path, env: Mapping[str, str] | None = None) -> None:
        """Start a process and start it again whenever it ends, until `stop`."""
        task = asyncio.create_task(self._keep(name, command, log, env), name=name)
        self._tasks.add(task)

    def follow(self, name: str, life: asyncio.Task[None]) -> None:
        """End this task with the processes."""
        life.set_name(name)
        self._tasks.add(life)

    async def stop(self) -> None:
        """End all processes, the newest first."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _keep(self, name: str, command: list[str], log: Path, env: Mapping[str, str] | None) -> None:
        while True:
            async with self.started(name, command, log=log, env=env) as process:
                await process.wait()
            self.restarts += 1
            _log.info("process.restarts", name=name, code=process.returncode)
            await asyncio.sleep(RESTART_S)

    @asynccontextmanager
    async def started(
        self, name: str, command: list[str], *, log: Path, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a process for the length of a block."""
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *leashed(command, end_with=signal.SIGKILL),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
            )
        self.running[name] = process
        try:
            yield process
        finally:
            self.running.pop(name, None)
            with contextlib.suppress(ProcessLookupError):  # it ended by itself, and nobody was told yet
                await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_as_processes(
    vehicle: BornVehicle, processes: Processes, *, script: Script, seed: int, cycle_s: float
) -> None:
    """Take a vehicle out of this process: each ECU becomes a server on loopback, the orchestrator a process.

    Raises:
        Unavailable: an ECU's server did not start.
    """
    folder = vehicle.folder
    for port in vehicle.ports.values():
        port.medium.close()
    vehicle.ports.clear()
    script_path = folder / "script.json"
    script_path.write_bytes(msgspec.json.encode(script))
    channels = await _start_buses(vehicle, processes)
    servers: dict[str, ServerConfig] = {}
    for ecu in vehicle.config.ecus:
        path = folder / f"{ecu.serial}.toml"
        found = read_config(path)
        table = msgspec.structs.replace(
            found.server, port_file=f"{ecu.serial}.port", script=script_path.name, seed=seed, cycle_s=cycle_s
        )
        can = found.can and msgspec.structs.replace(found.can, channel=channels[found.can.bus])
        write_vecu_config(path, found.ecu, table, can)
        servers[ecu.serial] = dataclasses.replace(found, server=table, can=can)
        command = [sys.executable, "-m", "ringroad.cli", "vecu", "run", "--config", str(path)]
        processes.keep(f"{vehicle.vin}/{ecu.name}", command, log=folder / f"{ecu.serial}.log")
    placed = []
    for ecu in vehicle.config.ecus:
        found = servers[ecu.serial]
        tcp_port = await _read_port(found.path(found.server.port_file))
        if found.can is not None:
            placed.append(msgspec.structs.replace(ecu, can=found.can))
            continue
        # From now on always this port, also after a restart.
        table = msgspec.structs.replace(found.server, port=tcp_port)
        write_vecu_config(folder / f"{ecu.serial}.toml", found.ecu, table)
        placed.append(msgspec.structs.replace(ecu, port=tcp_port))
    config = msgspec.structs.replace(vehicle.config, ecus=tuple(placed))
    write_config(folder, config, durability="fsync")
    command = [sys.executable, "-m", "ringroad.cli", "vehicle", "run", "--data", str(folder)]
    processes.keep(vehicle.vin, command, log=folder / "vehicle.log")
    signals = asyncio.create_task(keep_signals(folder / config.signals_file))
    processes.follow(f"{vehicle.vin}/signals", signals)


async def _start_buses(vehicle: BornVehicle, processes: Processes) -> dict[str, str]:
    """Start a process per kind of CAN bus that the vehicle has; return where each is, by kind.

    The buses are as fast as the machine: a story is not told at 500 kbit/s.
    """
    channels: dict[str, str] = {}
    for kind in sorted({ecu.can.bus for ecu in vehicle.config.ecus if ecu.can is not None}):
        path, port_file = vehicle.folder / f"{kind}.toml", vehicle.folder / f"{kind}.port"
        table = BusConfig(kind=kind, port_file=port_file.name, bit_rate=0)
        write_bus_config(path, table)
        command = [sys.executable, "-m", "ringroad.cli", "vecu", "bus", "--config", str(path)]
        processes.keep(f"{vehicle.vin}/{kind}", command, log=vehicle.folder / f"{kind}.log")
        port = await _read_port(port_file)
        write_bus_config(path, msgspec.structs.replace(table, port=port))  # also after a restart
        channels[kind] = f"127.0.0.1:{port}"
    return channels


async def _read_port(path: Path) -> int:
    for _ in range(int(START_S_MAX / 0.05)):
        with contextlib.suppress(OSError, ValueError):
            return int(await asyncio.to_thread(path.read_text, "ascii"))
        await asyncio.sleep(0.05)
    raise Unavailable(f"the ECU of {path.name} did not start", hint=f"see {path.with_suffix('.log')}")
