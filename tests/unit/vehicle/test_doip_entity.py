"""Several ECUs behind one DoIP entity: one connection carries them all, and what becomes of one is no matter of another."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.config import EcuConfig, ServerTable, read_config, write_config
from ringroad.sim.vecu.script import Script, Trouble
from ringroad.sim.vecu.server import VecuServer
from ringroad.sim.vecu.simple import Communication
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
from ringroad.vehicle.agents.session import EcuAccess, EcuSession
from ringroad.vehicle.config import EcuConfig as VehicleEcu
from ringroad.vehicle.connect import DEVELOPMENT_SECRET, connect_channels, make_agent, make_agents
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.uds import hmac_key

ADDRESSES = {"zone": 0x1001, "door": 0x1002, "seat": 0x1003}
IMAGE = b"firmware of a zone " * 2_000


def image(name: str) -> EcuImage:
    return EcuImage(
        serial=name, target=EcuTarget(name=name, mode="inplace", format="bin", version="1.0"), filename=name,
        sha256=hashlib.sha256(IMAGE).hexdigest(), length_bytes=len(IMAGE), release_counter=1, hardware_ids=("HW",),
    )  # fmt: skip


async def brought_to_life(agent: UpdateAgent, name: str) -> Outcome:
    outcome = await agent.install(image(name), BytesSource(IMAGE), progress=no_progress)
    if isinstance(outcome, Done):
        outcome = await agent.activate(image(name))
    return await agent.commit(image(name)) if isinstance(outcome, Done) else outcome


class Zone:
    """A DoIP entity with two ECUs behind it, and the vehicle's way to all three."""

    def __init__(self, folder: Path) -> None:
        for name, address in ADDRESSES.items():
            config = EcuConfig(
                serial=name, hardware_id="HW", vin="WRR00000000000001", layout="inplace", bank_bytes=100_000,
                block_bytes=1_026,
            )  # fmt: skip
            behind = ("door.toml", "seat.toml") if name == "zone" else ()
            table = ServerTable(flash=f"{name}.bin", fsync=False, logical_address=address, behind=behind)
            write_config(folder / f"{name}.toml", config, table)
        self.server = VecuServer(read_config(folder / "zone.toml"), clock=SystemClock())

    async def start(self) -> None:
        port = await self.server.start()
        ecus = [
            VehicleEcu(
                name=name, serial=name, hardware_id="HW", mode="inplace", key_file="k", host="127.0.0.1", port=port,
                logical_address=address,
            )
            for name, address in ADDRESSES.items()
        ]  # fmt: skip
        self.entity = DoipEntity("127.0.0.1", port)
        self.channels = connect_channels(ecus)
        self.agents = make_agents(ecus, self.channels, secrets={})

    async def close(self) -> None:
        for agent in self.agents.values():
            await agent.close()
        await self.server.close()


def run(folder: Path, story: Callable[[Zone], Awaitable[None]]) -> None:
    async def whole() -> None:
        zone = Zone(folder)
        await zone.start()
        try:
            await story(zone)
        finally:
            await zone.close()

    asyncio.run(asyncio.wait_for(whole(), 120))


def test_ecus_behind_one_entity_are_brought_to_life_over_one_connection(tmp_path: Path) -> None:
    async def story(zone: Zone) -> None:
        for name in ("door", "seat", "zone"):
            assert await brought_to_life(zone.agents[name], name) == Done()
            assert len(zone.server.connections) == 1
        answers = await asyncio.gather(*(agent.inventory() for agent in zone.agents.values()))
        for name, answer in zip(ADDRESSES, answers, strict=True):
            assert isinstance(answer, EcuInventory)
            assert (answer.serial, answer.running and answer.running.version) == (name, "1.0")
        assert len(zone.server.connections) == 1
        await zone.agents["door"].close()
        assert isinstance(await zone.agents["seat"].inventory(), EcuInventory)
        assert len(zone.server.connections) == 1

    run(tmp_path, story)


def test_an_ecu_that_dies_behind_an_entity_is_unreachable_and_the_others_go_on(tmp_path: Path) -> None:
    async def story(zone: Zone) -> None:
        hasty = EcuAccess(serial="door", derive=hmac_key(DEVELOPMENT_SECRET), restart_s_max=0.5)
        door = make_agent("inplace", zone.channels["door"], hasty)
        zone.server.behind[0].port.follow(Script(transport=(Trouble(kind="die", service=0x36, at=3),)))
        dead, seat = await asyncio.gather(brought_to_life(door, "door"), zone.agents["seat"].inventory())
        assert isinstance(dead, Failed)
        assert dead.reason is Reason.UNREACHABLE
        assert isinstance(seat, EcuInventory)
        assert await brought_to_life(zone.agents["seat"], "seat") == Done()
        assert len(zone.server.connections) == 1

    run(tmp_path, story)


