"""Deltas in PostgreSQL and in the blob store.

Invariant: a delta that is ready lies in the blob store, and was proved to give its image (`make.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final

from ringroad.build.deltas.choose import VEHICLES_LOOKED_AT, Pair
from ringroad.kernel.clock import Ids
from ringroad.kernel.facts import FactKind
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.storage.blobs import Blob
from ringroad.storage.db import Connection, load_queries, of_row
from ringroad.storage.ledger import append_fact, causes_of

SQL = load_queries("ringroad.build.deltas")

ACTOR = "system:deltas"
RELEASES_MAX: Final = 10  # newest signed releases that are looked at
RELEASE_AGE_MAX: Final = timedelta(days=90)  # what was signed before has met its fleet


def wanted_deltas(conn: Connection, *, now: datetime, release_id: str | None = None) -> list[Pair]:
    """Return the pairs that vehicles need, with what became of each, most wanted first.

    Args:
        conn: a connection.
        now: the time.
        release_id: only of this release, however old.
    """
    since = now - (timedelta(days=36_500) if release_id else RELEASE_AGE_MAX)
    rows = SQL.wanted_deltas(
        conn, since=since, release_id=release_id, releases_max=RELEASES_MAX,
        vehicles_max=VEHICLES_LOOKED_AT, rows_max=PAGE_ROWS_MAX,
    )  # fmt: skip
    return [of_row(Pair, row) for row in rows]


@contextmanager
def turn(conn: Connection) -> Iterator[bool]:
    """Give whether this process may make a delta now: one does at a time."""
    mine = bool(SQL.take_delta_turn(conn))
    try:
        yield mine
    finally:
        if mine and not conn.closed:
            SQL.end_delta_turn(conn)


def save_delta(conn: Connection, ids: Ids, pair: Pair, *, algorithm: str, blob: Blob, now: datetime) -> None:
    """Offer a delta from now on. In the caller's transaction, while the blob is held (`store_images.storing`)."""
    _save(
        conn, ids, pair, FactKind.DELTA_MADE, now=now, state="ready", algorithm=algorithm, sha256=blob.sha256,
        sha512=blob.sha512, delta_bytes=blob.bytes,
    )  # fmt: skip


def leave_out(conn: Connection, ids: Ids, pair: Pair, *, reason: str, now: datetime) -> None:
    """Remember that there will be no delta for a pair. In the caller's transaction."""
    _save(conn, ids, pair, FactKind.DELTA_LEFT_OUT, now=now, state="left_out", reason=reason[:500])


def _save(conn: Connection, ids: Ids, pair: Pair, kind: FactKind, *, now: datetime, **result: Any) -> None:
    blank = {"reason": "", "algorithm": "", "sha256": None, "sha512": None, "delta_bytes": None}
    made = SQL.insert_delta(
        conn, to_sha256=pair.to_sha256, from_sha256=pair.from_sha256, ecu_class=pair.ecu_class,
        release_id=pair.release_id, image_bytes=pair.to_bytes, now=now, **(blank | result),
    )  # fmt: skip
    if made != 1:
        return  # another worker was faster
    append_fact(
        conn, ids, kind=kind, subject=pair.release_id, actor=ACTOR, now=now,
        causes=causes_of(conn, [(FactKind.RELEASE_SIGNED, pair.release_id)]),
        body={
            "ecu": pair.ecu, "from": pair.from_version, "to": pair.to_version, "vehicles": pair.vehicles,
            "image_bytes": pair.to_bytes,
            **{name: value for name, value in result.items() if name in {"algorithm", "delta_bytes", "reason"}},
        },
    )  # fmt: skip
