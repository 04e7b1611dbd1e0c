"""One round of the loop: facts in, decisions, compare-and-set, execution. Every step can be repeated.

1. Fold device reports into actions.
2. Close actions whose deadline passed.
3. Let the gate of each running campaign decide, and make its decision true; of one that is paused, a halt alone.
4. Offer vehicles that have become free; sign Director bundles; withdraw those that no longer hold.

Each step is its own transactions, so that a crash between any two leaves consistent facts and the next
round goes on. Two reconcilers at once are safe: folding takes a lock, decisions hold the campaign and compare its
generation, bundles lock their rows; who comes second finds nothing to do. So is a person who pauses or ends a campaign
meanwhile (`ship.store.locks`): a round leaves that one out. Nothing good is decided, and no deadline is held
against a vehicle, while acknowledged reports wait to be folded. A campaign that cannot be decided on (its plan does
not read back, say) stands still and is told in the log; the others go on, for one of them may have to be halted. No
update of a campaign is offered or signed whose gate did not decide within `GATE_REST_S_MAX`; returns are.

Not here: what to decide (`ship.gate`), how to sign (`build.repository`).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.loop.bundles import IssueBundle, issue_waiting, withdraw_closed
from ringroad.loop.lookout import EVERYTHING, Look, Lookout
from ringroad.ship import store
from ringroad.ship.calendar import decide_first, in_time
from ringroad.ship.gate import HARM_SEEN, Evidence, GateDecision, Halt, decide_gate
from ringroad.ship.harm import beside_others
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.store.batches import RECONCILER
from ringroad.ship.store.bundles import BUNDLES_MAX
from ringroad.ship.store.evidence import read_evidence, read_ramp
from ringroad.ship.store.judging import JUDGED_MAX
from ringroad.ship.store.reading import SavedPlan
from ringroad.ship.store.reports import EXPIRE_ROWS_MAX, FOLD_ROWS_MAX, Folded
from ringroad.ship.store.tally import fold_tallies
from ringroad.signal.store_silence import read_silence
from ringroad.storage.db import Connection, transaction

LOG = structlog.get_logger(__name__)

REPORTS_MAX = 20 * FOLD_ROWS_MAX  # per round; then the gates are looked at again
EXPIRE_BATCHES_MAX = 20  # batches of vehicles per round
ISSUE_BATCHES_MAX = 3  # batches of bundles per round; signing must not keep the gates waiting for long
CAMPAIGNS_MAX = 1_000  # running at once, and as many paused
WATCHED = (CampaignState.RUNNING, CampaignState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round did; all zero means that there was nothing to do."""

    reports_applied: int = 0
    reports_refused: int = 0
    expired: int = 0
    settled: int = 0  # actions that ended with a step before them
    decisions: tuple[tuple[str, GateDecision], ...] = ()  # (campaign id, what changed)
    offered: int = 0
    bundles: int = 0
    withdrawn: int = 0

    @property
    def idle(self) -> bool:
        """Whether nothing was done."""
        return self == Round()


def tick(
    conn: Connection,
    ids: Ids,
    *,
    now: datetime,
    issue: IssueBundle | None = None,
    reports_max: int = REPORTS_MAX,
    lookout: Lookout | None = None,
) -> Round:
    """Do one round.

    Args:
        conn: a connection outside any transaction.
        ids: for facts.
        now: the server's time.
        issue: signs Director bundles; without it native vehicles wait, which is safe.
        reports_max: reports folded in this round; with more than that waiting, nothing good is decided.
        lookout: from round to round; without it each round looks at everything.

    Raises:
        Unavailable: the database went away; what was committed stays, the next round does the rest.
    """
    folded = _fold(conn, ids, now=now, reports_max=reports_max)
    if folded.busy:  # another reconciler is at work: it decides, with all reports counted
        return Round(reports_applied=folded.applied, reports_refused=folded.refused)
    # Too much at once: nobody has missed a deadline, and no wave is good, while acknowledged reports wait.
    waiting = folded.read == reports_max
    expired = 0 if waiting else _expire(conn, ids, now=now)
    with transaction(conn):
        settled = store.settle_steps(conn, ids, now=now)
    decisions: list[tuple[str, GateDecision]] = []
    withheld: set[str] = set()  # campaigns that nobody is told of: their gates may not know what happened
    offered = bundles = withdrawn = 0
    with lookout.look(conn) if lookout else nullcontext(EVERYTHING) as look:
        levels = store.read_levels(conn)
        running = _watched(conn)
        for campaign in sorted(running, key=lambda one: -levels.get(one.id, 0)):
            try:
                decision = _decide(conn, ids, campaign, lookout, now=now, reports_waiting=waiting)
                if decision is not None:
                    decisions.append((campaign.id, decision))
                if lookout and not lookout.gates.is_fresh(campaign.id):
                    withheld.add(campaign.id)
                    continue
                offered += _offer(conn, ids, campaign.id, look, lookout, now=now)
            except Exception:
                withheld.add(campaign.id)
                if conn.closed:
                    raise
                LOG.exception("campaign cannot be decided on", campaign_id=campaign.id)
        if issue is not None:
            bundles = _issue(conn, ids, issue, look, lookout, now=now, withheld=withheld)
            withdrawn = withdraw_closed(conn, issue, now=now)
    returning = _order_back(conn, ids, lookout, now=now)
    with transaction(conn):
        fold_tallies(conn)
    if lookout:
        lookout.gates.keep_only({campaign.id for campaign in running} | returning)
    return Round(
        reports_applied=folded.applied,
        reports_refused=folded.refused,
        expired=expired,
        settled=settled,
        decisions=tuple(decisions),
        offered=offered,
        bundles=bundles,
        withdrawn=withdrawn,
    )


