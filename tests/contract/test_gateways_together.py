"""Several gateways over one database, and what a gateway must not miss while others write to it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving

pytestmark = pytest.mark.engines
DDI = {"Authorization": f"TargetToken {TOKEN}"}
OTHER = "WRRDEM00000000002"
NATIVE = {"Authorization": f"Bearer {TOKEN}"}
CLOSED = {"status": {"execution": "closed", "result": {"finished": "success"}}}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path)


def links(origin: str) -> Any:
    return httpx.get(f"{origin}/DEFAULT/controller/v1/{VIN}", headers=DDI, timeout=60).json()["_links"]


def test_a_long_transaction_is_seen_though_many_later_changes_were_committed_before_it(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, b"image")
    add = "INSERT INTO assignment (campaign_id, vin, wave, state) VALUES ('campaign_1', %s, 1, 'offered')"
    with psycopg.connect(pg_url, autocommit=True) as others, psycopg.connect(pg_url) as long:
        with serving(pg_url, blobs) as origin:
            assert "deploymentBase" in links(origin)
            long.execute("UPDATE assignment SET state = 'cancelled' WHERE action_id = %s", (action,))
            others.execute("SELECT nextval('gateway_change') FROM generate_series(1, 10000)")
            add_vehicle(others, OTHER, TOKEN, "ddi")
            others.execute(add, (OTHER,))
            other = f"{origin}/DEFAULT/controller/v1/{OTHER}"
            assert eventually(lambda: "deploymentBase" in httpx.get(other, headers=DDI, timeout=60).text)
            assert "deploymentBase" in links(origin)  # as long as it is not committed
            long.commit()
            assert eventually(lambda: "deploymentBase" not in links(origin))


def test_a_gateway_looks_when_it_is_told_to_and_not_by_the_clock(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, b"image")
    with psycopg.connect(pg_url, autocommit=True) as conn, serving(pg_url, blobs) as origin:
        assert "deploymentBase" in links(origin)
        with conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")  # no trigger tells of this
            row = conn.execute(
                "UPDATE assignment SET state = 'cancelled', changed_seq = nextval('gateway_change')"
                " WHERE action_id = %s RETURNING changed_seq",
                (action,),
            ).fetchone()
            assert row is not None
            conn.execute("SET LOCAL session_replication_role = origin")
            add_vehicle(conn, OTHER, TOKEN, "ddi")
        other = f"{origin}/DEFAULT/controller/v1/{OTHER}"
        assert eventually(lambda: httpx.get(other, headers=DDI, timeout=60).status_code == 200)
        assert "deploymentBase" in links(origin)  # it was told of what came after
        conn.execute("SELECT pg_notify('ringroad_gateway', %s)", (str(row[0]),))
        assert eventually(lambda: "deploymentBase" not in links(origin))


def test_what_a_vehicle_ended_at_one_gateway_is_offered_by_no_other(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, b"image")
    with serving(pg_url, blobs) as one, serving(pg_url, blobs) as other:
        assert "deploymentBase" in links(other)
        feedback = f"/DEFAULT/controller/v1/{VIN}/deploymentBase/{action}/feedback"
        assert httpx.post(one + feedback, json=CLOSED, headers=DDI, timeout=60).status_code == 200
        assert eventually(lambda: "deploymentBase" not in links(other))  # nobody has folded the report yet
        assert httpx.post(other + feedback, json=CLOSED, headers=DDI, timeout=60).status_code == 410
    assert len(rows(pg_url, "SELECT * FROM device_report")) == 1


def test_what_a_native_vehicle_ended_at_one_gateway_is_offered_by_no_other(
    pg_url: str, blobs: FolderBlobs
) -> None:
    action = fill(pg_url, blobs, b"image", gateway="native")
    ends = {"reports": [{"id": "r", "action_id": action, "state": "SUCCEEDED", "at": "2026-11-23T00:00:00Z"}]}
    path = f"/uptane/v1/vehicles/{VIN}"
    with serving(pg_url, blobs) as one, serving(pg_url, blobs) as other:
        assert httpx.get(other + path, headers=NATIVE, timeout=60).json()["kind"] == "update"
        assert httpx.post(f"{one}{path}/reports", json=ends, headers=NATIVE, timeout=60).status_code == 200
        assert eventually(
            lambda: httpx.get(other + path, headers=NATIVE, timeout=60).json()["kind"] == "none"
        )


def test_attributes_told_to_one_gateway_are_asked_for_by_no_other(pg_url: str, blobs: FolderBlobs) -> None:
    fill(pg_url, blobs, b"image")
    with serving(pg_url, blobs) as one, serving(pg_url, blobs) as other:
        assert "configData" in links(other)
        url = f"{one}/DEFAULT/controller/v1/{VIN}/configData"
        assert httpx.put(url, json={"data": {"hw": "1"}}, headers=DDI).status_code == 200
        assert eventually(lambda: "configData" not in links(other))


def test_reports_that_reach_two_gateways_at_once_are_stored_once(pg_url: str, blobs: FolderBlobs) -> None:
    action = fill(pg_url, blobs, b"image", gateway="native")
    with serving(pg_url, blobs) as one, serving(pg_url, blobs) as other, ThreadPoolExecutor(16) as pool:

        def send(number: int) -> int:
            origin = (one, other)[number % 2]
            report = {
                "id": f"r{number // 4}", "action_id": action, "state": "DOWNLOADING", "at": "2026-11-23T00:00:00Z"
            }  # fmt: skip
            url = f"{origin}/uptane/v1/vehicles/{VIN}/reports"
            return httpx.post(url, json={"reports": [report, report]}, headers=NATIVE, timeout=60).status_code

        assert set(pool.map(send, range(400))) == {200}
    stored = [row["dedupe_key"] for row in rows(pg_url, "SELECT dedupe_key FROM device_report")]
    assert sorted(stored) == sorted(f"r{number}" for number in range(100))
