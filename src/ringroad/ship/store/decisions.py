"""What the gate decided, with all that it saw: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.gate import Evidence, GateDecision, GatePolicy, Hold
from ringroad.ship.harm import harm_held
from ringroad.ship.model import Campaign
from ringroad.ship.ramp import Ramp
from ringroad.ship.store.reading import SQL
from ringroad.ship.store.waves import append_of, latest
from ringroad.ship.wave_facts import WaveFacts
from ringroad.storage.db import Connection
from ringroad.storage.ledger import latest_of_kinds


def record_gate_decision(
    conn: Connection,
    campaign: Campaign,
    decision: GateDecision,
    *,
    policy: GatePolicy,
    wave: WaveFacts,
    released: WaveFacts,
    now: datetime,
    evidence: Evidence | None = None,
    ramp: Ramp | None = None,
    rest: Mapping[str, bool | str] | None = None,
) -> bool:
    """Append what the gate decided, with all it saw; a repeated `Hold` is written once.

    `rest` is what else it was told and by which rules, so that the decision can be made again: the words of `decide_gate`.

    Returns:
        Whether a row was written.
    """
    name = type(decision).__name__.lower()
    last = SQL.last_gate_decision(conn, campaign_id=campaign.id, wave=campaign.wave)
    if isinstance(decision, Hold) and last and (last["decision"], last["reason"]) == (name, decision.reason):
        return False
    facts = {
        "wave": msgspec.to_builtins(wave),
        "released": msgspec.to_builtins(released),
        **({"evidence": msgspec.to_builtins(evidence)} if evidence else {}),
        **({"ramp": msgspec.to_builtins(ramp)} if ramp else {}),
        **({"rest": dict(rest)} if rest is not None else {}),
    }
    SQL.insert_gate_decision(
        conn, campaign_id=campaign.id, wave=campaign.wave, decision=name, reason=decision.reason,
        facts=Jsonb(facts), policy=Jsonb(msgspec.to_builtins(policy)), now=now,
    )  # fmt: skip
    return True


def tell_harm(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    decision: GateDecision,
    *,
    last_wave: bool,
    actor: str,
    now: datetime,
) -> None:
    """Append that harm holds a campaign from now on, or does not any more: once for each change."""
    told = latest_of_kinds(
        conn, (FactKind.CAMPAIGN_HARM_HELD, FactKind.CAMPAIGN_HARM_PASSED), subject=campaign.id
    )
    before = told is not None and told.kind is FactKind.CAMPAIGN_HARM_HELD
    after = harm_held(decision, before=before, last_wave=last_wave)
    if after == before:
        return
    append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_HARM_HELD if after else FactKind.CAMPAIGN_HARM_PASSED, actor=actor, now=now,
        causes=[told.id] if told and before else latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED),
        body={"wave": campaign.wave, "reason": decision.reason},
    )  # fmt: skip
