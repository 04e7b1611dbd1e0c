"""Bring what stations say from the stream to the line: in order, once, and what cannot be where a person sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby

import structlog

from ringroad.build.plant.store_events import programme_of, refuse_message, take_events
from ringroad.kernel.clock import Clock, Ids
from ringroad.loop.landing import land
from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.streams import ACK_WAIT_S, MES, StreamMessage

LOG = structlog.get_logger(__name__)


async def run_mes(
    nats_url: str,
    conn_opener: Opener,
    stop: asyncio.Event,
    *,
    clock: Clock,
    ids: Ids,
    ack_wait_s: float = ACK_WAIT_S,
) -> None:
    """Take events of stations until `stop` is set; a message is acknowledged after its transaction."""
    await land(
        nats_url, conn_opener, stop, place=MES, put_aside=refuse_message, ack_wait_s=ack_wait_s,
        take=lambda conn, messages: land_events(conn, ids, clock, messages),
    )  # fmt: skip


def land_events(conn: Connection, ids: Ids, clock: Clock, messages: Sequence[StreamMessage]) -> None:
    """Take messages, each programme's in a transaction of its own."""
    by_programme = sorted(messages, key=lambda message: (message.subject, message.received_at, message.seq))
    for subject, group in groupby(by_programme, key=lambda message: message.subject):
        with transaction(conn):
            found = take_events(conn, ids, clock, programme_id=programme_of(subject), messages=list(group))
        LOG.info(
            "station events", subject=subject, taken=found.taken, known=found.known, refused=found.refused
        )
