from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from psycopg.types.json import Jsonb

from ringroad.http.app import create_app
from ringroad.http.device.wire import Answer, Request
from ringroad.kernel.clock import SystemClock
from ringroad.protocol.vehicle import HEARS, HEARS_WHY, Acknowledged, Command
from ringroad.storage.settings import Settings
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving

pytestmark = pytest.mark.engines
IMAGE = bytes(range(256)) * 4_000
DDI = {"Authorization": f"TargetToken {TOKEN}"}
NATIVE = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def closed(finished: str) -> dict[str, object]:
    return {
        "id": "1",
        "status": {
            "execution": "closed",
            "result": {"finished": finished},
            "details": ["done", "nul \0 and \\u0000 stay harmless"],
        },
    }


def test_a_ddi_device_polls_downloads_and_reports(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=60) as client:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        links = client.get(base).json()["_links"]
        assert client.put(links["configData"]["href"], json={"data": {"hw": "1"}}).status_code == 200
        assert "configData" not in client.get(base).json()["_links"]
        document = client.get(links["deploymentBase"]["href"]).json()
        file = document["deployment"]["chunks"][0]["artifacts"][0]
        assert file["hashes"]["sha1"] == hashlib.sha1(IMAGE).hexdigest()  # noqa: S324
        href = file["_links"]["download-http"]["href"]
        assert client.get(href).content == IMAGE
        tail = client.get(href, headers={"Range": "bytes=1000-"})
        assert (tail.status_code, tail.content) == (206, IMAGE[1000:])
        assert client.get(href, headers={"Range": f"bytes={len(IMAGE)}-"}).status_code == 416
        assert client.head(href).headers["content-length"] == str(len(IMAGE))
        assert client.get(file["_links"]["md5sum"]["href"]).text.startswith(file["hashes"]["md5"])
        feedback = f"{base}/deploymentBase/{action}/feedback"
        for _ in range(3):  # repeated verbatim, counted once
            assert client.post(feedback, json={"status": {"execution": "proceeding"}}).status_code == 200
        assert client.post(feedback, json=closed("success")).status_code == 200
        assert client.post(feedback, json=closed("success")).status_code == 410
        assert "deploymentBase" not in client.get(base).json()["_links"]
    kinds = [row["kind"] for row in rows(pg_url, "SELECT kind FROM device_report ORDER BY id")]
    assert kinds == ["config", "fetched", "progress", "closed"]
    assert rows(pg_url, "SELECT attributes FROM vehicle")[0]["attributes"] == {"hw": "1"}


def heard_at(url: str, vin: str) -> datetime | None:
    """When a vehicle was last heard of, as it is kept; None: never."""
    found = rows(url, f"SELECT heard_at FROM vehicle_contact WHERE vin = '{vin}'")  # noqa: S608 - a test's own words
    return found[0]["heard_at"] if found else None


def polls_another_process(url: str, blobs: FolderBlobs, gateway: str, witness: str) -> None:
    """One vehicle polls a gateway that remembers nothing, then another one; return once that one is on record."""
    scheme = "TargetToken" if gateway == "ddi" else "Bearer"
    path = "/DEFAULT/controller/v1" if gateway == "ddi" else "/uptane/v1/vehicles"
    with psycopg.connect(url, autocommit=True) as conn:
        add_vehicle(conn, witness, TOKEN, gateway)
    with serving(url, blobs) as origin, httpx.Client(timeout=60) as client:
        wrong = {"Authorization": f"{scheme} no"}
        assert client.get(f"{origin}{path}/{witness}", headers=wrong).status_code == 401
        client.headers["Authorization"] = f"{scheme} {TOKEN}"
        assert client.get(f"{origin}{path}/{VIN}").status_code == 200
        assert client.get(f"{origin}{path}/{witness}").status_code == 200
        assert eventually(lambda: heard_at(url, witness))


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_that_a_vehicle_was_heard_of_is_kept_once_in_hours_though_it_only_polls(
    pg_url: str, blobs: FolderBlobs, gateway: str
) -> None:
    fill(pg_url, blobs, IMAGE, gateway=gateway)
    number = f"SELECT changed_seq FROM vehicle WHERE vin = '{VIN}'"  # noqa: S608 - of constants
    before = rows(pg_url, number)
    polls_another_process(pg_url, blobs, gateway, "WRRDEM00000000002")
    assert heard_at(pg_url, VIN) is not None
    for ago, written in (("5 hours", False), ("7 hours", True)):
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE vehicle_contact SET heard_at = now() - %s::interval", [ago])
        then = heard_at(pg_url, VIN)
        polls_another_process(pg_url, blobs, gateway, f"WRRDEM{ago[0]:0>11}")
        assert (heard_at(pg_url, VIN) != then) is written
    assert rows(pg_url, number) == before  # no gateway reads it anew


