"""Polls of a million vehicles with nothing to do, at the pace of one each five minutes, while a campaign runs.

The campaign is a real one: it was planned for all of them by the product's functions, a worker reconciles, and the
devices that have it poll, download the beginning of each image and report, so many a second, spread over it.

Run: python -m benchmarks gateway_million
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Iterator

import uvloop

from benchmarks.figures import Figure
from benchmarks.gateway import polls, vin
from benchmarks.hawkbit import Load, ringroad, update_all
from benchmarks.load import cpu_s, paced, rss_bytes

VEHICLES = 1_000_000
DEVICES_PER_S = 100  # of the campaign; all million in three hours
DEVICES = 40 * DEVICES_PER_S  # more than are through when the run ends
AT_ONCE = 5  # of them
POLL_EVERY_S = 300
RUN_S = 20
CONNECTIONS = 256
IMAGE_BYTES = 65_536  # that a device downloads of each image


def run() -> list[Figure]:
    with ringroad(Load(targets=VEHICLES, devices=DEVICES)) as server:
        server.start_rollout(server.make_rollout("some", DEVICES))
        before = server.count_installed()
        with devices(server.port):
            before_s = cpu_s(server.pids())
            took_s = uvloop.run(measure(server.port))
            busy = (cpu_s(server.pids()) - before_s) / RUN_S
            through = server.count_installed() - before
        rss = rss_bytes(*server.pids())
    p50_s, p99_s = (statistics.quantiles(took_s, n=100)[at] for at in (49, 98))
    note = (
        f"{len(took_s) / RUN_S:,.0f} polls/s of plain HTTP over {CONNECTIONS} kept connections, as a proxy keeps them, next"
        f" to a campaign with its worker, of which {through / RUN_S:,.0f} vehicles a second were offered it, downloaded"
        f" {IMAGE_BYTES // 1024} KiB of each image and reported it installed; one server process: {busy:.0%} of a core for"
        f" all of that, {rss / 2**20:,.0f} MiB; p50 {p50_s * 1e3:.1f} ms, worst {max(took_s) * 1e3:.0f} ms"
    )
    return [
        Figure(
            name="gateway.idle_1m.p99_ms",
            value=round(p99_s * 1e3, 2),
            unit="ms",
            target=50,
            better="lower",
            note=note,
        )
    ]


async def measure(port: int) -> list[float]:
    count = VEHICLES * RUN_S // POLL_EVERY_S
    return await paced(port, polls(count, VEHICLES), per_s=VEHICLES // POLL_EVERY_S, connections=CONNECTIONS)


@contextlib.contextmanager
def devices(port: int) -> Iterator[None]:
    """Let the campaign's devices take their update, in a process of their own."""
    child = multiprocessing.get_context("spawn").Process(target=take_updates, args=(port,), daemon=True)
    child.start()
    try:
        yield
    finally:
        child.terminate()
        child.join(20)


def take_updates(port: int) -> None:
    asyncio.run(_take_updates(port))


async def _take_updates(port: int) -> None:
    begun_s = time.perf_counter()
    for first in range(1, DEVICES + 1, AT_ONCE):  # spread over each second, as vehicles come
        names = [vin(number) for number in range(first, first + AT_ONCE)]
        await update_all(port, names, image_bytes=IMAGE_BYTES)
        due_s = begun_s + (first - 1 + AT_ONCE) / DEVICES_PER_S
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
