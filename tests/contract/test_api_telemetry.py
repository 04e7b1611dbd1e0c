"""What the lake says, over the management API."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock
from ringroad.storage.lake import Lake, Rows, SampleRow, to_us
from support.console_server import add_account, serving

pytestmark = pytest.mark.engines
VIN = "WRRZZZ90000000001"


def test_a_vehicles_samples_come_newest_first_and_by_path(pg_url: str, tmp_path: Path) -> None:
    token = add_account(pg_url, "vera", Role.VIEWER)
    now_us = to_us(SystemClock().now())
    samples = tuple(
        SampleRow(
            vin=VIN, batch=1, index=number, programme="meridian", variant="city", at_us=now_us - number * 1_000_000,
            path="Vehicle.Speed" if number % 2 else "Vehicle.Powertrain.Range", kind="float", number=float(number),
            text=None, clock="ok", received_us=now_us, seq=1,
        )
        for number in range(4)
    )  # fmt: skip
    Lake(tmp_path / "lake").write(Rows(samples=samples, faults=(), exposure=()), first_seq=1, last_seq=1)
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, timeout=30) as client:
        headers = {"Authorization": f"Bearer {token}"}
        everything = client.get(f"/api/v1/vehicles/{VIN}/telemetry", headers=headers).json()
        speed = client.get(
            f"/api/v1/vehicles/{VIN}/telemetry", params={"path": "Vehicle.Speed"}, headers=headers
        ).json()
        other = client.get("/api/v1/vehicles/WRRZZZ90000000002/telemetry", headers=headers).json()
    assert [row["number"] for row in everything] == [0.0, 1.0, 2.0, 3.0]
    assert [row["number"] for row in speed] == [1.0, 3.0]
    assert other == []
