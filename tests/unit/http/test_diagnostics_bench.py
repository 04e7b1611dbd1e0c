"""What the diagnostics page makes of a vehicle's answers, well-formed or not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.http.console.diagnostics import bench_of
from ringroad.protocol.diagnostics import Method
from ringroad.signal.diagnose import Job

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def job(
    number: int, path: str, answer: Mapping[str, Any], *, method: Method = "GET", status: int = 200
) -> Job:
    at = NOW + timedelta(seconds=number)
    return Job(
        id=f"ask_{number}", session_id="s", vin="v", method=method, path=path, body={}, state="answered", made_at=at,
        expires_at=at, tries=1, status=status, answer=answer, answered_at=at,
    )  # fmt: skip


def test_an_update_stands_as_it_was_told_of_last() -> None:
    listed = job(1, "/updates", {"items": [{"id": "7", "state": "ASSIGNED"}]})
    told = job(2, "/updates/7", {"id": "7", "state": "READY", "version": "2.0.0", "notes": "n"})
    begun = job(3, "/updates/7/execute", {"id": "7", "state": "INSTALLING"}, method="PUT")
    refused = job(4, "/updates/7/prepare", {"error": {"code": "prepared"}}, method="PUT", status=409)
    (found,) = bench_of([refused, begun, told, listed]).updates
    assert found == {"id": "7", "state": "INSTALLING", "version": "2.0.0", "notes": "n"}


@pytest.mark.parametrize("answer", [{}, {"items": "x"}, {"items": [1]}, {"id": 7}, {"items": [{"id": None}]}])
def test_what_is_no_update_is_not_shown(answer: dict[str, Any]) -> None:
    assert bench_of([job(1, "/updates", answer)]).updates == []
