"""Days of a line that are over are counted once, and every sum stays that of the results themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from ringroad.build import birth
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import save_plant
from ringroad.build.quality import store_days, store_draw, store_gates
from ringroad.build.quality.results import CheckResult
from ringroad.build.quality.store import take_results
from ringroad.http.auth import Role
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.loop.quality import look_at_results
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.ledger import latest_fact
from support.births import END, PLANT, STATION, line_with_baseline, registration, started_order, who
from support.console_server import add_account, serving
from support.mes import CLOCK, IDS

pytestmark = pytest.mark.engines

CHECK = "leak"


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            line_with_baseline(opened)
        yield opened


def tell(
    conn: Connection, vehicle: str, *, days_ago: float, passed: bool = True, station: str = END, software: str = "1.0"
) -> None:  # fmt: skip
    at = CLOCK.now() - timedelta(days=days_ago)
    result = CheckResult(
        id=f"{vehicle}-{station}-{days_ago}", vehicle=vehicle, station=station, check=CHECK, passed=passed, at=at,
        variant="van", software=software, lots={"battery": "B-17"} if station == STATION else {},
    )  # fmt: skip
    with transaction(conn):
        done = take_results(conn, programme_id="wren", delivered=[result], **who())
    assert done.refused == ()


def sums(conn: Connection, *, days: int = 90) -> tuple[Any, Any, int]:
    given: dict[str, Any] = {"since": CLOCK.now() - timedelta(days=days), "now": CLOCK.now()}
    with transaction(conn):
        return (
            store_days.tallies_since(conn, "wren", **given), store_days.gates_since(conn, "wren", **given),
            store_days.vehicles_since(conn, "wren", **given),
        )  # fmt: skip


def counted(conn: Connection) -> int:
    return len(conn.execute("SELECT FROM quality_day").fetchall())


def count(conn: Connection) -> int:
    total = 0
    for _ in range(60):  # some of a year at once
        with transaction(conn):
            found = store_days.count_days(conn, "wren", now=CLOCK.now())
        if not found:
            return total
        total += found
    raise AssertionError("counting does not end")


def same_as_live(conn: Connection) -> None:
    """Compare sums of counted days with those of the results alone."""
    found = sums(conn)
    with transaction(conn):
        conn.execute("DELETE FROM quality_day")
    assert sums(conn) == found


def test_sums_are_the_same_whether_days_were_counted_or_not_and_vehicles_count_once(conn: Connection) -> None:
    for number in range(6):
        tell(conn, f"v{number}", days_ago=20 + number, station=STATION, passed=number != 2)
        tell(conn, f"v{number}", days_ago=9 + number, passed=number > 1)
    tell(conn, "today", days_ago=0)
    tell(conn, "old", days_ago=200)
    live = sums(conn)
    (station, end) = sorted(live[0], key=lambda each: each.station == END)
    assert (station.vehicles, station.failed, station.lots) == (6, 1, (("battery", "B-17"),))
    assert (end.vehicles, end.failed) == (7, 2)
    looked = live[1][END, "end of line"]
    assert (looked.inspected, looked.refused) == (7, 2)
    assert live[2] == 7, "one that was checked on two days is one vehicle"
    assert count(conn) == counted(conn) == 199, "all days since the first but the newest two"
    assert sums(conn) == live
    assert sums(conn, days=15)[2] == 1, "none of those that came before"
    assert count(conn) == 0
    same_as_live(conn)


def test_what_is_told_late_takes_its_days_back_until_they_are_counted_anew(conn: Connection) -> None:
    tell(conn, "v1", days_ago=9)
    tell(conn, "v2", days_ago=5)
    assert count(conn) > 0
    before = counted(conn)
    tell(conn, "v3", days_ago=5.001, passed=False)
    assert counted(conn) == before - 1
    tell(conn, "v1", days_ago=4, passed=False)
    assert sums(conn)[1][END, "end of line"] == store_days.Looked(inspected=3, refused=1)
    assert look_at_results(conn, IDS, CLOCK, {}) == [], "the worker counts"
    assert counted(conn) == before
    same_as_live(conn)
    with transaction(conn), pytest.raises(NotFound):
        store_gates.judge_gates(conn, "none", now=CLOCK.now())


def test_a_vehicle_that_a_gate_was_to_let_pass_counts_no_more_though_its_day_was_counted(
    conn: Connection,
) -> None:
    with transaction(conn):
        plant = PLANT.replace('"software"]', '"software"]\ninspect_permille = 0')
        save_plant(conn, IDS, plant=read_plant(plant), generation=1, **who())
        order = started_order(conn)
        conn.execute("UPDATE plant_order SET received_at = received_at - interval '20 days'")
    tell(conn, order, days_ago=7, station=STATION)
    tell(conn, order, days_ago=5)
    assert count(conn) == 6
    assert sums(conn)[1][END, "end of line"].inspected == 1
    with transaction(conn):
        (chosen,) = store_draw.choose_for(
            conn, IDS, programme_id="wren", order_id=order, station=END, **who()
        )
        assert not chosen.inspect
    assert sums(conn)[1] == {}
    assert count(conn) == 1
    same_as_live(conn)


def test_vehicles_that_left_the_line_unchecked_count_among_those_that_left(conn: Connection) -> None:
    five = CLOCK.now() - timedelta(days=5)
    with transaction(conn):
        plant = PLANT.replace('"software"]', '"software"]\ninspect_permille = 0')
        save_plant(conn, IDS, plant=read_plant(plant), generation=1, **who())
        orders = [started_order(conn) for _ in range(3)]
        for number, order in enumerate(orders):
            given = registration(conn, f"WRRDEM121TA{number:06d}", order_id=order) | {"now": five}
            birth.register_vehicle(conn, IDS, **given)
        conn.execute("UPDATE plant_order SET received_at = received_at - interval '20 days'")
        birth.register_vehicle(conn, IDS, **registration(conn, "WRRDEM121TA000009"))  # built elsewhere
    tell(conn, "other", days_ago=9)
    assert sums(conn)[2] == 1 + len(orders)
    assert count(conn) == 8
    assert sums(conn)[2] == 1 + len(orders)
    same_as_live(conn)
    assert count(conn) == 8
    with transaction(conn):
        (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now())
    assert gate.record.left == 1 + len(orders)
    tell(conn, orders[0], days_ago=8, station=STATION)  # of its station, late: it is one vehicle still
    assert sums(conn)[2] == 1 + len(orders)
    same_as_live(conn)


def test_a_result_takes_back_only_the_days_of_which_it_changes_something(conn: Connection) -> None:
    def taken_back() -> list[int]:
        today = CLOCK.now().date()
        days = {row["day"] for row in conn.execute("SELECT day FROM quality_day").fetchall()}
        found = [ago for ago in range(3, 10) if today - timedelta(days=ago) not in days]
        same_as_live(conn)
        assert count(conn) > 0
        return found

    tell(conn, "v1", days_ago=9, station=STATION)
    tell(conn, "v1", days_ago=6)
    tell(conn, "v2", days_ago=6)
    assert count(conn) > 0
    tell(conn, "v1", days_ago=4)
    assert taken_back() == [4, 6], "not the day of another station"
    tell(conn, "v2", days_ago=8, station=STATION)
    assert taken_back() == [6, 8], "it came first on another day"


def test_a_day_of_too_many_kinds_of_vehicles_is_counted_and_gates_are_judged_without_them(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_days, "CELLS_MAX", 2)
    monkeypatch.setattr(store_days, "ROWS_MAX", 2)
    for number in range(4):
        tell(conn, f"v{number}", days_ago=9, station=STATION, software=f"1.{number}")
    tell(conn, "v9", days_ago=5)
    (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now())
    assert (gate.record.left, store_gates.ALIKE in gate.proposal.reasons) == (5, False), "no gate is there"
    for number in range(4):
        tell(conn, f"v{number}", days_ago=7, software=f"1.{number}")
    for _ in range(2):
        with pytest.raises(InvalidInput, match="kinds of vehicles"):
            sums(conn)
        (gate,) = store_gates.judge_gates(conn, "wren", now=CLOCK.now())
        assert (gate.record.left, gate.record.inspected) == (5, 5)
        assert gate.proposal.reasons[-1] == store_gates.ALIKE
        count(conn)
        assert counted(conn) == 8


@pytest.fixture
def counting_meanwhile(pg_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the worker count whenever somebody has asked which days were not counted, if it may then."""
    uncounted = store_days._uncounted
    with connect(pg_url) as worker:
        worker.execute("SET lock_timeout = '100ms'")

        def ask(conn: Connection, *given: Any, **named: Any) -> Any:
            found = uncounted(conn, *given, **named)
            if conn is not worker:
                with suppress(psycopg.errors.LockNotAvailable), worker.transaction():
                    store_days.count_days(worker, "wren", now=CLOCK.now())
            return found

        monkeypatch.setattr(store_days, "_uncounted", ask)
        yield


