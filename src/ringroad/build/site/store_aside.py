"""At a hub: what a site's line told and this version cannot read, kept whole until a person has it tried again.

The caller opens the transaction.

Invariants:
    What is kept holds up nothing behind it; what there is no room for stays at its site, and what is behind it with it.
    It is known by its bytes: told again, it is kept once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from ringroad.build.site.lines import SQL
from ringroad.build.site.store import ACTOR, put_conflict
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import NotFound
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.protocol.site import SiteEvent
from ringroad.storage.db import Connection, expect_one, of_row
from ringroad.storage.ledger import append_fact, last_of

What = Literal["event", "stop"]

ASIDE_MAX: Final = 1_000  # of a site that wait for a person; each at most a message of the link
UNREADABLE: Final = "unreadable"
BREAKS: Final = "breaks_reader"  # nobody foresaw what it says


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """An event or a word about a stop that cannot be taken now.

    Attributes:
        number: its position, or its seq.
        told: its bytes.
        event: what holds it, if that can be read.
    """

    what: What
    number: int
    told: bytes
    reason: str
    code: str = UNREADABLE
    event: SiteEvent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One that is kept, as it is shown.

    Attributes:
        sha256: by which it is known.
        settled_at: when it was taken after all; None: it waits for a person.
    """

    sha256: str
    programme_id: str
    what: What
    number: int
    code: str
    reason: str
    told_at: datetime
    settled_at: datetime | None
    settled_by: str | None


def keep_aside(
    conn: Connection, ids: Ids, site_id: str, programme_id: str, unread: Unread, *, now: datetime
) -> bool:
    """Keep what cannot be taken now, once.

    Returns:
        False if there is no room: then it is to stay at its site, with all that is behind it.
    """
    sha256 = hashlib.sha256(f"{unread.what}/{programme_id}/".encode() + unread.told).hexdigest()
    if SQL.aside(conn, site_id=site_id, sha256=sha256) is not None:
        return True
    if aside_waiting(conn, site_id) >= ASIDE_MAX:
        reason = (
            f"{ASIDE_MAX} of what it told are put aside; from {unread.what} {unread.number} of {programme_id} on,"
            " its line is not taken until some of them are"
        )
        put_conflict(conn, site_id, "aside_full", programme_id, reason, now=now)
        return False
    reason = unread.reason.replace("\x00", "")[:2_000]
    about = {"programme_id": programme_id, "what": unread.what, "number": unread.number, "code": unread.code}
    SQL.put_aside(conn, site_id=site_id, sha256=sha256, told=unread.told, reason=reason, now=now, **about)
    append_fact(
        conn, ids, kind=FactKind.SITE_PUT_ASIDE, subject=site_id, actor=ACTOR, now=now, causes=last_of(conn, site_id),
        body={**about, "sha256": sha256, "reason": reason},
    )  # fmt: skip
    return True


def aside_waiting(conn: Connection, site_id: str) -> int:
    """Return how many of a site wait for a person."""
    return int(SQL.aside_waiting(conn, site_id=site_id))


def list_aside(conn: Connection, site_id: str, *, rows_max: int = PAGE_ROWS_MAX) -> list[Aside]:
    """Return what of a site was put aside, what waits first, in the order in which its line told it."""
    return [of_row(Aside, row) for row in SQL.asides(conn, site_id=site_id, rows_max=rows_max)]


def get_aside(conn: Connection, site_id: str, sha256: str) -> tuple[Aside, bytes]:
    """Return one that is kept, and what was told; nobody else settles it meanwhile. Raises: NotFound."""
    row = SQL.aside(conn, site_id=site_id, sha256=sha256)
    if row is None:
        raise NotFound(
            f"nothing of that digest is put aside for site {site_id}", hint=f"ringroad site aside {site_id}"
        )
    return of_row(Aside, row), bytes(row["told"])


def settle_aside(
    conn: Connection, ids: Ids, site_id: str, found: Aside, *, actor: str, now: datetime
) -> None:
    """Note that one was taken after all. Raises: Conflict, it was before."""
    rows = SQL.settle_aside(conn, site_id=site_id, sha256=found.sha256, actor=actor, now=now)
    expect_one(rows, f"{found.what} {found.number} of {found.programme_id}")
    append_fact(
        conn, ids, kind=FactKind.SITE_ASIDE_SETTLED, subject=site_id, actor=actor, now=now, causes=last_of(conn, site_id),
        body={"programme_id": found.programme_id, "what": found.what, "number": found.number, "sha256": found.sha256},
    )  # fmt: skip
