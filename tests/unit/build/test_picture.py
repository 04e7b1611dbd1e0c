"""The picture of a line is the flow kernel's, without a compiler; what is drawn of it stays within its frame."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ringroad.build.calendar import Calendar
from ringroad.build.kernels.flow import flow
from ringroad.build.model import Line, Ratio, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.picture import VEHICLES_MAX, picture
from ringroad.build.twin.planned import LineNow, line_now, planned_vehicles
from ringroad.build.working_time import rests_until
from ringroad.http.console.line_view import EDGE, VEHICLES_SHOWN, WIDTH, Wall, line_view
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
        arrays.plan[:, 0].copy(), arrays.times[:, 0].copy(), np.zeros((4, 0)), np.zeros((4, 0)), arrays.crew_from, arrays.crews, arrays.crew_hold,
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


@pytest.mark.parametrize("vehicles", [9, 52, VEHICLES_MAX + 5])
def test_of_a_long_sequence_the_others_are_counted_and_no_time_is_cut_off(vehicles: int) -> None:
    orders = [order(number) for number in range(vehicles)]
    drawn = line_view(picture(line(3), orders, on_line=0), {each.id: each.variant for each in orders})
    assert len(drawn["vehicles"]) == min(vehicles, VEHICLES_SHOWN)
    assert len(drawn["vehicles"]) + drawn["left_out"] == vehicles
    assert all(each["x"] <= WIDTH - EDGE for each in drawn["ticks"])


def test_nothing_is_drawn_of_an_empty_line() -> None:
    assert line_view([], {}) == {}


RESTING = Line(
    name="1",
    stations=(Station(name="a", cycle_s=600), Station(name="b", cycle_s=600)),
    ratios=(),
    calendar=Calendar(
        name="days", time_zone="Europe/Oslo", hours=("mon-fri 06:00-14:00",), breaks=("mon-fri 09:30-10:00",)
    ),
)


def seen_at(
    now: datetime, *, vehicles: int = 3, building: int = 0, standing: dict[str, float] | None = None
) -> LineNow:
    orders = [
        replace(order(number), state="building" if number < building else "open")
        for number in range(vehicles)
    ]
    sequence = ["gone", *(each.id for each in orders)]
    return line_now(RESTING, sequence, orders, standing=standing or {}, now=now)


def at(hour: int, minute: int = 0, *, day: int = 23) -> datetime:
    return datetime(2026, 11, day, hour - 1, minute, tzinfo=UTC)  # Oslo's clock


def test_a_vehicle_on_the_line_at_a_break_goes_on_after_it() -> None:
    now = at(9, 15)
    seen = seen_at(now, building=1)
    planned = planned_vehicles(seen, now=now)
    assert [each.enters_at for each in planned] == [None, at(9, 15), at(9, 25)]
    assert [each.leaves_at for each in planned] == [at(9, 25), at(10, 5), at(10, 15)]
    assert [(each.since, each.until, each.worked_s) for each in seen.rests] == [(at(9, 30), at(10), 900)]
    assert rests_until(RESTING.calendar, now=now) is None


def test_a_vehicle_that_went_in_out_of_turn_is_on_the_line_and_the_others_are_yet_to_enter() -> None:
    now = at(7)
    orders = [replace(order(number), state="building" if number == 1 else "open") for number in range(3)]
    seen = line_now(RESTING, [each.id for each in orders], orders, standing={}, now=now)
    planned = planned_vehicles(seen, now=now)
    assert [(each.order_id, each.enters_at) for each in planned] == [
        (orders[1].id, None),
        (orders[0].id, now),
        (orders[2].id, at(7, 10)),
    ]


def test_a_line_that_rests_now_says_until_when_and_what_stands_is_mended_meanwhile() -> None:
    now = at(22)
    seen = seen_at(now, standing={"a": 9 * 3_600.0})  # an hour longer than the night
    planned = planned_vehicles(seen, now=now)
    assert [each.enters_at for each in planned] == [at(6, day=24), at(7, 10, day=24), at(7, 20, day=24)]
    assert rests_until(RESTING.calendar, now=now) == at(6, day=24)
    assert [(each.since, each.until) for each in seen.rests] == [(now, at(6, day=24))]
    empty = seen_at(now, vehicles=0)
    assert (empty.visits, [each.until for each in empty.rests]) == ((), [at(6, day=24)])
    assert rests_until(None, now=now) is None


def test_what_ends_as_a_shift_does_ends_then_and_what_begins_then_begins_with_the_next() -> None:
    now = at(13, 40)
    seen = seen_at(now)
    planned = planned_vehicles(seen, now=now)
    assert [each.leaves_at for each in planned] == [at(14), at(6, 10, day=24), at(6, 20, day=24)]
    assert [each.enters_at for each in planned] == [at(13, 40), at(13, 50), at(6, day=24)]


def test_the_drawing_shows_rests_and_the_clock_of_the_line() -> None:
    now = at(13, 40)
    seen = seen_at(now)
    wall = Wall(now=now, time=seen.time, rests=seen.rests, time_zone="Europe/Oslo")
    drawn = line_view(seen.visits, dict.fromkeys((each.id for each in seen.orders), "van"), wall=wall)
    assert [each["title"] for each in drawn["rests"]] == ["rests from 14:00 to 24 Nov 06:00"]
    (rest,) = drawn["rests"]
    assert [bar["x"] for bar in drawn["bars"]].count(rest["x"]) == 2  # the second at b, the third at a
    assert [each["text"] for each in drawn["ticks"]][:5] == [
        "13:40",
        "13:45",
        "13:50",
        "13:55",
        "24 Nov 06:00",
    ]
    assert drawn["bars"][-1]["title"].endswith("van at b: 24 Nov 06:10 to 24 Nov 06:20")
