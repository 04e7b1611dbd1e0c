"""Messages of a stream on their way into the database: acknowledged after their transaction, or put aside with why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import closing

from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.streams import ACK_WAIT_S, Place, StreamMessage, consume


async def land(
    nats_url: str,
    conn_opener: Opener,
    stop: asyncio.Event,
    *,
    place: Place,
    take: Callable[[Connection, Sequence[StreamMessage]], None],
    put_aside: Callable[[Connection, StreamMessage, str], None],
    ack_wait_s: float = ACK_WAIT_S,
) -> None:
    """Take messages until `stop` is set; one that breaks its reader again and again is kept with the reason.

    Args:
        nats_url: of the broker.
        conn_opener: opens the database.
        stop: ends it.
        place: the stream and its consumer.
        take: takes messages, in transactions of its own.
        put_aside: keeps one that cannot be taken, in a transaction.
        ack_wait_s: seconds before a message is delivered again.
    """

    def handle(messages: Sequence[StreamMessage]) -> None:
        with closing(conn_opener()) as conn:
            take(conn, messages)

    def give_up(message: StreamMessage, error: Exception) -> None:
        with closing(conn_opener()) as conn, transaction(conn):
            put_aside(conn, message, f"it breaks its reader: {error!r}")

    await consume(nats_url, handle, stop, give_up=give_up, place=place, ack_wait_s=ack_wait_s)
