"""Accounts of fleet operators: every operation and every page shows their own vehicles, and nothing of any other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.types.json import Jsonb

from ringroad.http.app import create_app
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.signal.silence import Silence, Why
from ringroad.signal.store_silence import tell_silence
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import append_fact
from ringroad.storage.settings import Settings
from support.console_server import add_account, serving
from support.console_world import World

pytestmark = pytest.mark.engines
API = "/api/v1"
# What a fleet's operator may call at all; everything else answers as if it were not there.
OPEN = {
    "get_me", "create_token", "list_vehicles", "get_vehicle", "list_ecus", "list_vehicle_assignments",
    "list_campaigns", "get_campaign", "list_campaign_assignments", "get_progress", "list_fleet_versions",
    "get_schedule", "put_schedule", "drop_schedule", "post_consent", "revoke_tokens", "list_vehicle_hours", "set_vehicle_hours",
}  # fmt: skip
PUBLIC = {"login_for_token", "first_login_for_token", "get_health"}
PAGES = {"/", "/fleet", "/fleet/{vin:str}", "/campaigns", "/campaigns/{campaign_id:str}"}


class Floor:
    """A server with a world of vehicles, of which a few are a fleet's."""

    def __init__(self, origin: str, conn: Connection, world: World, admin: str, fleet: str) -> None:
        self.conn, self.world = conn, world
        self.own, self.foreign = world.vins[:4], world.vins[4:]
        self.admin, self.fleet = (
            httpx.Client(base_url=origin, headers={"Authorization": f"Bearer {token}"}, timeout=60)
            for token in (admin, fleet)
        )

    def leaks(self, answer: httpx.Response) -> list[str]:
        """VINs of others in an answer."""
        return [vin for vin in self.foreign if vin in answer.text or vin in str(answer.headers)]


@pytest.fixture
def floor(pg_url: str, tmp_path: Path) -> Iterator[Floor]:
    admin, fleet = add_account(pg_url, "admin", Role.ADMIN), add_account(pg_url, "cabs", Role.FLEET)
    with connect(pg_url) as conn, serving(pg_url, tmp_path) as origin:
        world = World(conn, SystemIds(), now=SystemClock().now(), vehicles=24).build()
        made = Floor(origin, conn, world, admin, fleet)
        listed = made.admin.put(f"{API}/fleet/lists/cabs", content="\n".join(world.vins[:2]))
        assert listed.json()["stored"]
        tagged = made.admin.post(f"{API}/fleet/tags/vans", json={"vins": world.vins[2:4]})
        assert tagged.json()["changed"] == 2
        bound = made.admin.patch(f"{API}/accounts/cabs", json={"tags": ["vans"], "lists": ["cabs"]})
        assert bound.status_code == 200, bound.text
        yield made
        made.admin.close()
        made.fleet.close()


def fills(floor: Floor) -> dict[str, list[str]]:
    """What to put into each part of an address: of foreign vehicles, and of what spans them."""
    world = floor.world
    return {
        "vin": [floor.foreign[0], floor.foreign[-1], floor.own[0]],
        "campaign_id": [row["id"] for row in floor.conn.execute("SELECT id FROM campaign").fetchall()],
        "release_id": [world.good], "lap_id": [world.lap_id], "finding_id": [world.finding_id],
        "change_id": [world.change_id], "programme_id": ["meridian"], "name": ["cabs", "admin"], "tag": ["vans"],
        "package_id": [row["id"] for row in floor.conn.execute("SELECT id FROM software_package LIMIT 1").fetchall()],
        "reading_id": ["1"], "order_id": ["1"], "option": ["tow"],
    }  # fmt: skip


def addresses(template: str, values: dict[str, list[str]]) -> list[str]:
    """Every address of a template."""
    found = [template]
    for part in re.findall(r"\{(\w+)(?::\w+)?\}", template):
        found = [
            re.sub(rf"\{{{part}(:\w+)?\}}", value, each, count=1)
            for each in found
            for value in values.get(part, ["1"])
        ]
    return found


