"""A plan's request as the texts of the form that plans again: what was asked for stands in it. Pure.

Invariant: what was asked for before is sent again unless somebody changes it, or there is no form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, Literal, get_args

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import PHASES
from ringroad.ship.guard import Metric, SequentialPolicy
from ringroad.ship.plan import PlanRequest, Stratum, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import RETRY_WORDS, RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """A field that stands in the fold of the form.

    Attributes:
        name: as the management API has it, with dots; its last part is its name among `plan_fields`.
        label: with the unit.
        says: a sentence on what it does.
        kind: how the text becomes a value; ``choice`` for boxes of which some are checked.
        needs: the field without which it means nothing; empty for none.
        choices: of boxes, name to words.
    """

    name: str
    label: str
    says: str
    kind: Literal["minutes", "hours", "text", "choice"]
    needs: str = ""
    choices: Mapping[str, str] | None = None

    @property
    def key(self) -> str:
        """Its name among `plan_fields`."""
        return self.name.rpartition(".")[2]


def _compared(name: str, label: str, kind: Literal["minutes", "hours"], says: str) -> Advanced:
    return Advanced(name=f"gate.sequential.{name}", label=label, kind=kind, needs="control", says=says)


ADVANCED: Final = (
    _compared("tick_s", "Compared every, minutes", "minutes",
              "How long a stretch is in which both sides are compared; the shorter, the better weather and holidays cancel out."),
    _compared("late_s", "Read after, minutes", "minutes", "How long vehicles have to send before a stretch is read."),
    _compared("gap_s", "Still seen across a gap of, minutes", "minutes",
              "Between two messages that are no further apart a vehicle counts as watched."),
    _compared("quiet_s", "Silent after, hours", "hours",
              "Without a message for so long an updated vehicle counts as silent; less than it is watched for."),
    Advanced(name="ramp.reaction_s", label="A halt takes effect within, minutes", kind="minutes", needs="ramp",
             says="From a failure until no vehicle begins any more; a budget of harm counts those that begin meanwhile."),
    Advanced(name="retry.first_s", label="Second attempt within, minutes", kind="minutes", needs="retry.attempts_max",
             says="Of the failure; each further attempt has twice as long."),
    Advanced(name="retry.last_s", label="Any attempt within, hours", kind="hours", needs="retry.attempts_max",
             says="Of the failure before it, however many there were."),
    Advanced(name="seed", label="Seed of the lot", kind="text",
             says="Deals vehicles out to waves; with the same seed the same vehicles land in the same waves. Left empty, that of the plan before, else the campaign's own."),
    Advanced(name="retry.reasons", label="Tried again after", kind="choice", needs="retry.attempts_max",
             says="What may pass by itself; with more than one attempt.", choices=RETRY_WORDS),
    Advanced(name="consent_phases", label="The driver is asked before", kind="choice", says="Where each driver is asked first.",
             choices={name: name for name in PHASES}),
    Advanced(name="stratify_by", label="Each wave has the same share of each", kind="choice",
             says="So that an early wave shows what later ones will meet.", choices={name: name for name in get_args(Stratum)}),
)  # fmt: skip


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
        "harm_counts": ramp.counts if ramp else "in_flight",
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
        **_advanced(request, compared, ramp or HarmBudget(), retry or RetryPolicy()),
        **({"seed": ""} if document is None else {}),
    }


def _advanced(
    request: PlanRequest, compared: SequentialPolicy, ramp: HarmBudget, retry: RetryPolicy
) -> dict[str, str]:
    """Return what each field of `ADVANCED` says, by its name; choices as words."""
    found: dict[str, str] = {}
    for each in ADVANCED:
        owner = {"gate": compared, "ramp": ramp, "retry": retry}.get(each.name.partition(".")[0], request)
        value = getattr(owner, each.key)
        match each.kind:
            case "minutes":
                found[each.key] = f"{value / 60:.9g}"
            case "hours":
                found[each.key] = _hours(value)
            case "text":
                found[each.key] = value
            case "choice":
                found[each.key] = " ".join(value)
    return found


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
    count = str(size.vehicles) if size.vehicles is not None else f"{(size.permille or 0) / 10:g}%"
    return f"{count}@{size.not_before.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if size.not_before else count


def _percent(value: int, per: int) -> str:
    return f"{value / per:g}"


def _hours(seconds: int) -> str:
    return f"{seconds / 3_600:.8g}"
