"""Virtual ECU processes: clients we did not write flash one, and `kill -9` at any time loses nothing."""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.resources
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from udsoncan.client import Client
from udsoncan.exceptions import NegativeResponseException

from ringroad.protocol.vehicle import EcuTarget
from ringroad.vehicle.agents.base import BytesSource, Done, EcuImage, EcuInventory, UpdateAgent, no_progress
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.connect import make_agent
from ringroad.vehicle.doip import DoipChannel
from ringroad.vehicle.uds import hmac_key
from support.udsoncan_flash import SECRET, client_config, faulty, firmware, flash, look_at_what_runs

pytestmark = pytest.mark.foreign

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
        channel = DoipChannel("127.0.0.1", self.port, ecu_address=ADDRESS)
        access = EcuAccess(serial="SN1", derive=hmac_key(SECRET), restart_s_max=restart_s_max)
        return make_agent(self.mode, channel, access)


@pytest.fixture(params=["ab", "inplace"])
def ecu(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EcuProcess]:
    process = EcuProcess(folder=tmp_path, mode=request.param)
    yield process
    process.kill()


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


@contextmanager
def client_of(ecu: EcuProcess) -> Iterator[tuple[Any, Any]]:
    """doipclient's wire and udsoncan's client, which have no types."""
    doip: Any = importlib.import_module("doipclient")
    connectors: Any = importlib.import_module("doipclient.connectors")
    wire = doip.DoIPClient(
        "127.0.0.1", ADDRESS, tcp_port=ecu.port, udp_port=ecu.port, client_ip_address="127.0.0.1"
    )
    try:
        with Client(connectors.DoIPClientUDSConnector(wire), config=client_config()) as client:
            yield wire, client
    finally:
        wire.close()


def test_udsoncan_and_doipclient_read_unlock_flash_and_read_back_a_real_image(ecu: EcuProcess) -> None:
    data = firmware()
    (ecu.folder / "script.json").write_text(json.dumps(faulty(data)), encoding="utf-8")
    ecu.start()
    with client_of(ecu) as (wire, client):
        assert wire.request_alive_check().source_address == ADDRESS
        assert wire.request_vehicle_identification(vin="WRR00000000000001").logical_address == ADDRESS
        assert wire.request_entity_status().node_type == 1
        flash(client, data, ecu.mode)
    with client_of(ecu) as (_, client):
        look_at_what_runs(client, data)


def test_three_wrong_keys_lock_udsoncan_out(ecu: EcuProcess) -> None:
    ecu.start()
    codes = []
    with client_of(ecu) as (_, client):
        client.change_session(3)
        client.set_config("security_algo_params", b"wrong")
        for _ in range(4):
            with pytest.raises(NegativeResponseException) as refused:
                client.unlock_security_access(1)
            codes.append(refused.value.response.code)
    assert codes == [0x35, 0x35, 0x36, 0x37]


@pytest.mark.parametrize("part", [40, 95])
def test_a_killed_process_loses_nothing_and_is_flashed_again(ecu: EcuProcess, part: int) -> None:
    old, new = firmware("legacy"), firmware()

    async def update(data: bytes, counter: int) -> None:
        agent, wanted = ecu.agent(), image_of(data, ecu.mode, counter)
        source = BytesSource(data)
        assert isinstance(await agent.prepare(wanted, source, progress=no_progress), Done)
        assert isinstance(await agent.install(wanted, source, progress=no_progress), Done)
        assert isinstance(await agent.activate(wanted), Done)
        assert isinstance(await agent.verify(wanted, frozenset({"version"})), Done)
        assert isinstance(await agent.commit(wanted), Done)
        await agent.close()

    async def update_until_killed() -> None:
        agent, wanted = ecu.agent(restart_s_max=0.2), image_of(new, ecu.mode, 2)  # it stays dead
        source = BytesSource(new)

        def kill_at(done: int, total: int) -> None:
            if done * 100 >= part * total:
                ecu.kill()

        verb = agent.prepare if ecu.mode == "ab" else agent.install
        outcome = await verb(wanted, source, progress=kill_at)
        assert not isinstance(outcome, Done)
        await agent.close()

    async def inventory() -> EcuInventory:
        agent = ecu.agent()
        found = await agent.inventory()
        await agent.close()
        assert isinstance(found, EcuInventory)
        return found

    ecu.start()
    asyncio.run(update(old, 1))
    asyncio.run(update_until_killed())
    ecu.start()
    found = asyncio.run(inventory())
    if ecu.mode == "ab":
        assert found.running is not None
        assert found.running.version == "1.0"
    else:
        assert found.mode == "bootloader"
    assert found.committed_counter == 1
    asyncio.run(update(new, 2))
    ecu.kill()
    ecu.start()
    found = asyncio.run(inventory())
    assert found.running is not None
    assert (found.running.version, found.committed_counter) == ("2.0", 2)
