"""Engines that are not ours: PostgreSQL, NATS and object store by address. Looked at before anything is started.

Invariant: no message repeats an address, for it holds a password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import nats.errors
import nats.js.errors
import psycopg
import structlog
from nats.js.errors import ServiceUnavailableError

from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.storage.blobs import Blobs
from ringroad.storage.broker import open_connection
from ringroad.storage.db import CONNECT_TIMEOUT_S, URL_HINT
from ringroad.storage.migrate import load_migrations, plan_migrations, read_applied
from ringroad.storage.settings import Settings

LOG = structlog.get_logger(__name__)
POSTGRES_MIN: Final = 15  # major version; what the settings promise


def external_checks(settings: Settings) -> Mapping[str, Callable[[], str]]:
    """Return, for each engine that settings name, what looks at it and says that it is well."""
    checks: dict[str, Callable[[], str]] = {}
    if settings.database_url:
        checks["postgres"] = lambda: check_database(settings.database_url)
    if settings.nats_url:
        checks["nats"] = lambda: check_nats(settings.nats_url)
    if settings.blob_url:
        checks["store"] = lambda: check_store(settings.blob_url)
    return checks


def check_database(url: str) -> str:
    """Connect, and look whether the database can be ours; change nothing.

    Raises:
        InvalidInput: it is no address of a PostgreSQL.
        Unavailable: nobody answers there, or we are refused.
        Conflict: it is too old, belongs to something else, or is newer than this code.
    """
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:  # its text may quote a part of the password
        raise InvalidInput("database_url is no address of a PostgreSQL", hint=URL_HINT) from error
    try:
        with psycopg.connect(
            url, autocommit=True, row_factory=psycopg.rows.dict_row, connect_timeout=CONNECT_TIMEOUT_S
        ) as conn:
            major = conn.info.server_version // 10_000
            require_version(major)
            plan_migrations(load_migrations(), read_applied(conn))
    except psycopg.Error as error:
        reason = str(error).splitlines()[0].removeprefix("connection failed: ")
        raise Unavailable(
            f"the PostgreSQL of database_url: {reason}", hint=URL_HINT, detail=str(error)
        ) from error
    return f"PostgreSQL {major}, of database_url"


def require_version(major: int) -> None:
    """Refuse a PostgreSQL that is older than any we were tested with. Raises: Conflict."""
    if major < POSTGRES_MIN:
        raise Conflict(
            f"the PostgreSQL of database_url is version {major}",
            hint=f"nothing was changed; {POSTGRES_MIN} or newer is needed",
            code="postgres_version",
        )


def check_nats(url: str) -> str:
    """Connect, and look for JetStream.

    Raises:
        Unavailable: nobody answers there, we are refused, or it has no JetStream.
    """

    async def look() -> None:
        # A connection that is reset right after it was refused leaves an exception behind that nobody asks for, and
        # that asyncio would print after our own message.
        asyncio.get_running_loop().set_exception_handler(_tell_nobody)
        connection = await open_connection(url)
        try:
            await connection.jetstream().account_info()
        finally:
            await connection.close()

    hint = "check nats_url: nats://USER:PASSWORD@HOST:PORT"
    try:
        asyncio.run(look())
    except (ServiceUnavailableError, nats.errors.NoRespondersError) as error:
        raise Unavailable("the NATS of nats_url has no JetStream", hint="start it with -js") from error
    except (OSError, ValueError, nats.errors.Error, nats.js.errors.Error) as error:
        refused = "authorization" in str(error).lower()
        what = "refuses our user or password" if refused else "does not answer"
        raise Unavailable(f"the NATS of nats_url {what}", hint=hint, detail=repr(error)) from error
    return "NATS with JetStream, of nats_url"


def _tell_nobody(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    LOG.debug("a refused connection to NATS left something behind", what=str(context.get("message")))


def check_store(url: str) -> str:
    """Ask the object store what it has.

    Raises:
        InvalidInput: it names no store we know.
        Unavailable: it does not answer, refuses us, or there is no such bucket.
    """
    store = Blobs(url)
    try:
        store.check()
    except (NotFound, Unavailable) as error:
        raise Unavailable(
            "the store of blob_url does not answer, refuses us, or has no such bucket",
            hint="check blob_url, and the store's credentials in the environment",
            detail=error.detail,
        ) from error
    return f"{url.partition(':')[0]} store, of blob_url"
