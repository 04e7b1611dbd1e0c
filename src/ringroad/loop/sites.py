"""Between a site and its hub: what a site's line took goes up, once and in its order, whenever the hub can be reached.

The site's database is its outbox: the events of a line are numbered without gaps, and stay until the hub has them.
One message is on its way at a time; what was on its way when a process was killed goes again, and is known.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import Final

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from ringroad.build.site.down import has_been_told, newest_fact, parts_to_tell, take_down
from ringroad.build.site.store import (
    HEARD_S,
    HUB_TELLS,
    has_told,
    joined,
    list_sites,
    look_for_news,
    next_to_tell,
    note_format,
    pass_time,
    tell_all,
)
from ringroad.build.site.store_sums import has_told_sums, with_sums
from ringroad.build.site.store_up import put_aside, take_told
from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, InvalidInput, RingroadError, Unavailable
from ringroad.loop.landing import land
from ringroad.protocol.site import DOWN_FORMAT, Down, Up, down_subject, format_of, up_subject
from ringroad.storage.broker import open_connection
from ringroad.storage.db import Connection, Opener, one_snapshot, transaction
from ringroad.storage.leaf import UP, ensure_down, fetch_down, open_link
from ringroad.storage.streams import ACK_WAIT_S, StreamMessage

LOG = structlog.get_logger(__name__)

TELL_S: Final = 1.0  # seconds between two looks of a hub for what its sites are to know
TELL_AGAIN_S: Final = (
    30.0  # seconds after which it looks though no fact is newer: a slow one may stand before it
)
HEAR_S: Final = 2.0  # seconds a site waits for its hub's next message before it asks again
LOOK_S: Final = 0.3  # seconds between two looks for events that the hub does not have
ANSWER_S_MAX: Final = 5.0  # seconds the hub's broker has to say that it has a message
HEARD_TIMES_MAX: Final = 10  # deliveries of a message that cannot be here now, before it is let go
HEAR_AGAIN_S: Final = 2.0  # seconds between them
SEEN_S: Final = 20.0  # seconds between two notes of the time: so much of it is lost where power is
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

    def aside(conn: Connection, message: StreamMessage, reason: str) -> None:
        put_aside(conn, ids, clock, message, reason)

    await land(nats_url, conn_opener, stop, place=UP, take=take, put_aside=aside, ack_wait_s=ack_wait_s)


async def run_telling(nats_url: str, conn_opener: Opener, stop: asyncio.Event, *, clock: Clock) -> None:
    """At a hub: keep for each site what it is to know, until `stop` is set."""
    with closing(conn_opener()) as conn:
        while not stop.is_set():
            try:
                await _tell_sites(nats_url, conn, stop, clock)
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                LOG.warning("sites are not told", error=repr(error))
                await _pause(stop, RETRY_S)


async def _tell_sites(nats_url: str, conn: Connection, stop: asyncio.Event, clock: Clock) -> None:
    client = await open_connection(nats_url)
    try:
        seen, ready, again_s = -1, set[str](), 0.0
        while not stop.is_set():
            newest = await asyncio.to_thread(newest_fact, conn)
            if newest == seen and clock.monotonic_s() < again_s:
                await _pause(stop, TELL_S)
                continue
            again_s = clock.monotonic_s() + TELL_AGAIN_S
            sites = [each.id for each in await asyncio.to_thread(list_sites, conn)]
            if not ready.issuperset(sites):
                for site in await ensure_down(client, sites):
                    with transaction(conn):
                        tell_all(conn, site)
                ready.update(sites)
            for site in sites:
                for part, digest, said in await asyncio.to_thread(_parts, conn, site, clock):
                    payload = msgspec.json.encode(said)
                    await client.jetstream().publish(down_subject(site, part), payload, timeout=ANSWER_S_MAX)
                    with transaction(conn):
                        has_been_told(conn, site, part, digest, said, now=clock.now())
            seen = newest
            await _pause(stop, TELL_S)
    finally:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await client.close()


def _parts(conn: Connection, site: str, clock: Clock) -> list[tuple[str, str, Down]]:
    with transaction(conn):
        one_snapshot(conn)
        return list(parts_to_tell(conn, site, now=clock.now()))


async def run_hearing(
    nats_url: str, site: str, conn_opener: Opener, stop: asyncio.Event, *, clock: Clock, ids: Ids
) -> None:
    """At a site: do what the hub says until `stop` is set; a message is acknowledged after its transaction."""
    with closing(conn_opener()) as conn:
        while not stop.is_set():
            try:
                client = await open_link(nats_url, site)
                try:
                    await _hear(client, site, conn, stop, clock=clock, ids=ids)
                finally:
                    await client.close()
            except (NatsError, JetStreamError, OSError, TimeoutError, Unavailable):
                if conn.closed:
                    raise  # whoever keeps this going opens another connection
                await _pause(stop, RETRY_S)


async def _hear(
    client: Client, site: str, conn: Connection, stop: asyncio.Event, *, clock: Clock, ids: Ids
) -> None:
    while not stop.is_set():
        message = await fetch_down(client, site, wait_s=HEAR_S)
        if message is None:
            continue
        try:
            await asyncio.to_thread(take_message, conn, message.data, clock=clock, ids=ids)
        except RingroadError as error:
            if isinstance(error, Unavailable):
                raise
            LOG.warning("what the hub says cannot be here", error=error.message, detail=error.detail)
            if isinstance(error, Conflict) and message.metadata.num_delivered < HEARD_TIMES_MAX:
                await message.nak(delay=HEAR_AGAIN_S)  # it may be in a moment; none comes before it
                await client.flush()
                continue
        await message.ack()
        await client.flush()


def take_message(conn: Connection, payload: bytes, *, clock: Clock, ids: Ids) -> None:
    """Do what a message of the hub says; one in a newer format is noted, and waits at the hub.

    Raises:
        Unavailable: the hub is newer than this site.
        InvalidInput, Conflict, NotFound: it cannot be here; nothing was changed.
    """
    form = format_of(payload)
    with transaction(conn):
        note_format(conn, HUB_TELLS, form if form > DOWN_FORMAT else None, now=clock.now())
    if form > DOWN_FORMAT:
        raise Unavailable(f"the hub speaks format {form}", hint="bring this site up to date")
    try:
        said = msgspec.json.decode(payload, type=Down)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput("the hub's message cannot be read", detail=str(error)) from error
    with transaction(conn):
        taken = take_down(conn, ids, clock, said)
    LOG.info("heard from the hub", programme_id=said.programme_id, taken=taken)


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
        cut_off, time = False, _Time(clock)
        while not stop.is_set():
            try:
                await _tell(nats_url, site, conn, stop, time)
            except (NatsError, JetStreamError, OSError, TimeoutError) as error:
                if not cut_off:
                    LOG.warning("cut off from the hub; the line goes on", site=site, error=repr(error))
                cut_off = True
                await time.note(conn)
                await _pause(stop, RETRY_S)
            else:
                cut_off = False


class _Time:
    """What passed since a site noted the time, by a clock that nobody sets: cut off, nothing else bounds the other."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self._noted_s = clock, clock.monotonic_s()

    async def note(self, conn: Connection) -> None:
        """Note the time, if it was not lately."""
        passed_s = self.clock.monotonic_s() - self._noted_s
        if passed_s < SEEN_S:
            return
        await asyncio.to_thread(self._pass, conn, timedelta(seconds=passed_s))
        self._noted_s += passed_s

    def _pass(self, conn: Connection, passed: timedelta) -> None:
        with transaction(conn):
            pass_time(conn, now=self.clock.now(), passed=passed)


