"""A campaign is moved by compare-and-set; it pauses, and goes on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.ramp import harm_proved
from ringroad.ship.reason_words import (
    UNKNOWN_FOR_GOOD,
    is_budget_spent,
    is_for_good,
    is_harm_elsewhere,
    reason_words,
)
from ringroad.ship.store.batches import RECONCILER, withhold
from ringroad.ship.store.evidence import read_evidence, seen_since
from ringroad.ship.store.halts import refuse_halted_since
from ringroad.ship.store.locks import keep_harm
from ringroad.ship.store.reading import SQL, SavedPlan, read_campaign
from ringroad.ship.store.waves import append_of, current_plan, latest, offer_waiting
from ringroad.storage.db import Connection, expect_one

REASON_CHARS_MAX = 500  # characters
ANOTHER = "abort this one, and plan another"
ENDED = (CampaignState.FINISHED, CampaignState.HALTED, CampaignState.ABORTED)
# What a fact says that an approver goes on without, with the wave.
_REPORTS = "without_reports_of_wave"
_METRICS = "without_metrics_of_wave"
_GROWTH = "after_decision"  # that released vehicles of a ramp last, before they went on


def pause(
    conn: Connection, ids: Ids, *, campaign_id: str, generation: int, actor: str, reason: str, now: datetime
) -> Campaign:
    """Pause: no wave is released, no offer stands; vehicles that already work on it go on.

    Raises:
        InvalidInput: a person gave a reason that is a gate's, which decides who resumes.
        Conflict: the campaign moved on or does not run.
    """
    of_gate = any(is_one(reason.strip()) for is_one in (is_for_good, is_harm_elsewhere, is_budget_spent))
    if of_gate and actor != RECONCILER:
        raise InvalidInput(f"{reason.strip()} is a reason of the gate", hint="say why in your own words")
    campaign = read_campaign(conn, campaign_id)
    moved = move(
        conn,
        campaign,
        generation,
        to=CampaignState.PAUSED,
        of=(CampaignState.RUNNING,),
        reason=reason,
        now=now,
    )
    paused = append_of(
        conn, ids, moved, FactKind.CAMPAIGN_PAUSED, actor=actor, now=now, body={"reason": moved.state_reason},
        causes=latest(conn, campaign_id, FactKind.CAMPAIGN_WAVE_STARTED),
    )  # fmt: skip
    withhold(conn, ids, moved, paused, now=now)
    return moved


def resume(
    conn: Connection,
    ids: Ids,
    *,
    campaign_id: str,
    generation: int,
    actor: str,
    now: datetime,
    without_reports: bool = False,
    beyond_budget: bool = False,
    four_eyes: bool = False,
) -> Campaign:
    """Go on after a pause; deadlines move by the time the pause took.

    Args:
        conn: a connection in a transaction.
        ids: for facts.
        campaign_id: which.
        generation: as it was read.
        actor: who goes on.
        now: the server's time.
        without_reports: go on where the gate paused for good; that the actor may decide so is the caller's to check.
        beyond_budget: likewise, where it paused because the budget of harm is spent: until as much more is proved.
        four_eyes: nobody goes on so who made the plan.

    Raises:
        Forbidden: `four_eyes`, without reports or beyond the budget, and the actor made the plan.
        Conflict: the campaign moved on or is not paused, its release was withdrawn, or what its gate misses will never
            come and is not accepted, or the other way round.
    """
    campaign = read_campaign(conn, campaign_id)
    _expect_state(campaign, to=CampaignState.RUNNING, of=(CampaignState.PAUSED,))
    refuse_withdrawn(conn, campaign)
    _refuse_unaccepted(conn, campaign, accepted=without_reports)
    _refuse_spent(campaign, accepted=beyond_budget)
    if (without_reports or beyond_budget) and four_eyes and actor == current_plan(conn, campaign).made_by:
        raise Forbidden(
            "the maker of a plan cannot accept what its gate paused for", hint="ask another approver"
        )
    plan = current_plan(conn, campaign) if campaign.plan_id else None
    refuse_halted_since(conn, campaign.release_id, plan, hint=ANOTHER)
    moved = move(conn, campaign, generation, to=CampaignState.RUNNING, of=(CampaignState.PAUSED,), now=now)
    accepted = _accepted(conn, campaign) if without_reports else {}
    if beyond_budget and plan:
        evidence = read_evidence(conn, campaign, plan)
        accepted = {"harm_accepted": harm_proved(evidence.readings if evidence else ())}
    paused_s = max(0.0, (now - (campaign.state_at or now)).total_seconds())
    SQL.extend_deadlines(conn, campaign_id=campaign_id, seconds=paused_s)
    resumed = append_of(
        conn, ids, moved, FactKind.CAMPAIGN_RESUMED, actor=actor, now=now,
        body={"paused_s": round(paused_s), **accepted},
        causes=latest(conn, campaign_id, FactKind.CAMPAIGN_PAUSED),
    )  # fmt: skip
    offer_waiting(conn, ids, moved, actor=actor, now=now, causes=[resumed.id])
    keep_harm(conn, campaign.release_id)
    refuse_halted_since(conn, campaign.release_id, plan, hint=ANOTHER)
    return moved


def is_silence_accepted(conn: Connection, campaign: Campaign) -> bool:
    """Tell whether an approver lets the campaign go on without what vehicles of its wave never reported."""
    return _is_accepted(conn, campaign, _REPORTS)


def is_unknown_accepted(conn: Connection, campaign: Campaign, plan: SavedPlan) -> bool:
    """Tell whether an approver lets the campaign go on in its wave without a metric of which nothing is known.

    The only wave of a ramp is the whole campaign: there it holds for the next vehicles that are released, and no longer
    once the metrics were seen again.
    """
    go_on = SQL.newest_go_on(conn, campaign_id=campaign.id, wave=campaign.wave, what=_METRICS)
    policy = plan.request.gate.sequential
    if go_on is None or plan.request.ramp is None or policy is None:
        return go_on is not None
    released = (SQL.newest_grow(conn, campaign_id=campaign.id) or 0) != go_on["body"].get(_GROWTH, 0)
    return not released and not seen_since(conn, campaign, policy, go_on["event_at"])


def is_withdrawn(conn: Connection, campaign: Campaign) -> bool:
    """Tell whether the campaign's release may not go out any more; it stays so to the end of the transaction."""
    return bool(SQL.release_state(conn, release_id=campaign.release_id) != "signed")


