"""The balance of a line is looked at by the worker: when its work is told, and as what it rests on changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.balancing import LookedAt, look_at_balances
from ringroad.storage.db import connect
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
IDS = SystemIds()
DAY_S = 86_400
TASKS: list[dict[str, Any]] = [
    {"id": "axle", "seconds": 20, "station": "marriage"},
    {"id": "engine", "seconds": 20, "station": "marriage"},
    {"id": "battery", "seconds": 20, "station": "marriage"},
    {"id": "flash", "seconds": 10, "after": ["engine"], "station": "flash_and_test"},
]


class Ahead(SystemClock):
    """The machine's clock, some days ahead."""

    def __init__(self) -> None:
        self.days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


def test_a_line_is_looked_at_when_its_work_is_told_and_then_as_it_changes_once_a_day(
    pg_url: str, tmp_path: Path
) -> None:
    token = add_account(pg_url, "olga", Role.OPERATOR)
    seen: dict[str, LookedAt] = {}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers={"Authorization": f"Bearer {token}"}) as olga,
        connect(pg_url) as conn,
    ):
        source = (
            (FIRST / "programme.toml").read_text(encoding="utf-8").replace("cycle_s = 58", "cycle_s = 20")
        )
        assert olga.post("/programmes", json={"source": source}).is_success
        clock = Ahead()

        def look() -> list[str]:
            return look_at_balances(conn, IDS, clock, seen, every_s=DAY_S)

        path = "/programmes/wren"
        assert olga.get(f"{path}/balance").status_code == 404
        assert look() == [], "nobody told what its work is"
        wrong = [{**TASKS[0], "station": "paint"}, *TASKS[1:]]
        refused = olga.post(f"{path}/work", json={"tasks": wrong})
        assert (refused.status_code, "which the line does not have" in refused.text) == (422, True)
        assert olga.post(f"{path}/work", json={"tasks": TASKS}).status_code == 201
        assert olga.get(f"{path}/balance").json()["looked_at"] is None

        assert look() == ["wren"]
        assert look() == [], "nothing changed"
        found = olga.get(f"{path}/balance").json()
        assert (found["proposed"], found["tasks"], found["told_by"]) == (True, 4, "olga")
        assert found["takt_s"][1] < found["takt_s"][0]
        assert "with the new balance; better" in found["reason"]
        page = olga.get(f"{origin}/plant").text
        assert "Nothing follows by itself" in page
        before = olga.get(path).json()

        slower = source.replace("cycle_s = 20", "cycle_s = 60")
        assert slower != source
        generation = before["generation"]
        assert olga.post("/programmes", json={"source": slower, "generation": generation}).is_success
        assert look() == [], "it was looked at within the day"
        clock.days += 1
        assert look() == ["wren"]
        assert olga.get(f"{path}/balance").json()["proposed"] is False
        clock.days += 1
        assert look() == [], "what it rests on is as it was"
        seen.clear()
        assert look() == [], "another worker knows it, too"

        assert olga.post(f"{path}/work", json={"tasks": TASKS}).status_code == 201
        assert look() == ["wren"], "work that was told anew is looked at at once"
        facts = olga.get("/facts", params={"subject": "wren"}).json()
        kinds = [each["kind"] for each in facts if each["kind"].startswith("line.")]
        assert kinds == [
            "line.balanced",
            "line.work_told",
            "line.balanced",
            "line.balanced",
            "line.work_told",
        ]
        assert all(each["causes"] for each in facts if each["kind"] == "line.balanced")
