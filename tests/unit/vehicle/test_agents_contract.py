"""Every verb of every agent, over memory, DoIP, CAN and CAN FD: the same behaviour, each call safe to repeat."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import pytest

from ringroad.kernel.clock import Clock, SystemClock
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.canbus import CAN_500K, CAN_FD_2M, VirtualBus
from ringroad.sim.simtime import SimulatedLoop, run_simulated
from ringroad.sim.vecu.can import CanFace
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script, Trouble
from ringroad.sim.vecu.server import VecuServer
from ringroad.vehicle.agents.base import (
    BytesSource,
    CheckKind,
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    FaultAgent,
    FlashStep,
    Outcome,
    PausableAgent,
    Reason,
    UpdateAgent,
    no_progress,
)
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.connect import make_agent
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.uds import Nrc, Session, UdsChannel, hmac_key

Mode = Literal["ab", "inplace"]
Wire = Literal["memory", "tcp", "can", "canfd"]
OLD, NEW = b"old firmware " * 4000, b"new firmware " * 4100
ALL_CHECKS: frozenset[CheckKind] = frozenset({"version", "self_test", "no_new_faults"})
SECRET = b"a secret"
REFUSED_KEY = Trouble(kind="nrc", service=0x27, nrc=Nrc.INVALID_KEY)


def image_of(data: bytes, mode: Mode, counter: int) -> EcuImage:
    return EcuImage(
        serial="SN1",
        target=EcuTarget(name="ecu", mode=mode, format="bin", version=f"{counter}.0"),
        filename="firmware.bin",
        sha256=hashlib.sha256(data).hexdigest(),
        length_bytes=len(data),
        release_counter=counter,
        hardware_ids=("HW0", "HW1"),
    )


@dataclass
class Car:
    """One ECU with OLD committed, its agent, and a way to take its power."""

    agent: UpdateAgent
    port: EcuPort
    mode: Mode

    async def stage(self, data: bytes = NEW, counter: int = 2) -> Outcome:
        wanted = image_of(data, self.mode, counter)
        prepared = await self.agent.prepare(wanted, BytesSource(data), progress=no_progress)
        if isinstance(prepared, Failed):
            return prepared
        return await self.agent.install(wanted, BytesSource(data), progress=no_progress)

    async def bring_to(self, data: bytes, counter: int) -> None:
        wanted = image_of(data, self.mode, counter)
        assert isinstance(await self.stage(data, counter), Done)
        assert isinstance(await self.agent.activate(wanted), Done)
        assert isinstance(await self.agent.commit(wanted), Done)

    async def roll_back(self) -> Outcome:
        return await self.agent.rollback(
            image_of(NEW, self.mode, 2),
            backup=image_of(OLD, self.mode, 1),
            source=BytesSource(OLD),
            progress=no_progress,
        )

    async def look(self) -> None:
        assert isinstance(self.agent, FaultAgent)
        assert isinstance(await self.agent.faults(), tuple)

    def session(self) -> Session:
        return self.port.ecu._session

    async def inventory(self) -> EcuInventory:
        found = await self.agent.inventory()
        assert isinstance(found, EcuInventory)
        return found

    async def version(self) -> str:
        running = (await self.inventory()).running
        return running.version if running else "bootloader"


Story = Callable[[Car], Awaitable[None]]


@dataclass(frozen=True)
class Bench:
    """Runs a story against one mode on one wire."""

    mode: Mode
    wire: Wire
    folder: Path

    def run(self, story: Story, *, script: Script | None = None, blank: bool = False) -> None:
        """Run a story; on a bus in simulated time, where waiting costs nothing and nobody is late by accident."""
        if self.wire in {"can", "canfd"}:
            loop = SimulatedLoop()
            run_simulated(self._run(story, script, blank=blank, clock=loop), loop)
        else:
            work = self._run(story, script, blank=blank, clock=SystemClock())
            asyncio.run(asyncio.wait_for(work, 120))

    async def _run(self, story: Story, script: Script | None, *, blank: bool, clock: Clock) -> None:
        config = EcuConfig(
            serial="SN1",
            hardware_id="HW1",
            vin="WRR00000000000001",
            layout=self.mode,
            bank_bytes=100_000,
            secret=SECRET,
            block_bytes=1026,
        )
        server: VecuServer | None = None
        face: CanFace | None = None
        channel: UdsChannel
        if self.wire == "tcp":
            table = ServerTable(flash="flash.bin", fsync=False, pending_ms=1)
            settings = ServerConfig(ecu=config, server=table, folder=self.folder)
            server = VecuServer(settings, clock=clock)
            port = server.port
            channel = DoipChannel(
                DoipEntity("127.0.0.1", await server.start()), ecu_address=table.logical_address
            )
        else:
            port = EcuPort(config, MemoryMedium(), clock=clock)
            channel = MemoryChannel(port)
            if self.wire != "memory":
                channel, face = await on_a_bus(port, fd=self.wire == "canfd")
        access = EcuAccess(serial="SN1", derive=hmac_key(SECRET), timeout_s=1.0, restart_s_max=1.5)
        agent = make_agent(self.mode, channel, access)
        car = Car(agent=agent, port=port, mode=self.mode)
        try:
            if not blank:
                await car.bring_to(OLD, 1)
            if script is not None:
                trouble_at(port, script)
            await story(car)
        finally:
            await agent.close()
            if server is not None:
                await server.close()
            if face is not None:
                await face.close()


async def on_a_bus(port: EcuPort, *, fd: bool) -> tuple[IsotpChannel, CanFace]:
    """A bus at real bit rates, the ECU on it, and the vehicle's way to it."""
    bus = VirtualBus(CAN_FD_2M if fd else CAN_500K, fd=fd)
    tester = IsotpSettings(address=Address.normal(0x7E0, 0x7E8), frame_bytes=64 if fd else 8)
    ecu = replace(tester, address=Address.normal(0x7E8, 0x7E0))
    face = CanFace(port, bus.controller(), ecu, functional_id=0x7DF, pending_s=0.001)
    await face.start()
    return IsotpChannel(bus.controller(), tester, functional_id=0x7DF), face


