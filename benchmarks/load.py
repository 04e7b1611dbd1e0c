"""One neutral load generator for every server measured: plain asyncio, keep-alive, one request in flight each.

It counts and checks answers; what it costs itself does not matter, since the server's CPU time is read
from the kernel (`/proc/<pid>/stat`), not from the wall.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pids: list[int]) -> float:
    """Return user and system seconds of processes, without their children."""
    total = 0.0
    for pid in pids:
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


def rss_bytes(pid: int) -> int:
    """Return resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1").splitlines()[0])
        lower = head.lower()
        at = lower.index(b"content-length:") + 15
        await reader.readexactly(int(lower[at : lower.index(b"\r\n", at)]))
        answered += 1
    writer.close()
    await writer.wait_closed()
    return answered
