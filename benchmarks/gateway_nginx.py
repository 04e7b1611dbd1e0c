"""Polls through nginx to two server processes: what they cost the servers, against one process reached directly.

And how long it takes until both say what has changed in the database.

Run: python -m benchmarks gateway_nginx
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg

from benchmarks.database import fresh_server
from benchmarks.figures import Figure
from benchmarks.gateway import TOKEN, fill, gateways, measure, polls, vin

VEHICLES = 100_000
POLLS = 40_000
ROUNDS = 5
CHANGES = 40  # of one vehicle, looked for at both servers
CHANGE_S_MAX = 30.0
START_S_MAX = 20.0
CONFIG = """daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream ringroad {{
        server 127.0.0.1:{one};
        server 127.0.0.1:{other};
        keepalive 1024;
        keepalive_timeout 15s;
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $http_host;
        location / {{ proxy_pass http://ringroad; }}
    }}
}}
"""


def run() -> list[Figure]:
    name = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if name is None:
        print("skipped: there is no nginx; on Debian, apt install nginx")
        return []
    with fresh_server() as (server, folder):
        fill(server.url(), VEHICLES)
        rounds = [measure_round(server.url(), name, folder) for _ in range(ROUNDS)]
        took_s = measure_changes(server.url())
    direct_us, through_us = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratios = sorted(through / direct for direct, through in rounds)
    return [
        Figure(name="gateway.nginx.cpu_ratio", value=round(statistics.median(ratios), 3),
               unit="x one worker's CPU per poll", target=1.3, better="lower",
               note=f"CPU of two server processes behind nginx, without nginx's own: {through_us:.1f} µs; one process"
               f" reached directly: {direct_us:.1f} µs; median of {ROUNDS} rounds in turn, {ratios[0]:.2f} to"
               f" {ratios[-1]:.2f}; load {os.getloadavg()[0]:.1f}"),
        Figure(name="gateway.nginx.coherence_s", value=round(max(took_s), 3), unit="s", target=1, better="lower",
               note=f"from a commit until both of two server processes say it; the longest of {CHANGES},"
               f" median {statistics.median(took_s) * 1e3:.0f} ms; {VEHICLES:,} vehicles"),
    ]  # fmt: skip


def measure_round(url: str, name: str, folder: Path) -> tuple[float, float]:
    """Return CPU microseconds per poll of one process, and of two behind nginx."""
    with gateways(url) as (one, port):
        direct_us = measure(one, port, polls(POLLS), POLLS)
        with gateways(url) as (other, other_port), nginx(name, folder, port, other_port) as before:
            through_us = measure([*one, *other], before, polls(POLLS), POLLS)
    return direct_us, through_us


def measure_changes(url: str) -> list[float]:
    """Cancel and offer a vehicle's update again and again; return the seconds until both servers say so."""
    path = f"/DEFAULT/controller/v1/{vin(0)}"
    with (
        gateways(url) as (_, one),
        gateways(url) as (_, other),
        httpx.Client(headers={"Authorization": f"TargetToken {TOKEN}"}) as client,
        psycopg.connect(url, autocommit=True) as conn,
    ):
        took_s = []
        for number in range(CHANGES):
            state, link = (("cancelling", "cancelAction"), ("active", "deploymentBase"))[number % 2]
            conn.execute("UPDATE assignment SET state = %s WHERE vin = %s", (state, vin(0)))
            began_s = time.perf_counter()
            for port in (one, other):
                while link not in client.get(f"http://127.0.0.1:{port}{path}").json()["_links"]:
                    if time.perf_counter() - began_s > CHANGE_S_MAX:
                        raise RuntimeError(f"no {link} after {CHANGE_S_MAX:g} s")
            took_s.append(time.perf_counter() - began_s)
    return took_s


@contextlib.contextmanager
def nginx(name: str, folder: Path, one: int, other: int) -> Iterator[int]:
    """Run nginx before two ports; yield its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    config = folder / "nginx.conf"
    config.write_text(CONFIG.format(folder=folder, one=one, other=other, port=port))
    command = [name, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    with subprocess.Popen(command) as child:
        try:
            end_s = time.monotonic() + START_S_MAX
            while not _listens(port) and time.monotonic() < end_s:
                time.sleep(0.05)
            yield port
        finally:
            child.terminate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
