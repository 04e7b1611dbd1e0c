"""An endpoint for webhooks on real HTTP, in a thread: it remembers what it was sent and answers as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook

WAIT_S_MAX = 60.0  # seconds on a machine that is busy with other things


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]

    def is_signed_by(self, secret: str) -> bool:
        """Say whether a library that we did not write accepts the signature; anything else raises."""
        return bool(Webhook(secret).verify(self.body, self.headers))


@dataclass(slots=True, kw_only=True)
class Receiver:
    """What was received; `answer` says what is answered to the n-th request, as status and headers."""

    url: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[int], tuple[int, dict[str, str]]] = lambda _number: (204, {})
    drips: bool = False  # answer one byte at a time, without an end

    @property
    def ids(self) -> list[str]:
        """The ids in the order of arrival."""
        return [each.id for each in self.got]

    def answers(self, *statuses: int) -> None:
        """Answer so, then 204."""
        self.answer = lambda number: (statuses[number] if number < len(statuses) else 204, {})


def eventually(check: Callable[[], bool], *, within_s: float = WAIT_S_MAX) -> None:
    """Wait for a condition."""
    ends_s = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < ends_s, f"not within {within_s} s"
        time.sleep(0.01)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port of this machine."""
    receiver = Receiver()
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            number = len(receiver.got)
            names = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append(Received(path=self.path, headers=names, body=body))
            if receiver.drips:
                self._drip()
                return
            status, headers = receiver.answer(number)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _drip(self) -> None:
            self.close_connection = True
            self.wfile.write(b"HTTP/1.1 204 ")
            while not ended.wait(0.05):
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
