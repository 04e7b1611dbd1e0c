"""Virtual ECUs on a CAN bus: tools we did not write flash them, our agents do, and any process may die meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import can
import isotp
import msgspec
import pytest
import udsoncan
from udsoncan.client import Client

from ringroad.kernel.clock import SystemClock
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import (
    BytesSource,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Outcome,
    Reason,
    UpdateAgent,
    no_progress,
)
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import EcuConfig as OnBoard
from ringroad.vehicle.connect import connect_channels, make_agents
from support.ports import free_port
from support.udsoncan_flash import SECRET, client_config, faulty, firmware, flash, look_at_what_runs

pytestmark = pytest.mark.foreign

START_S_MAX = 60.0
Mode = Literal["ab", "inplace"]
Kind = Literal["can", "canfd"]


@contextmanager
def udsoncan_over(bus: Any, *, fd: bool, number: int = 1) -> Iterator[Any]:
    """udsoncan's client on can-isotp on a python-can bus."""
    mode = isotp.AddressingMode.Normal_29bits
    address = isotp.Address(mode, txid=0x18DA00F1 | number << 8, rxid=0x18DAF100 | number)
    params = {
        "max_frame_size": 70_000, "rx_flowcontrol_timeout": 10_000, "rx_consecutive_frame_timeout": 10_000, "can_fd": fd, "bitrate_switch": fd, "tx_data_length": 64 if fd else 8, "stmin": 0,
    }  # fmt: skip
    stack = isotp.CanStack(bus, address=address, params=params)
    connection = importlib.import_module("udsoncan.connections").PythonIsoTpConnection(stack)
    with Client(connection, config=client_config()) as client:
        yield client


def way(channel: str, *, kind: Kind, number: int = 1, interface: str = "tcp") -> CanWay:
    return CanWay(
        bus=kind, interface=interface, channel=channel, request_id=0x18DA00F1 | number << 8,
        response_id=0x18DAF100 | number, functional_id=0x18DB33F1,
    )  # fmt: skip


@contextmanager
def served_in_a_thread(config: ServerConfig) -> Iterator[None]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = VecuServer(config, clock=SystemClock())
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(START_S_MAX)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(START_S_MAX)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("mode", ["ab", "inplace"])
@pytest.mark.parametrize("kind", ["can", "canfd"])
def test_udsoncan_and_can_isotp_flash_an_ecu_on_python_cans_bus(
    kind: Kind, mode: Mode, tmp_path: Path
) -> None:
    data, channel = firmware(), uuid4().hex
    (tmp_path / "script.json").write_text(json.dumps(faulty(data)), encoding="utf-8")
    ecu = EcuConfig(
        serial="SN1", hardware_id="HW1", vin="WRR00000000000001", layout=mode, secret=SECRET, block_bytes=4095
    )
    table = ServerTable(flash="flash.bin", fsync=False, script="script.json", pending_ms=20)
    config = ServerConfig(
        ecu=ecu, server=table, folder=tmp_path, can=way(channel, kind=kind, interface="virtual")
    )
    fd = kind == "canfd"
    with served_in_a_thread(config), can.Bus(interface="virtual", channel=channel) as bus:
        with udsoncan_over(bus, fd=fd) as client:
            flash(client, data, mode)
            look_at_what_runs(client, data)


# Processes ----------------------------------------------------------------------------------------------


@dataclass
class Garage:
    """A bus process, ECU processes on it, and a vehicle's agents."""

    folder: Path
    kind: Kind
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    channel: str = ""

    def start_bus(self, port: int = 0) -> None:
        (self.folder / "bus.toml").write_text(
            f'[bus]\nkind = "{self.kind}"\nport = {port}\nport_file = "bus.port"\nbit_rate = 0\n',
            encoding="utf-8",
        )
        self._start("bus", "bus")
        self.channel = f"127.0.0.1:{(self.folder / 'bus.port').read_text().strip()}"

    def start_ecu(self, number: int, mode: Mode) -> None:
        table = msgspec.to_builtins(way(self.channel, kind=self.kind, number=number))
        rows = [f"{name} = {json.dumps(value)}" for name, value in table.items() if value is not None]
        (self.folder / f"ecu{number}.toml").write_text(
            f"""
[ecu]
serial = "SN{number}"
hardware_id = "HW1"
vin = "WRR00000000000001"
layout = "{mode}"
secret_hex = "{SECRET.hex()}"
block_bytes = 4095

[server]
flash = "flash{number}.bin"
port_file = "ecu{number}.port"
fsync = false

[can]
"""
            + "\n".join(rows),
            encoding="utf-8",
        )
        self._start(f"ecu{number}", "run")

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(30)

    def close(self) -> None:
        for name in tuple(self.processes):
            self.kill(name)

    def agents(self, modes: dict[str, Mode]) -> dict[str, UpdateAgent]:
        ecus = [
            OnBoard(
                name=f"ecu{number}", serial=serial, hardware_id="HW1", mode=mode, key_file="unused",
                can=way(self.channel, kind=self.kind, number=number),
            )
            for number, (serial, mode) in enumerate(modes.items(), start=1)
        ]  # fmt: skip
        return make_agents(ecus, connect_channels(ecus), secrets=dict.fromkeys(modes, SECRET))

    def _start(self, name: str, command: str) -> None:
        told = self.folder / f"{name}.port"
        told.unlink(missing_ok=True)
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "ringroad.cli", "vecu", command, "--config", str(self.folder / f"{name}.toml")],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + START_S_MAX
        while not told.exists():
            assert self.processes[name].poll() is None, "it ended at once"
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.02)