def _order_back(conn: Connection, ids: Ids, lookout: Lookout | None, *, now: datetime) -> set[str]:
    """Order vehicles back that confirmed while their campaign halted; return what is paced, as gates are."""
    halted = store.halted_unswept(conn)
    for campaign_id in halted:
        if lookout and not lookout.gates.is_due(campaign_id):
            continue
        with lookout.gates.spend(campaign_id) if lookout else nullcontext(), transaction(conn):
            store.order_back_missed(conn, ids, campaign_id, now=now)
    return set(halted)


def _watched(conn: Connection) -> list[Campaign]:
    """Return the campaigns whose gates look: those that run, and those that are paused, whose vehicles run on."""
    of_states = [store.list_campaigns(conn, states=[state], rows_max=CAMPAIGNS_MAX) for state in WATCHED]
    return [campaign for listed in of_states for campaign in listed]


def evaluate(
    conn: Connection, ids: Ids, campaign_id: str, *, now: datetime, reports_waiting: bool = False
) -> GateDecision:
    """Let the gate decide on one campaign that is under way and make it true, in the caller's transaction.

    Of one that is paused a halt alone is made true and recorded.

    Args:
        conn: a connection in a transaction.
        ids: for facts.
        campaign_id: which.
        now: the server's time.
        reports_waiting: acknowledged reports are not folded yet; then nothing good may be concluded.

    Raises:
        Conflict: the campaign moved on meanwhile; nothing was written.
    """
    campaign = store.read_campaign(conn, campaign_id)
    if campaign.state not in WATCHED or campaign.plan_id is None:
        raise Conflict(f"campaign {campaign_id} is {campaign.state}")
    plan = store.read_plan(conn, campaign.plan_id)
    policy = plan.request.gate
    opens_at = plan.request.opens_at(campaign.wave + 1)
    wave, released = store.read_waves(
        conn, campaign, reports_min=policy.reports_min, next_opens_at=opens_at, now=now
    )
    evidence = _evidence(conn, campaign, plan)
    known_at = evidence.read_at if evidence and evidence.read_at else now
    late_s = policy.sequential.late_s if policy.sequential else 0
    ramp = read_ramp(conn, campaign, plan, through=known_at - timedelta(seconds=late_s), now=now)
    rest = {
        "last_wave": plan.waves <= campaign.wave,
        "withdrawn": store.is_withdrawn(conn, campaign),
        "reports_waiting": reports_waiting,
        "harm_named": True,
        "harm_ends": True,
        "silence_pauses": True,
        "silence_accepted": store.is_silence_accepted(conn, campaign),
        "pauses_last": True,
        "unknown_holds": True,
        "unknown_ends": True,
        "unread_ends": True,
        "strata_named": True,
        "unread_watched": True,
        "unknown_accepted": store.is_unknown_accepted(conn, campaign, plan),
    }
    others = {"harmed_elsewhere": store.read_harmed_elsewhere(conn, campaign, plan)}
    if campaign.wave:
        decision = decide_gate(policy, wave, released, now=now, evidence=evidence, ramp=ramp, **rest)
    else:
        rest["not_begun"] = True
        decision = decide_first(withdrawn=rest["withdrawn"], reports_waiting=reports_waiting)
    decision = beside_others(in_time(decision, opens_at, now=now), **others)
    if campaign.state is CampaignState.PAUSED and not isinstance(decision, Halt):
        return decision
    store.hold_as_read(conn, campaign)
    written = store.record_gate_decision(
        conn, campaign, decision, policy=policy, wave=wave, released=released, now=now, evidence=evidence, ramp=ramp,
        rest={**rest, **others, **({"opens_at": opens_at.isoformat()} if opens_at else {})},
    )  # fmt: skip
    if written or decision.reason.startswith(HARM_SEEN):  # a hold of before it was told is not written again
        store.tell_harm(conn, ids, campaign, decision, last_wave=rest["last_wave"], actor=RECONCILER, now=now)
    store.apply_decision(conn, ids, campaign, decision, actor=RECONCILER, now=now)
    if written:
        LOG.info(
            "gate", campaign_id=campaign.id, wave=campaign.wave, decision=type(decision).__name__.lower(),
            reason=decision.reason, reported=wave.reported, harmed=wave.harmed, targeted=wave.vehicles_targeted,
        )  # fmt: skip
    return decision


