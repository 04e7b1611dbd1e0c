"""What a clone found flows back: proposed from its sums, proved on the parent's twin, accepted by a second person, tried."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ringroad.build import store_plant
from ringroad.build.clone.store_proposals import DEPARTURES_MAX, get_proposal, look_at_trial
from ringroad.build.clone.trial import LOOKS
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior, observed_times
from ringroad.build.station_times import StationTime
from ringroad.build.store_times import take_times
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Conflict
from ringroad.loop.improvements import look_at_trials, prove_open
from ringroad.storage.db import connect, transaction
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines

FIRST = Path(__file__).parents[2] / "examples" / "first"
CLOCK, IDS = SystemClock(), SystemIds()
MARRIAGE, TEST = (f"assembly/Line 1/{name}#cycle_s" for name in ("marriage", "flash_and_test"))


class Plants:
    """Two people and a server with a mother plant and the document of its clone."""

    def __init__(self, origin: str, olga: str, anna: str) -> None:
        self.origin = origin
        self.olga, self.anna = (
            httpx.Client(base_url=f"{origin}/api/v1", headers={"Authorization": f"Bearer {token}"})
            for token in (olga, anna)
        )

    @property
    def people(self) -> dict[str, httpx.Client]:
        """Return each person's access by name."""
        return {"olga": self.olga, "anna": self.anna}

    def mean(self, key: str, plant: str = "wren-mother") -> float:
        """Return what a plant believes."""
        beliefs = self.olga.get(f"/plants/{plant}").json()["beliefs"]
        return float(next(each["mean"] for each in beliefs if each["key"] == key))

    def sums(self, **factors: float) -> dict[str, Any]:
        """Return what the clone says that takes so many times as long at its stations."""
        message: dict[str, Any] = self.olga.get("/plants/wren-north/sums").json()
        draw = np.random.default_rng(5)
        for key, name in ((MARRIAGE, "marriage"), (TEST, "flash_and_test")):
            times = self.mean(key) * factors.get(name, 1.0) * np.exp(draw.normal(0, 0.05, 60))
            told = observed_times(times.tolist(), origin=Origin())
            message["own"][key] = [told.n, told.total, told.squares]
        return message


@pytest.fixture
def plants(pg_url: str, tmp_path: Path) -> Iterator[Plants]:
    olga, anna = (
        add_account(pg_url, name, role) for name, role in (("olga", Role.OPERATOR), ("anna", Role.APPROVER))
    )
    with serving(pg_url, tmp_path) as origin:
        found = Plants(origin, olga, anna)
        with found.olga, found.anna:
            for path, file in (("/programmes", "programme.toml"), ("/plants", "plant.toml")):
                source = (FIRST / file).read_text(encoding="utf-8")
                assert found.olga.post(path, json={"source": source}).is_success
            north = {"id": "wren-north", "name": "Wren, north", "site": "Nordhavn"}
            assert found.olga.post("/plants/wren-mother/clone", json=north).is_success
            assert found.olga.post("/plants/wren-mother/choose", json={"programme_id": "wren"}).is_success
            yield found


def prove(pg_url: str, *, proposals: int = 1) -> None:
    with connect(pg_url) as conn:
        assert prove_open(conn, IDS, CLOCK) == proposals
        assert prove_open(conn, IDS, CLOCK) == 0, "asked once"


def build(pg_url: str, seconds: dict[str, float], *, vehicles: int) -> None:
    """Let vehicles pass the mother's line at these times."""
    with connect(pg_url) as conn, transaction(conn):
        for number in range(vehicles):
            now = CLOCK.now()
            order_id = store_plant.add_order(
                conn, IDS, programme_id="wren", variant="van", actor="tester", now=now
            ).id
            store_plant.start_order(conn, IDS, order_id=order_id, actor="tester", now=now)
            times = [
                StationTime(
                    id=f"{order_id}:{station}", order_id=order_id, station=station, finished_at=CLOCK.now(),
                    worked_ms=round(1000 * each * (0.97 + 0.01 * (number % 7))),
                )
                for station, each in seconds.items()
            ]  # fmt: skip
            assert not take_times(conn, programme_id="wren", delivered=times, now=CLOCK.now()).refused


def proposed(plants: Plants, pg_url: str, by: httpx.Client) -> dict[str, Any]:
    """Return a proposal that the twin proved: the station that sets the mother's pace, in half the time."""
    slower = "marriage" if plants.mean(MARRIAGE) > plants.mean(TEST) else "flash_and_test"
    answer = by.post("/clone-sums", json={"sums": plants.sums(**{slower: 0.5})})
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["proposals"]
    assert (found["state"], found["what"], found["parent_id"]) == ("open", "station", "wren-mother")
    early = plants.anna.post(f"/proposals/{found['id']}/accept", json={"generation": 1})
    assert (early.status_code, "the worker asks the twin first" in early.text) == (409, True)
    assert by.post("/clone-sums", json={"sums": plants.sums(**{slower: 0.5})}).json()["proposals"] == []
    prove(pg_url)
    row: dict[str, Any] = by.get(f"/proposals/{found['id']}").json()
    assert row["state"] == "proved", row["proof"]
    return row


