"""A plan's request as the texts of the form that plans again: what was asked for stands in it. Pure.

Invariant: whatever the form does not show is sent on as it was, or there is no form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.guard import Metric, SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import RetryPolicy


def plan_fields(document: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return what each field of the form says, by its name; None for a plan that cannot be read.

    Args:
        document: of the plan before; without one the form has the defaults.
    """
    try:
        request = PlanRequest(query="all") if document is None else _request(document)
    except (msgspec.ValidationError, InvalidInput):
        return None
    gate = request.gate
    compared = gate.sequential or SequentialPolicy()
    window, ramp, retry = request.window, request.ramp, request.retry
    return {
        "query": request.query,
        "waves": ", ".join(map(_size, request.waves)) or ("2%, 20%" if ramp else ""),
        "failed": _percent(gate.failed_permille_max, 10),
        "reports_min": str(gate.reports_min),
        "soak": _hours(gate.soak_s),
        "silence": _hours(gate.silence_s_max),
        "silent": _percent(gate.silent_permille_max, 10),
        "control": _size(request.control) if request.control else "",
        "compared_with": _compared_with(request),
        "alpha": _percent(compared.alpha_ppm, 10_000),
        "metrics": " ".join(map(_metric, compared.metrics)),
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
        "returned": str(request.rollback_installed).lower(),
        **_kept(request, compared, ramp or HarmBudget(), retry or RetryPolicy()),
    }


def _kept(
    request: PlanRequest, compared: SequentialPolicy, ramp: HarmBudget, retry: RetryPolicy
) -> dict[str, str]:
    """Return what the form sends on without showing it, by its name; all but the seed as JSON."""
    lasting = {"reaction_s": ramp.reaction_s}
    lasting |= {name: getattr(compared, name) for name in ("tick_s", "late_s", "gap_s", "quiet_s")}
    lasting |= {name: getattr(retry, name) for name in ("first_s", "last_s")}
    lists = {
        "stratify_by": request.stratify_by, "consent_phases": request.consent_phases, "reasons": retry.reasons
    }  # fmt: skip
    return {
        "seed": request.seed,
        **{name: str(seconds) for name, seconds in lasting.items()},
        **{name: msgspec.json.encode(each).decode() for name, each in lists.items()},
    }


def _compared_with(request: PlanRequest) -> str:
    """Return the field that has to be filled for the comparison to be sent; empty if none was asked for.

    A control group brings the comparison with it. A plan that had one of the two alone keeps it so.
    """
    if request.control:
        return "control" if request.gate.sequential else ""
    return "gate.sequential.tick_s" if request.gate.sequential else "control"


def _request(document: Mapping[str, Any]) -> PlanRequest:
    return msgspec.convert(document.get("request"), PlanRequest)


def _metric(each: Metric) -> str:
    parts = [
        f"{each.name}={each.margin_milli / 1_000:.9g}",
        f"*{each.weight}" if each.weight != 1 else "",
        f"@{each.path}" if each.path else "",
        f">={each.at_least_milli / 1_000:.12g}" if each.at_least_milli != 1_000 else "",
    ]
    return "".join(parts)


def _size(size: WaveSize) -> str:
    return str(size.vehicles) if size.vehicles is not None else f"{(size.permille or 0) / 10:g}%"


def _percent(value: int, per: int) -> str:
    return f"{value / per:g}"


def _hours(seconds: int) -> str:
    return f"{seconds / 3_600:.8g}"
