"""A finding's evidence as a chart and a few numbers. Pure, and patient with documents of older versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringroad.http.console.render import chart

HOUR_US = 3_600 * 1_000_000
DEPTH_MAX = 4  # levels of nesting looked into for plain numbers
NUMBERS_SHOWN = 14


def evidence_numbers(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the plain values of an evidence document, for a definition list."""
    found: list[tuple[str, str]] = []

    def walk(prefix: str, value: object, depth: int) -> None:
        if isinstance(value, Mapping) and depth < DEPTH_MAX:
            for key, inner in value.items():
                walk(f"{prefix} {key}".strip(), inner, depth + 1)
        elif isinstance(value, int | float | str) and not isinstance(value, bool) and len(str(value)) <= 60:
            found.append(_plain(prefix, value))

    for key, value in evidence.items():
        if key not in {"query", "queries", "policy", "window", "counts"}:
            walk(key, value, 1)
    return found[:NUMBERS_SHOWN]


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


def _plain(name: str, value: float | str) -> tuple[str, str]:
    if isinstance(value, str) or name.endswith(("_from_us", "signal_us")):
        return name, str(value).replace("_", " ")
    if name.endswith("exposure_us"):
        return name.removesuffix("_us"), f"{value / HOUR_US:,.1f} vehicle-hours"
    if name.endswith("_milli"):
        return name.removesuffix("_milli"), f"{value / 1000:,.2f} ×"
    return name, f"{value:,}"


def _rate(arm: Mapping[str, Any]) -> float:
    exposure_us = arm.get("exposure_us") or 0
    events = arm.get("vehicles_with_fault") or 0
    return 1000 * events / (exposure_us / HOUR_US) if exposure_us else 0.0
