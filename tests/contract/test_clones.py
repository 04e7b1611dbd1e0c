"""A plant is cloned over the API, builds, learns from its own station times, and says where it is no clone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from ringroad.build import store_plant
from ringroad.build.clone.store import observed_of
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import get_plant
from ringroad.build.plant.store_events import list_refused
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.build.station_times import StationTime
from ringroad.build.store_times import take_times
from ringroad.cli.plant_world import figures_of, read_world
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.loop.mes import land_events
from ringroad.protocol.mes import MesEvent
from ringroad.sim.world import Ramp
from ringroad.sim.world_result import run_world, sums_of_world, to_document
from ringroad.storage.db import connect, transaction
from ringroad.storage.streams import StreamMessage
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
WORLD = Path(__file__).parents[2] / "examples" / "world"
CLOCK, IDS = SystemClock(), SystemIds()
NORTH = {"id": "wren-north", "name": "Wren, north", "site": "Nordhavn"}


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "olga", Role.OPERATOR)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers=headers) as opened,
    ):
        for path, file in (("/programmes", "programme.toml"), ("/plants", "plant.toml")):
            source = (FIRST / file).read_text(encoding="utf-8")
            assert opened.post(path, json={"source": source}).is_success
        yield opened


def measure(pg_url: str, seconds: dict[str, float], *, vehicles: int) -> None:
    """Let vehicles pass the line of the programme at these times, a percent more or less."""
    with connect(pg_url) as conn, transaction(conn):
        ids = [
            store_plant.add_order(
                conn, IDS, programme_id="wren", variant="van", actor="tester", now=CLOCK.now()
            ).id
            for _ in range(vehicles)
        ]
        for order_id in ids:
            store_plant.start_order(conn, IDS, order_id=order_id, actor="tester", now=CLOCK.now())
        times = [
            StationTime(
                id=f"{order_id}:{station}", order_id=order_id, station=station, finished_at=CLOCK.now(),
                worked_ms=round(1000 * each * (0.97 + 0.01 * (number % 7))),
            )
            for number, order_id in enumerate(ids)
            for station, each in seconds.items()
        ]  # fmt: skip
        assert not take_times(conn, programme_id="wren", delivered=times, now=CLOCK.now()).refused


def check(pg_url: str, *, vehicles: int, failed: int) -> None:
    """Tell what checks found of vehicles that were built elsewhere: some failed at the end of the line."""
    results = [
        CheckResult(
            id=f"{station}-{number}", vehicle=f"V{number}", station=station, check="leak", passed=number >= failed,
            at=CLOCK.now() + timedelta(milliseconds=place), variant="van",
        )
        for number in range(vehicles)
        for place, station in enumerate(("marriage", "flash_and_test"))
    ]  # fmt: skip
    with connect(pg_url) as conn, transaction(conn):
        told = take_results(conn, programme_id="wren", delivered=results, actor="tester", now=CLOCK.now())
        assert not told.refused


def test_a_clone_begins_with_what_its_parent_knows_and_ends_with_what_it_measured(
    client: httpx.Client, pg_url: str
) -> None:
    made = client.post("/plants/wren-mother/clone", json=NORTH)
    assert made.status_code == 201, made.text
    clone, mother = made.json(), client.get("/plants/wren-mother").json()
    assert (clone["parent"], clone["generation"], clone["site"]) == ("wren-mother", 1, "Nordhavn")
    assert clone["structure_sha256"] == mother["structure_sha256"]
    known = {each["key"]: each for each in mother["beliefs"]}
    for each in clone["beliefs"]:
        assert each["mean"] == pytest.approx(known[each["key"]]["mean"], rel=0.15), each["key"]
        assert each["high"] - each["low"] > known[each["key"]]["high"] - known[each["key"]]["low"], each[
            "key"
        ]
    assert "bindings" not in clone["document"]

    client.post("/plants/wren-north/choose", json={"programme_id": "wren"})
    key = "assembly/Line 1/marriage#cycle_s"
    measure(pg_url, {"marriage": 2 * known[key]["mean"], "flash_and_test": 58.0}, vehicles=30)
    preview = client.get("/plants/wren-north/lesson").json()
    assert (preview["generation"], preview["inherited_from"]) == (1, ["wren-mother"])
    learned = client.post("/plants/wren-north/learn").json()
    assert learned["generation"] == 2
    (cycles,) = [kind for kind in learned["kinds"] if kind["kind"] == "cycle_s"]
    marriage = next(each for each in cycles["parameters"] if each["belief"]["key"] == key)
    assert marriage["own_n"] == 30
    assert marriage["belief"]["mean"] == pytest.approx(2 * known[key]["mean"], rel=0.03)
    assert marriage["belief"]["plant"] == "wren-north"
    assert client.get("/programmes/wren").json()["document"]["line"]["stations"][0][
        "cycle_s"
    ] == pytest.approx(2 * known[key]["mean"], rel=0.03)

    assert client.post("/plants/wren-north/learn").json()["generation"] == 2, "nothing was learned since"
    facts = client.get("/facts", params={"subject": "wren-north"}).json()
    assert [each["kind"] for each in facts] == ["plant.learned", "plant.chosen", "plant.imported"]
    assert facts[-1]["body"]["cloned_from"] == "wren-mother"


def test_a_plant_that_is_nobodys_clone_learns_from_what_it_measured_since_its_document_was_imported(
    client: httpx.Client, pg_url: str
) -> None:
    key = "assembly/Line 1/marriage#cycle_s"
    before = {each["key"]: each for each in client.get("/plants/wren-mother").json()["beliefs"]}
    measure(
        pg_url, {"marriage": 3 * before[key]["mean"]}, vehicles=3
    )  # another plant's: of the programme's file
    client.post("/plants/wren-mother/choose", json={"programme_id": "wren"})
    assert client.get("/plants/wren-mother/lesson").json()["kinds"] == []
    measure(pg_url, {"marriage": before[key]["mean"], "flash_and_test": 2 * 58.0}, vehicles=20)
    check(pg_url, vehicles=20, failed=1)
    learned = client.post("/plants/wren-mother/learn").json()
    assert (learned["generation"], learned["inherited_from"]) == (2, [])
    assert learned["different"] == ["assembly/Line 1/flash_and_test#cycle_s"]
    cycles, shares = sorted(learned["kinds"], key=lambda each: str(each["kind"]))
    (right,) = shares["parameters"]  # of marriage the document believes nothing
    passes = "assembly/Line 1/flash_and_test#first_pass"
    assert (right["belief"]["key"], right["own_n"]) == (passes, 20)
    assert right["belief"]["n"] == before[passes]["n"] + 20
    wanted = (before[passes]["n"] * before[passes]["mean"] + 19) / (before[passes]["n"] + 20)
    assert right["belief"]["mean"] == pytest.approx(wanted)
    marriage = next(each for each in cycles["parameters"] if each["belief"]["key"] == key)
    assert marriage["own_n"] == 20
    assert marriage["belief"]["n"] == before[key]["n"] + 20
    assert client.post("/plants/wren-mother/learn").json()["generation"] == 2, "nothing was learned since"


def test_ways_and_breakdowns_are_learned_from_the_events_of_the_line(
    client: httpx.Client, pg_url: str
) -> None:
    source = (FIRST / "plant.toml").read_text(encoding="utf-8")
    way = '[parameters."assembly/Line 1/flash_and_test"]\n'
    source = source.replace(way, f"{way}transfer_s = 20\nuptime_s = 58\nrepair_s = 30\n")
    source = source.replace('calendar = "two shifts"\n', "", 1)  # whenever this runs, the line works
    assert client.post("/plants", json={"source": source, "generation": 1}).is_success
    assert client.post("/plants/wren-mother/choose", json={"programme_id": "wren"}).is_success
    measure(pg_url, {"marriage": 60.0, "flash_and_test": 58.0}, vehicles=3)
    with connect(pg_url) as conn, transaction(conn):
        quiet = observed_of(conn, get_plant(conn, "wren-mother"))
    assert not [key for key in quiet if key.kind == "uptime_s"], (
        "nobody knows whether the line tells breakdowns"
    )
    began = CLOCK.now()
    with connect(pg_url) as conn:
        with transaction(conn):
            one, two = (
                store_plant.add_order(conn, IDS, programme_id="wren", variant="van", actor="t", now=began).id
                for _ in range(2)
            )
        said: tuple[tuple[float, Any, str, str], ...] = (
            (0.1, "entered", "marriage", one), (0.2, "left", "marriage", one), (0.3, "entered", "flash_and_test", one),
            (0.35, "entered", "marriage", two), (0.4, "left", "flash_and_test", one), (0.5, "left", "marriage", two),
            (2.0, "entered", "flash_and_test", two), (2.1, "stopped", "marriage", ""), (3.6, "resumed", "marriage", ""),
        )  # fmt: skip
        told = [
            StreamMessage(
                subject="ringroad.mes.v1.wren", seq=number, received_at=began + timedelta(days=1),
                payload=msgspec.json.encode(MesEvent(
                    id=str(number), kind=kind, station=station, order_id=order, at=began + timedelta(seconds=after),
                    reason="robot 3" if kind == "stopped" else "",
                )),
            )
            for number, (after, kind, station, order) in enumerate(said, 1)
        ]  # fmt: skip
        land_events(conn, IDS, CLOCK, told)
        with transaction(conn):
            assert list_refused(conn, "wren") == []
            own = observed_of(conn, get_plant(conn, "wren-mother"))
    found = {
        str(key).rpartition("/")[2]: (round(each.n, 2), round(each.mean, 3)) for key, each in own.items()
    }
    del found["marriage#cycle_s"], found["flash_and_test#cycle_s"]
    assert found == {
        "flash_and_test#transfer_s": (1, 1.5),  # of the second vehicle; nobody knows what the first one waited for
        "marriage#uptime_s": (1, 176.4),  # worked by the three vehicles before
        "marriage#repair_s": (1, 1.5),
        "flash_and_test#uptime_s": (2.94, 116),  # so many were expected, and there was none
    }  # fmt: skip


def test_a_breakdown_over_a_night_is_learned_as_long_as_the_line_would_have_worked(
    client: httpx.Client, pg_url: str
) -> None:
    source = (FIRST / "plant.toml").read_text(encoding="utf-8")
    way = '[parameters."assembly/Line 1/flash_and_test"]\n'
    source = source.replace(way, f"{way}uptime_s = 58\nrepair_s = 30\n")
    source = re.sub(r"hours = .*\nbreaks = .*\nclosed = .*\n", 'hours = ["06:00-22:00"]\n', source)
    assert client.post("/plants", json={"source": source, "generation": 1}).is_success
    assert client.post("/plants/wren-mother/choose", json={"programme_id": "wren"}).is_success
    measure(pg_url, {"flash_and_test": 58.0}, vehicles=3)
    zone = ZoneInfo("Europe/Oslo")
    tomorrow = (CLOCK.now().astimezone(zone) + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    with connect(pg_url) as conn, transaction(conn):
        for number, (began, ended) in enumerate(
            ((21 * 60 + 50, 30 * 60 + 20), (23 * 60, 28 * 60), (600, 630))
        ):
            times = [(tomorrow + timedelta(minutes=each)) for each in (began, ended)]
            conn.execute(
                "INSERT INTO line_stop (id, programme_id, station, kind, reason, options, event_id, began_at, expected_s,"
                " stopped_by, ended_at, ended_by)"
                " VALUES (%s, 'wren', 'flash_and_test', 'breakdown', 'robot 3', '{}', '', %s, 60, 't', %s, 't')",
                [f"stop_{number}", *times],
            )
        own = observed_of(conn, get_plant(conn, "wren-mother"))
    repair = own[Key(("assembly", "Line 1", "flash_and_test"), "repair_s")]
    assert (repair.n, round(repair.mean, 1)) == (2, 1_800)  # the third was mended in the night


def test_what_cannot_be_cloned_or_learn_is_refused(client: httpx.Client) -> None:
    bad: list[tuple[str, dict[str, str], int, str]] = [
        ("/plants/nowhere/clone", NORTH, 404, "there is no plant 'nowhere'"),
        (
            "/plants/wren-mother/clone",
            NORTH | {"id": "wren-mother"},
            409,
            "there is a plant wren-mother already",
        ),
        ("/plants/wren-mother/clone", NORTH | {"id": "Not An Id"}, 400, "id"),
        ("/plants/wren/learn", {}, 422, "no document that could learn"),
        ("/plants/nowhere/learn", {}, 404, "there is no plant 'nowhere'"),
    ]
    for path, body, status, words in bad:
        answer = client.post(path, json=body)
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert client.get("/plants/wren/lesson").status_code == 422
    assert {each["id"] for each in client.get("/plants").json()} == {"wren-mother", "wren"}


def test_a_clone_that_builds_elsewhere_learns_from_what_it_says_and_is_told_apart_from_its_mother(
    client: httpx.Client,
) -> None:
    files = [WORLD / name for name in ("avocet-east.toml", "mother.toml", "avocet-east.toml")]
    early, mother, east = (client.post("/plants", json={"source": each.read_text("utf-8")}) for each in files)
    assert (early.status_code, "import the document of avocet-mother first" in early.text) == (422, True)
    assert mother.json()["structure_sha256"] == east.json()["structure_sha256"], "by reference"
    alone = client.get(f"/plant-structures/{mother.json()['structure_sha256']}")
    assert alone.json()["lines"] == mother.json()["document"]["lines"]
    assert client.get(f"/plant-structures/{'0' * 64}").status_code == 404

    world = read_world((WORLD / "world.toml").read_text("utf-8"), name="world.toml")
    ramp = Ramp(takt_s=world.takt_s, pilot=(20, 40), days=2)
    plant = read_plant((WORLD / "mother.toml").read_text("utf-8"))
    said = {each.plant: each.to_document() for each in sums_of_world(plant, world.plants, ramp)}[
        "avocet-east"
    ]
    cockpit = "assembly/Line 1/cockpit#cycle_s"
    learned = client.post("/clone-lessons", json={"sums": said})
    assert learned.status_code == 200, learned.text
    assert (learned.json()["generation"], learned.json()["different"]) == (2, [cockpit])
    assert client.post("/clone-lessons", json={"sums": said}).json()["generation"] == 2, "told twice"
    assert client.post("/plants/avocet-east/learn").json()["generation"] == 2, "it keeps what it was told"
    assert client.get("/plants/avocet-east/lesson").json()["different"] == [cockpit]
    fact = client.get("/facts", params={"subject": "avocet-east"}).json()[0]
    assert (fact["kind"], fact["body"]["told"]) == ("plant.learned", said["own"])
    assert client.get("/plants/avocet-east/sums").json() == said
    (proposal,) = client.post("/plants/avocet-east/propose").json()["proposals"]
    assert [each["key"] for each in proposal["shifts"]] == [cockpit]
    drift = client.get("/plants/avocet-mother/difference", params={"other": "avocet-east"}).json()
    assert (drift["same_structure"], drift["structure"]) == (True, [])
    page = client.get(f"{str(client.base_url).removesuffix('/api/v1/')}/clones?plant_id=avocet-east").text
    assert "avocet-east" in page
    assert cockpit in page

    assert client.get("/plants/avocet-mother/worlds/newest").status_code == 404, "nobody kept one"
    shown = run_world(plant, world.plants[2:], ramp, seeds=1)
    figures = figures_of({"seeds": 1, "plants": [to_document(each) for each in shown]})
    flows = {
        "clone": "avocet-east",
        "stations": ["cockpit"],
        "proposed": 1,
        "proved": 1,
        "kept": 1,
        "reason": "earlier",
    }
    flow: dict[str, Any] = {
        "seeds": 1,
        "flows": [flows],
        "saved": {"avocet-mother": {"mean": 0.66, "low": 0.5, "high": 0.8}},
    }
    kept = client.post("/plants/avocet-mother/worlds", json={"figures": figures | {"flow_back": flow}})
    assert kept.status_code == 201, kept.text
    newest = client.get("/plants/avocet-mother/worlds/newest").json()
    assert (newest["plants"], newest["flow_back"], newest["told_by"]) == (figures["plants"], flow, "olga")
    page = client.get(f"{str(client.base_url).removesuffix('/api/v1/')}/clones?plant_id=avocet-east").text
    assert "With and without cloning" in page
    assert "proposed in 1, proved in 1, kept in 1 of 1" in page
    assert "saves nothing in more than one of ten worlds" in page
    cost = shown[0].ways["cloned"].unit_cost
    assert f"{cost.mean:.0f} <span" in page
    nul = flow | {"flows": [flows | {"reason": "a\0"}]}
    for wrong in (
        figures | {"seeds": 0}, figures | {"plants": []}, figures | {"x": 1}, figures | {"flow_back": nul},
        figures | {"flow_back": flow | {"saved": {"a\0": flow["saved"]["avocet-mother"]}}},
    ):  # fmt: skip
        answer = client.post("/plants/avocet-mother/worlds", json={"figures": wrong})
        assert (answer.status_code, "no figures of a world" in answer.text) == (422, True)
    assert client.post("/plants/nowhere/worlds", json={"figures": figures}).status_code == 404
    assert client.post("/plants/wren/worlds", json={"figures": figures}).status_code == 422

    half = said | {"own": said["own"] | {cockpit: [1, 4.0, 16.0]}}
    stranger = said | {"plant": "avocet-south"}
    other = said | {"parent": "wren-mother"}
    here = said | {"plant": "wren-north", "parent": "wren-mother", "own": {}}
    assert client.post("/plants/wren-mother/clone", json=NORTH).status_code == 201
    assert client.post("/plants/wren-north/choose", json={"programme_id": "wren"}).is_success
    for sums, status, words in (
        (half, 409, "this is an older message"),
        (stranger, 404, "there is no plant 'avocet-south'"),
        (other, 422, "is no clone of wren-mother"),
        (here, 409, "builds wren here, and learns from its own stations"),
        (said | {"own": {"x#cycle_s": [1, 4.0, 16.0]}}, 409, "older message"),
        (said | {"orders": []}, 422, "no message of a clone"),
        (said | {"plant": "a\0"}, 422, "names are text"),
    ):
        answer = client.post("/clone-lessons", json={"sums": sums})
        assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert client.get("/plants/avocet-east").json()["generation"] == 2
