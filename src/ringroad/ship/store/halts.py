"""Whether a release did harm on the road, and since somebody looked.

Harm is what halted a campaign, and what spoke against its release when a person aborted it before it was halted.

Invariant: nobody approves, starts or resumes a campaign whose release did harm in another one after its plan was checked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from ringroad.kernel.errors import Conflict
from ringroad.ship.check import HaltedBefore
from ringroad.ship.gate import harm_of
from ringroad.ship.model import Campaign, CampaignState
from ringroad.ship.reason_words import reason_words
from ringroad.ship.store.evidence import read_evidence
from ringroad.ship.store.reading import SQL, read_plan, read_waves
from ringroad.storage.db import Connection

AGAIN: Final = "plan again: the checker names it, and whoever approves the plan accepts it"
HARM_NOT_KNOWN: Final = "not_known"
LOG = structlog.get_logger(__name__)
HALTS_NAMED_MAX: Final = 5  # campaigns in which a release did harm; one is reason enough to look


def read_halted_before(conn: Connection, release_id: str) -> list[HaltedBefore]:
    """Return the campaigns in which a release did harm, the newest first; at most `HALTS_NAMED_MAX`."""
    rows = SQL.harm_of_release(conn, release_id=release_id, rows_max=HALTS_NAMED_MAX)
    return [HaltedBefore(**row) for row in rows]


def read_harm(conn: Connection, campaign: Campaign) -> str:
    """Return what speaks against the release of a campaign that is under way, as its gate would; empty: nothing."""
    if campaign.state not in (CampaignState.RUNNING, CampaignState.PAUSED) or campaign.plan_id is None:
        return ""
    plan = read_plan(conn, campaign.plan_id)
    gate = plan.request.gate
    wave, released = read_waves(conn, campaign, reports_min=gate.reports_min)
    evidence = read_evidence(conn, campaign, plan)
    return harm_of(gate, wave, released, evidence=evidence, budget=plan.request.ramp)


def read_harm_or_word(conn: Connection, campaign: Campaign) -> str:
    """Return the same for who stops a campaign by hand, which never fails for what cannot be read: `HARM_NOT_KNOWN`."""
    try:
        with conn.transaction():  # what fails in the database undoes this alone
            return read_harm(conn, campaign)
    except Exception:
        LOG.exception("harm of a campaign not read", campaign_id=campaign.id)
        return HARM_NOT_KNOWN


def refuse_halted_since(conn: Connection, release_id: str, since: datetime | None, *, hint: str) -> None:
    """Raise if a release did harm in a campaign that ended after a time; None: nobody looked yet, and who plans will.

    Raises:
        Conflict: it did.
    """
    found = next(iter(read_halted_before(conn, release_id)), None) if since is not None else None
    if found is None or found.at is None or since is None or found.at <= since:
        return
    named = f"{found.name} ({found.campaign_id})"
    did = f"did harm in campaign {named}, aborted" if found.aborted else f"has halted campaign {named}"
    raise Conflict(
        f"its release {did} since: {reason_words(found.reason)}", code="release_halted_since", hint=hint
    )
