"""At a hub: the keys of sites, which it certified, and those that it revoked.

The caller opens the transaction.

Invariants:
    A key that was revoked is certified no more; the fact of it is the record, and nothing takes it back.
    A key is one site's: what becomes of it there is nothing to another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ringroad.build.site.lines import SQL
from ringroad.build.site.store import get_site
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, NotFound, Untrusted
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.db import Connection, of_row
from ringroad.storage.ledger import append_fact, last_of
from ringroad.trust.birth import CERTIFICATE, BirthRecord
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.plant_key import read_plant_key

KEYS_MAX: Final = 8  # of a site that are certified at one time; it has one, and another after a disk was lost
REVOKED: Final = "key_revoked"  # of a birth that is refused for its key


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteKey:
    """A key of a site that this hub certified.

    Attributes:
        key_id: its id.
        issued_at: when it was certified last.
        expires_at: until when that is good.
        revoked_at: from when on no birth is taken that it signed; None: it was not revoked.
        revoked_by: who did.
        reason: why.
    """

    key_id: str
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    reason: str | None


def list_keys(conn: Connection, site_id: str, *, rows_max: int = PAGE_ROWS_MAX) -> list[SiteKey]:
    """Return the keys that were certified for a site, newest first."""
    return [of_row(SiteKey, row) for row in SQL.site_keys(conn, site_id=site_id, rows_max=rows_max)]


def newest_key(conn: Connection, site_id: str) -> SiteKey | None:
    """Return the key of a site that was certified last; None: none was."""
    return next(iter(list_keys(conn, site_id, rows_max=1)), None)


def revoke_key(
    conn: Connection, ids: Ids, *, site_id: str, key_id: str, reason: str, actor: str, now: datetime
) -> None:
    """Take no birth any more that a key of a site signed, but those that are on record; and certify it no more.

    Raises:
        NotFound: there is no such site, or it never showed that key.
        Conflict: it was revoked before.
    """
    get_site(conn, site_id)
    if SQL.site_key(conn, site_id=site_id, key_id=key_id) is None:
        raise NotFound(f"site {site_id} has no key {key_id[:64]}", hint=f"ringroad site keys {site_id}")
    if (said := why_revoked(conn, site_id, key_id)) is not None:
        raise Conflict(said, code=REVOKED)
    append_fact(
        conn, ids, kind=FactKind.SITE_KEY_REVOKED, subject=key_id, actor=actor, now=now, causes=last_of(conn, site_id),
        body={"site": site_id, "reason": reason},
    )  # fmt: skip


def why_revoked(conn: Connection, site_id: str, key_id: str) -> str | None:
    """Return when a key of a site was revoked and why; None: it was not."""
    row = SQL.site_key_revoked(conn, site_id=site_id, key_id=key_id)
    if row is None:
        return None
    at: datetime = row["recorded_at"].astimezone(UTC)
    return f"key {key_id[:8]} was revoked at {at:%Y-%m-%d %H:%M} UTC: {row['reason']}"


def check_not_revoked(conn: Connection, record: BirthRecord) -> None:
    """Refuse a record that a revoked key sealed, whenever it says that it did. Raises: Untrusted, `key_revoked`."""
    if CERTIFICATE not in record.signed:
        return
    key = read_plant_key(encode_canonical(record.signed[CERTIFICATE]))
    if (said := why_revoked(conn, key.plant, key.key_id)) is not None:
        raise Untrusted(said, code=REVOKED)


def has_room(conn: Connection, site_id: str, *, now: datetime) -> bool:
    """Say whether another key of a site may be certified."""
    return int(SQL.live_keys(conn, site_id=site_id, now=now)) < KEYS_MAX
