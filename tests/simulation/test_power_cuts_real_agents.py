"""The same power cuts with the real update agents and the real virtual ECUs: UDS, flash pages and all.

Power goes at every journal record and at every write or erase of an ECU's flash.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, Script
from ringroad.vehicle.agents.base import BytesSource, Done, EcuInventory, UpdateAgent, no_progress
from ringroad.vehicle.connect import make_agents
from ringroad.vehicle.states import image_of
from support.vehicle_world import VIN, Power, World, content_of, director_target

TICKS_MAX = 2_000


class TickingMedium:
    """Flash that counts its writes as durable steps."""

    def __init__(self, power: Power) -> None:
        self._flash = MemoryMedium()
        self._power = power

    def read(self, offset: int, size: int) -> bytes:
        return self._flash.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._power.tick()
        self._flash.write(offset, data)

    def erase(self, offset: int, size: int) -> None:
        self._power.tick()
        self._flash.erase(offset, size)

    def sync(self) -> None:
        self._flash.sync()

    def close(self) -> None:
        self._flash.close()


class RealWorld(World):
    """The vehicle of `World`, with virtual ECUs in the place of the simulated ones."""

    def __init__(self, folder: Path, *, bad: str = "") -> None:
        super().__init__(folder)
        self.ports: dict[str, EcuPort] = {}
        for name, ecu in self.ecus.items():
            target = director_target(ecu, "2.0.0", 2)
            broken = {target.sha256: Behaviour(self_test="fail")} if name == bad else {}
            self.ports[name] = EcuPort(
                EcuConfig(
                    serial=ecu.serial, hardware_id=f"{name}-hw", vin=VIN, layout=ecu.mode, bank_bytes=8_192
                ),
                TickingMedium(self.power),
                clock=self.clock,
                script=Script(images=broken),
            )  # fmt: skip

    def agents(self) -> dict[str, UpdateAgent]:
        channels = {ecu.serial: MemoryChannel(self.ports[ecu.name]) for ecu in self.config.ecus}
        return make_agents(self.config.ecus, channels, secrets={})

    async def build(self) -> None:
        """Flash the factory's images, as the plant does."""
        for ecu in self.config.ecus:
            target = director_target(self.ecus[ecu.name], "1.0.0", 1)
            image = image_of(self.factory(ecu.serial))
            source = BytesSource(content_of(ecu.name, "1.0.0"))
            agent = self.agents()[ecu.serial]
            assert target.sha256 == image.sha256
            for outcome in (
                await agent.prepare(image, source, progress=no_progress),
                await agent.install(image, source, progress=no_progress),
                await agent.activate(image),
                await agent.commit(image),
            ):
                assert isinstance(outcome, Done), outcome

    def reset(self) -> None:
        for port in self.ports.values():
            port.power_cycle()

    async def running(self) -> dict[str, tuple[str, bool, int]]:
        """Version, trial and committed counter of every ECU, asked over UDS."""
        found = {}
        for serial, agent in self.agents().items():
            answer = await agent.inventory()
            assert isinstance(answer, EcuInventory), answer
            version = answer.running.version if answer.running else "nothing"
            found[serial] = (version, answer.trial, answer.committed_counter)
        return found


async def assert_whole(world: RealWorld, state: str) -> None:
    expected = ("2.0.0", False, 2) if state == "SUCCEEDED" else ("1.0.0", False, 1)
    assert set((await world.running()).values()) == {expected}
    world.reset()
    assert set((await world.running()).values()) == {expected}


async def cut_at(folder: Path, cut: int, *, bad: str) -> tuple[str, bool]:
    """Return how the update ended, and whether power was really cut."""
    world = RealWorld(folder, bad=bad)
    world.exchange_every = 7
    await world.build()
    world.order()
    before = world.power.ticks
    state = await world.live(cut)
    await assert_whole(world, state)
    return state, world.power.ticks - before >= cut


async def every_cut(folder: Path, *, bad: str, stride: int, first: int = 1) -> set[str]:
    ends: set[str] = set()
    for cut in range(first, TICKS_MAX, stride):
        state, was_cut = await cut_at(folder / str(cut), cut, bad=bad)
        ends.add(state)
        if not was_cut:
            return ends
    pytest.fail(f"power was still being cut after {TICKS_MAX} steps")


def test_a_power_cut_in_journal_or_flash_of_a_good_update_ends_in_the_new_release(tmp_path: Path) -> None:
    assert asyncio.run(every_cut(tmp_path, bad="", stride=3)) == {"SUCCEEDED"}


def test_a_power_cut_in_journal_or_flash_of_a_bad_update_ends_in_the_old_release(tmp_path: Path) -> None:
    assert asyncio.run(every_cut(tmp_path, bad="brake", stride=3, first=2)) == {"ROLLED_BACK"}
