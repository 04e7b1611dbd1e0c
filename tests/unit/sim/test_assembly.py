from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable
from ringroad.sim.assembly import (
    FLASH,
    BaselinePackage,
    Blueprint,
    Surroundings,
    assemble,
    make_vin,
    power_on,
)
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.medium import FileMedium, MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, draw_bytes
from ringroad.vehicle.agents.base import EcuInventory
from ringroad.vehicle.config import read_config, read_keys
from ringroad.vehicle.proof import prover_of
from ringroad.vehicle.uds import EcuForbids, EcuRejects, Session, UdsClient, hmac_key

IMAGE = bytes(range(256)) * 64
RAISES = Script(
    images={
        hashlib.sha256(IMAGE).hexdigest(): Behaviour(faults=(FaultRate(code="C0040-64", rate_permille=1000),))
    }
)
HOME = Surroundings(
    server_url="https://127.0.0.1:8443",
    mqtt_host="",
    mqtt_port=1883,
    ca_pem=b"ca",
    image_root=b"i",
    director_root=b"d",
)


def package(ecu: str, *, hardware: str = "hw-1", image: bytes = IMAGE) -> BaselinePackage:
    return BaselinePackage(
        ecu=ecu,
        filename=f"{ecu}-1.bin",
        version="1.0.0",
        format="bin",
        image=image,
        release_counter=1,
        hardware_ids=(hardware,),
    )


def blueprint(**packages: BaselinePackage) -> Blueprint:
    ecus = {
        "gateway": {
            "hardware_id": "hw-1",
            "bus": "DoIP",
            "storage": "ab",
            "storage_bytes": 1 << 16,
            "primary": True,
        },
        "brake": {
            "hardware_id": "hw-1",
            "bus": "CAN",
            "storage": "inplace",
            "storage_bytes": 1 << 16,
            "primary": False,
        },
    }
    return Blueprint(
        programme_id="p", variant="city", region="EU", release_id="release_1", ecus=ecus, packages=packages
    )


def test_vins_have_their_check_digit() -> None:
    assert make_vin(1) == "WRRDEM121TA000001"
    assert len({make_vin(number) for number in range(500)}) == 500


def test_a_vehicle_leaves_the_line_with_the_baseline_on_every_ecu(tmp_path: Path) -> None:
    async def build() -> None:
        born, registration = await assemble(
            tmp_path,
            make_vin(1),
            blueprint(gateway=package("gateway"), brake=package("brake")),
            HOME,
            clock=SystemClock(),
            secret=lambda size: draw_bytes(1, size, "x"),
            medium=lambda _: MemoryMedium(),
        )
        for agent in born.agents.values():
            inventory = await agent.inventory()
            assert isinstance(inventory, EcuInventory)
            assert inventory.running is not None
            assert inventory.running.sha256 == hashlib.sha256(IMAGE).hexdigest()
            assert (inventory.trial, inventory.committed_counter) == (False, 1)
        config = read_config(tmp_path)
        assert config == born.config
        assert set(read_keys(tmp_path, config)) == set(born.agents)
        assert len(registration["installed"]) == 2
        ways = {ecu.name: ecu.can for ecu in config.ecus}
        assert ways["gateway"] is None
        assert ways["brake"] is not None
        assert (ways["brake"].bus, ways["brake"].request_id) == ("can", 0x18DA01F1)
        assert read_vecu_config(tmp_path / f"{config.ecus[1].serial}.toml").can == ways["brake"]
        assert "token" not in registration
        assert (tmp_path / "token").stat().st_mode & 0o077 == 0

    asyncio.run(build())


def test_a_vehicles_ecus_get_power_again_from_its_folder(tmp_path: Path) -> None:
    clock = SystemClock()

    async def build() -> None:
        born, _ = await assemble(
            tmp_path, make_vin(1), blueprint(gateway=package("gateway"), brake=package("brake")), HOME,
            clock=clock, secret=lambda size: draw_bytes(1, size, "x"), durability="buffered",
        )  # fmt: skip
        again = power_on(tmp_path, clock=clock, script=lambda *_: RAISES, seed=1)
        assert (again.vin, again.config) == (born.vin, born.config)
        for serial, port in again.ports.items():
            assert port.ecu.config == born.ports[serial].ecu.config
            inventory = await again.agents[serial].inventory()
            assert isinstance(inventory, EcuInventory)
            assert inventory.running is not None
            assert inventory.running.version == "1.0.0"
            assert [fault.code for fault in inventory.faults] == ["C0040-64"]
            assert (tmp_path / f"{serial}.toml").stat().st_mode & 0o077 == 0  # it holds a secret

    asyncio.run(build())


