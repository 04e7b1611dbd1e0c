"""Serves the driver page: a small HTTP server of its own, for the screen of one vehicle.

It answers seven resources and closes each connection after one answer. Whoever reaches the address may speak for the
driver, so it is on loopback unless the configuration names another address.

What keeps pages of others from speaking for the driver:

1. `Host` must be the configured address: a name of somebody else that resolves to it is refused.
2. A word needs the token that only the page itself was given, and an `Origin` of the page where there is one.
3. A word is taken for the update, the phase and the notes that were shown with it (`view.take_word`), or for the
   session as it was shown: by whom, why, how deep, until when.
4. Nothing may frame the page, and it runs no script but its own.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.vehicle.consent import write_word
from ringroad.vehicle.diagnostics.sessions import answer_session, look_at_sessions
from ringroad.vehicle.driver.address import Address
from ringroad.vehicle.driver.page import SCRIPT, STYLE, render_page, render_part
from ringroad.vehicle.driver.view import take_word, view_of
from ringroad.vehicle.driver.visits import render_visits
from ringroad.vehicle.files import Durability
from ringroad.vehicle.glance import Glance

HEAD_BYTES_MAX: Final = 8 * 1024  # of a request; browsers send some 700
FORM_BYTES_MAX: Final = 2 * 1024  # of a word; the page's are some 250
FORM_FIELDS_MAX: Final = 10
CONNECTIONS_MAX: Final = 16  # at a time; a screen has a handful
REQUEST_S_MAX: Final = 5.0  # s; for a request to arrive, and for its answer to be taken
BIND_AGAIN_S: Final = 30.0  # s; an address that is taken must not keep a vehicle from its updates
BY: Final = "driver page"

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self';"
    " frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Connection", "close"),
)

_log = structlog.get_logger(__name__)


class BadRequest(InvalidInput):
    """A request that no browser sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    location: str = ""


