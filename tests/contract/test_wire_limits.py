"""Requests that never become one, against the real HTTP server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import httpx
import pytest
import uvicorn

from ringroad.http.wire_limits import BoundedProtocol


class Impatient(BoundedProtocol):
    """The same with less patience."""

    head_s_max = 2.0  # a busy machine may be a second late with a good one


async def answer(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving(http: type[BoundedProtocol]) -> Iterator[int]:
    config = uvicorn.Config(answer, port=0, lifespan="off", log_level="error", http=http)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline_s = monotonic() + 20
    while not server.started and monotonic() < deadline_s:
        sleep(0.02)
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(60)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(Impatient) as number:
        yield number


@pytest.fixture(scope="module")
def patient_port() -> Iterator[int]:
    with serving(BoundedProtocol) as number:
        yield number


def closed_within(line: socket.socket, seconds: float) -> bool:
    line.settimeout(seconds)
    try:
        while line.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("part", [b"X-A: 1\r\n", b"a" * 1_000], ids=["many headers", "one long header"])
def test_a_head_without_end_is_cut_off(patient_port: int, part: bytes) -> None:
    """By its size: this server would wait for it much longer than the test takes."""
    with socket.create_connection(("127.0.0.1", patient_port), timeout=30) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            endlessly(line, part)


def endlessly(line: socket.socket, part: bytes) -> None:
    block = part * (64_000 // len(part))
    for _ in range(1_000):  # 64 MB: more than the buffers of both ends hold
        line.sendall(block)


@pytest.mark.parametrize("begin", [b"", b"GET / HT"], ids=["silent", "half a line"])
def test_a_head_that_dawdles_is_cut_off(port: int, begin: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(begin)
        assert closed_within(line, 30)


def test_a_second_head_that_dawdles_is_cut_off_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line.recv(1_000).startswith(b"HTTP/1.1 200")
        line.sendall(b"GET / HTTP")
        assert closed_within(line, 30)


def test_large_slow_bodies_and_kept_connections_are_fine(port: int) -> None:
    def body() -> Iterator[bytes]:
        for _ in range(4):
            sleep(0.6)
            yield b"x" * 100_000

    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        for _ in range(3):
            assert client.get("/").text == "ok"
        assert client.post("/", content=body()).text == "ok"
        assert client.post("/", content=b"y" * 500_000).text == "ok"
        sleep(2.4)  # idle between requests is not a slow head
        assert client.get("/").text == "ok"
