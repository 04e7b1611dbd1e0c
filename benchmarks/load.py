"""One neutral load generator for every server measured: plain asyncio, keep-alive, one request in flight each.

It counts and checks answers; what it costs itself does not matter, since the server's CPU time is read
from the kernel (`/proc/<pid>/stat`), not from the wall.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TURN_S = 0.0005  # seconds between two looks at the clock of a steady pace
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids: list[int]) -> float:
    """Return user and system seconds of processes, without their children."""
    total = 0.0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):  # a database's helper that ended meanwhile
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) * TICK_S
    return total


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in path.read_text(encoding="ascii").split()]
    return found


def rss_bytes(*pids: int) -> int:
    """Return resident memory."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


async def drive(port: int, requests: Iterator[bytes], *, connections: int) -> int:
    """Send requests over keep-alive connections; return how many were answered 200.

    Raises:
        RuntimeError: an answer was something else.
    """
    answered = await asyncio.gather(*(_client(port, requests) for _ in range(connections)))
    return sum(answered)


async def _client(port: int, requests: Iterator[bytes]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    for request in requests:
        writer.write(request)
        status, body = await read_answer(reader)
        if status != 200:
            raise RuntimeError(f"{status} {body[:200]!r}")
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one answer, whole or in chunks; return its status and body."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, at = int(head[9:12]), head.find(b"content-length:")
    if at >= 0:
        return status, await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
    if b"transfer-encoding: chunked" not in head:
        return status, b""
    parts = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return status, b"".join(parts)


async def paced(port: int, requests: Iterator[bytes], *, per_s: int, connections: int) -> list[float]:
    """Send requests at a steady pace, whatever the answers do; return the seconds each took, from when it was due.

    Raises:
        RuntimeError: an answer was not 200, or a connection ended.
    """
    loop = asyncio.get_running_loop()
    free: deque[_Line] = deque()
    took_s: list[float] = []
    for _ in range(connections):
        await loop.create_connection(lambda: _Line(free, took_s), "127.0.0.1", port)
    started_s = time.perf_counter()
    sent = 0
    for request in requests:
        due_s = started_s + sent / per_s
        while not free or time.perf_counter() < due_s:  # noqa: ASYNC110 - a pace, not an event
            await asyncio.sleep(TURN_S)
        free.popleft().send(request, due_s)
        sent += 1
    while len(free) < connections:  # noqa: ASYNC110 - once
        await asyncio.sleep(TURN_S)
    for line in free:
        line.close()
    if len(took_s) != sent:
        raise RuntimeError(f"{sent} requests, {len(took_s)} answers")
    return took_s


class _Line(asyncio.Protocol):
    """One kept connection with one request in flight."""

    def __init__(self, free: deque[_Line], took_s: list[float]) -> None:
        self._free = free
        self._took_s = took_s
        self._received = b""
        self._due_s = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._free.append(self)

    def send(self, request: bytes, due_s: float) -> None:
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        if not end or len(body) < int(head[at + 15 :].split(b"\r\n")[0]):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1").splitlines()[0])
        self._took_s.append(time.perf_counter() - self._due_s)
        self._received = b""
        self._free.append(self)

    def close(self) -> None:
        self._transport.close()
