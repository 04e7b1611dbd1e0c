"""The express way beside ASGI, against the real HTTP server: who answers, in which order, and what ends it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from time import monotonic, sleep
from typing import Any

import pytest
import uvicorn
import uvloop

from ringroad.http.device.wire import Answer, Request
from ringroad.http.express import EXPRESS_BYTES_MAX
from ringroad.http.serving import UVICORN, has_express
from support.gateways import eventually


class App:
    """Says which way a request came, and what its body was."""

    express_paths = (b"/now", b"/later", b"/mistake", b"/left")

    def __init__(self) -> None:
        self.told: list[str] = []

    def express(self, request: Request, reply: Callable[[Answer], None]) -> bool:
        answer = Answer(200, b"express:" + bytes(request.body))
        match request.path:
            case "/now" | "/now?a=1":
                reply(answer)
            case "/later":
                asyncio.get_running_loop().call_later(0.2, self._reply, reply, answer)
            case "/mistake":
                raise RuntimeError(request.path)
            case _:
                return False
        return True

    def _reply(self, reply: Callable[[Answer], None], answer: Answer) -> None:
        reply(answer)
        reply(Answer(200, b"a second answer"))
        self.told.append(answer.body.decode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"asgi:", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture(scope="module")
def app() -> App:
    return App()


@pytest.fixture(scope="module")
def port(app: App) -> Iterator[int]:
    settings = {**UVICORN, "log_level": "critical"}
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", **settings))
    thread = threading.Thread(target=lambda: uvloop.run(server.serve()))
    thread.start()
    deadline_s = monotonic() + 20
    while not server.started and monotonic() < deadline_s:
        sleep(0.02)
    yield int(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join(60)


@pytest.mark.parametrize(("more", "express"), [({}, True), ({"proxy_headers": True}, False)])
def test_an_application_that_uvicorn_wraps_has_no_express_way_and_that_is_seen(
    more: Mapping[str, Any], *, express: bool
) -> None:
    assert has_express(uvicorn.Config(App(), **{**UVICORN, **more})) is express


def get(path: str, *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: x", *lines, "", ""]).encode()


def post(path: str, body: bytes, *lines: str) -> bytes:
    return (
        "\r\n".join([f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *lines, "", ""]).encode()
        + body
    )  # fmt: skip


def talk(port: int, *parts: bytes, answers: int = 1, pause_s: float = 0.0) -> list[str]:
    """Send parts; return status and body of so many answers, or of all when the server closes before."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        for part in parts:
            line.sendall(part)
            sleep(pause_s)
        received, said = b"", list[str]()
        while len(said) < answers and (chunk := line.recv(65_536)):
            received += chunk
            said = list(bodies(received))
    return said


def bodies(received: bytes) -> Iterator[str]:
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100"):
            received = rest
            continue
        (size,) = [int(row[15:]) for row in head.lower().split(b"\r\n") if row.startswith(b"content-length:")]
        if len(rest) < size:
            return
        yield f"{head[9:12].decode()} {rest[:size].decode()}"
        received = rest[size:]


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (get("/now"), "200 express:"),
        (post("/now", b"body"), "200 express:body"),
        (post("/now", b""), "200 express:"),
        (post("/later", b"x" * EXPRESS_BYTES_MAX), f"200 express:{'x' * EXPRESS_BYTES_MAX}"),
        (post("/now", b"x" * (EXPRESS_BYTES_MAX + 1)), f"200 asgi:{'x' * (EXPRESS_BYTES_MAX + 1)}"),
        (get("/left"), "200 asgi:"),
        (post("/left", b"body"), "200 asgi:body"),
        (get("/other"), "200 asgi:"),
        (get("/now?a=1"), "200 asgi:"),
        (get("/n%6fw"), "200 asgi:"),
        (get("/now", "Connection: close"), "200 asgi:"),
        (get("/now", version="1.0"), "200 asgi:"),
        (get("/now", "Connection: keep-alive", version="1.0"), "200 asgi:"),
        (get("/now", "Connection: Upgrade", "Upgrade: websocket"), "200 asgi:"),
        (get("/now").replace(b"GET", b"DELETE"), "200 asgi:"),
        (get("/now", "Transfer-Encoding: chunked") + b"4\r\nbody\r\n0\r\n\r\n", "200 asgi:body"),
        (post("/now", b"body", "Expect: 100-continue"), "200 asgi:body"),
        (post("/now", b"body", "Content-Length: 4"), "400 Invalid HTTP request received."),
        (get("/now", "Content-Length: -4"), "400 Invalid HTTP request received."),
        (get("/now", "Content-Length: 99999999999999999999"), "400 Invalid HTTP request received."),
    ],
)  # fmt: skip
def test_small_whole_requests_go_express_and_all_others_through_asgi(
    port: int, request_bytes: bytes, answer: str
) -> None:
    assert talk(port, request_bytes) == [answer]


@pytest.mark.parametrize("way", ["/now", "/later", "/left", "/other"])
def test_answers_leave_in_the_order_of_their_requests(port: int, way: str) -> None:
    requests = [
        post("/later", b"1"),
        get("/now"),
        post(way, b"2"),
        get("/other"),
        post("/later", b"3"),
        get("/now"),
    ]
    said = [line.partition(":")[2] for line in talk(port, b"".join(requests), answers=6)]
    assert said == ["1", "", "2", "", "3", ""]


@pytest.mark.parametrize("way", ["/now", "/later", "/left"])
def test_a_request_in_pieces_is_one_request(port: int, way: str) -> None:
    whole = post(way, b"a body")
    cuts = [0, 3, 30, len(whole) - 4, len(whole) - 1, len(whole)]
    parts = [whole[start:end] for start, end in pairwise(cuts)]
    (said,) = talk(port, *parts, pause_s=0.05)
    assert said.endswith(":a body")


def test_a_mistake_of_the_application_is_told_and_ends_this_connection_only(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as other:
        assert [line[:3] for line in talk(port, get("/now") + get("/mistake") + get("/now"), answers=3)] == [
            "200",
            "500",
        ]
        other.sendall(get("/now"))
        assert other.recv(1_000).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_before_its_answer_harms_nobody(port: int, app: App) -> None:
    app.told.clear()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(post("/later", b"gone"))
    assert talk(port, post("/later", b"stays")) == ["200 express:stays"]
    assert eventually(lambda: set(app.told) == {"express:gone", "express:stays"})


def test_a_body_that_never_ends_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ringroad.http.device.wire.BODY_S_MAX", 0.3)
    (said,) = talk(port, post("/now", b"body")[:-1])
    assert said.startswith("400")
    assert "too_slow" in said
