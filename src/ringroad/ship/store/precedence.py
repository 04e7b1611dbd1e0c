"""Campaigns that share vehicles: what gives way to a recall.

What is decided is in `ship.precedence` and `ship.plan`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import Campaign
from ringroad.ship.precedence import lower_than
from ringroad.ship.store.batches import append_batch, wave_fact_id
from ringroad.ship.store.reading import (
    SQL,
    array_of,
    read_campaign,
    read_levels,
)
from ringroad.storage.db import Connection
from ringroad.storage.ledger import latest_fact


def preempt(
    conn: Connection,
    ids: Ids,
    recall: Campaign,
    *,
    actor: str,
    now: datetime,
    vins: Sequence[str] | None = None,
) -> int:
    """Take back what other campaigns offered to the vehicles of a recall, unless it was begun; return how many.

    To vehicles of its later waves, too. They wait again, and are offered after the recall. With `vins`: of these only.
    """
    lower = lower_than(read_levels(conn), recall.id)
    taken: dict[str, list[int]] = defaultdict(list)
    if lower:
        for row in SQL.preempt_offers(conn, campaign_id=recall.id, lower=lower, vins=array_of(vins)):
            taken[row["campaign_id"]].append(row["action_id"])
    cause = wave_fact_id(conn, recall.id, recall.wave)
    for campaign_id, actions in sorted(taken.items()):
        campaign = read_campaign(conn, campaign_id)
        append_batch(
            conn, ids, FactKind.VEHICLES_PREEMPTED, actions, campaign_id=campaign_id, lap_id=campaign.lap_id,
            actor=actor, now=now, causes=[cause] if cause else [], body={"recall": recall.id},
        )  # fmt: skip
        SQL.notify_assignment(conn, campaign_id=campaign_id)
    return sum(map(len, taken.values()))


def preempted_by(conn: Connection, campaign_id: str) -> list[str]:
    """Return the id of the newest fact that vehicles of this campaign gave way, as causes: one or none."""
    fact = latest_fact(conn, kind=FactKind.VEHICLES_PREEMPTED, subject=campaign_id)
    return [fact.id] if fact else []
