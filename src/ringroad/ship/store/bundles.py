"""Director bundles: which native vehicles need one, and what came of it.

Signing is `build`'s and the joining is `loop`'s; here are only the rows.

Invariant: a native vehicle is offered an action in the transaction that stores its signed bundle.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.protocol.vehicle import Conduct, Phase, Urgency
from ringroad.ship.director import AT_ONCE
from ringroad.ship.model import AssignmentState
from ringroad.ship.precedence import in_order
from ringroad.ship.store.batches import append_by_wave
from ringroad.ship.store.locks import keep_running
from ringroad.ship.store.reading import SQL, array_of, read_levels, read_recalls
from ringroad.ship.store.reports import append_outcome
from ringroad.storage.db import Connection, expect_one

BUNDLES_MAX = 100  # vehicles per transaction; the rows stay locked while they are signed


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingBundle:
    """A native vehicle whose wave is released, or any vehicle told to return; it has no other open action."""

    action_id: int
    vin: str
    kind: str  # update or rollback
    wave: int
    gateway: str  # over DDI nothing is signed
    campaign_id: str
    lap_id: str | None
    campaign_release_id: str
    release_id: str  # to be installed
    deadline_s: int
    urgency: Urgency = "forced"
    consent_phases: Sequence[Phase] = ()
    install_s: int = 0
    packages: Mapping[str, str] | None = None  # of a return, by ECU, as decided

    @property
    def conduct(self) -> Conduct:
        """How the vehicle goes about it; a return is made at once."""
        if self.kind == "rollback":
            return AT_ONCE
        return Conduct(urgency=self.urgency, consent=list(self.consent_phases), install_s=self.install_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A native vehicle whose bundle names an action that is no longer offered."""

    action_id: int
    vin: str
    superseded: bool  # a newer bundle stands; there is nothing to sign


def bundles_to_issue(
    conn: Connection,
    *,
    now: datetime,
    rows_max: int = BUNDLES_MAX,
    vins: Sequence[str] | None = None,
    withheld: Collection[str] = (),
) -> list[PendingBundle]:
    """Lock and return vehicles that wait for a bundle, each once; inside a transaction of the caller.

    A vehicle may wait twice: to return from a halted campaign and for the next one, or for several campaigns.
    A return goes first, then the campaign that is served first, then the older action. With `vins`: these only.
    Campaigns that are `withheld` get no updates, and their vehicles none of campaigns that come after them. Vehicles of
    a recall get none of other campaigns before it is through with them. The campaigns stay running to the end of the
    transaction; one that somebody moves right now is withheld.
    """
    recalls = read_recalls(conn)
    higher_withheld: list[str] = []
    for number, tier in enumerate(in_order(read_levels(conn)) or [[]]):
        first: dict[str, PendingBundle] = {}
        ahead = [] if set(recalls) & set(tier) else recalls
        for row in SQL.waiting_for_bundle(
            conn,
            campaign_ids=[campaign_id for campaign_id in tier if campaign_id not in withheld],
            higher=higher_withheld + ahead,
            recalls=ahead,
            returns=number == 0,
            now=now,
            vins=array_of(vins),
            rows_max=rows_max,
        ):
            first.setdefault(row["vin"], PendingBundle(**row))
        if first:
            updates = {one.campaign_id for one in first.values() if one.kind != "rollback"}
            if moving := updates - keep_running(conn, updates):
                withheld = {*withheld, *moving}
                return bundles_to_issue(conn, now=now, rows_max=rows_max, vins=vins, withheld=withheld)
            return list(first.values())
        higher_withheld += [campaign_id for campaign_id in tier if campaign_id in withheld]
    return []


def mark_issued(
    conn: Connection, ids: Ids, bundles: Sequence[PendingBundle], *, actor: str, now: datetime
) -> None:
    """Offer the actions; a native vehicle's bundle is stored in this transaction.

    Raises:
        Conflict: an action is not waiting any more.
    """
    for bundle in bundles:
        rows = SQL.offer_issued(
            conn,
            action_id=bundle.action_id,
            bundle="issued" if bundle.gateway == "native" else "",
            packages=None if bundle.packages is None else Jsonb(dict(bundle.packages)),
            deadline_s=bundle.deadline_s,
            now=now,
        )
        expect_one(rows, f"action {bundle.action_id}")
    offered = [asdict(bundle) for bundle in bundles]
    append_by_wave(conn, ids, FactKind.VEHICLES_OFFERED, offered, actor=actor, now=now)
    for campaign_id in sorted({bundle.campaign_id for bundle in bundles}):
        SQL.notify_assignment(conn, campaign_id=campaign_id)


def mark_refused(conn: Connection, ids: Ids, bundle: PendingBundle, *, reason: str, now: datetime) -> None:
    """Close an action that cannot be expressed for this vehicle: nothing was installed."""
    rows = SQL.refuse_action(conn, action_id=bundle.action_id, reason=reason, now=now)
    expect_one(rows, f"action {bundle.action_id}")
    append_outcome(conn, ids, bundle.action_id, AssignmentState.FAILED, reason=reason, now=now)


def bundles_to_withdraw(conn: Connection, *, rows_max: int = BUNDLES_MAX) -> list[Withdrawal]:
    """Lock and return vehicles whose bundle must be replaced by an empty one."""
    return [
        Withdrawal(
            action_id=row["action_id"],
            vin=row["vin"],
            superseded=bool(SQL.newer_bundle(conn, vin=row["vin"], action_id=row["action_id"])),
        )
        for row in SQL.to_withdraw(conn, rows_max=rows_max)
    ]


def mark_withdrawn(conn: Connection, withdrawal: Withdrawal) -> None:
    """Note that the vehicle's Director repository no longer names the action."""
    SQL.mark_withdrawn(conn, action_id=withdrawal.action_id)
