"""Vehicles over real MQTT: who comes in, and what they may do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import nats
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.storage.broker import STREAM, Broker, ensure_stream
from ringroad.storage.db import connect
from ringroad.storage.nats_auth import keep_serving_logins, lookup_in, serve_logins
from support.ports import free_port

pytestmark = pytest.mark.engines

VIN = "RRTEST00000000001"
OTHER = "RRTEST00000000002"
TOKEN = "token-of-the-first"
OTHER_TOKEN = "token-of-the-second"


@pytest.fixture
def logins(broker: Broker, pg_url: str) -> Iterator[None]:
    """Two vehicles in the database, and our answering service on a thread of its own."""
    with connect(pg_url) as conn:
        conn.execute("INSERT INTO programme VALUES ('p', 'd', '', '{}', 1, now())")
        for vin, token in ((VIN, TOKEN), (OTHER, OTHER_TOKEN)):
            conn.execute(
                "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
                " VALUES (%s, 'p', 'v', 'native', %s, 's', now())",
                (vin, hashlib.sha256(token.encode()).digest()),
            )
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()
    with lookup_in(lambda: connect(pg_url)) as lookup:
        service = serve_logins(
            broker.url(),
            key=broker.login_key(),
            lookup=lookup,
            clock=SystemClock(),
            ids=SystemIds(),
            stop=stop,
            ready=ready.set,
        )
        thread = threading.Thread(target=loop.run_until_complete, args=(service,))
        thread.start()
        assert ready.wait(60)
        yield
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    assert not thread.is_alive()
    loop.close()


def client(
    broker: Broker, *, user: str = VIN, password: str = TOKEN, client_id: str | None = None
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", broker.mqtt_port, username=user, password=password, identifier=client_id, timeout=30
    )


async def stored(broker: Broker, subject: str) -> int:
    """How many messages the telemetry stream has on a subject."""
    connection = await nats.connect(broker.url())
    try:
        info = await connection.jetstream().stream_info(STREAM, subjects_filter=subject)
        return sum((info.state.subjects or {}).values())
    finally:
        await connection.close()


async def settles(broker: Broker, subject: str, count: int) -> bool:
    for _ in range(1_000):
        if await stored(broker, subject) == count:
            return True
        await asyncio.sleep(0.02)
    return False


def test_a_vehicle_with_its_token_publishes_its_telemetry(broker: Broker, logins: None) -> None:
    async def run() -> None:
        before = await stored(broker, f"ringroad.v1.{VIN}.telemetry")
        async with client(broker, client_id=VIN) as vehicle:
            await vehicle.publish(f"ringroad/v1/{VIN}/telemetry", b"{}", qos=1)
        assert await settles(broker, f"ringroad.v1.{VIN}.telemetry", before + 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (VIN, "wrong"),
        (VIN, ""),
        (VIN, OTHER_TOKEN),
        ("RRTEST00000000009", TOKEN),  # nobody
        ("server", TOKEN),
        ("", ""),
        ("*", TOKEN),
    ],
)
def test_everybody_else_is_refused(broker: Broker, logins: None, user: str, password: str) -> None:
    async def run() -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, user=user, password=password):
                pass

    asyncio.run(run())


def test_a_vehicle_cannot_take_over_the_session_of_another(broker: Broker, logins: None) -> None:
    async def run() -> None:
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, client_id=OTHER):
                pass

    asyncio.run(run())


def test_the_topic_of_another_vehicle_is_closed(broker: Broker, logins: None) -> None:
    async def run() -> None:
        for topic in (
            f"ringroad/v1/{OTHER}/telemetry",
            "ringroad/v1/x/telemetry",
            f"ringroad/v1/{OTHER}/wake",
        ):
            try:
                async with client(broker) as vehicle:
                    await vehicle.publish(topic, b"{}", qos=1)
            except aiomqtt.MqttError:
                pass  # cut off, or acknowledged and dropped: either way nothing may arrive
        await asyncio.sleep(0.2)
        assert await stored(broker, f"ringroad.v1.{OTHER}.telemetry") == 0
        assert await stored(broker, "ringroad.v1.x.telemetry") == 0

    asyncio.run(run())


def test_a_vehicle_is_woken_and_hears_nobody_else(broker: Broker, logins: None) -> None:
    async def run() -> list[str]:
        connection = await nats.connect(broker.url())
        heard: list[str] = []
        async with client(broker) as vehicle:
            await vehicle.subscribe(f"ringroad/v1/{VIN}/wake", qos=1)
            for topic in (f"ringroad/v1/{OTHER}/wake", "ringroad/v1/+/wake", "#", "$MQTT/sub/#", "$SYS/#"):
                try:
                    codes = await vehicle.subscribe(topic, qos=0)
                except aiomqtt.MqttError:
                    continue
                assert [getattr(code, "value", code) for code in codes] == [0x80], topic
            await connection.publish(f"ringroad.v1.{OTHER}.wake", b"")
            await connection.publish(f"ringroad.v1.{VIN}.wake", b"")
            await connection.flush()
            async with asyncio.timeout(60):  # what was sent before it would have come before it
                heard.append(str((await anext(aiter(vehicle.messages))).topic))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    async for message in vehicle.messages:
                        heard.append(str(message.topic))  # noqa: PERF401 - ended by the timeout
        await connection.close()
        return heard

    assert asyncio.run(run()) == [f"ringroad/v1/{VIN}/wake"]


def test_a_vehicle_cannot_use_the_port_of_our_own_processes(broker: Broker, logins: None) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as wire:
        options = json.dumps({"user": VIN, "pass": TOKEN, "verbose": False, "pedantic": False})
        wire.sendall(f"CONNECT {options}\r\nPING\r\n".encode())
        heard = b""
        while block := wire.recv(4096):
            heard += block
    assert b"Authorization Violation" in heard
    assert b"PONG" not in heard


def test_nobody_comes_in_while_nobody_answers(broker: Broker) -> None:
    async def run() -> None:
        with pytest.raises((aiomqtt.MqttError, TimeoutError)):
            async with client(broker):
                pass

    asyncio.run(run())


class Stumbling(SystemIds):
    """Ids that cannot be made once."""

    stumbled = False

    def new(self, kind: str) -> str:
        if not self.stumbled:
            self.stumbled = True
            raise ValueError("no id")
        return super().new(kind)


def test_one_login_that_breaks_the_door_does_not_close_it_to_the_next(broker: Broker) -> None:
    ids = Stumbling()
    tokens = {VIN: hashlib.sha256(TOKEN.encode()).digest()}

    async def run() -> None:
        stop = asyncio.Event()
        door = asyncio.create_task(
            keep_serving_logins(
                broker.url(), key=broker.login_key(), lookup=lambda _vins: tokens, clock=SystemClock(), ids=ids,
                stop=stop,
            )
        )  # fmt: skip
        async with asyncio.timeout(120):
            while True:
                with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                    async with client(broker):
                        break
        stop.set()
        await door

    asyncio.run(run())
    assert ids.stumbled


def test_an_acknowledged_message_outlives_a_kill(tmp_path: Path) -> None:
    """Pipelined QoS 1, `kill -9` right after the last acknowledgement: every message is in the stream."""
    count = 300
    key_of = {VIN: hashlib.sha256(TOKEN.encode()).digest()}
    server = Broker(home=tmp_path / "nats", clock=SystemClock(), port=free_port(), mqtt_port=free_port())
    server.start()
    asyncio.run(ensure_stream(server.url(), bytes_max=2**26))

    async def run() -> None:
        stop, ready = asyncio.Event(), asyncio.Event()
        service = serve_logins(
            server.url(),
            key=server.login_key(),
            lookup=lambda _vins: key_of,
            clock=SystemClock(),
            ids=SystemIds(),
            stop=stop,
            ready=ready.set,
        )
        answering = asyncio.create_task(service)
        await ready.wait()
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        acknowledged: set[int] = set()
        vehicle = paho.Client(CallbackAPIVersion.VERSION2, client_id=VIN)
        vehicle.username_pw_set(VIN, TOKEN)
        vehicle.max_inflight_messages_set(100)

        def on_publish(_client: object, _data: object, number: int, *_rest: object) -> None:
            acknowledged.add(number)
            if len(acknowledged) == count:
                assert server.process is not None
                os.kill(server.process.pid, signal.SIGKILL)
                loop.call_soon_threadsafe(done.set_result, None)

        vehicle.on_publish = on_publish
        vehicle.connect("127.0.0.1", server.mqtt_port)
        vehicle.loop_start()
        for number in range(count):
            vehicle.publish(f"ringroad/v1/{VIN}/telemetry", str(number).encode(), qos=1)
        await asyncio.wait_for(done, 60)
        vehicle.loop_stop()
        stop.set()
        await answering

    asyncio.run(run())
    assert server.process is not None
    server.process.wait(60)
    server.start()
    try:
        assert asyncio.run(distinct(server)) == {str(number).encode() for number in range(count)}
    finally:
        server.stop()


async def distinct(server: Broker) -> set[bytes]:
    """The different messages in the telemetry stream."""
    connection = await nats.connect(server.url())
    try:
        context = connection.jetstream()
        held = (await context.stream_info(STREAM)).state
        return {
            (await context.get_msg(STREAM, seq)).data or b""
            for seq in range(held.first_seq, held.last_seq + 1)
        }
    finally:
        await connection.close()