def test_no_operation_of_the_api_tells_a_fleet_of_other_vehicles(floor: Floor) -> None:
    document = floor.admin.get(f"{API}/openapi.json").json()
    values, tried, seen = fills(floor), 0, set()
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            name = operation["operationId"]
            if name in PUBLIC | {"revoke_tokens"}:
                continue
            for address in addresses(template, values):
                body: Any = {} if method in {"post", "patch", "put"} else None
                answer = floor.fleet.request(method.upper(), address, json=body)
                # The address itself, which the caller knows, may be told back in an error.
                told = [vin for vin in floor.leaks(answer) if vin not in address]
                assert told == [], f"{method} {address} tells of {told[:3]}"
                assert answer.status_code < 500, f"{method} {address}: {answer.status_code}"
                if name not in OPEN:
                    assert answer.status_code == 404, (
                        f"{method} {address}: {answer.status_code} {answer.text}"
                    )
                elif answer.is_success:
                    seen.add(name)
                tried += 1
    assert tried > 100
    assert seen >= OPEN - {"post_consent", "put_schedule", "set_vehicle_hours", "revoke_tokens"}, (
        "these never answered at all"
    )


def test_no_page_of_the_console_tells_a_fleet_of_other_vehicles(
    floor: Floor, pg_url: str, tmp_path: Path
) -> None:
    app = create_app(Settings(var=tmp_path, database_url=pg_url), with_gateways=False)
    routes = app._management.app.routes  # type: ignore[attr-defined]
    templates = {
        route.path for route in routes
        if "GET" in getattr(route, "methods", ()) and not route.path.startswith(("/api", "/static", "/login", "/health"))
    }  # fmt: skip
    assert templates >= PAGES
    values = fills(floor)
    for template in sorted(templates):
        for address in addresses(template, values):
            answer = floor.fleet.get(address, headers={"Accept": "text/html"}, follow_redirects=True)
            told = [vin for vin in floor.leaks(answer) if vin not in address]
            assert told == [], f"{address} tells of {told[:3]}"
            foreign = any(vin in address for vin in floor.foreign)
            if template not in PAGES or foreign:
                assert answer.status_code == 404, f"{address}: {answer.status_code}"
    shown = floor.fleet.get("/fleet").text
    assert all(vin in shown for vin in floor.own)
    assert "/facts" not in shown
    campaign = floor.fleet.get(f"/campaigns/{floor.world.campaign_id}")
    assert campaign.status_code == 200
    assert any(vin in campaign.text for vin in floor.own)


def test_filters_and_pages_do_not_lead_out_of_the_fleet(floor: Floor) -> None:
    queries: list[dict[str, Any]] = [
        {"q": floor.foreign[0]},
        {"q": "WRR", "limit": 1000},
        {"offset": 2},
        {"state": "failed"},
    ]
    for query in queries:
        answer = floor.fleet.get(f"{API}/vehicles", params=query)
        assert answer.status_code == 200
        assert floor.leaks(answer) == []
        for page in ("/fleet", "/campaigns", f"/campaigns/{floor.world.campaign_id}"):
            shown = floor.fleet.get(page, params=query)
            assert [vin for vin in floor.leaks(shown) if vin not in query.values()] == []


def test_a_fleet_sees_its_vehicles_and_the_state_of_campaigns_for_them(floor: Floor) -> None:
    rows = floor.fleet.get(f"{API}/vehicles").json()
    assert [row["vin"] for row in rows] == sorted(floor.own)
    campaign = floor.fleet.get(f"{API}/campaigns/{floor.world.campaign_id}").json()
    own = floor.fleet.get(f"{API}/campaigns/{floor.world.campaign_id}/assignments").json()
    whole = floor.admin.get(f"{API}/campaigns/{floor.world.campaign_id}").json()
    assert (
        campaign["vehicles"]
        == len({row["vin"] for row in own if row["kind"] == "update"})
        < whole["vehicles"]
    )
    assert (campaign["created_by"], campaign["lap_id"], campaign["plan_id"]) == ("", None, None)
    versions = floor.fleet.get(f"{API}/fleet/versions").json()
    assert sum(row["vehicles"] for row in versions) == len(floor.own)


def test_a_foreign_vehicle_and_none_at_all_are_the_same(floor: Floor) -> None:
    nobody = "WRRZZZ9ZZZZZZZZZZ"
    for method, path, body in (
        ("GET", "", None), ("GET", "/ecus", None), ("GET", "/assignments", None), ("GET", "/schedule", None),
        ("PUT", "/schedule", {"hours": ["22:00-05:00"]}), ("DELETE", "/schedule", None), ("POST", "/consent", {"agree": True}),
    ):  # fmt: skip
        answers = [
            floor.fleet.request(method, f"{API}/vehicles/{vin}{path}", json=body)
            for vin in (floor.foreign[0], nobody)
        ]
        texts = [answer.text.replace(floor.foreign[0], nobody) for answer in answers]
        assert [answer.status_code for answer in answers] == [404, 404], (method, path)
        assert texts[0] == texts[1]
    unknown = floor.conn.execute("SELECT vin FROM vehicle WHERE schedule IS NOT NULL").fetchall()
    assert unknown == []


