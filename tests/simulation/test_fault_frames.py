"""What a vehicle tells around a fault, in simulated time: at once, with its freeze frame, the seconds before and after."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.fault_status import FOLDED_PATH, WAITED_PATH
from ringroad.protocol.vehicle import Sample, TelemetryBatch
from ringroad.signal.fault_history import FaultChange, fold
from ringroad.signal.ingest import IngestLimits, decide_message
from ringroad.signal.model import Accepted, VehicleRef
from ringroad.sim.simtime import SimulatedLoop, run_simulated
from ringroad.sim.vecu.ecu import VirtualEcu
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.collector import Collector, TelemetryQueue
from ringroad.vehicle.config import read_config, write_config
from ringroad.vehicle.fault_news import AT_ONCE_S_MIN
from ringroad.vehicle.leaves import Leaf, SharedSignals
from ringroad.vehicle.observe import (
    RING_SAMPLES_MAX,
    FaultWatch,
    SampleRing,
    are_alive,
    before_all,
    keep_ring,
    observe,
    ring_of,
)
from ringroad.vehicle.signals import FileSignals
from support.diagnosed import FAULT, OTHER, DiagnosedVehicle
from support.uptane import NOW
from support.vehicle_world import VIN, director_target

FAULT_AT_S = 30.5


def lived(
    folder: Path,
    *,
    before_s: float,
    after_s: float,
    telemetry_s: float = 20.0,
    vehicle: DiagnosedVehicle | None = None,
    silent: bool = False,
    flaps: bool = False,
    fault_at_s: float = FAULT_AT_S,
) -> list[TelemetryBatch]:
    """Live 60 s with a fault in the middle; the speed is the second. Return what was collected."""
    loop = SimulatedLoop()
    vehicle = vehicle or DiagnosedVehicle(folder)
    vehicle.config = msgspec.structs.replace(
        vehicle.config, telemetry_s=telemetry_s, fault_signals=("Vehicle.Speed",), fault_before_s=before_s,
        fault_after_s=after_s,
    )  # fmt: skip

    async def story() -> None:
        await vehicle.build()
        async with vehicle.boot() as orchestrator:
            queue = TelemetryQueue(folder / "telemetry", durability="buffered")
            collector = Collector(vin=parse_vin(VIN), queue=queue, clock=loop, fraction=lambda: 0.0)
            ring = ring_of(vehicle.config)
            tasks = [asyncio.create_task(keep_ring(ring, vehicle.signals, loop))] if before_s else []
            task = asyncio.create_task(
                observe(
                    vehicle.config,
                    orchestrator,
                    collector,
                    signals=vehicle.signals,
                    clock=loop,
                    fraction=lambda: 0.0,
                    ring=ring,
                )
            )
            for second in range(120):  # halves of seconds
                if flaps and second % 4 > 1:
                    ecu().faults.clear(None)
                elif loop.time() >= fault_at_s and FAULT not in [f.code for f in ecu().faults.stored]:
                    sha256 = director_target(vehicle.ecus["brake"], "1.0.0", 1).sha256
                    rate = FaultRate(code=FAULT, rate_permille=1000)
                    ecu().script = Script(images={sha256: Behaviour(faults=(rate,))})
                    ecu().run_cycle()
                told: dict[str, Any] = {"Vehicle.Speed": second // 2, "Vehicle.Cabin.Noise": 60}
                vehicle.signals.values = {} if silent else told
                await asyncio.sleep(0.5)
            for each in (task, *tasks):
                each.cancel()
            await asyncio.gather(task, *tasks, return_exceptions=True)

    def ecu() -> VirtualEcu:
        return vehicle.ports["brake"].ecu

    run_simulated(story(), loop)
    files = sorted((folder / "telemetry").glob("0*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=TelemetryBatch) for path in files]


def speeds(batch: TelemetryBatch) -> list[float]:
    return [float(each.value) for each in batch.samples if each.path == "Vehicle.Speed"]


def test_a_fault_is_told_at_once_with_the_seconds_before_and_after_it(tmp_path: Path) -> None:
    batches = lived(tmp_path, before_s=5, after_s=3)
    [told] = [batch for batch in batches if batch.faults]
    [event] = told.faults
    seconds = (event.at - batches[0].made_at).total_seconds()
    assert FAULT_AT_S <= seconds <= FAULT_AT_S + 2
    assert set(event.snapshot) == {"Vehicle.Speed"}
    before = speeds(told)
    assert before == sorted(before)
    assert before[0] <= before[-1] - 4  # five seconds of them, one a second
    assert len(before) >= 5
    after = batches[batches.index(told) + 1]
    assert not after.faults
    assert (after.made_at - told.made_at).total_seconds() == pytest.approx(3, abs=1)
    assert min(speeds(after)) >= before[-1] - 1
    assert max(speeds(after)) >= before[-1] + 2


def test_a_fault_that_comes_and_goes_every_second_is_told_now_and_then_and_counted(tmp_path: Path) -> None:
    batches = lived(tmp_path, before_s=5, after_s=3, telemetry_s=40, flaps=True)
    assert len(batches) <= 2 + 2 * (30 / AT_ONCE_S_MIN)  # two are due, and each at once has one behind it
    events = [event for batch in batches for event in batch.faults]
    changes = [
        FaultChange(
            ecu=each.ecu, code=each.code, at_us=int(each.at.timestamp() * 1e6), status=each.status,
            software_version=each.software_version, snapshot=each.snapshot,
        )
        for each in events
    ]  # fmt: skip
    [line] = fold(changes)
    assert events[0].status != 0
    assert any(FOLDED_PATH in each.snapshot for each in events)
    assert 13 <= line.occurrences <= 15  # every other second it failed


def test_what_waits_is_stored_while_the_vehicle_ends(tmp_path: Path) -> None:
    batches = lived(tmp_path, before_s=5, after_s=0, telemetry_s=1_000, flaps=True)
    events = [event for batch in batches for event in batch.faults if event.code == FAULT]
    assert events[0].status
    assert events[-1].status == 0  # how it stood in the end
    assert len(batches[-1].samples) == 0


def test_what_waited_says_for_how_long_when_the_vehicle_ends_too(tmp_path: Path) -> None:
    batches = lived(tmp_path, before_s=5, after_s=0, telemetry_s=1_000, flaps=True, fault_at_s=10.5)
    first = batches[-1].faults[0]
    waited_s = (batches[-1].made_at - first.at).total_seconds()
    assert waited_s > 2 * AT_ONCE_S_MIN  # six batches at once were for this code already
    assert first.snapshot[WAITED_PATH] == int(waited_s)


def test_a_fault_that_is_gone_after_a_restart_is_told_as_gone(tmp_path: Path) -> None:
    vehicle = DiagnosedVehicle(tmp_path)
    told = [
        event for batch in lived(tmp_path, before_s=0, after_s=0, vehicle=vehicle) for event in batch.faults
    ]
    assert (told[-1].code, bool(told[-1].status)) == (FAULT, True)
    queue = TelemetryQueue(tmp_path / "telemetry", durability="buffered")

    async def next_life() -> list[tuple[str, str, int]]:
        async with vehicle.boot() as orchestrator:
            vehicle.ports["brake"].ecu.faults.clear(None)
            found = await FaultWatch(orchestrator, queue.told.codes).look([], now=NOW)
            return [(event.ecu, event.code, event.status) for event in found]

    assert ("brake", FAULT, 0) in asyncio.run(next_life())


def test_without_a_ring_the_vehicle_wakes_for_telemetry_alone(tmp_path: Path) -> None:
    batches = lived(tmp_path, before_s=0, after_s=0)
    times = [(batch.made_at - batches[0].made_at).total_seconds() for batch in batches]
    assert times == [0, 20, 40]
    [told] = [batch for batch in batches if batch.faults]
    assert len(speeds(told)) == 1
    assert set(told.faults[0].snapshot) == {"Vehicle.Speed"}


def test_a_ring_is_bounded_in_time_and_number_and_told_once() -> None:
    ring = SampleRing((), before_s=10)
    for second in range(30):
        now = NOW + timedelta(seconds=second)
        ring.record([Sample(at=now, path=f"Vehicle.S{n}", value=n) for n in range(100)], now=now)
    kept = ring.take()
    assert len(kept) == RING_SAMPLES_MAX
    assert kept[-1].at == now
    assert ring.take() == []
    assert ring.kept() == kept  # for whoever reads it
    for second in range(30):
        now = NOW + timedelta(seconds=second)
        ring.record([Sample(at=now, path="Vehicle.Speed", value=second)], now=now)
    assert [each.value for each in ring.take()] == list(range(19, 30))
    now += timedelta(seconds=4)
    ring.record([Sample(at=now, path="Vehicle.Speed", value=99)], now=now)
    assert [each.value for each in ring.take()] == [99]  # of a second fault, what the first was not told with
    assert [each.value for each in ring.kept()] == [*range(23, 30), 99]


def test_what_is_read_twice_is_kept_once() -> None:
    ring = SampleRing((), before_s=10)
    for second in range(6):  # a file that is written every other second
        at = NOW + timedelta(seconds=second // 2 * 2)
        ring.record([Sample(at=at, path="Vehicle.Speed", value=second)], now=NOW + timedelta(seconds=second))
    assert [each.value for each in ring.kept()] == [0, 2, 4]


def test_what_surrounds_a_fault_leaves_room_for_what_is_now_and_is_told_once() -> None:
    now = [Sample(at=NOW, path=f"Vehicle.S{n}", value=n) for n in range(TELEMETRY_BATCH_MAX - 3)]
    before = [Sample(at=NOW - timedelta(seconds=9 - n), path="Vehicle.Speed", value=n) for n in range(9)]
    told = before_all([*before, now[0]], now)
    assert len(told) == TELEMETRY_BATCH_MAX - 1  # and one for what was dropped
    assert [each.value for each in told[:2]] == [7, 8]
    assert told[2:] == now
    assert before_all(before, []) == before
    assert (
        before_all(before, [Sample(at=NOW, path=f"{n}", value=n) for n in range(TELEMETRY_BATCH_MAX)])[
            0
        ].value
        == 0
    )


def test_a_vehicle_keeps_a_ring_unless_it_is_told_not_to(tmp_path: Path) -> None:
    config = DiagnosedVehicle(tmp_path).config
    assert (config.fault_before_s, config.fault_after_s) == (10, 5)
    off = msgspec.structs.replace(config, fault_before_s=0)
    write_config(tmp_path, off, durability="buffered")
    assert read_config(tmp_path) == off


def test_what_was_published_once_is_no_sign_of_life_for_good() -> None:
    signals = SharedSignals(
        FileSignals(Path("none.json")), {"Vehicle.Speed": Leaf(path="Vehicle.Speed", datatype="float")}
    )
    assert not are_alive(signals.read(NOW), now=NOW)
    signals.publish("Vehicle.Speed", 12.0, now=NOW)
    for after_s, alive in ((1, True), (60, True), (61, False), (86_400, False)):
        now = NOW + timedelta(seconds=after_s)
        assert are_alive(signals.read(now), now=now) is alive


class Counted:
    """An agent, and what was asked of it."""

    def __init__(self, name: str, agent: UpdateAgent, asked: list[str]) -> None:
        self._name, self._agent, self._asked = name, agent, asked

    def __getattr__(self, verb: str) -> Any:
        ask = getattr(self._agent, verb)

        def asked(*args: Any, **named: Any) -> Any:
            self._asked.append(f"{self._name} {verb}")
            return ask(*args, **named)

        return asked


class CountedVehicle(DiagnosedVehicle):
    """A vehicle that notes what its ECUs are asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[str] = []

    def agents(self) -> dict[str, UpdateAgent]:
        """As always, with an ear at each."""
        names = {ecu.serial: name for name, ecu in self.ecus.items()}
        return {
            serial: Counted(names[serial], agent, self.asked) for serial, agent in super().agents().items()
        }

    def heard(self) -> set[str]:
        """Return what was asked since the last time."""
        heard = set(self.asked)
        self.asked.clear()
        return heard


