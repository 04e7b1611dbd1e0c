"""What gave way to a later campaign is told again once that one ended: by every gateway, and without a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.http import reading
from ringroad.http.console.why import why_not_updating
from ringroad.ship import store
from ringroad.ship.store.schedules import give_consent
from ringroad.storage.db import Connection, transaction
from support.fleet import CountingIds, Story, add_vehicles, fill_programme
from support.gateways import TOKEN, FolderBlobs, eventually, serving
from support.manifests import manifest_of

pytestmark = pytest.mark.engines


class Road:
    """One vehicle, two gateways, and the campaigns that share it."""

    def __init__(
        self, conn: Connection, gateway: str, origins: tuple[str, str], client: httpx.Client
    ) -> None:
        self.conn, self.gateway, self.origins, self.client = conn, gateway, origins, client
        self.ids = CountingIds()
        fill_programme(conn, self.ids, versions=("1.0.0", "2.0.0", "3.0.0"))
        (self.vin,) = add_vehicles(conn, [1], gateway=gateway)
        sha256 = hashlib.sha256(TOKEN.encode()).digest()
        conn.execute("UPDATE vehicle SET token_sha256 = %s WHERE vin = %s", [sha256, self.vin])
        scheme = "TargetToken" if gateway == "ddi" else "Bearer"
        client.headers["Authorization"] = f"{scheme} {TOKEN}"

    def begin(self, release: str, *, recall: bool = False, **more: Any) -> Story:
        story = Story(self.conn, self.ids)
        story.plan(release=release, waves=(), recall=recall, **more)
        story.approve_and_start(recall=recall)
        story.tick()
        return story

    def told(self, origin: str) -> int | None:
        """The action that a gateway tells the vehicle of."""
        if self.gateway == "native":
            said = self.client.get(f"{origin}/uptane/v1/vehicles/{self.vin}")
            return said.json().get("action_id") if said.status_code == 200 else -1
        said = self.client.get(f"{origin}/DEFAULT/controller/v1/{self.vin}")
        if said.status_code != 200:
            return -1
        links = said.json()["_links"]
        href = links.get("deploymentBase", links.get("confirmationBase", {})).get("href", "")
        return int(href.split("?")[0].rsplit("/", 1)[1]) if href else None

    def is_told(self, action_id: int | None) -> None:
        assert eventually(lambda: [self.told(each) for each in self.origins] == [action_id] * 2)

    def ends(self, story: Story, *, kind: str = "update") -> None:
        """The vehicle ends what it is offered, at the first gateway: done by DDI's word, refused natively."""
        (action,) = story.vehicles("offered", kind=kind)
        self.is_told(action.action_id)
        if self.gateway == "native":
            report = {"id": f"r{action.action_id}", "action_id": action.action_id, "state": "FAILED"}
            said = self.client.post(
                f"{self.origins[0]}/uptane/v1/vehicles/{self.vin}/reports",
                json={"reports": [report | {"at": "2026-11-23T00:00:00Z"}]},
            )
        else:
            said = self.client.post(
                f"{self.origins[0]}/DEFAULT/controller/v1/{self.vin}/deploymentBase/{action.action_id}/feedback",
                json={"status": {"execution": "closed", "result": {"finished": "success"}}},
            )
        assert said.status_code == 200
        self.is_told(None)  # though nobody has folded the report yet
        story.later(5)
        for _ in range(2):
            story.tick()