def move(
    conn: Connection,
    campaign: Campaign,
    generation: int,
    *,
    to: CampaignState,
    of: Sequence[CampaignState],
    now: datetime,
    reason: str = "",
) -> Campaign:
    """Bring a campaign from one of some states to another, as it was read.

    Raises:
        Conflict: it is in another state, or moved on.
    """
    _expect_state(campaign, to=to, of=of)
    rows = SQL.move_campaign(
        conn, campaign_id=campaign.id, generation=generation, state=to.value,
        from_states=[state.value for state in of], reason=reason[:REASON_CHARS_MAX], now=now,
    )  # fmt: skip
    expect_one(rows, f"campaign {campaign.id}")
    return read_campaign(conn, campaign.id)


def _expect_state(campaign: Campaign, *, to: CampaignState, of: Sequence[CampaignState]) -> None:
    if campaign.state in of:
        return
    hint = ""
    if campaign.state in ENDED:
        hint = "it does not come back: plan another campaign"
    elif (campaign.state, to) == ("planned", "running"):
        hint = "its plan is not approved, and a new plan takes the approval away: ringroad campaign approve"
    raise Conflict(
        f"campaign {campaign.id} is {campaign.state}, it cannot become {to}", code="campaign_state", hint=hint
    )


def refuse_withdrawn(conn: Connection, campaign: Campaign) -> None:
    """Raise if the campaign's release may not go out any more.

    Raises:
        Conflict: so it is.
    """
    if is_withdrawn(conn, campaign):
        raise Conflict(
            f"release {campaign.release_id} is not signed any more",
            code="release_not_signed",
            hint="abort the campaign",
        )


def _refuse_unaccepted(conn: Connection, campaign: Campaign, *, accepted: bool) -> None:
    """Raise where the gate paused for want of reports and that is not accepted, or is and the gate did not pause for good.

    A metric may be known again by now: the gate looks, and pauses again where it is not.
    """
    for_good = campaign.state is CampaignState.PAUSED and is_for_good(campaign.state_reason)
    missing = for_good and _accepts(campaign) == _REPORTS
    if missing and not accepted and not _is_accepted(conn, campaign, _REPORTS):
        raise Conflict(
            f"the gate would pause again: {reason_words(campaign.state_reason)}",
            code="reports_missing",
            hint="an approver goes on without them: ringroad campaign resume --without-reports; or abort it",
        )
    if accepted and campaign.state is CampaignState.PAUSED and not for_good:
        raise Conflict("no report is missing for good", code="reports_not_missing", hint="resume it")


def _refuse_spent(campaign: Campaign, *, accepted: bool) -> None:
    """Raise where the gate paused for harm that is proved and that is not accepted, or the other way round."""
    spent = campaign.state is CampaignState.PAUSED and is_budget_spent(campaign.state_reason)
    if spent and not accepted:
        raise Conflict(
            f"the gate would pause again: {reason_words(campaign.state_reason)}",
            code="budget_spent",
            hint="an approver goes on beyond it: ringroad campaign resume --beyond-budget; or abort it",
        )
    if accepted and not spent:
        raise Conflict("its budget of harm is not spent", code="budget_not_spent", hint="resume it")


def _accepts(campaign: Campaign) -> str:
    """Return what who goes on with a campaign that its gate paused accepts to miss."""
    return _METRICS if campaign.state_reason.startswith(UNKNOWN_FOR_GOOD) else _REPORTS


def _accepted(conn: Connection, campaign: Campaign) -> dict[str, int]:
    """Return what the fact says of what an approver goes on without."""
    what = _accepts(campaign)
    grown = SQL.newest_grow(conn, campaign_id=campaign.id) if what == _METRICS else None
    return {what: campaign.wave, **({} if grown is None else {_GROWTH: grown})}


def _is_accepted(conn: Connection, campaign: Campaign, what: str) -> bool:
    return bool(SQL.is_accepted(conn, campaign_id=campaign.id, wave=campaign.wave, what=what))