@pytest.fixture(params=["can", "canfd"])
def garage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Garage]:
    made = Garage(folder=tmp_path, kind=request.param)
    yield made
    made.close()


def image_of(serial: str, mode: Mode, data: bytes, counter: int) -> EcuImage:
    return EcuImage(
        serial=serial,
        target=EcuTarget(name="ecu", mode=mode, format="bin", version=f"{counter}.0"),
        filename="firmware.bin",
        sha256=hashlib.sha256(data).hexdigest(),
        length_bytes=len(data),
        release_counter=counter,
        hardware_ids=("HW1",),
    )


async def update(agent: UpdateAgent, image: EcuImage, data: bytes) -> None:
    source = BytesSource(data)
    verbs: tuple[Callable[[], Awaitable[Outcome]], ...] = (
        lambda: agent.prepare(image, source, progress=no_progress),
        lambda: agent.install(image, source, progress=no_progress),
        lambda: agent.activate(image),
        lambda: agent.verify(image, frozenset({"version"})),
        lambda: agent.commit(image),
    )
    for verb in verbs:
        outcome = await verb()
        for _ in range(2):  # as the orchestrator does; a process of a busy machine may be late for once
            if isinstance(outcome, Failed) and outcome.reason is Reason.UNREACHABLE:
                outcome = await verb()
        assert isinstance(outcome, Done), outcome


def test_ecus_on_one_bus_are_updated_at_once_and_survive_kills(garage: Garage) -> None:
    modes: dict[str, Mode] = {"SN1": "ab", "SN2": "ab", "SN3": "inplace"}
    garage.start_bus(free_port())  # where it comes back
    for number, mode in enumerate(modes.values(), start=1):
        garage.start_ecu(number, mode)

    async def all_of_them(counter: int) -> None:
        agents, data = garage.agents(modes), bytes(range(counter, 256)) * 300
        try:
            async with asyncio.TaskGroup() as group:
                for serial in ("SN1", "SN2"):
                    group.create_task(update(agents[serial], image_of(serial, "ab", data, counter), data))
            await update(agents["SN3"], image_of("SN3", "inplace", data, counter), data)
        finally:
            for agent in agents.values():
                await agent.close()

    async def ask() -> list[EcuInventory | Failed]:
        agents = garage.agents(modes).values()
        found = [await agent.inventory() for agent in agents]
        for agent in agents:
            await agent.close()
        return found

    async def all_answer() -> bool:
        return all(isinstance(each, EcuInventory) for each in await ask())

    async def versions() -> set[str]:
        found = await ask()
        assert all(isinstance(each, EcuInventory) and each.running for each in found), found
        return {each.running.version for each in found if isinstance(each, EcuInventory) and each.running}

    asyncio.run(all_of_them(1))
    assert asyncio.run(versions()) == {"1.0"}
    port = int(garage.channel.rpartition(":")[2])
    garage.kill("bus")
    gone = asyncio.run(next(iter(garage.agents(modes).values())).inventory())
    assert isinstance(gone, Failed)
    garage.start_bus(port)  # the ECUs come back to it by themselves
    garage.kill("ecu3")
    garage.start_ecu(3, "inplace")
    deadline = time.monotonic() + START_S_MAX
    while not asyncio.run(all_answer()):
        assert time.monotonic() < deadline, "the ECUs did not come back"
    asyncio.run(all_of_them(2))
    assert asyncio.run(versions()) == {"2.0"}


def test_udsoncan_and_can_isotp_reach_a_bus_process_through_a_foreign_backend(tmp_path: Path) -> None:
    garage = Garage(folder=tmp_path, kind="can")
    data = firmware()
    try:
        garage.start_bus()
        garage.start_ecu(1, "inplace")
        with can.Bus(interface="cannelloni", channel=garage.channel, reconnect=False) as bus:
            with udsoncan_over(bus, fd=False) as client:
                client.change_session(3)
                assert client.read_data_by_identifier_first(0xF18C) == b"SN1"
                client.change_session(2)
                client.unlock_security_access(1)
                client.routine_control(0xFF00, 1)
                client.request_download(udsoncan.MemoryLocation(0, 20_000, 32, 32))
                for index, at in enumerate(range(0, 20_000, 4000), start=1):
                    client.transfer_data(index, data[at : at + 4000])
                client.request_transfer_exit()
    finally:
        garage.close()
