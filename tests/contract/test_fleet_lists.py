"""Tags, named lists and telemetry in queries: over the management API, on a real database and lake."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock
from ringroad.ship.lists import TAGS_MAX
from ringroad.ship.model import VehicleFacts
from ringroad.ship.store import selecting
from ringroad.ship.store.reading import read_vehicles
from ringroad.storage.db import Connection, connect
from ringroad.storage.lake import FaultRow, Lake, Rows, SampleRow, to_us
from ringroad.storage.latest import AGE_MAX, FAULTS_MAX, PATHS_MAX, latest_samples, recent_paths
from support.console_server import add_account, serving
from support.fleet import CountingIds, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines
LISTS, TAGS = "/api/v1/fleet/lists", "/api/v1/fleet/tags"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        fill_programme(opened, CountingIds())
        add_vehicles(opened, range(6))
        yield opened


@pytest.fixture
def client(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "olga", Role.OPERATOR)
    headers = {"Authorization": f"Bearer {token}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as opened,
    ):
        yield opened


def upload(client: httpx.Client, name: str, *rows: str, **query: Any) -> httpx.Response:
    return client.put(f"{LISTS}/{name}", content="\n".join(rows), params=query)


def matching(client: httpx.Client, query: str) -> list[str]:
    answer = client.post("/api/v1/vehicles/preview", json={"query": query, "programme_id": "roadster"})
    assert answer.status_code == 200, answer.text
    return sorted(answer.json()["vins"])


def test_a_list_is_made_named_by_a_query_changed_and_removed(client: httpx.Client, conn: Connection) -> None:
    made = upload(client, "recall", vin(1), vin(2), vin(1)).json()
    assert (made["stored"], made["vehicles"], made["added"], made["duplicates"]) == (True, 2, 2, 1)
    assert matching(client, "list = recall") == [vin(1), vin(2)]
    assert matching(client, "not list = recall and variant = city") == [vin(3), vin(5)]
    assert upload(client, "recall", vin(4), mode="add").json()["vehicles"] == 3
    assert upload(client, "recall", vin(1), mode="remove").json()["removed"] == 1
    assert client.get(f"{LISTS}/recall/vehicles").json() == [vin(2), vin(4)]
    assert client.get(f"{LISTS}/recall/vehicles", params={"after_vin": vin(2), "limit": 1}).json() == [vin(4)]
    replaced = upload(client, "recall", vin(4), vin(5)).json()
    assert (replaced["added"], replaced["removed"], replaced["generation"]) == (1, 1, 4)
    assert client.delete(f"{LISTS}/recall").status_code == 200
    assert client.get(LISTS).json() == []
    facts = [
        (row["kind"], row["body"].get("mode")) for row in client.get("/api/v1/facts?subject=recall").json()
    ]
    assert facts == [
        ("list.removed", None), ("list.changed", "replace"), ("list.changed", "remove"), ("list.changed", "add"),
        ("list.changed", "replace"),
    ]  # fmt: skip


def test_refused_rows_are_told_with_their_line_and_store_nothing(client: httpx.Client) -> None:
    stranger = vin(77)
    refused = upload(client, "recall", "vin", vin(1), "nonsense", stranger).json()
    assert (refused["stored"], refused["generation"], refused["refused"]) == (False, 0, 2)
    assert refused["refused_rows"] == [
        {"line": 3, "text": "nonsense", "reason": "not a VIN"},
        {"line": 4, "text": stranger, "reason": "no such vehicle"},
    ]
    assert client.get(LISTS).json() == []
    good = upload(client, "recall", "vin", vin(1), "nonsense", partial_rows="true").json()
    assert (good["stored"], good["vehicles"], good["refused"]) == (True, 1, 1)
    again = upload(client, "recall", "nonsense", mode="add", partial_rows="true").json()
    assert (again["stored"], again["vehicles"], again["generation"]) == (False, 1, 1)


def test_a_list_that_moved_on_or_is_not_there_is_not_changed(client: httpx.Client) -> None:
    assert upload(client, "recall", vin(1), generation=0).status_code == 200
    assert upload(client, "recall", vin(2), generation=0).status_code == 409
    assert upload(client, "recall", vin(2), generation=7).status_code == 409
    assert upload(client, "other", vin(2), mode="remove").status_code == 404
    assert client.get(f"{LISTS}/other/vehicles").status_code == 404
    assert client.delete(f"{LISTS}/other").status_code == 404
    assert upload(client, "a%20b", vin(1)).status_code == 400
    assert client.put(f"{LISTS}/empty", content=b"").status_code == 422
    assert [row["vehicles"] for row in client.get(LISTS).json()] == [1]


def test_a_plan_and_a_tag_refuse_a_list_that_there_is_not(client: httpx.Client, conn: Connection) -> None:
    made = client.post("/api/v1/campaigns", json={"name": "x", "release_id": "release_2.0.0"}).json()
    for path in (f"/api/v1/campaigns/{made['id']}/plan", f"{TAGS}/pilot"):
        body = {"query": "not list = recal"} | ({"programme_id": "roadster"} if "tags" in path else {})
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "list_unknown"), answer.text
    assert conn.execute("SELECT FROM campaign_plan").fetchall() == []


def test_vehicles_are_tagged_by_vin_and_by_query(client: httpx.Client, conn: Connection) -> None:
    first = client.post(f"{TAGS}/pilot", json={"vins": [vin(1), vin(2).lower(), vin(77), "\0"]}).json()
    assert first == {"tag": "pilot", "changed": 2, "unchanged": 0, "unknown": ["\0", vin(77)], "full": []}
    body = {"query": "variant = city", "programme_id": "roadster"}
    assert client.post(f"{TAGS}/pilot", json=body).json()["changed"] == 2  # one had it
    assert matching(client, "tag = pilot") == [vin(1), vin(2), vin(3), vin(5)]
    gone = client.post(f"{TAGS}/pilot", json={"vins": [vin(1), vin(4)], "remove": True}).json()
    assert (gone["changed"], gone["unchanged"]) == (1, 1)
    kinds = [row["kind"] for row in client.get("/api/v1/facts?subject=pilot").json()]
    assert kinds == ["vehicles.untagged", "vehicles.tagged", "vehicles.tagged"]


def test_a_vehicle_with_as_many_tags_as_it_may_have_gets_no_more(
    client: httpx.Client, conn: Connection
) -> None:
    conn.execute("UPDATE vehicle SET tags = %s WHERE vin = %s", [[f"t{n}" for n in range(TAGS_MAX)], vin(1)])
    done = client.post(f"{TAGS}/pilot", json={"vins": [vin(1), vin(2)]}).json()
    assert (done["changed"], done["full"]) == (1, [vin(1)])
    assert client.post(f"{TAGS}/t3", json={"vins": [vin(1)]}).json()["unchanged"] == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"vins": [vin(1)], "query": "all", "programme_id": "roadster"}, 422),
        ({"query": "all"}, 422),
        ({"vins": [vin(1)], "programme_id": "roadster"}, 422),
        ({"query": "varaint = city", "programme_id": "roadster"}, 422),
        ({"vins": ["\0"]}, 404),
        ({"vins": [vin(77)]}, 404),
    ],
)
def test_what_names_no_vehicles_is_refused(client: httpx.Client, body: dict[str, Any], status: int) -> None:
    assert client.post(f"{TAGS}/pilot", json=body).status_code == status


def test_a_query_is_completed_from_what_the_fleet_has(client: httpx.Client) -> None:
    upload(client, "recall", vin(1))

    def ask(query: str) -> Any:
        return client.post("/api/v1/vehicles/complete", json={"query": query, "cursor": len(query)}).json()

    assert [choice["text"] for choice in ask("list = ")["choices"]] == ["recall"]
    assert [choice["text"] for choice in ask("ecu.brake.version = ")["choices"]] == ["1.0.0", "2.0.0"]
    found = ask("regoin")
    assert found["mistake"]["hint"] == "did you mean 'region'?"
    assert found["mistake"]["shown"] == "regoin\n^"
    assert ask("region = EU")["mistake"] is None


# Telemetry ----------------------------------------------------------------------------------------


def sample(name: str, value: float | str, *, age: timedelta = timedelta(minutes=5), **more: Any) -> SampleRow:
    at_us = to_us(SystemClock().now() - age)
    text = value if isinstance(value, str) else None
    number = None if isinstance(value, str) else float(value)
    row: dict[str, Any] = {
        "vin": name, "batch": 1, "index": 0, "programme": "roadster", "variant": "city", "at_us": at_us,
        "path": "Vehicle.TraveledDistance", "kind": "text" if text else "float", "number": number, "text": text,
        "clock": "ok", "received_us": at_us, "seq": 1,
    }  # fmt: skip
    return SampleRow(**row | more)


def write(lake: Lake, *samples: SampleRow) -> None:
    lake.write(Rows(samples=samples), first_seq=1, last_seq=len(samples))


def test_a_query_compares_what_a_vehicle_last_sent_and_counts_who_sent_nothing(
    client: httpx.Client, tmp_path: Path
) -> None:
    write(
        Lake(tmp_path / "lake"),
        sample(vin(1), 90_000.5, age=timedelta(hours=2)),
        sample(vin(1), 110_000, batch=2),
        sample(vin(2), 120_000, age=timedelta(hours=2)),
        sample(vin(2), 20_000, batch=2),
        sample(vin(3), 500_000, age=AGE_MAX + timedelta(days=1)),  # too long ago
        sample(vin(4), 500_000, clock="unset"),  # not believed
        sample(vin(5), 0, path="Vehicle.Speed"),
    )
    body = {"query": "telemetry.Vehicle.TraveledDistance > 100000", "programme_id": "roadster"}
    found = client.post("/api/v1/vehicles/preview", json=body).json()
    assert (found["vins"], found["not_selected"], found["unknown"]) == ([vin(1)], 5, 4)
    offered = client.post("/api/v1/vehicles/complete", json={"query": "tel", "cursor": 3}).json()["choices"]
    assert [choice["text"] for choice in offered] == [
        "telemetry.Vehicle.Speed",
        "telemetry.Vehicle.TraveledDistance",
    ]


def fault(name: str, status: int, *, age: timedelta = timedelta(minutes=5), **more: Any) -> FaultRow:
    at_us = to_us(SystemClock().now() - age)
    row: dict[str, Any] = {
        "vin": name, "batch": 1, "index": 0, "programme": "roadster", "variant": "city", "at_us": at_us, "ecu": "brake",
        "code": "C1095", "status": status, "software_version": "1.0.0", "snapshot": "{}", "clock": "ok",
        "received_us": at_us, "seq": 1,
    }  # fmt: skip
    return FaultRow(**row | more)


def test_a_query_asks_which_faults_an_ecu_stores_as_the_vehicle_told_last(
    client: httpx.Client, tmp_path: Path
) -> None:
    hours = timedelta(hours=2)
    rows = (
        fault(vin(1), 0x2F),  # failing
        fault(vin(2), 0x2F, age=hours),
        fault(vin(2), 0x50, batch=2),  # cleared since
        fault(vin(3), 0x00, age=hours),
        fault(vin(3), 0x08, batch=2),  # confirmed, and not failing now
        fault(vin(4), 0x2F, age=AGE_MAX + timedelta(days=1)),  # too long ago
        fault(vin(5), 0x2F, clock="unset"),  # not believed
        fault(vin(0), 0x2F, ecu="head"),
    )
    Lake(tmp_path / "lake").write(Rows(faults=rows), first_seq=1, last_seq=len(rows))

    def ask(query: str) -> Any:
        return client.post(
            "/api/v1/vehicles/preview", json={"query": query, "programme_id": "roadster"}
        ).json()

    found = ask("fault.brake.C1095 = true")
    assert (found["vins"], found["not_selected"], found["unknown"]) == ([vin(1), vin(3)], 4, 3)
    assert ask("fault.brake.C1095 = false")["vins"] == [vin(2)]
    assert ask("fault.brake.C1095 = true and fault.head.C1095 = true")["vins"] == []
    offered = client.post("/api/v1/vehicles/complete", json={"query": "fault", "cursor": 5}).json()["choices"]
    assert [choice["text"] for choice in offered] == ["fault.brake.C1095", "fault.head.C1095"]
    many = " or ".join(f"fault.brake.C{number} = true" for number in range(FAULTS_MAX + 1))
    answer = client.post("/api/v1/vehicles/preview", json={"query": many, "programme_id": "roadster"})
    assert answer.status_code == 422


def test_too_many_paths_are_refused_and_an_empty_lake_knows_nothing(
    tmp_path: Path, client: httpx.Client
) -> None:
    now = SystemClock().now()
    assert latest_samples(Lake(tmp_path / "none"), ["Vehicle.Speed"], now=now) == {"Vehicle.Speed": {}}
    assert recent_paths(Lake(tmp_path / "none")) == ()
    query = " or ".join(f"telemetry.p{number} = 1" for number in range(PATHS_MAX + 1))
    body = {"query": query, "programme_id": "roadster"}
    assert client.post("/api/v1/vehicles/preview", json=body).status_code == 422


def test_a_vehicle_that_changes_while_it_is_told_apart_is_judged_as_it_was_with_the_others(
    client: httpx.Client, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One vehicle stands for all like it: read a moment later, it would leave all of them out."""

    def meanwhile(reading: Connection, *, vins: list[str], **given: Any) -> Iterator[VehicleFacts]:
        conn.execute("UPDATE vehicle SET variant = 'other' WHERE vin = ANY (%s)", [vins])
        return read_vehicles(reading, vins=vins, **given)

    monkeypatch.setattr(selecting, "read_vehicles", meanwhile)
    given = {"query": "variant = city", "programme_id": "roadster"}

    def restore() -> None:
        conn.execute("UPDATE vehicle SET variant = 'city' WHERE vin = ANY (%s)", [[vin(1), vin(3), vin(5)]])

    assert client.post("/api/v1/vehicles/preview", json=given).json()["matches"] == 3
    restore()
    assert client.post(f"{TAGS}/pilot", json=given).json()["changed"] == 3
    restore()
    zone = given | {"time_zone": "Europe/Oslo"}
    assert client.post("/api/v1/vehicles/time-zone", json=zone).json() == {"vehicles": 3}
