"""Everything a sequential gate compares, side by side: with the control group, or with installations of the past. Pure.

What each says is `guard`'s; here it is put together for a person, with which of them halted the campaign.

Invariant: every metric of the policy is there, also one that was never read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.gate import Evidence, GatePolicy, installation_readings
from ringroad.ship.guard import HISTORY, MetricName, Past, Reading, SequentialPolicy
from ringroad.ship.wave_facts import WaveFacts

HALTED_BY: Final = ("worse_than_control: ", "worse_than_before: ")  # how the gate names the metric


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One metric, what it is compared with, and what that says.

    Attributes:
        metric: which.
        against: the control group, or installations of finished campaigns.
        margin_milli: how many times the other's rate is accepted, in thousandths.
        reading: what it says; None before it was read.
        tried: installations that the count is out of; None where time at risk is compared.
        past_tried: the same of finished campaigns; None likewise.
        halted: whether the campaign was halted by it.
    """

    metric: MetricName
    against: Literal["control", "past"]
    margin_milli: int
    limit_micronats: int
    reading: Reading | None = None
    tried: int | None = None
    past_tried: int | None = None
    halted: bool = False


def all_compared(
    policy: SequentialPolicy,
    readings: Iterable[Reading],
    installations: Iterable[Reading],
    past: Mapping[str, Past],
    *,
    state_reason: str,
) -> tuple[Compared, ...]:
    """Return what is compared, in the order of the policy.

    Args:
        policy: of the campaign.
        readings: the newest, against the control group.
        installations: how those went, against the past; from `gate.installation_readings`.
        past: how earlier ones ended, by metric.
        state_reason: why the campaign is in its state.
    """
    found = {each.metric: each for each in (*readings, *installations)}
    halted = next(
        (state_reason.removeprefix(head) for head in HALTED_BY if state_reason.startswith(head)), ""
    ).partition(" in ")[0]  # what stands behind is a stratum
    rows = []
    for metric in policy.metrics:
        reading, before = found.get(metric.name), metric.name in HISTORY
        rows.append(
            Compared(
                metric=metric.name,
                against="past" if before else "control",
                margin_milli=metric.margin_milli,
                limit_micronats=policy.limit(metric),
                reading=reading,
                tried=reading.treated_exposure if before and reading else None,
                past_tried=past.get(metric.name, Past(failed=0, tried=0)).tried if before else None,
                halted=metric.name == halted,
            )
        )
    return tuple(rows)


def compared_then(
    facts: Mapping[str, Any], policy: Mapping[str, Any], *, reason: str
) -> tuple[Compared, ...]:
    """Return what the gate compared for a decision; nothing where it has rules alone, or not all was recorded.

    Args:
        facts: as `record_gate_decision` wrote them.
        policy: likewise.
        reason: of the decision.
    """
    try:
        gate = msgspec.convert(policy, GatePolicy)
        released = msgspec.convert(facts["released"], WaveFacts)
        evidence = msgspec.convert(facts.get("evidence"), Evidence | None) or Evidence()
    except (KeyError, msgspec.ValidationError, InvalidInput):
        return ()
    if gate.sequential is None:
        return ()
    installations = (
        () if released.contradictory else installation_readings(gate.sequential, released, evidence.past)
    )
    return all_compared(gate.sequential, evidence.readings, installations, evidence.past, state_reason=reason)
