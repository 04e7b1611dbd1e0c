"""The picture of a line is the flow kernel's, without a compiler; what is drawn of it stays within its frame."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ringroad.build.kernels.flow import flow
from ringroad.build.model import Line, Ratio, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.picture import VEHICLES_MAX, picture
from ringroad.http.console.line_view import WIDTH, line_view
from ringroad.kernel.errors import InvalidInput

pytestmark = pytest.mark.timeout(400)  # the first call compiles, once per machine

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)


def order(number: int, *options: str) -> Order:
    return Order(
        id=f"order_{number:06d}", programme_id="wren", variant="van", options=options, received_at=NOW
    )


def line(seed: int) -> Line:
    rng = np.random.default_rng(seed)
    stations = tuple(
        Station(
            name=f"s{number}", cycle_s=int(rng.integers(20, 90)), extra_s={"roof": int(rng.integers(0, 60))},
            buffer=int(rng.integers(0, 3)), transfer_s=int(rng.integers(0, 9)),
        )
        for number in range(4)
    )  # fmt: skip
    return Line(name="1", stations=stations, ratios=(Ratio(option="roof", p=1, q=3, station="s1"),))


@pytest.mark.parametrize("seed", range(20))
def test_a_picture_has_the_times_of_the_flow_kernel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    orders = [order(number, *(["roof"] if rng.random() < 0.5 else [])) for number in range(25)]
    arrays = line_arrays(line(seed), orders)
    left = np.zeros((25, 4))
    flow(
        np.arange(25), arrays.mean, np.array([(n - 5) * arrays.takt_s for n in range(25)]),
        arrays.plan[:, 0].copy(), arrays.times[:, 0].copy(), arrays.crew_from, arrays.crews, arrays.crew_hold,
        arrays.wants, np.zeros((1, 2)), left,
    )  # fmt: skip
    visits = picture(line(seed), orders, on_line=5)
    assert [each.leaves for each in visits] == pytest.approx(left.ravel().tolist())
    for each in visits:
        assert each.arrives <= each.starts <= each.done <= each.leaves


def test_what_stands_makes_those_wait_that_come_to_it_and_nobody_before() -> None:
    plain = Line(name="1", stations=(Station(name="a", cycle_s=60), Station(name="b", cycle_s=60)), ratios=())
    orders = [order(number) for number in range(3)]
    free = picture(plain, orders, on_line=0)
    held = picture(plain, orders, on_line=0, standing={"b": 600.0})
    assert held[0].done == free[0].done
    assert [each.starts for each in held if each.station == "b"] == [600, 660, 720]
    assert held[2].leaves == held[2].done
    assert held[4].leaves > held[4].done  # the third waits in a: b and the room before it are full


def test_a_line_without_stations_has_no_picture_and_a_long_plan_a_short_one() -> None:
    with pytest.raises(InvalidInput, match="has no station"):
        picture(Line(name="1", stations=(), ratios=()), [order(1)], on_line=0)
    long = picture(line(1), [order(number) for number in range(VEHICLES_MAX + 50)], on_line=0)
    assert len(long) == VEHICLES_MAX * 4


@pytest.mark.parametrize("on_line", [0, 3, 9])
def test_what_is_drawn_stays_in_the_frame_and_in_order(on_line: int) -> None:
    orders = [replace(order(number), variant="van" if number % 2 else "coupe") for number in range(9)]
    drawn = line_view(
        picture(line(3), orders, on_line=on_line, standing={"s2": 300.0}),
        {each.id: each.variant for each in orders},
    )
    assert {each["name"] for each in drawn["variants"]} == {"van", "coupe"}
    for bar in drawn["bars"]:
        assert 0 <= bar["x"] <= bar["x"] + bar["width"] <= WIDTH + 1
    for vehicle in drawn["vehicles"]:
        times = [float(each) for each in vehicle["times"].split(";")]
        assert len(times) == len(vehicle["values"].split(";"))
        assert times == sorted(times)
        assert (times[0], times[-1]) == (0, 1)


def test_nothing_is_drawn_of_an_empty_line() -> None:
    assert line_view([], {}) == {}
