"""May a rule accept this finding without a person?

Pure. A person may accept or reject any open finding; a rule only what its numbers allow.

Invariant: evidence that is missing or not a number is never enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringroad.design.model import AcceptRule, FindingView


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The rule accepts."""

    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveToPerson:
    """The rule does not decide, and why: a stable word."""

    reason: str


def decide_acceptance(rule: AcceptRule, finding: FindingView) -> Accept | LeaveToPerson:
    """Decide on one finding."""
    if finding.state != "open":
        return LeaveToPerson(reason="not_open")
    if finding.was_answered:  # and opened again: what the rule would propose has been tried
        return LeaveToPerson(reason="answered_before")
    if rule.ecus and finding.ecu not in rule.ecus:
        return LeaveToPerson(reason="other_component")
    log_e = _integer(finding.evidence, "log_e_micronats")
    faulty = _integer(finding.evidence.get("population"), "vehicles_with_fault")
    low = _integer(finding.evidence.get("ratio"), "low_milli")
    if log_e is None or faulty is None or low is None:
        return LeaveToPerson(reason="evidence_missing")
    if log_e < rule.log_e_micronats_min:
        return LeaveToPerson(reason="evidence_too_weak")
    if faulty < rule.vehicles_with_fault_min:
        return LeaveToPerson(reason="too_few_vehicles")
    if low < rule.ratio_low_milli_min:
        return LeaveToPerson(reason="ratio_too_low")
    return Accept(rule=rule.name)


def _integer(body: Any, name: str) -> int | None:
    value = body.get(name) if isinstance(body, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
