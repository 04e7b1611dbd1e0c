"""Values of the design stage: what to change, why, and who may decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ringroad.kernel.errors import InvalidInput

TITLE_CHARS_MAX = 200
TARGET_CHARS_MAX = 2_000
REASON_CHARS_MAX = 2_000
CHANGES_PER_FINDING_MAX = 20  # a finding that needs more tries than this needs people in a room
RULE_PREFIX = "rule:"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingView:
    """What design must know of a finding to decide on it."""

    id: str
    lap_id: str
    programme_id: str
    ecu: str
    state: str
    evidence: Mapping[str, Any]
    generation: int
    was_answered: bool = False  # by a change already, which did not help


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What must be true afterwards, for which component, because of which finding."""

    id: str
    finding_id: str
    lap_id: str
    title: str
    ecu: str
    target: str
    state: str
    state_reason: str
    generation: int
    proposed_by: str
    approved_by: str | None
    proposed_at: datetime
    approved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRule:
    """A named rule that accepts findings without a person.

    Attributes:
        name: appears in the ledger as ``rule:<name>``.
        log_e_micronats_min: evidence it asks for; 9,210,341 is an e-value of 10,000.
        vehicles_with_fault_min: vehicles.
        ratio_low_milli_min: lower bound of the rate ratio, in thousandths.
        ecus: components it may decide on; empty means all.
    """

    name: str
    log_e_micronats_min: int
    vehicles_with_fault_min: int
    ratio_low_milli_min: int = 1_000
    ecus: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse rules without a name, or that would accept anything."""
        if not self.name or self.name != self.name.strip():
            raise InvalidInput("a rule needs a name")
        if self.log_e_micronats_min <= 0 or self.vehicles_with_fault_min < 1:
            raise InvalidInput(f"rule {self.name}: it would accept without evidence")

    @property
    def actor(self) -> str:
        """How the rule signs facts."""
        return RULE_PREFIX + self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """Who may approve a change: anybody but its proposer, and rules named here, even their own proposals."""

    self_approving_rules: frozenset[str] = frozenset()