def test_two_processes_do_not_give_one_vehicles_ecus_power(tmp_path: Path) -> None:
    clock = SystemClock()

    async def build() -> None:
        born, _ = await assemble(
            tmp_path, make_vin(1), blueprint(gateway=package("gateway"), brake=package("brake")), HOME,
            clock=clock, secret=lambda size: draw_bytes(1, size, "x"), durability="buffered",
        )  # fmt: skip
        last = [*born.ports][-1]
        other = FileMedium(tmp_path / FLASH / f"{last}.bin", alone=True)  # as a virtual ECU of its own has it
        with pytest.raises(Conflict, match=r"another virtual ECU runs on the flash file .*brake") as refusal:
            power_on(tmp_path, clock=clock)
        assert refusal.value.hint == "stop it first; one flash file is one ECU"
        other.close()
        power_on(tmp_path, clock=clock)  # nothing of the first try is left locked
        with pytest.raises(Conflict):
            power_on(tmp_path, clock=clock)

    asyncio.run(build())


def test_a_folder_that_is_no_vehicles_gets_no_power(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        power_on(tmp_path, clock=SystemClock())


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (package("brake", hardware="hw-other"), "wrong_hardware"),
        (package("brake", image=bytes(1 << 17)), "too_large"),
    ],
)
def test_a_refused_baseline_stops_the_line(tmp_path: Path, bad: BaselinePackage, reason: str) -> None:
    with pytest.raises(Unavailable) as refusal:
        asyncio.run(
            assemble(
                tmp_path,
                make_vin(1),
                blueprint(gateway=package("gateway"), brake=bad),
                HOME,
                clock=SystemClock(),
                secret=lambda size: draw_bytes(1, size, "x"),
                medium=lambda _: MemoryMedium(),
            )
        )
    assert refusal.value.code == reason


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"agent": "swupdate", "bus": "local", "storage": "ab"}, "which is not simulated"),
        ({"agent": "mcuboot", "bus": "CAN", "storage": "ab"}, "whose public key is not known"),
    ],
)
def test_an_ecu_that_cannot_be_simulated_stops_the_line(
    tmp_path: Path, table: dict[str, str], words: str
) -> None:
    whole = {"hardware_id": "hw", "storage_bytes": 1000, "primary": True, **table}
    with pytest.raises(InvalidInput, match=words):
        asyncio.run(
            assemble(
                tmp_path / "v", make_vin(1),
                Blueprint(programme_id="p", variant="v", region="EU", release_id="r", ecus={"x": whole}, packages={}),
                HOME, clock=SystemClock(), secret=bytes,
            )
        )  # fmt: skip


def test_an_ecu_that_its_programme_secures_with_0x29_is_born_flashed_and_found_again_by_its_proof(
    tmp_path: Path,
) -> None:
    ecus = blueprint(gateway=package("gateway"), brake=package("brake"))
    gateway = {**ecus.ecus["gateway"], "security": "uds-authentication-0x29"}
    programme = replace(ecus, ecus={**ecus.ecus, "gateway": gateway})

    async def build() -> None:
        born, _ = await assemble(
            tmp_path, make_vin(1), programme, HOME, clock=SystemClock(),
            secret=lambda size: draw_bytes(1, size, "x"), durability="buffered",
        )  # fmt: skip
        by_proof, by_key = born.config.ecus
        assert (tmp_path / by_proof.authentication_key_file).stat().st_mode & 0o77 == 0
        assert by_key.authentication_key_file == ""
        assert b"PRIVATE" not in (tmp_path / f"{by_proof.serial}.toml").read_bytes()
        again = power_on(tmp_path, clock=SystemClock())
        outside = prover_of((tmp_path / by_proof.authentication_key_file).read_bytes(), by_proof.serial)
        uds = UdsClient(channel=MemoryChannel(again.ports[by_proof.serial]))
        await uds.session(Session.EXTENDED)
        with pytest.raises(EcuRejects):
            await uds.unlock(hmac_key(b"ringroad"))
        with pytest.raises(EcuForbids):
            await uds.write(0x0100, b"abcd")
        await uds.authenticate(outside)  # a vehicle of its own process has the file alone
        await uds.write(0x0100, b"abcd")
        assert {ecu.name: sorted(ecu.writes) for ecu in born.config.ecus} == {
            key: ["0100", "F198"] for key in ("gateway", "brake")
        }

    asyncio.run(build())
