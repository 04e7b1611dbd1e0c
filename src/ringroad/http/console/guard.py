"""A campaign's control group on its page: what is compared, how it stands, and how that came about. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from ringroad.http.console.conduct import harmed_words
from ringroad.http.console.evidence import interval, odds
from ringroad.http.console.render import chart, short, words
from ringroad.http.views import ComparedView, ExposureView, ReadingView
from ringroad.kernel.hours import length_words
from ringroad.ship.ramp import beyond_control

_RULES: Mapping[str, tuple[str, str]] = {
    "failed_permille_max": ("failed at most", "permille"),
    "reports_min": ("decides after", "outcome"),
    "soak_s": ("runs the new software for", "s"),
    "silence_s_max": ("evidence is no older than", "s"),
    "silent_permille_max": ("without an outcome at most", "permille"),
}
_TIMES = (
    ("late_s", "read", " after that"),
    ("gap_s", "still seen across a gap of", ""),
    ("quiet_s", "silent after", " without a message"),
)  # of a comparison
AGAINST: Mapping[str, str] = {"control": "control group", "past": "past installations"}
RATIO_SHOWN_MAX = 10.0  # ratios above this would flatten the rest of the chart


def gate_lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a plan's gate asks for, for a definition list; patient with documents of older versions."""
    request = document.get("request") or document
    gate = dict(request.get("gate") or {})
    sequential, ramp = gate.pop("sequential", None), request.get("ramp")
    if sequential:
        gate.pop("failed_permille_max", None)  # what harm is, the metrics say
    lines = [_rule(name, gate[name]) for name in dict.fromkeys((*_RULES, *gate)) if name in gate]
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
            ("watched for", length_words(sequential["window_s"])),
            ("compared every", length_words(sequential["tick_s"])),
            *(
                (name, f"{length_words(sequential[key])}{after}")
                for key, name, after in _TIMES
                if key in sequential
            ),
        ]
    if ramp:
        lines.append(
            (
                "harmed at most",
                f"{ramp['harmed_first']} vehicles {harmed_words(ramp)}, later {ramp['harmed_last']}",
            )
        )
        lines.append(("pauses for an approver", _pauses(ramp)))
        if "reaction_s" in ramp:
            lines.append(("a halt takes effect within", length_words(ramp["reaction_s"])))
    return lines


def _pauses(ramp: Mapping[str, Any]) -> str:
    proved = f"once it is proved to have harmed {ramp['harmed_last']}"
    if ramp.get("counts") == "whole_campaign":
        return f"{proved}, or as many cannot be excluded any more"
    return proved


def compared_rows(compared: Sequence[ComparedView]) -> list[dict[str, Any]]:
    """Return one table row per metric that the gate compares."""
    return [
        {
            "metric": words(each.metric),
            "against": AGAINST[each.against],
            "updated": _count(each.updated, each.updated_of),
            "other": _count(each.other, each.other_of),
            "ratio": interval(each.point_milli, each.low_milli, each.high_milli) or "not known yet",
            "odds": odds(each.log_e_micronats) or "–",
            "accepted": f"{each.margin_milli / 1_000:g} times",
            "asked": odds(each.limit_micronats),
            "refused": each.halted or each.refused,
        }
        for each in compared
    ]


def reading_charts(
    readings: Sequence[ReadingView], document: Mapping[str, Any] | None = None
) -> list[tuple[str, str]]:
    """Return for each compared metric its name and its ratio over time, with the bounds; none before two readings.

    Args:
        readings: newest first.
        document: of the plan, whose margins are drawn too; patient with documents of older versions.
    """
    if len(readings) < 2:
        return []
    margins = _margins(document or {})
    drawn = []
    for metric in [each["metric"] for each in readings[0].readings]:
        found = [
            (short(reading.read_at), each)
            for reading in reversed(readings)
            for each in reading.readings
            if each["metric"] == metric
        ]
        series = [
            {"name": name, "data": [_times(each[key]) for _, each in found], **more}
            for name, key, more in (
                ("updated against control", "point_milli", {}),
                ("at most", "high_milli", {"tone": "soft"}),
                ("at least", "low_milli", {"tone": "soft"}),
            )
        ]
        if metric in margins:
            accepted = {
                "name": "still accepted",
                "data": [_times(margins[metric])] * len(found),
                "tone": "bad",
            }
            series.append(accepted)
        drawn.append(
            (words(metric), chart([at for at, _ in found], series, kind="line", unit="times as often"))
        )
    return drawn


