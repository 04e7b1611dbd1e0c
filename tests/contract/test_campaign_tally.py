"""How many vehicles of a campaign are in which state: kept as they move, and the same as counting them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random

import psycopg
import pytest

from ringroad.http import reading
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.ship.store import tally
from ringroad.storage.db import Connection, connect, load_queries, transaction
from support.console_world import World

pytestmark = pytest.mark.engines
STATES = ("pending", "installed", "downloaded", "failed", "rolled_back", "cancelled", "expired")
Counts = dict[tuple[str, int, str], int]
SHIP, HTTP = load_queries("ringroad.ship"), load_queries("ringroad.http")
COUNTED = """
SELECT campaign_id, wave, shown, count(*) AS n
  FROM (SELECT campaign_id, wave, CASE WHEN claimed_at IS NOT NULL AND state IN ('pending', 'offered', 'active', 'cancelling')
                                       THEN 'claimed' ELSE state END AS shown
          FROM assignment WHERE kind = 'update') AS a
 GROUP BY campaign_id, wave, shown
"""
RETURNED = """
SELECT u.campaign_id, u.wave, count(*) AS n
  FROM assignment u JOIN assignment r ON r.campaign_id = u.campaign_id AND r.vin = u.vin AND r.kind = 'rollback' AND r.state = 'installed'
 WHERE u.kind = 'update' AND u.state = 'installed' GROUP BY u.campaign_id, u.wave
"""
ORDER_BACK = """
INSERT INTO assignment (campaign_id, vin, wave, kind)
SELECT campaign_id, vin, wave, 'rollback' FROM assignment WHERE kind = 'update' ORDER BY vin, campaign_id LIMIT %s
"""
LISTED = """
SELECT action_id
  FROM (SELECT *, CASE WHEN claimed_at IS NOT NULL AND state IN ('pending', 'offered', 'active', 'cancelling')
                       THEN 'claimed' ELSE state END AS shown FROM assignment) AS a
 WHERE campaign_id = %(id)s AND (%(state)s::text IS NULL OR shown = %(state)s) AND (%(wave)s::int IS NULL OR wave = %(wave)s)
 ORDER BY vin, action_id DESC
