"""May this actor approve this change?

Pure. Four eyes: whoever proposed a change does not approve it, unless it is a rule that was configured to.

Invariant: an unknown rule never approves.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringroad.design.model import RULE_PREFIX, ApprovalPolicy, Change


@dataclass(frozen=True, slots=True)
class Approve:
    """The actor may approve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """The actor may not, and why: a stable word."""

    reason: str


def decide_approval(policy: ApprovalPolicy, change: Change, *, actor: str) -> Approve | Refuse:
    """Decide whether `actor` may approve `change`."""
    if change.state != "proposed":
        return Refuse(reason="not_proposed")
    is_rule = actor.startswith(RULE_PREFIX)
    if is_rule and actor.removeprefix(RULE_PREFIX) not in policy.self_approving_rules:
        return Refuse(reason="rule_not_configured")
    if actor == change.proposed_by and not is_rule:
        return Refuse(reason="four_eyes")
    return Approve()
