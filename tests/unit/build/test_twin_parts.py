"""Part availability on the twin: nobody enters before the parts are there, and one truck is late for all who wait for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ringroad.build.logistics.availability import PartAvailability, arrived, never
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.compare import compare
from ringroad.build.twin.parts import draw_ready, waits_of
from ringroad.build.twin.run import replicate
from ringroad.build.twin.what_if import stop_station
from ringroad.kernel.errors import InvalidInput

pytestmark = pytest.mark.timeout(400)  # the first call compiles, once per machine

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
FLOW = Line(name="one", stations=(Station(name="a", cycle_s=60, spread_permille=0),), ratios=())
FRAIL = replace(FLOW, stations=(replace(FLOW.stations[0], uptime_s=9_000_000, repair_s=1),))


def order(number: int, *, state: str = "open", due_min: int | None = None) -> Order:
    due = NOW + timedelta(minutes=due_min) if due_min is not None else None
    return Order(id=f"o{number}", programme_id="p", variant="v", received_at=NOW, state=state, due_at=due)  # type: ignore[arg-type]


def in_minutes(*quantiles: tuple[int, int], part: str = "seats") -> PartAvailability:
    at = tuple((permille, NOW + timedelta(minutes=minutes)) for permille, minutes in quantiles)
    return PartAvailability(part=part, quantiles=at)


def ready(available: dict[str, PartAvailability], placed: list[Order], replications: int = 4_000) -> Any:
    return draw_ready(waits_of(placed, available, now=NOW), replications=replications, seed=1)


def test_what_is_drawn_has_the_quantiles_that_were_said() -> None:
    found = ready({"o1": in_minutes((50, 10), (500, 30), (950, 90))}, [order(0), order(1)])
    assert (found[:, 0] == -np.inf).all(), "who waits for nothing is ready"
    seconds = np.quantile(found[:, 1], [0.05, 0.5, 0.95])
    assert seconds == pytest.approx([600, 1_800, 5_400], rel=0.05)
    assert found[:, 1].max() > 5_400, "behind the last quantile it goes on"


def test_orders_of_one_shipment_have_the_same_luck_and_others_have_their_own() -> None:
    said = in_minutes((50, 10), (950, 90))
    found = ready({"o0": said, "o1": said, "o2": in_minutes((50, 10), (950, 90), part="axles")}, [order(0), order(1), order(2)])  # fmt: skip
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert abs(np.corrcoef(found[:, 0], found[:, 2])[0, 1]) < 0.1


def test_parts_of_a_vehicle_on_the_line_are_there_whatever_is_said() -> None:
    assert ready({"o0": in_minutes((500, 30))}, [order(0, state="building")]) is None


def test_parts_that_nobody_can_promise_have_no_twin() -> None:
    with pytest.raises(InvalidInput, match="o0"):
        waits_of([order(0)], {"o0": never("seats of shipment S1, which is lost")}, now=NOW)
    check = compare(
        ["o0"], ["o0"], {"o0": order(0)}, FLOW, now=NOW, seed=1, threads=1, available={"o0": never("seats")}
    )
    assert not check.twin.released
    assert "o0" in check.twin.reason


@pytest.mark.parametrize("line", [FLOW, FRAIL])
def test_a_vehicle_whose_parts_are_late_holds_up_those_behind_it(line: Line) -> None:
    placed = [order(number) for number in range(3)]
    waits = waits_of(placed, {"o1": arrived("seats", NOW + timedelta(minutes=10))}, now=NOW)
    found = replicate(
        line_arrays(line, placed), [[0, 1, 2], [0, 2, 1]], on_line=0, replications=1, seed=1, threads=1,
        ready=draw_ready(waits, replications=1, seed=1),
    )  # fmt: skip
    assert found[0].tolist() == [[60, 660, 720], [60, 660, 120]]


@pytest.mark.parametrize("line", [FLOW, FRAIL])
def test_parts_that_are_there_change_nothing(line: Line) -> None:
    placed = [order(number) for number in range(3)]
    given: dict[str, Any] = {"on_line": 0, "replications": 3, "seed": 1, "threads": 2}
    plain = replicate(line_arrays(line, placed), [[0, 1, 2]], **given)
    here = np.full((3, 3), -1.0)
    np.testing.assert_array_equal(
        plain, replicate(line_arrays(line, placed), [[0, 1, 2]], ready=here, **given)
    )


def test_parts_of_other_runs_or_vehicles_are_refused() -> None:
    with pytest.raises(InvalidInput):
        replicate(
            line_arrays(FLOW, [order(0)]), [[0]], on_line=0, replications=2, seed=1, threads=1,
            ready=np.zeros((1, 1)),
        )  # fmt: skip


def test_the_twin_releases_a_plan_that_waits_for_parts_and_not_one_that_runs_into_them() -> None:
    placed = [order(number, due_min=30) for number in range(6)]
    orders = {each.id: each for each in placed}
    available = {"o0": in_minutes((50, 15), (950, 25))}
    first, last = [f"o{n}" for n in range(6)], ["o1", "o2", "o3", "o4", "o5", "o0"]
    given: dict[str, Any] = {"now": NOW, "seed": 1, "threads": 2, "available": available}
    assert compare(first, last, orders, FLOW, **given).twin.released
    there = compare(first, last, orders, FLOW, **given | {"available": None})
    assert there.twin.end_s == (360, 360), "without word of its parts the twin sees no difference"
    worse = compare(last, first, orders, FLOW, **given)
    assert not worse.twin.released
    assert worse.twin.end_s[0] < worse.twin.end_s[1]


def test_a_station_that_stands_while_parts_are_awaited_costs_nothing() -> None:
    orders = {each.id: each for each in (order(0), order(1))}
    given: dict[str, Any] = {"station": "a", "down_s": 300, "now": NOW, "seed": 1, "threads": 1}
    available = {"o0": arrived("seats", NOW + timedelta(minutes=20))}
    assert stop_station(["o0", "o1"], orders, FLOW, **given).later_s == 300
    assert stop_station(["o0", "o1"], orders, FLOW, available=available, **given).later_s == 0
