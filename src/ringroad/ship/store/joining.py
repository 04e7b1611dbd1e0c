"""Late joiners in PostgreSQL: vehicles that changed are looked at, and those that a campaign selects now join it.

The plan's document and its vehicles stay as they were approved: joiners have rank 0, which no vehicle of a plan has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.joining import Bound, Part, part_of
from ringroad.ship.match import Selected, match_vehicle
from ringroad.ship.model import Campaign, VehicleFacts
from ringroad.ship.query import parse_query
from ringroad.ship.resolve import resolve
from ringroad.ship.store.batches import RECONCILER, ranges
from ringroad.ship.store.reading import SQL, SavedPlan, read_images, read_release, read_vehicles
from ringroad.ship.store.waves import append_of, latest
from ringroad.storage.db import Connection
from ringroad.storage.latest import Latest

LOOKED_AT_MAX = 1_000  # vehicles per transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look found; go on from `seq` while there is `more`."""

    seq: int
    more: bool
    joined: int = 0
    held: int = 0


def join_late(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    plan: SavedPlan,
    *,
    after_seq: int,
    samples: Latest,
    now: datetime,
) -> Look:
    """Look at vehicles that changed after a number, oldest first, and let those join that the campaign is for.

    Whoever was in the plan, is at work for another campaign or is held back by one, does not; nor who would need
    another release first. Inside a transaction of the caller.

    Args:
        conn: a connection in a transaction.
        ids: for the fact.
        campaign: that runs by `plan`.
        plan: with late joiners included.
        after_seq: number of the change looked at last.
        samples: what telemetry last said, by path and VIN.
        now: the server's time.
    """
    running = SQL.lock_running(conn, campaign_id=campaign.id, plan_id=plan.id)
    if running is None:
        return Look(seq=after_seq, more=False)
    release = read_release(conn, campaign.release_id)
    rows = list(
        SQL.join_candidates(
            conn, programme_id=release.programme_id, after_seq=after_seq, rows_max=LOOKED_AT_MAX
        )
    )
    if not rows:
        return Look(seq=after_seq, more=False)
    looked = Look(seq=rows[-1]["changed_seq"], more=len(rows) == LOOKED_AT_MAX)
    new = [row["vin"] for row in SQL.not_planned(conn, plan_id=plan.id, vins=[row["vin"] for row in rows])]
    free = {row["vin"]: row["config_generation"] for row in SQL.not_busy(conn, vins=new)} if new else {}
    if not free:
        return looked
    query, images = parse_query(plan.request.query), read_images(conn, release.programme_id)
    joiners: list[VehicleFacts] = []
    for vehicle in read_vehicles(conn, vins=list(free), latest=samples):
        found = resolve(vehicle, release, images, now=now)
        if isinstance(match_vehicle(query, vehicle), Selected) and found.verdict == "match":
            joiners.append(vehicle)
    if not joiners:
        return looked
    bounds = [
        Bound(stratum=row["stratum"], part=Part(wave=row["wave"]), last=row["last"])
        for row in SQL.part_bounds(conn, plan_id=plan.id, seed=plan.request.seed)
    ]
    parts = {
        vehicle.vin: part_of(
            vehicle.vin,
            "\t".join(str(getattr(vehicle, name)) for name in plan.request.stratify_by),
            seed=plan.request.seed,
            bounds=bounds,
            control=plan.document["counts"].get("control", 0),
            waves=plan.document["wave_vehicles"],
        )
        for vehicle in joiners
    }
    released = 0 if plan.request.ramp else running["wave"]  # a ramp releases them in their turn
    return _write(
        conn, ids, campaign, plan.id, looked=looked, parts=parts, known=free, released=released, now=now
    )


def _write(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    plan_id: str,
    *,
    looked: Look,
    parts: dict[str, Part],
    known: dict[str, int],
    released: int,
    now: datetime,
) -> Look:
    vins = sorted(parts)
    SQL.insert_joined(
        conn, plan_id=plan_id, vins=vins, verdicts=[parts[vin].verdict for vin in vins],
        waves=[parts[vin].wave for vin in vins], config_generations=[known[vin] for vin in vins], now=now,
    )  # fmt: skip
    told = [vin for vin in vins if parts[vin].wave]
    actions: Sequence[int] = (
        SQL.assign_joined(
            conn, campaign_id=campaign.id, vins=told, waves=[parts[vin].wave for vin in told],
            config_generations=[known[vin] for vin in told], released=released, now=now,
        )
        or []
    )  # fmt: skip
    append_of(
        conn, ids, campaign, FactKind.VEHICLES_JOINED, actor=RECONCILER, now=now,
        causes=latest(conn, campaign.id, FactKind.CAMPAIGN_STARTED),
        body={
            "vehicles": len(told), "control": len(vins) - len(told),
            "actions": " ".join(
                str(first) if first == last else f"{first}-{last}" for first, last in ranges(actions)
            ),
        },
    )  # fmt: skip
    SQL.notify_assignment(conn, campaign_id=campaign.id)
    return Look(seq=looked.seq, more=looked.more, joined=len(told), held=len(vins) - len(told))
