"""Ordering the returns of a stopped campaign: by hand, after what its plan did by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship.model import Before, Campaign, CampaignState, ReleaseFacts
from ringroad.ship.returns import Kept, ReturnPlan, plan_returns
from ringroad.ship.store.batches import RECONCILER
from ringroad.ship.store.locks import hold, try_hold
from ringroad.ship.store.reading import SQL, read_campaign, read_images, read_release, read_vehicles
from ringroad.ship.store.waves import append_of, latest
from ringroad.storage.db import Connection

MISSED_FOR = timedelta(minutes=15)  # no transaction that a halt did not see is open for longer
PLANNED_AT_ONCE = 5_000  # vehicles whose past is in memory
VINS_NAMED_MAX = 1_000  # vehicles that a fact names; it counts them all
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
    """Order the return of every vehicle of the plan that can return; each order is signed as it is issued.

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
    hold(conn, campaign_id)
    campaign = _stopped(conn, campaign_id)
    plan = _plan(conn, campaign)
    if sha256 is not None and plan.sha256 != sha256:
        raise Conflict("other vehicles would return by now", hint="read the plan again, then decide again")
    if not plan.vehicles:
        raise Conflict("no vehicle can return", hint="the plan names the reasons", code="nothing_to_return")
    ordered = SQL.insert_returns(conn, campaign_id=campaign.id, vins=list(plan.vins), now=now)
    append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_RETURN_ORDERED, actor=actor, now=now,
        body={
            "vehicles": ordered, "to": dict(plan.to), "packages": dict(plan.packages), "cannot": dict(plan.cannot),
            "sha256": plan.sha256,
        },
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


def order_back_late(conn: Connection, ids: Ids, rows: Iterable[Mapping[str, Any]], *, now: datetime) -> None:
    """Order vehicles back that came by a release after its campaign halted, where the plan asked for that.

    Inside the transaction that wrote that they have it.

    Args:
        conn: the record.
        ids: for facts.
        rows: actions by campaign_id and vin, and whether their vehicle `goes_back`.
        now: the server's time.
    """
    late: dict[str, list[str]] = {}
    for row in rows:
        if row["goes_back"]:
            late.setdefault(row["campaign_id"], []).append(row["vin"])
    for campaign_id, vins in sorted(late.items()):
        ordered = SQL.insert_returns(conn, campaign_id=campaign_id, vins=vins, now=now)
        if ordered:
            append_of(
                conn, ids, read_campaign(conn, campaign_id), FactKind.CAMPAIGN_RETURN_ORDERED, actor=RECONCILER, now=now,
                body={"vehicles": ordered, "asked": vins[:VINS_NAMED_MAX]},
                causes=latest(conn, campaign_id, FactKind.CAMPAIGN_HALTED),
            )  # fmt: skip
            SQL.notify_assignment(conn, campaign_id=campaign_id)


def halted_unswept(conn: Connection) -> list[str]:
    """Name the halted campaigns whose plans ask for returns, and that may have vehicles which their halt did not see."""
    return [row["id"] for row in SQL.halted_unswept(conn)]


def order_back_missed(conn: Connection, ids: Ids, campaign_id: str, *, now: datetime) -> None:
    """Order vehicles back whose halt did not see them: what they have was written while it was.

    Inside a transaction of the caller. Vehicles that were ordered back once are left alone. The campaign is done with
    once whatever was being written when it halted is over, however late that is looked at.
    """
    if not try_hold(conn, campaign_id):
        return
    rows = list(SQL.missed_by_halt(conn, campaign_id=campaign_id, rows_max=PLANNED_AT_ONCE))
    order_back_late(conn, ids, rows, now=now)
    if len(rows) < PLANNED_AT_ONCE:
        SQL.set_swept(conn, campaign_id=campaign_id, now=now, before=now - MISSED_FOR)


def read_before(
    conn: Connection, returns: Collection[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Before]]:
    """Return what is on record of ECUs from before a campaign's update, by name, of each campaign and vehicle given."""
    found: dict[tuple[str, str], dict[str, Before]] = {}
    given = {"campaign_ids": [each[0] for each in returns], "vins": [each[1] for each in returns]}
    for row in SQL.images_before(conn, **given):
        before = Before(image_sha256=row["image_sha256"], known=row["known"], filename=row["filename"] or "")
        found.setdefault((row["campaign_id"], row["vin"]), {})[row["ecu"]] = before
    return found


def _plan(conn: Connection, campaign: Campaign) -> ReturnPlan:
    bad = read_release(conn, campaign.release_id)
    return plan_returns(_kept(conn, campaign), bad, read_images(conn, bad.programme_id))


def _kept(conn: Connection, campaign: Campaign) -> Iterator[Kept]:
    rows = SQL.kept_vehicles(conn, campaign_id=campaign.id)
    previous_of: dict[str, str | None] = {row["vin"]: row["release_id"] for row in rows}
    releases: dict[str | None, ReleaseFacts | None] = {None: None}
    left = iter(previous_of)
    while vins := list(islice(left, PLANNED_AT_ONCE)):
        before = read_before(conn, [(campaign.id, vin) for vin in vins])
        for vehicle in read_vehicles(conn, vins=vins):
            since_id = vehicle.release_id if vehicle.release_id != campaign.release_id else None
            for release_id in (previous_of[vehicle.vin], since_id):
                if release_id not in releases:
                    releases[release_id] = read_release(conn, release_id or "")
            yield Kept(
                vehicle=vehicle,
                previous=releases[previous_of[vehicle.vin]],
                before=before.get((campaign.id, vehicle.vin), {}),
                since=releases[since_id],
            )
