"""The worker process's threads over a real database: they do the rounds, survive its loss, and end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.loop import worker
from ringroad.ship.gate import GatePolicy
from ringroad.signal.store import detect_now
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


class SetClock:
    """The machine's clock, which somebody sets; it counts how often one thread reads it."""

    def __init__(self, thread: str) -> None:
        self.thread, self.set_by, self.reads = thread, timedelta(0), 0

    def now(self) -> datetime:
        self.reads += threading.current_thread().name == self.thread
        return SystemClock().now() + self.set_by

    def monotonic_s(self) -> float:
        return SystemClock().monotonic_s()


def test_a_clock_that_is_set_and_set_back_ends_no_vehicle_and_decides_nothing(
    conn: Connection, pg_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ids = CountingIds()
    fill_programme(conn, ids)
    add_vehicles(conn, range(12))
    story = Story(conn, ids)
    story.now = SystemClock().now()
    story.start(waves=(6,), rollback_installed=True, gate=GatePolicy(reports_min=3, silence_s_max=600))
    offered = story.vehicles("offered")
    stop, clock = threading.Event(), SetClock("reconciler")
    settings = Settings(
        var=tmp_path, database_url=pg_url, nats_url="nats://127.0.0.1:9", worker_interval_ms=50
    )
    thread = threading.Thread(target=worker.run, args=(settings, stop), kwargs={"clock": clock}, daemon=True)
    thread.start()
    try:
        for action in offered[:2]:
            story.ddi(action, "closed", "success", kind="closed")
        for action in offered[2:]:
            story.ddi(action, "proceeding", "none", kind="progress")
        eventually(lambda: (len(story.vehicles("installed")), len(story.vehicles("active"))) == (2, 4))
        for jump in (timedelta(days=8), timedelta(0), timedelta(days=-8), timedelta(0), timedelta(days=400)):
            clock.set_by, before = jump, clock.reads
            eventually(lambda before=before: clock.reads > before + 2)  # type: ignore[misc]
            assert (len(story.vehicles("installed")), len(story.vehicles("active"))) == (2, 4)
            assert story.campaign().state == "running"
        assert capfd.readouterr().out.count("the clock was set") == 3, "once each time, not each second"
        clock.set_by = timedelta(0)
        for action in offered[2:]:
            story.ddi(action, "closed", "success", kind="closed")
        eventually(lambda: story.campaign().wave == 2)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def test_no_finding_is_opened_and_no_verdict_given_by_a_clock_that_was_set(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[datetime] = []

    def watched(*args: Any, **more: Any) -> Any:
        looked.append(args[3].now())
        return detect_now(*args, **more)

    monkeypatch.setattr(worker, "detect_now", watched)
    stop, clock = threading.Event(), SetClock("detect")
    settings = Settings(var=tmp_path, database_url=pg_url, nats_url="nats://127.0.0.1:9", detect_every_s=1)
    thread = threading.Thread(target=worker.run, args=(settings, stop), kwargs={"clock": clock}, daemon=True)
    thread.start()
    try:
        eventually(lambda: len(looked) > 1)
        clock.set_by = timedelta(days=8)
        before = clock.reads
        eventually(lambda: clock.reads > before + 5)
        clock.set_by = timedelta(0)
        found = len(looked)
        eventually(lambda: len(looked) > found + 1)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert max(looked) < SystemClock().now() + timedelta(hours=1)
