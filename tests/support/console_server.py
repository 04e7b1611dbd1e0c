"""The real application on a real port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import uvicorn

from ringroad.http import accounts_store
from ringroad.http.app import create_app
from ringroad.http.auth import API_TOKEN_S, Role
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.db import connect
from ringroad.storage.settings import Settings

PASSWORD = "correct horse battery"
START_S = 60.0


@contextmanager
def serving(
    database_url: str,
    var: Path,
    *,
    trusted_proxies: str = "",
    reports_per_min_max: int = 6_000,
    with_gateways: bool = False,
    nats_url: str = "",
    leaf_port: int = 0,
) -> Iterator[str]:
    """Serve the management API and console; yields the origin."""
    settings = Settings(
        var=var,
        database_url=database_url,
        nats_url=nats_url,
        leaf_port=leaf_port,
        trusted_proxies=trusted_proxies,
        reports_per_min_max=reports_per_min_max,
    )
    app = create_app(settings, with_gateways=with_gateways)
    server = uvicorn.Server(
        uvicorn.Config(
            app, port=0, log_level="error", timeout_graceful_shutdown=1, lifespan="on", proxy_headers=False
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = monotonic() + START_S
    while not server.started and thread.is_alive() and monotonic() < deadline:
        sleep(0.02)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(START_S)


def add_account(database_url: str, name: str, role: Role) -> str:
    """Create an account with `PASSWORD`; returns an API token."""
    now = SystemClock().now()
    with connect(database_url) as conn:
        once = accounts_store.issue_one_time_token(
            conn, SystemIds(), name=name, role=role, now=now, secret=new_secret
        )
        accounts_store.set_first_password(
            conn, SystemIds(), token=once, password=PASSWORD, now=now, secret=new_secret
        )
        return accounts_store.issue_token(
            conn, name=name, kind="api", now=now, life_s=API_TOKEN_S, secret=new_secret
        )
