"""AGVs that are under way: one for each trip that was announced, busy until it is back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ringroad.build.logistics.dispatch import Carrier
from ringroad.build.logistics.store_stock import _free

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
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
