"""Power goes in a vehicle with an ECU for each of our agents: UDS with two banks and with one, MCUboot, SOVD, container, files.

The orchestrator, agents, boot loaders and folders are the real ones, the flash is in memory, the clock is stepped.
Power goes before, in the middle of or after any journal record, flash write, and change of a folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import shutil
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import pytest

from ringroad.sim.assembly import LOCAL_AGENTS, agents_here
from ringroad.sim.rehearsal import OLD, Parked, Plan, Rehearsal, build
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Script
from ringroad.vehicle.agents.base import EcuInventory
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.run import Surroundings, open_vehicle
from support.power_cuts import copied
from support.vehicle_world import DeskClock, DeskIds, Power, PowerCut

PROGRAMME = Path(__file__).parents[2] / "examples" / "distributed" / "programme.toml"
ECUS = ("gateway", "infotainment", "apps", "maps", "body", "brake")
KEEPS = (0, 500, 1_000)  # permille of the step that is done when power goes
CUTS = 14  # per variant, spread over the whole update
STEPS_MAX = 600
SEED = int(os.environ.get("RINGROAD_CUTS", "1"))


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "httpx")


class Tap:
    """Counts durable steps; in the one where power goes, says how much of it is done before it does."""

    def __init__(self, power: Power, keep_permille: int) -> None:
        self.power = power
        self.keep_permille = keep_permille

    def part(self, size: int) -> tuple[int, PowerCut | None]:
        try:
            self.power.tick()
        except PowerCut as cut:
            return size * self.keep_permille // 1_000, cut
        return size, None


class TapMedium:
    """An ECU's flash."""

    def __init__(self, tap: Tap, flash: MemoryMedium) -> None:
        self._tap = tap
        self._flash = flash
        self.read = flash.read
        self.sync = flash.sync
        self.close = flash.close

    def write(self, offset: int, data: bytes) -> None:
        size, cut = self._tap.part(len(data))
        self._flash.write(offset, data[:size])
        if cut:
            raise cut

    def erase(self, offset: int, size: int) -> None:
        size, cut = self._tap.part(size)
        self._flash.erase(offset, size)
        if cut:
            raise cut


class TapDisk:
    """The disk of the agents whose ECU is a folder. What is one step of a file system is done or not."""

    def __init__(self, tap: Tap) -> None:
        self._tap = tap
        self._disk = RealDisk("buffered")

    def append(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        size, cut = self._tap.part(len(data))
        self._disk.append(path, data[:size], mode=mode)
        if cut:
            raise cut

    def rename(self, old: Path, new: Path) -> None:
        done, cut = self._tap.part(1_000)
        if done == 1_000:
            self._disk.rename(old, new)
        if cut:
            raise cut

    def link(self, path: Path, target: str) -> None:
        done, cut = self._tap.part(1_000)
        if done == 1_000:
            self._disk.link(path, target)
        if cut:
            raise cut

    def make_folder(self, path: Path) -> None:
        done, cut = self._tap.part(1_000)
        if done == 1_000:
            self._disk.make_folder(path)
        if cut:
            raise cut

    def set_mode(self, path: Path, mode: int) -> None:
        done, cut = self._tap.part(1_000)
        if done == 1_000:
            self._disk.set_mode(path, mode)
        if cut:
            raise cut

    def remove(self, path: Path) -> None:
        done, cut = self._tap.part(1_000)
        if done == 1_000:
            self._disk.remove(path)
        elif path.is_dir() and not path.is_symlink():
            inside = sorted(path.iterdir())
            for one in inside[: len(inside) * done // 1_000]:
                self._disk.remove(one)
        if cut:
            raise cut


@dataclass(kw_only=True)
class Car:
    """A vehicle as it stands somewhere, under power or not."""

    rehearsal: Rehearsal
    folder: Path
    flash: dict[str, MemoryMedium]
    clock: DeskClock
    script: Script
    ids: DeskIds = field(default_factory=DeskIds)
    power: Power = field(default_factory=Power)
    keep_permille: int = 0

    def apart(self, folder: Path) -> Car:
        """The same vehicle, on its own."""
        shutil.copytree(self.folder, folder, symlinks=True)
        clock = DeskClock()
        clock.s = self.clock.s
        flash = {serial: copied(one) for serial, one in self.flash.items()}
        return replace(self, folder=folder, flash=flash, clock=clock, ids=DeskIds(), power=Power())

    async def life(self) -> str:
        """Give power, and run to rest; power may go on the way. Return the state it rests in."""
        tap = Tap(self.power, self.keep_permille)
        config = self.rehearsal.config
        ports = {
            ecu.serial: EcuPort(
                read_vecu_config(self.folder / f"{ecu.serial}.toml").ecu,
                TapMedium(tap, self.flash[ecu.serial]), clock=self.clock, script=self.script,
            )
            for ecu in config.ecus if ecu.agent not in LOCAL_AGENTS
        }  # fmt: skip
        agents = agents_here(self.folder, config.ecus, ports, disk=TapDisk(tap))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.rehearsal.desk)) as client:
            surroundings = Surroundings(
                clock=self.clock, ids=self.ids, fraction=lambda: 0.5, agents=agents, signals=Parked(), client=client,
                durability="buffered", hook=self.power.hook,
            )  # fmt: skip
            async with open_vehicle(self.folder, config, surroundings) as orchestrator:
                for step in range(STEPS_MAX):
                    if step % 40 == 0:
                        await orchestrator.exchange()
                    delay_s = await orchestrator.step()
                    if delay_s is None:
                        await orchestrator.exchange()
                        break
                    self.clock.s += delay_s
                else:
                    raise AssertionError(f"still {orchestrator.state.state} after {STEPS_MAX} steps")
                answers = await orchestrator.ecus.inventories()
                self.runs = {ecu.name: ends(answers[ecu.serial]) for ecu in config.ecus}
                return str(orchestrator.state.state)

    runs: dict[str, tuple[str, bool, int]] = field(default_factory=dict)

    async def live(self, cut_at: int) -> str:
        """Live with power going in one step, and again without."""
        self.power.cut_at = cut_at
        try:
            return await self.life()
        except PowerCut:
            pass
        finally:
            self.power.cut_at = 0
        return await self.life()


