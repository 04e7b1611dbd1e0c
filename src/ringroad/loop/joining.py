"""Let vehicles join the running campaigns that include late joiners."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from ringroad.kernel.clock import Ids
from ringroad.loop.latest import latest_for
from ringroad.ship import store
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.query import parse_query
from ringroad.ship.store.joining import join_late
from ringroad.storage.db import Connection, apart, transaction
from ringroad.storage.lake import Lake

WHOLE_EVERY = timedelta(hours=1)  # then all vehicles are looked at again: lists and telemetry leave no number
LOOKS_MAX = 50  # transactions per campaign and call
CAMPAIGNS_MAX = 1_000  # running at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How far a campaign has looked, and since when."""

    seq: int
    since: datetime


def join_running(
    conn: Connection, ids: Ids, lake: Lake, seen: dict[str, Seen], *, now: datetime
) -> dict[str, int]:
    """Look for late joiners of each campaign that runs and includes them; one that cannot be read is left out.

    Args:
        conn: a connection outside any transaction.
        ids: for facts.
        lake: for what telemetry last said.
        seen: how far each campaign has looked; is changed. Lost with the process, then all are looked at again.
        now: the server's time.

    Returns:
        How many vehicles joined, by campaign; only those that got some.
    """
    found: dict[str, int] = {}
    running = store.list_campaigns(conn, states=[CampaignState.RUNNING], rows_max=CAMPAIGNS_MAX)
    for gone in seen.keys() - {campaign.id for campaign in running}:
        del seen[gone]
    for campaign in running:
        with apart(conn, campaign_id=campaign.id):
            if joined := _join_one(conn, ids, lake, seen, campaign, now=now):
                found[campaign.id] = joined
    return found


def _join_one(
    conn: Connection, ids: Ids, lake: Lake, seen: dict[str, Seen], campaign: Campaign, *, now: datetime
) -> int:
    plan = store.read_plan(conn, campaign.plan_id) if campaign.plan_id else None
    if plan is None or plan.request.late_joiners == "frozen":
        return 0
    before = seen.get(campaign.id)
    if before is None or before.since + WHOLE_EVERY <= now:
        before = Seen(seq=0, since=now)
    samples = latest_for(lake, parse_query(plan.request.query), now=now)
    seq, joined = before.seq, 0
    for _ in range(LOOKS_MAX):
        with transaction(conn):
            look = join_late(conn, ids, campaign, plan, after_seq=seq, samples=samples, now=now)
        seq, joined = look.seq, joined + look.joined + look.held
        if not look.more:
            break
    seen[campaign.id] = Seen(seq=seq, since=before.since)
    return joined
