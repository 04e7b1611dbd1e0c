"""What the line's twin said of the newest schedule it was asked about, as the plant's page shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringroad.http.console.render import chart
from ringroad.http.views_build import LineCheckView, WhatIfView

CHECKS_SHOWN = 10
DUE_SHOWN: Final = 1.1  # due times up to so many times when the last vehicle leaves


def twin_panel(checks: Sequence[LineCheckView]) -> dict[str, Any]:
    """Return what the page needs to show the newest check and those before it; nothing without one."""
    if not checks:
        return {}
    newest = checks[0]
    document = newest.document
    return {
        "check": newest,
        "checks": checks[:CHECKS_SHOWN],
        "assumed": document.get("assumed") or [],
        "source": document.get("source") or "",
        "late": document["twin"]["late_s"],
        "end": document["twin"]["end_s"],
        "times": _times_chart(document.get("times") or []),
        "due_note": due_note(document.get("times") or []),
        "stations": _stations_chart(document.get("stations") or []),
    }


def percent(permille: int) -> str:
    """Return thousandths as a share."""
    return f"{permille / 10:g} %"


def what_if_chart(question: WhatIfView) -> str:
    """Return when each vehicle leaves with a stop and without; nothing before the answer."""
    times = (question.answer or {}).get("times") or []
    return _times_chart(times, names=("as it is", "with the stop")) if times else ""


def what_if_due_note(question: WhatIfView) -> str:
    """Return how many are due beyond what the picture of an answer shows."""
    return due_note((question.answer or {}).get("times") or [])


def _times_chart(
    times: Sequence[Mapping[str, Any]], *, names: tuple[str, str] = ("running plan", "new plan")
) -> str:
    """Return when each vehicle leaves, in minutes from then, both ways, and when it is due, if the picture reaches that far."""
    series = [
        {"name": names[0], "data": [_minutes(each["running_s"]) for each in times], "tone": "idle"},
        {"name": names[1], "data": [_minutes(each["new_s"]) for each in times], "tone": "s3"},
    ]
    reach_s = _reach_s(times)
    due = [
        _minutes(each["due_s"]) if each["due_s"] is not None and abs(each["due_s"]) <= reach_s else None
        for each in times
    ]
    if any(each is not None for each in due):
        series.append({"name": "due", "data": due, "tone": "bad"})
    return chart(
        [f"…{each['order_id'][-6:]}" for each in times], series, kind="line", unit="minutes from now"
    )


def due_note(times: Sequence[Mapping[str, Any]]) -> str:
    """Return how many are due beyond what the picture shows; nothing if none is."""
    reach_s, due = _reach_s(times), [each["due_s"] for each in times if each["due_s"] is not None]
    later, before = sum(each > reach_s for each in due), sum(each < -reach_s for each in due)
    said = [f"{later} {'is' if later == 1 else 'are'} due later"] if later else []
    said += [f"{before} {'was' if before == 1 else 'were'} due long before"] if before else []
    return "; ".join(said)


def _reach_s(times: Sequence[Mapping[str, Any]]) -> float:
    """Return how far from now a due time is shown: a little behind the last vehicle, or when vehicles leave is a flat line."""
    return DUE_SHOWN * max((max(each["running_s"], each["new_s"]) for each in times), default=0)


def _minutes(seconds: int) -> float:
    return round(seconds / 60, 1)


def _stations_chart(stations: Sequence[Mapping[str, Any]]) -> str:
    series = [
        {
            "name": "running plan",
            "data": [each["running_permille"] / 1000 for each in stations],
            "tone": "idle",
        },
        {"name": "new plan", "data": [each["new_permille"] / 1000 for each in stations], "tone": "s3"},
        {"name": "room for", "data": [each["places"] for each in stations], "tone": "line"},
    ]
    return chart([each["name"] for each in stations], series, unit="vehicles")
