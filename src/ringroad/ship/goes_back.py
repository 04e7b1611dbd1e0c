"""What the checker says of going back: of an update that fails, and to older software by decision. Pure.

Source: ADR 0082.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from ringroad.kernel.plurals import counted
from ringroad.ship.model import PlanFinding, ReleaseFacts, Severity
from ringroad.ship.plan import Plan


def check_goes_back(plan: Plan, release: ReleaseFacts, *, ends_at: datetime) -> list[PlanFinding]:
    """Say that vehicles go back, and find a decision that ends before they all did.

    Args:
        plan: to check.
        release: that is wanted, with its decisions; those of releases on the way are in the plan.
        ends_at: when the campaign ends at the earliest, if its last vehicles take as long as they may.
    """
    back: Counter[str] = Counter()
    untils = {release.back_until} | {each.resolution.back_until for each in plan.resolved}
    for each in plan.resolved:
        for name in each.resolution.back:
            back[name] += each.vehicles
    until = min((one for one in untils if one is not None), default=None)
    if until is None and not back:
        return []
    named = ", ".join(f"{name} ({count})" for name, count in sorted(back.items())) or "none"
    found = [
        PlanFinding(
            severity=Severity.WARNING,
            code="downgrade",
            message=f"vehicles go back to older software by decision, by ECU: {named}",
        )
    ]
    if until is None:
        return found
    if until <= plan.facts_as_of:
        found.append(
            PlanFinding(
                severity=Severity.BLOCKING,
                code="downgrade_ended",
                message=f"the decision to go back ended on {until:%Y-%m-%d}: vehicles refuse it",
                hint="make a new release of it, and have that approved",
            )
        )
    elif until <= ends_at:
        found.append(
            PlanFinding(
                severity=Severity.WARNING,
                code="downgrade_ends",
                message=f"the decision to go back ends on {until:%Y-%m-%d}, the campaign runs at least until"
                f" {ends_at:%Y-%m-%d}",
            )
        )
    return found


def check_rollback(plan: Plan) -> list[PlanFinding]:
    """Find vehicles that could not be brought back if their update fails."""
    return [
        PlanFinding(
            severity=Severity.BLOCKING,
            code="no_rollback_image",
            message=f"{counted(count, 'vehicle', 'run')} an image on in-place ECU {ecu} that cannot be fetched again",
            hint="add the package they run, or leave these vehicles out",
        )
        for ecu, count in plan.no_rollback_image.items()
    ]