class DriverPage:
    """The page of one vehicle."""

    def __init__(
        self,
        *,
        folder: Path,
        glance: Callable[[], Glance],
        heard: Callable[[], None],
        clock: Clock,
        token: str,
        durability: Durability,
    ) -> None:
        """Take what it shows and where it leaves a word.

        Args:
            folder: of the vehicle; a word is left there as `ringroad vehicle consent` leaves it.
            glance: at the orchestrator.
            heard: called after a word was left.
            clock: the vehicle's.
            token: random; a form must send it back.
            durability: of the word.
        """
        self._folder = folder
        self._glance = glance
        self._heard = heard
        self._clock = clock
        self._token = token
        self._durability: Durability = durability
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, address: Address) -> None:
        """Serve until cancelled; an address that cannot be had is tried again."""
        while True:
            try:
                server = await asyncio.start_server(
                    lambda reader, writer: self._begin(reader, writer, address.names),
                    address.host, address.port, limit=HEAD_BYTES_MAX,
                )  # fmt: skip
            except OSError as error:
                reason = error.strerror or str(error)
                _log.warning("vehicle.page_failed", host=address.host, port=address.port, reason=reason)
                await asyncio.sleep(BIND_AGAIN_S)
                continue
            async with server:
                try:
                    await server.serve_forever()
                finally:
                    server.close()
                    for task in self._connections:
                        task.cancel()
                    await asyncio.gather(*self._connections, return_exceptions=True)

    def answer(self, request: Request, names: frozenset[str]) -> Answer:
        """Answer one request; `names`: what it may call this host."""
        if request.headers.get("host", "").lower() not in names:
            return _plain(HTTPStatus.MISDIRECTED_REQUEST, "this address has another name")
        match request.method, request.path.partition("?")[0]:
            case "GET", "/":
                return self._page(self._glance())
            case "GET", "/part":
                return Answer(status=HTTPStatus.OK, body=self._part(self._glance()).encode())
            case "GET", "/page.css":
                return Answer(status=HTTPStatus.OK, body=STYLE, kind="text/css")
            case "GET", "/page.js":
                return Answer(status=HTTPStatus.OK, body=SCRIPT, kind="text/javascript")
            case "POST", "/answer":
                return self._hear(request, names, self._keep_word)
            case "POST", "/visit":
                return self._hear(request, names, self._keep_visit)
            case _, "/" | "/part" | "/page.css" | "/page.js" | "/answer" | "/visit":
                return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "not with this method")
        return _plain(HTTPStatus.NOT_FOUND, "there is no such page")

    def _page(self, glance: Glance, *, status: HTTPStatus = HTTPStatus.OK, alert: str = "") -> Answer:
        page = render_page(view_of(glance), token=self._token, alert=alert, visits=self._visits(glance))
        return Answer(status=status, body=page.encode())

    def _part(self, glance: Glance) -> str:
        return render_part(view_of(glance), token=self._token, visits=self._visits(glance))

    def _visits(self, glance: Glance) -> str:
        sessions = look_at_sessions(self._folder, now=self._clock.now())
        return render_visits(sessions, token=self._token, zone=glance.zone)

    def _hear(
        self, request: Request, names: frozenset[str], keep: Callable[[Glance, dict[str, str]], None]
    ) -> Answer:
        glance = self._glance()
        origin = request.headers.get("origin", "")
        form = _read_form(request)
        if origin and origin.lower() not in {f"http://{name}" for name in names}:
            return _plain(HTTPStatus.FORBIDDEN, "this was sent by another page")
        if not hmac.compare_digest(form.get("token", "").encode(), self._token.encode()):
            # After a restart the page has another token: its driver only looks again.
            alert = "Please answer again: the page was too old."
            return self._page(glance, status=HTTPStatus.FORBIDDEN, alert=alert)
        try:
            keep(glance, form)
        except (Conflict, NotFound):
            alert = "Please look again: this has changed."
            return self._page(glance, status=HTTPStatus.CONFLICT, alert=alert)
        except Unavailable as error:
            alert = f"Your answer could not be kept: {error.message}."
            return self._page(glance, status=HTTPStatus.SERVICE_UNAVAILABLE, alert=alert)
        self._heard()
        return Answer(status=HTTPStatus.SEE_OTHER, location="/")

    def _keep_word(self, glance: Glance, form: dict[str, str]) -> None:
        said = take_word(
            view_of(glance), action_id=form.get("action_id", ""), phase=form.get("phase", ""),
            word=form.get("word", ""), notes_sha256=form.get("notes_sha256", ""),
        )  # fmt: skip
        write_word(
            self._folder, action_id=said.action_id, word=said.word, through=said.through, by=BY,
            now=self._clock.now(), hours=said.hours, notes_sha256=said.notes_sha256, durability=self._durability,
        )  # fmt: skip

    def _keep_visit(self, _: Glance, form: dict[str, str]) -> None:
        word = form.get("word", "")
        if word not in {"allow", "deny"}:
            raise BadRequest("this is no answer")
        answer_session(
            self._folder, form.get("session", ""), allow=word == "allow", seen=form.get("seen", ""),
            now=self._clock.now(),
        )  # fmt: skip

    def _begin(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, names: frozenset[str]
    ) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer, names))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, names: frozenset[str]
    ) -> None:
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                writer.write(_encode(await self._respond(reader, names)))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            writer.transport.abort()  # whoever it was is slow or gone
        finally:
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, names: frozenset[str]) -> Answer:
        try:
            return self.answer(await read_request(reader), names)
        except NotFound as error:
            return _plain(HTTPStatus.NOT_FOUND, error.message)
        except InvalidInput as error:
            return _plain(HTTPStatus.BAD_REQUEST, error.message)
        except RingroadError as error:
            _log.warning("vehicle.page_failed", code=error.code, reason=error.message)
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "the vehicle cannot say that now")


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request.

    Raises:
        BadRequest: it is no request, or over a limit.
        IncompleteReadError: the connection ended within it.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise BadRequest(f"more than {HEAD_BYTES_MAX} bytes of headers") from error
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or words[2] not in {"HTTP/1.1", "HTTP/1.0"} or not words[1].startswith("/"):
        raise BadRequest("this is no HTTP request")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise BadRequest("a header cannot be read")
        if name in headers and name in {"host", "origin", "content-length"}:
            raise BadRequest(f"two headers {name}")
        headers[name] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest("send the form as one piece")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdecimal() or len(length) > 9 or int(length) > FORM_BYTES_MAX:
        raise BadRequest(f"a form has at most {FORM_BYTES_MAX} bytes")
    body = await reader.readexactly(int(length))
    return Request(method=words[0], path=words[1], headers=headers, body=body)


def _read_form(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRequest("this is no form")
    try:
        fields = parse_qs(
            request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=FORM_FIELDS_MAX
        )  # fmt: skip
    except ValueError as error:  # UnicodeDecodeError is one
        raise BadRequest("the form cannot be read") from error
    if any(len(values) != 1 for values in fields.values()):
        raise BadRequest("a field was sent twice")
    return {name: values[0] for name, values in fields.items()}


def _plain(status: HTTPStatus, text: str) -> Answer:
    return Answer(status=status, body=f"{text}\n".encode(), kind="text/plain; charset=utf-8")


def _encode(answer: Answer) -> bytes:
    headers = [
        ("Content-Type", answer.kind),
        ("Content-Length", str(len(answer.body))),
        *_HEADERS,
        *([("Location", answer.location)] if answer.location else []),
    ]
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", *(f"{n}: {v}" for n, v in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body
