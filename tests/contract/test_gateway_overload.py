"""A gateway that has more to do than it can, over a real server and a real database under a flood."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ringroad.http.auth import Role
from ringroad.http.device.overload import LoadPolicy
from support import console_server
from support.console_server import add_account
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, rows, serving

pytestmark = pytest.mark.engines
DDI = {"Authorization": f"TargetToken {TOKEN}"}
FULL = LoadPolicy(lag_ms=60_000, reports_waiting_max=100, calm_s=0.2)
REFUSED = 10  # of 110 reports, when 100 may wait
FLOODED = LoadPolicy(lag_ms=1, looks=2, calm_s=0.2)
CANCELLED = "WRRDEM00000000002"
FLOOD_CONNECTIONS, FLOOD_S_MAX = 50, 250.0


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(headers=DDI, timeout=60, limits=httpx.Limits(max_connections=None)) as opened:
        yield opened


def base(origin: str, vin: str = VIN) -> str:
    return f"{origin}/DEFAULT/controller/v1/{vin}"


def turned_away(answer: httpx.Response) -> bool:
    if answer.status_code != 503:
        return False
    assert answer.json()["error"]["code"] == "overload"
    assert int(answer.headers["retry-after"]) >= 5
    return True


def test_polls_go_first_then_downloads_then_reports_and_what_was_acknowledged_is_kept(
    pg_url: str, tmp_path: Path, client: httpx.Client
) -> None:
    blobs = FolderBlobs(tmp_path)
    action = fill(pg_url, blobs, b"image")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, CANCELLED, TOKEN, "ddi")
        conn.execute(
            "INSERT INTO assignment (campaign_id, vin, wave, state) VALUES ('campaign_1', %s, 1, 'cancelling')",
            (CANCELLED,),
        )
    with serving(pg_url, blobs, load=FULL) as origin, ThreadPoolExecutor(150) as pool:
        mine = base(origin)

        def report(number: int) -> int:
            status = {"execution": "proceeding", "details": [f"step {number}"]}
            url = f"{mine}/deploymentBase/{action}/feedback"
            return client.post(url, json={"status": status}).status_code

        def download() -> httpx.Response:
            return client.get(f"{mine}/softwaremodules/pkg_1/artifacts/fw-2.swu")

        assert (client.get(base(origin)).status_code, download().content) == (200, b"image")
        eventually(lambda: rows(pg_url, "SELECT FROM device_report WHERE kind = 'fetched'"))  # nothing waits
        with psycopg.connect(pg_url) as lock:
            lock.execute("LOCK TABLE device_report IN EXCLUSIVE MODE")  # the database is busy
            sent = [pool.submit(report, number) for number in range(60)]
            assert eventually(lambda: turned_away(client.get(base(origin))))
            assert download().content == b"image"
            assert "cancelAction" in client.get(base(origin, CANCELLED)).json()["_links"]
            sent += [pool.submit(report, number) for number in range(60, 90)]
            assert eventually(lambda: turned_away(download()))
            sent += [pool.submit(report, number) for number in range(90, 110)]
            assert eventually(lambda: sum(each.done() for each in sent) == REFUSED)
            assert {each.result() for each in sent if each.done()} == {503}
            assert "cancelAction" in client.get(base(origin, CANCELLED)).json()["_links"]
        answers = [each.result(120) for each in sent]
        assert eventually(
            lambda: client.get(base(origin)).status_code == 200 and download().status_code == 200
        )
    stored = [
        row["step"]
        for row in rows(
            pg_url, "SELECT body -> 'details' ->> 0 AS step FROM device_report WHERE kind <> 'fetched'"
        )
    ]
    assert (answers.count(200), answers.count(503)) == (len(sent) - REFUSED, REFUSED)
    assert sorted(stored) == sorted(f"step {n}" for n, answer in enumerate(answers) if answer == 200)


@contextmanager
def flood(origin: str) -> Iterator[None]:
    """Ask as fast as it goes, over kept connections, until the block ends."""
    host, port = origin.removeprefix("http://").split(":")
    request = (
        f"GET /DEFAULT/controller/v1/{VIN} HTTP/1.1\r\nHost: x\r\nAuthorization: TargetToken {TOKEN}\r\n\r\n"
    ).encode()
    over = threading.Event()

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while not over.is_set():
            writer.write(request * 20)
            await reader.read(65_536)
        writer.close()

    async def ask_all() -> None:
        await asyncio.wait_for(asyncio.gather(*(ask() for _ in range(FLOOD_CONNECTIONS))), FLOOD_S_MAX)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(asyncio.run, ask_all())
        try:
            yield
        finally:
            over.set()
            asking.result(FLOOD_S_MAX)


def test_a_flood_of_polls_is_turned_away_and_reports_are_taken(
    pg_url: str, tmp_path: Path, client: httpx.Client
) -> None:
    blobs = FolderBlobs(tmp_path)
    action = fill(pg_url, blobs, b"image")
    with serving(pg_url, blobs, load=FLOODED) as origin:
        body = json.dumps({"status": {"execution": "proceeding"}})
        with flood(origin):
            assert eventually(lambda: turned_away(client.get(base(origin))), within_s=100)
            url = f"{origin}/DEFAULT/controller/v1/{VIN}/deploymentBase/{action}/feedback"
            assert client.post(url, content=body).status_code == 200
        assert eventually(lambda: client.get(base(origin)).status_code == 200, within_s=60)
    assert len(rows(pg_url, "SELECT * FROM device_report")) == 1


def test_health_and_console_say_what_is_turned_away(
    pg_url: str, tmp_path: Path, client: httpx.Client
) -> None:
    action = fill(pg_url, FolderBlobs(tmp_path), b"image", gateway="native")
    operator = {"Authorization": f"Bearer {add_account(pg_url, 'ann', Role.VIEWER)}"}
    vehicle = {"Authorization": f"Bearer {TOKEN}"}

    def reports(message: int) -> dict[str, Any]:
        given = {"action_id": action, "state": "DOWNLOADING", "at": "2026-11-23T00:00:00Z"}
        return {"reports": [{**given, "id": f"{message}-{number}"} for number in range(1_000)]}

    with (
        console_server.serving(pg_url, tmp_path, reports_per_min_max=100_000, with_gateways=True) as origin,
        ThreadPoolExecutor(30) as pool,
    ):
        url = f"{origin}/uptane/v1/vehicles/{VIN}"
        assert eventually(lambda: client.get(url, headers=vehicle).status_code == 200)
        calm = client.get(f"{origin}/health").json()
        assert (calm["status"], calm["gateways"]) == ("ok", "ok")
        with psycopg.connect(pg_url) as lock:
            lock.execute("LOCK TABLE device_report IN EXCLUSIVE MODE")
            sent = [
                pool.submit(client.post, f"{url}/reports", json=reports(message), headers=vehicle)
                for message in range(27)  # of the 50,000 that may wait
            ]
            assert eventually(lambda: client.get(f"{origin}/health").json()["status"] == "overloaded")
            told = client.get(f"{origin}/health")
            assert (told.status_code, told.json()["gateways"]) == (200, "turns polls away")
            for page in ("/", "/fleet"):
                assert "it turns polls away" in client.get(f"{origin}{page}", headers=operator).text
        assert {each.result(120).status_code for each in sent} == {200}
    assert rows(pg_url, "SELECT count(*) FROM device_report")[0]["count"] == 27_000
