"""The approval of a release that takes ECUs back, and what of such decisions the offline keys have to sign.

The caller opens the transaction. What is decided is `downgrade.py`'s.

Invariant: whoever created the release never approves that it goes back.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from psycopg.types.json import Jsonb

from ringroad.build.downgrade import decide_downgrades
from ringroad.build.model import Package, Release
from ringroad.build.rows import downgrades_of, package_of, release_of
from ringroad.build.store_packages import SQL, packages_by_id
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, Forbidden, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, expect_one
from ringroad.storage.ledger import append_fact, causes_of
from ringroad.trust.metadata import Downgrade


def known_packages(conn: Connection, release: Release) -> list[Package]:
    """Return every package of the ECUs that a release asks to take back."""
    mark = release.document.get("downgrade")
    if not mark:
        return []
    rows = SQL.packages_of_ecus(conn, programme_id=release.programme_id, ecus=list(mark["ecus"]))
    return [package_of(row) for row in rows]


def approve_downgrade(
    conn: Connection, ids: Ids, *, release_id: str, generation: int, actor: str, now: datetime
) -> None:
    """Approve that a checked release takes ECUs back: from here on the images that it may go over are fixed.

    Raises:
        NotFound: no such release.
        InvalidInput: it does not ask to go back.
        Forbidden: the actor created it.
        Conflict: it moved on since `generation`, or is not checked.
    """
    row = SQL.release(conn, release_id=release_id)
    if row is None:
        raise NotFound(f"there is no release {release_id!r}")
    release = release_of(row)
    if actor == release.created_by:
        raise Forbidden(
            "whoever created a release cannot approve that it goes back", hint="ask another approver"
        )
    if release.state != "checked":
        raise Conflict(f"release {release_id} is {release.state}, not checked", hint="check it first")
    decided = decide_downgrades(
        release.id, release.document, packages_by_id(conn, release.package_ids), known_packages(conn, release),
        asked_by=release.created_by, approved_by=actor, now=now,
    )  # fmt: skip
    rows = SQL.keep_downgrades(
        conn, release_id=release_id, generation=generation, downgrades=Jsonb(msgspec.to_builtins(decided))
    )
    expect_one(rows, f"release {release_id}")
    append_fact(
        conn, ids, kind=FactKind.RELEASE_DOWNGRADE_APPROVED, subject=release_id, actor=actor, now=now,
        lap_id=release.lap_id, causes=causes_of(conn, [(FactKind.RELEASE_CHECKED, release_id)]),
        body={
            "version": release.version,
            "reason": release.document["downgrade"]["reason"],
            "back": [{"ecu": one.ecu, "to": one.version, "from": sorted(one.over.values())} for one in decided],
        },
    )  # fmt: skip


def require_approved(release: Release) -> None:
    """Refuse to sign a release that asks to go back before that was approved. Raises: Conflict."""
    if release.document.get("downgrade") and not release.downgrades:
        raise Conflict(
            f"release {release.id} takes ECUs back, which nobody approved yet",
            code="downgrade_not_approved",
            hint="another approver: ringroad release approve-downgrade",
        )


def decisions_to_publish(conn: Connection, release: Release, *, now: datetime) -> list[Downgrade]:
    """Return every decision that shall hold once `release` is signed: its own, and those of signed releases.

    Those of withdrawn releases are not among them: they end with the next signature.

    Raises:
        Conflict: `release` asks to go back and nobody approved that.
    """
    require_approved(release)
    signed = [one for row in SQL.signed_downgrades(conn, now=now) for one in downgrades_of(row["downgrades"])]
    return [one for one in signed if one.release_id != release.id] + list(release.downgrades)
