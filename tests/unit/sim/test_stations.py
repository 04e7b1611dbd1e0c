"""What simulated stations measure, and that a line never waits for whoever is told."""

from __future__ import annotations

import asyncio
import json
from statistics import mean, stdev
from typing import Any

import httpx
import pytest

from ringroad.build.model import Line, Station
from ringroad.kernel.clock import SystemClock
from ringroad.sim.api import Api
from ringroad.sim.plant import LineOrder
from ringroad.sim.stations import UNTOLD_MAX, StationClocks, worked_s

ROOF = Station(name="roof", cycle_s=60, extra_s={"sunroof": 30}, spread_permille=100)
LINE = Line(name="l", stations=(Station(name="frame", cycle_s=50), ROOF), ratios=())
ORDERS = [LineOrder(id=f"o{number}", variant="city") for number in range(2_000)]


def test_times_have_the_programmes_mean_and_spread_and_can_be_had_again() -> None:
    found = [worked_s(ROOF, order, seed=1) for order in ORDERS]
    assert mean(found) == pytest.approx(60, rel=0.01)
    assert stdev(found) == pytest.approx(6, rel=0.05)
    assert found == [worked_s(ROOF, order, seed=1) for order in ORDERS]
    assert found != [worked_s(ROOF, order, seed=2) for order in ORDERS]


def test_options_and_slowness_take_longer() -> None:
    plain, roofed = LineOrder(id="o", variant="city"), LineOrder(id="o", variant="city", options=("sunroof",))
    assert worked_s(ROOF, roofed, seed=1) == pytest.approx(1.5 * worked_s(ROOF, plain, seed=1))
    assert worked_s(ROOF, plain, seed=1, slow=1.2) == pytest.approx(1.2 * worked_s(ROOF, plain, seed=1))


class Server:
    """Answers, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            return httpx.Response(
                503, json={"error": {"kind": "unavailable", "code": "database", "message": "away"}}
            )
        self.told += json.loads(request.content)["times"]
        refused = [{"id": "x", "order_id": "o1", "station": "roof", "reason": "no"}]
        return httpx.Response(200, json={"taken": 1, "repeated": 0, "refused": refused})


def tell(server: Server, *deliveries: list[tuple[int, LineOrder]]) -> StationClocks:
    async def go() -> StationClocks:
        async with httpx.AsyncClient(
            transport=httpx.MockTransport(server), base_url="http://s", timeout=60
        ) as http:
            api = Api(http, "token", asyncio.sleep, attempts_max=1)
            clocks = StationClocks(api=api, programme_id="p", line=LINE, clock=SystemClock())
            for number, worked in enumerate(deliveries):
                server.away = number == 0
                await clocks.tell(worked)
            return clocks

    return asyncio.run(go())


def test_what_could_not_be_told_is_told_with_the_next_takt() -> None:
    server = Server()
    clocks = tell(server, [(0, ORDERS[0])], [(1, ORDERS[0]), (0, ORDERS[1])])
    assert [each["id"] for each in server.told] == ["o0:frame", "o0:roof", "o1:frame"]
    assert [each["station"] for each in clocks.refused] == ["roof"]


def test_a_server_that_is_away_for_long_costs_the_oldest_times_and_no_memory() -> None:
    server = Server()
    tell(server, [(0, order) for order in ORDERS[: UNTOLD_MAX + 5]], [(1, ORDERS[0])])
    assert len(server.told) == UNTOLD_MAX
    assert server.told[-1]["id"] == "o0:roof"
