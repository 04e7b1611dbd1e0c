"""A vehicle whose power goes in the middle of any durable step; by default the 33 ECUs of the example programme.

The orchestrator, the update agents and the virtual ECUs are the real ones; the flash is in memory, the clock is stepped.
A *step* is a journal record, or a write or an erase of an ECU's flash. A *life* lasts from power-on to rest.

Before each step a picture can be taken of all that would be left if power went there; restored with a part of the step
done, it is what a cut inside the step leaves. So one life gives a scenario for each of its steps, and a scenario costs
only the lives that follow. When a single ECU loses its power the vehicle lives on, and the life is run as a whole.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import shutil
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, Literal

import httpx
import msgspec

from ringroad.sim.vecu.config import EcuConfig as VecuConfig
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.medium import PowerCut as EcuPowerCut
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, Script
from ringroad.vehicle.agents.base import BytesSource, Done, UpdateAgent, no_progress
from ringroad.vehicle.agents.wire import Swap
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import EcuConfig
from ringroad.vehicle.connect import make_agents
from ringroad.vehicle.states import image_of
from support.vehicle_world import TOKEN, VIN, DeskClock, DeskIds, World, content_of, director_target

PROGRAMME: Final = Path(__file__).parents[2] / "examples/road/programme.toml"
KEEPS: Final = (0, 500, 1_000)  # permille of the step that is done when power goes
BLOCK_BYTES: Final = 1_026  # of a transfer; an image of 3,000 bytes is three writes
FILES: Final = ("journal", "trust.state", "reports.acknowledged", "manifest.state")
LINES: Final = 3  # that ECUs are staged on at once
EXCHANGE_EVERY: Final = 100  # steps of the orchestrator

Ecu = tuple[str, Literal["ab", "inplace"]]
# What becomes of the update: everybody takes it; one ECU's self-test fails; one ECU does not start with it.
Variant = Literal["good", "bad", "dead"]
VARIANTS: Final[tuple[Variant, ...]] = ("good", "bad", "dead")
BEHAVIOURS: Final = {"good": Behaviour(), "bad": Behaviour(self_test="fail"), "dead": Behaviour(boot="loop")}
GUILTY: Final = "brake"  # whose self-test fails, or who does not start


def ecus_of_the_example(variant: str = "premium") -> list[Ecu]:
    """The ECUs of a vehicle of the example programme, the Primary first."""
    programme = tomllib.loads(PROGRAMME.read_text("utf-8"))
    return [(name, programme["ecus"][name]["storage"]) for name in programme["variants"][variant]["ecus"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashStep:
    """A write, or with `data` None an erase, that was about to begin."""

    ecu: str
    offset: int
    size: int
    data: bytes | None

    def __str__(self) -> str:
        return f"{'erase' if self.data is None else 'write'} of {self.ecu} at {self.offset}"

    def do(self, flash: MemoryMedium, keep_permille: int) -> None:
        """Do a part of it."""
        size = self.size * keep_permille // 1_000
        if self.data is None:
            flash.erase(self.offset, size)
        else:
            flash.write(self.offset, self.data[:size])


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStep:
    """A journal record: the file before and after."""

    before: bytes
    after: bytes

    def __str__(self) -> str:
        return f"record {self.after[len(self.before) :][:60].decode(errors='replace')}"

    def left(self, keep_permille: int) -> bytes:
        """The file with a part of the record in it; a file that was replaced is the old or the new one."""
        if self.after.startswith(self.before):
            line = self.after[len(self.before) :]
            return self.before + line[: len(line) * keep_permille // 1_000]
        return self.after if keep_permille == 1_000 else self.before


Step = FlashStep | JournalStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is left when power goes in a step."""

    number: int  # of the step in its life
    step: Step
    files: Mapping[str, bytes]
    images: frozenset[str]
    flash: Mapping[str, MemoryMedium]
    reports: int
    manifests: int
    clock_s: float
    ids: int


