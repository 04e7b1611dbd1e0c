"""A vehicle whose power goes in the middle of any durable step; by default the 33 ECUs of the example, of every kind.

It is the vehicle that `ringroad vehicle rehearse` builds: orchestrator, update agents, boot loaders and virtual ECUs are
the real ones; the flash is in memory, the clock is stepped, requests and answers need no socket.
A *step* is a journal record, a write or an erase of an ECU's flash, or a change of a folder that is an ECU.
A *life* lasts from power-on to rest.

Before each step a picture can be taken of all that would be left if power went there; restored with a part of the step
done, it is what a cut inside the step leaves. So one life gives a scenario for each of its steps, and a scenario costs
only the lives that follow. When a single ECU loses its power the vehicle lives on: what its process holds in memory is
in no picture, so that life is run from its beginning, which is the same each time.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
import random
import shutil
import tomllib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import httpx

from ringroad.kernel.clock import Clock
from ringroad.protocol.vehicle import Report
from ringroad.sim.assembly import LOCAL_AGENTS, agents_here
from ringroad.sim.desk import Answer, Desk
from ringroad.sim.rehearsal import NEW, OLD, Parked, Plan, Rehearsal, build
from ringroad.sim.vecu.config import EcuConfig as VecuConfig
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.medium import PowerCut as EcuPowerCut
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, Script
from ringroad.trust.keys import parse_public_key, public_key_dict
from ringroad.trust.manifest import InventoryKey, VehicleManifest, verify_manifest
from ringroad.vehicle.agents.base import EcuInventory, UpdateAgent
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.wire import Swap
from ringroad.vehicle.config import read_keys, read_roots
from ringroad.vehicle.connect import AGENTS
from ringroad.vehicle.memory import read_state
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.run import Surroundings, open_vehicle
from support.vehicle_world import DeskClock, DeskIds

PROGRAMME: Final = Path(__file__).parents[2] / "examples/distributed/programme.toml"
KEEPS: Final = (0, 500, 1_000)  # permille of the step that is done when power goes
IMAGE_BYTES: Final = 3_000
BANK_BYTES: Final = 8_192
BLOCK_BYTES: Final = 1_026  # of a transfer; an image of 3,000 bytes is three writes
FILES: Final = ("journal", "trust.state", "reports.acknowledged", "manifest.state")
STEPS_MAX: Final = 1_000  # of the orchestrator
EXCHANGE_EVERY: Final = 100  # of them

# What becomes of the update: everybody takes it; one ECU's self-test fails; one ECU does not start with it.
Variant = Literal["good", "bad", "dead"]
VARIANTS: Final[tuple[Variant, ...]] = ("good", "bad", "dead")
BEHAVIOURS: Final = {"good": Behaviour(), "bad": Behaviour(self_test="fail"), "dead": Behaviour(boot="loop")}
GUILTY: Final = "brake"  # whose self-test fails, or who does not start


def programme() -> dict[str, Any]:
    return tomllib.loads(PROGRAMME.read_text("utf-8"))


def all_ecus() -> list[str]:
    """The ECUs of the example's only vehicle, the Primary first."""
    return list(programme()["variants"]["limousine"]["ecus"])


def plan_of(names: Sequence[str], *, soc_bytes: int, mcu_bytes: int) -> Plan:
    """A vehicle with these ECUs of the example, which is updated with images of so many bytes."""
    ecus = {name: {"primary": False, **programme()["ecus"][name]} for name in names}
    return Plan(
        programme_id="distributed", variant="limousine", ecus=ecus, soc_bytes=soc_bytes, mcu_bytes=mcu_bytes,
    )  # fmt: skip


def small(names: Sequence[str]) -> Plan:
    """A vehicle with these ECUs of the example, whose images are as small as what is looked for allows."""
    plan = plan_of(names, soc_bytes=IMAGE_BYTES, mcu_bytes=IMAGE_BYTES)
    return replace(
        plan, ecus={name: {**table, "storage_bytes": BANK_BYTES} for name, table in plan.ecus.items()}
    )


