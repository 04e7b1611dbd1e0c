"""A lap as a bar: per stage, working then waiting. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ringroad.adapt.model import LapReport
from ringroad.http.console.render import segments, span
from ringroad.http.views import LapView


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """What one stage took."""

    stage: str
    working: timedelta
    waiting: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class LapBar:
    """A lap, ready to draw."""

    view: LapView
    started_at: datetime  # the lap's first signal
    rows: tuple[StageTime, ...]
    segments: list[dict[str, Any]]
    total: timedelta
    label: str
    report: LapReport | None


def lap_bar(view: LapView, report: LapReport | None) -> LapBar:
    """Lay out a lap; solid is work, pale is waiting."""
    rows = tuple(
        StageTime(
            stage=item.stage.value,
            working=timedelta(microseconds=item.working_us),
            waiting=timedelta(microseconds=item.waiting_us),
        )
        for item in (report.stages if report else ())
    )
    parts: list[tuple[str, float, str]] = []
    for row in rows:
        parts.append(
            (f"f-{row.stage}", row.working.total_seconds(), f"{row.stage}: {span(row.working)} working")
        )
        parts.append(
            (
                f"f-{row.stage} f-wait",
                row.waiting.total_seconds(),
                f"{row.stage}: {span(row.waiting)} waiting",
            )
        )
    total = sum((row.working + row.waiting for row in rows), timedelta())
    label = "; ".join(f"{row.stage} {span(row.working)} working, {span(row.waiting)} waiting" for row in rows)
    return LapBar(
        view=view,
        started_at=report.started_at if report else view.opened_at,
        rows=rows,
        segments=segments(parts),
        total=total,
        label=label,
        report=report,
    )
