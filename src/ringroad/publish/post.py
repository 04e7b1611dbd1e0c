"""Sends one event to one endpoint: the address is checked when it is connected to, nothing is followed, all in bounded time.

The answer's body is never read: whoever may make a webhook must not see what an address answers.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import httpcore
import structlog

from ringroad.publish.address import in_any, is_plain, may_connect
from ringroad.publish.delivery import Answered, Outcome, Unreached
from ringroad.storage.settings import Network

LOG = structlog.get_logger(__name__)
RETRY_AFTER_DIGITS_MAX: Final = 6  # digits of a header; a week has six


class _NotAllowed(httpcore.ConnectError):
    """The name leads where a webhook must not go."""


class _Deadline:
    """What is left of an attempt."""

    def __init__(self, monotonic_s: Callable[[], float], seconds: float) -> None:
        self._now_s = monotonic_s
        self._ends_s = monotonic_s() + seconds

    def left(self, asked_s: float | None) -> float:
        left_s = self._ends_s - self._now_s()
        if left_s <= 0:
            raise httpcore.ReadTimeout("the attempt took too long")
        return left_s if asked_s is None else min(asked_s, left_s)


class _Bounded(httpcore.NetworkStream):
    """A connection whose every step has only what is left of the attempt: one byte a second does not hold us."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.left(timeout))
        return _Bounded(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Guard(httpcore.NetworkBackend):
    """Resolves a name once, refuses it if any of its addresses is not allowed, and connects to the one it checked."""

    def __init__(self, allowed: Sequence[Network], deadline: _Deadline, *, plain: bool) -> None:
        self._allowed = allowed
        self._deadline = deadline
        self._plain = plain
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("no such name") from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        for address in addresses:
            if not may_connect(address, allowed=self._allowed) or (
                self._plain and not in_any(address, self._allowed)
            ):
                raise _NotAllowed(address)
        for number, address in enumerate(addresses):
            try:
                inner = self._inner.connect_tcp(
                    address, port, self._deadline.left(timeout), local_address, socket_options
                )
                return _Bounded(inner, self._deadline)
            except httpcore.ConnectError:
                if number + 1 == len(addresses):
                    raise
        raise httpcore.ConnectError("no address")


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Sequence[Network],
    attempt_s_max: float,
    tls: ssl.SSLContext,
    monotonic_s: Callable[[], float],
) -> Outcome:
    """Send one event and return what became of it.

    Args:
        url: of the endpoint, as `check_url` let it pass.
        body: the event.
        headers: of the event and its signature.
        allowed: networks that may be reached although they are not public.
        attempt_s_max: seconds for all of it; looking up a name may take the resolver's own time longer.
        tls: whom to trust.
        monotonic_s: the clock.
    """
    deadline = _Deadline(monotonic_s, attempt_s_max)
    guard = _Guard(allowed, deadline, plain=is_plain(url))
    timeouts = dict.fromkeys(("connect", "read", "write", "pool"), attempt_s_max)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=tls, network_backend=guard, max_connections=1) as pool,
            pool.stream(
                "POST",
                url,
                headers=[*headers.items(), ("Content-Length", str(len(body))), ("Connection", "close")],
                content=body,
                extensions={"timeout": timeouts},
            ) as answer,
        ):
            return Answered(status=answer.status, retry_after_s=_retry_after(answer.headers))
    except _NotAllowed:
        return Unreached(reason="address_not_allowed")
    except httpcore.TimeoutException:
        return Unreached(reason="timed_out")
    except httpcore.ConnectError as error:
        certificate = "CERTIFICATE_VERIFY_FAILED" in str(error)
        return Unreached(reason="certificate_not_trusted" if certificate else "not_reached")
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError):
        return Unreached(reason="connection_broke")


def _retry_after(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name.lower() == b"retry-after" and value.isdigit() and len(value) <= RETRY_AFTER_DIGITS_MAX:
            return int(value)
    return None
