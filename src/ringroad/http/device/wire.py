"""The little of HTTP that the gateways need: raw ASGI, because this is the hot path."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from ringroad.http.auth import came_over_tls
from ringroad.kernel.errors import InvalidInput, RingroadError
from ringroad.storage.settings import Network

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
AS_JSON: Final[tuple[Header, ...]] = (JSON,)
COME_BACK: Final[Header] = (b"retry-after", b"5")
_HOST: Final = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")
BODY_S_MAX = 60.0  # seconds for a whole body; 16 MiB at 270 kB/s
# Years that every clock, database and time zone on the way can hold; a vehicle's clock can say anything.
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


class Request:
    """One request of a device, with its body whole. Slotted and mutable: one is made for every poll."""

    __slots__ = ("body", "certificate", "headers", "method", "path", "peer", "scheme")

    def __init__(
        self,
        *,
        method: str,
        path: str,
        headers: Iterable[Header],
        scheme: str,
        peer: str = "",
        body: bytes | bytearray = b"",
        certificate: bytes | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.scheme = scheme
        self.peer = peer  # who opened the connection
        self.body = body
        self.certificate = certificate  # of the client, DER, where TLS asked for it


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with its body whole. Header names are lower case; the length is added on the way out."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = AS_JSON


Reply = Callable[[Answer], None]


def header(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the first header of that lower-case name."""
    for key, value in headers:
        if key == name:
            return bytes(value)
    return None


def origin_of(request: Request, public_url: str, proxies: Sequence[Network]) -> str:
    """Return the origin for links: the one that is set, else what the device called us."""
    if public_url:
        return public_url
    host = (header(request.headers, b"host") or b"").decode("latin-1")
    forwarded = [value.decode("latin-1") for name, value in request.headers if name == b"x-forwarded-proto"]
    scheme = "https" if came_over_tls(request.scheme, request.peer, forwarded, proxies) else "http"
    return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}"


async def send_answer(send: Send, answer: Answer) -> None:
    """Answer through ASGI."""
    length = (b"content-length", b"%d" % len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": [length, *answer.headers]})
    await send({"type": "http.response.body", "body": answer.body})


def problem(status: int, code: str, message: str, *headers: Header, hint: str = "") -> Answer:
    """Return an answer with our error body, the same as the management API's."""
    body = orjson.dumps({"error": {"code": code, "message": message, "hint": hint}})
    return Answer(status, body, (JSON, *headers))


def refusal(error: RingroadError, come_back: Header = COME_BACK) -> Answer:
    """Return what an error of ours means to a device."""
    status = STATUS.get(error.kind, 500)
    headers = (come_back,) if status == 503 else ()
    return problem(status, error.code, error.message, *headers, hint=error.hint)


STATUS = {
    "invalid_input": 400,
    "untrusted": 400,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "unavailable": 503,
    "corrupt": 500,
}


def storable_time(at: datetime) -> datetime | None:
    """Return a device's own time where it can be stored and read back."""
    return at if EARLIEST <= at <= LATEST else None


async def read_body(receive: Receive, *, bytes_max: int) -> bytes:
    """Read a request body.

    Raises:
        InvalidInput: longer than `bytes_max`, too slow, or the client went away.
    """
    try:
        async with asyncio.timeout(BODY_S_MAX):
            return await _read_body(receive, bytes_max=bytes_max)
    except TimeoutError as error:
        raise too_slow() from error


def too_slow() -> InvalidInput:
    """Return what a body that dawdles is answered with."""
    return InvalidInput(f"the request took longer than {BODY_S_MAX:g} s", code="too_slow")


async def _read_body(receive: Receive, *, bytes_max: int) -> bytes:
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidInput("the client went away before its request was whole")
        chunk = message.get("body", b"")
        size += len(chunk)
        if bytes_max < size:
            raise InvalidInput(f"the request is larger than {bytes_max} bytes", code="too_large")
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        InvalidInput: not JSON, or not an object.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput("a JSON object is expected")
    return value


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Parse one byte range against a size.

    Returns:
        First and last byte, inclusive; None when the header is to be ignored (several ranges, other unit).

    Raises:
        InvalidInput: the range lies outside; answer 416.

    Source: RFC 9110, 14.2.
    """
    unit, _, spec = text.partition("=")
    first_text, dash, last_text = spec.strip().partition("-")
    if unit.strip() != "bytes" or not dash or "," in spec:
        return None
    if not (first_text + last_text).isdecimal() or len(first_text + last_text) > 20:
        return None
    if not first_text:
        length = int(last_text)
        if length == 0 or size == 0:
            raise InvalidInput("an empty range", code="range_outside")
        return max(0, size - length), size - 1
    first = int(first_text)
    last = min(int(last_text), size - 1) if last_text else size - 1
    if size <= first:
        raise InvalidInput(f"the range starts at {first}, the file has {size} bytes", code="range_outside")
    if last < first:
        return None
    return first, last
