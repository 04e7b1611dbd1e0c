"""Ports for servers that are started later, or again: nobody else on the machine is given them meanwhile.

The kernel hands out the upper ports to whoever asks for any, and to every outgoing connection.
These lie below, and each test process of a run has a stretch of its own.
"""

from __future__ import annotations

import os
import socket
import zlib
from itertools import count, islice
from pathlib import Path

FIRST, PORTS_EACH = 18_000, 400  # ports; some thirty test processes fit below 32768
_LOWEST_OF_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_tried = count()


def free_ports(wanted: int) -> list[int]:
    """Return different loopback ports that nobody listens on."""
    found: list[int] = []
    for at in islice(_tried, PORTS_EACH):
        port = _stretch() + at % PORTS_EACH
        if _is_free(port):
            found.append(port)
        if len(found) == wanted:
            return found
    raise AssertionError(f"there are no {wanted} free ports from {_stretch()} on")


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    return free_ports(1)[0]


def _stretch() -> int:
    """Return where the ports of this process begin; those of the workers of one run never meet."""
    run = zlib.crc32(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode())
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    lowest = int(_LOWEST_OF_KERNEL.read_text().split()[0]) if _LOWEST_OF_KERNEL.exists() else 32_768
    stretches = max(1, (lowest - FIRST) // PORTS_EACH)
    return FIRST + (run + worker) % stretches * PORTS_EACH


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
