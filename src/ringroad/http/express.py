"""The express way: small requests that an application answers with one call, without ASGI.

A poll costs a dictionary look-up; the task, events, messages and timers that ASGI makes for it cost four
times as much. So what is whole and small goes straight to the application, and everything else (large or
chunked bodies, odd URLs, requests behind an unanswered one, paths the application leaves to ASGI) goes on
through uvicorn as if this module did not exist.

An application offers `express_paths`, how such URLs begin, and `express(request, reply) -> bool`.
One that is wrapped (by a middleware that a setting of uvicorn adds, say) is asked through ASGI alone: it works and
costs more. `ringroad serve` says so in its log, `/health` in its answer.

Invariants: answers leave in the order of their requests; a body here has the size and the time that
`EXPRESS_BYTES_MAX` and `BODY_S_MAX` say; nothing is sent after a connection is closing.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ringroad.http.device import wire
from ringroad.http.device.wire import Answer, Header, Request, problem
from ringroad.http.wire_limits import BoundedProtocol

EXPRESS_BYTES_MAX: Final = 60_000  # bytes of a body; uvicorn stops reading for ASGI at 65,536
EXTENSION: Final = "ringroad.express"  # of an ASGI scope
CERTIFICATE: Final = "ringroad.certificate"  # of the client, DER, in the scope of an ASGI request
LINES_KEPT: Final = (
    256  # sets of header lines that stay rendered; a dozen, and one per thing to do and interval told
)
_SERVER_FAULT = problem(500, "error", "the server made a mistake", hint="see its log")


class _Silence:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


class Call(Request):
    """A request on the express way, in the place where uvicorn keeps the request in hand."""

    __slots__ = ("_protocol", "disconnected", "keep_alive", "more_body", "response_complete")
    message_event = _Silence()

    def __init__(self, protocol: ExpressProtocol, method: str) -> None:
        self.method = method
        self.path = protocol.url.decode("ascii")
        self.headers = protocol.headers
        self.scheme = protocol.scheme or "http"
        self.peer = protocol.client[0] if protocol.client else ""
        self.certificate = protocol.certificate
        self.body = bytearray()
        self.keep_alive = self.more_body = True
        self.disconnected = self.response_complete = False
        self._protocol = protocol

    def reply(self, answer: Answer) -> None:
        """Send the answer, unless the client went away or has one."""
        if not self.disconnected and not self.response_complete:
            self.response_complete = True
            self._protocol.send_answer(answer, keep_alive=self.keep_alive)


class ExpressProtocol(BoundedProtocol):
    """One connection, with the express way beside ASGI."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.certificate: bytes | None = None  # DER
        self._paths: tuple[bytes, ...] = getattr(self.app, "express_paths", ())
        self._call: Call | None = None  # the one whose body is on its way
        self._body_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._answered_s = 0.0  # on the loop's clock

    def on_message_begin(self) -> None:
        """Begin to collect the head; its scope is made when it is known to need one."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember which certificate the client showed; TLS made sure that it has the key."""
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self.certificate = tls.getpeercert(binary_form=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._call = None
        self._stop_body_timer()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; a body that is not whole yet has its time from now on."""
        super().data_received(data)
        if self._call is not None and self._body_timer is None:
            self._body_timer = self.loop.call_later(wire.BODY_S_MAX, self._body_too_slow)

    def on_headers_complete(self) -> None:
        """Choose the way."""
        call = self._take()
        if call is None:
            self._make_scope()
            super().on_headers_complete()
            return
        self._end_head()
        self._call = call
        self.cycle = cast("Any", call)  # what uvicorn asks of the request in hand is there

    def on_body(self, body: bytes) -> None:
        """Collect."""
        if self._call is None:
            super().on_body(body)
        else:
            self._call.body += body  # a bytearray: grows in place

    def on_message_complete(self) -> None:
        """Ask the application; what it leaves goes on through ASGI."""
        call, self._call = self._call, None
        if call is None:
            super().on_message_complete()
            return
        self._expect_head()
        if self._body_timer is not None:
            self._stop_body_timer()
        try:
            taken = self.app.express(call, call.reply)
        except Exception:
            self.logger.exception("Exception on the express way")
            call.keep_alive = False
            call.reply(_SERVER_FAULT)
            return
        if not taken:
            self.cycle = cast("Any", None)
            self._make_scope()
            HttpToolsProtocol.on_headers_complete(self)
            self.cycle.body += call.body
            HttpToolsProtocol.on_message_complete(self)

    def on_response_complete(self) -> None:
        """Go on; one timer per connection finds out that it is idle, where uvicorn starts one per request."""
        self._answered_s = self.loop.time()
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        if self._idle_timer is None:
            self._wait_idle(self.timeout_keep_alive)

    def send_answer(self, answer: Answer, *, keep_alive: bool) -> None:
        """Write an answer and make ready for the next request."""
        if self.transport.is_closing():
            return
        head = b"%b%b%bcontent-length: %d\r\n%b\r\n" % (
            STATUS_LINE[answer.status],
            _lines(tuple(self.server_state.default_headers)),
            _lines(answer.headers),
            len(answer.body),
            b"" if keep_alive else b"connection: close\r\n",
        )
        self.transport.write(head + answer.body)
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _make_scope(self) -> None:
        """Make the scope of an ASGI request, as uvicorn does before the head.

        It says that there is an express way, for `/health`: what wraps the application hides it. And which certificate
        the client showed.
        """
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # in place: the scope has this list
        if self._paths:
            self.scope["extensions"] = {EXTENSION: {}}
        if self.certificate is not None:
            cast("Any", self.scope)[CERTIFICATE] = self.certificate

    def _take(self) -> Call | None:
        """Return the request if it may go the express way."""
        url, parser = self.url, self.parser
        if not url.startswith(self._paths) or b"%" in url or b"?" in url or not url.isascii():
            return None
        if self._busy() or self.flow.write_paused or not parser.should_keep_alive():
            return None
        if parser.get_http_version() != "1.1":
            return None
        for name, value in self.headers:
            if name == b"content-length":
                if not value.isdigit() or len(value) > 5 or int(value) > EXPRESS_BYTES_MAX:
                    return None
            elif name in _NOT_EXPRESS:
                return None
        method = parser.get_method().decode("ascii")
        return Call(self, method) if method in _METHODS else None

    def _wait_idle(self, seconds: float) -> None:
        self._idle_timer = self.loop.call_later(seconds, self._look_idle)

    def _look_idle(self) -> None:
        idle_s = self.loop.time() - self._answered_s
        if self._busy() or self._head_timer is not None:  # a request that is on its way has its own time
            self._wait_idle(self.timeout_keep_alive)
        elif idle_s < self.timeout_keep_alive:
            self._wait_idle(self.timeout_keep_alive - idle_s)
        else:
            self.timeout_keep_alive_handler()

    def _busy(self) -> bool:
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    def _body_too_slow(self) -> None:
        self._body_timer = None
        call, self._call = self._call, None
        if call is not None:
            call.keep_alive = False
            call.reply(wire.refusal(wire.too_slow()))

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None


@lru_cache(maxsize=LINES_KEPT)
def _lines(headers: tuple[Header, ...]) -> bytes:
    return b"".join([b"%b: %b\r\n" % each for each in headers])


_METHODS: Final = frozenset({"GET", "POST"})
_NOT_EXPRESS: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
