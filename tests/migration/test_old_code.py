"""Code of the release before goes on over half a migration, and code of this one starts on it.

Between the two halves both run. What the release before asked is kept in `before/NNNN.sql`, one file, of the newest
migration alone: every statement must still mean what it did, and no row it wrote may be refused.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiosql
import psycopg
import pytest

from ringroad.storage.db import Connection, connect
from ringroad.storage.migrate import Migration, load_migrations, migrate, parse_migrations

pytestmark = pytest.mark.engines

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
BEFORE = Path(__file__).with_name("before")
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")
FILE = re.compile(r"^-- file: (\S+)\n", re.MULTILINE)

RULES = """
SELECT contype::text AS kind, conrelid::regclass::text AS relation, pg_get_constraintdef(c.oid) AS rule,
       (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS columns
  FROM pg_constraint c WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND contype <> 'n'
UNION ALL
SELECT 'unique', indrelid::regclass::text, pg_get_indexdef(indexrelid), NULL
  FROM pg_index JOIN pg_class r ON r.oid = indrelid WHERE indisunique AND r.relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'required', attrelid::regclass::text, attname || ' NOT NULL without a default', ARRAY[attname::text]
  FROM pg_attribute JOIN pg_class r ON r.oid = attrelid
 WHERE r.relnamespace = 'public'::regnamespace AND r.relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
   AND attnotnull AND NOT atthasdef AND attidentity = ''
"""
COLUMNS = "SELECT table_name AS relation, column_name AS name FROM information_schema.columns WHERE table_schema = 'public'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a statement takes and gives: types by position, and types by column."""

    takes: tuple[int, ...]
    gives: Mapping[str, int]


def statements(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield file and name, and the SQL, of every named query."""
    for file, text in texts.items():
        queries = aiosql.from_str(text, "psycopg", mandatory_parameters=False)
        for name in queries.available_queries:
            if not name.endswith("_cursor"):  # aiosql's second way to run the same text
                yield f"{file} {name}", getattr(queries, name).sql


def meaning(conn: Connection, text: str) -> Meaning | str:
    """Let PostgreSQL parse a statement against the schema as it is; a string is its complaint."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    done = conn.pgconn.prepare(b"", PLACEHOLDER.sub(number, text).encode())
    if done.status == psycopg.pq.ExecStatus.FATAL_ERROR:
        return done.error_message.decode().strip()
    told = conn.pgconn.describe_prepared(b"")
    return Meaning(
        takes=tuple(told.param_type(index) for index in range(told.nparams)),
        gives={(told.fname(index) or b"").decode(): told.ftype(index) for index in range(told.nfields)},
    )


def understood(conn: Connection, texts: Mapping[str, str]) -> tuple[dict[str, Meaning], list[str]]:
    """Return what each statement means, and the complaints about those that mean nothing."""
    meanings: dict[str, Meaning] = {}
    complaints = []
    temporary = [text for _, text in statements(texts) if text.startswith("CREATE TEMP TABLE")]
    for text in sorted(temporary, key=lambda text: PLACEHOLDER.search(text) is not None):
        # What others of the same transaction read; those that are filled by a query read the others themselves.
        with contextlib.suppress(psycopg.errors.DuplicateTable), conn.transaction():
            conn.execute(text, {match[1]: None for match in PLACEHOLDER.finditer(text) if match[1]} or None)
    for name, text in statements(texts):
        found = meaning(conn, text)
        if isinstance(found, str):
            complaints.append(f"{name}: {found}")
        else:
            meanings[name] = found
    return meanings, complaints


def harms(url: str, available: Sequence[Migration], number: int, texts: Mapping[str, str]) -> list[str]:
    """Say what the pre half of a migration does to code of the release before it.

    Args:
        url: an empty database.
        available: every migration up to `number`.
        number: the migration that is looked at.
        texts: the queries of the release before, by file.
    """
    with connect(url) as conn:
        migrate(conn, now=NOW, available=[each for each in available if each.number < number])
        before, complaints = understood(conn, texts)
        rules = {str(row) for row in conn.execute(RULES)}
        columns = {(row["relation"], row["name"]) for row in conn.execute(COLUMNS)}
        assert not complaints, f"these are not of the release before {number:04}: {complaints}"
        migrate(conn, now=NOW, available=[each for each in available if each.number <= number], pre_only=True)
        after, complaints = understood(conn, texts)
        for name, meant in before.items():
            if name in after and not (
                meant.takes == after[name].takes and meant.gives.items() <= after[name].gives.items()
            ):
                complaints.append(f"{name} means something else: {meant} became {after[name]}")
        for row in conn.execute(RULES):
            known = [(row["relation"], name) in columns for name in row["columns"] or []]
            fresh = row["kind"] in "cf" and known and not any(known)  # binds only what old code leaves out
            if str(row) not in rules and row["relation"] in {name for name, _ in columns} and not fresh:
                complaints.append(f"{row['relation']} may refuse what it took: {row['rule']}")
        return complaints


def current_queries() -> dict[str, str]:
    paths = sorted((ROOT / "src").rglob("queries.sql"))
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("half", ["whole", "pre"])
def test_every_query_is_understood_by_the_schema_whole_and_half_migrated(
    pg_url_empty: str, half: str
) -> None:
    with connect(pg_url_empty) as conn:
        migrate(conn, now=NOW, pre_only=half == "pre")
        meanings, complaints = understood(conn, current_queries())
    assert not complaints
    assert len(meanings) > 100


def test_the_newest_migration_leaves_the_release_before_at_work(pg_url_empty: str) -> None:
    newest = load_migrations()[-1].number
    path = BEFORE / f"{newest:04}.sql"
    if newest > 1 and os.environ.get("RINGROAD_WRITE_BEFORE"):
        for old in BEFORE.glob("*.sql"):
            old.unlink()
        BEFORE.mkdir(exist_ok=True)
        path.write_text(queries_before(newest), encoding="utf-8")
    wanted = [path] if newest > 1 else []
    assert sorted(BEFORE.glob("*.sql")) == wanted, (
        "a new migration needs the queries of the release before: "
        "RINGROAD_WRITE_BEFORE=1 pytest tests/migration writes them from git"
    )
    for each in wanted:
        head, *parts = FILE.split(each.read_text(encoding="utf-8"))
        texts = dict(zip(parts[::2], parts[1::2], strict=True))
        assert not harms(pg_url_empty, load_migrations(), newest, texts), head


def queries_before(number: int) -> str:
    """Return the queries as they were before a migration was added, from git."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    folder = "src/ringroad/storage/migrations"
    added = git(
        "log", "--diff-filter=A", "--format=%H", "-1", "--", f"{folder}/{number:04}_*_pre.sql"
    ).strip()
    commit = f"{added}^" if added else "HEAD"
    names = [
        name
        for name in git("ls-tree", "-r", "--name-only", commit, "src").splitlines()
        if name.endswith("/queries.sql")
    ]
    parts = [f"-- file: {name}\n{git('show', f'{commit}:{name}')}" for name in names]
    return "-- Made by RINGROAD_WRITE_BEFORE=1 pytest tests/migration; do not edit.\n" + "\n".join(parts)


OLD_SCHEMA = """
CREATE TABLE maker (id integer PRIMARY KEY, country text);
CREATE TABLE car (vin text PRIMARY KEY, maker_id integer REFERENCES maker (id), colour text NOT NULL DEFAULT 'grey');
"""
OLD_QUERIES = """
-- name: add_car!
INSERT INTO car (vin, maker_id) VALUES (:vin, :maker_id);
-- name: cars
SELECT * FROM car WHERE vin LIKE 'W%%' AND colour = :colour;
-- name: cars_of
SELECT vin, country FROM car JOIN maker ON maker.id = maker_id WHERE country = :country;
"""


def harms_of(url: str, pre: str) -> list[str]:
    texts = {
        "0001_a_pre.sql": OLD_SCHEMA,
        "0001_a_post.sql": "",
        "0002_b_pre.sql": pre,
        "0002_b_post.sql": "",
    }
    return harms(url, parse_migrations(texts), 2, {"queries.sql": OLD_QUERIES})


@pytest.mark.parametrize(
    "pre",
    [
        "ALTER TABLE car ADD COLUMN seats integer",
        "ALTER TABLE car ADD COLUMN seats integer NOT NULL DEFAULT 5 CHECK (0 < seats)",
        "ALTER TABLE car ADD COLUMN plant_id integer REFERENCES maker (id)",
        "CREATE TABLE plant (id integer PRIMARY KEY, maker_id integer NOT NULL REFERENCES maker (id))",
        "CREATE INDEX car_maker ON car (maker_id)",
        "ALTER TABLE car ALTER COLUMN colour DROP NOT NULL",
    ],
)
def test_what_only_adds_harms_nobody(pg_url_empty: str, pre: str) -> None:
    assert harms_of(pg_url_empty, pre) == []


@pytest.mark.parametrize(
    ("pre", "word"),
    [
        ("ALTER TABLE car DROP COLUMN colour", "does not exist"),
        ("ALTER TABLE maker RENAME COLUMN country TO land", "does not exist"),
        ("ALTER TABLE car ADD COLUMN country text", "ambiguous"),
        ("ALTER TABLE car ALTER COLUMN vin TYPE varchar(17)", "means something else"),
        ("ALTER TABLE car ALTER COLUMN maker_id TYPE bigint", "means something else"),
        ("ALTER TABLE car ADD COLUMN seats integer NOT NULL", "seats NOT NULL without a default"),
        ("ALTER TABLE car ALTER COLUMN colour DROP DEFAULT", "colour NOT NULL without a default"),
        ("ALTER TABLE car ALTER COLUMN maker_id SET NOT NULL", "maker_id NOT NULL"),
        ("ALTER TABLE car ADD CHECK (length(vin) = 17)", "may refuse"),
        ("ALTER TABLE car ADD COLUMN seats integer, ADD CHECK (seats < 9 OR colour = 'red')", "may refuse"),
        ("CREATE UNIQUE INDEX one_each ON car (maker_id, colour)", "may refuse"),
        ("ALTER TABLE car ADD COLUMN seat integer DEFAULT 5 UNIQUE", "may refuse"),
        ("DROP TABLE car", "does not exist"),
    ],
)
def test_what_takes_away_or_tightens_is_told(pg_url_empty: str, pre: str, word: str) -> None:
    found = harms_of(pg_url_empty, pre)
    assert any(word in each for each in found), found


def test_queries_that_are_not_of_the_release_before_are_told(pg_url_empty: str) -> None:
    texts = {
        "0001_a_pre.sql": OLD_SCHEMA,
        "0001_a_post.sql": "",
        "0002_b_pre.sql": "ALTER TABLE car ADD COLUMN seats integer",
        "0002_b_post.sql": "",
    }
    later = "-- name: seats\nSELECT seats FROM car;\n"
    with pytest.raises(AssertionError, match="not of the release before"):
        harms(pg_url_empty, parse_migrations(texts), 2, {"queries.sql": later})
