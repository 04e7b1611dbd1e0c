"""Real engines for tests: one PostgreSQL and one NATS server per session, started when first asked for.

`pg_url` is a fresh, migrated database per test, copied from a template. At its end every change of state that the
product made there must have come with a fact.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from uuid import uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql

from ringroad.kernel.clock import SystemClock
from ringroad.storage.broker import Broker, ensure_stream
from ringroad.storage.db import Connection, connect
from ringroad.storage.migrate import migrate
from ringroad.storage.postgres import Postgres
from support.ledger_watch import changes_without_fact, watch
from support.ports import free_port
from support.programs import may_skip

TEMPLATE = "ringroad_template"
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is ours alone
MEMORY_BYTES_MIN = 4 << 30  # of four workers, each with a database server and its log

# A shared machine may be slow; what a test draws does not depend on it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# A shell ignores Ctrl-C for what it runs in the background, and a process hands that on to its children.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that is skipped for want of a program on a machine that was made for the tests."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and not may_skip(report.longrepr[2], os.environ):
        report.outcome, report.longrepr = "failed", f"it must not be skipped here: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session")
def engine_folder() -> Iterator[Path]:
    """A folder with a short path, open for passing through, so that sockets and accounts work.

    In memory where there is room. Each database of a test is a thousand files, and ext4 without a journal looks through
    all that were deleted in the last minute before it gives a new one its number: half a second of CPU for a database.
    """
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    folder = Path(tempfile.mkdtemp(prefix="ringroad-test-", dir=MEMORY if roomy else None))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(engine_folder: Path) -> Iterator[Postgres]:
    """The session's PostgreSQL, with a migrated template; not durable, for speed."""
    server = Postgres(
        home=engine_folder / "postgres",
        clock=SystemClock(),
        config={
            "fsync": "off",
            "full_page_writes": "off",
            "synchronous_commit": "off",
            "max_connections": "50",
            "max_wal_size": "256MB",
        },
        may_create_account=False,
    )
    server.start()
    with psycopg.connect(server.url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {TEMPLATE}")
    with connect(server.url(TEMPLATE)) as template:
        migrate(template, now=SystemClock().now())
        add_a_column_to_every_table(template)
        watch(template)
    yield server
    server.stop()


def add_a_column_to_every_table(conn: Connection) -> None:
    """Make the schema one that a newer release has begun to migrate: code of before must go on over it."""
    rows = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    for row in rows:
        conn.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN of_a_newer_release text").format(
                sql.Identifier(row["tablename"])
            )
        )


@pytest.fixture
def pg_url(postgres: Postgres) -> Iterator[str]:
    """URL of a fresh, migrated database; dropped after the test."""
    with fresh_database(postgres) as url:
        yield url


@pytest.fixture
def second_pg_url(postgres: Postgres) -> Iterator[str]:
    """URL of another fresh, migrated database, for who has one of its own."""
    with fresh_database(postgres) as url:
        yield url


@contextmanager
def fresh_database(postgres: Postgres) -> Iterator[str]:
    name = f"test_{uuid4().hex[:16]}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        yield postgres.url(name)
        with psycopg.connect(postgres.url(name)) as watched:
            without_fact = changes_without_fact(watched)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert without_fact == [], "a state changed in a transaction that appended no fact"


@pytest.fixture
def pg_url_empty(postgres: Postgres) -> Iterator[str]:
    """URL of a fresh database without any table; dropped after the test."""
    name = f"test_{uuid4().hex[:16]}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
        yield postgres.url(name)
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def broker(engine_folder: Path) -> Iterator[Broker]:
    """The session's NATS server, with the telemetry stream."""
    server = Broker(home=engine_folder / "nats", clock=SystemClock(), port=free_port(), mqtt_port=free_port())
    server.start()
    asyncio.run(ensure_stream(server.url(), bytes_max=64 * 1024**2, many_consumers=True))
    yield server
    server.stop()


@pytest.fixture
def nats_url(broker: Broker) -> str:
    """URL of the session's NATS server. It is shared: use subjects, VINs and durable names of your own."""
    return broker.url()