def test_a_fleet_is_told_why_a_campaign_waits_while_telemetry_is_silent(floor: Floor) -> None:
    now = SystemClock().now()
    with transaction(floor.conn):
        tell_silence(floor.conn, SystemIds(), Silence(since=now, why=Why.UNTAKEN), now=now)
    shown = floor.fleet.get(f"/campaigns/{floor.world.campaign_id}").text
    assert ("Telemetry is silent since" in shown, "It goes on by itself" in shown) == (True, True)
    assert "telemetry is silent" in floor.fleet.get("/campaigns").text


def test_a_fleet_is_told_the_date_of_a_wave_that_has_vehicles_of_it(floor: Floor) -> None:
    asked = [
        {"vehicles": 1},
        {"vehicles": 1, "not_before": "2099-01-11T08:00:00Z"},
        {"vehicles": 1, "not_before": "2099-02-11T08:00:00Z"},
    ]
    with transaction(floor.conn):
        floor.conn.execute(
            "UPDATE campaign_plan SET document = jsonb_set(document, '{request,waves}', %s) WHERE campaign_id = %s",
            (Jsonb(asked), floor.world.campaign_id),
        )
        floor.conn.execute("UPDATE campaign SET wave = 1 WHERE id = %s", (floor.world.campaign_id,))
        floor.conn.execute(
            "UPDATE assignment SET wave = CASE WHEN vin = ANY(%s) THEN 2 ELSE 3 END WHERE campaign_id = %s",
            (floor.own, floor.world.campaign_id),
        )
    shown = floor.fleet.get(f"/campaigns/{floor.world.campaign_id}").text
    assert ("in wave 2 are told on" in shown, "2099-01-11" in shown, "2099-02-11" in shown) == (
        True,
        True,
        False,
    )
    with transaction(floor.conn):
        floor.conn.execute("UPDATE campaign SET state = 'halted' WHERE id = %s", (floor.world.campaign_id,))
    assert "2099-01-11" not in floor.fleet.get(f"/campaigns/{floor.world.campaign_id}").text


def test_a_vehicle_that_leaves_the_list_leaves_the_fleet(floor: Floor) -> None:
    gone = floor.own[0]
    floor.admin.put(f"{API}/fleet/lists/cabs", content=gone, params={"mode": "remove"})
    assert floor.fleet.get(f"{API}/vehicles/{gone}").status_code == 404
    assert floor.admin.delete(f"{API}/fleet/lists/cabs").status_code == 409  # an account's fleet
    assert floor.admin.patch(f"{API}/accounts/cabs", json={"tags": [], "lists": []}).status_code == 200
    assert floor.fleet.get(f"{API}/vehicles").json() == []
    assert floor.fleet.get(f"{API}/campaigns").json() == []
    assert floor.fleet.get(f"{API}/vehicles/{floor.own[1]}").status_code == 404


def test_a_fleet_says_when_its_vehicles_may_begin(floor: Floor) -> None:
    path = f"{API}/vehicles/{floor.own[0]}/schedule"
    hours = {"hours": ["mon-fri 22:00-05:00"], "quiet": [], "time_zone": "Europe/Oslo"}
    assert floor.fleet.put(path, json=hours).json()["state"] == "scheduled"
    assert floor.fleet.put(path, json=hours).json()["state"] == "unchanged"
    assert floor.fleet.get(path).json()["schedule"] == hours | {"not_before": None}
    over = hours | {"not_before": "0001-01-01T00:00:00+14:00"}  # no instant of this zone's calendar
    assert floor.fleet.put(path, json=over).json()["state"] == "unchanged"
    assert "mon-fri 22:00-05:00" in floor.fleet.get(f"/fleet/{floor.own[0]}").text
    for wrong in ({}, {"hours": ["at night"]}, {"hours": ["22:00-05:00"], "time_zone": "Oslo"}):
        assert floor.fleet.put(path, json=wrong).status_code == 422, wrong
    assert floor.fleet.delete(path).json()["state"] == "scheduled"
    assert floor.fleet.get(path).json()["schedule"] is None
    facts = floor.admin.get(
        f"{API}/facts", params={"subject": floor.own[0], "kind": "vehicle.scheduled"}
    ).json()
    assert [(row["actor"], row["body"]) for row in facts] == [("cabs", {}), ("cabs", hours)]


