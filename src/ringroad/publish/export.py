"""Reads one table out of PostgreSQL for an export: one snapshot, a cursor on the server, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from ringroad.kernel.errors import InvalidInput, NotFound, Unavailable
from ringroad.publish.rows import SQL
from ringroad.publish.tables import BATCH_ROWS, TABLES, Format, Table, encode, read_cursor
from ringroad.storage.db import Connection

STALLED_S_MAX: Final = (
    300  # seconds a reader may pause; a snapshot that stays open keeps old rows from being cleared
)
EXPORT_S_MAX: Final = 3_600  # seconds of one export, for the same reason


def find_table(name: str) -> Table:
    """Return what can be exported under a name. Raises: NotFound."""
    if name not in TABLES:
        raise NotFound(f"there is no export {name[:80]!r}", hint=f"one of {', '.join(TABLES)}")
    return TABLES[name]


@dataclass(slots=True)
class Export:
    """One export under way; close it, whatever happened.

    Attributes:
        rows: how many there are in its snapshot.
    """

    rows: int
    _conn: Connection
    _pieces: Iterator[bytes]

    def next_piece(self) -> bytes | None:
        """Return the next bytes; None: that was all.

        Raises:
            Unavailable: the database went away, or the reader paused too long.
        """
        try:
            return next(self._pieces, None)
        except psycopg.Error as error:
            raise Unavailable("the export broke off", hint="try again", detail=str(error)) from error

    def close(self) -> None:
        """End the snapshot."""
        self._conn.close()


def begin(
    conn: Connection,
    table: Table,
    form: Format,
    *,
    campaign_id: str | None,
    after: str | None = None,
    settled_seq: int | None = None,
) -> Export:
    """Begin an export on a connection of its own, which it keeps.

    Args:
        conn: which it keeps.
        table: what is exported.
        form: and how.
        campaign_id: of which campaign.
        after: the last row that the reader has; what comes is what is behind it now.
        settled_seq: facts up to this number, so that none can appear in front of a reader who goes on.

    Raises:
        InvalidInput: a campaign is needed, or is none of its business; `after` is no place, or Parquet is to go on.
        NotFound: there is no such campaign.
    """
    if table.of_campaign == (campaign_id is None):
        needed = "is needed" if table.of_campaign else "does not belong to it"
        raise InvalidInput(f"export {table.name}: a campaign {needed}")
    values = {"campaign_id": campaign_id, "settled_seq": settled_seq, **read_cursor(table, after, form=form)}
    if after is not None and form is Format.PARQUET:
        raise InvalidInput(
            "a Parquet file cannot be gone on with", hint="csv and jsonl can; or begin again", code="cursor"
        )
    conn.execute(f"SET idle_in_transaction_session_timeout = '{STALLED_S_MAX}s'".encode())
    conn.execute(f"SET statement_timeout = '{EXPORT_S_MAX}s'".encode())
    conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    conn.read_only = True
    conn.autocommit = False  # from here on one transaction, one snapshot
    if campaign_id is not None and not SQL.is_campaign(conn, campaign_id=campaign_id):
        raise NotFound(f"there is no campaign {campaign_id[:80]!r}", hint="ringroad campaign list")
    rows = getattr(SQL, f"count_{table.query}")(conn, **values)
    batches = _batches(conn, getattr(SQL, table.query).sql, values)
    return Export(rows=int(rows), _conn=conn, _pieces=encode(table, form, batches, goes_on=after is not None))


def _batches(conn: Connection, query: str, values: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    with conn.cursor("export") as cursor:
        cursor.execute(query.encode(), values)
        while batch := cursor.fetchmany(BATCH_ROWS):
            yield batch
