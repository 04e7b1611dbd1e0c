"""Two server processes behind Debian's unmodified nginx, configured as the how-to page says."""

from __future__ import annotations

import os
import random
import signal
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.storage.blobs import Blobs
from ringroad.storage.pki import ensure_pki
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows
from support.nginx import nginx, program, server_block
from support.ports import free_ports
from support.servers import DDI, START_S_MAX, is_up, server_process

pytestmark = [
    pytest.mark.engines,
    pytest.mark.foreign,
    pytest.mark.skipif(program() is None, reason="nginx is not installed: apt install nginx"),
]
NATIVE, REPORTS = "WRRDEM00000000002", 200
COHERENT_S_MAX = 30.0  # seconds; one is what is promised, a loaded machine may take more


@dataclass(frozen=True)
class Site:
    """Two servers and nginx before them."""

    origin: str
    servers: tuple[str, str]
    pids: tuple[int, int]
    tls: ssl.SSLContext
    action: int

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(verify=self.tls, timeout=60, **more)


@pytest.fixture
def site(pg_url: str, tmp_path: Path) -> Iterator[Site]:
    var = tmp_path / "var"
    action = fill(pg_url, FolderBlobs(tmp_path), b"image")
    Blobs((var / "blobs").as_uri()).put([b"image"])
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, NATIVE, TOKEN, "native")
    (listen,) = free_ports(1)
    pki = ensure_pki(tmp_path / "pki", names=("localhost", "127.0.0.1"), now=SystemClock().now())
    with ExitStack() as stack:
        made = [stack.enter_context(server_process(tmp_path, pg_url, var=var)) for _ in range(2)]
        servers = (made[0][0], made[1][0])
        ports = (int(servers[0].rpartition(":")[2]), int(servers[1].rpartition(":")[2]))
        block = server_block(ports, listen=listen, certificate=pki.server_certificate, key=pki.server_key)
        stack.enter_context(nginx(tmp_path, block, port=listen))
        for origin in servers:
            assert eventually(partial(is_up, origin), within_s=START_S_MAX)
        tls = ssl.create_default_context(cafile=str(pki.ca_certificate))
        yield Site(
            origin=f"https://127.0.0.1:{listen}",
            servers=servers,
            pids=(made[0][1], made[1][1]),
            tls=tls,
            action=action,
        )


def test_no_report_is_lost_or_doubled_though_a_server_is_killed(site: Site, pg_url: str) -> None:
    url = f"{site.origin}/DEFAULT/controller/v1/{VIN}/deploymentBase/{site.action}/feedback"
    with site.client(headers=DDI) as client, ThreadPoolExecutor(16) as pool:

        def send(number: int) -> str:
            step = str(number // 2)  # each is sent twice, at about the same time
            body = {"status": {"execution": "proceeding", "details": [step]}}
            for _ in range(600):
                if number == REPORTS:
                    os.kill(site.pids[0], signal.SIGKILL)
                answer = client.post(url, json=body)
                if answer.status_code == 200:
                    return step
                assert answer.status_code in (502, 503, 504), answer.text
                time.sleep(0.1)
            raise AssertionError(f"report {step} was never acknowledged")

        acknowledged = set(pool.map(send, range(2 * REPORTS)))
    stored = [
        row["step"] for row in rows(pg_url, "SELECT body -> 'details' ->> 0 AS step FROM device_report")
    ]
    assert len(acknowledged) == REPORTS
    assert sorted(stored) == sorted(acknowledged)


def test_both_servers_know_a_change_soon(site: Site, pg_url: str, record_property: Any) -> None:
    took_s = []
    with site.client(headers=DDI) as client, psycopg.connect(pg_url, autocommit=True) as conn:

        def all_say(word: str) -> bool:
            paths = [f"{origin}/DEFAULT/controller/v1/{VIN}" for origin in (*site.servers, site.origin)]
            return all(word in client.get(path).json()["_links"] for path in paths)

        assert all_say("deploymentBase")
        for state, word in [("cancelling", "cancelAction"), ("active", "deploymentBase")] * 3:
            conn.execute("UPDATE assignment SET state = %s", (state,))
            changed_s = time.monotonic()
            assert eventually(partial(all_say, word), within_s=COHERENT_S_MAX)
            took_s.append(time.monotonic() - changed_s)
    record_property("coherent_s", max(took_s))


def test_nginx_is_believed_and_nobody_else(site: Site) -> None:
    path = f"/DEFAULT/controller/v1/{VIN}"
    with site.client(headers=DDI) as client:
        link = client.get(site.origin + path).json()["_links"]["deploymentBase"]["href"]
        assert link.startswith(site.origin + path)
        details = client.get(link).json()
        href = details["deployment"]["chunks"][0]["artifacts"][0]["_links"]["download"]["href"]
        assert href.startswith(site.origin)
        assert client.get(href).content == b"image"
        assert client.get(href, headers={"Range": "bytes=2-3"}).content == b"ag"
    idle = f"{site.origin}/uptane/v1/vehicles/{NATIVE}"
    with site.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        etag = client.get(idle).headers["etag"]
        assert client.get(idle, headers={"If-None-Match": etag}).status_code == 304

    def fail(local: str, times: int) -> list[int]:
        """Log in wrongly from an address, and claim another one each time."""
        transport = httpx.HTTPTransport(verify=site.tls, local_address=local)
        with httpx.Client(transport=transport, timeout=60) as client:
            return [
                client.post(
                    f"{site.origin}/api/v1/login",
                    json={
                        "name": f"nobody-{local}-{n}-{random.Random(n).random()}",
                        "password": "wrong password",
                    },
                    headers={"X-Forwarded-For": f"203.0.113.{n}"},
                ).status_code
                for n in range(times)
            ]

    assert 429 in fail("127.0.0.2", 16)  # each of two servers lets five pass
    assert fail("127.0.0.3", 1) == [401]
