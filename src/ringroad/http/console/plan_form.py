"""A plan's request as the texts of the form that plans again: what was asked for stands in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize


def plan_fields(document: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what each field of the form says, by its name.

    Args:
        document: of the plan before; without one, or with one of another version, the form has the defaults.
    """
    request = _request(document)
    gate = request.gate
    compared = gate.sequential or SequentialPolicy()
    window, ramp, retry = request.window, request.ramp, request.retry
    return {
        "waves": ", ".join(map(_size, request.waves)) or "2%, 20%",
        "failed": _percent(gate.failed_permille_max, 10),
        "reports_min": str(gate.reports_min),
        "soak": _hours(gate.soak_s),
        "silence": _hours(gate.silence_s_max),
        "silent": _percent(gate.silent_permille_max, 10),
        "control": _size(request.control) if request.control else "",
        "alpha": _percent(compared.alpha_ppm, 10_000),
        "metrics": " ".join(
            f"{each.name}={each.margin_milli / 1_000:g}" + (f"@{each.path}" if each.path else "")
            for each in compared.metrics
        ),
        "window_h": _hours(compared.window_s),
        "harm": f"{ramp.harmed_first}-{ramp.harmed_last}" if ramp else "",
        "deadline": _hours(request.vehicle_deadline_s),
        "hours": ", ".join(window.hours) if window else "",
        "quiet": ", ".join(window.quiet) if window else "",
        "time_zone": window.time_zone if window else "UTC",
        "attempts": str(retry.attempts_max) if retry else "",
        "priority": str(request.priority),
        "late_joiners": request.late_joiners,
        "urgency": request.urgency,
        "recall": str(request.recall).lower(),
        "consent": str(request.consent).lower(),
    }


def _request(document: Mapping[str, Any] | None) -> PlanRequest:
    fresh = PlanRequest(query="all", waves=(WaveSize(permille=20), WaveSize(permille=200)))
    if not document or "request" not in document:
        return fresh
    try:
        return msgspec.convert(document["request"], PlanRequest)
    except (msgspec.ValidationError, InvalidInput):
        return fresh


def _size(size: WaveSize) -> str:
    return str(size.vehicles) if size.vehicles is not None else f"{(size.permille or 0) / 10:g}%"


def _percent(value: int, per: int) -> str:
    return f"{value / per:g}"


def _hours(seconds: int) -> str:
    return f"{seconds / 3_600:.8g}"
