"""A vehicle's telemetry over real MQTT into the real stream: through restarts and cut connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import nats
import pytest

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import Sample, TelemetryBatch
from ringroad.storage.broker import KEEPER, MQTT_STREAM, STREAM, Broker
from ringroad.storage.db import connect
from ringroad.storage.nats_auth import lookup_in, serve_logins
from ringroad.vehicle.collector import Broker as Address
from ringroad.vehicle.collector import Collector, TelemetryQueue

pytestmark = pytest.mark.engines

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOKEN = "token-of-a-collector"
VINS = ["RRTELE00000000001", "RRTELE00000000002", "RRTELE00000000003"]


@pytest.fixture
def logins(broker: Broker, pg_url: str) -> Iterator[None]:
    """Vehicles in the database, and the answering service on a thread of its own."""
    with connect(pg_url) as conn:
        conn.execute("INSERT INTO programme VALUES ('p', 'd', '', '{}', 1, now())")
        for vin in VINS:
            conn.execute(
                "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
                " VALUES (%s, 'p', 'v', 'native', %s, 's', now())",
                (vin, hashlib.sha256(TOKEN.encode()).digest()),
            )
    loop, stop, ready = asyncio.new_event_loop(), asyncio.Event(), threading.Event()
    with lookup_in(lambda: connect(pg_url)) as lookup:
        service = serve_logins(
            broker.url(), key=broker.login_key(), lookup=lookup, clock=SystemClock(), ids=SystemIds(),
            stop=stop, ready=ready.set,
        )  # fmt: skip
        thread = threading.Thread(target=loop.run_until_complete, args=(service,))
        thread.start()
        assert ready.wait(60)
        yield
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    loop.close()


def fill(folder: Path, vin: str, count: int) -> None:
    """Collect offline, in one life of the process."""
    queue = TelemetryQueue(folder, durability="fsync")
    collector = Collector(vin=parse_vin(vin), queue=queue, clock=SystemClock(), fraction=lambda: 0.1)
    for number in range(count):
        collector.collect(
            [Sample(at=NOW, path="Vehicle.Speed", value=number)], [], software={"a": "1"}, release=""
        )


async def drain(folder: Path, vin: str, port: int, *, seconds: float = 120) -> int:
    """Be online until nothing waits any more; return how often the server woke us."""
    queue = TelemetryQueue(folder, durability="fsync")
    collector = Collector(vin=parse_vin(vin), queue=queue, clock=SystemClock(), fraction=lambda: 0.1)
    woken: list[None] = []
    task = asyncio.create_task(
        collector.run(Address(host="127.0.0.1", port=port, token=TOKEN), wake=lambda: woken.append(None))
    )
    async with asyncio.timeout(seconds):
        while len(queue):
            await asyncio.sleep(0.02)
            assert not task.done(), task.exception()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return len(woken)


async def arrived(broker: Broker, vin: str) -> list[TelemetryBatch]:
    """Return what the stream has of a vehicle: what was acknowledged is in it."""
    subject = f"ringroad.v1.{vin}.telemetry"
    connection = await nats.connect(broker.url())
    found = []
    try:
        info = await connection.jetstream().stream_info(STREAM, subjects_filter=subject)
        subscription = await connection.jetstream().subscribe(subject)
        for _ in range((info.state.subjects or {}).get(subject, 0)):
            message = await subscription.next_msg(timeout=60)
            found.append(msgspec.json.decode(message.data, type=TelemetryBatch))
    finally:
        await connection.close()
    return found


def test_what_was_collected_offline_in_two_lives_arrives_once(
    broker: Broker, logins: None, tmp_path: Path
) -> None:
    vin = VINS[0]
    fill(tmp_path, vin, 3)
    fill(tmp_path, vin, 2)
    asyncio.run(drain(tmp_path, vin, broker.mqtt_port))
    fill(tmp_path, vin, 1)
    asyncio.run(drain(tmp_path, vin, broker.mqtt_port))
    batches = asyncio.run(arrived(broker, vin))
    assert [batch.batch for batch in batches] == [1, 2, 3, 4, 5, 6]
    assert [batch.samples[0].value for batch in batches] == [0, 1, 2, 0, 1, 0]


def test_a_connection_cut_before_the_acknowledgement_repeats_a_batch_but_never_loses_one(
    broker: Broker, logins: None, tmp_path: Path
) -> None:
    vin = VINS[1]
    fill(tmp_path, vin, 8)
    cuts = [14, 12, 18]  # bytes from the broker after which each connection breaks; then one that holds

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = await asyncio.open_connection("127.0.0.1", broker.mqtt_port)
        left = cuts.pop(0) if cuts else 1 << 30

        async def forward(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(4096):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        async def back() -> None:
            nonlocal left
            with contextlib.suppress(ConnectionError):
                while left > 0 and (data := await up.read(4)):
                    left -= len(data)
                    writer.write(data)
                    await writer.drain()
            writer.close()
            down.close()

        await asyncio.gather(forward(reader, down), back())

    async def run() -> list[TelemetryBatch]:
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        async with server:
            await drain(tmp_path, vin, server.sockets[0].getsockname()[1], seconds=120)
        return await arrived(broker, vin)

    batches = asyncio.run(run())
    assert cuts == []
    first_time = list({batch.batch: batch for batch in batches}.values())
    assert [batch.batch for batch in first_time] == list(range(1, 9))
    for batch in batches:
        assert batch == next(one for one in first_time if one.batch == batch.batch)


class Unasked:
    """A link over which nothing comes."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()

    def connected(self) -> None:
        """Tell nothing."""

    def take(self, payload: bytes) -> None:
        """Take nothing."""


