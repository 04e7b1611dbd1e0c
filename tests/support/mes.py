"""A line whose stations speak: the programme, orders, and the stream's reader in a thread, as in the worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nats

from ringroad.build import store_plant
from ringroad.build.store import import_programme
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.mes import run_mes
from ringroad.storage.db import Connection, connect
from ringroad.storage.streams import MES

CLOCK, IDS = SystemClock(), SystemIds()
PROGRAMME = (Path(__file__).parents[2] / "examples" / "first" / "programme.toml").read_text(encoding="utf-8")
END_S = 60.0


def wren(conn: Connection) -> None:
    """Import the programme."""
    import_programme(conn, IDS, source=PROGRAMME, actor="tester", now=CLOCK.now())


def new_order(conn: Connection) -> str:
    """Order a van; return the order's id."""
    made = store_plant.add_order(
        conn, IDS, programme_id="wren", variant="van", actor="tester", now=CLOCK.now()
    )
    return made.id


@contextmanager
def reading(nats_url: str, pg_url: str) -> Iterator[None]:
    """Read the stream in a thread."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def run() -> None:
        loop.run_until_complete(run_mes(nats_url, lambda: connect(pg_url), stop, clock=CLOCK, ids=IDS))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(END_S)
        loop.close()


async def emptied(nats_url: str) -> None:
    """Drop what other tests left in the stream."""
    client = await nats.connect(nats_url)
    with suppress(nats.js.errors.NotFoundError):
        await client.jetstream().purge_stream(MES.stream)
    await client.close()
