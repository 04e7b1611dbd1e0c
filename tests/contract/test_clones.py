"""A plant is cloned over the API, builds, learns from its own station times, and says where it is no clone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ringroad.build import store_plant
from ringroad.build.station_times import StationTime
from ringroad.build.store_times import take_times
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.storage.db import connect, transaction
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
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
    learned = client.post("/plants/wren-mother/learn").json()
    assert (learned["generation"], learned["inherited_from"]) == (2, [])
    assert learned["different"] == ["assembly/Line 1/flash_and_test#cycle_s"]
    (cycles,) = learned["kinds"]
    marriage = next(each for each in cycles["parameters"] if each["belief"]["key"] == key)
    assert marriage["own_n"] == 20
    assert marriage["belief"]["n"] == before[key]["n"] + 20
    assert client.post("/plants/wren-mother/learn").json()["generation"] == 2, "nothing was learned since"


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
