"""Decide again from what was recorded with a decision of the gate, and compare. Pure.

A decision is replayed with the code of today: one that comes out otherwise was made by another release, or its row was
changed. One that was recorded before all of its inputs were kept is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.calendar import decide_first, in_time
from ringroad.ship.gate import Evidence, GateDecision, GatePolicy, decide_gate
from ringroad.ship.harm import beside_others
from ringroad.ship.ramp import Ramp
from ringroad.ship.wave_facts import WaveFacts


def decide_again(
    facts: Mapping[str, Any], policy: Mapping[str, Any], *, decided_at: datetime
) -> GateDecision | None:
    """Return what the gate decides on what it saw then; None where not all that it saw was recorded.

    Args:
        facts: as `record_gate_decision` wrote them.
        policy: likewise.
        decided_at: when it decided.
    """
    rest = facts.get("rest")
    if not isinstance(rest, Mapping):
        return None
    try:
        if rest.get("not_begun"):
            decision = decide_first(
                withdrawn=bool(rest["withdrawn"]), reports_waiting=bool(rest["reports_waiting"])
            )
        else:
            decision = _decide_gate(facts, policy, rest, decided_at=decided_at)
        opens_at = msgspec.convert(rest.get("opens_at"), datetime | None)
    except (KeyError, msgspec.ValidationError, InvalidInput):
        return None
    decision = in_time(decision, opens_at, now=decided_at)
    return beside_others(decision, harmed_elsewhere=str(rest.get("harmed_elsewhere", "")))


def word_of(decision: GateDecision) -> tuple[str, str]:
    """Return a decision as it is recorded: its word and its reason."""
    return type(decision).__name__.lower(), decision.reason


def _decide_gate(
    facts: Mapping[str, Any], policy: Mapping[str, Any], rest: Mapping[str, Any], *, decided_at: datetime
) -> GateDecision:
    return decide_gate(
        msgspec.convert(policy, GatePolicy),
        msgspec.convert(facts["wave"], WaveFacts),
        msgspec.convert(facts["released"], WaveFacts),
        last_wave=bool(rest["last_wave"]),
        now=decided_at,
        withdrawn=bool(rest["withdrawn"]),
        reports_waiting=bool(rest["reports_waiting"]),
        harm_named=bool(rest.get("harm_named", False)),
        harm_ends=bool(rest.get("harm_ends", False)),
        silence_pauses=bool(rest.get("silence_pauses", False)),
        silence_accepted=bool(rest.get("silence_accepted", False)),
        pauses_last=bool(rest.get("pauses_last", False)),
        unknown_holds=bool(rest.get("unknown_holds", False)),
        unknown_ends=bool(rest.get("unknown_ends", False)),
        unread_ends=bool(rest.get("unread_ends", False)),
        strata_named=bool(rest.get("strata_named", False)),
        unread_watched=bool(rest.get("unread_watched", False)),
        unknown_accepted=bool(rest.get("unknown_accepted", False)),
        evidence=msgspec.convert(facts.get("evidence"), Evidence | None),
        ramp=msgspec.convert(facts.get("ramp"), Ramp | None),
    )
