"""What a vehicle tells around a fault, in simulated time: at once, with its freeze frame, the seconds before and after."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import Sample, TelemetryBatch
from ringroad.sim.simtime import SimulatedLoop, run_simulated
from ringroad.sim.vecu.ecu import VirtualEcu
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script
from ringroad.vehicle.collector import Collector, TelemetryQueue
from ringroad.vehicle.observe import RING_SAMPLES_MAX, SampleRing, observe, ring_of
from support.diagnosed import FAULT, DiagnosedVehicle
from support.uptane import NOW
from support.vehicle_world import VIN, director_target

FAULT_AT_S = 30.5


def lived(
    folder: Path, *, before_s: float, after_s: float, telemetry_s: float = 20.0
) -> list[TelemetryBatch]:
    """Live 60 s with a fault in the middle; the speed is the second. Return what was collected."""
    loop = SimulatedLoop()
    vehicle = DiagnosedVehicle(folder)
    vehicle.config = msgspec.structs.replace(
        vehicle.config, telemetry_s=telemetry_s, fault_signals=("Vehicle.Speed",), fault_before_s=before_s,
        fault_after_s=after_s,
    )  # fmt: skip

    async def story() -> None:
        await vehicle.build()
        async with vehicle.boot() as orchestrator:
            queue = TelemetryQueue(folder / "telemetry", durability="buffered")
            collector = Collector(vin=parse_vin(VIN), queue=queue, clock=loop, fraction=lambda: 0.0)
            task = asyncio.create_task(
                observe(
                    vehicle.config,
                    orchestrator,
                    collector,
                    signals=vehicle.signals,
                    clock=loop,
                    fraction=lambda: 0.0,
                    ring=ring_of(vehicle.config),
                )
            )
            for second in range(120):  # halves of seconds
                if loop.time() >= FAULT_AT_S and FAULT not in [f.code for f in ecu().faults.stored]:
                    sha256 = director_target(vehicle.ecus["brake"], "1.0.0", 1).sha256
                    rate = FaultRate(code=FAULT, rate_permille=1000)
                    ecu().script = Script(images={sha256: Behaviour(faults=(rate,))})
                    ecu().run_cycle()
                vehicle.signals.values = {"Vehicle.Speed": second // 2, "Vehicle.Cabin.Noise": 60}
                await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

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
    for second in range(30):
        now = NOW + timedelta(seconds=second)
        ring.record([Sample(at=now, path="Vehicle.Speed", value=second)], now=now)
    assert [each.value for each in ring.take()] == list(range(19, 30))


def test_seconds_after_without_seconds_before_are_refused(tmp_path: Path) -> None:
    vehicle = DiagnosedVehicle(tmp_path)
    with pytest.raises(InvalidInput):
        msgspec.structs.replace(vehicle.config, fault_after_s=3.0)
