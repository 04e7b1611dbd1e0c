"""What an ECU's data identifiers and fault codes are called, as its supplier describes them.

Names change what people read, never what is decided: findings, campaigns and packages go by codes.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.protocol.names import EcuNames, Names
from ringroad.storage.db import Connection, load_queries
from ringroad.storage.ledger import append_fact

SQL = load_queries("ringroad.signal")


def put_names(
    conn: Connection,
    ids: Ids,
    *,
    programme_id: str,
    ecu: str,
    names: EcuNames,
    source: str,
    actor: str,
    now: datetime,
) -> bool:
    """Give an ECU these names and no others; return whether that changed anything.

    Args:
        conn: in a transaction.
        ids: for the fact.
        programme_id: whose ECU it is.
        ecu: its name in the programme, or ``*`` for every ECU.
        names: all of them.
        source: the file they came from.
        actor: who does it.
        now: when.

    Raises:
        NotFound: there is no such programme, or it has no such ECU.
        InvalidInput: not one name is given.
    """
    known = SQL.programme_has_ecu(conn, programme_id=programme_id, ecu=ecu)
    if known is None:
        raise NotFound(f"no programme {programme_id}")
    if not known["known"]:
        raise NotFound(
            f"programme {programme_id} has no ECU {ecu}", hint="ringroad programme show lists them"
        )
    if not names.data and not names.faults:
        raise InvalidInput("names are needed", hint="to remove those there are: DELETE")
    digest = hashlib.sha256(msgspec.json.encode(names, order="sorted")).hexdigest()
    before = SQL.names_digest(conn, programme_id=programme_id, ecu=ecu)
    if before is not None and before["digest"] == digest:
        return False
    SQL.put_names(
        conn, programme_id=programme_id, ecu=ecu, data=Jsonb(names.data), faults=Jsonb(names.faults),
        source=source, digest=digest, imported_by=actor, imported_at=now,
    )  # fmt: skip
    append_fact(
        conn, ids, kind=FactKind.NAMES_CHANGED, subject=programme_id, actor=actor, now=now,
        body={
            "ecu": ecu, "data": len(names.data), "faults": len(names.faults), "source": source, "digest": digest,
        },
    )  # fmt: skip
    return True


def remove_names(
    conn: Connection, ids: Ids, *, programme_id: str, ecu: str, actor: str, now: datetime
) -> None:
    """Forget an ECU's names. Raises: NotFound (it has none)."""
    if SQL.remove_names(conn, programme_id=programme_id, ecu=ecu) != 1:
        raise NotFound(f"ECU {ecu} of programme {programme_id} has no names")
    append_fact(
        conn, ids, kind=FactKind.NAMES_REMOVED, subject=programme_id, actor=actor, now=now, body={"ecu": ecu}
    )


def load_names(conn: Connection, programme_id: str) -> Names:
    """Return the names of a programme's ECUs, for `ringroad.protocol.names`; at most a row for each ECU."""
    return {
        row["ecu"]: EcuNames(data=row["data"], faults=row["faults"])
        for row in SQL.names_of(conn, programme_id=programme_id)
    }
