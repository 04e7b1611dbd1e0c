"""PostgreSQL: connections, transactions, named queries. Nothing about any stage.

psycopg is the one driver, synchronous everywhere: handlers run in threads, workers are loops.
Store functions take the caller's connection; the shell opens the transaction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiosql
import psycopg
import structlog
from psycopg.rows import DictRow, dict_row

from ringroad.kernel.errors import Conflict, InvalidInput, Unavailable

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LOG = structlog.get_logger(__name__)
Connection = psycopg.Connection[DictRow]
T = TypeVar("T", bound="DataclassInstance")

URL_HINT = "check database_url: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
CONNECT_TIMEOUT_S = 10  # seconds; an embedded server restarts in well under one
# A network that is cut says nothing: without these a read waits for ever, a write for a quarter of an hour.
CUT_NETWORK: Final[Mapping[str, Any]] = {
    "tcp_user_timeout": 15_000,  # milliseconds until what was sent must be acknowledged
    "keepalives_idle": 5,  # seconds of silence before the other side is asked
    "keepalives_interval": 5,  # seconds between two questions
    "keepalives_count": 2,  # unanswered ones
}


def connect(url: str) -> Connection:
    """Open a connection whose rows are dicts and whose statements commit only inside `transaction`.

    Raises:
        Unavailable: the server does not answer.
        InvalidInput: `url` is no address of one.
    """
    try:
        return psycopg.connect(
            url, row_factory=dict_row, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, **CUT_NETWORK
        )
    except psycopg.ProgrammingError as error:  # its text may quote a part of the password
        raise InvalidInput("database_url is no address of a PostgreSQL", hint=URL_HINT) from error
    except psycopg.OperationalError as error:
        raise Unavailable(
            "PostgreSQL does not answer", hint="ringroad status shows the engines", detail=str(error)
        ) from error


@contextmanager
def transaction(conn: Connection) -> Iterator[Connection]:
    """Run a block in one transaction; foreign errors end here.

    Raises:
        Conflict: a unique or foreign key says that the world is different than the caller thought.
        Unavailable: the server went away, or two transactions waited for each other; nothing was written.
    """
    try:
        with conn.transaction():
            yield conn
    except psycopg.errors.IntegrityError as error:
        name = error.diag.constraint_name or "a constraint"
        raise Conflict(
            f"refused by {name}", hint="read it again, then decide again", detail=str(error)
        ) from error
    except psycopg.errors.DeadlockDetected as error:
        raise Unavailable(
            "somebody changed the same at the same time", hint="try again", detail=str(error)
        ) from error
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL went away", hint="try again", detail=str(error)) from error


def one_snapshot(conn: Connection) -> None:
    """Let all statements of a transaction see the database as of one moment; before its first one.

    For reading: what it writes fails where somebody else changed the same after that moment.
    """
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


@contextmanager
def apart(conn: Connection, **which: str) -> Iterator[None]:
    """Keep what is wrong with one of many from the others: it is told in the log, and the caller goes on.

    Raises:
        Unavailable: a server went away; that is not about this one.
    """
    try:
        yield
    except Unavailable:
        raise
    except Exception:
        if conn.closed:
            raise
        LOG.exception("left out, the others go on", **which)


@cache
def load_queries(package: str) -> Any:
    """Load `queries.sql` of a package, for example ``load_queries("ringroad.ship")``.

    Returns:
        An object with one method per named query: ``SQL.advance_wave(conn, rollout_id=...)``.
    """
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    return aiosql.from_str(text, "psycopg", mandatory_parameters=False)


def of_row(kind: type[T], row: Mapping[str, Any], **given: object) -> T:
    """Make a value of the columns that it has fields for: a schema that a newer release migrates has more."""
    known = {each.name for each in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in row.items() if name in known} | given)


def expect_one(rows: int, what: str) -> None:
    """Raise unless a compare-and-set touched exactly one row.

    Raises:
        Conflict: it moved on since it was read.
    """
    if rows != 1:
        raise Conflict(f"{what} changed", hint="read it again, then decide again")


Opener = Callable[[], Connection]
