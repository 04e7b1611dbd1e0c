"""HTTP with an end: a stranger's request head has a size and a time. Uvicorn's fast parser has neither.

Not here: bodies. The management application limits their size, the gateways also their time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX: Final = 64 * 1024  # bytes before a request's body begins; browsers send 2 kB
HEAD_S_MAX: Final = 20.0  # seconds from a connection, or a request's first byte, to the end of its head


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A head that grows or dawdles without end closes it."""

    head_bytes_max = HEAD_BYTES_MAX
    head_s_max = HEAD_S_MAX

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._ended = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the first head's time."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then look how long the head has become."""
        self._ended = False
        super().data_received(data)
        if not self._in_head or self._ended or self.transport.is_closing():
            return  # what follows the end of a message in the same block is counted from the next block on
        self._head_bytes += len(data)
        if self.head_bytes_max < self._head_bytes:
            self.send_400_response("The request's head is too large.")
        elif self._head_timer is None:
            self._start_timer()

    def on_headers_complete(self) -> None:
        """End the head."""
        self._end_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head; its time begins with its first byte."""
        super().on_message_complete()
        self._expect_head()

    def _expect_head(self) -> None:
        self._in_head = self._ended = True
        self._head_bytes = 0

    def _end_head(self) -> None:
        self._in_head = False
        self._stop_timer()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s_max, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._in_head and not self.transport.is_closing():
            self.transport.close()
