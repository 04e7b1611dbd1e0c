"""How little a vehicle needs: memory of the process with 33 ECUs, and how many vehicles one core carries.

- `vehicle.rss_mb`: `ringroad vehicle run` updates the 33 ECUs of the distributed example, behind DoIP, CAN, CAN FD and HTTP,
  with MCUboot, in a container and as files; the most memory it ever had resident, everything of Python's included.
- `vehicle.rss_with_kuksa_mb`: the same, with a face for applications that ask for the vehicle's signals.
- `vehicle.installed_mb`: our rooms that a vehicle imports and the libraries they import, as installed.
- `vehicle.agents_idle_per_core`: so many orchestrators in one process, polling as a fleet does; their CPU time while
  nothing happens says how many fill a core. The server behind them is a constant answer.
- `vehicle.agents_updating`: vehicles of four virtual ECUs that update in one process at the same time.

Run: python -m benchmarks vehicles
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import msgspec

from benchmarks.figures import Figure
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.protocol.vehicle import Command
from ringroad.trust.state import provision
from ringroad.vehicle.run import Surroundings, open_vehicle

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.flashed_vehicle import FlashedVehicle
from support.ports import free_port
from support.vehicle_process import memory_of_an_update
from support.vehicle_size import size_of_the_vehicle
from support.vehicle_world import TOKEN, World

IDLE = 2_000
IDLE_POLL_S = 60  # s between two polls, as `poll_s` is unless set
IDLE_S = 90.0  # s that are measured
UPDATING = 200
FOUR = (("central", "ab"), ("adas", "ab"), ("brake", "inplace"), ("body", "inplace"))


class Constant(httpx.AsyncBaseTransport):
    """A server that has nothing to say, at no cost to speak of."""

    def __init__(self) -> None:
        self.polls = 0
        self.settled = asyncio.Event()  # every vehicle asked once
        self._command = msgspec.json.encode(Command(kind="none", poll_s=IDLE_POLL_S))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            self.polls += 1
            if self.polls == IDLE:
                self.settled.set()
            return httpx.Response(200, content=self._command, headers={"etag": '"none"'})
        return httpx.Response(200, content=b'{"ids":[]}')


async def idle(folder: Path) -> tuple[float, float, int]:
    """CPU seconds and seconds of the idle fleet, and its polls."""
    world = World(folder / "world", ecus=FOUR)
    roots = provision(image_root=world.server.image_root, director_root=world.server.director_root)
    server, draw = Constant(), random.Random(1)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(transport=server))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        running = []
        for number in range(IDLE):
            own = folder / str(number)
            own.mkdir()
            (own / "token").write_text(TOKEN)
            surroundings = Surroundings(
                clock=SystemClock(), ids=SystemIds(), fraction=draw.random, agents=world.agents(),
                signals=world.signals, client=client, keys=world.keys, roots=roots, durability="buffered",
            )  # fmt: skip
            vehicle = await stack.enter_async_context(open_vehicle(own, world.config, surroundings))
            running.append(tasks.create_task(vehicle.run()))
        await server.settled.wait()
        before = server.polls, time.process_time(), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        polls, cpu_s, wall_s = (
            server.polls - before[0],
            time.process_time() - before[1],
            time.perf_counter() - before[2],
        )
        for task in running:
            task.cancel()
    return cpu_s, wall_s, polls


async def updating(folder: Path) -> tuple[int, float]:
    """Vehicles that updated at the same time, and the seconds that took."""
    vehicles = [FlashedVehicle(folder / str(number), ecus=FOUR) for number in range(UPDATING)]
    for vehicle in vehicles:
        await vehicle.build()
        vehicle.order()
        vehicle.power_on()
    under_way = peak = 0

    async def update(vehicle: FlashedVehicle) -> str:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        state = await vehicle.drive()
        under_way -= 1
        return state

    started = time.perf_counter()
    states = await asyncio.gather(*(update(vehicle) for vehicle in vehicles))
    assert set(states) == {"SUCCEEDED"}, states
    return peak, time.perf_counter() - started


def mb(kib: int) -> float:
    return round(kib * 1024 / 1e6, 1)


def run() -> list[Figure]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        memory = memory_of_an_update(Path(name))
    with tempfile.TemporaryDirectory() as name:
        sharing = memory_of_an_update(Path(name), kuksa_port=free_port())
    size = size_of_the_vehicle()
    with tempfile.TemporaryDirectory() as name:
        cpu_s, wall_s, polls = asyncio.run(idle(Path(name)))
    with tempfile.TemporaryDirectory() as name:
        peak, took_s = asyncio.run(updating(Path(name)))
    return [
        Figure(
            name="vehicle.rss_mb", value=mb(memory.peak_kib), unit="MB", target=60.0, better="lower",
            note=f"most that was resident while 33 ECUs of every kind were updated; {mb(memory.idle_kib)} before that",
        ),
        Figure(
            name="vehicle.rss_with_kuksa_mb", value=mb(sharing.peak_kib), unit="MB", target=None, better="lower",
            note=f"the same vehicle that serves its signals as kuksa.val.v2, with gRPC; {mb(sharing.idle_kib)} before that",
        ),
        Figure(
            name="vehicle.start_s", value=round(memory.start_s, 2), unit="s", target=None, better="lower",
            note="from the start of the process to its first poll; 33 ECUs",
        ),
        Figure(
            name="vehicle.installed_mb", value=round(size.installed_bytes / 1e6, 1), unit="MB", target=None, better="lower",
            note=f"without Python itself; {len(size.libraries)} libraries: {', '.join(size.libraries)}",
        ),
        Figure(
            name="vehicle.agents_idle_per_core", value=int(IDLE * wall_s / cpu_s), unit="vehicles", target=2_000,
            better="higher",
            note=f"{IDLE} in one process took {cpu_s:.1f} CPU-seconds in {wall_s:.0f} s, {polls} polls, one each {IDLE_POLL_S} s",
        ),
        Figure(
            name="vehicle.agents_updating", value=peak, unit="vehicles", target=200, better="higher",
            note=f"of four ECUs each, all of them succeeded, {took_s:.1f} s together in one process",
        ),
    ]  # fmt: skip