@pytest.fixture
def origins(pg_url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    blobs = FolderBlobs(tmp_path)
    with serving(pg_url, blobs) as one, serving(pg_url, blobs) as other:
        yield one, other


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as opened:
        yield opened


@pytest.mark.parametrize(
    ("gateway", "ahead"), [("ddi", "an emergency recall"), ("native", "a higher priority")]
)
def test_a_campaign_that_gave_way_is_told_to_its_vehicle_once_the_other_ended(
    conn: Connection, origins: tuple[str, str], client: httpx.Client, gateway: str, ahead: str
) -> None:
    road = Road(conn, gateway, origins, client)
    first = road.begin("release_3.0.0", priority=3)
    (mine,) = first.vehicles("offered")
    road.is_told(mine.action_id)
    if ahead == "a higher priority":  # takes nothing away, and is next where the other one rests
        given: dict[str, Any] = {"campaign_id": first.campaign_id, "actor": "ann", "now": first.now}
        with transaction(conn):
            store.pause(conn, road.ids, generation=first.campaign().generation, reason="x", **given)
        other = road.begin("release_2.0.0", priority=5)
        with transaction(conn):
            store.resume(conn, road.ids, generation=first.campaign().generation, **given)
    else:
        other = road.begin("release_2.0.0", recall=True)
    assert other.vehicles()[0].action_id > mine.action_id
    road.ends(other)
    assert [(action.state, action.state_detail) for action in first.vehicles()] == [("offered", "")]
    road.is_told(mine.action_id)
    told = reading.assignments(conn, vin=road.vin)
    assert [each.action_id for each in told] == [mine.action_id, other.vehicles()[0].action_id]
    (vehicle,) = reading.vehicles(conn, vin=road.vin)
    assert "has not answered yet" in why_not_updating(vehicle, told[0], now=first.now).text
    first.now = other.now
    road.ends(first)  # and what it ended is over, whatever was ended before
    assert [action.state for action in first.vehicles()] != ["offered"]
    road.is_told(None)
    assert reading.assignments(conn, vin=road.vin)[0].action_id == mine.action_id
    if gateway == "ddi":  # what it runs is what ended last
        assert eventually(lambda: f"installedBase/{mine.action_id}" in road.client.get(
            f"{origins[0]}/DEFAULT/controller/v1/{road.vin}").text)  # fmt: skip


def test_a_vehicle_on_its_way_goes_on_with_the_step_that_gave_way(
    conn: Connection, origins: tuple[str, str], client: httpx.Client
) -> None:
    road = Road(conn, "ddi", origins, client)
    conn.execute(
        "UPDATE software_package SET upgrades_from = '>=2' WHERE ecu = 'brake' AND release_counter = 3"
    )
    first = road.begin("release_3.0.0")
    (step,) = first.vehicles("offered", kind="step")
    road.is_told(step.action_id)
    conn.execute("INSERT INTO account (name, role, created_at) VALUES ('cabs', 'fleet', now())")
    conn.execute("INSERT INTO account_fleet (account_name, kind, name) VALUES ('cabs', 'tag', 'cabs')")
    conn.execute("UPDATE vehicle SET tags = ARRAY['cabs'] WHERE vin = %s", [road.vin])
    for told in (None, "cabs"):
        (wave,) = reading.campaign_progress(conn, first.campaign_id, fleet=told)
        assert (wave.state, wave.vehicles, wave.on_the_way) == ("pending", 1, 1)
    recall = road.begin("release_2.0.0", recall=True)
    assert recall.vehicles("offered")
    with transaction(conn):
        store.abort(
            conn, road.ids, campaign_id=recall.campaign_id, generation=recall.campaign().generation, actor="ann",
            reason="false alarm", now=recall.now,
        )  # fmt: skip
    (back,) = recall.vehicles("cancelling")
    road.is_told(None)
    recall.ddi(back, "closed", "success", kind="cancel")
    recall.tick()
    road.is_told(step.action_id)
    first.now = recall.now
    road.ends(first, kind="step")
    (goal,) = first.vehicles("offered")
    road.is_told(goal.action_id)


def test_a_device_that_may_have_begun_answers_a_cancel_and_is_told_of_the_recall(
    conn: Connection, origins: tuple[str, str], client: httpx.Client
) -> None:
    road = Road(conn, "ddi", origins, client)
    first = road.begin("release_3.0.0")
    (mine,) = first.vehicles("offered")
    first.report(mine, {"gateway": "ddi"}, kind="fetched")  # as a gateway notes a last byte
    first.tick()
    road.is_told(mine.action_id)
    recall = road.begin("release_2.0.0", recall=True)
    own = [f"{origin}/DEFAULT/controller/v1/{road.vin}" for origin in origins]
    stop = f"{own[0]}/cancelAction/{mine.action_id}"
    assert eventually(lambda: all(f"cancelAction/{mine.action_id}" in client.get(each).text for each in own))
    assert client.get(stop).json() == {
        "id": str(mine.action_id),
        "cancelAction": {"stopId": str(mine.action_id)},
    }
    stopped = {"status": {"execution": "closed", "result": {"finished": "success"}}}
    assert client.post(f"{stop}/feedback", json=stopped).status_code == 200
    assert eventually(
        lambda: not any("cancelAction" in client.get(each).text for each in own)
    )  # none asks twice
    recall.now = first.now
    for _ in range(2):
        recall.tick()
    road.is_told(recall.vehicles()[0].action_id)
    road.ends(recall)
    (again,) = first.vehicles("offered")
    road.is_told(again.action_id)


def test_a_yes_given_for_a_driver_is_about_what_the_vehicle_is_told_now(
    conn: Connection, client: httpx.Client
) -> None:
    road = Road(conn, "ddi", ("", ""), client)
    first = road.begin("release_3.0.0", consent=True)
    recall = road.begin("release_2.0.0", recall=True, consent=True)
    (mine,), (other,) = first.vehicles(), recall.vehicles()
    with transaction(conn):
        about = give_consent(conn, road.ids, vin=road.vin, agree=True, actor="ann", now=recall.now)
    assert about == other.action_id
    recall.ddi(other, "closed", "success", kind="closed")
    for _ in range(2):
        recall.tick()
    with transaction(conn):
        about = give_consent(conn, road.ids, vin=road.vin, agree=True, actor="ann", now=recall.now)
    assert about == mine.action_id


def test_what_was_signed_again_after_it_gave_way_is_taken_back_when_it_fails(
    conn: Connection, client: httpx.Client
) -> None:
    road = Road(conn, "native", ("", ""), client)
    first = road.begin("release_3.0.0")
    recall = road.begin("release_2.0.0", recall=True)
    recall.later(5)
    first.now = recall.now
    manifest = manifest_of(conn, road.vin, "2.0.0", ("brake", "head"))
    with transaction(conn):
        store.apply_manifest(conn, road.ids, manifest=manifest, body=b"2", now=recall.now)
    first.tick()
    (mine,) = first.vehicles("offered")
    first.native(mine, "FAILED", kind="closed")
    signed = len(first.issued)
    for _ in range(2):
        first.tick()
    assert [content["vehicle_package"] is None for content in first.issued[signed:]] == [True]
