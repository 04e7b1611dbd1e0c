"""The real application on a real port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import monotonic, sleep

import uvicorn
from litestar import Litestar

from ringroad.http import accounts_store
from ringroad.http.app import create_app, create_management
from ringroad.http.auth import API_TOKEN_S, SALT_BYTES, Role, hash_password
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import connect, transaction
from ringroad.storage.ledger import append_fact
from ringroad.storage.settings import Settings

PASSWORD = "correct horse battery"
START_S = 60.0
_idle: list[Litestar] = []


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
    management = _idle.pop() if _idle else create_management()  # 0.6 CPU-s, and nothing of it is of one test
    app = create_app(settings, with_gateways=with_gateways, management=management)
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
        if not thread.is_alive():
            _idle.append(management)


def add_account(database_url: str, name: str, role: Role) -> str:
    """Create an account with `PASSWORD`; returns an API token."""
    now = SystemClock().now()
    with connect(database_url) as conn:
        accounts_store.issue_one_time_token(
            conn, SystemIds(), name=name, role=role, now=now, secret=new_secret
        )
        with transaction(conn):
            accounts_store.SQL.set_password(conn, name=name, password_hash=_password_hash())
            append_fact(
                conn, SystemIds(), kind=FactKind.ACCOUNT_PASSWORD_SET, subject=name, actor=name, now=now
            )
            accounts_store.revoke_all(conn, name)
        return accounts_store.issue_token(
            conn, name=name, kind="api", now=now, life_s=API_TOKEN_S, secret=new_secret
        )


@cache
def _password_hash() -> str:
    return hash_password(PASSWORD, new_secret(SALT_BYTES))  # slow on purpose
