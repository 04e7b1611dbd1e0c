"""One round of the loop: facts in, decisions, compare-and-set, execution. Every step can be repeated.

1. Fold device reports into actions.
2. Close actions whose deadline passed.
3. Let the gate of each running campaign decide, and make its decision true.
4. Offer vehicles that have become free; sign Director bundles; withdraw those that no longer hold.

Each step is its own transactions, so that a crash between any two leaves consistent facts and the next
round goes on. Two reconcilers at once are safe: folding takes a lock, decisions compare generations,
bundles lock their rows; who comes second finds nothing to do.

Not here: what to decide (`ship.gate`), how to sign (`build.repository`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import structlog

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.loop.bundles import IssueBundle, issue_waiting, withdraw_closed
from ringroad.ship import store
from ringroad.ship.gate import GateDecision, decide_gate
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.store.reports import EXPIRE_ROWS_MAX, FOLD_ROWS_MAX
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)

ACTOR = "system:reconciler"
FOLD_BATCHES_MAX = 20  # batches of reports per round; then the gates are looked at again
ISSUE_BATCHES_MAX = 3  # batches of bundles per round; signing must not keep the gates waiting for long
CAMPAIGNS_MAX = 1_000  # running at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round did; all zero means that there was nothing to do."""

    reports_applied: int = 0
    reports_refused: int = 0
    expired: int = 0
    decisions: tuple[tuple[str, GateDecision], ...] = ()  # (campaign id, what changed)
    offered: int = 0
    bundles: int = 0
    withdrawn: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing was done."""
        return self == Round()


def tick(conn: Connection, ids: Ids, *, now: datetime, issue: IssueBundle | None = None) -> Round:
    """Do one round.

    Args:
        conn: a connection outside any transaction.
        ids: for facts.
        now: the server's time.
        issue: signs Director bundles; without it native vehicles wait, which is safe.

    Raises:
        Unavailable: the database went away; what was committed stays, the next round does the rest.
    """
    applied, refused = _fold(conn, ids, now=now)
    expired = _expire(conn, ids, now=now)
    decisions = []
    offered = 0
    for campaign in store.list_campaigns(conn, states=[CampaignState.RUNNING], rows_max=CAMPAIGNS_MAX):
        decision = _decide(conn, ids, campaign, now=now)
        if decision is not None:
            decisions.append((campaign.id, decision))
        offered += _offer(conn, campaign.id, now=now)
    bundles = withdrawn = 0
    if issue is not None:
        bundles = _issue(conn, ids, issue, now=now)
        withdrawn = withdraw_closed(conn, issue, now=now)
    return Round(
        reports_applied=applied,
        reports_refused=refused,
        expired=expired,
        decisions=tuple(decisions),
        offered=offered,
        bundles=bundles,
        withdrawn=withdrawn,
    )


def evaluate(conn: Connection, ids: Ids, campaign_id: str, *, now: datetime) -> GateDecision:
    """Let the gate decide on one running campaign and make it true, in the caller's transaction.

    Raises:
        Conflict: the campaign moved on meanwhile; nothing was written.
    """
    campaign = store.read_campaign(conn, campaign_id)
    if campaign.state is not CampaignState.RUNNING or campaign.plan_id is None:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}")
    plan = store.read_plan(conn, campaign.plan_id)
    policy = plan.request.gate
    wave, released = store.read_waves(conn, campaign, reports_min=policy.reports_min)
    decision = decide_gate(policy, wave, released, last_wave=plan.waves <= campaign.wave, now=now)
    written = store.record_gate_decision(
        conn, campaign, decision, policy=policy, wave=wave, released=released, now=now
    )
    store.apply_decision(conn, ids, campaign, decision, actor=ACTOR, now=now)
    if written:
        LOG.info(
            "gate",
            campaign_id=campaign.id,
            wave=campaign.wave,
            decision=type(decision).__name__.lower(),
            reason=decision.reason,
            reported=wave.reported,
            harmed=wave.harmed,
            targeted=wave.vehicles_targeted,
        )
    return decision


def _decide(conn: Connection, ids: Ids, campaign: Campaign, *, now: datetime) -> GateDecision | None:
    """Evaluate one campaign; somebody else's move in between is not an error."""
    try:
        with transaction(conn):
            before = campaign.generation
            decision = evaluate(conn, ids, campaign.id, now=now)
            changed = store.read_campaign(conn, campaign.id).generation != before
    except Conflict as conflict:
        LOG.info("campaign moved on", campaign_id=campaign.id, detail=conflict.message)
        return None
    return decision if changed else None


def _offer(conn: Connection, campaign_id: str, *, now: datetime) -> int:
    try:
        with transaction(conn):
            campaign = store.read_campaign(conn, campaign_id)
            if campaign.state is not CampaignState.RUNNING:
                return 0
            return store.offer_waiting(conn, campaign, now=now)
    except Conflict:  # a vehicle got another action between our look and our write
        return 0


def _fold(conn: Connection, ids: Ids, *, now: datetime) -> tuple[int, int]:
    applied = refused = 0
    for _ in range(FOLD_BATCHES_MAX):
        with transaction(conn):
            folded = store.fold_reports(conn, ids, now=now)
        applied += folded.applied
        refused += folded.refused
        if folded.read < FOLD_ROWS_MAX:
            break
    return applied, refused


def _expire(conn: Connection, ids: Ids, *, now: datetime) -> int:
    total = 0
    for _ in range(FOLD_BATCHES_MAX):
        with transaction(conn):
            expired = store.expire_deadlines(conn, ids, now=now)
        total += expired
        if expired < EXPIRE_ROWS_MAX:
            break
    return total


def _issue(conn: Connection, ids: Ids, issue: IssueBundle, *, now: datetime) -> int:
    total = 0
    for _ in range(ISSUE_BATCHES_MAX):
        try:
            looked_at = issue_waiting(conn, ids, issue, now=now)
        except Conflict as conflict:
            LOG.info("bundles wait", detail=conflict.message)
            break
        total += looked_at
        if not looked_at:
            break
    return total