async def _tell(nats_url: str, site: str, conn: Connection, stop: asyncio.Event, time: _Time) -> None:
    clock = time.clock
    client = await open_link(nats_url, site)
    try:
        js = client.jetstream()
        next_sign_s, looked = 0.0, -1
        while not stop.is_set():
            await time.note(conn)
            newest, waits = await asyncio.to_thread(look_for_news, conn)
            if newest == looked and not waits and clock.monotonic_s() < next_sign_s:
                await _pause(stop, LOOK_S)
                continue
            told = await asyncio.to_thread(_next, conn, clock)
            has_more = bool(told.events or told.stops or told.birth)
            looked = -1 if has_more else newest
            if not has_more and clock.monotonic_s() < next_sign_s:
                await _pause(stop, LOOK_S)
                continue
            told = await asyncio.to_thread(_with_sums, conn, site, told, clock)
            # Without a message id: by that the hub's broker would take another site's message for this one.
            await js.publish(up_subject(site), msgspec.json.encode(told), timeout=ANSWER_S_MAX)
            await asyncio.to_thread(_note, conn, told, clock)
            next_sign_s = clock.monotonic_s() + HEARD_S
    finally:
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await client.close()


def _next(conn: Connection, clock: Clock) -> Up:
    with transaction(conn):
        one_snapshot(conn)
        return next_to_tell(conn, now=clock.now())


def _with_sums(conn: Connection, site: str, told: Up, clock: Clock) -> Up:
    with transaction(conn):
        return with_sums(conn, site, told, now=clock.now())


def _note(conn: Connection, told: Up, clock: Clock) -> None:
    with transaction(conn):
        has_told(conn, told, now=clock.now())
        if told.sums is not None:
            has_told_sums(conn, told.sums, now=clock.now())


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
