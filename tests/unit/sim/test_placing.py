"""A born vehicle whose ECUs become processes: each has an address, and the vehicle knows it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringroad.cli import cli
from ringroad.cli.shell import Shell
from ringroad.cli.vecu import group as vecu
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.sim.assembly import Blueprint, Surroundings, assemble, make_vin
from ringroad.sim.canserver import BusServer, read_bus_config
from ringroad.sim.placing import place
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.script import draw_bytes
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import EcuInventory
from ringroad.vehicle.config import read_config
from ringroad.vehicle.connect import connect_agents
from ringroad.vehicle.files import FolderLock
from support.ports import free_ports

HOME = Surroundings(
    server_url="https://127.0.0.1:8443", mqtt_host="", mqtt_port=1883, ca_pem=b"ca", image_root=b"i", director_root=b"d"
)  # fmt: skip
ECU = {"hardware_id": "hw-1", "storage": "ab", "storage_bytes": 1 << 16, "primary": False}
ECUS = {
    "gateway": {**ECU, "bus": "DoIP", "primary": True},
    "node": {**ECU, "bus": "HTTP", "agent": "sovd"},
    "brake": {**ECU, "bus": "CAN", "storage": "inplace"},
    "door": {**ECU, "bus": "CAN"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    blueprint = Blueprint(
        programme_id="p", variant="city", region="EU", release_id="release_1", ecus=ECUS, packages={}
    )
    home = tmp_path / "vehicle"
    born = assemble(
        home, make_vin(1), blueprint, HOME, clock=SystemClock(), secret=lambda size: draw_bytes(1, size, "x"),
        durability="buffered",
    )  # fmt: skip
    asyncio.run(born)
    return home


def test_every_ecu_answers_the_vehicle_where_it_was_placed(folder: Path) -> None:
    ports = free_ports(3)
    placed = place(folder, first_port=ports[0], free=lambda port: port in ports)
    assert [(each.name, each.kind) for each in placed] == [
        ("can", "bus"), ("gateway", "DoIP"), ("node", "HTTP"), ("brake", "CAN"), ("door", "CAN"),
    ]  # fmt: skip
    assert place(folder, first_port=ports[0], free=lambda port: port in ports) == placed

    async def story() -> None:
        bus, *ecus = [each.file for each in placed]
        servers: list[BusServer | VecuServer] = [BusServer(read_bus_config(bus), bus.parent)]
        servers += [VecuServer(read_vecu_config(file), clock=SystemClock()) for file in ecus]
        try:
            for server in servers:
                await server.start()
            config = read_config(folder)
            for serial, agent in connect_agents(folder, config).items():
                found = await agent.inventory()
                assert isinstance(found, EcuInventory), found
                assert found.serial == serial
                await agent.close()
        finally:
            for server in reversed(servers):
                await server.close()

    asyncio.run(story())


def test_an_ecu_of_a_can_fd_bus_is_called_one(tmp_path: Path) -> None:
    ecus = {"gateway": ECUS["gateway"], "radar": {**ECU, "bus": "CAN FD"}}
    blueprint = Blueprint(
        programme_id="p", variant="city", region="EU", release_id="release_1", ecus=ecus, packages={}
    )
    home = tmp_path / "vehicle"
    born = assemble(
        home, make_vin(1), blueprint, HOME, clock=SystemClock(), secret=lambda size: draw_bytes(1, size, "x"),
        durability="buffered",
    )  # fmt: skip
    asyncio.run(born)
    placed = place(home, first_port=13_400, free=lambda _: True)
    assert [(each.name, each.kind) for each in placed] == [
        ("canfd", "bus"), ("gateway", "DoIP"), ("radar", "CAN FD"),
    ]  # fmt: skip


def test_what_a_person_wrote_into_the_files_stays_when_ecus_are_placed_again(folder: Path) -> None:
    files = {each.name: each.file for each in place(folder, first_port=13_400, free=lambda _: True)}
    can = files["can"]
    assert read_bus_config(can).rates is None
    can.write_text(can.read_text().replace("bit_rate = 0", "bit_rate = 250000", 1))
    for name in ("gateway", "door"):
        text = files[name].read_text()
        files[name].write_text(text + '\n[fault_texts]\nC0051-00 = "sensor \\"A\\", öffen"\n')
    place(folder, first_port=14_400, free=lambda _: True)
    bus = read_bus_config(can)
    assert (bus.bit_rate, bus.host) == (250_000, "127.0.0.1")
    assert bus.port >= 14_400
    for name in ("gateway", "door"):
        assert read_vecu_config(files[name]).fault_texts == {"C0051-00": 'sensor "A", öffen'}
        assert files[name].stat().st_mode & 0o777 == 0o600


def test_a_disk_that_is_full_leaves_the_files_as_they_were(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = place(folder, first_port=13_400, free=lambda _: True)
    before = {each.file: each.file.read_bytes() for each in placed}

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr("os.write", full)
        with pytest.raises(Unavailable, match="No space"):
            place(folder, first_port=14_400, free=lambda _: True)
    assert {each: each.read_bytes() for each in before} == before


def test_ports_in_use_are_left_out_and_a_vehicle_that_is_driven_is_left_alone(folder: Path) -> None:
    placed = place(folder, first_port=13_400, free=lambda port: port % 2 == 1)
    assert [each.address.rpartition(":")[2] for each in placed] == [
        "13405", "13401", "13403", "13405", "13405",
    ]  # fmt: skip
    before = (folder / "config.toml").read_bytes()
    lock = FolderLock(folder)
    with pytest.raises(Conflict):
        place(folder, first_port=15_000, free=lambda _: True)
    lock.close()
    with pytest.raises(Unavailable):
        place(folder, first_port=15_000, free=lambda _: False)
    with pytest.raises(InvalidInput):
        place(folder, first_port=0, free=lambda _: True)
    assert (folder / "config.toml").read_bytes() == before


def test_a_folder_that_is_no_vehicles_is_not_placed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        place(tmp_path, first_port=13_400, free=lambda _: True)


def test_it_says_from_which_port_on_another_vehicle_is_placed(folder: Path) -> None:
    result = CliRunner().invoke(
        vecu, ["place", "--data", str(folder)], obj=Shell(env={}, json=True), **cli.context_settings
    )
    told = json.loads(result.stdout)
    ports = {int(each["address"].rpartition(":")[2]) for each in told["processes"]}
    assert told["next_port"] == max(ports) + 1
