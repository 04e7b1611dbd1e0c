"""JetStream: streams of messages and the one durable consumer of each. Nothing about what the messages mean.

The MQTT topic ``ringroad/v1/<vin>/telemetry`` is the subject ``ringroad.v1.<vin>.telemetry`` here.
A stream keeps a message until its consumer has it and, when it is full, refuses new ones rather than forget old ones:
the vehicle, or the plant, then keeps its own copy. That of telemetry is made by `broker.ensure_stream`, that of a plant's
stations (`MES`) by whoever publishes or reads first.

Invariants:
    A message is acknowledged to the stream only after its handler returned, or after it was given up.
    A message that breaks the handler is given up after `DELIVERIES_MAX` deliveries and holds up no other; whatever the
        handler itself cannot do for now (`Unavailable`, `Corrupt`) is nobody's fault, and waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError, ServerError

from ringroad.kernel.errors import Corrupt, RingroadError, Unavailable
from ringroad.storage.broker import STREAM, SUBJECT, open_connection

CONSUMER = "lake"
MES_BYTES_MAX = 32 * 1024**2  # bytes on disk; 100,000 events that nobody has read yet
PUBLISHED_TOGETHER_MAX = 256  # messages on their way to the stream at once
MESSAGES_PER_PULL_MAX = 512
PULL_WAIT_S = 1.0  # seconds a pull waits for its first message
GATHER_WAIT_S = 0.1  # seconds more, to fill one file rather than many
ACK_WAIT_S = 30.0  # seconds; a worker that died gives its messages back after this
ACK_PENDING_MAX = 4 * MESSAGES_PER_PULL_MAX
DELIVERIES_MAX = 5  # deliveries after which a message that breaks the handler is given up
BROKEN_TOGETHER_MAX = (
    8  # messages; when more break it in one pull and none passes, it is the handler that is broken
)
BROKEN_RETRY_S = 1.0  # seconds before such a message is delivered again
RETRY_S_FIRST = 0.5
RETRY_S_MAX = 15.0

LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMessage:
    """One stored message; `seq` and `received_at` are the same at every delivery."""

    subject: str
    payload: bytes
    seq: int
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A stream, and who reads it.

    Attributes:
        stream: its name.
        subject: of its messages.
        consumer: of whoever reads it.
        bytes_max: what it may take on disk, if it is made here; None: somebody else makes it.
        news: the newest messages stay for whoever reads, and the oldest go; else all stay until they were read.
    """

    stream: str
    subject: str
    consumer: str
    bytes_max: int | None = None
    news: bool = False


TELEMETRY = Place(stream=STREAM, subject=SUBJECT, consumer=CONSUMER)
MES = Place(stream="MES", subject="ringroad.mes.v1.*", consumer="line", bytes_max=MES_BYTES_MAX)
MILESTONES = Place(
    stream="MILESTONES", subject="ringroad.milestones.v1.*", consumer="legs", bytes_max=MES_BYTES_MAX
)

INSPECTIONS = Place(
    stream="INSPECTIONS", subject="ringroad.inspections.v1.*", consumer="", bytes_max=MES_BYTES_MAX, news=True
)

Handler = Callable[[Sequence[StreamMessage]], None]
GiveUp = Callable[[StreamMessage, Exception], None]


