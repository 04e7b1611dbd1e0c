"""A plant that runs: cars move through the line's stations and are born at its end.

The line is paced: every takt all cars move on by one station, the next order of the current schedule
enters, and the car behind the last station is flashed with the line's baseline and registered.
Stations are simulated; ECUs, update agents, keys and the registration are the real ones (`assembly.py`).

What it asks of the server goes through a `Registrar`; the shell gives it one over HTTP.

Invariant: only the newest schedule moves cars; an older generation never replaces a newer one. A car
that could not be flashed or registered is not born: its order goes back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Corrupt, InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.kernel.vin import Vin
from ringroad.sim.assembly import Blueprint, BornVehicle, Surroundings, assemble, make_vin
from ringroad.sim.box import build_box
from ringroad.sim.end_of_line import OutOf, parts_of, self_test, tests_of
from ringroad.sim.vecu.medium import Medium
from ringroad.sim.vecu.script import Script
from ringroad.vehicle.birth import RECORD_NAME
from ringroad.vehicle.files import Durability, replace_file, sync_descriptor, sync_folder

BIRTH_TRIES_MAX: Final = (
    3  # a baseline that moves more often than this while one car is flashed is no baseline
)
IDLE_TAKTS_MAX: Final = 1_000_000  # a run with nothing to do ends at last
VINS_SKIPPED_MAX: Final = 1_000_000

IDLE_S: Final = 1.0  # real seconds between two looks at the schedule while the line is empty

# In a vehicle's folder, one after the other: what a restart may throw away, what it must register, what is done.
_STARTED: Final = "started.json"
_BUILT: Final = "built.json"
BORN: Final = "born.json"  # order and registration, once the server has it

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOrder:
    """One order as the line sees it."""

    id: str
    variant: str
    region: str = ""
    state: Literal["open", "building"] = "open"
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSchedule:
    """The current schedule: what to build next, and with which release."""

    generation: int
    orders: tuple[LineOrder, ...]  # in sequence, the ones on the line included
    release_id: str | None  # the line's baseline
    stopped: Mapping[str, str] = field(default_factory=dict)  # stations that stand, to the reason


class Registrar(Protocol):
    """What a plant asks of the server. Every call may raise Unavailable; the line then stands still."""

    async def current_schedule(self) -> LineSchedule | None:
        """Return the newest schedule, or None before the first."""
        ...

    async def blueprint(self, *, variant: str, region: str) -> Blueprint:
        """Return the variant's ECUs and the baseline's packages with their images, as they are now."""
        ...

    async def passed_by(
        self, order_id: str, parts: Sequence[Mapping[str, Any]]
    ) -> frozenset[tuple[str, str]]:
        """Return station and gate of those that let a car with these parts pass unseen."""
        ...

    async def start_order(self, order_id: str) -> None:
        """Note that a car entered the line. Raises: Conflict if its order is not open any more."""
        ...

    async def reopen_order(self, order_id: str) -> None:
        """Put an order back whose car left the line unfinished."""
        ...

    async def register(self, registration: Mapping[str, Any], *, order_id: str) -> bytes | None:
        """Register a new vehicle and return its birth record; None from a server that makes none.

        Raises:
            Conflict: code ``baseline_moved`` if it must be flashed again, ``end_of_line`` if it may not be born.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """A vehicle that left the line."""

    vin: Vin
    order_id: str
    variant: str
    release_id: str
    folder: Path
    registration: Mapping[str, Any]
    vehicle: BornVehicle | None  # None for a SWUpdate box, which has no virtual ECU of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a restart found of the run before.

    Attributes:
        registered: built, and now surely on record.
        scrapped: half built, or no longer wanted by the server.
    """

    registered: tuple[str, ...] = ()
    scrapped: tuple[str, ...] = ()


def _say_nothing(*_: object) -> None:
    """Nobody wants to hear of it; the log has it."""


def _never() -> None:
    """No rest is now: the line is paced by its takt alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantSettings:
    """How a plant runs.

    Attributes:
        folder: vehicle folders are made in it, one per VIN.
        stations: of the line.
        takt_s: seconds between two vehicles.
        time_factor: simulated seconds per real second; 60 builds an hour's cars in a minute.
        seed: of every draw of the ECUs.
        durability: of each write to a vehicle's folder and flash.
        births: of a whole folder, once, before its note says that the vehicle is built.
        out_of: lots on the line, and checks that fail.
        vin_plant: what stands for this plant in its VINs.
    """

    folder: Path
    stations: int
    takt_s: float
    time_factor: float = 1.0
    seed: int = 0
    durability: Durability = "fsync"
    births: Durability = "fsync"
    out_of: OutOf = field(default_factory=OutOf)
    vin_plant: str = "A"

    def __post_init__(self) -> None:
        """Refuse a line that could not move."""
        if self.stations < 1 or self.takt_s <= 0 or self.time_factor <= 0:
            raise InvalidInput("a line needs a station, and takt_s and time_factor above 0")


