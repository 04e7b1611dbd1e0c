"""What a killed PostgreSQL leaves behind does not stop the next start."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable
from ringroad.storage.postgres import DATABASE, Postgres
from ringroad.storage.process import choose_run_as, is_alive, wait_gone

DEATH_S_MAX = 30.0  # seconds


@pytest.fixture
def home(engine_folder: Path) -> Path:
    return engine_folder / "leftovers" / "postgres"


def server_of(home: Path) -> Postgres:
    return Postgres(home=home, clock=SystemClock(), may_create_account=False)


@pytest.fixture
def killed(home: Path) -> Iterator[Postgres]:
    """A server that was killed, and that nobody has waited for: its process id stays taken."""
    server = server_of(home)
    server.start()
    assert server.process is not None
    with psycopg.connect(server.url(DATABASE), autocommit=True) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        conn.execute("TRUNCATE kept")
        conn.execute("INSERT INTO kept VALUES ('acknowledged')")
    server.process.send_signal(signal.SIGKILL)
    assert wait_gone(server.process.pid, clock=SystemClock(), wait_s=DEATH_S_MAX)
    yield server
    server.process.wait(timeout=DEATH_S_MAX)


def test_a_killed_server_that_nobody_has_buried_does_not_stop_the_next_start(
    killed: Postgres, home: Path
) -> None:
    assert killed.process is not None
    os.kill(killed.process.pid, 0)  # still taken
    assert not is_alive(killed.process.pid)
    again = server_of(home)
    again.start()
    try:
        with psycopg.connect(again.url(DATABASE)) as conn:
            assert conn.execute("SELECT word FROM kept").fetchall() == [("acknowledged",)]
    finally:
        again.stop()


def test_a_socket_lock_that_names_a_stranger_does_not_stop_the_next_start(
    killed: Postgres, home: Path
) -> None:
    [lock] = Path(killed.url().partition("host=")[2].partition("&")[0].replace("%2F", "/")).glob("*.lock")
    run_as = choose_run_as(binary=Path("/bin/sleep"), folder=home / "data")
    with subprocess.Popen(["sleep", "600"], **run_as.popen()) as stranger:
        try:
            lock.write_text(f"{stranger.pid}\n{home / 'data'}\n0\n5432\n")
            again = server_of(home)
            again.start()
            again.stop()
        finally:
            stranger.kill()


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    with pytest.raises(Unavailable, match=r'did not start: .*"no_such_setting"'):
        Postgres(
            home=home, clock=SystemClock(), config={"no_such_setting": "1"}, may_create_account=False
        ).start()