def test_what_came_true_at_the_parent_is_kept(plants: Plants, pg_url: str) -> None:
    build(pg_url, {"marriage": 60.0, "flash_and_test": 58.0}, vehicles=3)
    row = proposed(plants, pg_url, plants.olga)
    shown = {
        who: client.get(f"{plants.origin}/clones?plant_id=wren-north").text
        for who, client in plants.people.items()
    }
    assert ("Try it at wren-mother" in shown["anna"], "Try it at" in shown["olga"]) == (True, False)
    assert "one station" in shown["olga"]
    assert "as its parent&#39;s" in shown["olga"] or "as its parent's" in shown["olga"]
    key = row["shifts"][0]["key"]
    station, before = key.split("/")[-1].partition("#")[0], plants.mean(key)
    path, body = f"/proposals/{row['id']}/accept", {"generation": row["generation"]}
    assert plants.olga.post(path, json=body).status_code == 403, "an operator does not accept"
    accepted = plants.anna.post(path, json=body)
    assert accepted.status_code == 200, accepted.text
    assert (accepted.json()["state"], accepted.json()["decided_by"]) == ("trial", "anna")
    assert plants.anna.post(path, json=body).status_code == 409
    assert plants.mean(key) == pytest.approx(before * (1 + row["shifts"][0]["percent"] / 100), rel=0.05)
    (belief,) = [
        each for each in plants.olga.get("/plants/wren-mother").json()["beliefs"] if each["key"] == key
    ]
    assert belief["n"] < 2, "a prior, never as if measured"
    assert "not measured here" in belief["evidence"]

    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 0, "nothing was measured yet"
    build(pg_url, {station: 0.55 * before}, vehicles=50)
    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 1
    kept = plants.olga.get(f"/proposals/{row['id']}").json()
    assert (kept["state"], kept["trial"]["outcome"]) == ("kept", "kept"), kept["trial"]
    learned = plants.olga.post("/plants/wren-mother/learn").json()
    assert learned["generation"] == 3
    assert plants.mean(key) == pytest.approx(0.55 * before, rel=0.03)
    facts = plants.olga.get("/facts", params={"subject": row["id"]}).json()
    assert [each["kind"] for each in reversed(facts)] == [
        f"improvement.{word}" for word in ("proposed", "proved", "accepted", "kept")
    ]
    assert all(each["causes"] for each in facts[:-1])


