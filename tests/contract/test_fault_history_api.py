"""Fault codes over a vehicle's life and over a programme's build weeks, from the lake and the vehicle table."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from ringroad.http import accounts_store
from ringroad.http.auth import API_TOKEN_S, Role
from ringroad.kernel.clock import SystemClock, SystemIds, new_secret
from ringroad.storage.db import connect, transaction
from ringroad.storage.lake import FaultRow, Lake, Rows, from_us, to_us
from support.console_server import serving

pytestmark = pytest.mark.engines
HOUR_US = 3_600 * 1_000_000
CODE = "C0040-64"


def fault(number: int, at_us: int, status: int, version: str, *, index: int = 0, km: float = 0) -> FaultRow:
    return FaultRow(
        vin=f"RRHIST{number:011d}", batch=index + 1, index=0, programme="p", variant="v", at_us=at_us, ecu="brake", code=CODE,
        status=status, software_version=version,
        snapshot=msgspec.json.encode({"Vehicle.TraveledDistance": km, "Vehicle.Speed": 42}).decode(), clock="ok",
        received_us=at_us, seq=1,
    )  # fmt: skip


def on_record(pg_url: str) -> dict[str, str]:
    """Put six vehicles on record and return a viewer's headers."""
    now = SystemClock().now()
    with connect(pg_url) as conn:
        conn.execute("INSERT INTO programme VALUES ('p', 'd', '', '{}', 1, now())")
        for number in range(6):
            conn.execute(
                "INSERT INTO vehicle (vin, programme_id, variant, gateway, token_sha256, primary_serial, born_at)"
                " VALUES (%s, 'p', 'v', 'native', %s, 's', %s)",
                (
                    f"RRHIST{number:011d}", number.to_bytes(32, "big"),
                    f"2026-11-{9 if number < 4 else 16:02d}T00:00:00Z",
                ),
            )  # fmt: skip
        for number, lot in ((0, "P-7"), (1, "P-7"), (2, "P-7"), (4, "P-8")):
            conn.execute(
                "INSERT INTO birth_trait (programme_id, kind, thing, value, vin) VALUES ('p', 'lot', 'pump', %s, %s)",
                (lot, f"RRHIST{number:011d}"),
            )
        with transaction(conn):
            accounts_store.ensure_account(
                conn, SystemIds(), name="vera", role=Role.VIEWER, actor="admin", now=now
            )
            token = accounts_store.issue_token(
                conn, name="vera", kind="api", now=now, life_s=API_TOKEN_S, secret=new_secret
            )
    return {"Authorization": f"Bearer {token}"}


def test_faults_are_told_over_a_vehicles_life_and_by_software_and_build_week(
    pg_url: str, tmp_path: Path
) -> None:
    headers, now_us = on_record(pg_url), to_us(SystemClock().now())
    faults = (
        fault(0, now_us - 9 * HOUR_US, 0x2F, "1.0", index=0, km=100),
        fault(0, now_us - 8 * HOUR_US, 0x00, "1.1", index=1, km=150),
        fault(0, now_us - 7 * HOUR_US, 0x2F, "1.1", index=2, km=250),
        fault(1, now_us - 6 * HOUR_US, 0x2F, "1.1"),
        fault(4, now_us - 5 * HOUR_US, 0x2F, "1.1"),
        fault(9, now_us - 5 * HOUR_US, 0x2F, "1.1"),  # of a vehicle that is not on record
    )
    Lake(tmp_path / "lake").write(Rows(samples=(), faults=faults, exposure=()), first_seq=1, last_seq=1)
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers=headers, timeout=60) as client,
    ):
        [line] = client.get("/vehicles/RRHIST00000000000/fault-history").json()
        none = client.get("/vehicles/RRHIST00000000005/fault-history").json()
        unknown = client.get("/vehicles/RRHIST00000000009/fault-history").status_code
        lots = client.get("/programmes/p/fault-lots", params={"code": CODE}).json()
        parts = client.get("/programmes/p/fault-lots", params={"code": CODE, "by": "part"}).json()
        shown = client.get(f"{origin}/fleet/RRHIST00000000000/fault-lots/{CODE}").text
        strange = client.get(f"{origin}/fleet/RRHIST00000000000/fault-lots/hum").status_code
        other = client.get("/programmes/p/fault-lots", params={"code": "P0000-00", "by": "part"}).json()
        wrong = client.get("/programmes/p/fault-lots", params={"code": "hum"}).status_code
    assert (line["occurrences"], line["active"], line["software_versions"]) == (2, True, ["1.0", "1.1"])
    assert (line["odometer_first_km"], line["odometer_last_km"], line["frame"]["Vehicle.Speed"]) == (
        100,
        250,
        42,
    )
    assert (none, unknown, other, wrong) == ([], 404, [], 400)
    assert [
        (
            row["software_version"],
            row["lot"],
            row["vehicles_with_fault"],
            row["vehicles_born"],
            row["permille"],
        )
        for row in lots
    ] == [("1.0", "2026-W46", 1, 4, 250), ("1.1", "2026-W46", 2, 4, 500), ("1.1", "2026-W47", 1, 2, 500)]
    assert [
        tuple(row[key] for key in ("software_version", "part", "lot", "vehicles_with_fault", "vehicles_born", "permille"))
        for row in parts
    ] == [("1.0", "pump", "P-7", 1, 3, 333), ("1.1", "pump", "P-7", 2, 3, 666), ("1.1", "pump", "P-8", 1, 1, 1000)]  # fmt: skip
    assert all(told in shown for told in ("2026-W46", "pump P-8", "1000"))
    assert strange == 404
    assert line["counted_from"] is None
    assert not any(row["at_least"] for row in lots)


def test_what_is_so_today_is_told_however_often_a_fault_flickered_and_that_older_changes_are_not_counted(
    pg_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringroad.http.faults.CHANGES_MAX", 4)
    monkeypatch.setattr("ringroad.http.faults.PAIRS_MAX", 2)
    headers, now_us = on_record(pg_url), to_us(SystemClock().now())
    flicker = [
        fault(0, now_us - (20 - hour) * HOUR_US, 0x00 if hour % 2 else 0x2F, "1.0", index=hour)
        for hour in range(8)
    ]
    today = fault(0, now_us - HOUR_US, 0x2F, "1.1", index=9, km=900)
    others = [fault(number, now_us - HOUR_US, 0x2F, "1.1") for number in (1, 4)]
    Lake(tmp_path / "lake").write(
        Rows(samples=(), faults=(*flicker, today, *others), exposure=()), first_seq=1, last_seq=1
    )
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=f"{origin}/api/v1", headers=headers, timeout=60) as client,
    ):
        [line] = client.get("/vehicles/RRHIST00000000000/fault-history").json()
        lots = client.get("/programmes/p/fault-lots", params={"code": CODE}).json()
        part = client.get(f"{origin}/fleet/RRHIST00000000000/fault-history").text
    assert (line["active"], line["software_versions"], line["odometer_last_km"]) == (
        True,
        ["1.0", "1.1"],
        900,
    )
    assert msgspec.convert(line["counted_from"], datetime) == from_us(flicker[5].at_us)
    assert "Only the newest changes are counted" in part
    assert lots
    assert all(row["at_least"] for row in lots)