def trouble_at(port: EcuPort, script: Script) -> None:
    """From now on the ECU follows another script."""
    port.script = script
    port.ecu.script = script
    port._seen = [0] * len(script.transport)


@pytest.fixture(params=["ab", "inplace"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture(params=["memory", "tcp", "can", "canfd"])
def bench(request: pytest.FixtureRequest, mode: Mode, tmp_path: Path) -> Bench:
    return Bench(mode=mode, wire=request.param, folder=tmp_path)


def test_a_whole_update_ends_committed_and_every_verb_may_be_repeated(bench: Bench) -> None:
    async def story(car: Car) -> None:
        wanted = image_of(NEW, car.mode, 2)
        source = BytesSource(NEW)
        seen: list[tuple[int, int]] = []
        for _ in range(2):
            assert isinstance(
                await car.agent.prepare(wanted, source, progress=lambda *step: seen.append(step)), Done
            )
        assert await car.version() == "1.0"
        for _ in range(2):
            assert isinstance(
                await car.agent.install(wanted, source, progress=lambda *step: seen.append(step)), Done
            )
        assert seen[-1] == (len(NEW), len(NEW))
        assert isinstance(await car.agent.activate(wanted), Done)
        assert await car.agent.activate(wanted) == Done(already=True)
        for _ in range(2):
            assert isinstance(await car.agent.verify(wanted, ALL_CHECKS), Done)
        assert (await car.inventory()).committed_counter == 1
        assert await car.agent.commit(wanted) == Done()
        assert await car.agent.commit(wanted) == Done(already=True)
        found = await car.inventory()
        assert (found.running and found.running.version, found.committed_counter, found.trial) == (
            "2.0",
            2,
            False,
        )

    bench.run(story)


class Steps:
    """Whoever listens to the steps of a flash."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        if self.heard and done_bytes < total_bytes:
            self.heard.append("bytes")

    def at(self, step: FlashStep) -> None:
        self.heard.append(step)


def test_each_step_of_a_flash_is_told_when_it_begins(bench: Bench) -> None:
    async def story(car: Car) -> None:
        wanted, source, steps = image_of(NEW, car.mode, 2), BytesSource(NEW), Steps()
        assert await car.agent.prepare(wanted, source, progress=steps) == Done()
        assert await car.agent.install(wanted, source, progress=steps) == Done(already=car.mode == "ab")
        once = [step for step, _ in groupby(steps.heard)]
        assert once == ["session", "unlock", "erase", "transfer", "bytes", "check", "deps"]

    bench.run(story)


def test_an_ecu_as_it_left_its_supplier_can_be_brought_to_life(bench: Bench) -> None:
    async def story(car: Car) -> None:
        assert await car.version() == "bootloader"
        await car.bring_to(NEW, 2)
        assert await car.version() == "2.0"

    bench.run(story, blank=True)


def test_a_rollback_before_the_commit_brings_the_old_software_back(bench: Bench) -> None:
    async def story(car: Car) -> None:
        assert isinstance(await car.stage(), Done)
        assert isinstance(await car.agent.activate(image_of(NEW, car.mode, 2)), Done)
        assert await car.roll_back() == Done()
        assert await car.roll_back() == Done(already=True)
        found = await car.inventory()
        assert (found.running and found.running.version, found.committed_counter) == ("1.0", 1)

    bench.run(story)


def test_a_rollback_of_an_update_that_never_began_is_done_already(bench: Bench) -> None:
    async def story(car: Car) -> None:
        assert await car.roll_back() == Done(already=True)

    bench.run(story)


def test_a_commit_clears_the_faults_of_the_software_that_ran_before(bench: Bench) -> None:
    async def story(car: Car) -> None:
        old, new = image_of(OLD, car.mode, 1), image_of(NEW, car.mode, 2)
        fails = Behaviour(faults=(FaultRate(code="P0A1F-00", rate_permille=1000),))
        trouble_at(car.port, Script(images={old.sha256: fails}))
        car.port.ecu.run_cycle()
        known = frozenset(fault.code for fault in (await car.inventory()).faults)
        assert known == {"P0A1F-00"}
        assert isinstance(await car.stage(), Done)
        assert isinstance(await car.agent.activate(new), Done)
        assert isinstance(await car.agent.verify(new, ALL_CHECKS, known_faults=known), Done)
        assert {fault.code for fault in (await car.inventory()).faults} == known  # until it is for good
        assert await car.agent.commit(new) == Done()
        assert (await car.inventory()).faults == ()

    bench.run(story)


def test_an_update_with_the_same_counter_can_be_undone_before_it_is_committed(bench: Bench) -> None:
    async def story(car: Car) -> None:
        wanted = image_of(NEW, car.mode, 1)
        assert isinstance(await car.stage(counter=1), Done)
        assert isinstance(await car.agent.activate(wanted), Done)
        undone = await car.agent.rollback(
            wanted, backup=image_of(OLD, car.mode, 1), source=BytesSource(OLD), progress=no_progress
        )
        assert undone == Done()
        found = await car.inventory()
        assert found.running is not None
        assert (found.running.sha256, found.trial) == (hashlib.sha256(OLD).hexdigest(), False)

    bench.run(story)


def test_bytes_that_lie_in_the_other_bank_are_installed_under_their_new_name(
    mode: Mode, tmp_path: Path
) -> None:
    async def story(car: Car) -> None:
        await car.bring_to(NEW, 2)
        await car.bring_to(OLD, 3)  # as 1.0, but released again as 3.0
        found = await car.inventory()
        assert (found.running and found.running.version, found.committed_counter) == ("3.0", 3)
        assert not found.trial

    Bench(mode=mode, wire="memory", folder=tmp_path).run(story)


def test_the_session_of_every_verb_ends_with_it(mode: Mode, tmp_path: Path) -> None:
    async def story(car: Car) -> None:
        wanted, source = image_of(NEW, mode, 2), BytesSource(NEW)

        async def ended(verb: Awaitable[Outcome]) -> tuple[bool, Session]:
            outcome = await verb
            await car.look()  # whoever looks for faults every second keeps a session for good
            return isinstance(outcome, Done), car.session()

        done = (True, Session.DEFAULT)
        assert await ended(car.agent.prepare(wanted, source, progress=no_progress)) == done
        assert isinstance(await car.agent.install(wanted, source, progress=no_progress), Done)
        for verb in (car.agent.activate(wanted), car.agent.verify(wanted, ALL_CHECKS)):
            assert await ended(verb) == done
        assert await ended(car.roll_back()) == done
        await car.bring_to(NEW, 2)
        assert car.session() is Session.DEFAULT
        assert await ended(car.agent.commit(image_of(NEW, mode, 3))) == done
        trouble_at(car.port, Script(preconditions="refuse", transport=(REFUSED_KEY,)))
        older = image_of(OLD, mode, 4)
        assert await ended(car.agent.prepare(older, BytesSource(OLD), progress=no_progress)) == (
            False,
            Session.DEFAULT,
        )

    Bench(mode=mode, wire="memory", folder=tmp_path).run(story)


def test_a_session_that_could_not_be_left_is_left_when_faults_are_looked_for(tmp_path: Path) -> None:
    async def story(car: Car) -> None:
        await car.stage()
        await car.agent.activate(image_of(NEW, "ab", 2))
        default_is_lost = Trouble(kind="drop_request", service=0x10, at=2)
        trouble_at(car.port, Script(transport=(default_is_lost,)))
        await car.agent.verify(image_of(NEW, "ab", 2), ALL_CHECKS)
        assert car.session() is Session.EXTENDED
        await car.look()
        assert car.session() is Session.DEFAULT

    Bench(mode="ab", wire="memory", folder=tmp_path).run(story)


@pytest.mark.parametrize("kind", ["nrc", "drop_request"])
def test_an_ecu_that_was_not_reset_does_not_stay_in_the_session_for_it(
    kind: Literal["nrc", "drop_request"], tmp_path: Path
) -> None:
    async def story(car: Car) -> None:
        await car.stage()
        trouble_at(car.port, Script(transport=(Trouble(kind=kind, service=0x11),)))
        assert isinstance(await car.agent.activate(image_of(NEW, "ab", 2)), Failed)
        await car.look()
        assert (car.session(), car.port.ecu._access.proven) == (Session.DEFAULT, False)

    Bench(mode="ab", wire="memory", folder=tmp_path).run(story)


def test_a_session_that_a_life_before_left_open_ends_with_the_first_look_for_faults(tmp_path: Path) -> None:
    async def story(car: Car) -> None:
        car.port.ecu._session = Session.EXTENDED
        access = EcuAccess(serial="SN1", derive=hmac_key(SECRET), timeout_s=1.0, restart_s_max=1.5)
        agent = make_agent("ab", MemoryChannel(car.port), access)
        assert isinstance(agent, FaultAgent)
        assert await agent.faults() == ()
        assert car.session() is Session.DEFAULT

    Bench(mode="ab", wire="memory", folder=tmp_path).run(story)


def test_a_committed_update_is_not_rolled_back(bench: Bench) -> None:
    async def story(car: Car) -> None:
        await car.bring_to(NEW, 2)
        outcome = await car.roll_back()
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.ALREADY_COMMITTED
        assert await car.version() == "2.0"

    bench.run(story)


def test_a_lost_trial_is_activated_again_before_it_is_committed(mode: Mode, tmp_path: Path) -> None:
    if mode == "inplace":
        return  # nothing reverts by itself there

    async def story(car: Car) -> None:
        wanted = image_of(NEW, car.mode, 2)
        await car.stage()
        await car.agent.activate(wanted)
        car.port.power_cycle()
        refused = await car.agent.commit(wanted)
        assert isinstance(refused, Failed)
        assert refused.reason is Reason.NOT_ACTIVE
        assert await car.agent.activate(wanted) == Done()
        assert await car.agent.commit(wanted) == Done()

    Bench(mode=mode, wire="memory", folder=tmp_path).run(story)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hardware_ids": ("HW9",)}, Reason.WRONG_HARDWARE),
        ({"release_counter": 0}, Reason.COUNTER_TOO_LOW),
        ({"sha256": "0" * 64}, Reason.HASH_MISMATCH),
        ({"length_bytes": len(NEW) + 1}, Reason.HASH_MISMATCH),
        ({"length_bytes": len(NEW) - 1}, Reason.HASH_MISMATCH),
    ],
)
def test_an_image_that_may_not_go_there_is_refused_and_nothing_changes(
    bench: Bench, change: dict[str, object], reason: Reason
) -> None:
    async def story(car: Car) -> None:
        wanted = replace(image_of(NEW, car.mode, 2), **change)  # type: ignore[arg-type]
        for verb in (car.agent.prepare, car.agent.install):
            outcome = await verb(wanted, BytesSource(NEW), progress=no_progress)
            assert isinstance(outcome, Failed)
            assert outcome.reason is reason
        assert await car.version() == "1.0"

    bench.run(story)


def test_what_is_too_large_or_not_flashable_is_refused(bench: Bench) -> None:
    async def story(car: Car) -> None:
        huge = bytes(100_001)
        outcome = await car.stage(huge)
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.TOO_LARGE
        for file_format, reason in (("swu", Reason.UNSUPPORTED_FORMAT), ("ihex", Reason.IMAGE_MALFORMED)):
            target = EcuTarget(name="ecu", mode=car.mode, format=file_format, version="2.0")  # type: ignore[arg-type]
            wanted = replace(image_of(NEW, car.mode, 2), target=target)
            refused = await car.agent.prepare(wanted, BytesSource(NEW), progress=no_progress)
            assert isinstance(refused, Failed)
            assert refused.reason is reason

    bench.run(story)


def test_a_wrong_secret_is_refused_and_then_locked_out(bench: Bench) -> None:
    async def story(car: Car) -> None:
        session = car.agent._ecu  # type: ignore[attr-defined]
        session.access = replace(session.access, derive=hmac_key(b"wrong"))
        reasons = []
        for _ in range(4):
            outcome = await car.stage()
            assert isinstance(outcome, Failed)
            reasons.append(outcome.reason)
        assert reasons == [
            Reason.ACCESS_DENIED,
            Reason.ACCESS_DENIED,
            Reason.LOCKED_OUT,
            Reason.LOCKED_OUT,
        ]

    bench.run(story)


def test_another_ecu_at_the_address_is_not_touched(bench: Bench) -> None:
    async def story(car: Car) -> None:
        session = car.agent._ecu  # type: ignore[attr-defined]
        session.access = replace(session.access, serial="SN2")
        outcome = await car.stage()
        assert isinstance(outcome, Failed)
        assert outcome.reason is Reason.SERIAL_MISMATCH

    bench.run(story)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(self_test="fail"), Reason.SELF_TEST_FAILED),
        (Behaviour(reports_version="9.9"), Reason.VERSION_MISMATCH),
        (Behaviour(faults=(FaultRate(code="P0A1F-00", rate_permille=1000),)), Reason.NEW_FAULTS),
    ],
)
def test_a_bad_image_is_seen_by_the_checks_and_can_be_rolled_back(
    bench: Bench, behaviour: Behaviour, reason: Reason
) -> None:
    async def story(car: Car) -> None:
        wanted = image_of(NEW, car.mode, 2)
        await car.stage()
        await car.agent.activate(wanted)
        outcome = await car.agent.verify(wanted, ALL_CHECKS)
        assert isinstance(outcome, Failed)
        assert outcome.reason is reason
        assert isinstance(await car.agent.verify(wanted, frozenset()), Done)
        if reason is Reason.NEW_FAULTS:
            known = frozenset({"P0A1F-00"})
            assert isinstance(await car.agent.verify(wanted, ALL_CHECKS, known_faults=known), Done)
        assert await car.roll_back() == Done()
        assert await car.version() == "1.0"

    bench.run(story, script=Script(images={hashlib.sha256(NEW).hexdigest(): behaviour}))


def test_an_image_that_does_not_start_is_reported_and_rolled_back(bench: Bench) -> None:
    async def story(car: Car) -> None:
        await car.stage()
        outcome = await car.agent.activate(image_of(NEW, car.mode, 2))
        assert isinstance(outcome, Failed)
        assert outcome.reason in {Reason.BOOT_FAILED, Reason.NOT_STAGED}
        assert isinstance(await car.roll_back(), Done)
        assert await car.version() == "1.0"

    bench.run(story, script=Script(images={hashlib.sha256(NEW).hexdigest(): Behaviour(boot="loop")}))


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(kind="drop_response", service=0x36, at=3),
        Trouble(kind="drop_request", service=0x36, at=3, times=2),
        Trouble(kind="duplicate", service=0x36, at=2, times=5),
        Trouble(kind="duplicate", service=0x22, times=3),
        Trouble(kind="delay", service=0x36, at=4, delay_ms=20),
        Trouble(kind="nrc", service=0x36, at=5, nrc=0x21, times=3),
        Trouble(kind="nrc", service=0x36, at=5, nrc=0x73),
        Trouble(kind="nrc", service=0x36, at=5, nrc=0x72),
        Trouble(kind="reset", service=0x36, at=9),
        Trouble(kind="hang_up", service=0x36, at=9),
    ],
    ids=lambda trouble: f"{trouble.kind}-{trouble.service:02x}-{trouble.nrc:02x}",
)
def test_trouble_on_the_wire_is_survived(bench: Bench, trouble: Trouble) -> None:
    async def story(car: Car) -> None:
        assert isinstance(await car.stage(), Done)
        assert isinstance(await car.agent.activate(image_of(NEW, car.mode, 2)), Done)
        assert await car.version() == "2.0"

    bench.run(story, script=Script(transport=(trouble,)))


def test_an_ecu_that_restarts_between_two_blocks_is_flashed_from_the_start(bench: Bench) -> None:
    async def story(car: Car) -> None:
        wanted = image_of(NEW, car.mode, 2)
        restarts: list[int] = []

        def restart_once(done: int, _total: int) -> None:
            if done > len(NEW) // 2 and not restarts:
                restarts.append(done)
                car.port.power_cycle()

        for verb in (car.agent.prepare, car.agent.install):
            outcome = await verb(wanted, BytesSource(NEW), progress=restart_once)
            assert isinstance(outcome, Done)
        assert restarts
        assert isinstance(await car.agent.activate(wanted), Done)
        assert await car.version() == "2.0"

    bench.run(story)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble(kind="die", service=0x36, at=3), Reason.UNREACHABLE),
        (Trouble(kind="nrc", service=0x34, nrc=0x70, times=9), Reason.ECU_REFUSED),
        (Trouble(kind="nrc", service=0x36, nrc=0x21, times=999), Reason.BUSY),
        (Trouble(kind="nrc", service=0x31, nrc=0x22, times=9), Reason.ECU_REFUSED),
    ],
)
def test_trouble_that_stays_is_a_typed_failure(bench: Bench, trouble: Trouble, reason: Reason) -> None:
    async def story(car: Car) -> None:
        outcome = await car.stage()
        assert isinstance(outcome, Failed)
        assert outcome.reason is reason

    bench.run(story, script=Script(transport=(trouble,)))


def test_an_ecu_that_refuses_to_be_programmed_is_left_alone(tmp_path: Path) -> None:
    async def story(car: Car) -> None:
        outcome = await car.stage()
        assert isinstance(outcome, Failed)
        assert (outcome.reason, outcome.retryable) == (Reason.PRECONDITION, True)
        assert await car.version() == "1.0"

    Bench(mode="inplace", wire="memory", folder=tmp_path).run(story, script=Script(preconditions="refuse"))


def test_a_check_that_was_cut_off_is_finished_without_flashing_again(tmp_path: Path) -> None:
    async def story(car: Car) -> None:
        wanted = image_of(NEW, "inplace", 2)
        # The second routine of a flash is the check: the ECU dies there, and is replaced by itself.
        trouble_at(car.port, Script(transport=(Trouble(kind="die", service=0x31, at=3),)))
        broken = await car.agent.install(wanted, BytesSource(NEW), progress=no_progress)
        assert isinstance(broken, Failed)
        assert broken.reason is Reason.UNREACHABLE
        car.port.alive = True
        car.port.power_cycle()
        assert await car.version() == "bootloader"
        trouble_at(car.port, Script(transport=(Trouble(kind="die", service=0x34),)))
        assert await car.agent.install(wanted, BytesSource(NEW), progress=no_progress) == Done()
        assert await car.agent.activate(wanted) == Done()
        assert await car.version() == "2.0"

    Bench(mode="inplace", wire="memory", folder=tmp_path).run(story)


@pytest.mark.parametrize("wire", ["memory", "tcp"])
def test_an_agent_that_is_told_no_before_the_erase_leaves_what_runs(tmp_path: Path, wire: Wire) -> None:
    async def story(car: Car) -> None:
        assert isinstance(car.agent, PausableAgent)
        car.agent.ask_before_erase(lambda: "Vehicle.Speed == 0, but the value is 30")
        assert await car.stage() == Failed(
            reason=Reason.PRECONDITION, detail="Vehicle.Speed == 0, but the value is 30"
        )
        assert await car.version() == "1.0"
        car.agent.ask_before_erase(lambda: "")
        assert await car.stage() == Done()
        assert await car.version() == "bootloader"
        # What is gone is finished, whatever the answer would be.
        car.agent.ask_before_erase(lambda: "no")
        await car.bring_to(OLD, 2)
        assert await car.version() == "2.0"

    Bench(mode="inplace", wire=wire, folder=tmp_path).run(story)
