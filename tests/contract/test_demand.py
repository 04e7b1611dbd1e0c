"""Demand over the API and the worker: tables are taken whole, forecasts are graded, signals move them, shifts reach the line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.build import store, store_plant
from ringroad.http.auth import Role
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import Unavailable
from ringroad.kernel.facts import FactKind
from ringroad.loop.demand import Made, forecast_asked
from ringroad.loop.usage import tell_usage
from ringroad.signal.demand.panel import Key
from ringroad.signal.demand.read import SignalRow
from ringroad.signal.demand.store import take_usage
from ringroad.signal.demand.store_runs import fail_run, load_work, next_run
from ringroad.storage.db import Connection, connect, transaction
from ringroad.storage.lake import Lake, Rows, SampleRow, to_us
from ringroad.storage.ledger import latest_fact
from support.console_server import PASSWORD, add_account, serving

pytestmark = [pytest.mark.engines, pytest.mark.timeout(400)]

ROAD = Path(__file__).parents[2] / "examples" / "road"
CLOCK, IDS = SystemClock(), SystemIds()
DEMAND = "/api/v1/programmes/roadster/demand"
BOOK = {"plants": ["north", "south"], "regions": ["EU", "US"], "horizon": 4}
HEAD = "month,option,plant,region,model,units"
SIGNAL_HEAD = "id,kind,month,option,plant,region,model,value"
WHOLE: dict[str, str] = {"plant": "*", "region": "*", "model": "*"}


@pytest.fixture
def conn(pg_url: str) -> Iterator[Connection]:
    with connect(pg_url) as opened:
        with transaction(opened):
            source = (ROAD / "programme.toml").read_text()
            store.import_programme(opened, IDS, source=source, actor="tester", now=CLOCK.now())
        yield opened


@pytest.fixture
def planner(pg_url: str, conn: Connection, tmp_path: Path) -> Iterator[httpx.Client]:
    token = add_account(pg_url, "olga", Role.OPERATOR)
    with serving(pg_url, tmp_path) as origin:
        with httpx.Client(
            base_url=origin, headers={"Authorization": f"Bearer {token}"}, timeout=60
        ) as client:
            assert client.put(DEMAND, json=BOOK).status_code == 200
            yield client


def take(client: httpx.Client, rows: list[str], **more: Any) -> httpx.Response:
    return client.post(f"{DEMAND}/months", json={"source": "t.csv", "text": "\n".join([HEAD, *rows])} | more)


def signal(client: httpx.Client, *rows: str) -> httpx.Response:
    return client.post(f"{DEMAND}/signals", json={"source": "s.csv", "text": "\n".join([SIGNAL_HEAD, *rows])})


def months(option: str = "tow_bar", *, level: int = 10, count: int = 30, plant: str = "north") -> list[str]:
    """Rows of a level that wobbles, until October 2026."""
    newest = 2026 * 12 + 9
    return [
        f"{at // 12}-{at % 12 + 1:02},{option},{plant},EU,city,{level + at % 3}"
        for at in range(newest - count + 1, newest + 1)
    ]


def make(client: httpx.Client, conn: Connection) -> Made:
    assert client.post(f"{DEMAND}/forecasts", json={}).status_code == 201
    made = forecast_asked(conn, IDS, CLOCK)
    assert made is not None
    return made


def series(client: httpx.Client, **which: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get(f"{DEMAND}/series", params={"limit": "1000", **which}).json()
    return rows


def test_the_example_is_forecast_coherently_graded_and_kept_with_its_facts(
    planner: httpx.Client, conn: Connection
) -> None:
    taken = take(planner, (ROAD / "demand.csv").read_text().splitlines()[1:])
    assert taken.json() == {"rows": 1344, "new": 1344, "repeated": 0, "restated": 0, "filled": 0}
    again = take(planner, (ROAD / "demand.csv").read_text().splitlines()[1:])
    assert again.json()["repeated"] == 1344
    assert make(planner, conn).error == ""

    run = planner.get(f"{DEMAND}/forecasts").json()[0]
    assert (run["state"], run["options_done"], run["first_month"], run["horizon"]) == (
        "done",
        4,
        "2026-11-01",
        4,
    )
    assert set(run["grades"]) == {"", "night_vision", "sunroof", "tow_bar"}
    whole_grades = run["grades"][""]["levels"]["all"]
    assert whole_grades["model"]["wql"] < whole_grades["floor"]["wql"]

    parts = [row for row in series(planner, option="sunroof") if not row["is_sum"]]
    whole = series(planner, option="sunroof", **WHOLE)[0]
    mean = sum(row["months"][0]["mean"] for row in parts)
    assert whole["months"][0]["mean"] == pytest.approx(mean, abs=0.02)
    drawn = [
        planner.get(
            f"{DEMAND}/samples", params={name: row[name] for name in ("option", "plant", "region", "model")}
        )
        for row in [whole, *parts]
    ]
    columns = [each.json()["samples"][2] for each in drawn]
    assert columns[0] == pytest.approx([sum(draw) for draw in zip(*columns[1:], strict=True)], rel=1e-4)

    for row in parts:
        told = row["told"]
        assert told["skilled"] == (min(told["skill"].values()) > 0)
        assert {each["name"] for each in told["candidates"]} >= {"last 12 months", "IMAPA"}
    fact = latest_fact(conn, kind=FactKind.DEMAND_FORECAST, subject="roadster")
    asked = latest_fact(conn, kind=FactKind.DEMAND_ASKED, subject="roadster")
    assert fact is not None
    assert asked is not None
    assert asked.id in fact.causes


def test_a_row_that_cannot_be_is_named_and_nothing_of_its_table_is_taken(planner: httpx.Client) -> None:
    good = "2026-07,tow_bar,north,EU,city,4"
    for bad, word in (
        ("2026-10,rocket,north,EU,city,4", "row 3: city has no option 'rocket'"),
        (
            "2026-10,tow_bar,north,EU,city,4",
            "tow_bar/north/EU/city has 2 of 4 months from 2026-07 to 2026-10",
        ),
    ):
        refused = take(planner, [good, bad])
        assert refused.status_code == 422
        assert word in refused.json()["error"]["message"]
    assert planner.get(f"{DEMAND}/months", params={"option": "tow_bar"}).json() == []
    assert signal(planner, "a,rumours,2026-10,tow_bar,*,*,*,1").status_code == 422


def test_what_is_known_otherwise_is_restated_only_when_asked_and_the_old_number_stays_in_the_ledger(
    planner: httpx.Client, conn: Connection
) -> None:
    assert take(planner, months(count=3)).status_code == 200
    changed = ["2026-10,tow_bar,north,EU,city,99"]
    refused = take(planner, changed)
    assert refused.status_code == 409
    assert "row 2: tow_bar/north/EU/city 2026-10 was 10 units, not 99" in refused.json()["error"]["message"]
    assert take(planner, changed, restate=True).json()["restated"] == 1
    fact = latest_fact(conn, kind=FactKind.DEMAND_IMPORTED, subject="roadster")
    assert fact is not None
    assert fact.body["restated"] == ["tow_bar/north/EU/city 2026-10 10 -> 99"]


def test_missing_months_are_filled_with_nothing_only_when_asked(planner: httpx.Client) -> None:
    gap = ["2026-07,tow_bar,north,EU,city,4", "2026-10,tow_bar,north,EU,city,4"]
    assert take(planner, gap).status_code == 422
    assert take(planner, gap, fill=True).json()["filled"] == 2
    kept = planner.get(f"{DEMAND}/months", params={"option": "tow_bar"}).json()
    assert [row["units"] for row in kept] == [4, 0, 0, 4]


def test_orders_of_a_month_to_come_move_it_are_told_with_their_source_and_reach_the_line_as_a_shift(
    planner: httpx.Client, conn: Connection
) -> None:
    with transaction(conn):
        order = store_plant.add_order(
            conn, IDS, programme_id="roadster", variant="city", actor="tester", now=CLOCK.now()
        )
        store_plant.replan(
            conn, IDS, CLOCK, programme_id="roadster", cause="new_orders", actor="tester", order_id=order.id,
            triggered_s=CLOCK.monotonic_s(),
        )  # fmt: skip
    assert take(planner, months()).status_code == 200
    assert make(planner, conn).shifts == 0
    assert make(planner, conn).shifts == 0, "the same again is no shift"
    before = series(planner, option="tow_bar")[0]["months"]

    row = "o1,orders,2026-11,tow_bar,*,EU,*,90"
    assert signal(planner, row).json()["new"] == 1
    assert signal(planner, row).json() == {"rows": 1, "new": 0, "repeated": 1, "restated": 0, "filled": 0}
    assert signal(planner, "o1,orders,2026-11,tow_bar,*,EU,*,91").status_code == 409
    assert make(planner, conn).shifts == 1

    after = series(planner, option="tow_bar")[0]["months"]
    assert after[0]["q05"] >= 90 > before[0]["q95"]
    run = planner.get(f"{DEMAND}/forecasts").json()[0]
    assert run["signals"]["known"][0]["source"] == "s.csv"
    signalled = latest_fact(conn, kind=FactKind.DEMAND_SIGNALLED, subject="roadster")
    forecast = latest_fact(conn, kind=FactKind.DEMAND_FORECAST, subject="roadster")
    shifted = latest_fact(conn, kind=FactKind.DEMAND_SHIFTED, subject="roadster")
    replanned = latest_fact(conn, kind=FactKind.SCHEDULE_REPLANNED, subject="roadster")
    assert signalled is not None
    assert forecast is not None
    assert shifted is not None
    assert replanned is not None
    assert signalled.id in forecast.causes
    assert shifted.causes == (forecast.id,)
    assert replanned.body["cause"] == "demand_shift"
    assert shifted.id in replanned.causes


def tell(
    root: Path, *, used: int, told: int, month: str, path: str = "Vehicle.Trailer.IsConnected", seq: int = 1
) -> Lake:  # fmt: skip
    """Let vehicles tell a lake in a month whether a trailer was on; some had one."""
    lake = Lake(root)
    at_us = to_us(datetime.fromisoformat(f"{month}-15T12:00:00+00:00"))
    rows = [
        SampleRow(
            vin=f"VIN{number}", batch=1, index=0, programme="roadster", variant="city", at_us=at_us,
            path=path, kind="bool", number=float(number < used), text=None, clock="ok",
            received_us=at_us, seq=seq,
        )
        for number in range(told)
    ]  # fmt: skip
    lake.write(Rows(samples=tuple(rows)), first_seq=seq, last_seq=seq)
    return lake


def test_what_vehicles_tell_of_their_use_becomes_a_signal_by_itself_once_and_asks_for_a_forecast(
    planner: httpx.Client, conn: Connection, tmp_path: Path
) -> None:
    ended = (CLOCK.now() - timedelta(days=2)).replace(day=1) - timedelta(days=1)
    month = f"{ended:%Y-%m}"
    lake = tell(tmp_path / "lake", used=6, told=24, month=month)
    seen: dict[str, Any] = {}
    assert tell_usage(conn, IDS, CLOCK, lake, seen) == 0, "nobody said which signal tells of an option"
    assert take(planner, months()).status_code == 200
    for usage, status in (
        ({"roof": "Vehicle.Trailer.IsConnected"}, 422),
        ({"tow_bar": "a trailer"}, 422),
        ({"tow_bar": "Vehicle.Trailer.IsConnected"}, 200),
    ):
        assert planner.put(DEMAND, json=BOOK | {"usage": usage}).status_code == status
    assert tell_usage(conn, IDS, CLOCK, lake, seen) == 1
    assert tell_usage(conn, IDS, CLOCK, lake, seen) == 0
    assert tell_usage(conn, IDS, CLOCK, lake, {}) == 0, "a worker that began anew"
    (told,) = conn.execute(
        "SELECT option, model, month, value, source FROM demand_signal WHERE kind = 'usage'"
    ).fetchall()
    assert dict(told) == {
        "option": "tow_bar", "model": "city", "month": ended.date().replace(day=1), "value": 0.25,
        "source": "the telemetry lake: Vehicle.Trailer.IsConnected",
    }  # fmt: skip
    assert forecast_asked(conn, IDS, CLOCK) is not None, "it was asked for by itself"
    run = planner.get(f"{DEMAND}/forecasts").json()[0]
    assert [each["source"] for each in run["signals"]["known"]] == [told["source"]]
    assert planner.post("/login", data={"name": "olga", "password": PASSWORD}).status_code == 303
    shown = planner.get("/demand").text
    assert "Use of tow_bar is told by <code>Vehicle.Trailer.IsConnected</code>" in shown
    assert f"usage from {told['source']}" in shown


def test_the_use_of_an_option_is_a_series_of_the_one_signal_that_tells_of_it_now(
    planner: httpx.Client, conn: Connection, tmp_path: Path
) -> None:
    ended = (CLOCK.now() - timedelta(days=2)).replace(day=1) - timedelta(days=1)
    lake = tell(tmp_path / "lake", used=6, told=24, month=f"{ended:%Y-%m}")
    tell(tmp_path / "lake", used=6, told=24, month=f"{ended:%Y-%m}", path="Vehicle.Trailer.IsBraking", seq=2)
    assert take(planner, months()).status_code == 200

    def series(path: str) -> tuple[int, list[str]]:
        assert planner.put(DEMAND, json=BOOK | {"usage": {"tow_bar": path}}).is_success
        new = tell_usage(conn, IDS, CLOCK, lake, {})
        run = next_run(conn)
        assert run is not None
        with transaction(conn):
            known = load_work(conn, run, now=CLOCK.now()).signals["known"]
        return new, [each["source"] for each in known]

    assert series("Vehicle.Trailer.IsConnected") == (1, ["the telemetry lake: Vehicle.Trailer.IsConnected"])
    assert series("Vehicle.Trailer.IsBraking") == (1, ["the telemetry lake: Vehicle.Trailer.IsBraking"])
    assert series("Vehicle.Trailer.IsConnected") == (0, ["the telemetry lake: Vehicle.Trailer.IsConnected"])
    # Of the release before, which kept no name of the signal with what it counted.
    conn.execute(
        "INSERT INTO demand_signal SELECT (jsonb_populate_record(s, %s::jsonb)).* FROM demand_signal s LIMIT 1",
        ('{"id": "lake:tow_bar:city:2024-01:6/24", "source": "the telemetry lake", "month": "2024-01-01"}',),
    )
    assert series("Vehicle.Trailer.IsConnected") == (0, ["the telemetry lake: Vehicle.Trailer.IsConnected"])


def test_a_look_at_use_that_fails_is_not_repeated_the_same_day_and_keeps_no_forecast_waiting(
    planner: httpx.Client, conn: Connection, tmp_path: Path
) -> None:
    assert take(planner, months()).status_code == 200
    assert planner.put(DEMAND, json=BOOK | {"usage": {"tow_bar": "Vehicle.Trailer.IsConnected"}}).is_success

    class Away(Lake):
        asked = 0

        def read(self, ask: Any) -> Any:
            self.asked += 1
            raise Unavailable("the lake kept changing")

    lake = Away(tmp_path / "lake")
    seen: dict[str, Any] = {}
    assert [tell_usage(conn, IDS, CLOCK, lake, seen) for _ in range(3)] == [0, 0, 0]
    assert lake.asked == 1
    later = (CLOCK.now() + timedelta(days=90)).date().replace(day=1)
    rows = [
        SignalRow(row=0, id="x", kind="usage", key=Key("tow_bar", "*", "*", "city"), month=later, value=0.5)
    ]
    with transaction(conn):
        take_usage(
            conn,
            IDS,
            programme_id="roadster",
            usage={"tow_bar": "Vehicle.Trailer.IsConnected"},
            rows=rows,
            actor="tester",
            now=CLOCK.now(),
        )
    assert tell_usage(conn, IDS, CLOCK, lake, {}) == 0
    assert lake.asked == 1, "there is no month to be read"


def test_a_forecast_needs_demand_and_is_asked_for_once_at_a_time(
    planner: httpx.Client, conn: Connection
) -> None:
    none = planner.post(f"{DEMAND}/forecasts", json={})
    assert none.status_code == 422
    assert "there is no demand of roadster" in none.json()["error"]["message"]
    assert planner.get(f"{DEMAND}/series").status_code == 404
    assert take(planner, months(count=2)).status_code == 200
    assert planner.post(f"{DEMAND}/forecasts", json={}).status_code == 201
    assert planner.post(f"{DEMAND}/forecasts", json={}).status_code == 409
    made = forecast_asked(conn, IDS, CLOCK)
    assert made is not None
    assert forecast_asked(conn, IDS, CLOCK) is None
    told = series(planner, option="tow_bar")[0]["told"]
    assert (told["graded"], told["chosen"]) == (False, "last 12 months 100 %")


def test_a_forecast_that_could_not_be_made_leaves_the_one_before_and_says_why(
    planner: httpx.Client, conn: Connection
) -> None:
    assert take(planner, months(count=2)).status_code == 200
    make(planner, conn)
    kept = series(planner)
    assert planner.post(f"{DEMAND}/forecasts", json={}).status_code == 201
    with transaction(conn):
        run = next_run(conn)
        assert run is not None
        fail_run(conn, IDS, run, error="the Spark is gone", now=CLOCK.now())
    newest = planner.get(f"{DEMAND}/forecasts").json()[0]
    assert (newest["state"], newest["error"]) == ("failed", "the Spark is gone")
    assert latest_fact(conn, kind=FactKind.DEMAND_FAILED, subject="roadster") is not None
    assert series(planner) == kept


def test_names_that_have_demand_stay_in_the_book(planner: httpx.Client) -> None:
    assert take(planner, months(count=2)).status_code == 200
    lost = planner.put(DEMAND, json=BOOK | {"plants": ["south"]})
    assert lost.status_code == 422
    assert "north has demand, and must stay among the plants" in lost.json()["error"]["message"]
    for name in ("", "*", "a/b", "x" * 101):
        refused = planner.put(DEMAND, json=BOOK | {"regions": [name, "EU"]})
        assert refused.status_code == 422, name
    stale = planner.put(DEMAND, json=BOOK | {"generation": 7})
    assert stale.status_code == 409
