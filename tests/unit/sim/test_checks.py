"""What checks of simulated stations find, and that a line never waits for whoever is told."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx

from ringroad.build.model import Line, Station
from ringroad.kernel.clock import SystemClock
from ringroad.sim.api import Api
from ringroad.sim.checks import FAILED_PERMILLE, StationChecks, lot_of, passes
from ringroad.sim.plant import LineOrder

AT = datetime(2026, 11, 26, tzinfo=UTC)
PLAIN = Station(name="frame", cycle_s=50)
OFTEN = Station(name="roof", cycle_s=60, rework_permille=100, rework_s=60)
ORDERS = [LineOrder(id=f"o{number}", variant="city") for number in range(4_000)]


def failed(station: Station, *, faulty: float = 0.0, lot: str = "A") -> float:
    bad = [order for order in ORDERS if not passes(station, order, lot, seed=1, faulty=faulty)]
    return 1000 * len(bad) / len(ORDERS)


def test_vehicles_fail_as_often_as_the_programme_says_and_more_with_a_faulty_lot() -> None:
    assert abs(failed(OFTEN) - 100) < 15
    assert abs(failed(PLAIN) - FAILED_PERMILLE) < 6
    assert abs(failed(PLAIN, faulty=0.5, lot="261126-B") - 500) < 30
    assert failed(PLAIN, faulty=0.5, lot="261126-A") == failed(PLAIN)


def test_each_day_has_its_lots_and_a_vehicle_always_the_same() -> None:
    lots = [lot_of(PLAIN, order, seed=1, at=AT) for order in ORDERS]
    assert set(lots) == {"261126-A", "261126-B"}
    assert abs(lots.count("261126-A") / len(lots) - 0.5) < 0.05
    assert lots == [lot_of(PLAIN, order, seed=1, at=AT) for order in ORDERS]


def test_what_could_not_be_told_is_told_with_the_next_takt_and_who_fails_is_checked_again() -> None:
    told: list[dict[str, Any]] = []
    away = True

    def server(request: httpx.Request) -> httpx.Response:
        if away:
            return httpx.Response(
                503, json={"error": {"kind": "unavailable", "code": "db", "message": "away"}}
            )
        told.extend(json.loads(request.content)["results"])
        refused = [{"id": "x", "vehicle": "o1", "station": "roof", "reason": "no"}]
        return httpx.Response(200, json={"taken": 1, "repeated": 0, "refused": refused})

    async def go() -> StationChecks:
        nonlocal away
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(server), base_url="http://s", timeout=60
        ) as http:
            checks = StationChecks(
                api=Api(http, "token", asyncio.sleep, attempts_max=1), programme_id="p",
                line=Line(name="l", stations=(PLAIN,), ratios=()), clock=SystemClock(), faulty={"frame": 1.0},
            )  # fmt: skip
            await checks.tell([(0, ORDERS[0])])
            away = False
            await checks.tell([(0, order) for order in ORDERS[1:20]])
            return checks

    assert len(asyncio.run(go()).refused) == 1
    assert {each["vehicle"] for each in told} == {order.id for order in ORDERS[:20]}
    for order in ORDERS[:20]:
        own = [each for each in told if each["vehicle"] == order.id]
        bad = own[0]["lots"]["frame kit"].endswith("B")
        assert [each["passed"] for each in own] == ([False, True] if bad else [True])