def stratum_rows(readings: Sequence[ReadingView]) -> list[dict[str, Any]]:
    """Return one table row per metric and stratum of the newest reading; none where strata are not read alone."""
    if not readings:
        return []
    return [
        {
            "metric": words(metric["metric"]),
            "stratum": each["stratum"].replace("/", ", "),
            "updated": f"{each['treated']:,}",
            "control": f"{each['control']:,}",
            "ratio": interval(each["point_milli"], each["low_milli"], each["high_milli"]) or "not known yet",
            "odds": odds(each["log_e_micronats"]),
        }
        for metric in readings[0].readings
        for each in metric.get("strata") or ()
    ]


def exposure_chart(rows: Sequence[ExposureView]) -> str:
    """Return how many vehicles were offered the release and had an outcome, over time; empty before two moments."""
    if len(rows) < 2:
        return ""
    series = [
        {"name": name, "data": list(accumulate(getattr(row, key) for row in rows)), **more}
        for name, key, more in (
            ("offered", "offered", {"tone": "run"}),
            ("installed", "installed", {"tone": "ok"}),
            ("failed, rolled back or silent", "failed", {"tone": "bad"}),
        )
    ]
    return chart([short(row.at) for row in rows], series, kind="line", unit="vehicles", integer=True)


def _count(events: int | None, out_of: int | None) -> str:
    if events is None:
        return "–"
    if out_of == 0:
        return "none yet"
    return f"{events:,}" if out_of is None else f"{events:,} of {out_of:,}"


def control_line(compared: Sequence[ComparedView]) -> str:
    """Return how many of the control group are controls still; empty where nothing is compared with one."""
    for each in compared:
        if each.control_held is not None and each.control_left is not None:
            gone = each.control_held - each.control_left
            let_go = f", {gone:,} let go" if gone else ""
            return f"control group: {each.control_left:,} of {each.control_held:,} vehicles{let_go}"
    return ""


def harm_line(compared: Sequence[ComparedView]) -> str:
    """Return how much harm a budget is spent by so far, with its bounds; empty where there is no budget, or no reading."""
    counted = [each for each in compared if each.harm_limit is not None and each.updated is not None]
    if not counted:
        return ""
    proved, about = (
        sum(
            beyond_control(each.updated or 0, ratio or 0) for each, ratio in zip(counted, ratios, strict=True)
        )
        for ratios in ([each.low_milli for each in counted], [each.point_milli for each in counted])
    )
    known = all(each.point_milli is not None for each in counted)
    most = sum(
        each.updated or 0 if each.high_milli is None else _at_most(each.updated or 0, each.high_milli)
        for each in counted
    )
    so_far = f"about {about:,}, " if known else ""
    return (
        f"failures beyond the control group's share so far: {so_far}{proved:,} proved, at most {most:,};"
        f" it pauses at {counted[0].harm_limit:,} proved"
    )


def _at_most(failed: int, ratio_milli: int) -> int:
    """Return as `beyond_control` does, rounded up: less than a vehicle is not excluded."""
    return failed - failed * 1_000 // ratio_milli if ratio_milli > 1_000 else 0


def _rule(name: str, value: object) -> tuple[str, str]:
    """Return a rule of a gate in words; one of a newer version as it stands."""
    told = _RULES.get(name)
    if told is None or not isinstance(value, int):
        return words(name), str(value)
    text, unit = told
    if unit == "s":
        return text, length_words(value) if value else "none"
    return text, f"{value / 10:g} %" if unit == "permille" else f"{value:,} {unit}{'s' * (value != 1)}"


def _margins(document: Mapping[str, Any]) -> dict[str, int]:
    sequential = ((document.get("request") or document).get("gate") or {}).get("sequential") or {}
    return {metric["name"]: metric["margin_milli"] for metric in sequential.get("metrics") or ()}


def _times(milli: int | None) -> float | None:
    return None if milli is None else min(RATIO_SHOWN_MAX, milli / 1_000)


def _is_past(metric: Mapping[str, Any]) -> bool:
    return metric["name"] in {"install_failed", "rolled_back"}
