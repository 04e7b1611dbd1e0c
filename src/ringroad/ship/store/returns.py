"""Ordering the returns of a stopped campaign: by hand, after what its plan did by itself."""

from __future__ import annotations

from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import Campaign, CampaignState, ReleaseFacts
from ringroad.ship.returns import ReturnPlan, plan_returns
from ringroad.ship.store.reading import SQL, read_campaign, read_images, read_release, read_vehicles
from ringroad.ship.store.waves import append_of, latest
from ringroad.storage.db import Connection

STOPPED = (CampaignState.HALTED, CampaignState.ABORTED)


def read_return_plan(conn: Connection, campaign_id: str) -> ReturnPlan:
    """Plan the returns of vehicles that kept the campaign's release; inside a transaction of the caller.

    Raises:
        NotFound: there is no such campaign.
        Conflict: it was not stopped.
    """
    return _plan(conn, _stopped(conn, campaign_id))


def order_returns(
    conn: Connection, ids: Ids, *, campaign_id: str, sha256: str | None, actor: str, now: datetime
) -> ReturnPlan:
    """Order the return of every vehicle that kept the campaign's release; each order is signed as it is issued.

    Inside a transaction of the caller. That the actor may order it is the caller's to check.

    Args:
        conn: the record.
        ids: for facts.
        campaign_id: a halted or aborted campaign.
        sha256: of the plan that was read; None for what it is now.
        actor: who orders it.
        now: the server's time.

    Raises:
        NotFound: there is no such campaign.
        Conflict: it was not stopped, nothing is to return, or the plan is another one by now.
    """
    campaign = _stopped(conn, campaign_id)
    plan = _plan(conn, campaign)
    if sha256 is not None and plan.sha256 != sha256:
        raise Conflict("other vehicles would return by now", hint="read the plan again, then decide again")
    if not plan.vehicles:
        raise Conflict("no vehicle can return", hint="the plan names the reasons", code="nothing_to_return")
    ordered = SQL.insert_returns(conn, campaign_id=campaign.id, release_id=campaign.release_id, now=now)
    append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_RETURN_ORDERED, actor=actor, now=now,
        body={"vehicles": ordered, "to": dict(plan.to), "cannot": dict(plan.cannot), "sha256": plan.sha256},
        causes=latest(conn, campaign.id, FactKind.CAMPAIGN_HALTED)
        or latest(conn, campaign.id, FactKind.CAMPAIGN_ABORTED),
    )  # fmt: skip
    SQL.notify_assignment(conn, campaign_id=campaign.id)
    return plan


def _stopped(conn: Connection, campaign_id: str) -> Campaign:
    campaign = read_campaign(conn, campaign_id)
    if campaign.state not in STOPPED:
        raise Conflict(
            f"campaign {campaign_id} is {campaign.state}", hint="abort it first", code="campaign_state"
        )
    return campaign


def _plan(conn: Connection, campaign: Campaign) -> ReturnPlan:
    bad = read_release(conn, campaign.release_id)
    previous_of = {row["vin"]: row["release_id"] for row in SQL.kept_vehicles(conn, campaign_id=campaign.id)}
    releases: dict[str, ReleaseFacts] = {
        release_id: read_release(conn, release_id) for release_id in sorted(set(previous_of.values()))
    }
    vehicles = read_vehicles(conn, vins=list(previous_of))
    return plan_returns(
        ((vehicle, releases[previous_of[vehicle.vin]]) for vehicle in vehicles),
        bad,
        read_images(conn, bad.programme_id),
    )