def _evidence(conn: Connection, campaign: Campaign, plan: SavedPlan) -> Evidence | None:
    """Return what a gate may know, and whether it is of now: of telemetry that is silent it is not."""
    evidence, policy = read_evidence(conn, campaign, plan), plan.request.gate.sequential
    if evidence and policy and policy.compared and (silence := read_silence(conn)):
        return replace(evidence, silent=True, silent_since=silence.since)
    return evidence


def _decide(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    lookout: Lookout | None,
    *,
    now: datetime,
    reports_waiting: bool,
) -> GateDecision | None:
    """Evaluate one campaign, if it is due; somebody else's move in between is not an error."""
    if lookout and not lookout.gates.is_due(campaign.id):
        return None
    try:
        with lookout.gates.spend(campaign.id) if lookout else nullcontext(), transaction(conn):
            before = campaign.generation
            decision = evaluate(conn, ids, campaign.id, now=now, reports_waiting=reports_waiting)
            changed = store.read_campaign(conn, campaign.id).generation != before
    except Conflict as conflict:
        LOG.info("campaign moved on", campaign_id=campaign.id, detail=conflict.message)
        if lookout:  # nothing is offered before the gate has looked: that is in the next round
            lookout.gates.hurry(campaign.id)
            lookout.left_some()
        return None
    return decision if changed else None


def _offer(
    conn: Connection, ids: Ids, campaign_id: str, look: Look, lookout: Lookout | None, *, now: datetime
) -> int:
    try:
        with transaction(conn):
            held = store.try_hold(conn, campaign_id)
            campaign = store.read_campaign(conn, campaign_id)
            if campaign.state is not CampaignState.RUNNING:
                return 0
            if not held:
                raise Conflict(f"campaign {campaign_id} is being moved")
            judged = store.judge_again(conn, ids, campaign, actor=RECONCILER, now=now, vins=look.vins)
            offered = store.offer_waiting(conn, ids, campaign, actor=RECONCILER, now=now, vins=look.vins)
    except (
        Conflict
    ):  # a vehicle got another action between our look and our write, or the campaign another state
        judged, offered = JUDGED_MAX, 0
    if lookout and judged == JUDGED_MAX:
        lookout.left_some()
    return offered


def _fold(conn: Connection, ids: Ids, *, now: datetime, reports_max: int) -> Folded:
    """Fold batch after batch; return the sums, and whether somebody else is at it."""
    total = Folded()
    while total.read < reports_max and not total.busy:
        rows_max = min(FOLD_ROWS_MAX, reports_max - total.read)
        with transaction(conn):
            folded = store.fold_reports(conn, ids, now=now, rows_max=rows_max)
        total = Folded(
            read=total.read + folded.read,
            applied=total.applied + folded.applied,
            refused=total.refused + folded.refused,
            busy=folded.busy,
        )
        if folded.read < rows_max:
            break
    return total


def _expire(conn: Connection, ids: Ids, *, now: datetime) -> int:
    total = 0
    for _ in range(EXPIRE_BATCHES_MAX):
        with transaction(conn):
            expired = store.expire_deadlines(conn, ids, now=now)
        total += expired
        if expired < EXPIRE_ROWS_MAX:
            break
    return total


def _issue(
    conn: Connection,
    ids: Ids,
    issue: IssueBundle,
    look: Look,
    lookout: Lookout | None,
    *,
    now: datetime,
    withheld: Collection[str],
) -> int:
    total = looked_at = 0
    for _ in range(ISSUE_BATCHES_MAX):
        try:
            looked_at = issue_waiting(conn, ids, issue, now=now, vins=look.bundles, withheld=withheld)
        except Conflict as conflict:
            LOG.info("bundles wait", detail=conflict.message)
            looked_at = BUNDLES_MAX
            break
        total += looked_at
        if not looked_at:
            break
    if lookout and looked_at:
        lookout.left_bundles()
    return total