def inventory_keys(rehearsal: Rehearsal) -> list[InventoryKey]:
    """What the server knows of the ECUs of a vehicle."""
    signers = read_keys(rehearsal.folder, rehearsal.config)
    return [
        InventoryKey(
            serial=ecu.serial, key=parse_public_key(public_key_dict(signers[ecu.serial])), is_primary=ecu.primary
        )
        for ecu in rehearsal.config.ecus
    ]  # fmt: skip


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskStep:
    """A change of a folder that is an ECU; `do` does a part of it, in any copy of the vehicle's folder."""

    what: str
    do: Callable[[Path, int], None]

    def __str__(self) -> str:
        return self.what


Step = FlashStep | JournalStep | DiskStep
Wanted = Callable[[int, Step], bool]  # number of a step and the step -> whether a picture is taken of it


def nothing(_number: int, _step: Step) -> bool:
    """Take no picture."""
    return False


Tree = Mapping[str, tuple[int, bytes | str | None]]  # path -> rights, and bytes, a link's target or a folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is left when power goes in a step."""

    number: int  # of the step in its life
    step: Step
    files: Mapping[str, bytes]
    images: frozenset[str]
    folders: Tree
    flash: Mapping[str, MemoryMedium]
    reports: int
    manifests: int
    clock_s: float
    ids: int


class Steps:
    """Counts the steps of one life, and says what is done about each."""

    def __init__(self) -> None:
        self.ticks = 0
        self.wanted: Wanted = nothing
        self.ecu_cuts: Mapping[int, int] = {}  # of one ECU's power: number of the step, and its part
        self.cut: list[FlashStep] = []  # in which an ECU did lose its power
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

    def step(self, step: Step) -> int:
        """Count a step; return how much of it is done before this ECU loses its power, more than 1000 if it does not."""
        self.ticks += 1
        if self.take is not None and self.wanted(self.ticks, step):
            self.pictures.append(self.take(self.ticks, step))
        if self.ticks in self.ecu_cuts and isinstance(step, FlashStep):
            self.cut.append(step)
            return self.ecu_cuts[self.ticks]
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


