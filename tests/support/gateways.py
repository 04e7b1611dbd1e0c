"""A real gateway process-in-a-thread on loopback, over a real database, with one release for one vehicle."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
import uvloop
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

from ringroad.http.device.app import GatewayConfig, Gateways
from ringroad.http.device.enrolment import Enrolment
from ringroad.http.device.native import ApplyManifest
from ringroad.http.device.overload import LoadPolicy, Pressure
from ringroad.http.device.steering import PollPolicy
from ringroad.http.serving import UVICORN
from ringroad.kernel.clock import Clock, SystemClock, SystemIds, new_secret
from ringroad.storage.db import Connection, connect
from ringroad.storage.pki import ensure_pki
from ringroad.storage.pki_clients import ClientTrust, client_authorities, issue_client
from ringroad.storage.settings import Network

VIN = "WRRDEM00000000001"
TOKEN = "token-of-vehicle-1"
UNHURRIED = LoadPolicy(lag_ms=60_000)  # tests share the machine


@dataclass(frozen=True)
class FolderBlobs:
    """Blobs in a folder, named by sha256."""

    folder: Path

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        with (self.folder / sha256).open("rb") as file:
            file.seek(start)
            return file.read(length)

    def put(self, data: bytes) -> str:
        name = hashlib.sha256(data).hexdigest()
        (self.folder / name).write_bytes(data)
        return name


def fill(
    url: str, blobs: FolderBlobs, image: bytes, *, gateway: str = "ddi", filename: str = "fw-2.swu"
) -> int:
    """Insert one vehicle, one signed release and one offered assignment; return the action id."""
    sha256 = blobs.put(image)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO programme (id, digest, source, document, imported_at) VALUES ('p', '', '', '{}', now())"
        )
        conn.execute(
            "INSERT INTO software_package (id, programme_id, ecu, name, version, filename, format, hardware_ids,"
            " image_sha256, image_sha512, image_bytes, release_counter, added_at)"
            " VALUES ('pkg_1', 'p', 'box', 'fw', '2', %s, 'swu', '{\"default:1.0\"}', %s, '', %s, 2, now())",
            (filename, sha256, len(image)),
        )
        conn.execute(
            "INSERT INTO release (id, programme_id, name, version, state, document, created_by, created_at)"
            " VALUES ('release_1', 'p', 'r', '2', 'signed', %s, 'test', now())",
            (Jsonb({"variants": {"box": {"box": "pkg_1"}}}),),
        )
        add_vehicle(conn, VIN, TOKEN, gateway)
        conn.execute(
            "INSERT INTO campaign (id, name, release_id, state, created_by, created_at)"
            " VALUES ('campaign_1', 'c', 'release_1', 'running', 'test', now())"
        )
        row = conn.execute(
            "INSERT INTO assignment (campaign_id, vin, wave, state) VALUES ('campaign_1', %s, 1, 'offered')"
            " RETURNING action_id",
            (VIN,),
        ).fetchone()
        assert row is not None
        return int(row[0])


def add_vehicle(conn: psycopg.Connection[Any], vin: str, token: str, gateway: str) -> None:
    conn.execute(
        "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
        " VALUES (%s, 'p', 'box', %s, %s, 'S1', now())",
        (vin, gateway, hashlib.sha256(token.encode()).digest()),
    )


def rows(url: str, query: str) -> list[dict[str, Any]]:
    with psycopg.connect(url, row_factory=dict_row) as conn:
        return conn.execute(query).fetchall()


@contextmanager
def serving(
    url: str,
    blobs: FolderBlobs,
    *,
    apply_manifest: ApplyManifest | None = None,
    poll_s: int = 2,
    clock: Clock | None = None,
    reports_per_min_max: int = 1_000,
    load: LoadPolicy = UNHURRIED,
    silence_s_max: float = 3_600.0,  # some tests turn minutes by hand
    pki: Path | None = None,
    client_ca: Path | None = None,
    signed_url: Callable[[str], str | None] | None = None,
    proxies: tuple[Network, ...] = (),
) -> Iterator[str]:
    """Run the gateways until the block ends; yield their origin. With a folder for `pki`: over TLS."""
    tls: dict[str, Any] = {}
    if pki is not None:
        own = ensure_pki(pki, names=("127.0.0.1",), now=SystemClock().now())
        tls = {
            "ssl_certfile": own.server_certificate, "ssl_keyfile": own.server_key,
            "ssl_ca_certs": str(client_authorities(pki, client_ca)), "ssl_cert_reqs": ssl.CERT_OPTIONAL,
        }  # fmt: skip
    pool: ConnectionPool[Connection] = ConnectionPool(
        url, min_size=1, max_size=4, kwargs={"autocommit": True, "row_factory": dict_row}, open=True
    )
    gateways = Gateways(
        GatewayConfig(
            polls=PollPolicy(poll_s=poll_s, poll_busy_s=1),
            reports_per_min_max=reports_per_min_max,
            silence_s_max=silence_s_max,
            proxies=proxies,
        ),
        blobs=blobs,
        clock=clock or SystemClock(),
        open_connection=lambda: connect(url),
        borrow=pool.connection,
        apply_manifest=apply_manifest,
        pressure=Pressure(load),
        signed_url=signed_url,
        trust=ClientTrust(pki, client_ca) if pki else None,
        enrol=lambda made: Enrolment(
            made,
            pool.connection,
            ids=SystemIds(),
            secret=new_secret,
            issue=partial(issue_client, pki or Path()),
        ),
    )
    server = uvicorn.Server(uvicorn.Config(gateways, port=0, lifespan="off", **tls, **UVICORN))
    ready = threading.Event()
    thread = threading.Thread(target=lambda: uvloop.run(_run(gateways, server, ready)), daemon=True)
    thread.start()
    assert ready.wait(60), "the gateway did not start"
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(60)
        pool.close()


async def _run(gateways: Gateways, server: uvicorn.Server, ready: threading.Event) -> None:
    await gateways.start()
    serve = asyncio.create_task(server.serve())
    while not (server.started and gateways.model.fresh) and not serve.done():  # noqa: ASYNC110 - others' conditions
        await asyncio.sleep(0.02)
    ready.set()
    await serve
    await gateways.stop()


def eventually(check: Callable[[], Any], *, within_s: float = 60.0) -> Any:
    """Return the first true value of `check`; fail when there is none in time."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s} s")
