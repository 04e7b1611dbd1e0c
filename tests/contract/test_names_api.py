"""Names of data and faults: over the management API, beside the codes of findings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.protocol.names import data_name, fault_name
from ringroad.signal.store_names import load_names
from ringroad.storage.db import Connection, connect
from support.console_server import add_account, serving
from support.console_world import World, noon
from support.fleet import CountingIds

pytestmark = pytest.mark.engines

BRAKE = {"source": "brake.pdx", "data": {"F190": "VIN"}, "faults": {"C0040-64": "Wheel speed sensor"}}


@pytest.fixture
def world(pg_url: str) -> Iterator[tuple[Connection, World]]:
    with connect(pg_url) as opened:
        yield opened, World(opened, CountingIds(), now=noon()).build()


@pytest.fixture
def client(pg_url: str, world: Any, tmp_path: Path) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as opened,
    ):
        yield opened


def test_names_stand_beside_the_codes_until_they_are_removed(
    client: httpx.Client, world: tuple[Connection, World]
) -> None:
    conn, _ = world
    finding = client.get("/api/v1/findings").json()[0]
    programme, ecu, code = finding["programme_id"], finding["ecu"], finding["fault_code"]
    assert finding["fault_name"] is None
    names = f"/api/v1/programmes/{programme}/names"
    every = {"source": "all.pdx", "data": {}, "faults": {code: "said of every ECU"}}
    own = BRAKE | {"faults": {code: "said of this one"}}

    def shown() -> Any:
        return client.get(f"/api/v1/findings/{finding['id']}").json()["fault_name"]

    assert client.put(f"{names}/*", json=every).json() == {"id": "*", "state": "changed"}
    assert shown() == "said of every ECU"
    assert client.put(f"{names}/{ecu}", json=own).json()["state"] == "changed"
    assert client.put(f"{names}/{ecu}", json=own).json()["state"] == "unchanged"
    assert shown() == "said of this one"
    assert "said of this one" in client.get(f"/findings/{finding['id']}").text
    assert "said of this one" in client.get("/findings").text
    loaded = load_names(conn, programme)
    assert (fault_name(loaded, ecu, code), data_name(loaded, ecu, 0xF190)) == ("said of this one", "VIN")
    assert client.get(f"{names}/{ecu}").json() == {"data": own["data"], "faults": own["faults"]}
    listed = client.get(names).json()
    assert [
        (row["ecu"], row["data"], row["faults"], row["source"], row["imported_by"]) for row in listed
    ] == sorted([("*", 0, 1, "all.pdx", "olga"), (ecu, 1, 1, "brake.pdx", "olga")])
    assert client.delete(f"{names}/{ecu}").json()["state"] == "removed"
    assert shown() == "said of every ECU"
    facts = client.get("/api/v1/facts", params={"subject": programme}).json()
    told = [(fact["kind"], fact["body"]["ecu"]) for fact in facts if fact["kind"].startswith("names.")]
    assert told == [("names.removed", ecu), ("names.changed", ecu), ("names.changed", "*")]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("nowhere/names/brake", BRAKE, 404),
        ("PROGRAMME/names/no-such-ecu", BRAKE, 404),
        ("PROGRAMME/names/*", {"source": "x", "data": {}, "faults": {}}, 422),
        ("PROGRAMME/names/*", BRAKE | {"data": {"F19": "VIN"}}, 422),
        ("PROGRAMME/names/*", BRAKE | {"data": {"F190": " "}}, 422),
        ("PROGRAMME/names/*", BRAKE | {"faults": {"P0A1F": "x"}}, 422),
        ("PROGRAMME/names/*", BRAKE | {"source": ""}, 400),
        ("PROGRAMME/names/*", {"data": {}, "faults": {}}, 400),
        ("PROGRAMME/names/*", BRAKE | {"routines": {}}, 400),
    ],
)
def test_names_nobody_could_look_up_are_refused_and_nothing_changes(
    client: httpx.Client, path: str, body: dict[str, Any], status: int
) -> None:
    programme = client.get("/api/v1/programmes").json()[0]["id"]
    answer = client.put(f"/api/v1/programmes/{path.replace('PROGRAMME', programme)}", json=body)
    assert answer.status_code == status, answer.text
    assert client.get(f"/api/v1/programmes/{programme}/names").json() == []


def test_names_that_are_not_there_are_not_found(client: httpx.Client) -> None:
    programme = client.get("/api/v1/programmes").json()[0]["id"]
    for ask in (client.get, client.delete):
        assert ask(f"/api/v1/programmes/{programme}/names/*").status_code == 404


def test_a_viewer_reads_names_and_gives_none(client: httpx.Client, pg_url: str) -> None:
    viewer = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    programme = client.get("/api/v1/programmes").json()[0]["id"]
    names = f"/api/v1/programmes/{programme}/names"
    assert client.get(names, headers=viewer).status_code == 200
    assert client.put(f"{names}/*", json=BRAKE, headers=viewer).status_code == 403
    assert client.delete(f"{names}/*", headers=viewer).status_code == 403