def ends(answer: object) -> tuple[str, bool, int]:
    assert isinstance(answer, EcuInventory), answer
    return (answer.running.version if answer.running else "nothing", answer.trial, answer.committed_counter)


async def new_car(folder: Path, failing: str) -> Car:
    """Built with the old release, and offered the new one."""
    programme = tomllib.loads(PROGRAMME.read_text("utf-8"))
    tables = {name: {"primary": False, **programme["ecus"][name]} for name in ECUS}
    plan = Plan(
        programme_id="distributed",
        variant="test",
        ecus=tables,
        soc_bytes=3_000,
        mcu_bytes=2_000,
        failing=failing,
    )
    flash: dict[str, MemoryMedium] = {}
    count = iter(range(1_000_000))

    def secret(size: int) -> bytes:
        return hashlib.shake_256(str(next(count)).encode()).digest(size)

    clock = DeskClock()
    rehearsal = await build(
        plan,
        folder,
        clock=clock,
        secret=secret,
        medium=lambda serial: flash.setdefault(serial, MemoryMedium()),
    )
    rehearsal.order()
    return Car(rehearsal=rehearsal, folder=folder, flash=flash, clock=clock, script=rehearsal.script())


@pytest.mark.parametrize(
    ("failing", "state", "whole"),
    [("", "SUCCEEDED", ("2.0.0", False, 2)), ("brake", "ROLLED_BACK", (OLD, False, 1))],
    ids=["good", "bad"],
)
def test_power_that_goes_in_any_step_of_any_agent_leaves_the_vehicle_all_old_or_all_new(
    tmp_path: Path, failing: str, state: str, whole: tuple[str, bool, int]
) -> None:
    async def story() -> list[str]:
        base = await new_car(tmp_path / "base", failing)
        whole_life = base.apart(tmp_path / "whole")
        assert await whole_life.life() == state
        assert set(whole_life.runs.values()) == {whole}
        steps, torn = whole_life.power.ticks, []
        assert steps > 150
        draw = random.Random(SEED)
        for number in sorted(draw.sample(range(1, steps + 1), CUTS)):
            car = base.apart(tmp_path / str(number))
            car.keep_permille = KEEPS[number % len(KEEPS)]
            ended = await car.live(number)
            found = f"step {number} of {steps}, {car.keep_permille} of 1000: {ended} {car.runs}"
            again = await car.life()
            if ended != state or again != state or set(car.runs.values()) != {whole}:
                torn.append(found)
            shutil.rmtree(car.folder)
        return torn

    assert asyncio.run(story()) == []