def test_what_did_not_come_true_is_taken_back(
    plants: Plants, pg_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = proposed(plants, pg_url, plants.olga)
    key, believed = row["shifts"][0]["key"], plants.olga.get("/plants/wren-mother").json()["beliefs"]
    station, before = key.split("/")[-1].partition("#")[0], plants.mean(key)
    plants.anna.post(f"/proposals/{row['id']}/accept", json={"generation": row["generation"]})
    with connect(pg_url) as conn, transaction(conn):
        old = get_proposal(conn, row["id"])
    build(pg_url, {station: 1.2 * before}, vehicles=50)

    def unasked(*_: object, **__: object) -> dict[Key, Posterior]:
        raise AssertionError("a trial of times read what is no time")

    for name in ("recent_passes", "observed_transfers", "observed_breakdowns"):
        monkeypatch.setattr(f"ringroad.build.clone.store.{name}", unasked)
    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 1
        with pytest.raises(Conflict), transaction(conn):  # a worker that read it before
            look_at_trial(conn, IDS, proposal=old, now=CLOCK.now())
    row = plants.olga.get(f"/proposals/{row['id']}").json()
    assert row["state"] == "withdrawn"
    assert plants.olga.get("/plants/wren-mother").json()["beliefs"] == believed
    facts = plants.olga.get("/facts", params={"subject": "wren-mother"}).json()
    assert [each["kind"] for each in facts][:2] == ["plant.shifted", "plant.shifted"]


def test_what_is_tried_and_taken_back_and_what_is_learned_plans_the_line_again(
    plants: Plants, pg_url: str
) -> None:
    def causes() -> list[str]:
        return [each["cause"] for each in plants.olga.get("/programmes/wren/schedules").json()]

    order = {"programme_id": "wren", "variant": "van"}
    assert plants.olga.post("/orders", json=order).status_code == 201
    row = proposed(plants, pg_url, plants.olga)
    path = f"/proposals/{row['id']}"
    assert plants.anna.post(f"{path}/accept", json={"generation": row["generation"]}).is_success
    assert causes() == ["line_changed", "new_orders"]
    (fact,) = plants.olga.get("/facts", params={"kind": "schedule.replanned", "limit": 1}).json()
    (told,) = plants.olga.get("/facts", params={"kind": "plant.shifted", "limit": 1}).json()
    assert (fact["causes"][0], fact["actor"]) == (told["id"], "anna")

    slower = row["shifts"][0]["key"].split("/")[-1].partition("#")[0]
    before = plants.mean(row["shifts"][0]["key"])
    build(pg_url, {slower: 3 * before}, vehicles=50)
    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 1
    assert plants.olga.get(path).json()["state"] == "withdrawn"
    assert causes() == ["line_changed", "line_changed", "new_orders"], "by the worker, too"
    build(pg_url, {slower: 3 * before}, vehicles=20)
    assert plants.olga.post("/plants/wren-mother/learn").json()["generation"] == 4
    assert causes() == ["line_changed"] * 3 + ["new_orders"]


def test_who_may_not_and_what_cannot_be_changes_nothing(plants: Plants, pg_url: str) -> None:
    assert plants.anna.post("/plants/wren-mother/propose").status_code == 422, "nobody's clone"
    assert plants.olga.post("/plants/nowhere/propose").status_code == 404
    assert plants.olga.post("/plants/wren-north/propose").json()["proposals"] == [], "it measured nothing"
    bad = plants.sums(flash_and_test=0.5)
    assert plants.olga.post("/clone-sums", json={"sums": bad | {"orders": ["x"]}}).status_code == 422
    unknown = plants.olga.post("/clone-sums", json={"sums": bad | {"parent": "nobody"}})
    assert (unknown.status_code, "not known here" in unknown.text) == (422, True)

    row = proposed(plants, pg_url, plants.anna)
    path = f"/proposals/{row['id']}"
    answer = plants.anna.post(f"{path}/accept", json={"generation": row["generation"]})
    assert (answer.status_code, "cannot accept" in answer.text) == (403, True), "four eyes"
    assert plants.anna.post(f"{path}/withdraw", json={"reason": "x"}).status_code == 409
    assert plants.anna.post(f"{path}/reject", json={"reason": "no place", "generation": 1}).status_code == 409
    assert plants.anna.post(f"{path}/reject", json={"reason": "no place"}).json()["state"] == "rejected"
    assert plants.olga.get("/proposals/proposal_nowhere").status_code == 404
    assert plants.olga.get("/plants/wren-mother").json()["generation"] == 1


def test_a_line_is_tried_with_one_change_at_a_time(plants: Plants, pg_url: str) -> None:
    row = proposed(plants, pg_url, plants.olga)
    slower = row["shifts"][0]["key"].split("/")[-1].partition("#")[0]
    south = plants.sums(**{slower: 0.5}) | {"plant": "wren-south"}
    (other,) = plants.olga.post("/clone-sums", json={"sums": south}).json()["proposals"]
    prove(pg_url)
    believed = plants.olga.get("/plants/wren-mother").json()["beliefs"]
    path = f"/proposals/{row['id']}"
    assert plants.anna.post(f"{path}/accept", json={"generation": row["generation"]}).is_success
    answer = plants.anna.post(f"/proposals/{other['id']}/accept", json={"generation": 2})
    assert (answer.status_code, f"tries {row['id']} already" in answer.text) == (409, True), answer.text
    assert plants.anna.post(f"{path}/withdraw", json={"reason": "no place"}).is_success
    assert plants.olga.get("/plants/wren-mother").json()["beliefs"] == believed


def test_a_proof_is_of_one_generation_of_the_document(plants: Plants, pg_url: str) -> None:
    row = proposed(plants, pg_url, plants.olga)
    build(pg_url, {"marriage": 60.0, "flash_and_test": 58.0}, vehicles=3)
    assert plants.olga.post("/plants/wren-mother/learn").json()["generation"] == 2
    path = f"/proposals/{row['id']}"
    answer = plants.anna.post(f"{path}/accept", json={"generation": row["generation"]})
    assert (answer.status_code, "the worker asks the twin again" in answer.text) == (409, True), answer.text
    assert plants.anna.get(path).json()["outdated"]
    shown = plants.anna.get(f"{plants.origin}/clones?plant_id=wren-north").text
    assert ("it is asked again" in shown, "Try it at wren-mother" in shown) == (True, False)

    prove(pg_url)
    again = plants.anna.get(path).json()
    assert (again["state"], again["outdated"], again["proof"]["plant_generation"]) == ("proved", False, 2)
    unseen = plants.anna.post(f"{path}/accept", json={"generation": row["generation"]})
    assert unseen.status_code == 409, "what the twin says now was not read"
    assert plants.anna.post(f"{path}/accept", json={"generation": again["generation"]}).is_success
    facts = plants.olga.get("/facts", params={"subject": row["id"]}).json()
    assert [each["kind"] for each in reversed(facts)] == [
        f"improvement.{word}" for word in ("proposed", "proved", "proved", "accepted")
    ]


def test_a_trial_is_held_against_what_the_parent_measured_before_not_what_its_document_says(
    plants: Plants, pg_url: str
) -> None:
    row = proposed(plants, pg_url, plants.olga)
    key = row["shifts"][0]["key"]
    station, believed = key.split("/")[-1].partition("#")[0], plants.mean(key)
    build(pg_url, {station: 0.8 * believed}, vehicles=40)
    assert plants.anna.post(
        f"/proposals/{row['id']}/accept", json={"generation": row["generation"]}
    ).is_success
    build(pg_url, {station: 0.8 * believed}, vehicles=50)
    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 0, "it was as fast before"
    trial = plants.olga.get(f"/proposals/{row['id']}").json()["trial"]
    (measured,) = trial["measured"]
    assert (trial["outcome"], measured["before_n"], measured["believed"]) == ("running", 40, False)
    assert measured["before"] == pytest.approx(measured["after"], rel=0.02)
    assert "s before" in plants.olga.get(f"{plants.origin}/clones?plant_id=wren-north").text


def test_a_clone_takes_over_what_its_own_clone_found_and_does_not_forget_it_at_its_lessons(
    plants: Plants, pg_url: str
) -> None:
    far = {"id": "wren-far", "name": "Wren, far", "site": "Fjernhavn"}
    assert plants.olga.post("/plants/wren-north/clone", json=far).is_success
    assert plants.olga.post("/plants/wren-north/choose", json={"programme_id": "wren"}).is_success
    slower = "marriage" if plants.mean(MARRIAGE) > plants.mean(TEST) else "flash_and_test"
    names = {MARRIAGE: "marriage", TEST: "flash_and_test"}
    build(pg_url, {name: plants.mean(key) for key, name in names.items()}, vehicles=12)
    assert plants.olga.post("/plants/wren-north/learn").is_success, (
        "before, it knows too little to be told apart"
    )
    message = plants.sums(**{slower: 0.4}) | {"plant": "wren-far", "parent": "wren-north"}
    rows = {
        each["parent_id"]: each
        for each in plants.olga.post("/clone-sums", json={"sums": message}).json()["proposals"]
    }
    assert set(rows) == {"wren-mother", "wren-north"}
    prove(pg_url, proposals=2)
    row = plants.olga.get(f"/proposals/{rows['wren-north']['id']}").json()
    assert row["state"] == "proved", row["proof"]
    key = row["shifts"][0]["key"]
    before = plants.mean(key, "wren-north")
    accepted = plants.anna.post(f"/proposals/{row['id']}/accept", json={"generation": row["generation"]})
    assert accepted.is_success, accepted.text
    shifted = plants.mean(key, "wren-north")
    assert shifted < 0.6 * before
    assert plants.olga.post("/plants/wren-north/learn").is_success
    assert plants.mean(key, "wren-north") == pytest.approx(shifted), (
        "its own parents say nothing of it any more"
    )

    build(pg_url, {slower: 0.5 * before}, vehicles=50)
    with connect(pg_url) as conn:
        assert look_at_trials(conn, IDS, CLOCK) == 1
    assert plants.olga.get(f"/proposals/{row['id']}").json()["state"] == "kept"
    assert plants.olga.post("/plants/wren-north/learn").is_success
    assert plants.mean(key, "wren-north") == pytest.approx(0.5 * before, rel=0.03)
    others = [each for each in (MARRIAGE, TEST) if each != key]
    assert plants.mean(others[0], "wren-north") == pytest.approx(plants.mean(others[0]), rel=0.15)


def test_the_last_look_at_a_line_is_reached_though_it_stood_at_times() -> None:
    assert 2 * LOOKS[-1] <= DEPARTURES_MAX


def test_taking_back_leaves_what_somebody_imported_meanwhile(plants: Plants, pg_url: str) -> None:
    row = proposed(plants, pg_url, plants.olga)
    path = f"/proposals/{row['id']}"
    assert plants.anna.post(f"{path}/accept", json={"generation": row["generation"]}).is_success
    source = (FIRST / "plant.toml").read_text(encoding="utf-8")
    again = plants.olga.post("/plants", json={"source": source, "generation": 2})
    assert again.is_success, again.text
    imported = plants.olga.get("/plants/wren-mother").json()
    assert plants.anna.post(f"{path}/withdraw", json={"reason": "rebuilt"}).json()["state"] == "withdrawn"
    assert plants.olga.get("/plants/wren-mother").json() == imported
    fact = plants.olga.get("/facts", params={"subject": row["id"]}).json()[0]
    assert fact["body"]["left_as_imported"] == [row["shifts"][0]["key"]]
