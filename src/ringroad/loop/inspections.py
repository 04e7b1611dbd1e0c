"""Tell lines which vehicles their gates look at: what was chosen goes out through the broker, at least once.

The database is the outbox: a choice is told until the broker has it on its disk.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import closing
from typing import Final

import msgspec
import structlog

from ringroad.build.quality.store_draw import has_told, untold
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Unavailable
from ringroad.protocol.inspection import SUBJECT_PREFIX, Inspection
from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.streams import INSPECTIONS, PUBLISHED_TOGETHER_MAX, publish

LOG = structlog.get_logger(__name__)

LOOK_S: Final = 0.5  # seconds between two looks: a vehicle stays longer at a station


async def run_inspections(nats_url: str, conn_opener: Opener, stop: asyncio.Event, *, clock: Clock) -> None:
    """Tell what was chosen until `stop` is set.

    Raises:
        Unavailable: the database does not answer.
    """
    with closing(conn_opener()) as conn:
        while not stop.is_set():
            try:
                told = await tell(nats_url, conn, clock)
            except Unavailable as error:
                LOG.warning("lines are not told which vehicles are looked at", error=error.message)
                told = 0
            if not told:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), LOOK_S)


async def tell(nats_url: str, conn: Connection, clock: Clock) -> int:
    """Tell the oldest choices that were not told; return how many. Raises: Unavailable."""
    with transaction(conn):
        found = untold(conn, rows_max=PUBLISHED_TOGETHER_MAX)
    if not found:
        return 0
    messages = [
        (
            SUBJECT_PREFIX + programme_id,
            msgspec.json.encode(
                Inspection(
                    order_id=each.order_id, station=each.station, gate=each.gate, inspect=each.inspect,
                    reason=each.reason, at=each.drawn_at,
                )
            ),
        )
        for programme_id, each in found
    ]  # fmt: skip
    await publish(nats_url, messages, place=INSPECTIONS)
    with transaction(conn):
        has_told(conn, found, now=clock.now())
    return len(found)