@pytest.mark.parametrize(
    "token", ["", "Bearer x", "TargetToken", "TargetToken wrong", f"GatewayToken {TOKEN}"]
)
def test_a_wrong_token_learns_nothing(pg_url: str, blobs: FolderBlobs, token: str) -> None:
    fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin:
        known = httpx.get(
            f"{origin}/DEFAULT/controller/v1/{VIN}", headers={"Authorization": token}, timeout=60
        )
        unknown = httpx.get(
            f"{origin}/DEFAULT/controller/v1/NOBODY", headers={"Authorization": token}, timeout=60
        )
    assert (
        (known.status_code, known.content) == (unknown.status_code, unknown.content) == (401, known.content)
    )


def test_feedback_for_a_foreign_or_unknown_action_is_refused(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE)
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, "WRRDEM00000000002", "other", "ddi")
    with serving(pg_url, blobs) as origin:
        other = f"{origin}/DEFAULT/controller/v1/WRRDEM00000000002/deploymentBase/{action}/feedback"
        headers = {"Authorization": "TargetToken other"}
        assert httpx.post(other, json=closed("success"), headers=headers, timeout=60).status_code == 404
        mine = f"{origin}/DEFAULT/controller/v1/{VIN}/deploymentBase/{action + 1}/feedback"
        assert httpx.post(mine, json=closed("success"), headers=DDI, timeout=60).status_code == 404
        for body in (b"{", b"[]", b"{}", b'{"status":{}}', b"\xff" * 10):
            url = f"{origin}/DEFAULT/controller/v1/{VIN}/deploymentBase/{action}/feedback"
            assert httpx.post(url, content=body, headers=DDI, timeout=60).status_code == 400
        assert httpx.post(url, content=b" " * 300_000, headers=DDI, timeout=60).status_code == 400
    assert rows(pg_url, "SELECT * FROM device_report") == []


def test_a_cancel_reaches_the_device_and_is_acknowledged(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=60) as client:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        assert "deploymentBase" in client.get(base).json()["_links"]
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE assignment SET state = 'cancelling'")
        href = eventually(lambda: client.get(base).json()["_links"].get("cancelAction"))["href"]
        assert client.get(href).json() == {"id": str(action), "cancelAction": {"stopId": str(action)}}
        assert client.post(f"{href}/feedback", json=closed("success")).status_code == 200
    assert [row["kind"] for row in rows(pg_url, "SELECT kind FROM device_report")] == ["cancel"]


class WallClock(SystemClock):
    """Shows what it is set to."""

    def __init__(self, at: str) -> None:
        self.at = datetime.fromisoformat(at)

    def now(self) -> datetime:
        return self.at


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_an_update_is_offered_inside_the_vehicles_window_and_then_until_it_ends(
    pg_url: str, blobs: FolderBlobs, gateway: str
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway=gateway)
    plan = {
        "request": {"window": {"hours": ["22:00-05:00"], "quiet": [], "time_zone": "UTC"}},
        "install_s_estimate": 60,
    }
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO campaign_plan (id, campaign_id, generation, document, findings, made_by, made_at)"
            " VALUES ('plan_1', 'campaign_1', 1, %s, '[]', 'test', now())",
            [Jsonb(plan)],
        )
        conn.execute("UPDATE campaign SET plan_id = 'plan_1'")
        conn.execute("""UPDATE vehicle SET attributes = '{"time_zone": "Asia/Tokyo"}'""")
    clock = WallClock("2026-11-25T22:30:00+00:00")  # half past seven in the morning in Tokyo
    ddi = gateway == "ddi"
    with (
        serving(pg_url, blobs, clock=clock) as origin,
        httpx.Client(headers=DDI if ddi else NATIVE, timeout=60) as client,
    ):
        poll = f"{origin}/DEFAULT/controller/v1/{VIN}" if ddi else f"{origin}/uptane/v1/vehicles/{VIN}"
        deployment = f"{origin}/DEFAULT/controller/v1/{VIN}/deploymentBase/{action}"

        def offered() -> bool:
            answer = client.get(poll).json()
            return "deploymentBase" in answer["_links"] if ddi else answer["kind"] == "update"

        assert not offered()
        if ddi:
            assert client.get(deployment).status_code == 404
            assert (
                "configData" in client.get(poll).json()["_links"]
            )  # a time zone is not all that it could tell
        clock.at += timedelta(hours=16)  # 23:30 in Tokyo
        assert offered()
        if ddi:
            assert client.get(deployment).status_code == 200
            client.post(
                f"{deployment}/feedback",
                json={"status": {"execution": "proceeding", "result": {"finished": "none"}}},
            )
        else:
            report = {"id": "r1", "action_id": action, "state": "DOWNLOADING", "at": "2026-11-23T00:00:00Z"}
            client.post(f"{poll}/reports", json={"reports": [report]})
        clock.at += timedelta(hours=12)
        assert offered()


