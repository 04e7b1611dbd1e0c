"""AGVs: one under way for each trip that was announced, busy until it is back; what they bring, and by when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ringroad.build.calendar import Calendar
from ringroad.build.logistics.dispatch import Carrier
from ringroad.build.logistics.slotting import StockPart, StockZone
from ringroad.build.logistics.store_stock import Stock, _free, _moves
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.build.plant.line import plant_of_line
from ringroad.build.programme import read_programme

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
WREN = read_programme(
    (Path(__file__).parents[3] / "examples" / "first" / "programme.toml").read_text("utf-8")
)
TUGGERS = Carrier(name="t", count=3, carries=2, trip_s={"Line 1": 180.0})


def row(due_s: float, told_s: float | None = None, *, leg: str = "t") -> dict[str, Any]:
    told = None if told_s is None else NOW + timedelta(seconds=told_s)
    return {"leg": leg, "due_at": NOW + timedelta(seconds=due_s), "told_at": told}


def away(*rows: dict[str, Any]) -> dict[tuple[str, int], float]:
    return _free([TUGGERS], rows, "Line 1", NOW)


def test_trips_that_left_part_filled_are_an_agv_each() -> None:
    assert away(row(300), row(900)) == {("t", 1): 480, ("t", 2): 1_080}


def test_parts_of_one_trip_are_one_agv() -> None:
    assert away(row(300), row(300)) == {("t", 1): 480}
    assert away(row(300), row(300), row(300)) == {("t", 1): 480, ("t", 2): 480}


def test_one_that_delivered_is_busy_until_it_is_back() -> None:
    assert away(row(0, -100)) == {("t", 1): 80}
    assert away(row(0, -200)) == {}


def test_agvs_of_other_fleets_are_none_of_this_one() -> None:
    assert away(row(300, leg="forks")) == {}


def test_parts_are_due_when_the_line_works_on_their_vehicle() -> None:
    line = Line(
        name="Line 1", stations=(Station(name="a", cycle_s=60),), ratios=(),
        calendar=Calendar(name="days", hours=("00:00-06:02",)),
    )  # fmt: skip
    orders = [Order(id=f"o{number}", programme_id="p", variant="van", received_at=NOW) for number in range(4)]
    stock = Stock(
        zones=(StockZone(name="near", places=9, pick_s=25.0),),
        parts=(StockPart(name="van", places=1, zone="near", picks_day=1.0),), told={}, plant=plant_of_line(WREN), line=line,
        orders=tuple(orders),
    )  # fmt: skip
    for ahead_s, due in ((3_600, [0, 60]), (86_400, [0, 60, 64_800, 64_860])):
        moves, unplaced = _moves(orders, line, stock, set(), ahead_s, now=NOW)
        assert ([each.due_s for each in moves], unplaced) == (due, ())
