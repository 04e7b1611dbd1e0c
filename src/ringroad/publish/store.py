"""Reads the ledger for others, in the order of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ringroad.kernel.errors import NotFound
from ringroad.publish.rows import SQL
from ringroad.storage.db import Connection

PAGE_ROWS = 200  # facts read at once; the body of one may be some hundred kB


def read_after(
    conn: Connection,
    *,
    after_seq: int,
    settled_seq: int,
    kinds: Sequence[str] | None,
    rows_max: int = PAGE_ROWS,
) -> list[dict[str, Any]]:
    """Return rows of the ledger behind a number, oldest first.

    Args:
        conn: the caller's connection; its snapshot is younger than `settled_seq`.
        after_seq: the last number that the reader has.
        settled_seq: what `horizon` says; nothing behind it is returned.
        kinds: only these; None: every kind.
        rows_max: rows to return.
    """
    wanted = None if kinds is None else list(kinds)
    return list(
        SQL.events_after(conn, after_seq=after_seq, settled_seq=settled_seq, kinds=wanted, rows_max=rows_max)
    )


def seq_of(conn: Connection, fact_id: str) -> int:
    """Return the number of a fact. Raises: NotFound."""
    seq = SQL.seq_of_fact(conn, fact_id=fact_id)
    if seq is None:
        raise NotFound(f"there is no event {fact_id[:80]!r}", hint="the id of an event you have, or a time")
    return int(seq)


def id_up_to(conn: Connection, seq: int) -> str:
    """Return the id of the newest fact with this number or a smaller one; empty: there is none."""
    return str(SQL.id_up_to(conn, seq=seq) or "")


def seq_before(conn: Connection, since: datetime) -> int:
    """Return the number after which the facts recorded at `since` or later stand.

    Walks back from the newest fact: the further back, the longer.
    """
    return int(SQL.seq_before(conn, since=since) or 0)
