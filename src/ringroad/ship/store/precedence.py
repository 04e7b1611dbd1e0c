"""Campaigns that share vehicles: what gives way to another one.

What is decided is in `ship.precedence` and `ship.plan`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import Fact, FactKind
from ringroad.ship.model import AssignmentState, Campaign
from ringroad.ship.precedence import lower_than
from ringroad.ship.store.batches import append_batch, wave_fact_id
from ringroad.ship.store.locks import keep_running
from ringroad.ship.store.reading import (
    SQL,
    array_of,
    read_campaign,
    read_levels,
)
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_facts, latest_fact


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

    To vehicles of its later waves, too. They wait again, and are offered after the recall; one that may have begun is told
    to cancel, and waits again by its answer. With `vins`: of these only. What is offered by a campaign that somebody moves
    right now, or reported on, is taken back at a later look.
    """
    lower = sorted(keep_running(conn, lower_than(read_levels(conn), recall.id)))
    taken: dict[str, list[int]] = defaultdict(list)
    told: dict[str, list[int]] = defaultdict(list)
    if lower:
        for row in SQL.preempt_offers(conn, campaign_id=recall.id, lower=lower, vins=array_of(vins)):
            taken[row["campaign_id"]].append(row["action_id"])
            if row["state"] == AssignmentState.CANCELLING:
                told[row["campaign_id"]].append(row["action_id"])
    cause = wave_fact_id(conn, recall.id, recall.wave)
    for campaign_id, actions in sorted(taken.items()):
        campaign = read_campaign(conn, campaign_id)
        for kind, of_kind in (
            (FactKind.VEHICLES_PREEMPTED, actions),
            (FactKind.VEHICLES_CANCELLING, told[campaign_id]),
        ):
            append_batch(
                conn, ids, kind, of_kind, campaign_id=campaign_id, lap_id=campaign.lap_id, actor=actor, now=now,
                causes=[cause] if cause else [], body={"recall": recall.id},
            )  # fmt: skip
        SQL.notify_assignment(conn, campaign_id=campaign_id)
    return sum(map(len, taken.values()))


def go_on_after(
    conn: Connection, ids: Ids, dropped: Sequence[Mapping[str, Any]], *, now: datetime
) -> set[int]:
    """Let actions wait again that their vehicles dropped for another campaign; return which, by their old numbers.

    A vehicle that had begun to get ready before it said so drops what gave way, and one that was told to cancel for a
    recall did; neither began to install. Whatever nothing is told in place of is left out.
    """
    rows = list(SQL.go_on_after(conn, action_ids=[row["action_id"] for row in dropped], now=now))
    next_of = {row["dropped"]: row for row in rows}
    facts = []
    for row in dropped:
        if (following := next_of.get(row["action_id"])) is None:
            continue
        wave = wave_fact_id(conn, row["campaign_id"], row["wave"])
        causes = preempted_by(conn, row["campaign_id"]) or ([wave] if wave else [])
        body = {name: row[name] for name in ("campaign_id", "wave", "action_id", "release_id")}
        facts.append(
            Fact(
                id=ids.new("fact"), kind=FactKind.VEHICLE_OVERTAKEN, subject=row["vin"], lap_id=row["lap_id"],
                causes=tuple(causes), actor=f"vehicle:{row['vin']}", work_started_at=now, event_at=now, recorded_at=now,
                body={**body, "by": following["other"], "next_action_id": following["following"]},
            )
        )  # fmt: skip
    append_facts(conn, facts)
    for campaign_id in sorted({row["campaign_id"] for row in dropped}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)
    return set(next_of)


def preempted_by(conn: Connection, campaign_id: str) -> list[str]:
    """Return the id of the newest fact that vehicles of this campaign gave way, as causes: one or none."""
    fact = latest_fact(conn, kind=FactKind.VEHICLES_PREEMPTED, subject=campaign_id)
    return [fact.id] if fact else []
