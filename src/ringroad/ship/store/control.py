"""Control groups in PostgreSQL: who got other software is let go, with a reason; what is decided is in `ship.control`.

Who is let go keeps its row in the plan, which its digest binds; when and why stands beside it.

Invariants: a vehicle is let go once; a fact about the campaign counts who was, by reason, without a VIN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict
from ringroad.kernel.facts import FactKind
from ringroad.ship.control import StratumLeft, most_first, no_control_for, too_few_left
from ringroad.ship.judged import let_go_for
from ringroad.ship.model import Campaign
from ringroad.ship.store.reading import (
    SQL,
    SavedPlan,
    read_images,
    read_release,
    read_signed_releases,
    read_vehicles,
)
from ringroad.ship.store.waves import append_of, latest
from ringroad.storage.db import Connection

JUDGED_MAX = 1_000  # vehicles at a time
VEHICLES_MAX = 1_000_000  # judged in one transaction; a control group is not larger than a fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLeft:
    """What is left of a control group, without late joiners.

    Attributes:
        held: vehicles that the plan holds back.
        left: of those held back, vehicles that are controls still.
        too_few: why that is too little to go on with; empty: it is not.
    """

    held: int
    left: int
    too_few: str = ""


def judge_control(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    plan: SavedPlan,
    *,
    began_at: datetime,
    read_until: datetime,
    actor: str,
    now: datetime,
) -> int:
    """Let vehicles of the control group go that are no controls any more; inside a transaction of the caller.

    Args:
        conn: a connection in a transaction.
        ids: for the fact.
        campaign: under way.
        plan: that it carries out.
        began_at: when the comparison began.
        read_until: what was compared by now stays: nobody is let go from earlier on.
        actor: who or what looks.
        now: the server's time.

    Returns:
        How many were let go.

    Raises:
        Conflict: somebody else let one of them go meanwhile.
    """
    if not plan.document.get("counts", {}).get("control"):
        return 0
    gone: Counter[str] = Counter()
    for _ in range(VEHICLES_MAX // JUDGED_MAX):
        changed = {
            row["vin"]: row
            for row in SQL.control_changed(conn, plan_id=plan.id, since=began_at, rows_max=JUDGED_MAX)
        }
        if not changed:
            break
        read = {vin: row for vin, row in changed.items() if not row["unread"]}
        reasons = _judge(conn, campaign, read, under_way=began_at < now, now=now)
        stay = [row for vin, row in changed.items() if vin not in reasons]
        SQL.keep_control(
            conn, plan_id=plan.id, vins=[row["vin"] for row in stay],
            config_generations=[row["config_generation"] for row in stay],
        )  # fmt: skip
        ats = [max(read_until, changed[vin]["changed_at"] or now) for vin in reasons]
        rows = SQL.let_control_go(
            conn, plan_id=plan.id, vins=list(reasons), ats=ats, reasons=list(reasons.values())
        )
        if rows != len(reasons):
            raise Conflict(
                f"the control group of {campaign.id} changed", hint="read it again, then decide again"
            )
        gone.update(reasons.values())
    if gone:
        append_of(
            conn, ids, campaign, FactKind.CAMPAIGN_CONTROL_LET_GO, actor=actor, now=now,
            causes=latest(conn, campaign.id, FactKind.CAMPAIGN_STARTED),
            body={
                "vehicles": gone.total(), "reasons": most_first(gone), "left": read_control(conn, campaign, plan).left,
            },
        )  # fmt: skip
    return gone.total()


def read_control(conn: Connection, campaign: Campaign, plan: SavedPlan) -> ControlLeft:
    """Return what is left of the control group of a campaign, and whether that is enough."""
    counts = plan.document.get("counts", {})
    held, treated = counts.get("control", 0), counts.get("match", 0)
    rows = SQL.control_let_go(conn, campaign_id=campaign.id) if held else ()
    left = held - sum(row["planned"] for row in rows)
    strata = _read_strata(conn, plan) if left < held else {}
    return ControlLeft(
        held=held, left=left,
        too_few=too_few_left(plan.request, held=held, treated=treated, left=left, strata=strata),
    )  # fmt: skip


def read_control_let_go(conn: Connection, campaign_id: str) -> dict[str, int]:
    """Return how many vehicles were let go from a campaign's control group, by reason, most first."""
    rows = SQL.control_let_go(conn, campaign_id=campaign_id)
    return most_first(Counter({row["reason"]: row["vehicles"] for row in rows}))


def _read_strata(conn: Connection, plan: SavedPlan) -> dict[str, StratumLeft]:
    """Return what is left of the control group in each stratum that is read alone; none where it is read as a whole."""
    alone = set(plan.document.get("strata", ()))
    if len(alone) < 2:
        return {}
    held: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for row in SQL.control_by_stratum(conn, plan_id=plan.id):
        name = "/".join(str(row[each]) for each in plan.request.stratify_by)
        held[name] += row["held"]
        left[name] += row["left"]
    return {name: StratumLeft(held=held[name], left=left[name]) for name in alone}


def _judge(
    conn: Connection,
    campaign: Campaign,
    changed: Mapping[str, Mapping[str, Any]],
    *,
    under_way: bool,
    now: datetime,
) -> dict[str, str]:
    """Return who of these is let go, by VIN, and why; under way nobody is for being blocked, which is an outcome."""
    release = read_release(conn, campaign.release_id)
    images = read_images(conn, release.programme_id)
    led = any(len(row["way"] or ()) > 1 for row in changed.values())
    earlier = read_signed_releases(conn, release.programme_id) if led else []
    reasons: dict[str, str] = {}
    for vehicle in read_vehicles(conn, vins=list(changed)):
        row = changed[vehicle.vin]
        judged = replace(vehicle, blocked_reason=None) if under_way else vehicle
        way = (row["way"] or ())[:-1]  # a late joiner needs no other release first
        waiting = let_go_for(judged, release, images, earlier, way=way, now=now)
        if why := no_control_for(waiting, changed_at=row["changed_at"]):
            reasons[vehicle.vin] = why
    return reasons
