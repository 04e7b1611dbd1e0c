"""Migrations: plain SQL, forward only, each in a *pre* and a *post* half.

`NNNN_slug_pre.sql` only adds, so that the old code goes on over it; `NNNN_slug_post.sql` tightens, after
the new code runs. `plan_migrations` decides; `migrate` carries it out under one lock, a transaction per file.

Invariants: a file that was applied never changes; a database newer than the code is never touched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import psycopg

from ringroad.kernel.errors import Conflict, Corrupt, Unavailable
from ringroad.storage.db import Connection

LOCK_KEY = 0x52494E47524F4144  # "RINGROAD"; the advisory lock that one migrator holds
LOCK_WAIT_MS_MAX = 60_000  # milliseconds; a second starter waits for the first

_NAME = re.compile(r"(?P<number>[0-9]{4})_(?P<slug>[a-z0-9_]+)_(?P<half>pre|post)\.sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file."""

    name: str
    number: int
    is_post: bool
    text: str

    @property
    def digest(self) -> str:
        """The sha256 of the text, hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_migrations() -> tuple[Migration, ...]:
    """Return all migrations of this code, in order: pre before post of the same number.

    Raises:
        Corrupt: a file is misnamed, a number is missing or has no two halves.
    """
    folder = resources.files("ringroad.storage").joinpath("migrations")
    texts = {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir()}
    return parse_migrations({name: text for name, text in texts.items() if name.endswith(".sql")})


def parse_migrations(texts: Mapping[str, str]) -> tuple[Migration, ...]:
    """Order migrations given by file name, and check that the row has no gaps.

    Raises:
        Corrupt: a file is misnamed, a number is missing or has no two halves.
    """
    found: list[Migration] = []
    for name, text in texts.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise Corrupt(f"migration {name} is misnamed", hint="NNNN_slug_pre.sql or NNNN_slug_post.sql")
        is_post = match["half"] == "post"
        found.append(Migration(name=name, number=int(match["number"]), is_post=is_post, text=text))
    found.sort(key=lambda each: (each.number, each.is_post))
    expected = [(1 + index // 2, index % 2 == 1) for index in range(len(found))]
    if [(each.number, each.is_post) for each in found] != expected or len(found) % 2:
        raise Corrupt(
            "migrations have a gap", hint="each number from 0001 on needs one pre and one post file"
        )
    return tuple(found)


def plan_migrations(
    available: Sequence[Migration],
    applied: Mapping[str, str],
    *,
    pre_only: bool = False,
    in_use: bool = True,
) -> tuple[Migration, ...]:
    """Decide what is to be applied.

    Args:
        available: of this code, in order.
        applied: name to digest, as the database remembers it.
        pre_only: leave out the post halves: what a rolling deployment does before new code starts.
        in_use: whether a database that has migrations holds anything, so that older code may run on it.

    Raises:
        Conflict: the database is newer than this code, or an applied file changed since.
    """
    digests = {each.name: each.digest for each in available}
    unknown = sorted(applied.keys() - digests.keys())
    if unknown:
        raise Conflict(
            f"the database is newer than this code: it knows {unknown[-1]}",
            hint="nothing was changed; install the version that was used last, or a newer one",
            code="database_newer",
        )
    for name, digest in applied.items():
        if digests[name] != digest:
            raise Conflict(
                f"migration {name} is not the one that made this database",
                hint=(
                    "nothing was changed; go back to the version that made it, "
                    "or start over in an empty folder with --var"
                ),
                code="migration_changed",
            )
    pending = [each for each in available if each.name not in applied]
    if pre_only and applied and in_use:
        pending = [each for each in pending if not each.is_post]
    elif pre_only:  # no code runs on an empty database, and a pre half may need the post halves before it
        pending = pending[:-1]
    return tuple(pending)


def migrate(
    conn: Connection,
    *,
    now: datetime,
    available: Sequence[Migration] | None = None,
    pre_only: bool = False,
) -> tuple[str, ...]:
    """Bring the database to this code's state and return the names of what was applied.

    Raises:
        Conflict: see `plan_migrations`; or a file met data it cannot change.
        Unavailable: another process migrates, and did not end within a minute.
    """
    available = load_migrations() if available is None else available
    try:
        conn.execute(f"SET lock_timeout = {LOCK_WAIT_MS_MAX}")
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK_KEY,))
    except psycopg.errors.LockNotAvailable as error:
        raise Unavailable("another process is migrating the database", hint="try again") from error
    try:
        pending = plan_migrations(available, read_applied(conn), pre_only=pre_only, in_use=_in_use(conn))
        for each in pending:
            _apply(conn, each, now)
        return tuple(each.name for each in pending)
    finally:
        conn.execute("SELECT pg_advisory_unlock(%s)", (LOCK_KEY,))
        conn.execute("RESET lock_timeout")


def _in_use(conn: Connection) -> bool:
    """Say whether a database holds a programme; one whose making was cut off holds none, or has no place for any."""
    there = conn.execute("SELECT to_regclass('programme') IS NOT NULL AS there").fetchone()
    if there is None or not there["there"]:
        return False
    return conn.execute("SELECT FROM programme LIMIT 1").fetchone() is not None


def read_applied(conn: Connection) -> dict[str, str]:
    """Return name to digest of every applied file; empty for an empty database.

    Raises:
        Conflict: the database has tables, but not ours.
    """
    found = conn.execute("SELECT to_regclass('public.schema_migration') IS NOT NULL AS known").fetchone()
    if found and found["known"]:
        rows = conn.execute("SELECT name, digest FROM schema_migration").fetchall()
        return {row["name"]: row["digest"] for row in rows}
    foreign = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' LIMIT 1").fetchone()
    if foreign:
        raise Conflict(
            f"the database belongs to something else: it has a table {foreign['tablename'][:60]}",
            hint="nothing was changed; give Ringroad a database of its own in database_url",
            code="foreign_database",
        )
    return {}


def _apply(conn: Connection, migration: Migration, now: datetime) -> None:
    try:
        with conn.transaction():
            conn.execute(
                "CREATE TABLE IF NOT EXISTS schema_migration ("
                "name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL)"
            )
            conn.execute(migration.text)
            conn.execute(
                "INSERT INTO schema_migration (name, digest, applied_at) VALUES (%s, %s, %s)",
                (migration.name, migration.digest, now),
            )
    except psycopg.OperationalError as error:
        raise Unavailable("PostgreSQL went away", hint="try again", detail=str(error)) from error
    except psycopg.Error as error:
        raise Conflict(
            f"migration {migration.name} does not apply: {str(error).splitlines()[0]}",
            hint="that file was rolled back; nothing is half done",
            code="migration_failed",
            detail=str(error),
        ) from error