def waiting(zone: Zone, name: str) -> EcuSession:
    patience = EcuAccess(serial=name, derive=hmac_key(DEVELOPMENT_SECRET), timeout_s=0.2, restart_s_max=1.0)
    return EcuSession(zone.channels[name], patience)


def test_an_entity_that_restarts_without_a_word_is_connected_anew_though_others_use_the_connection(
    tmp_path: Path,
) -> None:
    async def story(zone: Zone) -> None:
        for channel in zone.channels.values():
            await channel.request(b"\x3e\x00", timeout_s=10.0)
        (forgotten,) = zone.server.connections
        forgotten.data_received = lambda _: None  # type: ignore[method-assign, assignment]
        await waiting(zone, "zone").wait_for_restart()
        assert await zone.channels["door"].request(b"\x3e\x00", timeout_s=10.0) == b"\x7e\x00"

    run(tmp_path, story)


def test_an_ecu_that_is_silent_behind_an_entity_costs_the_others_no_connection(tmp_path: Path) -> None:
    async def story(zone: Zone) -> None:
        for channel in zone.channels.values():
            await channel.request(b"\x3e\x00", timeout_s=10.0)
        before = set(zone.server.connections)
        silent = Trouble(kind="drop_request", service=0x22, at=1, times=1_000)
        zone.server.behind[0].port.follow(Script(transport=(silent,)))
        with pytest.raises(Unavailable):
            await waiting(zone, "door").wait_for_restart()
        assert zone.server.connections == before

    run(tmp_path, story)


def test_a_dead_entity_costs_all_of_its_ecus_one_attempt_to_connect() -> None:
    attempts: list[None] = []

    async def dead() -> NoReturn:
        attempts.append(None)
        await asyncio.sleep(0.05)
        raise Unavailable("nobody answers", code="connection_lost")

    async def story() -> None:
        entity = DoipEntity("127.0.0.1", 1)
        entity._open = dead  # type: ignore[method-assign]
        for count in (1, 2):
            refused = await asyncio.gather(*map(entity.connect, range(20)), return_exceptions=True)
            assert {str(one) for one in refused} == {"nobody answers"}
            assert len(attempts) == count

    asyncio.run(story())


def test_what_is_said_to_all_is_heard_by_all_of_an_entity_and_said_once(tmp_path: Path) -> None:
    async def story(zone: Zone) -> None:
        assert len({channel.audience() for channel in zone.channels.values()}) == 1
        for message in (b"\x10\x03", b"\x28\x03\x01"):
            await zone.channels["door"].notify(message, functional=True)
        assert isinstance(await zone.agents["zone"].inventory(), EcuInventory)  # heard behind what was said
        ports = [zone.server.port, *(one.port for one in zone.server.behind)]
        assert {port.ecu.communication for port in ports} == {Communication.NONE}

    run(tmp_path, story)


def test_an_address_that_nobody_has_is_unavailable_and_ends_no_other_connection(tmp_path: Path) -> None:
    async def story(zone: Zone) -> None:
        nobody, door = (DoipChannel(zone.entity, ecu_address=address) for address in (0x1009, 0x1002))
        assert await door.request(b"\x3e\x00", timeout_s=10.0) == b"\x7e\x00"
        with pytest.raises(Unavailable, match="closed") as refused:
            await nobody.request(b"\x3e\x00", timeout_s=10.0)
        assert refused.value.detail == "not delivered: 0x03"
        assert await door.request(b"\x3e\x00", timeout_s=10.0) == b"\x7e\x00"
        assert len(zone.server.connections) == 1
        await door.close()

    run(tmp_path, story)


def test_two_ecus_behind_an_entity_cannot_have_one_address(tmp_path: Path) -> None:
    ecus = [
        VehicleEcu(
            name=name, serial=name, hardware_id="HW", mode="ab", key_file="k", host="h", logical_address=7
        )
        for name in ("door", "seat")
    ]
    with pytest.raises(InvalidInput, match="seat and door have one logical address behind h:13400"):
        connect_channels(ecus)
    asyncio.run(Zone(tmp_path).server.close())
    text = (tmp_path / "seat.toml").read_text().replace(str(ADDRESSES["seat"]), str(ADDRESSES["door"]))
    (tmp_path / "seat.toml").write_text(text)
    with pytest.raises(InvalidInput, match="logical addresses of their own"):
        VecuServer(read_config(tmp_path / "zone.toml"), clock=SystemClock())