async def consume(
    nats_url: str,
    handle: Handler,
    stop: asyncio.Event,
    *,
    give_up: GiveUp,
    place: Place = TELEMETRY,
    ack_wait_s: float = ACK_WAIT_S,
    deliveries_max: int = DELIVERIES_MAX,
) -> None:
    """Pull messages in batches, hand each batch over in a thread, acknowledge it when that returned.

    Goes on through lost connections, restarts of the broker and handlers that cannot work for now:
    what was not acknowledged is delivered again.

    Args:
        nats_url: for example ``nats://server:secret@127.0.0.1:4222``.
        handle: makes a batch durable; raises `Unavailable` when it cannot for now.
        stop: set it to end after the batch in hand.
        give_up: makes a message that breaks the handler, and why, durable in another place.
        place: the stream and its consumer.
        ack_wait_s: after how long an unacknowledged message is delivered again.
        deliveries_max: after how many deliveries a message that breaks the handler is given up.
    """
    retry_s = RETRY_S_FIRST
    while not stop.is_set():
        try:
            client = await open_connection(nats_url)
            try:
                await _ensure_consumer(client.jetstream(), place, ack_wait_s=ack_wait_s)
                await _pull(client, handle, give_up, stop, place, deliveries_max=deliveries_max)
            finally:
                await client.close()
            retry_s = RETRY_S_FIRST
        except (NatsError, JetStreamError, OSError, TimeoutError, RingroadError) as error:
            detail = error.detail if isinstance(error, RingroadError) else ""
            LOG.warning(
                "stream waits", stream=place.stream, error=repr(error), detail=detail, retry_s=retry_s
            )
            await _pause(stop, retry_s)
            retry_s = min(RETRY_S_MAX, retry_s * 2)


async def ensure_consumer(nats_url: str) -> None:
    """Make the lake's place in the stream, so that a start says at once when it cannot be read.

    Raises:
        Corrupt: the broker cannot read it.
        Unavailable: the broker does not answer.
    """
    try:
        client = await open_connection(nats_url)
        try:
            await _ensure_consumer(client.jetstream(), TELEMETRY, ack_wait_s=ACK_WAIT_S)
        finally:
            await client.close()
    except ServerError as error:
        raise Corrupt(
            "NATS cannot read its place in the telemetry stream",
            hint=f"see its log; restore a backup, or remove its consumer {CONSUMER}: what the lake has counts once",
            code="data_corrupt",
            detail=repr(error),
        ) from error
    except (NatsError, JetStreamError, OSError, TimeoutError) as error:
        raise Unavailable(
            "the telemetry stream does not answer",
            hint="ringroad status shows the engines",
            detail=repr(error),
        ) from error


async def read_backlog(client: Client, *, within_s: float) -> tuple[int, int]:
    """Return how many messages of telemetry the lake has not taken yet, and up to which it took all of them.

    Raises:
        nats.errors.Error: the stream does not answer within so many seconds, or is not there.
    """
    js = client.jetstream(timeout=within_s)
    try:
        lake = await js.consumer_info(TELEMETRY.stream, TELEMETRY.consumer)
    except NotFoundError:  # no worker ever read it
        return (await js.stream_info(TELEMETRY.stream)).state.messages, 0
    waiting = (lake.num_pending or 0) + (lake.num_ack_pending or 0)
    return waiting, lake.ack_floor.stream_seq if lake.ack_floor else 0


async def _pull(
    client: Client,
    handle: Handler,
    give_up: GiveUp,
    stop: asyncio.Event,
    place: Place,
    *,
    deliveries_max: int,
) -> None:
    """Go on until `stop`, or until the connection is lost or the handler fails."""
    subscription = await client.jetstream().pull_subscribe_bind(consumer=place.consumer, stream=place.stream)
    while not stop.is_set():
        if not client.is_connected:
            raise Unavailable("the connection to NATS was lost")
        try:
            messages = await subscription.fetch(1, timeout=PULL_WAIT_S)
        except TimeoutError:  # the client raises its own, which is one, and the plain one under load
            continue
        with contextlib.suppress(TimeoutError):  # only one was there
            messages += await subscription.fetch(MESSAGES_PER_PULL_MAX - 1, timeout=GATHER_WAIT_S)
        messages.sort(key=lambda message: message.metadata.sequence.stream)
        try:
            broken = await _hand_over(messages, handle)
            if BROKEN_TOGETHER_MAX < len(broken) == len(messages):
                raise Unavailable(
                    f"no message of {place.stream} passes", detail=repr(broken[0][1])
                ) from broken[0][1]
            for message, error in broken:
                await _put_aside(message, error, give_up, deliveries_max)
        except RingroadError:
            for message in messages:
                if not message.is_acked:
                    await message.nak(delay=RETRY_S_FIRST)
            raise
        await client.flush()


