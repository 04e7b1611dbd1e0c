"""MiB/s of ISO-TP on virtual CAN FD: ours and can-isotp in the same run.

A message goes out, two bytes come back, as in a flash download. No bus time is simulated: what is measured is code.
Each side once on python-can's virtual bus, which copies every frame and so bounds both, and once on the leanest bus
it can have: ours on the bus of `sim/canbus.py`, can-isotp on bare queues between its two threads.

Run: python -m benchmarks isotp
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import can
import isotp

from benchmarks.figures import Figure
from ringroad.sim.canbus import VirtualBus
from ringroad.vehicle.can import CanBus
from ringroad.vehicle.isotp.channel import IsotpEndpoint
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.python_can import PythonCanBus

MIB = 1 << 20
SIZES = (4095, 65_535)  # bytes of a message
ROUNDS = 3  # of each; the median counts
BYTES = 2 * MIB
MODE = isotp.AddressingMode.Normal_11bits
NEAR = isotp.Address(MODE, txid=0x7E0, rxid=0x7E8)
FAR = isotp.Address(MODE, txid=0x7E8, rxid=0x7E0)
PARAMS = {
    "tx_data_length": 64, "can_fd": True, "bitrate_switch": True, "stmin": 0, "blocksize": 0, "max_frame_size": 70_000,
}  # fmt: skip


def can_isotp(size: int, total: int, near: Any, far: Any) -> float:
    """Seconds that can-isotp takes between two of its layers."""
    payload = bytes(range(256)) * 256

    def answer() -> None:
        for _ in range(total // size):
            assert far.recv(block=True, timeout=10) == payload[:size]
            far.send(b"\x76\x01")

    near.start()
    far.start()
    thread = threading.Thread(target=answer)
    thread.start()
    started = time.perf_counter()
    for _ in range(total // size):
        near.send(payload[:size])
        assert near.recv(block=True, timeout=10) == b"\x76\x01"
    seconds = time.perf_counter() - started
    thread.join()
    near.stop()
    far.stop()
    return seconds


def can_isotp_on_python_can(size: int, total: int) -> float:
    channel = uuid4().hex
    with ExitStack() as stack:
        near, far = (stack.enter_context(can.Bus(interface="virtual", channel=channel)) for _ in range(2))
        return can_isotp(
            size,
            total,
            isotp.CanStack(near, address=NEAR, params=PARAMS),
            isotp.CanStack(far, address=FAR, params=PARAMS),
        )


def can_isotp_on_queues(size: int, total: int) -> float:
    there: queue.SimpleQueue[Any] = queue.SimpleQueue()
    back: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def take(source: queue.SimpleQueue[Any]) -> Callable[[float], Any]:
        def receive(timeout: float) -> Any:
            try:
                return source.get(timeout=timeout)
            except queue.Empty:
                return None

        return receive

    return can_isotp(
        size,
        total,
        isotp.TransportLayer(rxfn=take(back), txfn=there.put, address=NEAR, params=PARAMS),
        isotp.TransportLayer(rxfn=take(there), txfn=back.put, address=FAR, params=PARAMS),
    )


async def ours(near: CanBus, far: CanBus, size: int, total: int) -> float:
    """Seconds that our links take, on two controllers of one bus."""
    payload = bytes(range(256)) * 256
    requests: asyncio.Queue[bytes | None] = asyncio.Queue()
    answers: asyncio.Queue[bytes | None] = asyncio.Queue()
    one = IsotpSettings(address=Address.normal(0x7E0, 0x7E8), frame_bytes=64)
    other = IsotpSettings(address=Address.normal(0x7E8, 0x7E0), frame_bytes=64)
    tester, ecu = IsotpEndpoint(near, one, answers.put_nowait), IsotpEndpoint(far, other, requests.put_nowait)
    for bus, endpoint in ((near, tester), (far, ecu)):
        await bus.open()
        endpoint.attach()

    async def answer() -> None:
        for _ in range(total // size):
            assert await requests.get() == payload[:size]
            await ecu.send(b"\x76\x01")

    answering = asyncio.create_task(answer())
    started = time.perf_counter()
    for _ in range(total // size):
        await tester.send(payload[:size])
        assert await answers.get() == b"\x76\x01"
    seconds = time.perf_counter() - started
    await answering
    for bus, endpoint in ((near, tester), (far, ecu)):
        endpoint.detach()
        await bus.leave()
    return seconds


def ours_on_python_can(size: int, total: int) -> float:
    async def run() -> float:
        channel = uuid4().hex
        near, far = (PythonCanBus("virtual", channel, fd=True) for _ in range(2))
        return await ours(near, far, size, total)

    return asyncio.run(run())


def ours_in_memory(size: int, total: int) -> float:
    async def run() -> float:
        bus = VirtualBus(fd=True)
        return await ours(bus.controller(), bus.controller(), size, total)

    return asyncio.run(run())


def run() -> list[Figure]:
    """Measure all four by turns, so that a busy moment of the machine meets them all."""
    ways = {
        "memory": ours_in_memory,
        "python_can": ours_on_python_can,
        "peer_queues": can_isotp_on_queues,
        "peer_python_can": can_isotp_on_python_can,
    }
    figures, best, same = [], [], []
    for size in SIZES:
        total = BYTES // size * size
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items():
                seconds[name].append(way(size, total))
        rate = {name: total / MIB / sorted(taken)[ROUNDS // 2] for name, taken in seconds.items()}
        best.append(rate["memory"] / max(rate["peer_queues"], rate["peer_python_can"]))
        same.append(rate["python_can"] / rate["peer_python_can"])
        note = (
            f"on python-can's bus {rate['python_can']:.1f}; can-isotp {rate['peer_queues']:.1f} on bare queues, "
            f"{rate['peer_python_can']:.1f} on python-can's bus, same run"
        )
        figures.append(
            Figure(
                name=f"isotp.transfer.{size}", value=round(rate["memory"], 1), unit="MiB/s", target=None,
                better="higher", note=note,
            )
        )  # fmt: skip
    figures.append(
        Figure(
            name="isotp.ratio_can_isotp", value=round(min(best), 1), unit="times", target=3.0, better="higher",
            note=f"each on its leanest virtual CAN FD bus, the worse of {SIZES} bytes; median of {ROUNDS}",
        )
    )  # fmt: skip
    figures.append(
        Figure(
            name="isotp.ratio_on_python_can", value=round(min(same), 1), unit="times", target=None, better="higher",
            note="both on python-can's virtual bus, whose copying of frames bounds us",
        )
    )  # fmt: skip
    return figures
