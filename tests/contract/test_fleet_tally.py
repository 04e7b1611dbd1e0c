"""How many vehicles there are of what: kept as they change, and the same as counting them; and lists that do not scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from ringroad.http import reading
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.ship.store import tally
from ringroad.storage.db import Connection, connect, load_queries, transaction
from support.console_world import World

pytestmark = pytest.mark.engines
SHIP = load_queries("ringroad.ship")
OPEN, BAD = {"offered", "active", "cancelling"}, {"failed", "rolled_back", "expired"}
STATES = ("pending", "installed", "downloaded", "failed", "rolled_back", "cancelled", "expired")


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        World(opened, SystemIds(), now=SystemClock().now(), vehicles=16).build()
        yield opened


def check_counts(conn: Connection) -> None:
    """Compare what pages say with counting."""
    rows = conn.execute("SELECT variant, release_id, blocked_reason FROM vehicle").fetchall()
    by_release = Counter(row["release_id"] for row in rows if row["release_id"])
    overview = reading.overview(conn)
    assert overview.vehicles == len(rows)
    assert overview.vehicles_blocked == sum(row["blocked_reason"] is not None for row in rows)
    assert reading.variants(conn) == sorted({row["variant"] for row in rows})
    assert {
        (each.release_id, each.variant): each.vehicles for each in reading.fleet_versions(conn)
    } == Counter((row["release_id"], row["variant"]) for row in rows)
    assert {each.id: each.vehicles for each in reading.releases(conn)} == {
        each.id: by_release[each.id] for each in reading.releases(conn)
    }


def change(conn: Connection, luck: Random, releases: list[str]) -> None:
    """Let some vehicles be of another variant, run something else, or be blocked."""
    vins = [row["vin"] for row in conn.execute("SELECT vin FROM vehicle ORDER BY vin")]
    column, value = luck.choice([
        ("variant", luck.choice(["city", "touring"])), ("blocked_reason", luck.choice([None, "recalled", "stolen"])),
        ("release_id", luck.choice([None, *releases])), ("region", "NO"),
    ])  # fmt: skip
    conn.execute(
        f"UPDATE vehicle SET {column} = %s WHERE vin = ANY (%s)",  # noqa: S608
        [value, luck.sample(vins, luck.randint(0, len(vins)))],
    )


def born(conn: Connection, number: int) -> None:
    conn.execute(
        "INSERT INTO vehicle (vin, programme_id, variant, region, gateway, token_sha256, primary_serial, born_at)"
        " SELECT 'WRRNEW' || lpad(%s, 11, '0'), programme_id, 'city', '', 'native', sha256(%s::bytea), 'p', now()"
        " FROM vehicle LIMIT 1",
        [str(number), str(number)],
    )


def test_however_vehicles_change_what_pages_say_is_what_counting_them_gives(conn: Connection) -> None:
    luck = Random(5)
    releases = [row["id"] for row in conn.execute("SELECT id FROM release ORDER BY id")]
    check_counts(conn)
    for turn in range(18):
        if turn % 6 == 5:  # what is taken back was never counted
            with transaction(conn), conn.transaction(force_rollback=True):
                born(conn, turn)
                change(conn, luck, releases)
        elif turn % 6 == 4:
            born(conn, turn)
        elif turn == 9:
            conn.execute("DELETE FROM vehicle WHERE vin LIKE 'WRRNEW%'")
        else:
            change(conn, luck, releases)
        if turn % 4 == 3:
            with transaction(conn):
                SHIP.fold_fleet_tallies(conn, rows_max=tally.FOLDED_MAX)
        check_counts(conn)


def test_the_worker_folds_the_counts_of_the_fleet_when_there_are_many(conn: Connection) -> None:
    vin = next(row["vin"] for row in conn.execute("SELECT vin FROM vehicle"))
    for turn in range(tally.UNFOLDED_MAX // 2 + 1):
        conn.execute("UPDATE vehicle SET variant = %s WHERE vin = %s", [f"v{turn % 2}", vin])
    with transaction(conn):
        assert tally.fold_tallies(conn) > 0
        assert conn.execute("SELECT count(*) AS n FROM fleet_tally WHERE NOT folded").fetchone() == {"n": 0}
        assert tally.fold_tallies(conn) == 0  # nothing is new
    check_counts(conn)
    conn.execute(
        "UPDATE vehicle SET region = 'NO', generation = generation + 1"
    )  # moves no count, and writes none
    assert conn.execute("SELECT count(*) AS n FROM fleet_tally WHERE NOT folded").fetchone() == {"n": 0}


def test_a_list_of_vehicles_holds_those_that_each_filter_asks_for(conn: Connection) -> None:
    luck = Random(6)
    actions = [row["action_id"] for row in conn.execute("SELECT action_id FROM assignment")]
    for _ in range(10):
        some = luck.sample(actions, 4)
        conn.execute(
            "UPDATE assignment SET state = %s WHERE action_id = ANY (%s)", [luck.choice(STATES), some]
        )
    conn.execute(
        "UPDATE assignment SET state = 'active' WHERE action_id IN (SELECT min(action_id) FROM assignment"
        " GROUP BY vin ORDER BY vin LIMIT 3)"  # an older one that is open counts before a newer one that is closed
    )
    conn.execute(
        "UPDATE vehicle SET blocked_reason = 'stolen' WHERE vin IN (SELECT vin FROM vehicle ORDER BY vin DESC LIMIT 2)"
    )
    every = reading.vehicles(conn)
    assert len(every) == 16
    asked = {
        "updating": [v.vin for v in every if v.update_state in OPEN],
        "failed": [v.vin for v in every if v.update_state in BAD],
        "blocked": [v.vin for v in every if v.blocked_reason],
        "quiet": [v.vin for v in every if not v.blocked_reason and v.update_state not in OPEN | BAD],
    }
    assert all(asked.values())
    for state, vins in asked.items():
        assert [v.vin for v in reading.vehicles(conn, state=state)] == vins
        assert [v.vin for v in reading.vehicles(conn, state=state, limit=1, offset=1)] == vins[1:2]
        assert [v.vin for v in reading.vehicles(conn, state=state, vin=vins[0])] == vins[:1]
        runs = every[0].release_id
        assert [v.vin for v in reading.vehicles(conn, state=state, release_id=runs or "none")] == [
            v.vin for v in every if v.vin in vins and v.release_id == runs
        ]
    assert len(asked["updating"]) == reading.overview(conn).vehicles_updating
    unknown = conn.execute(
        "UPDATE vehicle SET release_id = NULL WHERE vin = %s RETURNING vin", [every[3].vin]
    )
    assert [v.vin for v in reading.vehicles(conn, release_id="none", q=every[3].vin[9:].lower())] == [
        row["vin"] for row in unknown
    ]


def test_the_last_report_of_a_vehicle_is_the_newest_of_whatever_it_handed_in(conn: Connection) -> None:
    first, second, third, silent = (each.vin for each in reading.vehicles(conn, limit=4))
    conn.execute("UPDATE assignment SET last_report_at = NULL")
    conn.execute("DELETE FROM device_report")
    conn.execute("DELETE FROM vehicle_manifest")
    conn.execute(
        "INSERT INTO device_report (vin, dedupe_key, kind, event_at, received_at, body)"
        " SELECT vin, 'last ' || day, 'progress', now(), '2026-11-20Z'::timestamptz + day * interval '1 day', '{}'"
        " FROM unnest(%s::text[]) AS vin, generate_series(1, 2) AS day",
        [[first, second]],
    )
    conn.execute(
        "INSERT INTO vehicle_manifest (vin, digest, body, received_at) VALUES (%s, 'd', '', '2026-11-24Z')",
        [second],
    )
    conn.execute("UPDATE assignment SET last_report_at = '2026-11-25Z' WHERE vin = %s", [third])
    days = [each.last_report_at and each.last_report_at.day for each in reading.vehicles(conn, limit=4)]
    assert days == [22, 24, 25, None]
    assert reading.vehicles(conn, vin=silent)[0].last_report_at is None


def test_a_success_that_is_only_claimed_is_shown_as_such(pg_url: str) -> None:
    with connect(pg_url) as conn:
        for state, claimed, shown in (
            ("active", True, "claimed"), ("pending", True, "claimed"), ("active", False, "active"),
            ("installed", True, "installed"), ("failed", True, "failed"), (None, False, None),
        ):  # fmt: skip
            row = conn.execute("SELECT shown_state(%s, %s) AS shown", [state, claimed]).fetchone()
            assert row == {"shown": shown}