def test_between_two_batches_only_fault_memories_are_asked_of_whoever_answers(tmp_path: Path) -> None:
    async def story() -> None:
        vehicle = CountedVehicle(tmp_path)
        await vehicle.prepare()
        async with vehicle.boot() as orchestrator:
            watch = FaultWatch(orchestrator)
            vehicle.heard()
            assert await watch.look([], now=NOW, whole=False) == []  # nobody answered yet
            assert vehicle.heard() == set()
            first = await watch.look([], now=NOW)
            assert vehicle.heard() == {"gateway inventory", "brake inventory"}
            assert {event.software_version for event in first} == {"1.0.0"}
            watch.told()
            async with orchestrator.ecus.agent(vehicle.ecus["gateway"].serial):  # somebody has its line
                assert await watch.look([], now=NOW, whole=False) == []
            assert vehicle.heard() == {"brake faults"}
            vehicle.ports["brake"].ecu.faults.clear(None)
            gone = await watch.look([], now=NOW, whole=False)
            assert {(event.code, event.status) for event in gone} == {(FAULT, 0), (OTHER, 0)}
            assert {event.software_version for event in gone} == {"1.0.0"}
            watch.told()
            vehicle.ports["brake"].alive = False
            assert await watch.look([], now=NOW, whole=False) == []  # silence is no news
            vehicle.heard()
            assert await watch.look([], now=NOW, whole=False) == []
            assert vehicle.heard() == {"gateway faults"}

    asyncio.run(story())