def test_a_fleet_says_for_all_of_its_vehicles_at_once_and_for_no_other(floor: Floor) -> None:
    path, later = f"{API}/fleet/schedule", SystemClock().now() + timedelta(days=20)
    nights = {"hours": ["01:00-05:00"], "not_before": later.isoformat()}
    floor.conn.execute("UPDATE vehicle SET tags = tags || ARRAY['vans'] WHERE vin = %s", [floor.own[0]])
    floor.admin.put(f"{API}/fleet/lists/others", content=floor.foreign[0])
    refused: list[tuple[dict[str, Any], int]] = [
        ({"schedule": nights, "list": "others"}, 404),  # as if there were no such list
        ({"schedule": nights, "list": "none"}, 404),
        ({"schedule": nights, "tag": "none"}, 404),
        ({"schedule": nights, "vins": [floor.own[0], floor.foreign[0]]}, 404),  # and nothing is changed
        ({"schedule": nights}, 422),
        ({"schedule": nights, "everyone": True, "tag": "vans"}, 422),
        ({"schedule": {}, "everyone": True}, 422),
        ({"everyone": True}, 400),
        ({"schedule": {"not_before": "2027-01-04T08:00:00"}, "everyone": True}, 400),  # no instant
        ({"schedule": {"not_before": (later + timedelta(days=99)).isoformat()}, "everyone": True}, 422),
    ]
    for body, status in refused:
        answer = floor.fleet.put(path, json=body)
        assert answer.status_code == status, (body, answer.text)
        assert [vin for vin in floor.leaks(answer) if vin not in body.get("vins", [])] == []
    texts = [floor.fleet.put(path, json=body).text for body, _ in refused[:2]]
    assert texts[0] == texts[1]
    assert floor.conn.execute("SELECT vin FROM vehicle WHERE schedule IS NOT NULL").fetchall() == []
    assert floor.fleet.put(path, json={"schedule": nights, "everyone": True}).json() == {
        "vehicles": 4, "changed": 4, "reached": 0
    }  # fmt: skip
    assert floor.fleet.put(path, json={"schedule": nights, "tag": "vans"}).json()["changed"] == 0
    some = {"schedule": None, "vins": [floor.own[1].lower()]}
    assert floor.fleet.put(path, json=some).json() == {"vehicles": 1, "changed": 1, "reached": 0}
    set_for = floor.conn.execute("SELECT vin FROM vehicle WHERE schedule IS NOT NULL ORDER BY vin").fetchall()
    assert [row["vin"] for row in set_for] == [floor.own[0], *floor.own[2:]]
    shown = floor.fleet.get(path).json()
    assert [(row["vehicles"], row["example"]) for row in shown] == [(3, floor.own[0]), (1, floor.own[1])]
    assert [row["vehicles"] for row in floor.fleet.get(path, params={"tag": "vans"}).json()] == [3]
    assert floor.fleet.get(path, params={"list": "others"}).json() == []
    page = floor.fleet.get("/fleet").text
    assert f"01:00-05:00, not before {later:%Y-%m-%d %H:%M}; UTC" in page
    assert "list others" not in page
    assert "/api/v1/exports" not in page  # those are of all vehicles
    facts = floor.admin.get(f"{API}/facts", params={"kind": "vehicles.scheduled"}).json()
    assert [(row["actor"], row["subject"], row["body"]["vehicles"]) for row in facts] == [
        ("cabs", "cabs", 1), ("cabs", "cabs", 4),
    ]  # fmt: skip
    assert facts[1]["body"]["vins"] == sorted(floor.own)


def test_a_fleet_does_not_read_what_people_wrote_about_a_campaign(floor: Floor) -> None:
    floor.conn.execute("UPDATE campaign SET state = 'paused', state_reason = 'one car of theirs burned'")
    for path in (f"{API}/campaigns", f"{API}/campaigns/{floor.world.campaign_id}", "/campaigns",
                 f"/campaigns/{floor.world.campaign_id}"):  # fmt: skip
        assert "burned" not in floor.fleet.get(path).text, path
        assert "burned" in floor.admin.get(path).text, path