class Steps:
    """Counts the steps of one life, and says what is done about each. Stands in for `vehicle_world.Power`."""

    def __init__(self) -> None:
        self.ticks = 0
        self.cut_at = 0  # unused: power goes by picture
        self.wanted: Callable[[int], bool] = lambda _: False  # of which steps a picture is taken
        self.ecu_cut: tuple[int, int] | None = (
            None  # number of the step in which one ECU loses power, and its part
        )
        self.ecu_was_cut = False
        self.pictures: list[Picture] = []
        self.take: Callable[[int, Step], Picture] | None = None
        self.journal: Callable[[], bytes] = lambda: b""
        self._before = b""

    def hook(self, moment: Literal["before", "after"]) -> None:
        """Around each journal record."""
        if moment == "before":
            self._before = self.journal()
        else:
            self.step(JournalStep(before=self._before, after=self.journal()))

    def tick(self) -> None:
        """Never called: no ECU of `World` itself is used here."""
        raise AssertionError

    def step(self, step: Step) -> int:
        """Count a step; return how much of it is done before this ECU loses its power, more than 1000 if it does not."""
        self.ticks += 1
        if self.take is not None and self.wanted(self.ticks):
            self.pictures.append(self.take(self.ticks, step))
        if self.ecu_cut is not None and self.ticks == self.ecu_cut[0] and isinstance(step, FlashStep):
            self.ecu_was_cut = True
            return self.ecu_cut[1]
        return 1_001


class StepMedium:
    """An ECU's flash whose writes are steps."""

    def __init__(self, steps: Steps, ecu: str, flash: MemoryMedium) -> None:
        self._steps = steps
        self._ecu = ecu
        self._flash = flash
        self._copy: MemoryMedium | None = None

    def read(self, offset: int, size: int) -> bytes:
        return self._flash.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        self._do(FlashStep(ecu=self._ecu, offset=offset, size=len(data), data=data))

    def erase(self, offset: int, size: int) -> None:
        self._do(FlashStep(ecu=self._ecu, offset=offset, size=size, data=None))

    def sync(self) -> None:
        self._flash.sync()

    def close(self) -> None:
        self._flash.close()

    def copied(self) -> MemoryMedium:
        """What it holds now, not to be written to; one copy as long as nothing changes."""
        if self._copy is None:
            self._copy = copied(self._flash)
        return self._copy

    def _do(self, step: FlashStep) -> None:
        keep = self._steps.step(step)
        self._copy = None
        step.do(self._flash, min(keep, 1_000))
        if keep <= 1_000:
            raise EcuPowerCut(f"{self._ecu} lost its power")


def copied(flash: MemoryMedium) -> MemoryMedium:
    """The same content, apart."""
    other = MemoryMedium(flash._pool)
    other._pages = dict(flash._pages)
    other._open = {page: bytearray(content) for page, content in flash._open.items()}
    return other


class TakingTurns(MemoryChannel):
    """Gives way before each request, so that ECUs on different lines are written to by turns."""

    __slots__ = ()

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        await asyncio.sleep(0)
        return await super().request(payload, timeout_s=timeout_s)


def _on_a_line(number: int, ecu: EcuConfig) -> EcuConfig:
    """Spread the ECUs over Ethernet and two buses; their way is through memory whatever this says."""
    if number % LINES == 0:
        return ecu
    way = CanWay(
        bus="canfd",
        channel=f"127.0.0.1:{number % LINES}",
        request_id=0x600 + number,
        response_id=0x680 + number,
    )
    return msgspec.structs.replace(ecu, host="", can=way)


