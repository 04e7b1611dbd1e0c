"""The little of HTTP that the gateways need: raw ASGI, because this is the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from typing import Any

import orjson

from ringroad.kernel.errors import InvalidInput, RingroadError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
BODY_S_MAX = 60.0  # seconds for a whole body; 16 MiB at 270 kB/s
# Years that every clock, database and time zone on the way can hold; a vehicle's clock can say anything.
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header of that lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def send_bytes(send: Send, status: int, body: bytes, headers: Headers | None = None) -> None:
    """Answer with a whole body."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-length", str(len(body)).encode()), *(headers or [JSON])],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, status: int, code: str, message: str, *, hint: str = "", headers: Headers | None = None
) -> None:
    """Answer with our error body, the same as the management API's."""
    body = orjson.dumps({"error": {"code": code, "message": message, "hint": hint}})
    await send_bytes(send, status, body, [JSON, *(headers or [])])


async def send_refusal(send: Send, error: RingroadError) -> None:
    """Answer with what an error of ours means to a device."""
    status = STATUS.get(error.kind, 500)
    headers = [(b"retry-after", b"5")] if status == 503 else []
    await send_error(send, status, error.code, error.message, hint=error.hint, headers=headers)


STATUS = {
    "invalid_input": 400,
    "untrusted": 400,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "unavailable": 503,
    "corrupt": 500,
}


def storable_time(at: datetime, *, now: datetime) -> datetime:
    """Return a device's own time where it can be stored and read back, else the time of receipt."""
    return at if EARLIEST <= at <= LATEST else now


async def read_body(receive: Receive, *, bytes_max: int) -> bytes:
    """Read a request body.

    Raises:
        InvalidInput: longer than `bytes_max`, too slow, or the client went away.
    """
    try:
        async with asyncio.timeout(BODY_S_MAX):
            return await _read_body(receive, bytes_max=bytes_max)
    except TimeoutError as error:
        raise InvalidInput(f"the request took longer than {BODY_S_MAX:g} s", code="too_slow") from error


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
