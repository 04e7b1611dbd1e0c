"""What the gate decided, with all that it saw: rows that are only ever added."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from psycopg.types.json import Jsonb

from ringroad.ship.gate import Evidence, GateDecision, GatePolicy, Hold, Ramp, WaveFacts
from ringroad.ship.model import Campaign
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection


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
    rest: Mapping[str, bool] | None = None,
) -> bool:
    """Append what the gate decided, with all it saw; a repeated `Hold` is written once.

    `rest` is what else it was told, so that the decision can be made again: last_wave, withdrawn, reports_waiting.

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
