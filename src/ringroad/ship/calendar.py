"""Waves by calendar: a wave may have a date, and opens only from then on, if its gate lets it. Pure.

Invariants:
    A date opens nothing that the gate does not open, and keeps no gate from halting.
    Decisions that were recorded before waves had dates are as they were.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from ringroad.kernel.hours import moment_words
from ringroad.ship.gate import DURATION_S_MAX, Advance, GateDecision, Halt, Hold
from ringroad.ship.model import PlanFinding, Severity
from ringroad.ship.plan import Plan

BEFORE_ITS_TIME = "before_its_time"  # a hold for a date: the word, and behind a colon the date


def decide_first(*, withdrawn: bool, reports_waiting: bool) -> GateDecision:
    """Decide on a campaign that has started and whose first wave has not: there is no evidence that it could need."""
    if withdrawn:
        return Halt("release_withdrawn")
    return Hold("reports_waiting") if reports_waiting else Advance("its_time_came")


def in_time(decision: GateDecision, opens_at: datetime | None, *, now: datetime) -> GateDecision:
    """Hold what the gate would open, until its date.

    Args:
        decision: of the gate.
        opens_at: the date of the next wave; None for none.
        now: the server's time.
    """
    if opens_at is None or opens_at <= now or not isinstance(decision, Advance):
        return decision
    return Hold(f"{BEFORE_ITS_TIME}: {moment_words(opens_at)}")


def shortest_s(plan: Plan) -> int:
    """Return how long a campaign runs at least, if its last vehicles take as long as they may; seconds."""
    request, begins_s = plan.request, 0
    for number in range(1, len(plan.wave_vehicles) + 1):
        begins_s += request.gate.soak_s if number > 1 else 0
        if opens_at := request.opens_at(number):
            begins_s = max(begins_s, round((opens_at - plan.facts_as_of).total_seconds()))
    watched_s = request.gate.sequential.window_s if request.gate.sequential else 0
    return begins_s + request.vehicle_deadline_s + watched_s


def check_calendar(plan: Plan) -> list[PlanFinding]:
    """Find dates of waves that mean nothing, or that no vehicle will see."""
    request, now = plan.request, plan.facts_as_of
    dates = [
        (number, at)
        for number, _ in enumerate(request.waves, 1)
        if (at := request.opens_at(number)) is not None
    ]
    findings: list[PlanFinding] = []
    latest: tuple[int, datetime] | None = None
    for number, at in dates:
        found = ""
        if len(plan.wave_vehicles) < number:
            if plan.wave_vehicles:
                found, code = f"and the campaign ends with wave {len(plan.wave_vehicles)}", "wave_date_unused"
        elif at <= now:
            found, code = "which is past", "wave_date_past"
        elif latest is not None and at < latest[1]:
            found, code = f"and wave {latest[0]} only from {moment_words(latest[1])}", "waves_out_of_order"
        if found:
            findings.append(
                PlanFinding(
                    severity=Severity.WARNING,
                    code=code,
                    message=f"wave {number} may begin from {moment_words(at)}, {found}",
                    hint="leave the date out, or give another one",
                )
            )
        if latest is None or latest[1] <= at:
            latest = (number, at)
    if latest is not None and now + timedelta(seconds=DURATION_S_MAX) < latest[1]:
        findings.append(
            PlanFinding(
                severity=Severity.BLOCKING,
                code="wave_date_far",
                message=f"wave {latest[0]} would not begin before {moment_words(latest[1])}: no campaign lasts so long",
                hint="within ten years",
            )
        )
    return findings
