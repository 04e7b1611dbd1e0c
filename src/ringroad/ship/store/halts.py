"""Whether a release did harm on the road, and since somebody looked.

Harm is what halted a campaign, and what spoke against its release when a person aborted it before it was halted, or has
spoken since: vehicles that began answer after the abort, too.

Invariant: nobody approves, starts or resumes a campaign whose release did harm in another one after its plan was checked,
and one that runs pauses.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import structlog

from ringroad.kernel.errors import Conflict
from ringroad.ship.check import HaltedBefore, names_halted
from ringroad.ship.gate import harm_at_end
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.reason_words import reason_words
from ringroad.ship.store.evidence import read_evidence
from ringroad.ship.store.reading import SQL, SavedPlan, read_campaign, read_plan, read_waves
from ringroad.storage.db import Connection

AGAIN: Final = "plan again: the checker names it, and whoever approves the plan accepts it"
ABORTED_READ_MAX: Final = 20  # campaigns that a person aborted, the newest, whose outcomes are read again
HARM_NOT_KNOWN: Final = "not_known"
LOG = structlog.get_logger(__name__)
HALTS_NAMED_MAX: Final = 5  # campaigns in which a release did harm; one is reason enough to look


def read_halted_before(conn: Connection, release_id: str) -> list[HaltedBefore]:
    """Return the campaigns in which a release did harm, the newest first; at most `HALTS_NAMED_MAX`."""
    known = [
        HaltedBefore(**row)
        for row in SQL.harm_of_release(conn, release_id=release_id, rows_max=HALTS_NAMED_MAX)
    ]
    late = [
        found
        for row in SQL.aborted_without_harm(conn, release_id=release_id, rows_max=ABORTED_READ_MAX)
        if (found := _harm_since_abort(conn, read_campaign(conn, row["id"])))
    ]
    newest = sorted(known + late, key=lambda each: each.at or datetime.min.replace(tzinfo=UTC), reverse=True)
    return newest[:HALTS_NAMED_MAX]


def _harm_since_abort(conn: Connection, campaign: Campaign) -> HaltedBefore | None:
    """Return what outcomes say that came in, or were counted, after a person aborted the campaign."""
    try:
        with conn.transaction():
            harm, at = _read_harm(conn, campaign)
    except Exception:
        LOG.exception("harm of a campaign not read", campaign_id=campaign.id)
        harm, at = HARM_NOT_KNOWN, None
    if not harm:
        return None
    at = max(filter(None, (at, campaign.state_at)), default=None)
    return HaltedBefore(campaign_id=campaign.id, name=campaign.name, reason=harm, at=at, aborted=True)


def read_harm(conn: Connection, campaign: Campaign) -> str:
    """Return what speaks against the release of a campaign under way, for who ends it; empty: nothing."""
    under_way = campaign.state in (CampaignState.RUNNING, CampaignState.PAUSED)
    return _read_harm(conn, campaign)[0] if under_way else ""


def _read_harm(conn: Connection, campaign: Campaign) -> tuple[str, datetime | None]:
    """Return what speaks against the release of a campaign that was started, and when its newest outcome came in."""
    if campaign.plan_id is None:
        return "", None
    plan = read_plan(conn, campaign.plan_id)
    gate = plan.request.gate
    wave, released = read_waves(conn, campaign, reports_min=gate.reports_min)
    evidence = read_evidence(conn, campaign, plan)
    harm = harm_at_end(gate, wave, released, evidence=evidence, budget=plan.request.ramp)
    return harm, released.newest_outcome_at


def read_harm_or_word(conn: Connection, campaign: Campaign) -> str:
    """Return the same for who stops a campaign by hand, which never fails for what cannot be read: `HARM_NOT_KNOWN`."""
    try:
        with conn.transaction():  # what fails in the database undoes this alone
            return read_harm(conn, campaign)
    except Exception:
        LOG.exception("harm of a campaign not read", campaign_id=campaign.id)
        return HARM_NOT_KNOWN


def read_harmed_elsewhere(conn: Connection, campaign: Campaign, plan: SavedPlan) -> str:
    """Name another campaign in which the release was found to do harm since the plan was made; empty: in none.

    What came in after a person aborted one is looked at where a campaign starts or goes on, not in each round.
    """
    rows = SQL.harm_of_release(conn, release_id=campaign.release_id, rows_max=HALTS_NAMED_MAX)
    found = (HaltedBefore(**row) for row in rows)
    return next((f"{each.name} ({each.campaign_id})" for each in found if _is_news(each, plan)), "")


def _is_news(found: HaltedBefore, plan: SavedPlan) -> bool:
    """Tell whether whoever approved a plan could not know of the harm; they accept what the plan names."""
    since = found.at is not None and plan.made_at < found.at
    return since and not names_halted(plan.findings, found.campaign_id)


def refuse_halted_since(conn: Connection, release_id: str, plan: SavedPlan | None, *, hint: str) -> None:
    """Raise if a release did harm in a campaign after a plan was made; None: nobody looked yet, and who plans will.

    What the plan names was accepted with it: vehicles of a campaign that was aborted may answer for long.

    Raises:
        Conflict: it did.
    """
    if plan is None:
        return
    for found in read_halted_before(conn, release_id):
        if not _is_news(found, plan):
            continue
        named = f"{found.name} ({found.campaign_id})"
        did = f"did harm in campaign {named}, aborted" if found.aborted else f"has halted campaign {named}"
        raise Conflict(
            f"its release {did} since: {reason_words(found.reason)}", code="release_halted_since", hint=hint
        )
