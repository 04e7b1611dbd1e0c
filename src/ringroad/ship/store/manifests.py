"""Vehicle version manifests: what a native vehicle signed that it runs becomes its last known configuration.

Invariants:
    The same bytes change nothing twice.
    An action is installed when every one of its targets is shown, and only then.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import NotFound
from ringroad.ship.model import CLOSED_STATES, AssignmentState
from ringroad.ship.store.reading import SQL
from ringroad.ship.store.reports import append_outcomes
from ringroad.ship.store.returns import order_back_late
from ringroad.storage.db import Connection
from ringroad.trust.manifest import VehicleManifest


class ManifestResult(StrEnum):
    """What a manifest did to the vehicle's action."""

    REPEATED = "repeated"  # the same bytes were accepted before
    RECORDED = "recorded"  # configuration noted, no action closed
    INSTALLED = "installed"  # every target of the action is shown
    FELL_BACK = "fell_back"  # was confirmed, and is gone again


def apply_manifest(
    conn: Connection, ids: Ids, *, manifest: VehicleManifest, body: bytes, now: datetime
) -> ManifestResult:
    """Take over a verified vehicle version manifest; inside a transaction of the caller.

    1. The same bytes again change nothing.
    2. What each known ECU runs becomes its last known configuration.
    3. The vehicle's action is installed when every one of its targets is shown, and only then; the release
       becomes the vehicle's.
    4. A confirmed action whose images are gone while its campaign is under way counts as rolled back, whatever the
       vehicle was told since, unless newer ones of the programme or those of a later update took their place.
    5. A manifest after the deadline updates the vehicle's release; the outcome stays.

    Raises:
        NotFound: there is no such vehicle.
    """
    vin = manifest.vin
    vehicle_release = lock_vehicle(conn, vin)
    if SQL.insert_manifest(conn, vin=vin, digest=manifest.digest, body=body, now=now) == 0:  # 1
        return ManifestResult.REPEATED
    reports = manifest.reports
    serials, sha256s = list(reports), [one.installed_image.hashes.sha256 for one in reports.values()]
    filenames = [one.installed_image.filename for one in reports.values()]
    SQL.count_installed(conn, vin=vin, serials=serials, sha256s=sha256s)  # 2
    SQL.set_installed(conn, vin=vin, now=now, serials=serials, filenames=filenames, sha256s=sha256s)
    result, rows = ManifestResult.RECORDED, list(SQL.vehicle_actions(conn, vin=vin))
    for row in (row for row in rows if row["told_last"]):
        result = _settle_action(conn, ids, row, vehicle_release=vehicle_release, now=now)
    for row in (row for row in rows if not row["told_last"]):  # 4: beside whatever the vehicle was told since
        if lock_vehicle(conn, vin) == vehicle_release and _fall_back(conn, ids, row, now=now):
            result = ManifestResult.FELL_BACK
    return result


def lock_vehicle(conn: Connection, vin: str) -> str | None:
    """Keep a vehicle's row to the end of the caller's transaction; return its last confirmed release.

    Raises:
        NotFound: there is no such vehicle.
    """
    vehicle = SQL.lock_vehicle(conn, vin=vin)
    if vehicle is None:
        raise NotFound("no such vehicle")
    release_id: str | None = vehicle["release_id"]
    return release_id


def _settle_action(
    conn: Connection, ids: Ids, row: Mapping[str, Any], *, vehicle_release: str | None, now: datetime
) -> ManifestResult:
    action_id, vin, state = row["action_id"], row["vin"], AssignmentState(row["state"])
    if state is AssignmentState.INSTALLED:
        if row["campaign_state"] in ("running", "paused") and _fall_back(conn, ids, row, now=now):  # 4
            return ManifestResult.FELL_BACK
        SQL.touch_action(conn, action_id=action_id, now=now)
        return ManifestResult.RECORDED
    missing = SQL.missing_targets(conn, action_id=action_id)["missing"]
    if missing or not SQL.count_targets(conn, action_id=action_id):
        if state not in CLOSED_STATES:
            SQL.touch_action(conn, action_id=action_id, now=now)
        return ManifestResult.RECORDED
    if state in CLOSED_STATES:  # 5
        if vehicle_release != row["release_id"]:
            SQL.set_vehicle_releases(conn, vins=[vin], release_ids=[row["release_id"]])
            late = (row, AssignmentState.INSTALLED, now, {"late": True})
            append_outcomes(conn, ids, [late], now=now)
            order_back_late(conn, ids, [row], now=now)
        return ManifestResult.RECORDED
    if SQL.vehicle_denies(conn, action_id=action_id):
        # It shows the images and says that the update failed (its way back was blocked): the report decides.
        return ManifestResult.RECORDED
    _close(conn, ids, row, AssignmentState.INSTALLED, "confirmed by manifest", now=now)  # 3
    SQL.set_vehicle_releases(conn, vins=[vin], release_ids=[row["release_id"]])
    order_back_late(conn, ids, [row], now=now)
    return ManifestResult.INSTALLED


def _fall_back(conn: Connection, ids: Ids, row: Mapping[str, Any], *, now: datetime) -> bool:
    """Count a confirmed action as rolled back if its images are gone, and say whether they are."""
    found = SQL.missing_targets(conn, action_id=row["action_id"])
    shown = found["missing"] == 0 and SQL.count_targets(conn, action_id=row["action_id"])
    if shown or max(1, found["missing"]) <= found["newer"]:
        return False
    _close(conn, ids, row, AssignmentState.ROLLED_BACK, "fell back after it was confirmed", now=now)
    SQL.set_vehicle_releases(conn, vins=[row["vin"]], release_ids=[row["previous_release_id"]])
    return True


def _close(
    conn: Connection,
    ids: Ids,
    row: Mapping[str, Any],
    state: AssignmentState,
    detail: str,
    *,
    now: datetime,
) -> None:
    SQL.close_action(conn, action_id=row["action_id"], state=state.value, detail=detail, now=now)
    append_outcomes(conn, ids, [(row, state, now, {"detail": detail})], now=now)
    SQL.notify_assignment(conn, campaign_id=row["campaign_id"])
