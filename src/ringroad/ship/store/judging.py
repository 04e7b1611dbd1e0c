"""Vehicles of which something else is known than when they were chosen: judged again before they are offered anything.

A number counts what is known of a vehicle's configuration (`vehicle.config_generation`): its release, the images its
ECUs run, whether it is blocked. A plan keeps the number that it resolved the vehicle by, and no statement offers an
action whose number is another one. What is decided is in `ship.judged`.

Invariant: no vehicle is offered a release that was not judged against what is known of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.ship.judged import changed_elsewhere, let_go_for, refused_for
from ringroad.ship.model import Campaign
from ringroad.ship.resolve import Resolution, resolve
from ringroad.ship.store.batches import append_batch, wave_fact_id
from ringroad.ship.store.reading import (
    SQL,
    array_of,
    read_images,
    read_release,
    read_signed_releases,
    read_vehicles,
)
from ringroad.storage.db import Connection
from ringroad.trust.manifest import UNLISTED

JUDGED_MAX = 1_000  # vehicles per transaction
VERDICTS_MAX = 50  # rows of a page


def judge_again(
    conn: Connection,
    ids: Ids,
    campaign: Campaign,
    *,
    actor: str,
    now: datetime,
    vins: Sequence[str] | None = None,
) -> int:
    """Judge waiting vehicles that changed since they were chosen; let those go that the campaign is nothing for.

    With `vins`: of these vehicles only.

    Returns:
        How many were judged; at `JUDGED_MAX` there may be more.
    """
    waiting = {
        row["vin"]: row
        for row in SQL.moved_on(conn, campaign_id=campaign.id, vins=array_of(vins), rows_max=JUDGED_MAX)
    }
    if not waiting:
        return 0
    release = read_release(conn, campaign.release_id)
    images = read_images(conn, release.programme_id)
    led = any(row["way"] for row in waiting.values())
    earlier = read_signed_releases(conn, release.programme_id) if led else []
    gone: dict[str, str] = {}
    for vehicle in read_vehicles(conn, vins=list(waiting)):
        row = waiting[vehicle.vin]
        way = row["way"][max(0, row["step"] - 1) :]  # what is left of it; a way is not changed under way
        if why := let_go_for(vehicle, release, images, earlier, way=way, now=now):
            gone[vehicle.vin] = why
    still = [row for vin, row in waiting.items() if vin not in gone]
    if still:
        SQL.choose_again(
            conn, action_ids=[row["action_id"] for row in still],
            release_ids=[row["release_id"] for row in still],
            config_generations=[row["config_generation"] for row in still],
        )  # fmt: skip
    if gone:
        actions = [waiting[vin]["action_id"] for vin in gone]
        SQL.let_go(conn, action_ids=actions, reasons=list(gone.values()), now=now)
        cause = wave_fact_id(conn, campaign.id, campaign.wave)
        append_batch(
            conn, ids, FactKind.VEHICLES_CANCELLED, actions, campaign_id=campaign.id, lap_id=campaign.lap_id,
            actor=actor, now=now, causes=[cause] if cause else [],
            body={"reason": "judged again", "verdicts": dict(Counter(gone.values()))},
        )  # fmt: skip
        SQL.notify_assignment(conn, campaign_id=campaign.id)
    return len(waiting)


def judge_refusals(
    conn: Connection, refused: Sequence[Mapping[str, Any]], *, now: datetime
) -> dict[int, str]:
    """Judge vehicles that refused an update by what is known of them today; inside a transaction of the caller.

    Args:
        conn: a connection in a transaction.
        refused: action_id, vin, release_id, code and the words beside it (`said`) of each; one action of a vehicle.
        now: the server's time.

    Returns:
        By action, why the vehicle is let go; those that are not named failed.
    """
    by_vin = {row["vin"]: row for row in refused}
    releases = {row["release_id"]: read_release(conn, row["release_id"]) for row in refused}
    images = {
        programme: read_images(conn, programme)
        for programme in sorted({one.programme_id for one in releases.values()})
    }
    unlisted: dict[str, dict[str, str]] = {}
    for each in SQL.changed_elsewhere(conn, vins=list(by_vin), unlisted=UNLISTED) if by_vin else ():
        unlisted.setdefault(each["vin"], {})[each["name"]] = each["serial"]
    found: dict[int, str] = {}
    for vehicle in read_vehicles(conn, vins=list(by_vin)) if by_vin else ():
        row = by_vin[vehicle.vin]
        release = releases[row["release_id"]]
        today = resolve(vehicle, release, images[release.programme_id], now=now)
        why = refused_for(today, code=row["code"]) or changed_elsewhere(
            row["code"],
            row["said"],
            touched=release.variants.get(vehicle.variant, {}),
            unlisted=unlisted.get(vehicle.vin, {}),
        )
        if why:
            found[row["action_id"]] = why
    return found


def judge_today(
    conn: Connection, *, vin: str, release_ids: Sequence[str], now: datetime
) -> dict[str, Resolution]:
    """Return what the resolver makes of releases for a vehicle as it is known now; inside a transaction of the caller.

    Nothing if there is no such vehicle.
    """
    found: dict[str, Resolution] = {}
    for vehicle in read_vehicles(conn, vins=[vin]):
        for release_id in release_ids:
            release = read_release(conn, release_id)
            images = read_images(conn, release.programme_id)
            earlier = read_signed_releases(conn, release.programme_id)
            found[release_id] = resolve(vehicle, release, images, earlier, now=now)
    return found


def read_let_go(conn: Connection, campaign_id: str) -> dict[str, int]:
    """Return how many vehicles of a campaign were let go by what is known of them since its plan, most first.

    By today's verdict; of those who refused it, by the one that says the same.
    """
    rows = SQL.let_go_verdicts(conn, campaign_id=campaign_id, rows_max=VERDICTS_MAX)
    return {row["verdict"]: row["vehicles"] for row in rows}
