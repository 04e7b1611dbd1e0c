"""Who and what may accept findings and approve changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ringroad.design.accept import Accept, LeaveToPerson, decide_acceptance
from ringroad.design.approve import Approve, Refuse, decide_approval
from ringroad.design.model import AcceptRule, ApprovalPolicy, Change, FindingView
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RULE = AcceptRule(
    name="strong", log_e_micronats_min=9_000_000, vehicles_with_fault_min=5, ratio_low_milli_min=1_500
)
EVIDENCE: dict[str, Any] = {
    "log_e_micronats": 9_000_000,
    "population": {"vehicles_with_fault": 5},
    "ratio": {"low_milli": 1_500},
}
FINDING = FindingView(
    id="finding_1",
    lap_id="lap_1",
    programme_id="p1",
    ecu="brake",
    state="open",
    evidence=EVIDENCE,
    generation=1,
)
CHANGE = Change(
    id="change_1",
    finding_id="finding_1",
    lap_id="lap_1",
    title="Fix it",
    ecu="brake",
    target="No P1",
    state="proposed",
    state_reason="",
    generation=1,
    proposed_by="ada",
    approved_by=None,
    proposed_at=NOW,
    approved_at=None,
)


def test_evidence_exactly_at_the_limits_is_accepted() -> None:
    assert decide_acceptance(RULE, FINDING) == Accept(rule="strong")


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        ({}, "evidence_missing"),
        (EVIDENCE | {"log_e_micronats": "9000000"}, "evidence_missing"),
        (EVIDENCE | {"log_e_micronats": True}, "evidence_missing"),
        (EVIDENCE | {"ratio": None}, "evidence_missing"),
        (EVIDENCE | {"population": []}, "evidence_missing"),
        (EVIDENCE | {"log_e_micronats": 8_999_999}, "evidence_too_weak"),
        (EVIDENCE | {"population": {"vehicles_with_fault": 4}}, "too_few_vehicles"),
        (EVIDENCE | {"ratio": {"low_milli": 1_499}}, "ratio_too_low"),
    ],
)
def test_anything_less_waits_for_a_person(evidence: dict[str, Any], reason: str) -> None:
    assert decide_acceptance(RULE, replace(FINDING, evidence=evidence)) == LeaveToPerson(reason=reason)


def test_a_rule_decides_only_on_open_findings_of_its_components() -> None:
    assert decide_acceptance(RULE, replace(FINDING, state="rejected")) == LeaveToPerson(reason="not_open")
    again = replace(FINDING, was_answered=True)
    assert decide_acceptance(RULE, again) == LeaveToPerson(reason="answered_before")
    narrow = replace(RULE, ecus=frozenset({"radio"}))
    assert decide_acceptance(narrow, FINDING) == LeaveToPerson(reason="other_component")


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": " x"}, {"log_e_micronats_min": 0}, {"vehicles_with_fault_min": 0}]
)
def test_a_rule_that_accepts_anything_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(RULE, **wrong)


@pytest.mark.parametrize(
    ("actor", "proposer", "rules", "expected"),
    [
        ("bob", "ada", (), Approve()),
        ("ada", "ada", (), Refuse(reason="four_eyes")),
        ("rule:fast", "ada", (), Refuse(reason="rule_not_configured")),
        ("rule:fast", "rule:fast", (), Refuse(reason="rule_not_configured")),
        ("rule:fast", "rule:fast", ("fast",), Approve()),
        ("rule:fast", "ada", ("fast",), Approve()),
        ("fast", "fast", ("fast",), Refuse(reason="four_eyes")),  # a person called like a rule
    ],
)
def test_four_eyes(actor: str, proposer: str, rules: tuple[str, ...], expected: Approve | Refuse) -> None:
    policy = ApprovalPolicy(self_approving_rules=frozenset(rules))
    assert decide_approval(policy, replace(CHANGE, proposed_by=proposer), actor=actor) == expected


@pytest.mark.parametrize("state", ["approved", "rejected", "done"])
def test_only_proposed_changes_are_approved(state: str) -> None:
    assert decide_approval(ApprovalPolicy(), replace(CHANGE, state=state), actor="bob") == Refuse(
        reason="not_proposed"
    )