def test_a_fleet_does_not_read_at_its_vehicle_who_aborted_a_campaign_and_why(floor: Floor) -> None:
    conn, vin, campaign_id = floor.conn, floor.own[0], floor.world.campaign_id
    why = "their car burned"
    conn.execute("UPDATE campaign SET state = 'aborted', state_reason = %s WHERE id = %s", [why, campaign_id])
    conn.execute(
        "UPDATE assignment SET state = 'cancelled' WHERE vin = %s AND campaign_id = %s", [vin, campaign_id]
    )
    with transaction(conn):
        append_fact(
            conn, SystemIds(), kind=FactKind.CAMPAIGN_ABORTED, subject=campaign_id, actor="hanna",
            now=SystemClock().now(), body={"reason": why, "told": "its notes are wrong"},
        )  # fmt: skip
    page, own = floor.admin.get(f"/fleet/{vin}").text, floor.fleet.get(f"/fleet/{vin}").text
    assert "aborted by hanna: their car burned" in page
    assert "burned" not in own
    assert "hanna" not in own
    assert "ended its campaign: its notes are wrong" in own


def test_a_fleet_agrees_on_behalf_of_a_driver_only_to_what_is_asked(floor: Floor) -> None:
    conn, vin = floor.conn, floor.own[0]
    path = f"{API}/vehicles/{vin}/consent"
    assert floor.fleet.post(path, json={"agree": True}).status_code == 409  # nothing is asked
    conn.execute(
        "UPDATE assignment SET state = 'offered', offered_at = now(), finished_at = NULL"
        " WHERE action_id = (SELECT max(action_id) FROM assignment WHERE vin = %s)", [vin]
    )  # fmt: skip
    conn.execute(
        "UPDATE campaign SET state = 'running' WHERE id = (SELECT campaign_id FROM assignment WHERE vin = %s"
        " ORDER BY action_id DESC LIMIT 1)", [vin]
    )  # fmt: skip
    conn.execute("""UPDATE campaign_plan SET document = jsonb_set(document, '{request,consent}', 'true')""")
    assert floor.fleet.post(path, json={"agree": False}).json()["state"] == "declined"
    assert (
        floor.fleet.post(path, json={"agree": True}).status_code == 409
    )  # a native vehicle that does not ask
    asks = "AWAITING_CONSENT consent waiting for consent to download"
    conn.execute("UPDATE assignment SET state_detail = %s WHERE vin = %s", [asks, vin])
    assert floor.fleet.post(path, json={"agree": True}).json()["state"] == "agreed"
    assert floor.fleet.post(path, json={"agree": True}).status_code == 409  # it is agreed
    facts = floor.admin.get(f"{API}/facts", params={"subject": vin, "kind": "vehicle.consented"}).json()
    assert [(row["actor"], row["body"]["on_behalf"]) for row in facts] == [("cabs", True)]


def test_an_account_is_bound_to_tags_and_lists_that_can_be(floor: Floor) -> None:
    bodies: list[tuple[dict[str, Any], int]] = [
        ({"role": "fleet", "tags": ["a b"]}, 422),
        ({"role": "fleet", "lists": ["none"]}, 422),
        ({"role": "viewer", "tags": ["pilot"]}, 422),  # a viewer sees all: it has no fleet
        ({"role": "fleet", "tags": "pilot"}, 400),
        ({"role": "fleet", "tags": ["pilot"]}, 201),
    ]
    for body, status in bodies:
        answer = floor.admin.post(f"{API}/accounts", json={"name": "vans", **body})
        assert answer.status_code == status, answer.text
        rows = {row["name"]: row for row in floor.admin.get(f"{API}/accounts").json()}
        assert ("vans" in rows) == (status == 201)
    assert rows["vans"]["tags"] == ["pilot"]
    facts = floor.admin.get(f"{API}/facts?subject=vans").json()
    assert facts[0]["body"] == {"role": "fleet", "tags": ["pilot"], "lists": []}


def test_only_who_may_run_campaigns_schedules_the_vehicles_of_others(floor: Floor, pg_url: str) -> None:
    viewer = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    path = f"{API}/vehicles/{floor.foreign[0]}/schedule"
    hours = {"hours": ["22:00-05:00"]}
    assert floor.fleet.put(path, json=hours, headers=viewer).status_code == 403
    assert floor.admin.put(path, json=hours).status_code == 200