class Vehicle(World):
    """A vehicle with real agents and virtual ECUs, and its server."""

    def __init__(self, folder: Path, *, variant: Variant, ecus: Sequence[Ecu]) -> None:
        """Make the vehicle as it leaves its suppliers: blank. `build` flashes the factory's images."""
        super().__init__(folder, ecus=ecus)
        self.variant = variant
        self.config = msgspec.structs.replace(
            self.config, ecus=tuple(map(_on_a_line, range(len(ecus)), self.config.ecus))
        )
        self.exchange_every = EXCHANGE_EVERY
        self.pool = folder / "images"  # whole images are linked from here
        self.ports: dict[str, EcuPort] = {}
        self._start(Steps(), {name: MemoryMedium() for name in self.ecus})

    def _start(self, steps: Steps, flash: Mapping[str, MemoryMedium]) -> None:
        self.steps = steps
        self.power = steps  # type: ignore[assignment]  # all that `World` asks of it is `hook`
        steps.take = self.picture
        journal = self.folder / "journal"
        steps.journal = lambda: journal.read_bytes() if journal.exists() else b""
        self.media = {name: StepMedium(steps, name, flash[name]) for name in self.ecus}

    def power_on(self) -> None:
        """Start every ECU from what its flash holds."""
        guilty = director_target(self.ecus[GUILTY], "2.0.0", 2).sha256
        script = Script(images={guilty: BEHAVIOURS[self.variant]})
        self.ports = {
            name: EcuPort(
                VecuConfig(
                    serial=ecu.serial, hardware_id=f"{name}-hw", vin=VIN, layout=ecu.mode, bank_bytes=8_192,
                    block_bytes=BLOCK_BYTES,
                ),
                self.media[name], clock=self.clock, script=script,
            )
            for name, ecu in self.ecus.items()
        }  # fmt: skip

    def reset(self) -> None:
        self.power_on()

    def agents(self) -> dict[str, UpdateAgent]:
        channels = {ecu.serial: TakingTurns(self.ports[ecu.name]) for ecu in self.config.ecus}
        return make_agents(self.config.ecus, channels, secrets={})

    async def build(self) -> None:
        """Flash the factory's images, as the plant does."""
        self.power_on()
        agents = self.agents()
        for ecu in self.config.ecus:
            image, agent = image_of(self.factory(ecu.serial)), agents[ecu.serial]
            source = BytesSource(content_of(ecu.name, "1.0.0"))
            for outcome in (
                await agent.prepare(image, source, progress=no_progress),
                await agent.install(image, source, progress=no_progress),
                await agent.activate(image),
                await agent.commit(image),
            ):
                assert isinstance(outcome, Done), outcome
        self.steps.ticks = 0

    def picture(self, number: int, step: Step) -> Picture:
        """What is left when power goes before `step`."""
        images = self.folder / "images"
        return Picture(
            number=number,
            step=step,
            files={
                name: (self.folder / name).read_bytes() for name in FILES if (self.folder / name).exists()
            },
            images=frozenset(path.name for path in images.iterdir()) if images.exists() else frozenset(),
            flash={name: medium.copied() for name, medium in self.media.items()},
            reports=len(self.server.reports),
            manifests=len(self.server.manifests),
            clock_s=self.clock.s,
            ids=self.ids.count,
        )

    def restored(self, folder: Path, picture: Picture, keep_permille: int) -> Vehicle:
        """A vehicle of its own from a picture of this one, with a part of the step done. Its power is off."""
        world = copy.copy(self)
        world.folder = folder
        (folder / "images").mkdir(parents=True)
        for name, content in {**picture.files, "token": TOKEN.encode()}.items():
            (folder / name).write_bytes(content)
        for name in picture.images:
            os.link(self.pool / name, folder / "images" / name)
        world.clock, world.ids = DeskClock(), DeskIds()
        world.clock.s, world.ids.count = picture.clock_s, picture.ids
        world.server = copy.copy(self.server)
        world.server.reports = dict(islice(self.server.reports.items(), picture.reports))
        world.server.manifests = self.server.manifests[: picture.manifests]
        world.server.asked = []
        world.server.clock = world.clock.now
        world.transport = httpx.ASGITransport(world.server)
        flash = {name: copied(one) for name, one in picture.flash.items()}
        match picture.step:
            case FlashStep(ecu=ecu):
                picture.step.do(flash[ecu], keep_permille)
            case JournalStep():
                (folder / "journal").write_bytes(picture.step.left(keep_permille))
        world._start(Steps(), flash)
        return world

    async def life(self) -> str:
        """Power on, then drive to rest."""
        self.power_on()
        return await self.drive()

    def running(self) -> dict[str, tuple[str, bool, int]]:
        """Version, trial and committed counter of every ECU. A bank runs only if its digest was right at its start."""
        found = {}
        for name, port in self.ports.items():
            status = port.ecu.status()
            version = status.running.version if status.running is not None else "nothing"
            found[name] = (version, status.swap is not Swap.NONE, status.committed_counter)
        return found

    async def torn(self, state: str) -> str:
        """Say what is wrong with a vehicle that came to rest in `state`; empty if it is all old or all new."""
        allowed = {"SUCCEEDED"} if self.variant == "good" else {"ROLLED_BACK"}
        if self.steps.ecu_cut is not None:
            allowed = {"SUCCEEDED", "ROLLED_BACK"} if self.variant == "good" else {"ROLLED_BACK"}
        if state not in allowed:
            return f"ended {state}"
        whole = ("2.0.0", False, 2) if state == "SUCCEEDED" else ("1.0.0", False, 1)
        told = {one.state for one in self.server.reports.values() if not one.ecu}
        if state not in told:
            return f"the server was not told of {state}"
        self.steps.ecu_cut = None
        for when in ("at rest", "after one more power cycle", "after one more start"):
            running = self.running()
            if set(running.values()) != {whole}:
                return f"{state}, {when}: " + ", ".join(
                    f"{name} {one}" for name, one in running.items() if one != whole
                )
            if when == "at rest":
                self.power_on()
            elif when == "after one more power cycle" and (again := await self.drive()) != state:
                return f"a start at rest changed {state} to {again}"
        return ""


