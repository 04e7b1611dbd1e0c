"""One vehicle that lies, floods or has lost its mind must not reach another vehicle, or the gateway itself."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg
import pytest

from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.ship.store.reports import fold_reports
from ringroad.storage.db import connect, transaction
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving

pytestmark = pytest.mark.engines
IMAGE = b"image" * 100
OTHER, OTHER_TOKEN = "WRRDEM00000000002", "token-of-vehicle-2"
NATIVE = {"Authorization": f"Bearer {TOKEN}"}
OTHER_NATIVE = {"Authorization": f"Bearer {OTHER_TOKEN}"}
DDI = {"Authorization": f"TargetToken {TOKEN}"}
SUCCESS = {"status": {"execution": "closed", "result": {"finished": "success"}}}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def report(name: str, action: int, **more: object) -> dict[str, object]:
    return {"id": name, "action_id": action, "state": "DOWNLOADING", "at": "2026-11-23T00:00:00Z", **more}


@pytest.mark.parametrize(
    "poison",
    [
        {"done_bytes": 10**30},
        {"action_id": 10**30},
        {"action_id": 2**31},
        {"action_id": -(2**40)},
        {"total_bytes": 2**63},
        {"ecu": "x" * 10_000},
        {"detail": "nul \0 and \ufffe"},
    ],
)
def test_a_report_that_cannot_be_stored_harms_its_sender_only(
    pg_url: str, blobs: FolderBlobs, poison: dict[str, object]
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin, httpx.Client(headers=NATIVE, timeout=30) as client:
        url = f"{origin}/uptane/v1/vehicles/{VIN}/reports"
        bad = client.post(url, json={"reports": [{**report("bad", action), **poison}]})
        assert bad.status_code in (200, 400)
        assert client.post(url, json={"reports": [report("good", action)]}).status_code == 200
    stored = [row["dedupe_key"] for row in rows(pg_url, "SELECT dedupe_key FROM device_report")]
    assert "good" in stored


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_mad_clock_does_not_stop_the_folding_of_reports(pg_url: str, blobs: FolderBlobs, at: str) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin, httpx.Client(headers=NATIVE, timeout=30) as client:
        sent = client.post(
            f"{origin}/uptane/v1/vehicles/{VIN}/reports", json={"reports": [report("r", action, at=at)]}
        )
        assert sent.status_code == 200
    with connect(pg_url) as conn, transaction(conn):
        assert fold_reports(conn, SystemIds(), now=datetime.now(UTC)).read == 1


def test_one_device_cannot_spoil_the_batch_of_the_others(pg_url: str, blobs: FolderBlobs) -> None:
    fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=30) as client:
        url = f"{origin}/DEFAULT/controller/v1/{VIN}/configData"
        assert client.put(url, json={"data": {"a\0b": "c\0d"}}).status_code == 200
        assert client.put(url, json={"data": {"hw": "1"}}).status_code == 200
    assert rows(pg_url, "SELECT attributes FROM vehicle")[0]["attributes"] == {"ab": "cd", "hw": "1"}


def test_a_device_cannot_grow_its_attributes_without_end(pg_url: str, blobs: FolderBlobs) -> None:
    fill(pg_url, blobs, IMAGE)
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=30) as client:
        url = f"{origin}/DEFAULT/controller/v1/{VIN}/configData"
        for start in (0, 90, 180):
            data = {f"k{n}": "v" for n in range(start, start + 90)}
            assert client.put(url, json={"mode": "merge", "data": data}).status_code == 200
    assert len(rows(pg_url, "SELECT attributes FROM vehicle")[0]["attributes"]) == 90


def test_a_native_vehicle_cannot_confirm_an_update_without_its_signed_manifest(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin, httpx.Client(headers=DDI, timeout=30) as client:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        answers = (
            client.get(base),
            client.put(f"{base}/configData", json={"data": {"region": "eu"}}),
            client.post(f"{base}/deploymentBase/{action}/feedback", json=SUCCESS),
        )
        assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert rows(pg_url, "SELECT * FROM device_report") == []


def test_a_report_about_anothers_action_does_not_withhold_its_offer(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, OTHER, OTHER_TOKEN, "native")
    with serving(pg_url, blobs) as origin:
        sent = httpx.post(
            f"{origin}/uptane/v1/vehicles/{OTHER}/reports",
            json={"reports": [report("x", action, state="SUCCEEDED")]}, headers=OTHER_NATIVE,
            timeout=60,
        )  # fmt: skip
        assert sent.status_code == 200
    with serving(pg_url, blobs) as origin:  # a gateway that starts now reads it all from the database
        poll = httpx.get(f"{origin}/uptane/v1/vehicles/{VIN}", headers=NATIVE, timeout=60).json()
        assert (poll["kind"], poll["action_id"]) == ("update", action)


class Clock(SystemClock):
    """A clock whose minutes the test turns."""

    minute = 100

    def monotonic_s(self) -> float:
        return self.minute * 60 + 20.0


def test_a_vehicle_that_reports_too_much_is_asked_to_wait_and_no_other(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, IMAGE, gateway="native")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, OTHER, OTHER_TOKEN, "native")
    clock = Clock()
    with (
        serving(pg_url, blobs, clock=clock, reports_per_min_max=3) as origin,
        httpx.Client(timeout=60) as client,
    ):

        def send(name: str, *, vin: str = VIN, count: int = 1) -> int:
            url = f"{origin}/uptane/v1/vehicles/{vin}/reports"
            reports = [report(f"{name}{number}", action) for number in range(count)]
            answer = client.post(
                url, json={"reports": reports}, headers=NATIVE if vin == VIN else OTHER_NATIVE
            )
            if answer.status_code == 429:
                assert answer.headers["retry-after"] == "40"
                assert answer.json()["error"]["code"] == "too_many"
            return answer.status_code

        assert [send(name) for name in "abcd"] == [200, 200, 200, 429]
        manifest = f"{origin}/uptane/v1/vehicles/{VIN}/manifest"
        assert client.put(manifest, content=b"{}", headers=NATIVE).status_code == 429
        assert send("e", vin=OTHER) == 200
        assert client.get(f"{origin}/uptane/v1/vehicles/{VIN}", headers=NATIVE).status_code == 200
        clock.minute += 1
        assert [send("f", count=5), send("g")] == [200, 429]  # what has gathered may be told at once
        clock.minute += 1
        assert send("d") == 200
    stored = {row["dedupe_key"] for row in rows(pg_url, "SELECT dedupe_key FROM device_report")}
    assert stored == {"a0", "b0", "c0", "e0", "f0", "f1", "f2", "f3", "f4", "d0"}


def test_a_ddi_device_that_reports_too_much_is_asked_to_wait(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, IMAGE)
    body = {"status": {"execution": "proceeding"}}
    limited = serving(pg_url, blobs, clock=Clock(), reports_per_min_max=2)
    with limited as origin, httpx.Client(headers=DDI, timeout=60) as client:
        base = f"{origin}/DEFAULT/controller/v1/{VIN}"
        feedback = f"{base}/deploymentBase/{action}/feedback"
        assert client.put(f"{base}/configData", json={"data": {"hw": "1"}}).status_code == 200
        assert client.post(feedback, json=body).status_code == 200
        assert client.post(feedback, json=body).status_code == 429
        assert client.put(f"{base}/configData", json={"data": {"hw": "2"}}).status_code == 429
        assert client.get(base).status_code == 200
    assert len(rows(pg_url, "SELECT * FROM device_report")) == 2


def test_a_body_that_never_ends_is_given_up(
    pg_url: str, blobs: FolderBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.http.device.wire.BODY_S_MAX", 0.3)
    fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin:
        host, port = origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=30) as line:
            line.sendall(
                f"POST /uptane/v1/vehicles/{VIN}/reports HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
                f"Authorization: Bearer {TOKEN}\r\n\r\n{{".encode()
            )
            assert b" 400 " in line.recv(200)


def test_a_database_that_is_away_is_no_server_fault(pg_url: str, blobs: FolderBlobs) -> None:
    fill(pg_url, blobs, IMAGE, gateway="native")
    with serving(pg_url, blobs) as origin, httpx.Client(timeout=30) as client:
        with psycopg.connect(pg_url, autocommit=True) as conn:
            conn.execute("ALTER TABLE repository_metadata RENAME TO away")
        answer = eventually(lambda: client.get(f"{origin}/uptane/v1/image/timestamp.json"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        assert "repository_metadata" not in answer.text
