"""Between a site and its hub: what a site's line took goes up, once and in its order, whenever the hub can be reached.

The site's database is its outbox: the events of a line are numbered without gaps, and stay until the hub has them.
One message is on its way at a time; what was on its way when a process was killed goes again, and is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from ringroad.build.plant.store_events import refuse_message
from ringroad.build.site.store import HEARD_S, has_told, joined, next_to_tell, take_told
from ringroad.kernel.clock import Clock, Ids
from ringroad.loop.landing import land
from ringroad.protocol.site import Up, site_of, up_subject
from ringroad.storage.db import Connection, Opener, transaction
from ringroad.storage.leaf import UP, open_link
from ringroad.storage.streams import ACK_WAIT_S, StreamMessage

LOG = structlog.get_logger(__name__)

LOOK_S: Final = 0.3  # seconds between two looks for events that the hub does not have
ANSWER_S_MAX: Final = 5.0  # seconds the hub's broker has to say that it has a message
RETRY_S: Final = 1.0  # seconds before a hub that did not answer is told again


async def run_hub(
    nats_url: str,
    conn_opener: Opener,
    stop: asyncio.Event,
    *,
    clock: Clock,
    ids: Ids,
    ack_wait_s: float = ACK_WAIT_S,
) -> None:
    """At a hub: take what sites tell until `stop` is set; a message is acknowledged after its transaction."""

    def take(conn: Connection, messages: Sequence[StreamMessage]) -> None:
        for message in messages:
            with transaction(conn):
                take_told(conn, ids, clock, message)

    def put_aside(conn: Connection, message: StreamMessage, reason: str) -> None:
        refuse_message(conn, message, reason, programme_id=site_of(message.subject), code="broken")

    await land(nats_url, conn_opener, stop, place=UP, take=take, put_aside=put_aside, ack_wait_s=ack_wait_s)


async def run_site(
    nats_url: str, site: str, conn_opener: Opener, stop: asyncio.Event, *, clock: Clock
) -> None:
    """At a site: tell the hub what it does not have, and that the site is there, until `stop` is set.

    Raises:
        Unavailable: the database does not answer.
    """
    with closing(conn_opener()) as conn:
        with transaction(conn):
            joined(conn, now=clock.now())
        cut_off = False
        while not stop.is_set():
            try:
                await _tell(nats_url, site, conn, stop, clock)
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                if not cut_off:
                    LOG.warning("cut off from the hub; the line goes on", site=site, error=repr(error))
                cut_off = True
                await _pause(stop, RETRY_S)
            else:
                cut_off = False


async def _tell(nats_url: str, site: str, conn: Connection, stop: asyncio.Event, clock: Clock) -> None:
    client = await open_link(nats_url, site)
    try:
        js = client.jetstream()
        next_sign_s = 0.0
        while not stop.is_set():
            told = await asyncio.to_thread(next_to_tell, conn, now=clock.now())
            if not told.events and clock.monotonic_s() < next_sign_s:
                await _pause(stop, LOOK_S)
                continue
            await js.publish(
                up_subject(site), msgspec.json.encode(told), timeout=ANSWER_S_MAX, headers=_known_as(told)
            )
            await asyncio.to_thread(_note, conn, told, clock)
            next_sign_s = clock.monotonic_s() + HEARD_S
    finally:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await client.close()


def _known_as(told: Up) -> dict[str, str] | None:
    """Return by what the hub's broker knows a message that it has already."""
    if not told.events:
        return None
    return {"Nats-Msg-Id": f"{told.programme_id}/{told.events[0].position}-{told.events[-1].position}"}


def _note(conn: Connection, told: Up, clock: Clock) -> None:
    with transaction(conn):
        has_told(conn, told, now=clock.now())


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
