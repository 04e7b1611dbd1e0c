"""Migrations: what is applied, what is refused, and that they sum to schema.sql."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.kernel.errors import Conflict, Corrupt
from ringroad.storage.db import connect
from ringroad.storage.migrate import Migration, load_migrations, migrate, parse_migrations, plan_migrations
from ringroad.storage.postgres import find_binaries

NOW = datetime(2026, 11, 1, tzinfo=UTC)
SCHEMA = Path(__file__).parents[2] / "src" / "ringroad" / "storage" / "schema.sql"

A_PRE = "CREATE TABLE a (id integer PRIMARY KEY, note text);"
A_POST = "ALTER TABLE a ADD CONSTRAINT a_positive CHECK (0 < id);"
B_PRE = "ALTER TABLE a ADD COLUMN colour text;"
B_POST = "ALTER TABLE a ALTER COLUMN colour SET NOT NULL;"


def two() -> tuple[Migration, ...]:
    return parse_migrations(
        {
            "0002_b_post.sql": B_POST,
            "0001_a_pre.sql": A_PRE,
            "0002_b_pre.sql": B_PRE,
            "0001_a_post.sql": A_POST,
        }
    )


def one() -> tuple[Migration, ...]:
    return two()[:2]


def names(migrations: tuple[Migration, ...]) -> list[str]:
    return [each.name for each in migrations]


def test_pre_comes_before_post_and_numbers_in_order() -> None:
    assert names(two()) == ["0001_a_pre.sql", "0001_a_post.sql", "0002_b_pre.sql", "0002_b_post.sql"]


@pytest.mark.parametrize(
    "files",
    [
        ["0001_a_pre.sql"],  # no post
        ["0001_a_post.sql", "0002_b_pre.sql"],
        ["0002_b_pre.sql", "0002_b_post.sql"],  # no 0001
        ["0001_a_pre.sql", "0001_a_post.sql", "0001_c_pre.sql", "0001_c_post.sql"],  # a number twice
        ["1_a_pre.sql", "1_a_post.sql"],
        ["0001-a.sql"],
    ],
)
def test_gaps_and_misnamed_files_are_refused(files: list[str]) -> None:
    with pytest.raises(Corrupt):
        parse_migrations(dict.fromkeys(files, "SELECT 1"))


def test_only_what_is_missing_is_planned() -> None:
    applied = {each.name: each.digest for each in one()}
    assert names(plan_migrations(two(), applied)) == ["0002_b_pre.sql", "0002_b_post.sql"]
    assert names(plan_migrations(two(), applied, pre_only=True)) == ["0002_b_pre.sql"]
    assert names(plan_migrations(two(), {}, pre_only=True)) == names(two())[:3]
    assert plan_migrations(one(), applied) == ()


def test_while_the_release_before_runs_no_second_half_of_any_migration_is_applied() -> None:
    three = parse_migrations(
        {each.name: each.text for each in two()} | dict.fromkeys(("0003_c_pre.sql", "0003_c_post.sql"), "SELECT 1")
    )  # fmt: skip
    applied = {each.name: each.digest for each in one()}
    assert names(plan_migrations(three, applied, pre_only=True)) == ["0002_b_pre.sql", "0003_c_pre.sql"]
    half = applied | {each.name: each.digest for each in three if not each.is_post}
    assert plan_migrations(three, half, pre_only=True) == ()
    cut_off = {each.name: each.digest for each in three[:3]}  # the first time, before anything was in it
    assert names(plan_migrations(three, cut_off, pre_only=True, in_use=False)) == names(three)[3:-1]
    assert names(plan_migrations(three, half)) == ["0002_b_post.sql", "0003_c_post.sql"]


def test_no_first_half_builds_an_index_on_a_table_that_it_locks() -> None:
    for each in load_migrations()[2 * 46 :]:  # those before were released
        locked = set(re.findall(r"ALTER TABLE (\w+)", each.text))
        assert locked.isdisjoint(re.findall(r"CREATE INDEX \w+ ON (\w+)", each.text)), each.name


@pytest.mark.engines
def test_days_that_were_counted_beside_code_that_takes_none_back_are_counted_anew(pg_url_empty: str) -> None:
    last = "0049_quality_days_post.sql"
    every = load_migrations()
    until = tuple(each for each in every if each.number < 49 or each.name == "0049_quality_days_pre.sql")
    with connect(pg_url_empty) as conn:
        conn.execute("SET session_replication_role = replica")  # no programme is needed
        for each in until:
            conn.execute(each.text)
        conn.execute("INSERT INTO quality_day VALUES ('wren', '2026-11-01', 5, now())")
        conn.execute(next(each.text for each in every if each.name == last))
        assert conn.execute("SELECT FROM quality_day").fetchall() == []


def test_a_newer_database_is_refused() -> None:
    with pytest.raises(Conflict, match="newer") as caught:
        plan_migrations(one(), {each.name: each.digest for each in two()})
    assert caught.value.code == "database_newer"
    assert caught.value.hint


def test_a_changed_past_migration_is_refused() -> None:
    applied = {"0001_a_pre.sql": "0" * 64}
    with pytest.raises(Conflict) as caught:
        plan_migrations(two(), applied)
    assert caught.value.code == "migration_changed"


@pytest.mark.engines
def test_a_refusal_changes_nothing(pg_url_empty: str) -> None:
    with connect(pg_url_empty) as conn:
        migrate(conn, now=NOW, available=two())
        conn.execute("INSERT INTO a VALUES (1, 'kept', 'red')")
        before = conn.execute("SELECT * FROM schema_migration ORDER BY name").fetchall()
        with pytest.raises(Conflict):
            migrate(conn, now=NOW, available=one())
        assert conn.execute("SELECT * FROM schema_migration ORDER BY name").fetchall() == before
        assert conn.execute("SELECT note FROM a").fetchone() == {"note": "kept"}


@pytest.mark.engines
def test_a_half_migrated_database_serves_old_code_and_is_completed(pg_url_empty: str) -> None:
    with connect(pg_url_empty) as conn:
        migrate(conn, now=NOW, available=one())
        conn.execute("INSERT INTO a (id) VALUES (1)")
        assert migrate(conn, now=NOW, available=two(), pre_only=True) == ("0002_b_pre.sql",)
        conn.execute("INSERT INTO a (id) VALUES (2)")  # old code knows no colour
        conn.execute("UPDATE a SET colour = 'red'")
        assert migrate(conn, now=NOW, available=two()) == ("0002_b_post.sql",)
        assert migrate(conn, now=NOW, available=two()) == ()


@pytest.mark.engines
def test_a_migration_that_fails_leaves_nothing_half_done(pg_url_empty: str) -> None:
    bad = (
        *one(),
        *parse_migrations({"0001_x_pre.sql": "CREATE TABLE half (); SELECT 1/0;", "0001_x_post.sql": ""}),
    )
    with connect(pg_url_empty) as conn:
        with pytest.raises(Conflict, match="0001_x_pre") as caught:
            migrate(conn, now=NOW, available=bad)
        assert caught.value.code == "migration_failed"
        row = conn.execute("SELECT to_regclass('half') AS half, to_regclass('a') AS a").fetchone()
        assert row == {"half": None, "a": "a"}


@pytest.mark.engines
def test_a_foreign_database_is_refused(pg_url_empty: str) -> None:
    with connect(pg_url_empty) as conn:
        conn.execute("CREATE TABLE wordpress (id integer)")
        with pytest.raises(Conflict, match="wordpress"):
            migrate(conn, now=NOW)


@pytest.mark.engines
def test_two_migrators_at_once_apply_each_file_once(pg_url_empty: str) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    def run() -> tuple[str, ...]:
        with connect(pg_url_empty) as conn:
            return migrate(conn, now=NOW)

    with ThreadPoolExecutor(2) as pool:
        results = [future.result(timeout=60) for future in (pool.submit(run), pool.submit(run))]
    assert sorted(map(len, results)) == [0, len(load_migrations())]


@pytest.mark.engines
def test_migrations_sum_to_schema_sql_from_empty(pg_url_empty: str) -> None:
    with connect(pg_url_empty) as conn:
        migrate(conn, now=NOW)
    found = dump(pg_url_empty)
    if os.environ.get("RINGROAD_WRITE_SCHEMA"):
        SCHEMA.write_text(found, encoding="utf-8")
    assert found == SCHEMA.read_text(encoding="utf-8"), (
        "schema.sql is not what the migrations make: RINGROAD_WRITE_SCHEMA=1 pytest tests/migration writes it"
    )


@pytest.mark.engines
def test_migrations_sum_to_schema_sql_from_half(pg_url_empty: str) -> None:
    with connect(pg_url_empty) as conn:
        migrate(conn, now=NOW, pre_only=True)
        migrate(conn, now=NOW)
    assert dump(pg_url_empty) == SCHEMA.read_text(encoding="utf-8")


def dump(url: str) -> str:
    """The schema as pg_dump writes it, less what differs from run to run."""
    command = [str(find_binaries() / "pg_dump"), "--schema-only", "--no-owner", "--no-privileges", url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    skip = ("--", "SET ", "\\restrict", "\\unrestrict", "SELECT pg_catalog.set_config")
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith(skip)]
    return "-- Made from migrations/ by tests/migration; do not edit.\n" + "\n".join(lines) + "\n"
