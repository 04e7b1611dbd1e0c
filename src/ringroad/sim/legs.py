"""A made-up past of a leg: shipments and their milestones, as the API takes them.

Shipments leave late by luck, and what they lose on the way is little beside that, as with real ones
(`benchmarks/flights.py`).

Pure. Invariant: the same seed and moment give the same past, all of it before that moment.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

EVERY_H: Final = 8  # hours between two shipments
ON_THE_WAY_H: Final = 48  # hours from the first milestone to the last, as planned
LATE_H: Final = 4.0  # mean hours that one leaves late
LOST_H: Final = 0.5  # hours that one loses or gains between two milestones; standard deviation
SLACK_D: Final = 14  # days between the last planned arrival and now, so that all have arrived


def sample_past(
    leg: str, part: str, milestones: Sequence[str], *, count: int, seed: int, until: datetime
) -> dict[str, list[dict[str, Any]]]:
    """Return `count` shipments that arrived before `until`, with all their milestones."""
    draw = random.Random(seed)  # noqa: S311 - a simulation
    shipments, told = [], []
    first = until.replace(minute=0, second=0, microsecond=0) - timedelta(days=SLACK_D, hours=ON_THE_WAY_H)
    for number in range(count):
        name = f"{leg} {seed}-{number + 1}"
        start = first - timedelta(hours=EVERY_H * (count - number))
        step = ON_THE_WAY_H / max(1, len(milestones) - 1)
        planned = [start + timedelta(hours=step * place) for place in range(len(milestones))]
        late_h = min(draw.expovariate(1 / LATE_H), 6 * LATE_H)
        shipments.append({
            "name": name, "leg": leg, "part": part, "planned": [at.isoformat() for at in planned],
        })  # fmt: skip
        for milestone, at in zip(milestones, planned, strict=True):
            told.append({
                "id": f"{name} {milestone}", "shipment": name, "milestone": milestone,
                "at": (at + timedelta(hours=late_h)).isoformat(timespec="seconds"),
            })  # fmt: skip
            late_h += draw.uniform(-LOST_H, LOST_H)
    return {"shipments": shipments, "milestones": told}