def test_a_lost_database_feed_stops_offers_until_it_is_whole_again(pg_url: str, blobs: FolderBlobs) -> None:
    fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=60) as client:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        assert client.get(base).status_code == 200
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        refused = eventually(lambda: client.get(base).status_code == 503)
        assert refused
        assert eventually(lambda: client.get(base).status_code == 200)
        assert client.put(f"{base}/configData", json={"data": {}}).status_code in (200, 503)


def test_a_native_vehicle_hears_that_its_fleet_agreed_if_it_says_that_it_can(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute("UPDATE assignment SET consented_at = now()")
    told = {"kind": "update", "poll_s": 1, "action_id": action}
    with serving(pg_url, blobs) as origin, httpx.Client(headers=NATIVE, timeout=60) as client:
        url = f"{origin}/uptane/v1/vehicles/{VIN}"
        before = client.get(url)
        assert before.json() == told  # one from before takes no member that it does not know
        again = client.get(url, headers={"If-None-Match": before.headers["etag"], HEARS[0]: HEARS[1]})
        assert (again.status_code, again.json()) == (200, {**told, "agreed": True})
        assert msgspec.json.decode(again.content, type=Command).agreed
        same = {"If-None-Match": again.headers["etag"], HEARS[0]: HEARS[1]}
        assert client.get(url, headers=same).status_code == 304
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("UPDATE assignment SET state = 'cancelling'")
        assert eventually(lambda: client.get(url, headers=same).status_code == 200)
        assert client.get(url, headers=same).json() == {**told, "kind": "cancel"}  # agreed to or not


WITHDRAWN = (  # state and reason of the campaign, and what a vehicle is told
    ("halted", "too_many_failures", "its campaign was halted: too many failures"),
    ("aborted", "what nobody outside is told", "a person at the maker ended its campaign"),
    ("running", "", "declined by its driver"),
    ("halted", "x" * 2_000, f"its campaign was halted: {'x' * 475}"),
)


def answers(client: httpx.Client, url: str, headers: dict[str, str], expected: dict[str, Any]) -> bool:
    return bool(client.get(url, headers=headers).json() == expected)


def test_a_native_vehicle_hears_why_its_update_was_cancelled_if_it_says_that_it_can(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    told = {"kind": "cancel", "poll_s": 1, "action_id": action}
    with serving(pg_url, blobs) as origin, httpx.Client(headers=NATIVE, timeout=60) as client:
        url, hears = f"{origin}/uptane/v1/vehicles/{VIN}", {HEARS_WHY[0]: HEARS_WHY[1]}
        for state, reason, says in WITHDRAWN:
            with psycopg.connect(pg_url, autocommit=True) as conn:
                conn.execute("UPDATE campaign SET state = %s, state_reason = %s", (state, reason))
                conn.execute("UPDATE assignment SET state = 'cancelling', state_detail = 'DOWNLOADING 40 %'")
            assert eventually(partial(answers, client, url, hears, {**told, "reason": says}))
            before = client.get(url)
            assert before.json() == told  # one from before takes no member that it does not know
            again = client.get(url, headers={**hears, "If-None-Match": before.headers["etag"]})
            assert again.status_code == 200
            assert msgspec.json.decode(again.content, type=Command).reason == says
            same = {**hears, "If-None-Match": again.headers["etag"]}
            assert client.get(url, headers=same).status_code == 304


def test_a_native_vehicle_polls_and_reports_once(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin, httpx.Client(headers=NATIVE, timeout=60) as client:
        url = f"{origin}/uptane/v1/vehicles/{VIN}"
        answer = client.get(url)
        assert msgspec.json.decode(answer.content, type=Command) == Command(
            kind="update", poll_s=1, action_id=action
        )
        assert client.get(url, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        report = {"id": "r1", "action_id": action, "state": "DOWNLOADING", "at": "2026-11-23T00:00:00Z"}
        last = {"id": "r2", "action_id": action, "state": "SUCCEEDED", "at": "2026-11-23T00:00:01Z"}
        for _ in range(2):
            sent = client.post(f"{url}/reports", json={"reports": [report, last]})
            assert msgspec.json.decode(sent.content, type=Acknowledged).ids == ["r1", "r2"]
        assert client.get(url).json()["kind"] == "none"
        naive = {**report, "id": "r3", "at": "2026-11-23T00:00:00"}
        assert client.post(f"{url}/reports", json={"reports": [naive]}).status_code == 400
        assert client.post(f"{url}/reports", json={"reports": [{**report, "extra": 1}]}).status_code == 400
        sha = hashlib.sha256(IMAGE).hexdigest()
        assert client.get(f"{origin}/uptane/v1/image/targets/{sha}.fw-2.swu").content == IMAGE
        for name in ("../../etc/passwd", f"{sha}.other", "timestamp.json"):
            assert client.get(f"{origin}/uptane/v1/image/targets/{name}").status_code == 404
    assert [row["kind"] for row in rows(pg_url, "SELECT kind FROM device_report ORDER BY id")] == [
        "progress",
        "closed",
    ]


def test_the_server_answers_polls_and_reports_express(pg_url: str, tmp_path: Path) -> None:
    app = create_app(Settings(var=tmp_path, database_url=pg_url))
    refused: list[Answer] = []
    for path, scheme in (("/DEFAULT/controller/v1/V", "TargetToken"), ("/uptane/v1/vehicles/V", "Bearer")):
        assert path.encode().startswith(app.express_paths)
        headers = [(b"authorization", f"{scheme} x".encode())]
        assert app.express(Request(method="GET", path=path, headers=headers, scheme="http"), refused.append)
    assert [answer.status for answer in refused] == [503, 503]  # nothing is known yet


def test_metadata_is_served_by_version_and_the_director_only_to_its_vehicle(
    pg_url: str, blobs: FolderBlobs
) -> None:
    fill(pg_url, blobs, IMAGE, gateway="native")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        for repository, vin, role, version in [
            ("image", "", "root", 1), ("image", "", "timestamp", 1), ("image", "", "timestamp", 2),
            ("director", "", "root", 1), ("director", VIN, "targets", 3),
        ]:  # fmt: skip
            conn.execute(
                "INSERT INTO repository_metadata VALUES (%s, %s, %s, %s, %s, now(), now())",
                (repository, vin, role, version, f"{repository}-{role}-{version}".encode()),
            )
    with serving(pg_url, blobs) as origin:
        base = f"{origin}/uptane/v1"
        assert httpx.get(f"{base}/image/timestamp.json", timeout=60).text == "image-timestamp-2"
        assert httpx.get(f"{base}/image/1.root.json", timeout=60).text == "image-root-1"
        for name in ("root.json", "2.root.json", "0.root.json", "1.timestamp.json", "1.ROOT.json"):
            assert httpx.get(f"{base}/image/{name}", timeout=60).status_code == 404, name
        assert httpx.get(f"{base}/director/{VIN}/3.targets.json", timeout=60).status_code == 401
        assert (
            httpx.get(f"{base}/director/{VIN}/3.targets.json", headers=NATIVE, timeout=60).text
            == "director-targets-3"
        )
        assert (
            httpx.get(f"{base}/director/{VIN}/1.root.json", headers=NATIVE, timeout=60).text
            == "director-root-1"
        )
