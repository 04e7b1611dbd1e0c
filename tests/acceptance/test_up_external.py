"""`ringroad up` with engines of somebody else's: a PostgreSQL, a NATS and a store by address."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import nats
import psycopg
import pytest

from ringroad.cli.external import require_version
from ringroad.cli.supervisor import end_supervisor, read_state
from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Conflict
from ringroad.storage.broker import Broker, find_server
from ringroad.storage.db import connect
from ringroad.storage.migrate import load_migrations, migrate, plan_migrations, read_applied
from support.cli_story import PASSWORD, PROGRAMME
from support.gateways import eventually
from support.installations import Installation, installation, refused
from support.ports import free_port

SUBJECT = "ringroad.v1.RRTEST00000000001.telemetry"


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Installation]:
    made = installation(tmp_path)
    yield made
    if read_state(made.settings()):
        end_supervisor(made.settings(), SystemClock())


@pytest.fixture
def other_nats(engine_folder: Path) -> Iterator[str]:
    """A NATS that nobody set up for us."""
    server = Broker(
        home=engine_folder / "other", clock=SystemClock(), port=free_port(), mqtt_port=free_port()
    )
    server.start()
    yield server.url()
    server.stop()


@pytest.mark.engines
@pytest.mark.parametrize("how", ["file", "environment"])
def test_everything_works_on_engines_of_somebody_else(
    new: Installation, pg_url_empty: str, other_nats: str, how: str
) -> None:
    given = {
        "database_url": pg_url_empty,
        "nats_url": other_nats,
        "blob_url": (new.folder / "store").as_uri(),
    }
    if how == "file":
        lines = [f'{name} = "{value}"' for name, value in given.items()]
        (new.folder / "ringroad.toml").write_text("\n".join(lines))
    else:
        new.env |= {f"RINGROAD_{name.upper()}": value for name, value in given.items()}
    with connect(pg_url_empty) as conn:  # as the release before left it, if there was one
        migrate(conn, now=SystemClock().now(), available=load_migrations()[:-2])
    done = new.run("up", "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "applied 2 migrations" in done.stdout
    assert not (new.var / "postgres").exists()
    assert not (new.var / "nats").exists()
    publish(other_nats, b"not json")
    with psycopg.connect(pg_url_empty, autocommit=True) as record:
        eventually(
            lambda: record.execute("SELECT reason FROM quarantine").fetchone() is not None, within_s=30
        )
    health = httpx.get(f"http://127.0.0.1:{new.env['RINGROAD_HTTP_PORT']}/health", timeout=30).json()
    assert health == {
        "status": "ok",
        "database": True,
        "express": True,
        "gateways": "ok",
        "telemetry": "ok",
        "clock": "ok",
        "hint": "",
    }
    token = next(line.split()[1] for line in done.stdout.splitlines() if line.strip().startswith("token"))
    add_a_package(new, token)
    assert len([path for path in (new.folder / "store").rglob("*") if path.is_file()]) == 1
    told = new.run("doctor").stdout
    for line in (
        "PostgreSQL 18, of database_url",
        "JetStream, of nats_url",
        "file store, of blob_url",
        "1 image of",
    ):
        assert line in told
    assert new.run("status").returncode == 0
    assert new.run("down").returncode == 0
    publish(other_nats, b"they are not ours to end")


@pytest.mark.engines
def test_the_second_half_of_a_migration_waits_while_the_release_before_still_runs(
    new: Installation, pg_url_empty: str
) -> None:
    new.env["RINGROAD_DATABASE_URL"] = pg_url_empty
    with connect(pg_url_empty) as conn:
        migrate(conn, now=SystemClock().now(), available=load_migrations()[:-2])
    for more in (["--pre-only"], ["--pre-only"], []):
        done = new.run("up", "--engines-only", "--detach", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        assert new.run("down").returncode == 0
        with connect(pg_url_empty) as conn:
            missing = plan_migrations(load_migrations(), read_applied(conn))
        assert [each.is_post for each in missing] == ([True] if more else [])


def publish(url: str, payload: bytes) -> None:
    async def run() -> None:
        connection = await nats.connect(url)
        await connection.jetstream().publish(SUBJECT, payload)
        await connection.close()

    asyncio.run(run())


def add_a_package(made: Installation, token: str) -> None:
    for name, text in (("password", PASSWORD), ("programme.toml", PROGRAMME), ("brake.bin", "brake" * 99)):
        (made.folder / name).write_text(text)
    for words in (
        ("account", "login", "--one-time", "--password-file", "password"),
        ("programme", "import", "programme.toml"),
        ("package", "add", "brake.bin", "--ecu", "brake", "--version", "1.0.0"),
    ):
        done = made.run(*words, piped=token)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.engines
@pytest.mark.parametrize(
    ("name", "value", "kind", "words"),
    [
        (
            "DATABASE_URL",
            "postgresql://u:secret@127.0.0.1:1/x",
            "unavailable",
            ["refused", "check database_url"],
        ),
        ("DATABASE_URL", "htp:/secret", "invalid_input", ["no address", "check database_url"]),
        ("DATABASE_URL", "postgresql://u:%secret@h/x", "invalid_input", ["no address"]),
        ("NATS_URL", "nats://u:secret@127.0.0.1:1", "unavailable", ["does not answer", "check nats_url"]),
        ("NATS_URL", "http://secret y", "unavailable", ["check nats_url"]),
        ("BLOB_URL", "gopher://secret", "invalid_input", ["no store we know", "s3://"]),
        ("BLOB_URL", "file:///proc/ringroad", "unavailable", ["cannot write", "blob_url"]),
    ],
)
def test_an_address_that_leads_nowhere_is_told_before_anything_is_made(
    new: Installation, name: str, value: str, kind: str, words: list[str]
) -> None:
    done = new.run("up", **{f"RINGROAD_{name}": value})
    refused(done, kind, *words)
    assert "secret" not in done.stderr
    assert not new.var.exists()


@pytest.mark.engines
def test_a_database_that_refuses_us_or_cannot_be_ours_is_told_and_left_alone(
    new: Installation, pg_url_empty: str
) -> None:
    def up(url: str = pg_url_empty) -> subprocess.CompletedProcess[str]:
        return new.run("up", RINGROAD_DATABASE_URL=url)

    user, _, rest = pg_url_empty.rpartition("@")
    refused(up(f"{user.rpartition(':')[0]}:wrong@{rest}"), "unavailable", "password authentication failed")
    refused(up(pg_url_empty.replace("/test_", "/no_")), "unavailable", "does not exist")
    with psycopg.connect(pg_url_empty, autocommit=True) as conn:
        conn.execute("CREATE TABLE wordpress (id integer)")
        refused(up(), "conflict", "wordpress", "nothing was changed")
        conn.execute("DROP TABLE wordpress")
        with connect(pg_url_empty) as ours:
            migrate(ours, now=SystemClock().now())
        conn.execute("INSERT INTO schema_migration VALUES ('0099_from_the_future_pre.sql', 'x', now())")
        refused(up(), "conflict", "newer than this code", "nothing was changed")
    assert not new.var.exists()


@pytest.mark.engines
def test_a_broker_without_streams_or_with_another_password_is_told(
    new: Installation, other_nats: str
) -> None:
    wrong = other_nats.replace("server:", "server:no")
    refused(new.run("up", RINGROAD_NATS_URL=wrong), "unavailable", "refuses our user or password")
    port = free_port()
    plain = subprocess.Popen(
        [str(find_server()), "-a", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: listens(port))
        url = f"nats://127.0.0.1:{port}"
        refused(new.run("up", RINGROAD_NATS_URL=url), "unavailable", "has no JetStream", "-js")
    finally:
        plain.terminate()
        plain.wait(timeout=60)
    assert not new.var.exists()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_postgresql_that_is_too_old_is_told() -> None:
    require_version(15)
    require_version(18)
    with pytest.raises(Conflict, match="version 14") as caught:
        require_version(14)
    assert "15 or newer" in caught.value.hint
