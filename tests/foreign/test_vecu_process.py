"""Virtual ECU processes: clients we did not write flash one, and `kill -9` at any time loses nothing."""

from __future__ import annotations

import asyncio
import importlib
import importlib.resources
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from udsoncan.client import Client
from udsoncan.exceptions import NegativeResponseException

from ringroad.kernel.clock import SystemClock
from ringroad.sim.vecu.config import EcuConfig, ServerTable, read_config, write_config
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import BytesSource, Done, EcuInventory
from ringroad.vehicle.doip import PayloadType, encode
from support.udsoncan_flash import client_config, faulty, firmware, flash, look_at_what_runs
from support.vecu_process import ADDRESS, EcuProcess, image_of, update

pytestmark = pytest.mark.foreign


@pytest.fixture(params=["ab", "inplace"])
def ecu(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EcuProcess]:
    process = EcuProcess(folder=tmp_path, mode=request.param)
    yield process
    process.kill()


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
        assert wire.request_vehicle_identification(eid=b"\0\0\0SN1").logical_address == ADDRESS
        assert wire.request_vehicle_identification().vin == "WRR00000000000001"
        assert wire.request_entity_status().node_type == 1
        flash(client, data, ecu.mode)
    with client_of(ecu) as (_, client):
        look_at_what_runs(client, data)


def test_doipclient_reaches_an_ecu_behind_the_entity_of_another(tmp_path: Path) -> None:
    door = 0x1002
    for serial, address, behind in (("zone", ADDRESS, ("door.toml",)), ("door", door, ())):
        config = EcuConfig(serial=serial, hardware_id="HW", vin="WRR00000000000001", layout="inplace")
        table = ServerTable(flash=f"{serial}.bin", fsync=False, logical_address=address, behind=behind)
        write_config(tmp_path / f"{serial}.toml", config, table)

    def serials(port: int) -> list[bytes]:
        doip: Any = importlib.import_module("doipclient")
        found = []
        for address in (ADDRESS, door):
            wire = doip.DoIPClient("127.0.0.1", address, tcp_port=port, client_ip_address="127.0.0.1")
            try:
                wire.send_diagnostic(b"\x22\xf1\x8c")
                found.append(bytes(wire.receive_diagnostic(timeout=30)))
            finally:
                wire.close()
        return found

    async def story() -> list[bytes]:
        server = VecuServer(read_config(tmp_path / "zone.toml"), clock=SystemClock())
        port = await server.start()
        try:
            return await asyncio.to_thread(serials, port)
        finally:
            await server.close()

    assert asyncio.run(asyncio.wait_for(story(), 120)) == [b"\x62\xf1\x8czone", b"\x62\xf1\x8cdoor"]


def test_who_looks_for_another_vehicle_or_sends_noise_hears_nothing(ecu: EcuProcess) -> None:
    doip: Any = importlib.import_module("doipclient.client")
    ecu.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tester:
        tester.settimeout(60)
        asked = encode(PayloadType.IDENTIFICATION_REQUEST, b"")
        for noise in (
            b"", b"\x02", b"noise" * 20, asked[:-1], b"\x02\xfd" + asked[2:8] + b"\xff" * 40,
            encode(PayloadType.IDENTIFICATION_REQUEST_VIN, b"WRR00000000000002"),
            encode(PayloadType.IDENTIFICATION_REQUEST_VIN, b"WRR0"),
            encode(PayloadType.IDENTIFICATION_REQUEST_EID, b"\0\0\0SN2"),
            encode(PayloadType.DIAGNOSTIC_MESSAGE, b"\x0e\x00\x10\x01\x10\x03"),
        ):  # fmt: skip
            tester.sendto(noise, ("127.0.0.1", ecu.port))
        tester.sendto(asked, ("127.0.0.1", ecu.port))
        found = doip.Parser().read_message(tester.recv(4_096))
    assert (found.vin, found.logical_address, found.eid) == ("WRR00000000000001", ADDRESS, b"\0\0\0SN1")


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
    asyncio.run(update(ecu, old, 1))
    asyncio.run(update_until_killed())
    ecu.start()
    found = asyncio.run(inventory())
    if ecu.mode == "ab":
        assert found.running is not None
        assert found.running.version == "1.0"
    else:
        assert found.mode == "bootloader"
    assert found.committed_counter == 1
    asyncio.run(update(ecu, new, 2))
    ecu.kill()
    ecu.start()
    found = asyncio.run(inventory())
    assert found.running is not None
    assert (found.running.version, found.committed_counter) == ("2.0", 2)
