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
            found.append((prefix, f"{value:,}" if isinstance(value, int) else str(value)))

    for key, value in evidence.items():
        if key not in {"query", "policy", "ticks", "cells"}:
            walk(key, value, 1)
    return found[:NUMBERS_SHOWN]


def evidence_chart(evidence: Mapping[str, Any]) -> str:
    """Return the two arms' fault rates; empty if the document has none."""
    arms = [
        (name, evidence.get(key)) for name, key in (("This version", "suspect"), ("Compared with", "control"))
    ]
    rates = [(name, _rate(arm)) for name, arm in arms if isinstance(arm, Mapping)]
    if len(rates) < 2:
        return ""
    return chart(
        [name for name, _ in rates],
        [{"name": "Faults per 1000 vehicle-hours", "data": [round(rate, 3) for _, rate in rates]}],
        unit="faults per 1000 vehicle-hours",
        horizontal=True,
    )


def _rate(arm: Mapping[str, Any]) -> float:
    exposure_us = arm.get("exposure_us") or 0
    events = arm.get("vehicles_with_fault", arm.get("events", 0)) or 0
    return 1000 * events / (exposure_us / HOUR_US) if exposure_us else 0.0
