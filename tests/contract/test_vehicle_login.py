"""Vehicles over real MQTT: who comes in, and what they may do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator

import aiomqtt
import nats
import pytest

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.storage.broker import STREAM, Broker
from ringroad.storage.db import connect
from ringroad.storage.nats_auth import lookup_in, serve_logins

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
        assert ready.wait(10)
        yield
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)
    assert not thread.is_alive()
    loop.close()


def client(
    broker: Broker, *, user: str = VIN, password: str = TOKEN, client_id: str | None = None
) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1", broker.mqtt_port, username=user, password=password, identifier=client_id, timeout=5
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
    for _ in range(100):
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
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
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
