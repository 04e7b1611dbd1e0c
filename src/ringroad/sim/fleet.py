"""Many vehicles in one process: each a running orchestrator over its own virtual ECUs.

The real code runs: journal, verification, agents, telemetry. Simulated are the roads: operation cycles of
the ECUs, in which scripted images raise faults.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import httpx
import structlog

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import RingroadError
from ringroad.sim.assembly import BornVehicle, keep_signals
from ringroad.sim.vecu.fault_memory import Snapshot, StoredFault
from ringroad.sim.vecu.medium import PowerCut
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import draw_permille
from ringroad.vehicle.diagnostics.bulk import LogRing
from ringroad.vehicle.memory import Observer
from ringroad.vehicle.run import Surroundings, run_vehicle
from ringroad.vehicle.signals import FileSignals, SignalSource

STOP_S_MAX = 15.0  # seconds until a vehicle that does not end is left to the end of the process
ODOMETER_KM_MAX = 2**32 - 1  # km, of the four bytes in a snapshot
SPEED_KMH_MAX = 2**16 - 1  # km/h, of two
RESTART_S = 0.5  # seconds before a vehicle whose process ended is started again

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Vehicles that live in this process.

    Attributes:
        clock: shared.
        ids: shared.
        seed: of the jitter, so that the same seed gives the same order of polls.
        client: HTTP client shared by all vehicles.
        cycle_s: seconds between two operation cycles of an ECU.
        observe: gives each vehicle's journal an observer.
        on_fault: told of each fault whose status changed: vehicle, ECU serial, fault.
        log: what this process logs, of which each vehicle tells its own lines to whoever diagnoses it.
    """

    clock: Clock
    ids: Ids
    seed: int
    client: httpx.AsyncClient
    cycle_s: float = 1.0
    observe: Callable[[BornVehicle], Observer] | None = None
    on_fault: Callable[[BornVehicle, str, StoredFault], None] | None = None
    log: LogRing | None = None
    vehicles: dict[str, BornVehicle] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    stopping: bool = False

    def start(self, vehicle: BornVehicle) -> None:
        """Let a vehicle drive off the line."""
        self.vehicles[vehicle.vin] = vehicle
        self.tasks[vehicle.vin] = asyncio.create_task(self._live(vehicle), name=vehicle.vin)

    async def stop(self) -> None:
        """End all vehicles, as a process that is killed would."""
        self.stopping = True  # a vehicle that fails in this moment may swallow its cancel
        for task in self.tasks.values():
            task.cancel()
        if self.tasks:
            ended, late = await asyncio.wait(self.tasks.values(), timeout=STOP_S_MAX)
            for task in ended:
                if not task.cancelled():
                    task.result()
            if late:
                _log.warning("vehicle.late", vins=sorted(task.get_name() for task in late))
        self.tasks.clear()

    async def _live(self, vehicle: BornVehicle) -> None:
        """Run one vehicle; a crash is what a power cycle would be: it starts again from its folder."""
        surroundings = Surroundings(
            clock=self.clock,
            ids=self.ids,
            fraction=_fractions(self.seed, vehicle.vin),
            agents=vehicle.agents,
            signals=FileSignals(vehicle.folder / vehicle.config.signals_file),
            client=self.client,
            durability="buffered",  # simulated: this machine's disk is not the vehicle's
            observer=self.observe(vehicle) if self.observe else None,
            log=self.log,
        )
        while not self.stopping:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(run_vehicle(vehicle.folder, vehicle.config, surroundings))
                    tasks.create_task(self._drive(vehicle))
                    tasks.create_task(keep_signals(vehicle.folder / vehicle.config.signals_file))
            except* (RingroadError, OSError) as group:
                for error in group.exceptions:
                    _log.warning("vehicle.restarts", vin=vehicle.vin, reason=str(error))
            await asyncio.sleep(RESTART_S)

    async def _drive(self, vehicle: BornVehicle) -> None:
        """Let every ECU run its operation cycles, a little apart from the other vehicles."""
        await asyncio.sleep(self.cycle_s * draw_permille(self.seed, vehicle.vin) / 1000)
        signals = FileSignals(vehicle.folder / vehicle.config.signals_file)
        while True:
            around = surroundings_of(signals, now=self.clock.now())
            for serial, port in vehicle.ports.items():
                if port.alive:
                    self._cycle(vehicle, serial, port, around)
                await asyncio.sleep(0)
            await asyncio.sleep(self.cycle_s)

    def _cycle(self, vehicle: BornVehicle, serial: str, port: EcuPort, around: Snapshot) -> None:
        try:
            changed = port.ecu.run_cycle(around)
        except PowerCut:
            port.power_cycle()
            return
        if self.on_fault is not None:
            for fault in changed:
                self.on_fault(vehicle, serial, fault)


def surroundings_of(signals: SignalSource, *, now: datetime) -> Snapshot:
    """Return what an ECU knows of the vehicle when it stores a fault: the time, and what its signals say; 0 where they do not."""
    values = {each.path: each.value for each in signals.read(now)}

    def whole(path: str, most: int) -> int:
        value = values.get(path)
        known = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
        return int(value) if known and value is not None else 0

    return Snapshot(
        unix_s=int(now.timestamp()),
        odometer_km=whole("Vehicle.TraveledDistance", ODOMETER_KM_MAX),
        speed_kmh=whole("Vehicle.Speed", SPEED_KMH_MAX),
    )


def _fractions(seed: int, vin: str) -> Callable[[], float]:
    """Return a source of numbers in [0, 1) that depends on seed, vehicle and count alone."""
    count = 0

    def fraction() -> float:
        nonlocal count
        count += 1
        return draw_permille(seed, vin, count) / 1000

    return fraction
