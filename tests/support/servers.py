"""`ringroad serve` as the process that people start, over a database of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from support.gateways import TOKEN, VIN
from support.ports import free_ports

DDI = {"Authorization": f"TargetToken {TOKEN}"}
START_S_MAX = 240.0  # seconds; the machine may be shared


@contextmanager
def server_process(folder: Path, pg_url: str, *, var: Path) -> Iterator[tuple[str, int]]:
    """Run a server until the block ends; yield its origin, which may not answer yet, and its pid.

    Args:
        folder: for its log.
        pg_url: its database.
        var: its data.
    """
    port, https_port = free_ports(2)
    env = {
        **os.environ, "RINGROAD_DATABASE_URL": pg_url, "RINGROAD_NATS_URL": "nats://u:p@127.0.0.1:1",
        "RINGROAD_HTTP_PORT": str(port), "RINGROAD_HTTPS_PORT": str(https_port),
        "RINGROAD_TRUSTED_PROXIES": "127.0.0.1", "RINGROAD_VAR": str(var),
    }  # fmt: skip
    words = [sys.executable, "-m", "ringroad.cli", "serve"]
    with (
        (folder / f"{port}.log").open("wb") as log,
        subprocess.Popen(words, env=env, cwd=folder, stdout=log, stderr=log) as server,
    ):
        try:
            yield f"http://127.0.0.1:{port}", server.pid
        finally:
            server.kill()


def is_up(origin: str) -> bool:
    """Say whether a server answers a device's poll."""
    try:
        return httpx.get(f"{origin}/DEFAULT/controller/v1/{VIN}", headers=DDI, timeout=60).status_code == 200
    except httpx.TransportError:
        return False
