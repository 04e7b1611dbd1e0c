"""When a kept connection is given up, on a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from ringroad.http.device.wire import Answer, Request
from ringroad.http.express import ExpressProtocol
from ringroad.http.serving import KEEP_ALIVE_S, UVICORN
from ringroad.http.wire_limits import HEAD_S_MAX

POLL = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Turned:
    """The little of an event loop that a connection needs: time, and calls at a later time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[tuple[float, Callable[[], None], Turned.Handle]] = []

    class Handle:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    def time(self) -> float:
        return self.now_s

    def call_later(self, seconds: float, call: Callable[[], None]) -> Turned.Handle:
        handle = Turned.Handle()
        self.calls.append((self.now_s + seconds, call, handle))
        return handle

    def turn(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while due := [each for each in self.calls if each[0] <= end_s]:
            first = min(due, key=lambda each: each[0])
            self.calls.remove(first)
            self.now_s = first[0]
            if not first[2].cancelled:
                first[1]()
        self.now_s = end_s


class Line(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.sent = b""

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class App:
    express_paths = (b"/",)

    def __init__(self) -> None:
        self.replies: list[Callable[[Answer], None]] = []

    def express(self, request: Request, reply: Callable[[Answer], None]) -> bool:
        self.replies.append(reply)
        return True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError


@pytest.fixture
def loop() -> Turned:
    return Turned()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def protocol(loop: Turned, line: Line, app: App) -> ExpressProtocol:
    config = uvicorn.Config(app, lifespan="off", **UVICORN)
    made = ExpressProtocol(config=config, server_state=ServerState(), app_state={}, _loop=loop)
    made.connection_made(line)
    return made


def answer(app: App) -> None:
    app.replies.pop()(Answer(200, b""))


def test_a_connection_is_given_up_when_it_was_idle_for_the_whole_time(
    protocol: ExpressProtocol, loop: Turned, line: Line, app: App
) -> None:
    for _ in range(5):
        protocol.data_received(POLL)
        answer(app)
        loop.turn(KEEP_ALIVE_S - 1)
        assert not line.closed
    assert len(loop.calls) <= 3  # one timer a connection, not one a request
    loop.turn(1)
    assert line.closed


def test_a_request_that_waits_for_its_answer_is_not_idle(
    protocol: ExpressProtocol, loop: Turned, line: Line, app: App
) -> None:
    protocol.data_received(POLL)
    answer(app)
    protocol.data_received(POLL)
    loop.turn(10 * KEEP_ALIVE_S)
    assert not line.closed
    answer(app)
    assert line.sent.count(b"HTTP/1.1 200") == 2
    loop.turn(2 * KEEP_ALIVE_S)
    assert line.closed


def test_a_head_that_dawdles_has_its_own_time(
    protocol: ExpressProtocol, loop: Turned, line: Line, app: App
) -> None:
    protocol.data_received(POLL)
    answer(app)
    loop.turn(KEEP_ALIVE_S - 1)
    protocol.data_received(POLL[:10])
    loop.turn(HEAD_S_MAX - 1)
    assert not line.closed
    loop.turn(1)
    assert line.closed


def test_a_connection_that_is_lost_leaves_no_timer(
    protocol: ExpressProtocol, loop: Turned, line: Line, app: App
) -> None:
    protocol.data_received(POLL)
    answer(app)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    protocol.connection_lost(None)
    assert all(handle.cancelled for _, _, handle in loop.calls)