# Scenarios ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Where power went, and what came of it."""

    variant: Variant
    cuts: tuple[str, ...]
    state: str
    problem: str

    def __str__(self) -> str:
        return f"{self.variant}: {'; then '.join(self.cuts)}: {self.problem or self.state}"


@dataclass(kw_only=True)
class Lab:
    """One update of one vehicle, lived once with a picture of every step; scenarios start from those."""

    folder: Path
    variant: Variant
    ecus: Sequence[Ecu] = field(default_factory=ecus_of_the_example)
    base: Vehicle = field(init=False)
    pictures: list[Picture] = field(init=False)
    built: Picture = field(init=False)
    update_steps: int = field(init=False)
    _count: int = 0

    async def prepare(self) -> None:
        """Build the vehicle, offer it the update, and live it without a cut."""
        self.base = Vehicle(self.folder / "base", variant=self.variant, ecus=self.ecus)
        await self.base.build()
        self.base.order()
        self.built = self.base.picture(0, JournalStep(before=b"", after=b""))
        self.base.steps.wanted = lambda _: True
        state = await self.base.drive()
        self.update_steps = self.base.steps.ticks
        problem = await self.base.torn(state)
        assert not problem, problem
        self.pictures = self.base.steps.pictures

    @property
    def flash_steps(self) -> list[int]:
        """Numbers of the update's own writes and erases; behind them come those of one more start."""
        return [one.number for one in self.pictures[: self.update_steps] if isinstance(one.step, FlashStep)]

    async def cut(
        self,
        picture: Picture,
        keep_permille: int,
        *,
        second_cuts: float = 0,
        draw: random.Random | None = None,
    ) -> AsyncIterator[Scenario]:
        """Let power go in one step; then also in about `second_cuts` steps of its recovery, drawn from `draw`."""
        first = f"{keep_permille} of 1000 of step {picture.number}, {picture.step}"
        world = self.base.restored(self._new_folder(), picture, keep_permille)
        if draw is not None:
            # The recovery begins with every ECU's start and goes through what is left of the update.
            rate = second_cuts / (3 * len(self.ecus) + len(self.pictures) - picture.number + 1)
            world.steps.wanted = lambda _: draw.random() < rate
        yield await self._end(world, await world.life(), first)
        for second in world.steps.pictures:
            keep = KEEPS[second.number % len(KEEPS)]
            label = f"{keep} of 1000 of step {second.number} of the recovery, {second.step}"
            other = world.restored(self._new_folder(), second, keep)
            yield await self._end(other, await other.life(), first, label)

    async def cut_one_ecu(self, number: int, keep_permille: int) -> Scenario:
        """Let one ECU lose its power in the flash write with that number; everything else goes on."""
        world = self.base.restored(self._new_folder(), self.built, 0)
        (world.folder / "journal").unlink()
        world.power_on()
        world.steps.ticks, world.steps.ecu_cut = 0, (number, keep_permille)
        state = await world.drive()
        assert world.steps.ecu_was_cut, f"step {number} is no flash write any more"
        return await self._end(world, state, f"one ECU, {keep_permille} of 1000 of step {number}")

    async def _end(self, world: Vehicle, state: str, *cuts: str) -> Scenario:
        world.steps.wanted = lambda _: False
        problem = await world.torn(state)
        shutil.rmtree(world.folder)
        return Scenario(variant=self.variant, cuts=cuts, state=state, problem=problem)

    def _new_folder(self) -> Path:
        self._count += 1
        return self.folder / str(self._count)
