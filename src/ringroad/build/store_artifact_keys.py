"""Keys of those who sign artifacts, in PostgreSQL. The caller opens the transaction.

A key is never deleted: what it signed while it was good can be looked up.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ringroad.build.artifact_signature import EVERY_SUPPLIER
from ringroad.build.store_packages import get_programme
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, load_queries
from ringroad.storage.ledger import append_fact, causes_of, last_of
from ringroad.trust.artifact_keys import read_artifact_key

SQL = load_queries("ringroad.build")

KEYS_MAX: Final = 64  # good ones of a programme; each is tried on each artifact
KEYS_SHOWN_MAX: Final = 1_000


def list_keys(conn: Connection, *, programme_id: str | None = None) -> list[dict[str, Any]]:
    """Return all keys as they are stored, newest first, revoked ones too."""
    return list(SQL.artifact_keys(conn, programme_id=programme_id, only_good=False, rows_max=KEYS_SHOWN_MAX))


def add_key(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    supplier: str,
    name: str,
    pem: str,
    actor: str,
    now: datetime,
) -> str:
    """Register a public key; its id is returned.

    Args:
        conn: a connection in a transaction.
        ids: makes the key's and the fact's id.
        programme_id: whose artifacts it may sign.
        supplier: of the ECUs, as the programme calls them; empty: all of them.
        name: what people call it.
        pem: the public key.
        actor: who vouches for it.
        now: when.

    Raises:
        NotFound: no such programme.
        InvalidInput: it is no key that artifacts are signed with, or no ECU has that supplier.
        Conflict: it is registered, or there are too many.
    """
    programme = get_programme(conn, programme_id).programme
    suppliers = sorted({ecu.supplier for ecu in programme.ecus.values()})
    if supplier != EVERY_SUPPLIER and supplier not in suppliers:
        raise InvalidInput(
            f"no ECU of {programme_id} is from supplier {supplier[:80]!r}",
            hint="there is " + ", ".join(suppliers),
        )
    key = read_artifact_key(pem)
    SQL.lock_programme(conn, programme_id=programme_id)  # so that two do not count at once
    if SQL.count_artifact_keys(conn, programme_id=programme_id) >= KEYS_MAX:
        raise Conflict(f"programme {programme_id} has {KEYS_MAX} keys", hint="revoke one first")
    key_id = ids.new("artifactkey")
    rows = SQL.insert_artifact_key(
        conn, id=key_id, programme_id=programme_id, supplier=supplier, name=name, kind=key.kind, sha256=key.sha256,
        pem=key.pem, actor=actor, now=now,
    )  # fmt: skip
    if rows != 1:
        raise Conflict("this key is registered", hint="ringroad release key list")
    append_fact(
        conn, ids, kind=FactKind.ARTIFACT_KEY_ADDED, subject=key_id, actor=actor, now=now,
        causes=causes_of(conn, [(FactKind.PROGRAMME_IMPORTED, programme_id)]),
        body={"programme_id": programme_id, "supplier": supplier, "name": name, "kind": key.kind, "sha256": key.sha256},
    )  # fmt: skip
    return key_id


def revoke_key(conn: Connection, ids: Ids, *, key_id: str, actor: str, now: datetime) -> None:
    """End a key: nothing it signed becomes a package or passes a release's check any more.

    Raises:
        NotFound: there is none that is good.
    """
    row = SQL.revoke_artifact_key(conn, id=key_id, actor=actor, now=now)
    if row is None:
        raise NotFound(f"there is no key {key_id[:200]!r} that is good")
    append_fact(
        conn, ids, kind=FactKind.ARTIFACT_KEY_REVOKED, subject=key_id, actor=actor, now=now,
        causes=last_of(conn, key_id), body={"programme_id": row["programme_id"]},
    )  # fmt: skip