"""


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        World(opened, SystemIds(), now=SystemClock().now(), vehicles=24).build()
        yield opened


def counted(conn: Connection) -> Counts:
    """Count what the tally says, row by row."""
    rows = conn.execute(COUNTED)
    return {(row["campaign_id"], row["wave"], row["shown"]): row["n"] for row in rows}


def told(conn: Connection) -> Counts:
    """Return what pages say."""
    return {
        (campaign.id, row.wave, row.state): row.vehicles
        for campaign in reading.campaigns(conn)
        for row in reading.campaign_progress(conn, campaign.id)
    }


def returned(conn: Connection) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """Return who installed it and went back by wave, counted and as pages say it."""
    said = {
        (campaign.id, row.wave): row.returned
        for campaign in reading.campaigns(conn)
        for row in reading.campaign_progress(conn, campaign.id)
        if row.returned
    }
    return {(row["campaign_id"], row["wave"]): row["n"] for row in conn.execute(RETURNED)}, said


def fold(conn: Connection) -> None:
    with transaction(conn):
        SHIP.fold_tallies(conn, rows_max=tally.FOLDED_MAX)


def move(conn: Connection, luck: Random, actions: list[int]) -> None:
    """Let some vehicles move; closed states alone, so that one that has an open action elsewhere may move, too."""
    some = luck.sample(actions, luck.randint(1, len(actions)))
    conn.execute(
        "UPDATE assignment SET state = %(state)s, wave = %(wave)s, last_report_at = now(),"
        " claimed_at = CASE WHEN %(claimed)s THEN now() END, began_at = CASE WHEN %(began)s THEN now() END,"
        " offered_at = now() - %(offered)s * interval '1 minute', finished_at = now() - %(done)s * interval '20 seconds'"
        " WHERE action_id = ANY (%(some)s)",
        {
            "state": luck.choice(STATES), "wave": luck.randint(1, 3), "claimed": luck.random() < 0.3,
            "began": luck.random() < 0.5,
            "offered": luck.choice([None, 1, 7]), "done": luck.choice([None, 1, 11]), "some": some,
        },
    )  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_however_vehicles_move_the_tally_is_what_counting_them_gives(conn: Connection, seed: int) -> None:
    luck = Random(seed)
    conn.execute(ORDER_BACK, [16])
    actions = [row["action_id"] for row in conn.execute("SELECT action_id FROM assignment")]
    luck.shuffle(actions)
    back = 0
    assert told(conn) == counted(conn) != {}
    for turn in range(25):
        if turn % 6 == 5:  # what is taken back was never counted
            with transaction(conn), conn.transaction(force_rollback=True):
                move(conn, luck, actions)
                fold(conn)
        elif turn % 6 == 4:
            conn.execute("DELETE FROM assignment WHERE action_id = %s", [actions.pop()])
        else:
            move(conn, luck, actions)
        if turn % 3 == 2:
            fold(conn)
        assert told(conn) == counted(conn)
        of_waves, said = returned(conn)
        assert of_waves == said
        back += sum(said.values())
    assert back
    for campaign in reading.campaigns(conn):
        assert campaign.gone_back == sum(n for (name, _), n in of_waves.items() if name == campaign.id)
        of_it = {key: n for key, n in counted(conn).items() if key[0] == campaign.id}
        assert campaign.vehicles == sum(of_it.values())
        assert campaign.installed == sum(n for key, n in of_it.items() if key[2] == "installed")
        never = "SELECT action_id FROM assignment WHERE campaign_id = %s AND state = 'expired' AND began_at IS NULL"
        lost = sum(row.lost for row in reading.campaign_progress(conn, campaign.id))
        expired = sum(n for key, n in of_it.items() if key[2] == "expired")
        assert (campaign.silent, lost) == (
            found := len(list(conn.execute(never, [campaign.id]))),
            expired - found,
        )
        minutes = list(HTTP.campaign_exposure_by_minute(conn, campaign_id=campaign.id, stretches=60))
        exact = list(HTTP.campaign_exposure(conn, campaign_id=campaign.id, stretches=60))
        for name in ("offered", "installed", "failed"):
            assert sum(row[name] for row in minutes) == sum(row[name] for row in exact)


def test_a_page_of_vehicles_is_by_vin_of_those_asked_for(conn: Connection) -> None:
    luck = Random(3)
    conn.execute(ORDER_BACK, [9])  # their updates are listed as well
    actions = [row["action_id"] for row in conn.execute("SELECT action_id FROM assignment")]
    for _ in range(12):
        move(conn, luck, luck.sample(actions, 5))
    for campaign in reading.campaigns(conn):
        for state in (None, "installed", "failed", "claimed", "pending"):
            for wave in (None, 2):
                asked = {"id": campaign.id, "state": state, "wave": wave}
                wanted = [row["action_id"] for row in conn.execute(LISTED, asked)]
                for skip in (0, 2):
                    page = reading.assignments(
                        conn, campaign_id=campaign.id, state=state, wave=wave, limit=3, offset=skip
                    )
                    assert [each.action_id for each in page] == wanted[skip : skip + 3]


def test_no_vehicle_is_assigned_to_a_campaign_that_does_not_exist(conn: Connection) -> None:
    row = conn.execute("SELECT vin FROM vehicle LIMIT 1").fetchone()
    assert row is not None
    before = counted(conn)
    with pytest.raises(psycopg.errors.ForeignKeyViolation, match="there is no campaign campaign_none"):
        conn.execute(
            "INSERT INTO assignment (campaign_id, vin, wave, kind, step)"
            " SELECT coalesce(c.id, 'campaign_none'), %(vin)s, 9, 'step', 9"
            " FROM (VALUES (NULL), ((SELECT min(id) FROM campaign))) AS c (id)",
            {"vin": row["vin"]},
        )
    assert counted(conn) == before


def test_whoever_folds_at_the_same_time_counts_nothing_twice(conn: Connection, pg_url: str) -> None:
    luck = Random(4)
    actions = [row["action_id"] for row in conn.execute("SELECT action_id FROM assignment")]
    for _ in range(40):
        move(conn, luck, actions)

    def folder(_: int) -> None:
        with connect(pg_url) as own:
            fold(own)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(folder, range(8)))
    assert told(conn) == counted(conn)
    rows = conn.execute("SELECT count(*) AS n FROM campaign_tally WHERE NOT folded").fetchone()
    assert rows == {"n": 0}
    with transaction(conn):
        assert tally.fold_tallies(conn) == 0  # nothing is new