async def _hand_over(messages: list[Msg], handle: Handler) -> list[tuple[Msg, Exception]]:
    """Hand messages over and acknowledge them; halve what breaks the handler until the culprits are alone.

    Returns:
        The culprits, each with what it broke.

    Raises:
        Unavailable, Corrupt: the handler cannot work for now, whatever the message.
    """
    try:
        await asyncio.to_thread(handle, [_stored(message) for message in messages])
    except (Unavailable, Corrupt):
        raise
    except Exception as error:  # noqa: BLE001 - any: a fault of ours must not hold up the messages behind
        if len(messages) == 1:
            return [(messages[0], error)]
        half = len(messages) // 2
        return await _hand_over(messages[:half], handle) + await _hand_over(messages[half:], handle)
    for message in messages:
        await message.ack()
    return []


async def _put_aside(message: Msg, error: Exception, give_up: GiveUp, deliveries_max: int) -> None:
    """Let a message that breaks the handler come again later, or give it up."""
    stored, deliveries = _stored(message), message.metadata.num_delivered
    LOG.warning("message breaks its handler", seq=stored.seq, deliveries=deliveries, error=repr(error))
    if deliveries < deliveries_max:
        await message.nak(delay=BROKEN_RETRY_S)
        return
    await asyncio.to_thread(give_up, stored, error)
    await message.ack()


async def publish(nats_url: str, messages: Sequence[tuple[str, bytes]], *, place: Place) -> None:
    """Put messages, each with its subject, into a stream, in their order; they are on its disk when this returns.

    Raises:
        Unavailable: the broker does not answer, or the stream is full; some of them may be in it.
    """
    try:
        client = await open_connection(nats_url)
        try:
            js = client.jetstream()
            await _ensure_stream(js, place)
            for first in range(0, len(messages), PUBLISHED_TOGETHER_MAX):
                some = messages[first : first + PUBLISHED_TOGETHER_MAX]
                await asyncio.gather(*(js.publish(subject, payload) for subject, payload in some))
        finally:
            await client.close()
    except (NatsError, JetStreamError, OSError, TimeoutError) as error:
        raise Unavailable(
            f"the stream {place.stream} takes nothing now",
            hint="send it again: what it took counts once; ringroad status shows the engines",
            detail=repr(error),
        ) from error


async def _ensure_stream(js: JetStreamContext, place: Place) -> None:
    if place.bytes_max is None:
        return
    try:
        await js.stream_info(place.stream)
    except NotFoundError:
        await js.add_stream(
            StreamConfig(
                name=place.stream,
                subjects=[place.subject],
                storage=StorageType.FILE,
                retention=RetentionPolicy.LIMITS if place.news else RetentionPolicy.WORK_QUEUE,
                max_bytes=place.bytes_max,
                discard=DiscardPolicy.OLD if place.news else DiscardPolicy.NEW,
            )
        )


async def _ensure_consumer(js: JetStreamContext, place: Place, *, ack_wait_s: float) -> None:
    await _ensure_stream(js, place)
    try:
        await js.consumer_info(place.stream, place.consumer)
    except NotFoundError:
        await js.add_consumer(
            place.stream,
            ConsumerConfig(
                durable_name=place.consumer,
                filter_subject=place.subject,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ack_wait_s,
                max_ack_pending=ACK_PENDING_MAX,
            ),
        )


def _stored(message: Msg) -> StreamMessage:
    meta = message.metadata
    return StreamMessage(
        subject=message.subject,
        payload=message.data,
        seq=meta.sequence.stream,
        received_at=meta.timestamp,
    )


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
