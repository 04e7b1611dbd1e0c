"""What every handler gets: a pool, a clock, ids, settings, the live feed of facts. Made once per server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from litestar.di import NamedDependency
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from ringroad.build.repository.store import OnlineSigners
from ringroad.http.auth import Throttle
from ringroad.http.device.overload import LoadPolicy, Pressure
from ringroad.http.events import FactFeed
from ringroad.http.vehicle_link import VehicleLink
from ringroad.kernel.clock import Clock, Ids, new_secret
from ringroad.loop.telemetry_watch import TelemetryWatch
from ringroad.publish.horizon import Horizon
from ringroad.ship.store.reading import plan_each_time
from ringroad.storage.blobs import Blobs
from ringroad.storage.db import CUT_NETWORK, Connection, transaction
from ringroad.storage.settings import Settings

POOL_CONNECTIONS_MAX = 12  # of PostgreSQL's 100; worker and gateways need some too
POOL_WAIT_S = 5.0  # seconds a handler waits for a connection before it answers 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The server's lifetime, passed to handlers as the dependency `ctx`."""

    settings: Settings
    clock: Clock
    ids: Ids
    pool: ConnectionPool[Connection]
    feed: FactFeed
    throttle: Throttle
    blobs: Blobs
    pressure: Pressure  # of the gateways in this process
    load_signers: Callable[[], OnlineSigners] | None = None  # None: this server cannot publish
    secret: Callable[[int], bytes] = new_secret
    horizon: Horizon = field(default_factory=Horizon)
    exports: list[str] = field(default_factory=list)  # under way: whose each is
    streams: list[str] = field(default_factory=list)  # of events that are open: whose each is
    asking: list[str] = field(default_factory=list)  # vehicles whose answer somebody waits for
    link: VehicleLink | None = None  # None: no NATS; requests to vehicles wait for a server that has one
    watch: TelemetryWatch | None = None  # of telemetry; likewise

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection; statements commit by themselves unless the caller opens a transaction."""
        with self.pool.connection() as conn:
            yield conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Borrow a connection and run the block in one transaction."""
        with self.pool.connection() as conn, transaction(conn):
            yield conn

    @property
    def scratch(self) -> Path:
        """Folder where uploads are spooled."""
        folder = self.settings.uploads
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder


def make_context(
    settings: Settings, *, clock: Clock, ids: Ids, load_signers: Callable[[], OnlineSigners] | None = None
) -> Context:
    """Return a context whose pool is still closed."""
    kwargs: dict[str, Any] = {
        "autocommit": True,
        "row_factory": dict_row,
        "connect_timeout": 5,
        **CUT_NETWORK,
    }
    pool: ConnectionPool[Connection] = ConnectionPool(
        settings.database_url,
        kwargs=kwargs,
        configure=plan_each_time,  # a plan kept for any filters of a list is one for none of them
        min_size=1,
        max_size=POOL_CONNECTIONS_MAX,
        timeout=POOL_WAIT_S,
        check=ConnectionPool.check_connection,
        open=False,
        name="management",
    )

    @contextmanager
    def borrow() -> Iterator[Connection]:
        with pool.connection() as conn, transaction(conn):
            yield conn

    return Context(
        settings=settings,
        link=VehicleLink(settings.nats_url, borrow, clock=clock, ids=ids) if settings.nats_url else None,
        watch=TelemetryWatch(settings.nats_url, borrow, clock=clock, ids=ids) if settings.nats_url else None,
        clock=clock,
        ids=ids,
        pool=pool,
        feed=FactFeed(settings.database_url),
        throttle=Throttle(),
        pressure=Pressure(LoadPolicy(lag_ms=settings.shed_lag_ms)),
        load_signers=load_signers,
        blobs=Blobs(settings.blob_url or settings.blobs.absolute().as_uri()),
    )


Ctx = NamedDependency[Context]
