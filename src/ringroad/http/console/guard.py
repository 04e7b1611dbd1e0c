"""A campaign's control group on its page: what is compared, how it stands, and how that came about. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ringroad.http.console.evidence import interval, odds
from ringroad.http.console.render import chart, short, span, words
from ringroad.http.views import ReadingView

RATIO_SHOWN_MAX = 10.0  # ratios above this would flatten the rest of the chart


def gate_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a plan's gate asks for, for a definition list; patient with documents of older versions."""
    request = document.get("request") or document
    gate = dict(request.get("gate") or {})
    sequential, ramp = gate.pop("sequential", None), request.get("ramp")
    if sequential:
        gate.pop("failed_permille_max", None)  # what harm is, the metrics say
    lines = [(words(name), str(value)) for name, value in gate.items()]
    if sequential:
        lines += [
            (
                words(metric["name"]),
                f"at most {metric['margin_milli'] / 1_000:g} times {'the past' if _is_past(metric) else 'the control group'}",
            )
            for metric in sequential["metrics"]
        ]
        lines += [
            ("a good update halts in", f"{sequential['alpha_ppm'] / 10_000:g} % of campaigns"),
            ("watched for", span(timedelta(seconds=sequential["window_s"]))),
            ("compared every", span(timedelta(seconds=sequential["tick_s"]))),
        ]
    if ramp:
        lines.append(
            ("harmed at most", f"{ramp['harmed_first']} vehicles in flight, later {ramp['harmed_last']}")
        )
    return lines


def reading_rows(readings: Sequence[ReadingView]) -> list[dict[str, Any]]:
    """Return one table row per metric of the newest reading."""
    if not readings:
        return []
    return [
        {
            "metric": words(each["metric"]),
            "updated": f"{each['treated']:,}",
            "control": f"{each['control']:,}",
            "ratio": interval(each["point_milli"], each["low_milli"], each["high_milli"]) or "not known yet",
            "odds": odds(each["log_e_micronats"]),
            "asked": odds(each["limit_micronats"]),
            "refused": each["limit_micronats"] <= each["log_e_micronats"],
        }
        for each in readings[0].readings
    ]


def reading_chart(readings: Sequence[ReadingView]) -> str:
    """Return the rate ratio of the first compared metric over time, with its bounds; empty before two readings."""
    if len(readings) < 2 or not readings[0].readings:
        return ""
    metric = readings[0].readings[0]["metric"]
    found = [
        (short(reading.read_at), each)
        for reading in reversed(readings)
        for each in reading.readings
        if each["metric"] == metric
    ]

    def line(name: str, key: str, **more: str) -> dict[str, Any]:
        return {"name": name, "data": [_times(each[key]) for _, each in found], **more}

    return chart(
        [at for at, _ in found],
        [
            line(f"{words(metric)}, updated against control", "point_milli"),
            line("at most", "high_milli", tone="soft"),
            line("at least", "low_milli", tone="soft"),
        ],
        kind="line",
        unit="times as often",
    )


def _times(milli: int | None) -> float | None:
    return None if milli is None else min(RATIO_SHOWN_MAX, milli / 1_000)


def _is_past(metric: Mapping[str, Any]) -> bool:
    return metric["name"] in {"install_failed", "rolled_back"}
