"""A campaign's life: every transition a compare-and-set, with its fact in the same transaction.

::

    draft ──► planned ──► approved ──► running ◄──► paused
      ▲          ▲            │           │            │
      │          └────────────┤           ├──► finished│
      │              a new plan           └──► halted, aborted
      └───────────────────────┘
       a new plan that is blocked

Invariants:
    A caller with an older generation changes nothing and gets `Conflict`.
    A stored plan is never changed; the current one carries no blocking finding, and is the newest: a campaign whose
    newest plan is blocked has none that could be approved or started.
    A vehicle has at most one open action, over all campaigns (index `assignment_one_open`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, assert_never

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.ship.check import blocks, contended, unacknowledged
from ringroad.ship.control import SPREAD
from ringroad.ship.gate import (
    Advance,
    Finish,
    GateDecision,
    Grow,
    Halt,
    Hold,
    Pause,
)
from ringroad.ship.model import Campaign, CampaignState, PlanFinding
from ringroad.ship.plan import VERDICTS, Plan
from ringroad.ship.store.batches import withdraw
from ringroad.ship.store.control import judge_control, read_control
from ringroad.ship.store.halts import AGAIN, read_harm_or_word, refuse_halted_since
from ringroad.ship.store.locks import hold_harm, keep_harm
from ringroad.ship.store.pausing import (
    move,
    pause,
    refuse_withdrawn,
)
from ringroad.ship.store.reading import SQL, SavedPlan, count_busy, read_campaign, read_plan
from ringroad.ship.store.targets import digest_targets
from ringroad.ship.store.waves import (
    append_of,
    current_plan,
    grow,
    latest,
    release_wave,
    start_ramp,
)
from ringroad.storage.db import Connection, expect_one
from ringroad.storage.ledger import latest_fact

NAME_CHARS_MAX = 200  # characters
START_LOCK = 0x52494E47_00000002  # advisory lock: two starts at once would not see each other's vehicles
MEASURED_VEHICLES_MIN = 10_000  # assigned at once; fewer change no plan of a query that matters
HARM_FACTS_NAMED_MAX = 16  # facts named as causes of a halt; the gate decision holds the counts
_HARM = (FactKind.VEHICLE_UPDATE_FAILED, FactKind.VEHICLE_ROLLED_BACK, FactKind.VEHICLE_DEADLINE_PASSED)


def create_campaign(
    conn: Connection, ids: Ids, *, name: str, release_id: str, lap_id: str | None, actor: str, now: datetime
) -> Campaign:
    """Create a campaign in draft for a release.

    Raises:
        InvalidInput: the name is empty or too long.
        Conflict: there is no such release.
    """
    if not 0 < len(name.strip()) <= NAME_CHARS_MAX:
        raise InvalidInput(f"a campaign's name has 1 to {NAME_CHARS_MAX} characters")
    campaign_id = ids.new("campaign")
    SQL.insert_campaign(
        conn, id=campaign_id, name=name.strip(), release_id=release_id, lap_id=lap_id, actor=actor, now=now
    )
    campaign = read_campaign(conn, campaign_id)
    cause = latest_fact(conn, kind=FactKind.RELEASE_SIGNED, subject=release_id)
    append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_CREATED, actor=actor, now=now,
        causes=[cause.id] if cause else [], body={"name": campaign.name, "release_id": release_id},
    )  # fmt: skip
    return campaign


def save_plan(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    plan: Plan,
    findings: Sequence[PlanFinding],
    *,
    plan_id: str,
    actor: str,
    now: datetime,
) -> SavedPlan:
    """Store a plan whose vehicles were dealt out under `plan_id`; make it current unless a finding blocks.

    A new plan takes the place of an earlier one, and takes its approval away. One that is blocked does so too: it is
    kept, so that a person can read why, and the campaign is a draft again, as nobody asked for the earlier one any more.

    Raises:
        Conflict: the campaign moved on, or has started.
    """
    SQL.insert_plan(
        conn,
        id=plan_id,
        campaign_id=campaign.id,
        parent_id=SQL.plan_of_generation(conn, campaign_id=campaign.id, generation=None),
        document=Jsonb(plan_document(plan) | {"targets_sha256": digest_targets(conn, plan_id)}),
        findings=Jsonb(msgspec.to_builtins(findings)),
        actor=actor,
        now=now,
    )
    blocked, saved = blocks(findings), read_plan(conn, plan_id)
    rows = SQL.make_plan_current(
        conn, campaign_id=campaign.id, generation=campaign.generation, plan_id=None if blocked else plan_id,
        reason=_blocked_words(saved) if blocked else "", now=now,
    )  # fmt: skip
    expect_one(rows, f"campaign {campaign.id}")
    body = {
        "plan_id": plan_id,
        "vehicles": plan.count("match"),
        "waves": list(plan.wave_vehicles),
        "blocked": blocked,
        "findings": sorted({finding.code for finding in findings}),
        **({"replaced": campaign.plan_id} if campaign.plan_id else {}),
    }
    append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_PLANNED, actor=actor, now=now, body=body,
        causes=latest(conn, campaign.id, FactKind.CAMPAIGN_CREATED),
    )  # fmt: skip
    return saved


def plan_document(plan: Plan) -> dict[str, Any]:
    """Return what is stored of a plan beside its targets, in JSON types."""
    return {
        "release_id": plan.release_id,
        "release_version": plan.release_version,
        "request": msgspec.to_builtins(plan.request),
        "facts_as_of": plan.facts_as_of.isoformat(),
        "wave_vehicles": list(plan.wave_vehicles),
        "counts": {verdict: plan.count(verdict) for verdict in VERDICTS},
        "not_selected": dict(plan.not_selected),
        "not_known": plan.not_known,
        "install_s_estimate": plan.install_s_estimate,
        "past": msgspec.to_builtins(plan.past),
        "success": msgspec.to_builtins(plan.success),
        "strata": plan.strata,
        "episodes": SPREAD,
    }


def approve(
    conn: Connection,
    ids: Ids,
    *,
    campaign_id: str,
    generation: int,
    actor: str,
    four_eyes: bool,
    now: datetime,
    acknowledged: Collection[str],
    recall: bool = False,
) -> Campaign:
    """Approve the current plan. That the actor may approve at all is the caller's to check.

    The checker's warnings are approved with it: `acknowledged` names their codes, and the fact keeps them.
    An emergency recall is approved as one (`recall`), or not at all, and never by the maker of its plan.

    Raises:
        Forbidden: `four_eyes` or a recall, and the actor made the plan.
        Conflict: the campaign moved on, its newest plan is blocked, it has no plan, or a warning is not acknowledged.
    """
    campaign = read_campaign(conn, campaign_id)
    plan = _newest_plan(conn, campaign)
    if plan.request.recall != recall:
        raise Conflict(
            "this is an emergency recall" if plan.request.recall else "this is no emergency recall",
            hint="a recall has an approval of its own: ringroad campaign approve asks for it",
            code="recall_approval",
        )
    if (four_eyes or recall) and actor == plan.made_by:
        raise Forbidden("the maker of a plan cannot approve it", hint="ask another approver")
    missing = unacknowledged(plan.findings, acknowledged)
    if missing and generation == campaign.generation:
        raise Conflict(
            f"warnings are not acknowledged: {', '.join(missing)}",
            hint="read them, then approve and name them in `acknowledged`",
            code="warnings_not_acknowledged",
        )
    refuse_halted_since(conn, campaign.release_id, plan, hint=AGAIN)
    moved = move(conn, campaign, generation, to=CampaignState.APPROVED, of=(CampaignState.PLANNED,), now=now)
    SQL.approve_plan(conn, plan_id=plan.id, campaign_id=campaign_id, actor=actor, now=now)
    append_of(
        conn, ids, moved, FactKind.CAMPAIGN_APPROVED, actor=actor, now=now,
        body={
            "plan_id": plan.id,
            "acknowledged": sorted({each["code"] for each in plan.findings if each["severity"] == "warning"}),
            **({"recall": True} if recall else {}),
        },
        causes=latest(conn, campaign_id, FactKind.CAMPAIGN_PLANNED),
    )  # fmt: skip
    return moved


def start(
    conn: Connection, ids: Ids, *, campaign_id: str, generation: int, actor: str, now: datetime
) -> Campaign:
    """Start an approved campaign: its vehicles are assigned and the first wave is released, unless it has a date.

    Raises:
        Conflict: the campaign moved on, its newest plan is blocked, its release was withdrawn, vehicles went to
            another campaign since the plan was made, or too few of its control group are controls still.
    """
    SQL.lock_start(conn, key=START_LOCK)
    campaign = read_campaign(conn, campaign_id)
    refuse_withdrawn(conn, campaign)
    plan = _newest_plan(conn, campaign)
    refuse_halted_since(conn, campaign.release_id, plan, hint=AGAIN)
    moved = move(conn, campaign, generation, to=CampaignState.RUNNING, of=(CampaignState.APPROVED,), now=now)
    SQL.plan_with_memory(conn)
    SQL.insert_steps(
        conn, campaign_id=campaign_id, plan_id=plan.id
    )  # before, so that their numbers are lower
    counts = plan.document["counts"]
    vehicles = SQL.insert_assignments(
        conn,
        campaign_id=campaign_id,
        plan_id=plan.id,
        held=counts.get("control", 0),
        vehicles=counts.get("match", 0),
    )
    if vehicles >= MEASURED_VEHICLES_MIN:
        SQL.measure_assignments(conn)
    busy = contended(plan.request, count_busy(conn, campaign_id, plan.id))
    if busy:
        raise Conflict(
            f"{sum(busy.values())} vehicles are in {', '.join(sorted(busy)[:5])} by now", hint="plan again"
        )
    append_of(
        conn, ids, moved, FactKind.CAMPAIGN_STARTED, actor=actor, now=now, body={"vehicles": vehicles},
        causes=latest(conn, campaign_id, FactKind.CAMPAIGN_APPROVED),
    )  # fmt: skip
    _begin_comparison(conn, ids, moved, plan, actor=actor, now=now)
    if plan.request.ramp is not None:
        moved = start_ramp(conn, ids, moved, plan.request.ramp, vehicles=vehicles, actor=actor, now=now)
    elif (opens_at := plan.request.opens_at(1)) is None or opens_at <= now:  # else the gate opens it
        moved = release_wave(conn, ids, moved, actor=actor, now=now)
    keep_harm(conn, campaign.release_id)
    refuse_halted_since(conn, campaign.release_id, plan, hint=AGAIN)
    return moved


def _begin_comparison(
    conn: Connection, ids: Ids, campaign: Campaign, plan: SavedPlan, *, actor: str, now: datetime
) -> None:
    """Let those go that are no controls any more, and refuse to start with too few."""
    judge_control(conn, ids, campaign, plan, began_at=now, read_until=now, actor=actor, now=now)
    if too_few := read_control(conn, campaign, plan).too_few:
        raise Conflict(
            too_few, code="control_too_small", hint="vehicles got other software since the plan; plan again"
        )


def abort(
    conn: Connection, ids: Ids, *, campaign_id: str, generation: int, actor: str, reason: str, now: datetime,
    told: str = "",
) -> Campaign:  # fmt: skip
    """Abort for good: nothing more is offered, open vehicles are told to cancel, and `told` of the reason, if anything.

    What the gate saw against the release by then stands in the fact, so that its next plan names it.

    Raises:
        Conflict: the campaign moved on or has ended.
    """
    campaign = read_campaign(conn, campaign_id)
    before = (
        CampaignState.DRAFT, CampaignState.PLANNED, CampaignState.APPROVED, CampaignState.RUNNING,
        CampaignState.PAUSED,
    )  # fmt: skip
    harm = read_harm_or_word(conn, campaign)
    moved = move(conn, campaign, generation, to=CampaignState.ABORTED, of=before, reason=reason, now=now)
    if harm:
        hold_harm(conn, campaign.release_id)
    body = {
        "reason": moved.state_reason,
        **({"told": told} if told else {}),
        **({"harm": harm} if harm else {}),
    }
    aborted = append_of(
        conn, ids, moved, FactKind.CAMPAIGN_ABORTED, actor=actor, now=now, body=body,
        causes=latest(conn, campaign_id, FactKind.CAMPAIGN_WAVE_STARTED)
        or latest(conn, campaign_id, FactKind.CAMPAIGN_CREATED),
    )  # fmt: skip
    withdraw(conn, ids, moved, aborted, reason="campaign aborted", now=now)
    return moved


def halt(
    conn: Connection, ids: Ids, campaign: Campaign, *, actor: str, reason: str, now: datetime
) -> Campaign:
    """Halt on evidence: as abort, with the failures as causes; returns if the plan says so.

    Raises:
        Conflict: the campaign moved on or does not run.
    """
    running = (CampaignState.RUNNING, CampaignState.PAUSED)
    moved = move(
        conn, campaign, campaign.generation, to=CampaignState.HALTED, of=running, reason=reason, now=now
    )
    hold_harm(conn, campaign.release_id)
    plan = current_plan(conn, campaign)
    returns = 0
    if plan.request.rollback_installed:
        returns = SQL.insert_returns(conn, campaign_id=campaign.id, vins=None, now=now)
    harm: Counter[str] = Counter()
    for row in SQL.wave_counts(conn, campaign_id=campaign.id):
        harm.update(
            {
                name: row[name]
                for name in ("installed", "downloaded", "failed", "rolled_back", "lost", "silent")
            }
        )
    kinds = [kind.value for kind in _HARM]
    rows = SQL.vehicle_fact_ids(conn, kinds=kinds, campaign_id=campaign.id, rows_max=HARM_FACTS_NAMED_MAX)
    halted = append_of(
        conn, ids, moved, FactKind.CAMPAIGN_HALTED, actor=actor, now=now,
        body={"reason": reason, "wave": campaign.wave, "returns": returns, "vehicles": dict(harm)},
        causes=[*latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED), *(row["id"] for row in rows)],
    )  # fmt: skip
    withdraw(conn, ids, moved, halted, reason=f"campaign halted: {reason}", now=now)
    return moved


def apply_decision(
    conn: Connection, ids: Ids, campaign: Campaign, decision: GateDecision, *, actor: str, now: datetime
) -> Campaign:
    """Make `decision` true; there is nothing left to choose here.

    Raises:
        Conflict: the campaign moved on since `campaign` was read.
    """
    match decision:
        case Advance():
            return release_wave(conn, ids, campaign, actor=actor, now=now)
        case Grow(vehicles):
            return grow(conn, ids, campaign, vehicles=vehicles, actor=actor, now=now)
        case Pause(reason):
            return pause(
                conn, ids, campaign_id=campaign.id, generation=campaign.generation, actor=actor, reason=reason, now=now
            )  # fmt: skip
        case Halt(reason):
            return halt(conn, ids, campaign, actor=actor, reason=reason, now=now)
        case Finish():
            return _finish(conn, ids, campaign, actor=actor, now=now)
        case Hold():
            return campaign
    assert_never(decision)


def _finish(conn: Connection, ids: Ids, campaign: Campaign, *, actor: str, now: datetime) -> Campaign:
    running = (CampaignState.RUNNING,)
    rows = list(SQL.wave_counts(conn, campaign_id=campaign.id))
    silent = sum(row["silent"] for row in rows)
    said = f"{silent} of {sum(row['targeted'] for row in rows)} vehicles never answered" if silent else ""
    moved = move(
        conn, campaign, campaign.generation, to=CampaignState.FINISHED, of=running, now=now, reason=said
    )
    updated = SQL.vehicle_fact_ids(
        conn, kinds=[FactKind.VEHICLE_UPDATED.value], campaign_id=campaign.id, rows_max=1
    )
    counts = {row["wave"]: row["installed"] for row in rows}
    only = {"download_only": True} if current_plan(conn, moved).request.urgency == "download_only" else {}
    append_of(
        conn, ids, moved, FactKind.CAMPAIGN_FINISHED, actor=actor, now=now,
        body={"installed": sum(counts.values()), "installed_by_wave": list(counts.values()), "silent": silent, **only},
        causes=[*latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED), *(row["id"] for row in updated)],
    )  # fmt: skip
    return moved


def _newest_plan(conn: Connection, campaign: Campaign) -> SavedPlan:
    """Return the current plan of a campaign that has not started, which is its newest, or there is none to go by."""
    newest_id = SQL.plan_of_generation(conn, campaign_id=campaign.id, generation=None)
    if newest_id is not None and newest_id != campaign.plan_id:
        raise Conflict(_blocked_words(read_plan(conn, newest_id)), code="plan_blocked", hint="plan again")
    return current_plan(conn, campaign)


def _blocked_words(plan: SavedPlan) -> str:
    codes = sorted({each["code"] for each in plan.findings if each["severity"] == "blocking"})
    return f"generation {plan.generation} of its plan is blocked: {', '.join(codes)}; plan again"