def test_a_fault_of_an_ecu_that_runs_nothing_is_taken_with_all_that_is_told_beside_it(tmp_path: Path) -> None:
    async def story() -> TelemetryBatch:
        vehicle = CountedVehicle(tmp_path)
        await vehicle.prepare()
        brake = vehicle.ports["brake"].ecu
        async with vehicle.boot() as orchestrator:
            watch = FaultWatch(orchestrator)
            await watch.look([], now=NOW)  # what it told while it ran
            sha256 = director_target(vehicle.ecus["brake"], "1.0.0", 1).sha256
            brake.script = Script(images={sha256: Behaviour(boot="loop")})
            brake.power_on()
            events = await watch.look([], now=NOW)
            assert {(event.ecu, event.software_version) for event in events if event.code == FAULT} == {
                ("brake", "")
            }
            return TelemetryBatch(vin=VIN, batch=1, made_at=NOW, software=dict(watch.software), faults=events)

    batch = asyncio.run(story())
    assert batch.software == {"gateway": "1.0.0"}
    taken = decide_message(
        IngestLimits(), msgspec.json.encode(batch), subject=f"ringroad.v1.{VIN}.telemetry", seq=1, received_at=NOW,
        vehicle=VehicleRef(vin=VIN, programme="p", variant="v"),
    )  # fmt: skip
    assert isinstance(taken, Accepted)
    assert FAULT in {row.code for row in taken.rows.faults}


def test_a_vehicle_whose_signals_are_silent_is_left_asleep(tmp_path: Path) -> None:
    vehicle = CountedVehicle(tmp_path)
    batches = lived(tmp_path, before_s=5, after_s=3, vehicle=vehicle, silent=True)
    times = [(batch.made_at - batches[0].made_at).total_seconds() for batch in batches]
    assert times == [0, 20, 40, 43]  # the last is what came after the fault
    assert "faults" not in {each.split()[1] for each in vehicle.asked}
    assert [fault.code for batch in batches for fault in batch.faults] == [FAULT]
