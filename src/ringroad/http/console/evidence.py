"""A finding's evidence and an outcome's measure as a chart and a few sentences.

Pure, and patient with documents of older versions: what a document does not say is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ringroad.adapt.verdict import measure_text
from ringroad.http.console.render import chart, span, words

HOUR_US = 3_600 * 1_000_000
LOG_ODDS_SHOWN_MAX = math.log(1_000_000)  # a million to one; more convinces nobody further


def evidence_numbers(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the evidence rests on, for a definition list: (name, value in words)."""
    population = _mapping(evidence, "population")
    ratio = _mapping(evidence, "ratio")
    controls = ", ".join(map(str, evidence.get("control_versions") or ()))
    found = [
        ("Rule", _text(evidence.get("rule"))),
        ("Compared with", " ".join(filter(None, (words(evidence.get("against", "")), controls)))),
        ("Vehicles watched", _count(population.get("vehicles_exposed"))),
        ("With the fault", _count(population.get("vehicles_with_fault"))),
        ("Left out", _count(population.get("vehicles_outside") or None)),
        ("Time watched, all vehicles", _length(population.get("exposure_us"))),
        (
            "How much more often",
            interval(ratio.get("point_milli"), ratio.get("low_milli"), ratio.get("high_milli")),
        ),
        ("Odds against chance", odds(evidence.get("log_e_micronats"))),
        ("Odds asked for", _asked(evidence.get("alpha_ppm"), evidence.get("hypotheses"))),
        ("First signal", _time(evidence.get("first_signal_us"))),
        ("Measured from", _time(evidence.get("measured_from_us"))),
        ("Rows not believed", _count(evidence.get("unbelieved_rows"))),
    ]
    return [(name, value) for name, value in found if value]


def outcome_rows(measure: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return both arms of an outcome's measure as table rows, before first."""
    return [
        {
            "arm": arm,
            "software": ", ".join(map(str, counts.get("software_versions") or ())) or "–",
            "vehicles": _count(counts.get("vehicles_exposed")),
            "faults": _count(counts.get("vehicles_with_fault")),
            "exposure": _length(counts.get("exposure_us")),
        }
        for arm in ("before", "after")
        if "vehicles_exposed" in (counts := _mapping(measure, arm))
    ]


def outcome_ratio(measure: Mapping[str, Any]) -> str:
    """Return how often the fault comes now against before, with its interval; empty if that is not known."""
    low, high = (*(measure.get("interval_milli") or ()), None, None)[:2]
    return interval(measure.get("ratio_milli"), low, high)


def outcome_counts(measure: Mapping[str, Any]) -> str:
    """Return what became of vehicles, in words, where the measure was not of a fault; else empty."""
    return measure_text(measure) if measure.get("measure") in {"recovery", "updates"} else ""


def evidence_chart(evidence: Mapping[str, Any]) -> str:
    """Return the fault rate of each software version; empty if the document does not name them."""
    versions = [item for item in evidence.get("versions", ()) if isinstance(item, Mapping)]
    if not versions:
        return ""
    ordered = sorted(versions, key=lambda item: str(item.get("software_version", "")))
    return chart(
        [str(item.get("software_version", "?")) for item in ordered],
        [
            {
                "name": "Vehicles with the fault, per 1000 vehicle-hours",
                "data": [round(_rate(item), 3) for item in ordered],
            }
        ],
        unit="vehicles with the fault, per 1000 vehicle-hours",
        horizontal=True,
    )


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    return words(value) if isinstance(value, str) else ""


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _length(exposure_us: object) -> str:
    if not isinstance(exposure_us, int):
        return ""
    return span(timedelta(microseconds=exposure_us))


def _time(at_us: object) -> str:
    if not isinstance(at_us, int):
        return ""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).strftime(
        "%Y-%m-%d %H:%M:%S UTC"
    )


def interval(point_milli: object, low_milli: object, high_milli: object) -> str:
    """Return a ratio with its bounds, in thousandths, in words; empty if nothing is known of it.

    At least none of it is said of no evidence at all, and is nothing.
    """
    times = [
        f"{value / 1000:,.2f}" if isinstance(value, int) else ""
        for value in (point_milli, low_milli, high_milli)
    ]
    point, low, high = times
    bounds = f"at least {low} times" if low and low_milli else ""
    if low and high:
        bounds = f"between {low} and {high} times"
    return " · ".join(filter(None, (f"{point} times" if point else "", bounds)))


def odds(log_e_micronats: object) -> str:
    """Return an e-value as odds against chance."""
    if not isinstance(log_e_micronats, int):
        return ""
    if log_e_micronats > LOG_ODDS_SHOWN_MAX * 1e6:
        return f"more than {math.exp(LOG_ODDS_SHOWN_MAX):,.0f} to 1"
    return f"{math.exp(log_e_micronats / 1e6):,.0f} to 1"


def _asked(alpha_ppm: object, hypotheses: object) -> str:
    if not isinstance(alpha_ppm, int) or not isinstance(hypotheses, int) or alpha_ppm < 1:
        return ""
    return f"{hypotheses * 1_000_000 / alpha_ppm:,.0f} to 1"


def _rate(arm: Mapping[str, Any]) -> float:
    exposure_us = arm.get("exposure_us") or 0
    events = arm.get("vehicles_with_fault") or 0
    return 1000 * events / (exposure_us / HOUR_US) if exposure_us else 0.0
