"""A new plan beside the one before it: over the management API and on the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.storage.db import connect
from support.console_server import add_account, serving
from support.fleet import CountingIds, add_vehicles, fill_programme, vin

pytestmark = pytest.mark.engines


@pytest.fixture
def client(pg_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with connect(pg_url) as conn:
        fill_programme(conn, CountingIds())
        add_vehicles(conn, range(6))
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as opened,
    ):
        yield opened


@pytest.fixture
def path(client: httpx.Client) -> str:
    made = client.post("/api/v1/campaigns", json={"name": "x", "release_id": "release_2.0.0"}).json()
    return f"/api/v1/campaigns/{made['id']}"


def plan(client: httpx.Client, path: str, query: str, **more: Any) -> Any:
    answer = client.post(f"{path}/plan", json={"query": query, "waves": [{"vehicles": 1}]} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_edit_is_a_new_plan_and_is_shown_as_a_difference(client: httpx.Client, path: str) -> None:
    city = f"vin in ({vin(1)}, {vin(3)})"
    first = plan(client, path, city)
    plan(client, path, f"vin in ({vin(3)}, {vin(5)})", vehicle_deadline_s=3_600, control={"vehicles": 1})
    found = client.get(f"{path}/difference").json()
    assert (found["older"], found["newer"]) == (1, 2)
    fields = {each["field"]: (each["before"], each["after"]) for each in found["fields"]}
    assert fields["vehicle deadline"] == ("7 d", "1 h")
    assert fields["query"] == (city, f"vin in ({vin(3)}, {vin(5)})")
    moves = [(each["kind"], each["vehicles"], each["examples"]) for each in found["moves"]]
    assert ("joins", 1, [vin(5)]) in moves
    assert ("leaves", 1, [vin(1)]) in moves
    assert any("control_unused" in line for line in found["findings_new"])
    plans = client.get(f"{path}/plans").json()
    assert [each["generation"] for each in plans] == [2, 1]
    assert plans[1]["document"] == first["document"]  # the first plan is as it was
    backwards = client.get(f"{path}/difference", params={"older": 2, "newer": 1}).json()
    assert {each["field"]: (each["after"], each["before"]) for each in backwards["fields"]} == fields


def test_the_same_plan_again_differs_in_nothing(client: httpx.Client, path: str) -> None:
    plan(client, path, "all")
    plan(client, path, "all")
    found = client.get(f"{path}/difference").json()
    assert [found[name] for name in ("fields", "findings_gone", "findings_new", "moves")] == [[], [], [], []]


def test_each_campaign_has_a_lot_of_its_own_and_keeps_it(client: httpx.Client, path: str) -> None:
    """The same vehicles would be the first to meet every release."""
    asked: tuple[dict[str, str], ...] = ({}, {}, {"seed": "mine"}, {})
    seeds = [plan(client, path, "all", **more)["document"]["request"]["seed"] for more in asked]
    campaign_id = path.rpartition("/")[2]
    assert seeds == [campaign_id, campaign_id, "mine", "mine"]


def test_plans_that_there_are_not_are_not_compared(client: httpx.Client, path: str) -> None:
    assert client.get(f"{path}/difference").status_code == 404  # no plan at all
    plan(client, path, "all")
    assert client.get(f"{path}/difference").status_code == 404  # nothing was before it
    assert client.get(f"{path}/difference", params={"older": 1, "newer": 9}).status_code == 404
    assert client.get(f"{path}/difference", params={"older": 0}).status_code == 400
    assert client.get("/api/v1/campaigns/campaign_none/difference").status_code == 404


def test_an_approval_accepts_every_warning_by_name_and_the_fact_keeps_them(
    client: httpx.Client, path: str, pg_url: str
) -> None:
    made = plan(client, path, "all", waves=[])
    warnings = sorted({each["code"] for each in made["findings"] if each["severity"] == "warning"})
    assert "one_wave" in warnings
    vic = {"Authorization": f"Bearer {add_account(pg_url, 'vic', Role.APPROVER)}"}
    generation = client.get(path).json()["generation"]
    assert (
        "I accept: all vehicles are in one wave" in client.get(path.removeprefix("/api/v1"), headers=vic).text
    )
    for acknowledged in ([], ["wave_1_large"], ["ONE_WAVE"]):
        body = {"generation": generation, "acknowledged": acknowledged}
        refused = client.post(f"{path}/approve", json=body, headers=vic)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "warnings_not_acknowledged")
        assert "one_wave" in refused.json()["error"]["message"]
    assert client.get(path).json()["state"] == "planned"
    body = {"generation": generation, "acknowledged": warnings}
    assert client.post(f"{path}/approve", json=body, headers=vic).json()["state"] == "approved"
    facts = client.get("/api/v1/facts", params={"kind": "campaign.approved"}).json()
    assert [(row["actor"], row["body"]["acknowledged"]) for row in facts] == [("vic", warnings)]


def test_metadata_that_expires_mid_campaign_is_seen_by_the_checker(
    client: httpx.Client, path: str, pg_url: str
) -> None:
    with connect(pg_url) as conn:
        for version, days in ((1, 1), (2, 300)):  # only the newest counts
            conn.execute(
                "INSERT INTO repository_metadata (repository, role, version, bytes, expires_at, written_at)"
                " VALUES ('image', 'root', %s, '', now() + make_interval(days => %s), now())", [version, days]
            )  # fmt: skip
        assert "metadata_expires" not in [each["code"] for each in plan(client, path, "all")["findings"]]
        conn.execute(
            "INSERT INTO repository_metadata (repository, role, version, bytes, expires_at, written_at)"
            " VALUES ('image', 'targets', 1, '', now() + interval '2 days', now())"
        )
        warned = plan(client, path, "all")
        assert "metadata_expires" in [each["code"] for each in warned["findings"]]
        conn.execute(
            "UPDATE repository_metadata SET expires_at = now() - interval '1 hour' WHERE role = 'targets'"
        )
    blocked = plan(client, path, "all")
    assert not blocked["current"]
    assert "Targets of the Image repository expired" in str(blocked["findings"])


def test_the_console_shows_what_the_newest_plan_changes(client: httpx.Client, path: str) -> None:
    plan(client, path, f"vin = {vin(1)}")
    plan(client, path, f"vin in ({vin(1)}, {vin(2)})")
    here = path.removeprefix("/api/v1")
    assert "What generation 2 changes" in client.get(here).text
    shown = client.get(f"{here}/difference").text
    assert "<del>" in shown
    assert f"/fleet/{vin(2)}" in shown
