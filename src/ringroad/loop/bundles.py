"""Sign Director bundles for vehicles that wait for one: `ship` decides the content, `build` signs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import structlog

from ringroad.build.repository.store import OnlineSigners, issue_director_bundle
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import VehiclePackage
from ringroad.ship import store
from ringroad.ship.director import Content, NoContent, decide_content, decide_return
from ringroad.ship.model import Before, KnownImages, ReleaseFacts, VehicleFacts
from ringroad.ship.store.batches import RECONCILER
from ringroad.storage.db import Connection, transaction
from ringroad.trust.sign import DirectorTarget

LOG = structlog.get_logger(__name__)


class IssueBundle(Protocol):
    """Stores a signed Director bundle for a vehicle, in the caller's transaction."""

    def __call__(
        self,
        conn: Connection,
        *,
        vin: str,
        targets: Sequence[DirectorTarget],
        vehicle_package: VehiclePackage | None,
        now: datetime,
    ) -> object:
        """Sign and store.

        Raises:
            InvalidInput: an image is not in the signed Image repository as given.
        """
        ...


def signing_with(signers: OnlineSigners) -> IssueBundle:
    """Return an `IssueBundle` that signs with the server's online keys."""

    def issue(
        conn: Connection,
        *,
        vin: str,
        targets: Sequence[DirectorTarget],
        vehicle_package: VehiclePackage | None,
        now: datetime,
    ) -> object:
        return issue_director_bundle(
            conn, signers, vin=vin, targets=targets, vehicle_package=vehicle_package, now=now
        )

    return issue


@dataclass(slots=True)
class _Known:
    """Releases and images read once per batch."""

    conn: Connection
    releases: dict[str, ReleaseFacts] = field(default_factory=dict)
    images: dict[str, KnownImages] = field(default_factory=dict)

    def release(self, release_id: str) -> ReleaseFacts:
        if release_id not in self.releases:
            self.releases[release_id] = store.read_release(self.conn, release_id)
        return self.releases[release_id]

    def images_of(self, programme_id: str) -> KnownImages:
        if programme_id not in self.images:
            self.images[programme_id] = store.read_images(self.conn, programme_id)
        return self.images[programme_id]


def issue_waiting(
    conn: Connection,
    ids: Ids,
    issue: IssueBundle,
    *,
    now: datetime,
    vins: Sequence[str] | None = None,
    withheld: Collection[str] = (),
) -> int:
    """Sign and offer a batch of waiting vehicles, in one transaction; return how many were looked at.

    With `vins`: of these vehicles only. Updates of campaigns that are `withheld` wait, returns do not.
    """
    with transaction(conn):
        waiting = store.bundles_to_issue(conn, now=now, vins=vins, withheld=withheld)
        if not waiting:
            return 0
        vehicles = {
            vehicle.vin: vehicle
            for vehicle in store.read_vehicles(conn, vins=[bundle.vin for bundle in waiting])
        }
        known = _Known(conn)
        returns = [(bundle.campaign_id, bundle.vin) for bundle in waiting if bundle.kind == "rollback"]
        before = store.read_before(conn, returns) if returns else {}
        issued = []
        for bundle in waiting:
            content = _decide(
                known, bundle, vehicles[bundle.vin], before.get((bundle.campaign_id, bundle.vin), {})
            )
            if isinstance(content, Content):
                refused = _issue(conn, issue, content, now=now) if bundle.gateway == "native" else ""
                if not refused:
                    is_return = bundle.kind == "rollback"
                    issued.append(replace(bundle, packages=content.packages) if is_return else bundle)
                    continue
                content = NoContent(refused)
            LOG.warning("no bundle", vin=bundle.vin, action_id=bundle.action_id, reason=content.reason)
            store.mark_refused(conn, ids, bundle, reason=content.reason, now=now)
        store.mark_issued(conn, ids, issued, actor=RECONCILER, now=now)
    return len(waiting)


def withdraw_closed(conn: Connection, issue: IssueBundle, *, now: datetime) -> int:
    """Empty the Director repository of vehicles whose action closed without being installed."""
    with transaction(conn):
        withdrawals = store.bundles_to_withdraw(conn)
        for withdrawal in withdrawals:
            if not withdrawal.superseded:
                issue(conn, vin=withdrawal.vin, targets=(), vehicle_package=None, now=now)
            store.mark_withdrawn(conn, withdrawal)
    return len(withdrawals)


def _decide(
    known: _Known, bundle: store.PendingBundle, vehicle: VehicleFacts, before: Mapping[str, Before]
) -> Content | NoContent:
    release = known.release(bundle.release_id)
    if bundle.kind == "rollback":
        bad = known.release(bundle.campaign_release_id)
        images = known.images_of(vehicle.programme_id)
        return decide_return(vehicle, bad, release, images, before, action_id=bundle.action_id)
    return decide_content(vehicle, release, action_id=bundle.action_id, conduct=bundle.conduct)


def _issue(conn: Connection, issue: IssueBundle, content: Content, *, now: datetime) -> str:
    """Sign one bundle; return why it cannot be, or nothing."""
    try:
        with conn.transaction():  # a savepoint: a refused bundle leaves nothing of itself
            issue(conn, vin=content.vin, targets=content.targets, vehicle_package=content.package, now=now)
    except InvalidInput as error:
        return f"not signable: {error.message}"[:200]
    return ""


Sign = Callable[[], IssueBundle | None]
