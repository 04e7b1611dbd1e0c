"""What does a poll cost the gateway by how it comes: over a kept connection or one of its own, plain or over TLS?

The same gateway process as in `gateway.py`; TLS is set up as `ringroad serve` sets it up, with a certificate that
clients may show. One client, one request at a time: CPU time of the server is read, not the wall.

Run: python -m benchmarks gateway_connections
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator

from benchmarks.database import fresh_server
from benchmarks.figures import Figure
from benchmarks.gateway import fill, gateways, polls
from benchmarks.load import cpu_s
from ringroad.kernel.clock import SystemClock
from ringroad.storage.pki import ensure_pki

VEHICLES = 10_000
KEPT = 5_000  # polls over one connection
NEW = 600  # polls with a connection each
POLLS_PER_S = 1_000_000 / 300  # of a million vehicles, each five minutes
ANSWER_BYTES_MAX = 65_536


def run() -> list[Figure]:
    with fresh_server() as (server, folder):
        fill(server.url(), VEHICLES)
        pki = ensure_pki(folder / "pki", names=["127.0.0.1"], now=SystemClock().now())
        tls = ssl.create_default_context(cafile=str(pki.ca_certificate))
        with gateways(server.url()) as (pids, port):
            found = {"kept": kept(pids, dial(port)), "new": new(pids, port)}
        with gateways(server.url(), pki=folder / "pki") as (pids, port):
            found["tls_kept"] = kept(pids, dial(port, tls))
            found["tls_new"] = new(pids, port, tls)
            found["tls_resumed"] = new(pids, port, tls, resumes=True)
    return [
        Figure(
            name=f"gateway.poll_cpu_us.{how}",
            value=round(spent_us),
            unit="us",
            target=None,
            better="lower",
            note=f"{spent_us * POLLS_PER_S / 1e6:.2f} cores for a million vehicles that poll each five minutes",
        )
        for how, spent_us in found.items()
    ]


def dial(
    port: int, tls: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> socket.socket:
    """Return a connection, over TLS where there is a context."""
    line = socket.create_connection(("127.0.0.1", port))
    return tls.wrap_socket(line, server_hostname="127.0.0.1", session=session) if tls else line


def ask(line: socket.socket, request: bytes) -> None:
    """Poll once; the answer is read, so that a TLS session arrives too.

    Raises:
        RuntimeError: it was not answered 200.
    """
    line.sendall(request)
    answer = line.recv(ANSWER_BYTES_MAX)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode("latin-1").splitlines()[0] if answer else "no answer")


def kept(pids: list[int], line: socket.socket) -> float:
    """Return CPU microseconds per poll over one connection."""
    with line:
        return spent_us(pids, polls(KEPT, VEHICLES), lambda request: ask(line, request))


def new(pids: list[int], port: int, tls: ssl.SSLContext | None = None, *, resumes: bool = False) -> float:
    """Return CPU microseconds per poll with a connection each, from a TLS session of the one before where it `resumes`."""
    session: ssl.SSLSession | None = None

    def poll(request: bytes) -> None:
        nonlocal session
        with dial(port, tls, session) as line:
            ask(line, request)
            if isinstance(line, ssl.SSLSocket):
                if line.session_reused != (session is not None):
                    raise RuntimeError("the session was not resumed")
                session = line.session if resumes else None

    poll(next(polls(1, VEHICLES)))
    return spent_us(pids, polls(NEW, VEHICLES), poll)


def spent_us(pids: list[int], requests: Iterator[bytes], poll: Callable[[bytes], None]) -> float:
    """Return CPU microseconds per request, without what the process spends on nothing."""
    idle_s = cpu_s(pids)
    time.sleep(2.0)
    idle_per_s = (cpu_s(pids) - idle_s) / 2.0
    before_s, started_s, count = cpu_s(pids), time.perf_counter(), 0
    for request in requests:
        poll(request)
        count += 1
    took_s = time.perf_counter() - started_s
    return (cpu_s(pids) - before_s - idle_per_s * took_s) * 1e6 / count
