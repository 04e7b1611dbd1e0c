"""Polls of a million vehicles with nothing to do, at the pace of one each five minutes, while a campaign releases waves.

Run: python -m benchmarks gateway_million
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import uvloop

from benchmarks.figures import Figure
from benchmarks.gateway import fill, gateways, polls, vin
from benchmarks.load import cpu_s, paced, rss_bytes
from ringroad.kernel.clock import SystemClock
from ringroad.storage.db import connect
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres

VEHICLES = 1_000_000
POLL_EVERY_S = 300
RUN_S = 20
CONNECTIONS = 256
WAVE = 2_000  # vehicles that are offered an update, each second of the run
OFFER = """
INSERT INTO assignment (campaign_id, vin, wave, state, offered_at)
SELECT 'campaign_1', vin, 2, 'offered', now() FROM vehicle WHERE vin > %s ORDER BY vin LIMIT %s
"""


def run() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="ringroad-bench-"))
    folder.chmod(0o711)
    server = Postgres(home=folder / "postgres", clock=SystemClock(), may_create_account=False)
    server.start()
    try:
        with connect(server.url()) as conn:
            migrate(conn, now=SystemClock().now())
        fill(server.url(), VEHICLES)
        started_s = time.perf_counter()
        with gateways(server.url()) as (pids, port):
            ready_s = time.perf_counter() - started_s
            over = threading.Event()
            waves = threading.Thread(target=release, args=(server.url(), over))
            waves.start()
            before_s = cpu_s(pids)
            try:
                took_s = uvloop.run(measure(port))
            finally:
                over.set()
                waves.join()
            busy = (cpu_s(pids) - before_s) / RUN_S
            rss = rss_bytes(*pids)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    p50_s, p99_s = (statistics.quantiles(took_s, n=100)[at] for at in (49, 98))
    note = (
        f"{len(took_s) / RUN_S:,.0f} polls/s of plain HTTP over {CONNECTIONS} kept connections, as a proxy keeps them, next"
        f" to {WAVE:,} offers of a campaign that are stored each second (nobody of it polls, downloads or reports), one"
        f" server process: {busy:.0%} of a core, {rss / 2**20:,.0f} MiB; p50 {p50_s * 1e3:.1f} ms, worst {max(took_s) * 1e3:.0f} ms;"
        f" ready {ready_s:.1f} s after its start"
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
    # Those behind are offered an update meanwhile.
    idle = VEHICLES - WAVE * (RUN_S + 5)
    return await paced(port, polls(count, idle), per_s=VEHICLES // POLL_EVERY_S, connections=CONNECTIONS)


def release(url: str, over: threading.Event) -> None:
    """Offer an update to a wave of vehicles each second, in one statement."""
    number = VEHICLES
    with psycopg.connect(url, autocommit=True) as conn:
        while not over.wait(1.0):
            number -= WAVE
            conn.execute(OFFER, (vin(number), WAVE))
