"""Releasing vehicles: wave by wave, or as many as a budget of harm allows.

What is released is offered: over DDI at once, natively when the Director bundle is signed (`bundles.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import Fact, FactKind
from ringroad.ship.model import Campaign
from ringroad.ship.precedence import higher_than
from ringroad.ship.ramp import HarmBudget, RampState, decide_growth
from ringroad.ship.store.batches import append_batch
from ringroad.ship.store.precedence import preempt, preempted_by
from ringroad.ship.store.reading import (
    SQL,
    SavedPlan,
    array_of,
    read_campaign,
    read_levels,
    read_plan,
    read_recalls,
)
from ringroad.storage.db import Connection, expect_one
from ringroad.storage.ledger import append_fact, latest_fact


def release_wave(conn: Connection, ids: Ids, campaign: Campaign, *, actor: str, now: datetime) -> Campaign:
    """Release the wave after the current one; vehicles on DDI are offered it at once.

    Native vehicles are offered it when their Director bundle is signed (`bundles.py`).

    Raises:
        Conflict: the campaign moved on or does not run.
    """
    wave = campaign.wave + 1
    rows = SQL.set_wave(conn, campaign_id=campaign.id, wave=wave, generation=campaign.generation)
    expect_one(rows, f"campaign {campaign.id}")
    request = current_plan(conn, campaign).request
    offered: list[int] = []
    if not request.recall:  # a recall first makes room
        recalls = read_recalls(conn)
        offered = (
            SQL.release_and_offer_ddi(
                conn, campaign_id=campaign.id, wave=wave, now=now, deadline_s=request.vehicle_deadline_s,
                higher=higher_than(read_levels(conn), campaign.id) + recalls, recalls=recalls,
            )
            or []
        )  # fmt: skip
    SQL.release_wave(conn, campaign_id=campaign.id, wave=wave, now=now)
    vehicles = SQL.released_vehicles(conn, campaign_id=campaign.id, wave=wave)
    previous = latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED)
    started = append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_WAVE_STARTED, actor=actor, now=now,
        causes=previous or latest(conn, campaign.id, FactKind.CAMPAIGN_STARTED),
        body={"wave": wave, "vehicles": vehicles},
    )  # fmt: skip
    append_batch(
        conn, ids, FactKind.VEHICLES_OFFERED, offered, campaign_id=campaign.id, lap_id=campaign.lap_id,
        actor=actor, now=now, causes=[started.id], body={"wave": wave},
    )  # fmt: skip
    SQL.notify_assignment(conn, campaign_id=campaign.id)
    moved = read_campaign(conn, campaign.id)
    if request.recall:
        offer_waiting(conn, ids, moved, actor=actor, now=now)
    return moved


def offer_waiting(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    *,
    actor: str,
    now: datetime,
    causes: Sequence[str] | None = None,
    vins: Sequence[str] | None = None,
) -> int:
    """Offer released vehicles on DDI that have no other open action and wait for no other campaign; return how many.

    A recall makes room first, on native vehicles too.

    Args:
        conn: a connection in a transaction.
        ids: for facts.
        campaign: a running one.
        actor: who or what offers.
        now: the server's time.
        causes: of the offers; by default the wave that runs.
        vins: vehicles that are looked at; None for all.
    """
    request = current_plan(conn, campaign).request
    if request.recall:
        preempt(conn, ids, campaign, actor=actor, now=now, vins=vins)
    recalls = [] if request.recall else read_recalls(conn)
    offered: list[int] = (
        SQL.offer_ddi(
            conn, campaign_id=campaign.id, now=now, deadline_s=request.vehicle_deadline_s,
            higher=higher_than(read_levels(conn), campaign.id) + recalls, recalls=recalls,
            vins=array_of(vins),
        )
        or []
    )  # fmt: skip
    if offered:
        append_batch(
            conn, ids, FactKind.VEHICLES_OFFERED, offered, campaign_id=campaign.id, lap_id=campaign.lap_id,
            actor=actor, now=now, causes=[
                *(causes or latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED)),
                *preempted_by(conn, campaign.id),
            ],
        )  # fmt: skip
        SQL.notify_assignment(conn, campaign_id=campaign.id)
    return len(offered)


def start_ramp(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    budget: HarmBudget,
    *,
    vehicles: int,
    actor: str,
    now: datetime,
) -> Campaign:
    """Start the one wave of a campaign that grows by a budget of harm, with as many as may be harmed unseen.

    Raises:
        Conflict: the campaign moved on or does not run.
    """
    rows = SQL.set_wave(conn, campaign_id=campaign.id, wave=1, generation=campaign.generation)
    expect_one(rows, f"campaign {campaign.id}")
    nothing = RampState(begun=0, offered=0, offered_s=0, in_flight_milli=0, left=vehicles)
    first = decide_growth(budget, (), nothing, window_us=1)
    until = _put_off_until(conn, campaign, now=now)
    released = SQL.release_some(conn, campaign_id=campaign.id, wave=1, vehicles=first, until=until, now=now)
    started = append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_WAVE_STARTED, actor=actor, now=now,
        causes=latest(conn, campaign.id, FactKind.CAMPAIGN_STARTED), body={"wave": 1, "vehicles": released},
    )  # fmt: skip
    moved = read_campaign(conn, campaign.id)
    if released < first:
        _let_go_put_off(conn, ids, moved, until=until, causes=[started.id], now=now)
    offer_waiting(conn, ids, moved, actor=actor, now=now)
    SQL.notify_assignment(conn, campaign_id=campaign.id)
    return moved


def grow(
    conn: Connection, ids: Ids, campaign: Campaign, *, vehicles: int, actor: str, now: datetime
) -> Campaign:
    """Release more vehicles of the current wave, in the order of the lot.

    Raises:
        Conflict: the campaign moved on or does not run.
    """
    rows = SQL.touch_running(conn, campaign_id=campaign.id, generation=campaign.generation)
    expect_one(rows, f"campaign {campaign.id}")
    until = _put_off_until(conn, campaign, now=now)
    released = SQL.release_some(
        conn, campaign_id=campaign.id, wave=campaign.wave, vehicles=vehicles, until=until, now=now
    )
    grown = append_of(
        conn, ids, campaign, FactKind.CAMPAIGN_GREW, actor=actor, now=now,
        causes=latest(conn, campaign.id, FactKind.CAMPAIGN_WAVE_STARTED),
        body={"wave": campaign.wave, "vehicles": released},
    )  # fmt: skip
    moved = read_campaign(conn, campaign.id)
    if released < vehicles:
        _let_go_put_off(conn, ids, moved, until=until, causes=[grown.id], now=now)
    offer_waiting(conn, ids, moved, actor=actor, now=now, causes=[grown.id])
    SQL.notify_assignment(conn, campaign_id=campaign.id)
    return moved


def _put_off_until(conn: Connection, campaign: Campaign, *, now: datetime) -> datetime | None:
    """Return the day from which a vehicle that is put off takes no part; None for a recall, which nobody puts off."""
    request = current_plan(conn, campaign).request
    return None if request.recall else now + timedelta(seconds=request.vehicle_deadline_s)


def _let_go_put_off(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    *,
    until: datetime | None,
    causes: Sequence[str],
    now: datetime,
) -> None:
    """Let those go that were put off and passed over: their turn has come, and nobody else is left."""
    gone: list[int] = (
        SQL.let_go_put_off(conn, campaign_id=campaign.id, wave=campaign.wave, until=until, now=now) or []
    )
    append_batch(
        conn, ids, FactKind.VEHICLES_CANCELLED, gone, campaign_id=campaign.id, lap_id=campaign.lap_id,
        actor="rule:put_off", now=now, causes=causes, body={"wave": campaign.wave},
    )  # fmt: skip


def current_plan(conn: Connection, campaign: Campaign) -> SavedPlan:
    """Return the plan a campaign carries out.

    Raises:
        Conflict: it has none.
    """
    if campaign.plan_id is None:
        raise Conflict(f"campaign {campaign.id} has no plan", hint="plan it first")
    return read_plan(conn, campaign.plan_id)


def latest(conn: Connection, campaign_id: str, kind: FactKind) -> list[str]:
    """Return the id of the newest fact of this kind about a campaign, as causes: one or none."""
    fact = latest_fact(conn, kind=kind, subject=campaign_id)
    return [fact.id] if fact else []


def append_of(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    kind: FactKind,
    *,
    actor: str,
    now: datetime,
    causes: Sequence[str],
    body: dict[str, Any],
) -> Fact:
    """Append a fact about a campaign, in its lap."""
    return append_fact(
        conn, ids, kind=kind, subject=campaign.id, actor=actor, now=now, lap_id=campaign.lap_id,
        causes=causes, body=body,
    )  # fmt: skip
