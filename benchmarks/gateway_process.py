"""The gateway alone in one process, set up as `ringroad serve` sets it up."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import structlog
import uvicorn
import uvloop
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from ringroad.http.device.app import GatewayConfig, Gateways
from ringroad.http.device.steering import PollPolicy
from ringroad.http.serving import UVICORN
from ringroad.kernel.clock import SystemClock
from ringroad.storage.db import Connection, connect
from ringroad.storage.pki import pki_in
from ringroad.storage.pki_clients import client_authorities


class Zeros:
    """Images of zeros: their digests are asked for, nothing is downloaded here."""

    def read_range(self, sha256: str, *, start: int, length: int) -> bytes:
        return bytes(length)


def tls() -> dict[str, Any]:
    """Return what uvicorn is told where polls come over TLS."""
    if not (folder := os.environ.get("BENCH_PKI")):
        return {}
    pki = pki_in(Path(folder))
    return {
        "ssl_certfile": pki.server_certificate,
        "ssl_keyfile": pki.server_key,
        "ssl_ca_certs": str(client_authorities(Path(folder), None)),
        "ssl_cert_reqs": ssl.CERT_OPTIONAL,
    }


async def main() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    url = os.environ["BENCH_DATABASE_URL"]
    pool: ConnectionPool[Connection] = ConnectionPool(
        url, min_size=1, max_size=4, kwargs={"autocommit": True, "row_factory": dict_row}, open=True
    )
    gateways = Gateways(
        GatewayConfig(polls=PollPolicy(poll_s=300, poll_busy_s=5), reports_per_min_max=1_000),
        blobs=Zeros(), clock=SystemClock(),
        open_connection=lambda: connect(url), borrow=pool.connection,
    )  # fmt: skip
    await gateways.start()
    server = uvicorn.Server(uvicorn.Config(gateways, lifespan="off", **UVICORN, **tls()))
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # several of us share a port
    line.bind(("127.0.0.1", int(os.environ["BENCH_PORT"])))
    serve = asyncio.create_task(server.serve(sockets=[line]))
    while not (server.started and gateways.model.fresh):  # noqa: ASYNC110 - others' conditions
        await asyncio.sleep(0.02)
    print(line.getsockname()[1], flush=True)
    await serve
    await gateways.stop()
    pool.close()


if __name__ == "__main__":
    uvloop.run(main())
