"""Measured station times over the management API, and a twin that they prove wrong releases nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store, store_plant
from ringroad.build.plan_line import ScheduleDocument
from ringroad.build.station_times import StationTime
from ringroad.build.store_improve import current_generations
from ringroad.build.store_times import KEPT_DAYS, line_drift, take_times
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.facts import FactKind
from ringroad.loop.planning import improve_changed
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from support.console_server import add_account, serving

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]  # the first search on a machine compiles

EXAMPLE = (Path(__file__).parents[2] / "examples" / "road" / "programme.toml").read_text()
CLOCK, IDS = SystemClock(), SystemIds()
TIMES = "/api/v1/programmes/roadster/station-times"
STATIONS = {"marriage": 60, "cockpit": 60, "roof": 55, "wheels": 50, "flash_and_test": 58}


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        yield opened


@pytest.fixture
def orders(conn: Connection) -> list[str]:
    """Of 64 orders the first 40 were on the line; the schedule has those with a sunroof in a row."""
    with transaction(conn):
        store.import_programme(conn, IDS, source=EXAMPLE, actor="tester", now=CLOCK.now())
        ids = [
            store_plant.add_order(
                conn, IDS, programme_id="roadster", variant="city", actor="tester", now=CLOCK.now(),
                options=["sunroof"] if number >= 52 else [],
            ).id
            for number in range(64)
        ]  # fmt: skip
        for order_id in ids[:40]:
            store_plant.start_order(conn, IDS, order_id=order_id, actor="tester", now=CLOCK.now())
        document = ScheduleDocument(
            sequence=tuple(ids[:40] + ids[52:] + ids[40:52]), held=(), violations=11, late_orders=0,
            baseline_release_id=None, frozen=40,
        )  # fmt: skip
        store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=0, cause="new_orders", document=document,
            replan_latency_us=1, actor="tester", now=CLOCK.now(),
        )  # fmt: skip
    return ids


def measured(ids: list[str], *, slow: dict[str, float] | None = None) -> list[StationTime]:
    now = CLOCK.now()
    return [
        StationTime(
            id=f"{order_id}:{station}", order_id=order_id, station=station, finished_at=now,
            worked_ms=round(10 * cycle_s * (slow or {}).get(station, 1.0) * (95 + (7 * number) % 11)),
        )
        for number, order_id in enumerate(ids)
        for station, cycle_s in STATIONS.items()
    ]  # fmt: skip


def take(conn: Connection, times: list[StationTime], *, now: datetime | None = None) -> Any:
    with transaction(conn):
        return take_times(conn, programme_id="roadster", delivered=times, now=now or CLOCK.now())


def test_a_twin_that_agrees_with_the_line_may_release_a_schedule(conn: Connection, orders: list[str]) -> None:
    assert len(take(conn, measured(orders[:40])).taken) == 200
    assert {each.state for each in line_drift(conn, "roadster")} == {"agrees"}
    (made,) = improve_changed(conn, IDS, CLOCK, {})
    assert made.cause == "improved"


def test_a_twin_out_of_calibration_releases_nothing_until_it_is_recalibrated(
    conn: Connection, orders: list[str]
) -> None:
    take(conn, measured(orders[:40], slow={"roof": 1.2}))
    assert [each.name for each in line_drift(conn, "roadster") if each.state == "differs"] == ["roof"]
    before = store_plant.current_schedule(conn, "roadster")
    assert improve_changed(conn, IDS, CLOCK, {}) == []
    assert store_plant.current_schedule(conn, "roadster") == before
    kept = latest_fact(conn, kind=FactKind.SCHEDULE_KEPT, subject="roadster")
    assert kept
    assert kept.body["reason"] == "the twin is out of calibration: roof takes 66.0 s, the programme says 55 s"
    assert kept.body["better_permille"] >= 900  # it would have been released
    assert current_generations(conn) == {}
    source = EXAMPLE.replace('name = "roof"\ncycle_s = 55', 'name = "roof"\ncycle_s = 66')
    with transaction(conn):
        generation = store.get_programme(conn, "roadster").generation
        store.import_programme(
            conn, IDS, source=source, actor="tester", now=CLOCK.now(), generation=generation
        )
        assert before
        store_plant.save_schedule(
            conn, IDS, programme_id="roadster", generation=1, cause="new_orders", document=before.document,
            replan_latency_us=1, actor="tester", now=CLOCK.now(),
        )  # fmt: skip
    (made,) = improve_changed(conn, IDS, CLOCK, {})
    assert made.cause == "improved"


def test_a_time_is_kept_once_and_old_ones_are_forgotten(conn: Connection, orders: list[str]) -> None:
    times = measured(orders[:2])
    assert [len(take(conn, times).taken), take(conn, times).repeated] == [10, 10]
    conn.execute("UPDATE plant_order SET received_at = received_at - interval '1 year'")
    conn.execute("UPDATE station_time SET finished_at = finished_at - interval '91 days'")
    conn.commit()
    assert KEPT_DAYS < 91
    take(conn, measured(orders[2:3]))
    rows = conn.execute("SELECT DISTINCT order_id FROM station_time").fetchall()
    assert [row["order_id"] for row in rows] == [orders[2]]


@pytest.fixture
def client(pg_url: str, orders: list[str], tmp_path: Path) -> Iterator[httpx.Client]:
    assert orders
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'olga', Role.OPERATOR)}"}
    with (
        serving(pg_url, tmp_path) as origin,
        httpx.Client(base_url=origin, headers=headers, timeout=60) as opened,
    ):
        yield opened


def test_what_stations_say_is_taken_repeated_or_refused_by_name(
    client: httpx.Client, orders: list[str]
) -> None:
    now = datetime.now(UTC)
    good = {
        "id": "a", "order_id": orders[0], "station": "roof", "worked_s": 54.2, "finished_at": now.isoformat(),
    }  # fmt: skip
    bad = [
        good | {"id": "b", "finished_at": (now + timedelta(hours=1)).isoformat()},
        good | {"id": "c", "station": "paint"},
        good | {"id": "d", "order_id": orders[-1]},
        good
        | {"id": "e", "station": "wheels", "finished_at": (now - timedelta(milliseconds=10)).isoformat()},
        good | {"worked_s": 1},
    ]
    before = client.get("/api/v1/programmes/roadster/schedules").json()
    answer = client.post(TIMES, json={"times": [good, good, *bad]}).json()
    assert (answer["taken"], answer["repeated"]) == (1, 1)
    reasons = {each["id"]: each["reason"] for each in answer["refused"]}
    assert "in the future" in reasons["b"]
    assert "no station 'paint'" in reasons["c"]
    assert f"order {orders[-1]} is open" in reasons["d"]
    assert "cannot have left wheels before roof" in reasons["e"]
    assert "event a was" in reasons["a"]
    assert client.get("/api/v1/programmes/roadster/schedules").json() == before
    twin = client.get("/api/v1/programmes/roadster/twin").json()
    assert (twin["state"], twin["may_release"]) == ("unmeasured", True)
    assert [each["vehicles"] for each in twin["stations"]] == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "times",
    [
        [],
        [{"id": "a"}],
        [{"id": "a", "order_id": "o", "station": "roof", "worked_s": 60, "finished_at": 0}],
        [{"id": "a", "order_id": "o", "station": "roof", "worked_s": "60", "finished_at": "2026-11-25T00:00:00Z"}],
        [{"id": "a", "order_id": "o", "station": "roof", "worked_s": 0, "finished_at": "2026-11-25T00:00:00Z"}],
        [{"id": "a", "order_id": "o", "station": "roof", "worked_s": 1e9, "finished_at": "2026-11-25T00:00:00Z"}],
        [{"id": "a", "order_id": "o", "station": "roof", "worked_s": 60, "finished_at": "2026-11-25T00:00:00"}],
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused_as_a_whole(client: httpx.Client, times: list[dict[str, Any]]) -> None:
    assert client.post(TIMES, json={"times": times}).status_code == 400


def test_the_twin_of_no_programme_is_not_found(client: httpx.Client) -> None:
    assert client.get("/api/v1/programmes/nobody/twin").status_code == 404
    time = {"id": "a", "order_id": "o", "station": "s", "worked_s": 1, "finished_at": "2026-11-25T00:00:00Z"}
    assert client.post("/api/v1/programmes/nobody/station-times", json={"times": [time]}).status_code == 404