@pytest.mark.usefixtures("counting_meanwhile")
def test_a_day_that_the_worker_counts_while_sums_are_read_counts_once(
    pg_url: str, conn: Connection, tmp_path: Path
) -> None:
    for number in range(3):
        tell(conn, f"v{number}", days_ago=5 + number)
    headers = {"Authorization": f"Bearer {add_account(pg_url, 'vera', Role.VIEWER)}"}
    with serving(pg_url, tmp_path) as origin, httpx.Client(base_url=origin, headers=headers) as client:
        found = client.get("/api/v1/programmes/wren/yields").json()
        assert [each["vehicles"] for each in found["levels"] if each["kind"] == "station"] == [3]
        conn.execute("DELETE FROM quality_day")
        (gate,) = client.get("/api/v1/programmes/wren/gates").json()
        assert (gate["left"], gate["inspected"]) == (3, 3)
    conn.execute("DELETE FROM quality_day")
    with transaction(conn):
        store_gates.set_rate(
            conn, IDS, programme_id="wren", station=END, gate="end of line", inspect_permille=50, generation=1,
            reason="as proposed", **who(),
        )  # fmt: skip
    fact = latest_fact(conn, kind=FactKind.PLANT_LEARNED, subject="wren-mother")
    assert fact is not None
    assert (fact.body["left"], fact.body["inspected"]) == (3, 3)
