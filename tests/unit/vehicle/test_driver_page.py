"""The driver page's server: who may speak for the driver, and what it does with requests that no browser sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.diagnostics import SessionWanted
from ringroad.protocol.vehicle import Conduct
from ringroad.vehicle.address import Address, parse_address
from ringroad.vehicle.consent import CONSENT_NAME, digest_notes, read_word
from ringroad.vehicle.diagnostics.sessions import Sessions, seen_of
from ringroad.vehicle.driver.serve import DriverPage
from ringroad.vehicle.glance import Glance
from ringroad.vehicle.small_http import (
    CONNECTIONS_MAX,
    FORM_BYTES_MAX,
    HEAD_BYTES_MAX,
    BadRequest,
    Request,
    read_request,
)
from ringroad.vehicle.states import CampaignState, Plan
from support.ports import free_port

PLAN = Plan(
    release_id="r", release_version="2.0.0", groups=(), ecus=(), notes="Softer brakes.",
    conduct=Conduct(consent=["download"]),
)  # fmt: skip
GLANCE = Glance(
    state=CampaignState(state="AWAITING_CONSENT", action_id=7, plan=PLAN), at=SystemClock().now(),
    asks=frozenset({"download"}), waits_code="consent", waits_about="download",
)  # fmt: skip
NAMES = frozenset({"127.0.0.1:8780"})
FORM = {
    "token": "secret",
    "action_id": "7",
    "phase": "download",
    "word": "yes",
    "notes_sha256": digest_notes(PLAN.notes),
}
HEADERS = {"host": "127.0.0.1:8780", "content-type": "application/x-www-form-urlencoded", "origin": "http://127.0.0.1:8780"}  # fmt: skip


def page(folder: Path, heard: Callable[[], None] = lambda: None, seen: Glance = GLANCE) -> DriverPage:
    return DriverPage(
        folder=folder, glance=lambda: seen, heard=heard, clock=SystemClock(), token="secret", durability="buffered"
    )  # fmt: skip


def post(form: dict[str, str] | bytes = FORM, **headers: str) -> Request:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    given = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Request(method="POST", path="/answer", headers=given, body=body)


def get(path: str, host: str = "127.0.0.1:8780") -> Request:
    return Request(method="GET", path=path, headers={"host": host})


def test_a_word_is_left_for_the_orchestrator_which_then_looks(tmp_path: Path) -> None:
    heard: list[bool] = []
    answer = page(tmp_path, lambda: heard.append(True)).answer(post(), NAMES)
    assert (answer.status, answer.location, heard) == (303, "/", [True])
    said = read_word(tmp_path, 7)
    assert said is not None
    assert (said.word, said.phases, said.by) == ("yes", ("download",), "driver page")
    assert said.notes_sha256 == FORM["notes_sha256"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (post({**FORM, "token": "guess"}), 403),
        (post(b""), 403),
        (post({name: value for name, value in FORM.items() if name != "token"}), 403),
        (post(origin="http://evil.example"), 403),
        (post(origin="null"), 403),
        (post(host="evil.example"), 421),
        (post(host=""), 421),
        (post({**FORM, "action_id": "8"}), 409),
        (post({**FORM, "phase": "install"}), 409),
        (get("/answer"), 405),
        (Request(method="POST", path="/", headers=HEADERS), 405),
        (Request(method="DELETE", path="/part", headers=HEADERS), 405),
        (get("/etc/passwd"), 404),
        (get("/../config.toml"), 404),
        (get("/", host="localhost:8781"), 421),
    ],
)
def test_nobody_else_speaks_for_the_driver(tmp_path: Path, request_: Request, status: int) -> None:
    def heard() -> None:
        pytest.fail("a refused word was heard")

    assert page(tmp_path, heard).answer(request_, NAMES).status == status
    assert not (tmp_path / CONSENT_NAME).exists()


@pytest.mark.parametrize(
    "request_",
    [
        post(content_type="text/plain"), post(content_type=""), post(b"\xff"), post(b"token"),
        post(urlencode([*FORM.items(), ("word", "no")]).encode()), post({**FORM, "word": "perhaps"}),
        post(b"&".join(b"a%d=1" % number for number in range(11))),
    ],
)  # fmt: skip
def test_what_is_no_form_of_the_page_is_refused(tmp_path: Path, request_: Request) -> None:
    with pytest.raises(InvalidInput):
        page(tmp_path).answer(request_, NAMES)
    assert not (tmp_path / CONSENT_NAME).exists()


def ask_session(folder: Path, session_id: str = "s1") -> Sessions:
    held = Sessions(folder, "driver", durability="buffered")
    wanted = SessionWanted(
        by="Depot <b>", reason="brakes & lights", scope="read", expires_at=SystemClock().now() + timedelta(hours=2)
    )  # fmt: skip
    held.ask(session_id, wanted, now=SystemClock().now())
    return held


VISIT = {"token": "secret", "session": "s1"}


@pytest.mark.parametrize(("word", "state"), [("allow", "open"), ("deny", "declined")])
def test_a_driver_answers_whoever_wants_to_look_into_the_vehicle(
    tmp_path: Path, word: str, state: str
) -> None:
    held = ask_session(tmp_path)
    body = page(tmp_path).answer(get("/"), NAMES).body.decode()
    assert "May Depot &lt;b&gt; look into this vehicle?" in body
    assert "brakes &amp; lights" in body
    seen = seen_of(held.all(now=SystemClock().now())["s1"])
    assert f'name="seen" value="{seen}"' in body
    sent = replace(post({**VISIT, "seen": seen, "word": word}), path="/visit")
    assert page(tmp_path).answer(sent, NAMES).status == 303
    assert held.all(now=SystemClock().now())["s1"].state == state
    after = page(tmp_path).answer(get("/part"), NAMES).body.decode()
    assert ("may look into this vehicle" in after) is (word == "allow")
    assert 'value="allow"' not in after
    assert page(tmp_path).answer(sent, NAMES).status == 409  # it was answered
    assert ("End this" in after) is (word == "allow")


def test_a_driver_ends_a_session_that_is_open(tmp_path: Path) -> None:
    held = ask_session(tmp_path)
    seen = seen_of(held.all(now=SystemClock().now())["s1"])
    for word, state in (("allow", "open"), ("deny", "declined")):
        sent = replace(post({**VISIT, "seen": seen, "word": word}), path="/visit")
        assert page(tmp_path).answer(sent, NAMES).status == 303
        assert held.all(now=SystemClock().now())["s1"].state == state
    assert b"look into this vehicle" not in page(tmp_path).answer(get("/part"), NAMES).body


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({**VISIT, "word": "allow", "token": "guess"}, 403),
        ({**VISIT, "word": "allow", "session": "s2"}, 409),
        ({**VISIT, "word": "allow"}, 409),
        ({**VISIT, "word": "allow", "seen": "0123456789abcdef"}, 409),  # of what was asked for before
        ({"token": "secret", "word": "deny", "session": "../s1"}, 409),
    ],
)
def test_a_visit_that_nobody_asked_for_is_not_allowed(
    tmp_path: Path, form: dict[str, str], status: int
) -> None:
    held = ask_session(tmp_path)
    assert page(tmp_path).answer(replace(post(form), path="/visit"), NAMES).status == status
    assert held.all(now=SystemClock().now())["s1"].state == "asked"
    for bad in ({**VISIT, "word": "yes"}, {"token": "secret", "word": "allow"}):
        with pytest.raises(InvalidInput):
            page(tmp_path).answer(replace(post(bad), path="/visit"), NAMES)


def test_a_word_that_cannot_be_kept_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = page(tmp_path / "file").answer(post(), NAMES)
    assert answer.status == 503
    assert b"could not be kept" in answer.body


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET http://a/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 9999999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (FORM_BYTES_MAX + 1),
        b"GET / HTTP/1.1\r\na: %s\r\n\r\n" % (b"x" * HEAD_BYTES_MAX),
        b"\x00" * 100 + b"\r\n\r\n",
    ],
)
def test_what_no_browser_sends_is_refused(raw: bytes) -> None:
    async def read() -> Request:
        reader = asyncio.StreamReader(limit=HEAD_BYTES_MAX)
        reader.feed_data(raw)
        reader.feed_eof()
        return await read_request(reader)

    with pytest.raises(BadRequest):
        asyncio.run(read())


def test_it_answers_over_a_socket_and_lets_go_of_who_says_nothing(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=free_port())

    async def ask(raw: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(raw)
        answer = await reader.read()
        writer.close()
        return answer

    async def run() -> None:
        task = asyncio.create_task(page(tmp_path).serve(address))
        for _ in range(600):
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
        writer.close()
        host = f"127.0.0.1:{address.port}".encode()
        whole = await ask(b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
        head, _, body = whole.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        for rule in (b"default-src 'none'", b"frame-ancestors 'none'", b"no-store", b"nosniff"):
            assert rule in head
        assert b"May the vehicle download it?" in body
        assert (await ask(b"NONSENSE\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        # Whoever holds all connections open keeps nobody out for longer than a request may take.
        silent = [
            await asyncio.open_connection(address.host, address.port) for _ in range(CONNECTIONS_MAX + 3)
        ]
        ends = [await asyncio.wait_for(reader.read(), 60) for reader, _ in silent]
        assert set(ends) == {b""}
        for _, writer in silent:
            writer.close()
        assert (await ask(b"GET /part HTTP/1.1\r\nHost: %s\r\n\r\n" % host)).startswith(b"HTTP/1.1 200 OK")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_behind_tls_the_usual_port_is_another() -> None:
    usual = Address(host="192.168.7.2", port=443)
    assert "192.168.7.2" in usual.names_with(usual_port=443)
    assert "192.168.7.2" not in usual.names
    assert "192.168.7.2" not in Address(host="192.168.7.2", port=80).names_with(usual_port=443)


def test_an_address_that_is_taken_keeps_no_vehicle_from_running(tmp_path: Path) -> None:
    async def run() -> None:
        taken = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        task = asyncio.create_task(page(tmp_path).serve(Address(host="127.0.0.1", port=port)))
        done, _ = await asyncio.wait([task], timeout=0.2)
        assert not done
        task.cancel()
        taken.close()

    asyncio.run(run())


@pytest.mark.parametrize("text", ["127.0.0.1:8780", "localhost:8780", "[::1]:8780", "192.168.7.2:80"])
def test_an_address_is_read_and_named(text: str) -> None:
    address = parse_address(text)
    assert text in address.names
    assert parse_address(address.shown) == address
    assert "evil.example:8780" not in address.names


@pytest.mark.parametrize(
    "text",
    [
        "", "8780", ":8780", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:-1", "0.0.0.0:80",
        "[::]:80", "::1:80", "[127.0.0.1]:80", "car.example:80", "224.0.0.1:80", "127.0.0.1:8780/",
    ],
)  # fmt: skip
def test_an_address_of_everybody_or_of_nobody_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_address(text)


def test_nothing_that_is_shown_depends_on_the_path_or_query(tmp_path: Path) -> None:
    one = page(tmp_path).answer(get("/?<script>"), NAMES)
    assert one.body == page(tmp_path).answer(get("/"), NAMES).body
    idle = replace(GLANCE, state=CampaignState(), waits_code="")
    assert b"<form" not in page(tmp_path, seen=idle).answer(get("/"), NAMES).body
