"""The worker process's threads over a real database: they do the rounds, survive its loss, and end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.loop import worker
from ringroad.storage.db import Connection
from ringroad.storage.settings import Settings
from support.fleet import CountingIds, Story, add_vehicles, fill_programme

pytestmark = pytest.mark.engines


def eventually(check: Callable[[], bool], *, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.05)


def test_the_worker_folds_reports_survives_a_lost_database_and_stops(
    conn: Connection, pg_url: str, tmp_path: Path
) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(6))
    story = Story(conn, ids)
    story.now = SystemClock().now()
    story.start(waves=(2,))
    stop = threading.Event()
    settings = Settings(
        var=tmp_path, database_url=pg_url, nats_url="nats://127.0.0.1:9", worker_interval_ms=50
    )
    thread = threading.Thread(target=worker.run, args=(settings, stop), daemon=True)
    thread.start()
    try:
        for action in story.vehicles("offered"):
            story.ddi(action, "closed", "success", kind="closed")
        eventually(lambda: story.campaign().wave == 2)
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for action in story.vehicles("offered"):
            story.ddi(action, "closed", "success", kind="closed")
        eventually(lambda: story.campaign().state == "finished")
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
