"""A demo as a process of its own, and what its database, lake and vehicles say afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ringroad.cli.supervisor import read_state
from ringroad.storage.endpoints import resolve
from ringroad.storage.lake import Lake
from ringroad.storage.process import command_of, is_alive
from ringroad.storage.settings import Settings
from ringroad.vehicle.journal import parse_records
from ringroad.vehicle.outbox import report_of
from ringroad.vehicle.records import decode_entry
from ringroad.vehicle.states import Born, CampaignState, fold

CHECKOUT = Path(__file__).parents[2]
END_S_MAX = 60.0  # seconds a demo gets to end everything
STAYS = "Ctrl-C ends it"
LAST_LINE = " s in all"  # nothing of the story comes after it


@dataclass(kw_only=True)
class Demo:
    """One running demo: its lines as they come, its processes, its folder."""

    folder: Path
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def settings(self) -> Settings:
        """Where the demo's server keeps its things."""
        return Settings(var=self.folder / "server")

    def listen(self) -> None:
        """Collect what the demo prints; ends with it."""
        for line in self.process.stdout or ():
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append("")  # what waits is woken, and sees that the process ended
            self.news.notify_all()

    def wait_for(self, pattern: str, *, within_s: float) -> str:
        """Return the first line that matches."""
        deadline_s = time.monotonic() + within_s
        with self.news:
            while True:
                found = next((line for line in self.lines if re.search(pattern, line)), None)
                if found is not None:
                    return found
                left_s = deadline_s - time.monotonic()
                told_all = any(line.endswith(LAST_LINE) for line in self.lines)
                if left_s <= 0 or told_all or not self.alive:
                    raise AssertionError(f"no line {pattern!r}\n{self.told()}")
                self.news.wait(min(left_s, 1.0))

    @property
    def alive(self) -> bool:
        """Whether the demo runs."""
        return self.process.poll() is None

    def told(self) -> str:
        """Everything that may say what went wrong."""
        text = "\n".join(self.lines)
        up = self.folder / "up.log"
        return f"{text}\n--- up.log\n{up.read_text()[-2000:] if up.exists() else ''}"

    def pids(self) -> dict[str, list[int]]:
        """The demo's own processes by role; nobody else's."""
        children = read_state(self.settings).get("children", {})
        found = {name: [int(pid)] for name, pid in children.items() if is_alive(int(pid))}
        for pid in children_of(self.process.pid):
            words = command_of(pid)
            for role, word in (("vehicle", "vehicle"), ("vecu", "vecu")):
                if word in words and "run" in words:
                    found.setdefault(role, []).append(pid)
            if words and Path(words[0]).name == "swupdate":
                found.setdefault("swupdate", []).append(pid)
        return found

    def stop(self) -> int:
        """End it as a person would, with Ctrl-C; return its exit status."""
        if self.alive:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(END_S_MAX)
        except BaseException:  # also the time-out of the test itself
            self._end_by_force()
            raise

    def _end_by_force(self) -> None:
        supervisor = read_state(self.settings).get("pid")
        pids = [pid for each in self.pids().values() for pid in each]
        for pid in [self.process.pid, *([supervisor] if supervisor else []), *pids]:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def demo(folder: Path, *, seed: int, vehicles: int) -> Iterator[Demo]:
    """Run `ringroad demo`; whatever happens, nothing of it runs afterwards."""
    words = [sys.executable, "-m", "ringroad.cli", "demo", "--seed", str(seed)]
    words += ["--vehicles", str(vehicles), "--folder", str(folder)]
    log = folder.with_suffix(".err")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*words, "--firmware", str(CHECKOUT / ".firmware")], cwd=CHECKOUT, text=True, stdout=subprocess.PIPE,
            stderr=errors, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    running = Demo(folder=folder, process=process)
    listener = threading.Thread(target=running.listen)
    listener.start()
    try:
        yield running
    finally:
        try:
            running.stop()
        finally:
            listener.join(60)
            if process.stdout is not None:
                process.stdout.close()
            sys.stdout.write(log.read_text()[-3000:])  # pytest shows it with a failure


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after_name[1]) == pid and after_name[0] not in "ZX":
            found.append(int(stat.parent.name))
    return sorted(found)


def rows(run: Demo, sql: str, *params: object) -> list[dict[str, Any]]:
    """Ask the demo's database."""
    url = resolve(run.settings).database_url
    with psycopg.connect(url, row_factory=dict_row) as conn:
        return conn.execute(sql, params or None).fetchall()


# What the vehicles believe to be safe ------------------------------------------------------------------


def journals(run: Demo) -> list[Path]:
    """Return the folders of the vehicles; a SWUpdate box has no journal."""
    return [each for each in sorted((run.folder / "vehicles").iterdir()) if (each / "journal").exists()]


def acknowledged_reports(folder: Path) -> list[str] | None:
    """Return the ids of a vehicle's reports that the server acknowledged; None when its journal was shortened."""
    told = folder / "reports.acknowledged"
    if not told.exists():
        return []
    epoch, _, number = told.read_text().strip().partition(" ")
    state, found = CampaignState(), []
    for record in parse_records((folder / "journal").read_bytes())[0]:
        entry = decode_entry(record.payload)
        if record.sequence == 1 and not isinstance(entry, Born):
            return None
        state = fold(state, entry)
        report = report_of(record.sequence, entry, state)
        if report is not None and record.sequence <= int(number):
            found.append(report.id)
    if state.epoch != epoch or not found:
        return None
    return found


def acknowledged_batches(folder: Path) -> int:
    """Return how many telemetry batches of a vehicle the broker acknowledged."""
    told = folder / "telemetry" / "acknowledged"
    if not told.exists():
        return 0
    sent = json.loads(told.read_text())
    assert sent["dropped"] == 0, f"{folder.name} dropped telemetry"
    return int(sent["batch"])


def batches_in_lake(run: Demo) -> dict[str, Counter[tuple[int, int]]]:
    """Return, by VIN, how often each row (batch, index) is counted when the lake's samples are read."""

    def ask(view: Any) -> list[dict[str, Any]]:
        table = view.table("samples")
        found: list[dict[str, Any]] = view.rows(table.select("vin", "batch", "index"))
        return found

    counted: dict[str, Counter[tuple[int, int]]] = {}
    for row in Lake(run.settings.lake).read(ask):
        counted.setdefault(row["vin"], Counter())[row["batch"], row["index"]] += 1
    return counted