def test_a_vehicle_that_listens_has_no_consumer_of_its_own_in_the_broker(
    broker: Broker, logins: None, tmp_path: Path
) -> None:
    """Each would be made and ended with every connection; NATS stalls for minutes when 200 vehicles come back."""

    async def run() -> int:
        queue = TelemetryQueue(tmp_path, durability="fsync")
        collector = Collector(vin=parse_vin(VINS[0]), queue=queue, clock=SystemClock(), fraction=lambda: 0.1)
        listens = asyncio.Event()
        address = Address(host="127.0.0.1", port=broker.mqtt_port, token=TOKEN)
        task = asyncio.create_task(collector.run(address, wake=listens.set, link=Unasked()))
        await asyncio.wait_for(listens.wait(), 60)
        assert collector.online
        connection = await nats.connect(broker.url())
        consumers = await connection.jetstream().consumers_info(MQTT_STREAM)
        await connection.close()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return len([consumer for consumer in consumers if consumer.name != KEEPER])

    assert asyncio.run(run()) == 0


def test_a_wrong_token_keeps_everything(broker: Broker, logins: None, tmp_path: Path) -> None:
    fill(tmp_path, VINS[2], 2)

    async def run() -> int:
        queue = TelemetryQueue(tmp_path, durability="fsync")
        collector = Collector(vin=parse_vin(VINS[2]), queue=queue, clock=SystemClock(), fraction=lambda: 0.1)
        address = Address(host="127.0.0.1", port=broker.mqtt_port, token="wrong")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.5):
                await collector.run(address, wake=lambda: None)
        return len(queue)

    assert asyncio.run(run()) == 2


def test_a_collector_that_is_ended_while_it_fails_ends(broker: Broker, logins: None, tmp_path: Path) -> None:
    """Its task group fails by a batch that vanished; the cancel comes so many turns of the loop later."""

    async def end_after(turns: int) -> bool:
        folder = tmp_path / str(turns)
        fill(folder, VINS[1], 1)
        queue = TelemetryQueue(folder, durability="fsync")
        for batch in folder.glob("0*"):
            batch.unlink()
        collector = Collector(vin=parse_vin(VINS[1]), queue=queue, clock=SystemClock(), fraction=lambda: 0.1)
        loop = asyncio.get_running_loop()

        def later(left: int) -> None:
            if left:
                loop.call_soon(later, left - 1)
            else:
                task.cancel()

        address = Address(host="127.0.0.1", port=broker.mqtt_port, token=TOKEN)
        task = asyncio.create_task(collector.run(address, wake=lambda: later(turns)))
        ended, _ = await asyncio.wait({task}, timeout=60)
        task.cancel()
        return bool(ended) and task.cancelled()

    assert [turns for turns in range(8) if not asyncio.run(end_after(turns))] == []
