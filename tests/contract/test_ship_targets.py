"""Populations and the lot, in a real PostgreSQL."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from ringroad.kernel.errors import Conflict
from ringroad.loop.campaigns import plan_campaign
from ringroad.ship import store
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.match import NotSelected, Selected, match_vehicle
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.query import parse_query
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.store.reading import SQL, read_vehicles
from ringroad.ship.store.selecting import forget, gather, preview_query, select_vins
from ringroad.storage.db import Connection, transaction
from ringroad.storage.latest import Latest
from support.fleet import CountingIds, Story, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


SAMPLES = {"Vehicle.TraveledDistance": {vin(0): 9.0, vin(1): 1.0, vin(3): 1.0}}


@pytest.fixture
def story(conn: Connection) -> Story:
    ids = CountingIds()
    fill_programme(conn, ids, versions=("1.0.0", "2.0.0"))
    return Story(conn, ids)


def targets(story: Story, plan_id: str) -> dict[str, dict[str, Any]]:
    rows = story.conn.execute("SELECT * FROM campaign_target WHERE plan_id = %s ORDER BY vin", [plan_id])
    return {row["vin"]: row for row in rows}


def sizes(story: Story, query: str) -> list[int]:
    """Vehicles of each population for a query, largest first."""
    with transaction(story.conn):
        found = list(gather(story.conn, parse_query(query), programme_id="roadster", latest=SAMPLES))
        forget(story.conn)
    return sorted((each.vehicles for each in found), reverse=True)


def test_the_lot_is_what_its_rule_says(story: Story) -> None:
    """Computed a second way: by hash within a stratum, by relative place across strata."""
    add_vehicles(story.conn, range(40))
    add_vehicles(story.conn, range(100, 107))
    story.conn.execute("UPDATE vehicle SET region = 'US' WHERE vin = ANY (%s)", [[vin(n) for n in range(9)]])
    found = targets(story, story.plan(waves=(5, 11), seed="x", control=WaveSize(vehicles=6)).id)
    strata: dict[tuple[str, str], list[tuple[bytes, str]]] = {}
    for row in story.conn.execute("SELECT vin, variant, region FROM vehicle"):
        digest = hashlib.sha256(f"x:{row['vin']}".encode()).digest()
        strata.setdefault((row["variant"], row["region"]), []).append((digest, row["vin"]))
    placed = [
        ((2 * place + 1) / (2 * len(members)), digest, name)
        for members in strata.values()
        for place, (digest, name) in enumerate(sorted(members))
    ]
    lot = [name for _, _, name in sorted(placed)]
    assert [found[name]["rank"] for name in lot] == list(range(1, 48))
    assert [found[name]["wave"] for name in lot] == [0] * 6 + [1] * 5 + [2] * 11 + [3] * 25
    assert {found[name]["verdict"] for name in lot[:6]} == {"control"}
    assert {found[name]["verdict"] for name in lot[6:]} == {"match"}


def test_each_wave_and_the_control_group_have_their_share_of_each_stratum(story: Story) -> None:
    add_vehicles(story.conn, range(120))
    found = targets(story, story.plan(waves=(20,), control=WaveSize(vehicles=40)).id)
    city = {vin(number) for number in range(1, 120, 2)}
    for chosen in (
        [name for name, row in found.items() if row["verdict"] == "control"],
        [name for name, row in found.items() if row["wave"] == 1],
    ):
        assert abs(len(city & set(chosen)) - len(chosen) / 2) <= 2


def test_another_seed_deals_other_vehicles_and_the_order_of_rows_none(story: Story) -> None:
    add_vehicles(story.conn, range(60))
    one, other = (targets(story, story.plan(waves=(10,), seed=seed).id) for seed in "ab")
    first = [{name for name, row in found.items() if row["wave"] == 1} for found in (one, other)]
    assert first[0] != first[1]
    story.conn.execute("UPDATE vehicle SET attributes = '{}' WHERE vin < %s", [vin(30)])  # they lie elsewhere
    again = targets(story, story.plan(waves=(10,), seed="a").id)
    assert {name: row["rank"] for name, row in again.items()} == {
        name: row["rank"] for name, row in one.items()
    }


def test_a_ramp_keeps_the_lot_in_its_one_wave(story: Story) -> None:
    add_vehicles(story.conn, range(30))
    plan = story.plan(
        waves=(), ramp=HarmBudget(), control=WaveSize(vehicles=8), gate=GatePolicy(sequential=SequentialPolicy())
    )  # fmt: skip
    found = targets(story, plan.id)
    assert Counter(row["wave"] for row in found.values()) == {1: 22, 0: 8}
    assert sorted(row["rank"] for row in found.values() if row["wave"]) == list(range(9, 31))


def test_the_plan_is_bound_to_its_vehicles_by_a_digest(story: Story) -> None:
    add_vehicles(story.conn, range(3))
    story.conn.execute("UPDATE ecu SET hardware_id = 'a\tb' WHERE vin = %s AND name = 'brake'", [vin(0)])
    plan = story.plan(waves=(1,))
    rows = [
        "\t".join(str(row[name]) for name in ("vin", "verdict", "reason", "wave", "rank", "resolution"))
        for row in targets(story, plan.id).values()
    ]
    text = "\n".join(rows).replace("a\tb", "a\\tb") + "\n"  # as COPY writes a tab
    assert plan.document["targets_sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("change", "query", "expected"),
    [
        ("SELECT 1", "all", [4, 4]),  # city and premium
        ("UPDATE ecu SET hardware_id = 'old' WHERE vin = %s AND name = 'head'", "all", [4, 3, 1]),
        ("UPDATE ecu SET removed_at = now() WHERE vin = %s AND name = 'head'", "all", [4, 3, 1]),
        ("DELETE FROM ecu_installed WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE ecu_installed SET version = '1' WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE ecu_installed SET image_sha256 = 'x' WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE vehicle SET blocked_reason = 'x' WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE vehicle SET blocked_reason = '' WHERE vin = %s", "all", [4, 3, 1]),  # not the same as none
        ("UPDATE vehicle SET region = 'US' WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE vehicle SET gateway = 'native' WHERE vin = %s", "all", [4, 3, 1]),
        ("UPDATE vehicle SET tags = '{a}' WHERE vin = %s", "all", [4, 4]),
        ("UPDATE vehicle SET tags = '{a}' WHERE vin = %s", "tag = a", [4, 3, 1]),
        ("UPDATE vehicle SET attributes = '{\"k\": 1}' WHERE vin = %s", "tag = a", [4, 4]),
        ("UPDATE vehicle SET attributes = '{\"k\": 1}' WHERE vin = %s", "attribute.k = 1", [4, 3, 1]),
        ("UPDATE vehicle SET attributes = '{\"j\": 1}' WHERE vin = %s", "attribute.k = 1", [4, 4]),
        ("UPDATE vehicle SET release_id = NULL WHERE vin = %s", "release = x", [4, 3, 1]),
        ("UPDATE vehicle SET born_at = '2020-01-01' WHERE vin = %s", "born < 2021-01-01", [4, 3, 1]),
        ("UPDATE vehicle SET born_at = '2020-01-01' WHERE vin = %s", "all", [4, 4]),
        ("SELECT 1", f"vin in ({vin(1)}, {vin(2)})", [3, 3, 1, 1]),
        ("UPDATE vehicle SET tags = '{a}' WHERE vin = %s", "tag = b", [4, 4]),
        ("UPDATE vehicle SET tags = '{a,c}' WHERE vin = %s", "tag ~ a*", [4, 3, 1]),
        ("SELECT 1", "telemetry.Vehicle.TraveledDistance > 5", [3, 2, 2, 1]),  # one is, two are not, five said nothing
        ("SELECT 1", "telemetry.Vehicle.TraveledDistance >= 0", [3, 2, 2, 1]),  # unknown is not alike
        ("INSERT INTO vehicle_list_member VALUES ('a', %s)", "list = a", [4, 3, 1]),
        ("INSERT INTO vehicle_list_member VALUES ('a', %s)", "all", [4, 4]),
        ("INSERT INTO vehicle_list_member VALUES ('a', %s)", "list = b", [4, 4]),
        ("INSERT INTO vehicle_list_member VALUES ('a', %s)", "list ~ *a", [4, 3, 1]),
        ("SELECT 1", "vin ~ WRR*", [4, 4]),
        ("SELECT 1", f"vin ~ *{vin(1)[-5:]}", [4, 3, 1]),
        ("SELECT 1", "ecu.head.serial = head-1", [4, 3, 1]),
        ("SELECT 1", "ecu.head.serial ~ *-1", [4, 3, 1]),
        ("UPDATE ecu_installed SET filename = 'x' WHERE vin = %s", "all", [4, 4]),
        ("UPDATE ecu_installed SET filename = 'x' WHERE vin = %s", "ecu.head.filename = y", [4, 3, 1]),
    ],
)  # fmt: skip
def test_vehicles_that_differ_in_what_matters_are_not_one_population(
    story: Story, change: str, query: str, expected: list[int]
) -> None:
    add_vehicles(story.conn, range(8))
    story.conn.execute("INSERT INTO vehicle_list (name, changed_by, changed_at) VALUES ('a', 'ann', now())")
    story.conn.execute(change, [vin(0)] if "%s" in change else [])
    assert sizes(story, query) == expected


@pytest.mark.parametrize("vehicles", [1, 2, 5])
def test_a_vehicle_is_read_once_and_whole_on_either_side_of_the_middle(story: Story, vehicles: int) -> None:
    add_vehicles(story.conn, range(vehicles))
    story.conn.execute("INSERT INTO vehicle_list (name, changed_by, changed_at) VALUES ('a', 'ann', now())")
    story.conn.execute("INSERT INTO vehicle_list_member SELECT 'a', vin FROM vehicle")
    story.conn.execute("UPDATE vehicle SET variant = 'city', region = 'EU'")
    with transaction(story.conn):
        query = parse_query("list = a and not ecu.brake.version = 1.2.3")
        found = [each.vehicles for each in gather(story.conn, query, programme_id="roadster")]
        forget(story.conn)
    assert found == [vehicles]


QUERIES = (
    "all",
    "variant = city and region = EU",
    "not variant = city or region in (US, JP)",
    "ecu.brake.version < 2.0.0 and ecu.head.present = true",
    "ecu.brake.version < 1.0.0",
    "ecu.nothing.version = 1",
    "not ecu.head.hardware = head-hw",
    "ecu.head.serial in (head-3, head-4) or ecu.brake.serial ~ *-1*",
    "ecu.head.filename ~ head*",
    "tag = pilot",
    "not tag = pilot and tag ~ b*",
    'tag = "b%" or tag ~ "b_*"',
    "list = winter and not list ~ *mer",
    f"vin in ({vin(3)}, {vin(5)}) or vin ~ *7",
    "blocked = true or attribute.colour = red",
    "attribute.hw >= 2 and attribute.colour != red",
    "born < 2026-01-01 or release = release_2.0.0",
    "telemetry.Vehicle.TraveledDistance > 500",
    "not telemetry.Vehicle.TraveledDistance > 500 or telemetry.Vehicle.Mode = eco",
    "gateway = native and programme = roadster",
    "programme = other",
)


def add_motley(conn: Connection, rng: random.Random) -> Latest:
    """Vehicles of which hardly two are alike; return what their telemetry said."""
    vins = add_vehicles(conn, range(40)) + add_vehicles(
        conn, range(40, 60), gateway="native", version="2.0.0"
    )
    conn.execute(
        "INSERT INTO vehicle_list (name, changed_by, changed_at) VALUES ('winter', 'a', now()), ('summer', 'a', now())"
    )
    for name in vins:
        tags = rng.sample(["pilot", "berlin", "b%", "b_x"], rng.randrange(3))
        attributes = (
            {"colour": rng.choice(["red", "blue"]), "hw": rng.randrange(4)} if rng.random() < 0.7 else {}
        )
        conn.execute(
            "UPDATE vehicle SET tags = %s, attributes = %s, region = %s, blocked_reason = %s, born_at = %s WHERE vin = %s",
            [tags, Jsonb(attributes), rng.choice(["EU", "US", ""]), rng.choice([None, None, "stuck"]),
             rng.choice(["2025-05-05", "2026-05-05"]), name],
        )  # fmt: skip
        if rng.random() < 0.5:
            conn.execute(
                "INSERT INTO vehicle_list_member VALUES (%s, %s)", [rng.choice(["winter", "summer"]), name]
            )
        if rng.random() < 0.2:
            conn.execute("UPDATE ecu SET removed_at = now() WHERE vin = %s AND name = 'head'", [name])
        if rng.random() < 0.2:
            conn.execute("DELETE FROM ecu_installed WHERE vin = %s AND serial LIKE 'brake%%'", [name])
    return {
        "Vehicle.TraveledDistance": {
            name: rng.choice([1.0, 499.5, 501.0, 9e9]) for name in rng.sample(vins, 40)
        },
        "Vehicle.Mode": {name: rng.choice(["eco", "sport"]) for name in rng.sample(vins, 30)},
    }


def test_a_query_asked_of_populations_says_what_it_says_of_each_vehicle(
    conn: Connection, story: Story
) -> None:
    latest = add_motley(conn, random.Random(5))
    for text in QUERIES:
        query = parse_query(text)
        with transaction(conn):
            each = {one.vin: match_vehicle(query, one) for one in read_vehicles(conn, latest=latest)}
            found = preview_query(conn, text, latest=latest)
            chosen = select_vins(conn, query, programme_id="roadster", latest=latest)
        reasons = Counter(outcome.term for outcome in each.values() if isinstance(outcome, NotSelected))
        assert chosen == sorted(name for name, outcome in each.items() if isinstance(outcome, Selected)), text
        assert found.selected == len(chosen), text
        assert {reason.term: reason.vehicles for reason in found.reasons} == reasons, text
        assert found.not_selected == sum(reasons.values()), text
        assert found.unknown == sum(isinstance(no, NotSelected) and no.unknown for no in each.values()), text
        assert len(found.selected_examples) == min(len(chosen), 20), text
        assert set(found.selected_examples) <= set(chosen), text
        for reason in found.reasons:
            for name, actual in reason.examples:
                assert each[name] == NotSelected(term=reason.term, actual=actual), text


def test_what_many_vehicles_have_is_known_though_they_changed_long_ago(
    conn: Connection, story: Story
) -> None:
    add_vehicles(conn, range(40))
    conn.execute("UPDATE vehicle SET tags = '{old,\"two words\"}', region = 'NO'")
    conn.execute("UPDATE vehicle SET tags = '{new}', region = 'US' WHERE vin = %s", [vin(0)])
    given = {"rows_max": 100, "vehicles_max": 1}
    assert SQL.known_values(conn, **given)["tag"] == ["new"]
    conn.execute("ANALYZE vehicle")
    known = SQL.known_values(conn, **given)
    assert known["tag"] == ["new", "old", "two words"]
    assert known["region"] == ["NO", "US"]


def test_what_became_of_a_population_is_kept_with_the_plan(story: Story) -> None:
    add_vehicles(story.conn, range(8))
    story.conn.execute("UPDATE ecu SET hardware_id = 'old' WHERE vin = %s AND name = 'head'", [vin(0)])
    plan = story.plan(waves=(2,))
    rows = story.conn.execute("SELECT * FROM campaign_resolution WHERE plan_id = %s", [plan.id]).fetchall()
    by_number = {row["number"]: row for row in rows}
    assert sorted((row["verdict"], row["vehicles"]) for row in rows) == [
        ("match", 3), ("match", 4), ("mismatch", 1),
    ]  # fmt: skip
    odd = by_number[targets(story, plan.id)[vin(0)]["resolution"]]
    assert (odd["reason"], odd["sentence"]) == (
        "hardware: head old", "head 2.0.0 fits hardware head-hw, but the vehicle's head is old.",
    )  # fmt: skip
    good = by_number[targets(story, plan.id)[vin(1)]["resolution"]]
    assert (good["steps"], good["install_bytes"], good["install_s"]) == (["release_2.0.0"], 2_000, 75)


def test_a_plan_that_fails_leaves_nothing_of_itself_and_the_next_one_works(story: Story) -> None:
    add_vehicles(story.conn, range(4))
    story.plan()
    with pytest.raises(Conflict):
        plan_campaign(
            story.conn, story.ids, campaign_id=story.campaign_id, generation=1,
            request=PlanRequest(query="all"), actor="ann", now=story.now,
        )  # fmt: skip
    again = plan_campaign(
        story.conn, story.ids, campaign_id=story.campaign_id, generation=2, request=PlanRequest(query="all"),
        actor="ann", now=story.now,
    )  # fmt: skip
    row = story.conn.execute("SELECT count(DISTINCT plan_id) AS n FROM campaign_target").fetchone()
    assert row is not None
    assert row["n"] == 2
    assert again.parent_id is not None


def test_actions_are_numbered_in_the_order_of_the_lot(story: Story) -> None:
    add_vehicles(story.conn, range(30))
    plan = story.start(waves=(4, 6))
    found = targets(story, plan.id)
    ordered = sorted(story.vehicles(), key=lambda each: int(each.action_id))
    assert [found[each.vin]["rank"] for each in ordered] == list(range(1, 31))
    assert store.list_assignments(story.conn, story.campaign_id, state="offered")


def test_actions_are_numbered_without_the_control_group(story: Story) -> None:
    add_vehicles(story.conn, range(30))
    gate = GatePolicy(sequential=SequentialPolicy())
    plan = story.start(waves=(4, 6), gate=gate, control=WaveSize(vehicles=7))
    found = targets(story, plan.id)
    ordered = sorted(story.vehicles(), key=lambda each: int(each.action_id))
    assert [found[each.vin]["rank"] for each in ordered] == list(range(8, 31))
    numbers = [int(each.action_id) for each in ordered]
    assert numbers == list(range(numbers[0], numbers[0] + 23))
