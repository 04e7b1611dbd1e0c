"""Campaigns that share vehicles: what gives way to a recall, and what became of vehicles that another one updated.

What is decided is in `ship.precedence` and `ship.plan`.

Invariant: no vehicle is offered a release that was not judged against what it runs since another campaign's update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import Campaign
from ringroad.ship.precedence import lower_than
from ringroad.ship.resolve import resolve
from ringroad.ship.store.batches import append_batch, wave_fact_id
from ringroad.ship.store.reading import (
    SQL,
    array_of,
    read_campaign,
    read_images,
    read_levels,
    read_release,
    read_shared,
    read_vehicles,
)
from ringroad.storage.db import Connection
from ringroad.storage.ledger import latest_fact

JUDGED_MAX = 1_000  # vehicles per transaction


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


def judge_again(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    *,
    actor: str,
    now: datetime,
    vins: Sequence[str] | None = None,
) -> int:
    """Judge waiting vehicles that run another release by now; let those go that the campaign is nothing for.

    With `vins`: of these vehicles only.

    Returns:
        How many were judged; at `JUDGED_MAX` there may be more.
    """
    if campaign.id not in read_shared(
        conn
    ):  # nobody else can have updated its vehicles: nothing to look through
        return 0
    waiting = {
        row["vin"]: row
        for row in SQL.moved_on(conn, campaign_id=campaign.id, vins=array_of(vins), rows_max=JUDGED_MAX)
    }
    if not waiting:
        return 0
    release = read_release(conn, campaign.release_id)
    images = read_images(conn, release.programme_id)
    still: list[str] = []
    gone: dict[str, str] = {}
    for vehicle in read_vehicles(conn, vins=list(waiting)):
        judged = resolve(vehicle, release, images, now=now)
        if waiting[vehicle.vin]["kind"] == "step":  # a way is not changed under way
            gone[vehicle.vin] = "updated by another campaign before its way began"
        elif judged.verdict == "match":
            still.append(vehicle.vin)
        else:
            gone[vehicle.vin] = f"{judged.verdict}: {judged.reason}".removesuffix(": ")
    if still:
        SQL.choose_again(
            conn, action_ids=[waiting[vin]["action_id"] for vin in still],
            release_ids=[waiting[vin]["release_id"] for vin in still],
        )  # fmt: skip
    if gone:
        actions = [waiting[vin]["action_id"] for vin in gone]
        SQL.let_go(conn, action_ids=actions, reasons=list(gone.values()), now=now)
        cause = wave_fact_id(conn, campaign.id, campaign.wave)
        append_batch(
            conn, ids, FactKind.VEHICLES_CANCELLED, actions, campaign_id=campaign.id, lap_id=campaign.lap_id,
            actor=actor, now=now, causes=[cause] if cause else [],
            body={"reason": "updated by another campaign meanwhile"},
        )  # fmt: skip
        SQL.notify_assignment(conn, campaign_id=campaign.id)
    return len(waiting)


def preempted_by(conn: Connection, campaign_id: str) -> list[str]:
    """Return the id of the newest fact that vehicles of this campaign gave way, as causes: one or none."""
    fact = latest_fact(conn, kind=FactKind.VEHICLES_PREEMPTED, subject=campaign_id)
    return [fact.id] if fact else []
