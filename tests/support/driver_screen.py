"""A vehicle that runs in a thread of its own, with its driver page on loopback."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import msgspec

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.trust.state import provision
from ringroad.vehicle.run import Surroundings, run_vehicle
from support.ports import free_port
from support.vehicle_world import World

END_S = 60.0  # s; until the thread has ended, on a machine that is busy


def real_time_world(folder: Path) -> World:
    """Return a vehicle and its server that go by the machine's clock."""
    clock = SystemClock()
    world = World(folder, now=clock.now())
    world.server.clock = clock.now
    return world


@contextmanager
def running(world: World, **settings: str) -> Iterator[str]:
    """Run the vehicle, with other settings where some are given; give the address of its driver page."""
    port = free_port()
    config = msgspec.structs.replace(world.config, page=f"127.0.0.1:{port}", **settings)
    loop = asyncio.new_event_loop()

    async def run() -> None:
        async with httpx.AsyncClient(transport=world.transport) as client:
            surroundings = Surroundings(
                clock=SystemClock(), ids=SystemIds(), fraction=lambda: 0.5, agents=world.agents(),
                signals=world.signals, client=client, keys=world.keys, durability="buffered",
                roots=provision(image_root=world.server.image_root, director_root=world.server.director_root),
            )  # fmt: skip
            await run_vehicle(world.folder, config, surroundings)

    task = loop.create_task(run())

    def live() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(END_S)
        assert not thread.is_alive()
        loop.close()
