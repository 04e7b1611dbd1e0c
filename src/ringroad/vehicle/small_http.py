"""A small HTTP server for the faces of one vehicle: the driver page, and diagnostics for testers beside it.

It reads one request per connection, whole and within bounds, lets somebody else answer it, and closes.
What an answer says, and who may ask for it, is not decided here.

Invariants:
    * Nothing of a request is kept that is over a limit, and nobody holds a connection longer than `Limits` say.
    * An address that cannot be had keeps no vehicle from its updates: it is tried again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import structlog

from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError
from ringroad.vehicle.address import Address

HEAD_BYTES_MAX: Final = 8 * 1024  # of a request; browsers send some 700
FORM_BYTES_MAX: Final = 2 * 1024  # of a word of the driver; the page's are some 250
CONNECTIONS_MAX: Final = 16  # at a time; a screen has a handful
REQUEST_S_MAX: Final = 5.0  # s; for a request to arrive, and for a piece of its answer to be taken
BIND_AGAIN_S: Final = 30.0  # s between two tries of an address that is taken

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
    """One answer. One with a `stream` has no length: its pieces follow the head until they end."""

    status: HTTPStatus
    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    location: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncGenerator[bytes, None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long."""

    body_bytes_max: int = FORM_BYTES_MAX
    answer_s_max: float = REQUEST_S_MAX


class SmallServer:
    """Serves one address."""

    def __init__(
        self,
        answer: Callable[[Request, frozenset[str]], Awaitable[Answer]],
        *,
        headers: Mapping[str, str],
        limits: Limits,
    ) -> None:
        """Take who answers.

        Args:
            answer: answers a request, given the names by which it may call this host.
            headers: of every answer.
            limits: of requests and answers.
        """
        self._answer = answer
        self._headers = dict(headers)
        self._limits = limits
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, address: Address, *, tls: ssl.SSLContext | None = None) -> None:
        """Serve until cancelled; an address that cannot be had is tried again."""
        names = address.names if tls is None else address.names_with(usual_port=443)
        while True:
            try:
                # Without `ssl`: asyncio would tell of a connection only after its handshake, so no limit would count it.
                server = await asyncio.start_server(
                    lambda reader, writer: self._begin(reader, writer, names, tls),
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

    def _begin(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        names: frozenset[str],
        tls: ssl.SSLContext | None,
    ) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer, names, tls))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        names: frozenset[str],
        tls: ssl.SSLContext | None,
    ) -> None:
        """Serve one connection; it counts from before its handshake until it is closed."""
        try:
            if tls is not None:
                await writer.start_tls(tls, ssl_handshake_timeout=REQUEST_S_MAX)
            await self._speak(reader, writer, names)
            writer.close()
            async with asyncio.timeout(REQUEST_S_MAX):
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # whoever it was is slow or gone
        finally:
            writer.transport.abort()

    async def _speak(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, names: frozenset[str]
    ) -> None:
        answer = await self._respond(reader, names)
        async with aclosing(answer.stream or _nothing()) as pieces:
            async with asyncio.timeout(REQUEST_S_MAX):
                writer.write(encode_answer(answer, self._headers))
                await writer.drain()
            async for piece in pieces:
                async with asyncio.timeout(REQUEST_S_MAX):
                    writer.write(piece)
                    await writer.drain()

    async def _respond(self, reader: asyncio.StreamReader, names: frozenset[str]) -> Answer:
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                request = await read_request(reader, body_bytes_max=self._limits.body_bytes_max)
            async with asyncio.timeout(self._limits.answer_s_max):
                return await self._answer(request, names)
        except NotFound as error:
            return plain_answer(HTTPStatus.NOT_FOUND, error.message)
        except InvalidInput as error:
            return plain_answer(HTTPStatus.BAD_REQUEST, error.message)
        except RingroadError as error:
            _log.warning("vehicle.page_failed", code=error.code, reason=error.message)
            return plain_answer(HTTPStatus.SERVICE_UNAVAILABLE, "the vehicle cannot say that now")


async def _nothing() -> AsyncGenerator[bytes, None]:
    none: tuple[bytes, ...] = ()
    for piece in none:
        yield piece


async def read_request(reader: asyncio.StreamReader, *, body_bytes_max: int = FORM_BYTES_MAX) -> Request:
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
        if name in headers and name in {"host", "origin", "content-length", "authorization"}:
            raise BadRequest(f"two headers {name}")
        headers[name] = value.strip()
    if "transfer-encoding" in headers:
        raise BadRequest("send the body as one piece")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdecimal() or len(length) > 9 or int(length) > body_bytes_max:
        raise BadRequest(f"a body has at most {body_bytes_max} bytes")
    body = await reader.readexactly(int(length))
    return Request(method=words[0], path=words[1], headers=headers, body=body)


def plain_answer(status: HTTPStatus, text: str) -> Answer:
    """Return an answer of one line."""
    return Answer(status=status, body=f"{text}\n".encode(), kind="text/plain; charset=utf-8")


def encode_answer(answer: Answer, headers: Mapping[str, str]) -> bytes:
    """Return the head of an answer and its body."""
    told = {
        "Content-Type": answer.kind,
        **({"Content-Length": str(len(answer.body))} if answer.stream is None else {}),
        **headers,
        **answer.headers,
        **({"Location": answer.location} if answer.location else {}),
        "Connection": "close",
    }
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        *(f"{n}: {v}" for n, v in told.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + answer.body
