"""When vehicles are told to poll again, over both gateways and the real read model."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from ringroad.kernel.clock import SystemClock
from support.gateways import TOKEN, VIN, FolderBlobs, add_vehicle, eventually, fill, serving

pytestmark = pytest.mark.engines
IDLE, NATIVE = "WRRDEM00000000002", "WRRDEM00000000003"


def ddi_sleep_s(origin: str, vin: str) -> int:
    url = f"{origin}/DEFAULT/controller/v1/{vin}"
    text = httpx.get(url, headers={"Authorization": f"TargetToken {TOKEN}"}, timeout=60).json()["config"][
        "polling"
    ]["sleep"]
    hours, minutes, seconds = map(int, text.split(":"))
    return hours * 3_600 + minutes * 60 + seconds


def test_a_vehicle_polls_sooner_the_nearer_its_update_is(pg_url: str, tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path)
    fill(pg_url, blobs, b"image")
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, IDLE, TOKEN, "ddi")
        with serving(pg_url, blobs, poll_s=600) as origin:
            assert ddi_sleep_s(origin, VIN) == 1
            assert 300 <= ddi_sleep_s(origin, IDLE) < 900
            insert = "INSERT INTO assignment (campaign_id, vin, wave, released_at) VALUES ('campaign_1', %s, 1, {})"
            conn.execute(insert.format("NULL"), (IDLE,))
            assert 300 <= ddi_sleep_s(origin, IDLE) < 900  # its wave has not begun
            conn.execute("UPDATE assignment SET released_at = now() WHERE vin = %s", (IDLE,))
            assert eventually(lambda: 15 <= ddi_sleep_s(origin, IDLE) < 45)
            conn.execute("UPDATE assignment SET state = 'cancelled' WHERE vin = %s", (IDLE,))
            assert eventually(lambda: 300 <= ddi_sleep_s(origin, IDLE) < 900)
        conn.execute("UPDATE assignment SET state = 'pending' WHERE vin = %s", (IDLE,))
        with serving(pg_url, blobs, poll_s=600) as origin:  # a start reads it too
            assert 15 <= ddi_sleep_s(origin, IDLE) < 45
        conn.execute("UPDATE campaign SET state = 'paused'")
        with serving(pg_url, blobs, poll_s=600) as origin:
            assert 300 <= ddi_sleep_s(origin, IDLE) < 900  # who knows for how long


def test_a_native_vehicle_is_told_another_interval_though_nothing_else_changed(
    pg_url: str, tmp_path: Path
) -> None:
    blobs = FolderBlobs(tmp_path)
    fill(pg_url, blobs, b"image")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with psycopg.connect(pg_url, autocommit=True) as conn:
        add_vehicle(conn, NATIVE, TOKEN, "native")
    with serving(pg_url, blobs, poll_s=86_400) as origin:
        url = f"{origin}/uptane/v1/vehicles/{NATIVE}"
        first = httpx.get(url, headers=headers, timeout=60)
        assert 43_200 <= first.json()["poll_s"] < 3 * 43_200

        def again(etag: str) -> httpx.Response:
            return httpx.get(url, headers={**headers, "If-None-Match": etag}, timeout=60)

        assert again(first.headers["etag"]).status_code == 304
        stale = '"idle-60"'  # what a server told that was set otherwise
        told = again(stale).json()
        assert told == {**first.json(), "poll_s": told["poll_s"]}
        for foreign in ('"idle"', '"idle-"', '"idle-999999"', '"update-1-60"', "*", "", 'W/"idle-60"'):
            assert again(foreign).status_code == 200


@pytest.mark.parametrize("gateway", ["ddi", "native"])
def test_a_vehicle_that_waits_for_its_window_is_told_to_come_soon_after_it_opens(
    pg_url: str, tmp_path: Path, gateway: str
) -> None:
    blobs = FolderBlobs(tmp_path)
    fill(pg_url, blobs, b"image", gateway=gateway)
    opens = (SystemClock().now() + timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    window = {"hours": [f"{opens.hour:02}:00-{(opens.hour + 1) % 24:02}:00"], "quiet": [], "time_zone": "UTC"}
    with psycopg.connect(pg_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO campaign_plan (id, campaign_id, generation, document, findings, made_by, made_at)"
            " VALUES ('plan_1', 'campaign_1', 1, %s, '[]', 'test', now())",
            (Jsonb({"request": {"window": window}}),),
        )
        conn.execute("UPDATE campaign SET plan_id = 'plan_1'")
    with serving(pg_url, blobs, poll_s=86_400) as origin:  # without a window: half a day at least
        if gateway == "ddi":
            wait_s = ddi_sleep_s(origin, VIN)
        else:
            url = f"{origin}/uptane/v1/vehicles/{VIN}"
            told = httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).json()
            assert told["kind"] == "none"
            wait_s = told["poll_s"]
        after_s = (SystemClock().now() + timedelta(seconds=wait_s) - opens).total_seconds()
    assert -1 <= after_s <= 30 + 60  # the spread, and as long as a loaded machine took to answer
