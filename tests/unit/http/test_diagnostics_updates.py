"""Updates of a vehicle on its page of diagnostics: the newest first, by their times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ringroad.http.console.diagnostics_updates import updates_of
from ringroad.signal.diagnose import Job

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def hours_ago(hours: int) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


def job(path: str, answer: dict[str, Any], *, hours: int = 0) -> Job:
    at = NOW - timedelta(hours=hours)
    return Job(
        id=path, session_id="s", vin="V", method="GET", path=path, body={}, state="answered", made_at=at, expires_at=at, tries=1,
        status=200, answer=answer, answered_at=at,
    )  # fmt: skip


def test_updates_stand_by_when_they_ended_or_began_whatever_their_numbers_are() -> None:
    items = [
        {"id": "3", "state": "ASSIGNED"},
        {"id": "40", "state": "DOWNLOADING", "began_at": hours_ago(1)},
        {"id": "12", "state": "SUCCEEDED", "began_at": hours_ago(30), "ended_at": hours_ago(2)},
        {"id": "a-name", "state": "FAILED", "began_at": hours_ago(28), "ended_at": hours_ago(20)},
        {"id": "77", "state": "CANCELLED", "ended_at": hours_ago(25)},
    ]
    found = updates_of({"updates": job("updates", {"items": items[::-1]})})
    assert [each["id"] for each in found] == [each["id"] for each in items]


def test_an_update_that_has_no_readable_time_stands_by_when_it_was_told_of() -> None:
    found = updates_of(
        {
            "updates/9": job("updates/9", {"id": "9", "state": "FAILED", "ended_at": "then"}, hours=5),
            "updates/2": job("updates/2", {"id": "2", "state": "FAILED", "ended_at": hours_ago(3)}),
        }
    )
    assert [each["id"] for each in found] == ["2", "9"]
