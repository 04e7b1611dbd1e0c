"""Whether a plan's vehicles are there at all: who was never heard of, or not for longer than its deadline. Pure.

Such a vehicle is told nothing, and counts as silent at its deadline, as if the update had done it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ringroad.kernel.plurals import counted
from ringroad.ship.model import PlanFinding, Severity
from ringroad.ship.plan import Plan, PlanRequest

HEARD_S_MIN: Final = 86_400  # seconds; a contact is known to within half a day
UNHEARD_PERMILLE: Final = 100  # of a plan's vehicles; fewer are told of and not warned of


@dataclass(frozen=True, slots=True, kw_only=True)
class Unheard:
    """Vehicles of a plan."""

    never: int = 0  # no request and no report since they are on record
    long_ago: int = 0  # not since `heard_before`


def heard_before(request: PlanRequest, *, now: datetime) -> datetime:
    """Return since when a vehicle must have been heard of, so that its deadline is long enough for it."""
    return now - timedelta(seconds=max(HEARD_S_MIN, request.vehicle_deadline_s))


def check_unheard(plan: Plan, unheard: Unheard) -> list[PlanFinding]:
    """Find vehicles that are likely to stay silent: a warning where they are a good part of the plan."""
    vehicles = unheard.never + unheard.long_ago
    if not vehicles:
        return []
    since = heard_before(plan.request, now=plan.facts_as_of)
    many = UNHEARD_PERMILLE * plan.count("match") <= vehicles * 1_000
    parts = [
        (unheard.never, "never heard of"),
        (unheard.long_ago, f"last heard of before {since:%Y-%m-%d %H:%M} UTC"),
    ]
    said = " and ".join(f"{count} {'was' if count == 1 else 'were'} {what}" for count, what in parts if count)
    return [
        PlanFinding(
            severity=Severity.WARNING if many else Severity.INFO,
            code="vehicles_unheard",
            message=f"of {counted(plan.count('match'), 'vehicle')} {said}: who stays away until the deadline counts as silent",
            hint="ringroad fleet show VIN says when each was last heard of; leave them out, or give them more time",
        )
    ]
