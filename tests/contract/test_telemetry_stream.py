"""What becomes of telemetry that cannot be read, and of telemetry that breaks the reader, on the real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nats
import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.signal.ingest import IngestLimits
from ringroad.signal.store import RAW_BYTES_MAX, give_up, land, list_quarantine
from ringroad.storage.broker import STREAM
from ringroad.storage.db import Connection, connect
from ringroad.storage.lake import Lake
from ringroad.storage.streams import (
    CONSUMER,
    DELIVERIES_MAX,
    GiveUp,
    Handler,
    StreamMessage,
    consume,
)
from support.telemetry import waiting_messages

pytestmark = pytest.mark.engines

SUBJECT = "ringroad.v1.RRTEST00000000001.telemetry"
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


def read_all(
    url: str,
    payloads: Sequence[bytes],
    handle: Handler,
    put_aside: GiveUp,
    *,
    deliveries_max: int = DELIVERIES_MAX,
) -> None:
    """Publish to an empty stream, and read until nothing waits."""

    async def scenario() -> None:
        client = await nats.connect(url)
        js = client.jetstream()
        with suppress(nats.js.errors.NotFoundError):
            await js.delete_consumer(STREAM, CONSUMER)
        await js.purge_stream(STREAM)
        for payload in payloads:
            await js.publish(SUBJECT, payload)
        stop = asyncio.Event()
        worker = asyncio.create_task(
            consume(url, handle, stop, give_up=put_aside, deliveries_max=deliveries_max)
        )
        async with asyncio.timeout(60):
            while await waiting_messages(url):  # noqa: ASYNC110 - another process decides
                await asyncio.sleep(0.1)
        stop.set()
        await worker
        await client.close()

    asyncio.run(scenario())


def test_a_message_that_breaks_the_reader_is_given_up_and_holds_up_nobody(nats_url: str) -> None:
    passed: list[bytes] = []
    alone: list[list[bytes]] = []  # what had passed whenever it was tried alone
    given_up: list[tuple[bytes, str]] = []

    def handle(messages: Sequence[StreamMessage]) -> None:
        payloads = [message.payload for message in messages]
        if b"poison" in payloads:
            if len(payloads) == 1:
                alone.append(list(passed))
            raise ValueError("cannot be borne")
        passed.extend(payloads)

    def put_aside(message: StreamMessage, error: Exception) -> None:
        given_up.append((message.payload, str(error)))

    good = [f"{number}".encode() for number in range(20)]
    read_all(nats_url, [*good[:3], b"poison", *good[3:]], handle, put_aside)
    assert given_up == [(b"poison", "cannot be borne")]
    assert sorted(passed) == sorted(good)
    assert len(alone) == DELIVERIES_MAX
    assert sorted(alone[-1]) == sorted(good)  # those behind it did not wait


def test_a_reader_that_cannot_work_for_now_gives_nothing_up(nats_url: str) -> None:
    passed: list[bytes] = []
    given_up: list[bytes] = []
    calls = 0

    def handle(messages: Sequence[StreamMessage]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise Unavailable("the record is away")
        passed.extend(message.payload for message in messages)

    read_all(
        nats_url, [b"a", b"b"], handle, lambda message, _: given_up.append(message.payload), deliveries_max=1
    )
    assert sorted(passed) == [b"a", b"b"]
    assert given_up == []


def test_when_every_message_breaks_the_reader_it_is_the_reader_that_is_broken(nats_url: str) -> None:
    passed: list[bytes] = []
    given_up: list[bytes] = []
    calls = 0

    def handle(messages: Sequence[StreamMessage]) -> None:
        nonlocal calls
        calls += 1
        if calls <= 39:  # as many as take 20 messages apart
            raise ValueError("a fault of ours")
        passed.extend(message.payload for message in messages)

    sent = [f"{number}".encode() for number in range(20)]
    read_all(nats_url, sent, handle, lambda message, _: given_up.append(message.payload), deliveries_max=1)
    assert sorted(passed) == sorted(sent)
    assert given_up == []


def message(payload: bytes, *, seq: int = 1, at: datetime = NOW) -> StreamMessage:
    return StreamMessage(subject=SUBJECT, payload=payload, seq=seq, received_at=at)


def test_a_stream_that_began_anew_takes_no_ones_place_in_quarantine(conn: Connection, tmp_path: Path) -> None:
    first, later = message(b"torn"), message(b"worn", at=NOW + timedelta(days=1))
    for delivery in (first, first, later):
        land(conn, Lake(tmp_path), [delivery], limits=IngestLimits())
    assert [row.raw for row in list_quarantine(conn)] == [b"worn", b"torn"]


def test_what_is_given_up_is_kept_whole_with_the_reason(conn: Connection) -> None:
    payload = b"x" * (RAW_BYTES_MAX + 1)
    for _ in range(2):  # the acknowledgement may be lost
        give_up(conn, message(payload), ValueError("no\0good"))
    (row,) = list_quarantine(conn, source="telemetry")
    assert row.raw == payload
    assert row.reason == "handler: ValueError: no\\0good"
    assert row.received_at == NOW