class StepDisk:
    """The disk of the agents whose ECU is a folder. What is one step of a file system is done or not."""

    def __init__(self, steps: Steps, folder: Path) -> None:
        self._steps = steps
        self._folder = folder
        self._disk = RealDisk("buffered")
        self._copy: Tree | None = None

    def append(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        def do(root: Path, keep: int) -> None:
            self._disk.append(root / at, data[: len(data) * keep // 1_000], mode=mode)

        at = self._at(path)
        self._do(f"append to {at}", do)

    def rename(self, old: Path, new: Path) -> None:
        one, other = self._at(old), self._at(new)
        self._whole(f"rename of {one}", lambda root: self._disk.rename(root / one, root / other))

    def link(self, path: Path, target: str) -> None:
        at = self._at(path)
        self._whole(f"link {at}", lambda root: self._disk.link(root / at, target))

    def make_folder(self, path: Path) -> None:
        at = self._at(path)
        self._whole(f"folder {at}", lambda root: self._disk.make_folder(root / at))

    def set_mode(self, path: Path, mode: int) -> None:
        at = self._at(path)
        self._whole(f"rights of {at}", lambda root: self._disk.set_mode(root / at, mode))

    def remove(self, path: Path) -> None:
        def do(root: Path, keep: int) -> None:
            there = root / at
            if keep == 1_000:
                self._disk.remove(there)
            elif there.is_dir() and not there.is_symlink():
                inside = sorted(there.iterdir())
                for one in inside[: len(inside) * keep // 1_000]:
                    self._disk.remove(one)

        at = self._at(path)
        self._do(f"removal of {at}", do)

    def copied(self) -> Tree:
        """What the folders hold now; looked at once as long as nothing changes."""
        if self._copy is None:
            self._copy = tree_of(self._folder)
        return self._copy

    def _at(self, path: Path) -> Path:
        return path.relative_to(self._folder)

    def _whole(self, what: str, do: Callable[[Path], None]) -> None:
        self._do(what, lambda root, keep: do(root) if keep == 1_000 else None)

    def _do(self, what: str, do: Callable[[Path, int], None]) -> None:
        self._steps.step(DiskStep(what=what, do=do))
        self._copy = None
        do(self._folder, 1_000)


def tree_of(folder: Path) -> Tree:
    """What the agents' folders of a vehicle hold."""
    found: dict[str, tuple[int, bytes | str | None]] = {}
    for path in sorted((folder / AGENTS).rglob("*")):
        rights, at = path.lstat().st_mode & 0o7777, str(path.relative_to(folder))
        if path.is_symlink():
            found[at] = (rights, str(path.readlink()))
        else:
            found[at] = (rights, None if path.is_dir() else path.read_bytes())
    return found


def plant(tree: Tree, folder: Path) -> None:
    """Make the agents' folders of a vehicle as they were."""
    (folder / AGENTS).mkdir()
    for at, (rights, content) in tree.items():
        path = folder / at
        if isinstance(content, str):
            path.symlink_to(content)
            continue
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        path.chmod(rights)


class TakingTurns(MemoryChannel):
    """Gives way before each request, so that ECUs on different lines are written to by turns."""

    __slots__ = ()

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        await asyncio.sleep(0)
        return await super().request(payload, timeout_s=timeout_s)


@dataclass(kw_only=True)
class Server:
    """The desk as one vehicle meets it, with what that vehicle told it."""

    desk: Desk
    clock: Clock
    vin: str
    keys: Sequence[InventoryKey]
    asked: int = 0  # requests
    reports: dict[str, Report] = field(default_factory=dict)
    manifests: list[VehicleManifest] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, content, extra = self.answer(scope["method"], scope["path"], headers, body)
        await send({"type": "http.response.start", "status": status, "headers": extra})
        await send({"type": "http.response.body", "body": content})

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        self.asked += 1
        if method == "PUT":
            previous = self.manifests[-1] if self.manifests else None
            self.manifests.append(
                verify_manifest(
                    body, vin=self.vin, inventory=self.keys, previous=previous, now=self.clock.now()
                )
            )
        self.desk.reports = self.reports
        return self.desk.answer(method, path, headers, body)


@dataclass(kw_only=True)
class Vehicle:
    """A vehicle, under power or not, and its server."""

    rehearsal: Rehearsal
    folder: Path
    variant: Variant
    vecus: Mapping[str, VecuConfig]  # by serial
    flash: dict[str, MemoryMedium]  # by serial
    pool: Path  # token and the image store's files are linked from here
    server: Server
    surroundings: Surroundings
    clock: DeskClock
    ids: DeskIds
    lost_an_ecu: bool = False  # which lost its power alone, so that a good update may be undone
    steps: Steps = field(init=False)

    def __post_init__(self) -> None:
        self.steps = Steps()
        self.steps.take = self.picture
        journal = self.folder / "journal"
        self.steps.journal = lambda: journal.read_bytes() if journal.exists() else b""
        self.media = {serial: StepMedium(self.steps, serial, one) for serial, one in self.flash.items()}
        self.disk = StepDisk(self.steps, self.folder)

    def power_on(self) -> None:
        """Start every ECU from what its flash holds."""
        guilty = hashlib.sha256(self.rehearsal.new[GUILTY].image).hexdigest()
        script = Script(images={guilty: BEHAVIOURS[self.variant]})
        self.ports = {
            serial: EcuPort(config, self.media[serial], clock=self.clock, script=script)
            for serial, config in self.vecus.items()
        }

    def agents(self) -> dict[str, UpdateAgent]:
        return agents_here(
            self.folder, self.rehearsal.config.ecus, self.ports, disk=self.disk, channel=TakingTurns
        )

    @asynccontextmanager
    async def boot(self) -> AsyncIterator[Orchestrator]:
        """Start the orchestrator in the vehicle's folder."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.server)) as client:
            surroundings = replace(
                self.surroundings, clock=self.clock, ids=self.ids, agents=self.agents(), client=client,
                hook=self.steps.hook,
            )  # fmt: skip
            async with open_vehicle(self.folder, self.rehearsal.config, surroundings) as orchestrator:
                yield orchestrator

    async def drive(self) -> str:
        """Run to rest; return the state."""
        async with self.boot() as orchestrator:
            for count in range(STEPS_MAX):
                if count % EXCHANGE_EVERY == 0:
                    await orchestrator.exchange()
                delay_s = await orchestrator.step()
                if delay_s is None:
                    await orchestrator.exchange()
                    return str(orchestrator.state.state)
                self.clock.s += delay_s
            raise AssertionError(f"still {orchestrator.state.state} after {STEPS_MAX} steps")

    def ends(self) -> set[str]:
        """In what it may come to rest from here; whatever was decided in the journal holds."""
        if self.variant != "good":
            return {"ROLLED_BACK"}
        state = read_state(self.folder).state
        if state in {"COMMITTING", "SUCCEEDED"} or not self.lost_an_ecu:
            return {"SUCCEEDED"}
        return {"ROLLED_BACK"} if state in {"ROLLING_BACK", "ROLLED_BACK"} else {"SUCCEEDED", "ROLLED_BACK"}

    def picture(self, number: int, step: Step) -> Picture:
        """What is left when power goes before `step`."""
        images = self.folder / "images"
        names = frozenset(path.name for path in images.iterdir()) if images.exists() else frozenset()
        for name in names:
            if not (self.pool / name).exists():
                os.link(images / name, self.pool / name)
        return Picture(
            number=number,
            step=step,
            files={
                name: (self.folder / name).read_bytes() for name in FILES if (self.folder / name).exists()
            },
            images=names,
            folders=self.disk.copied(),
            flash={serial: medium.copied() for serial, medium in self.media.items()},
            reports=len(self.server.reports),
            manifests=len(self.server.manifests),
            clock_s=self.clock.s,
            ids=self.ids.count,
        )

    def restored(self, folder: Path, picture: Picture, keep_permille: int) -> Vehicle:
        """A vehicle of its own from a picture of this one, with a part of the step done. Its power is off."""
        (folder / "images").mkdir(parents=True)
        for name, content in picture.files.items():
            (folder / name).write_bytes(content)
        token = self.rehearsal.config.token_file
        os.link(self.pool / token, folder / token)
        for name in picture.images:
            os.link(self.pool / name, folder / "images" / name)
        plant(picture.folders, folder)
        clock, ids = DeskClock(), DeskIds()
        clock.s, ids.count = picture.clock_s, picture.ids
        flash = {serial: copied(one) for serial, one in picture.flash.items()}
        match picture.step:
            case FlashStep(ecu=ecu):
                picture.step.do(flash[ecu], keep_permille)
            case JournalStep():
                (folder / "journal").write_bytes(picture.step.left(keep_permille))
            case DiskStep():
                picture.step.do(folder, keep_permille)
        server = replace(
            self.server,
            desk=copy.copy(self.server.desk),
            clock=clock,
            reports=dict(islice(self.server.reports.items(), picture.reports)),
            manifests=self.server.manifests[: picture.manifests],
        )
        return replace(self, folder=folder, flash=flash, server=server, clock=clock, ids=ids)

    async def running(self) -> dict[str, tuple[str, bool, int]]:
        """Version, trial and committed counter of every ECU. A bank runs only if its digest was right at its start."""
        found = {}
        local = {ecu.serial for ecu in self.rehearsal.config.ecus if ecu.agent in LOCAL_AGENTS}
        agents = self.agents() if local else {}
        for serial in local:
            answer = await agents[serial].inventory()
            assert isinstance(answer, EcuInventory), answer
            version = answer.running.version if answer.running is not None else "nothing"
            found[serial] = (version, answer.trial, answer.committed_counter)
        for serial, port in self.ports.items():
            status = port.ecu.status()
            version = status.running.version if status.running is not None else "nothing"
            found[serial] = (version, status.swap is not Swap.NONE, status.committed_counter)
        return found

    async def torn(self, state: str, allowed: set[str]) -> str:
        """Say what is wrong with a vehicle that came to rest in `state`; empty if it is all old or all new."""
        if state not in allowed:
            return f"ended {state}"
        whole = (NEW, False, 2) if state == "SUCCEEDED" else (OLD, False, 1)
        told = {one.state for one in self.server.reports.values() if not one.ecu}
        if state not in told:
            return f"the server was not told of {state}"
        for when in ("at rest", "after one more power cycle", "after one more start"):
            running = await self.running()
            if set(running.values()) != {whole}:
                return f"{state}, {when}: " + ", ".join(
                    f"{name} {one}" for name, one in running.items() if one != whole
                )
            if when == "at rest":
                self.power_on()
            elif when == "after one more power cycle" and (again := await self.drive()) != state:
                return f"a start at rest changed {state} to {again}"
        return ""


async def new_vehicle(folder: Path, variant: Variant, names: Sequence[str]) -> Vehicle:
    """Build a vehicle with the old release, as the plant does, and offer it the new one. Its power is off."""
    plan = small(names)
    flash: dict[str, MemoryMedium] = {}
    count = iter(range(1_000_000))
    clock, ids = DeskClock(), DeskIds()
    rehearsal = await build(
        plan, folder, clock=clock,
        secret=lambda size: hashlib.shake_256(str(next(count)).encode()).digest(size),
        medium=lambda serial: flash.setdefault(serial, MemoryMedium()),
    )  # fmt: skip
    rehearsal.order()
    config, pool = rehearsal.config, folder.parent / "pool"
    pool.mkdir()
    os.link(folder / config.token_file, pool / config.token_file)
    surroundings = Surroundings(
        clock=clock, ids=ids, fraction=lambda: 0.5, agents={}, signals=Parked(), downloads_max=3,
        keys=read_keys(folder, config), roots=read_roots(folder, config), durability="buffered",
    )  # fmt: skip
    vecus = {
        ecu.serial: replace(read_vecu_config(folder / f"{ecu.serial}.toml").ecu, block_bytes=BLOCK_BYTES)
        for ecu in config.ecus
        if ecu.agent not in LOCAL_AGENTS
    }
    return Vehicle(
        rehearsal=rehearsal, folder=folder, variant=variant, vecus=vecus, flash=flash, pool=pool, clock=clock, ids=ids,
        server=Server(desk=rehearsal.desk, clock=clock, vin=config.vin, keys=inventory_keys(rehearsal)),
        surroundings=surroundings,
    )  # fmt: skip


# Scenarios ------------------------------------------------------------------------------------------

# Whose power went, first and then in the recovery: the vehicle's, or one ECU's while everything else went on.
Kind = tuple[Literal["vehicle", "ecu"], ...]
AGAIN: Final = 10  # times as likely as another step is one of the ECU that lost its power first


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Where power went, and what came of it."""

    variant: Variant
    kind: Kind
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
    ecus: Sequence[str] = field(default_factory=all_ecus)
    base: Vehicle = field(init=False)
    pictures: list[Picture] = field(init=False)
    built: Picture = field(init=False)
    update_steps: int = field(init=False)
    _count: int = 0

    async def prepare(self) -> None:
        """Build the vehicle, offer it the update, and live it without a cut."""
        self.base = await new_vehicle(self.folder / "base", self.variant, self.ecus)
        self.built = self.base.picture(0, JournalStep(before=b"", after=b""))
        self.base.power_on()
        self.base.steps.ticks = 0
        self.base.steps.wanted = lambda *_: True
        allowed = self.base.ends()
        state = await self.base.drive()
        self.update_steps = self.base.steps.ticks
        problem = await self.base.torn(state, allowed)
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

        def begin(wanted: Wanted, ecu_cuts: Mapping[int, int]) -> Vehicle:
            world = self.base.restored(self._new_folder(), picture, keep_permille)
            world.steps.wanted, world.steps.ecu_cuts, world.lost_an_ecu = wanted, ecu_cuts, bool(ecu_cuts)
            world.power_on()
            return world

        # The recovery begins with every ECU's start and goes through what is left of the update.
        left = 3 * len(self.ecus) + len(self.pictures) - picture.number + 1
        wanted = self._drawn(second_cuts / left, draw)
        async for one in self._with_second_cuts(begin, {}, wanted, "vehicle", first):
            yield one

    async def cut_one_ecu(
        self, number: int, keep_permille: int, *, second_cuts: float = 0, draw: random.Random | None = None
    ) -> AsyncIterator[Scenario]:
        """Let one ECU lose its power in the flash write with that number; everything else goes on.

        Then also let power go in about `second_cuts` steps behind it, drawn from `draw`: the vehicle's, and where the step
        is a flash write also once more that of the ECU alone that writes, the same one or another.
        """
        first = self.pictures[number - 1].step
        assert isinstance(first, FlashStep), f"step {number} is no flash write any more"
        ecu = first.ecu

        def begin(wanted: Wanted, ecu_cuts: Mapping[int, int]) -> Vehicle:
            world = self.base.restored(self._new_folder(), self.built, 0)
            (world.folder / "journal").unlink()
            world.power_on()
            world.steps.ticks, world.steps.wanted, world.steps.ecu_cuts = 0, wanted, ecu_cuts
            world.lost_an_ecu = True
            return world

        # Behind it are what is left of the update, and most of what that ECU has to do once more.
        own = sum(isinstance(one.step, FlashStep) and one.step.ecu == ecu for one in self.pictures)
        rate = second_cuts / (max(self.update_steps - number, 0) + AGAIN * own + 1)
        wanted = self._drawn(rate, draw, ecu=ecu, after=number)
        label = f"one ECU, {keep_permille} of 1000 of step {number}, {first}"
        async for one in self._with_second_cuts(begin, {number: keep_permille}, wanted, "ecu", label):
            yield one

    def _drawn(self, rate: float, draw: random.Random | None, *, ecu: str = "", after: int = 0) -> Wanted:
        """Want one step in `1 / rate` behind a step, and more of one ECU's own."""
        if draw is None:
            return nothing

        def wanted(number: int, step: Step) -> bool:
            own = isinstance(step, FlashStep) and step.ecu == ecu
            return number > after and draw.random() < rate * (AGAIN if own else 1)

        return wanted

    async def _with_second_cuts(
        self,
        begin: Callable[[Wanted, Mapping[int, int]], Vehicle],
        ecu_cuts: Mapping[int, int],
        wanted: Wanted,
        kind: Literal["vehicle", "ecu"],
        first: str,
    ) -> AsyncIterator[Scenario]:
        """Live once with the first cut, and once or twice more for each picture that was taken of that life."""
        world = begin(wanted, ecu_cuts)
        yield await self._end(world, (kind,), first)
        for second in world.steps.pictures:
            keep = KEEPS[second.number % len(KEEPS)]
            label = f"{keep} of 1000 of step {second.number} behind it, {second.step}"
            other = world.restored(self._new_folder(), second, keep)
            other.power_on()
            yield await self._end(other, (kind, "vehicle"), first, label)
            if isinstance(second.step, FlashStep):
                other = begin(nothing, {**ecu_cuts, second.number: keep})
                found = await self._end(other, (kind, "ecu"), first, f"one ECU, {label}")
                assert other.steps.cut[-1] == second.step, f"{label}: the life was another one"
                yield found

    async def _end(self, world: Vehicle, kind: Kind, *cuts: str) -> Scenario:
        allowed = world.ends()
        state = await world.drive()
        assert len(world.steps.cut) == len(world.steps.ecu_cuts), f"{cuts}: no ECU lost its power there"
        world.steps.wanted = nothing
        problem = await world.torn(state, allowed)
        shutil.rmtree(world.folder)
        return Scenario(variant=self.variant, kind=kind, cuts=cuts, state=state, problem=problem)

    def _new_folder(self) -> Path:
        self._count += 1
        return self.folder / str(self._count)