@dataclass(slots=True, kw_only=True)
class Plant:
    """One running line.

    Attributes:
        settings: how it runs.
        registrar: the server.
        surroundings: where the vehicles will live.
        clock: for the ECUs.
        secret: random bytes by count, for keys and tokens.
        vin_numbers: serial numbers to use; those whose folder exists are skipped.
        on_birth: told of each vehicle, after it is registered.
        on_refused: told of each car that could not be flashed or registered; its order went back.
        on_stand: told at every takt at which the line stands because the server does not answer.
        on_stopped: told at every takt at which the line stands because a station does, of stations and reasons.
        rests_until: says until when the line rests, by the clock on the wall; None: it works.
        on_rest: told at every look at a line that rests, until when.
        on_worked: told after every takt which station, by its place, is done with which order.
        sleep: waits real seconds.
        script: how images behave on the ECUs.
        medium: flash by ECU serial; default files in the vehicle's folder.
    """

    settings: PlantSettings
    registrar: Registrar
    surroundings: Surroundings
    clock: Clock
    secret: Callable[[int], bytes]
    vin_numbers: Iterator[int]
    on_birth: Callable[[Birth], Awaitable[None]]
    on_refused: Callable[[LineOrder, RingroadError], None] = _say_nothing
    on_stand: Callable[[Unavailable], None] = _say_nothing
    on_stopped: Callable[[Mapping[str, str]], None] = _say_nothing
    rests_until: Callable[[], datetime | None] = _never
    on_rest: Callable[[datetime], None] = _say_nothing
    on_worked: Callable[[Sequence[tuple[int, LineOrder]]], Awaitable[None]] | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    script: Script | None = None
    medium: Callable[[str], Medium] | None = None
    schedule: LineSchedule | None = None
    line: list[LineOrder | None] = field(default_factory=list)  # station 0 first
    left: set[str] = field(default_factory=set)  # orders born here that an older schedule may still name
    asked: str | None = None  # the order whose start was asked for and not answered
    unregistered: dict[str, Birth] = field(default_factory=dict)  # by order: built, answer not seen
    born: int = 0

    async def run(
        self, *, stop: asyncio.Event | None = None, births_max: int | None = None, until_empty: bool = False
    ) -> int:
        """Move the line takt by takt; return how many vehicles were born.

        Args:
            stop: ends the run at the next takt; cars on the line stay `building` and are taken up again.
            births_max: ends the run after so many births.
            until_empty: ends the run when no car is on the line and none may enter.
        """
        takt_s = self.settings.takt_s / self.settings.time_factor
        for _ in range(IDLE_TAKTS_MAX):
            if (stop is not None and stop.is_set()) or (births_max is not None and self.born >= births_max):
                break
            try:
                await self.takt()
            except Unavailable as error:
                _log.warning("plant.stands", reason=error.code, detail=error.message)
                self.on_stand(error)
            else:
                if until_empty and self.is_empty:
                    break
            idle = self.is_empty or self.rests_until() is not None
            await self.sleep(max(takt_s, IDLE_S) if idle else takt_s)
        return self.born

    @property
    def is_empty(self) -> bool:
        """Whether no car is on the line and none may enter."""
        return not any(self.line) and not self._waiting()

    async def takt(self) -> None:
        """Move every car on by one station, let one in and one out.

        Raises:
            Unavailable: the server does not answer; nothing moved.
        """
        await self.read_schedule()
        if self.schedule is not None and self.schedule.stopped:
            self.on_stopped(self.schedule.stopped)  # a paced line moves as a whole, or not at all
            return
        if (until := self.rests_until()) is not None:
            self.on_rest(until)
            return
        if not self.line:
            self.line = [None] * self.settings.stations
        worked = [(place, order) for place, order in enumerate(self.line) if order is not None]
        leaving = self.line[-1]
        if leaving is not None:
            await self._finish(leaving)
            self.line[-1] = None  # only now: what raised Unavailable is tried again at the next takt
        entering = await self._next_order()
        self.line = [entering, *self.line[:-1]]
        if self.on_worked is not None and worked:
            await self.on_worked(worked)

    async def read_schedule(self) -> bool:
        """Take up the current schedule if it is newer; return whether it was."""
        found = await self.registrar.current_schedule()
        if found is None or (self.schedule is not None and found.generation <= self.schedule.generation):
            return False
        _log.info("plant.schedule", generation=found.generation, orders=len(found.orders))
        self.schedule = found
        self.left &= {order.id for order in found.orders}
        return True

    async def _next_order(self) -> LineOrder | None:
        """Return the first order of the schedule that is not on the line and may still be built."""
        for order in self._waiting():
            # `building` before it entered: a run before this one ended with it on the line.
            if order.state == "building" or await self._start(order):
                self._forget(order)
                return order
            self._forget(order)
        return None

    def _waiting(self) -> list[LineOrder]:
        """Return the orders that may still enter, in sequence; without a baseline there are none."""
        if self.schedule is None or self.schedule.release_id is None:
            return []
        gone = {order.id for order in self.line if order is not None} | self.left
        return [order for order in self.schedule.orders if order.id not in gone]

    async def _start(self, order: LineOrder) -> bool:
        """Return whether the order may enter. Raises: Unavailable, and the order is asked for again."""
        asked_before, self.asked = self.asked == order.id, order.id
        try:
            await self.registrar.start_order(order.id)
        except (Conflict, NotFound) as error:
            self.asked = None
            if asked_before and isinstance(error, Conflict):
                return True  # the first answer was lost: it is building because of us, or registering will say no
            _log.info("plant.order_skipped", order=order.id, reason=error.code)
            return False
        self.asked = None
        return True

    def _forget(self, order: LineOrder) -> None:
        """Strike an order from the schedule in memory: it was tried, whatever came of it."""
        if self.schedule is not None:
            left = tuple(other for other in self.schedule.orders if other.id != order.id)
            self.schedule = replace(self.schedule, orders=left)

    async def _finish(self, order: LineOrder) -> None:
        """Flash and register the car; if that cannot be done, put its order back.

        Raises:
            Unavailable: the server does not answer; the car waits, and so does its registration.
        """
        try:
            birth = await self._give_birth(order)
        except Unavailable:
            raise
        except RingroadError as error:
            _log.error("plant.not_born", order=order.id, reason=error.code, detail=error.message)
            try:
                await self.registrar.reopen_order(order.id)
            except (Conflict, NotFound) as refused:
                _log.warning("plant.not_reopened", order=order.id, reason=refused.code)
            self.on_refused(order, error)
            return
        self.born += 1
        self.left.add(order.id)
        _log.info(
            "plant.born", vin=birth.vin, order=order.id, variant=order.variant, release=birth.release_id
        )
        await self.on_birth(birth)

    async def _give_birth(self, order: LineOrder) -> Birth:
        """Build until the registered release is still the line's baseline, and the VIN nobody else's.

        Raises:
            Conflict: that was so on no try, or the order is taken.
            InvalidInput: an ECU refused the baseline.
            Unavailable: the server does not answer.
        """
        again: RingroadError = Conflict("the car was not tried")
        for _ in range(BIRTH_TRIES_MAX):
            birth = self.unregistered.get(order.id) or await self._build(order)
            self.unregistered[order.id] = (
                birth  # an answer may be lost: registering this one again is harmless
            )
            try:
                record = await self.registrar.register(birth.registration, order_id=order.id)
            except Unavailable:
                raise
            except RingroadError as error:
                self._scrap(order.id)
                if error.code not in {"baseline_moved", "vin_taken"}:
                    raise
                again = error
                _log.info("plant.flash_again", order=order.id, vin=birth.vin, reason=error.code)
            else:
                del self.unregistered[order.id]
                self._bear(birth.folder, record)
                return birth
        raise again

    def _scrap(self, order_id: str) -> None:
        birth = self.unregistered.pop(order_id)
        shutil.rmtree(birth.folder, ignore_errors=True)

    async def _build(self, order: LineOrder) -> Birth:
        """Build one car and note in its folder what it is, so that a restart can register it."""
        plan = await self.registrar.blueprint(variant=order.variant, region=order.region)
        missing = sorted(set(plan.ecus) - set(plan.packages))
        if missing:
            raise Conflict(
                f"the baseline has no software for {', '.join(missing)}", code="baseline_incomplete"
            )
        vin = self._next_vin()
        folder = self.settings.folder / vin
        folder.mkdir(parents=True)
        (folder / _STARTED).write_text(json.dumps({"order_id": order.id}), encoding="utf-8")
        try:
            registration, vehicle = await self._flash(plan, vin, folder)
        except RingroadError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InvalidInput(
                error.message, code=error.code, hint=error.hint, detail=error.detail
            ) from error
        now, out_of = self.clock.now(), self.settings.out_of
        parts = parts_of(order.id, out_of.lots, at=now)
        passed_by = await self.registrar.passed_by(order.id, parts)
        tests = tests_of(
            plan, await self_test(vehicle, plan.packages), failing=out_of.failing, at=now, passed_by=passed_by
        )
        registration |= {"parts": parts, "tests": tests}
        note = {"order_id": order.id, "registration": registration}
        (folder / _STARTED).write_text(json.dumps(note, indent=1), encoding="utf-8")
        if self.settings.births == "fsync":
            sync_tree(folder)
        self._note(folder, _STARTED, _BUILT)
        return Birth(
            vin=vin, order_id=order.id, variant=order.variant, release_id=plan.release_id, folder=folder,
            registration=registration, vehicle=vehicle,
        )  # fmt: skip

    async def _flash(
        self, plan: Blueprint, vin: Vin, folder: Path
    ) -> tuple[dict[str, Any], BornVehicle | None]:
        if any(table["agent"] == "ddi" for table in plan.ecus.values()):
            return build_box(folder, vin, plan, self.surroundings, secret=self.secret), None
        vehicle, registration = await assemble(
            folder, vin, plan, self.surroundings, clock=self.clock, secret=self.secret, script=self.script,
            seed=self.settings.seed, medium=self.medium, durability=self.settings.durability,
        )  # fmt: skip
        return registration, vehicle

    async def recover(self) -> Recovered:
        """After a restart: register what was built but perhaps not registered, and scrap what is half built.

        Folders that no plant made are left alone.

        Raises:
            Unavailable: the server does not answer; nothing was scrapped that may be registered.
            Corrupt: a note does not read back; whether the server has that vehicle is for a person to see.
        """
        registered: list[str] = []
        scrapped = [note.parent.name for note in sorted(self.settings.folder.glob(f"*/{_STARTED}"))]
        for name in scrapped:
            shutil.rmtree(self.settings.folder / name)
        for folder in sorted(note.parent for note in self.settings.folder.glob(f"*/{_BUILT}")):
            registration, order_id = _read_note(folder / _BUILT)
            try:
                self._bear(folder, await self.registrar.register(registration, order_id=order_id))
                registered.append(folder.name)
            except (Conflict, NotFound, InvalidInput) as error:
                _log.info("plant.scrapped", vin=folder.name, reason=error.code)
                shutil.rmtree(folder)
                scrapped.append(folder.name)
        return Recovered(registered=tuple(registered), scrapped=tuple(scrapped))

    def _bear(self, folder: Path, record: bytes | None) -> None:
        """Give a vehicle its birth record, and say that it is born: with the one it is never without the other."""
        if record is not None:
            replace_file(folder / RECORD_NAME, record, durability=self.settings.births)
        self._note(folder, _BUILT, BORN)

    def _note(self, folder: Path, before: str, after: str) -> None:
        """Say how far a vehicle is; a power cut finds the one word or the other."""
        (folder / before).rename(folder / after)
        sync_folder(folder, durability=self.settings.births)

    def _next_vin(self) -> Vin:
        for _ in range(VINS_SKIPPED_MAX):
            vin = make_vin(next(self.vin_numbers), plant=self.settings.vin_plant)
            if not (self.settings.folder / vin).exists():
                return vin
        raise Conflict("no serial number is free", code="vins_exhausted")


def sync_tree(folder: Path) -> None:
    """Make a folder, all in it and its name survive a power cut. Raises: Unavailable."""
    try:
        for place, _, files in os.walk(folder, topdown=False):
            for name in files:
                descriptor = os.open(Path(place) / name, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    sync_descriptor(descriptor, durability="fsync")
                finally:
                    os.close(descriptor)
            sync_folder(Path(place), durability="fsync")
        sync_folder(folder.parent, durability="fsync")
    except OSError as error:
        raise Unavailable(f"cannot write {folder}: {error.strerror}", code="disk") from error


def _read_note(path: Path) -> tuple[dict[str, Any], str]:
    """Return registration and order of a vehicle that was built. Raises: Corrupt."""
    try:
        note = json.loads(path.read_text("utf-8"))
        return dict(note["registration"]), str(note["order_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(
            f"{path} does not read back",
            hint="if `ringroad fleet show` knows this VIN, the vehicle is lost; remove its folder",
            detail=str(error),
        ) from error
