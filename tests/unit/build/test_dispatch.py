"""AGVs bring what the line needs: each part once, in time where that can be, by those who serve the place."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.logistics.dispatch import (
    EARLY_S,
    UNLOAD_S,
    Carrier,
    Dispatch,
    Move,
    agvs_needed,
    dispatch,
    first_come,
    in_time,
)
from ringroad.kernel.errors import InvalidInput

TUGGERS = Carrier(name="tuggers", count=2, carries=2, trip_s={"Line 1": 180.0, "Press shop": 240.0})


def move(number: int, due_s: float, *, place: str = "Line 1", pick_s: float = 25.0) -> Move:
    return Move(order_id=f"o{number}", part="seats", place=place, due_s=due_s, pick_s=pick_s)


def check(carriers: list[Carrier], moves: list[Move], plan: Dispatch) -> None:
    """Count the slow way: each move once, nobody in two places, nobody overloaded, times as they add up."""
    made = [each for trip in plan.trips for each in trip.moves]
    assert sorted(made, key=repr) == sorted(moves, key=repr)
    fleets = {each.name: each for each in carriers}
    busy: dict[tuple[str, int], float] = {}
    for trip in plan.trips:
        fleet = fleets[trip.fleet]
        assert 1 <= trip.agv <= fleet.count
        assert 1 <= len(trip.moves) <= fleet.carries
        assert {each.place for each in trip.moves} == {trip.place}
        assert trip.leaves_s >= busy.get((trip.fleet, trip.agv), 0.0)
        takes = (
            sum(each.pick_s for each in trip.moves) + fleet.trip_s[trip.place] + UNLOAD_S * len(trip.moves)
        )
        assert trip.arrives_s == pytest.approx(trip.leaves_s + takes)
        assert trip.back_s == pytest.approx(trip.arrives_s + fleet.trip_s[trip.place])
        assert trip.arrives_s >= min(each.due_s for each in trip.moves) - EARLY_S - 1e-6
        busy[trip.fleet, trip.agv] = trip.back_s
    assert plan.late == sum(trip.arrives_s > each.due_s for trip in plan.trips for each in trip.moves)


def test_what_is_needed_at_one_place_at_one_time_shares_a_trip() -> None:
    plan = dispatch([TUGGERS], [move(1, 600), move(2, 660), move(3, 700, place="Press shop")])
    assert [[each.order_id for each in trip.moves] for trip in plan.trips] == [["o1", "o2"], ["o3"]]
    assert plan.late == 0


def test_nobody_waits_for_company_that_would_make_them_late() -> None:
    plan = dispatch([TUGGERS], [move(1, 230), move(2, 240)])
    assert [len(trip.moves) for trip in plan.trips] == [1, 1]
    assert plan.late == 0


def test_nothing_is_brought_hours_too_soon() -> None:
    (trip,) = dispatch([TUGGERS], [move(1, 10_000)]).trips
    assert trip.arrives_s == 10_000 - EARLY_S


def test_an_agv_that_is_under_way_is_free_once_it_is_back() -> None:
    one = replace(TUGGERS, count=1)
    (trip,) = dispatch([one], [move(1, 600)], free_s={("tuggers", 1): 500.0}).trips
    assert trip.leaves_s == 500
    assert trip.late_s == pytest.approx(500 + 25 + 180 + UNLOAD_S - 600)


def test_what_has_the_longer_way_leaves_first() -> None:
    one = Carrier(name="tuggers", count=1, carries=1, trip_s={"Line 1": 60.0, "Press shop": 400.0})
    plan = dispatch([one], [move(1, 950, pick_s=0), move(2, 1_000, place="Press shop", pick_s=0)])
    assert [trip.moves[0].order_id for trip in plan.trips] == ["o2", "o1"]
    assert (plan.late, plan.rule) == (0, "slack")


def test_where_all_are_late_the_latest_is_as_little_late_as_can_be() -> None:
    one = replace(TUGGERS, count=1, carries=1)
    plan = dispatch([one], [move(1, 10), move(2, 230), move(3, 100)])
    assert [trip.moves[0].order_id for trip in plan.trips] == ["o1", "o3", "o2"]
    assert plan.latest_s == pytest.approx(3 * 225 + 2 * 180 - 230)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_plan_makes_each_move_once_and_is_no_later_than_by_due_time_alone(data: st.DataObject) -> None:
    carriers = [
        TUGGERS,
        Carrier(name="forks", count=data.draw(st.integers(1, 2)), carries=data.draw(st.integers(1, 3)), trip_s={"Line 1": 90.0}),
    ]  # fmt: skip
    moves = [
        move(
            number, data.draw(st.integers(0, 4_000)), place=data.draw(st.sampled_from(["Line 1", "Press shop"])),
            pick_s=data.draw(st.sampled_from([0.0, 25.0, 70.0])),
        )
        for number in range(data.draw(st.integers(0, 20)))
    ]  # fmt: skip
    plan = dispatch(carriers, moves)
    check(carriers, moves, plan)
    assert plan == dispatch(carriers, list(reversed(moves)))
    check([replace(each, carries=1) for each in carriers], moves, first_come(carriers, moves))


def test_less_is_late_than_first_come_first_served_one_a_trip() -> None:
    rng = np.random.default_rng(2)
    moves = [
        move(n, 600 + 60 * n, pick_s=float(rng.choice([25.0, 70.0]))) for n in rng.permutation(100).tolist()
    ]
    four = replace(TUGGERS, count=4)
    ours, theirs = dispatch([four], moves), first_come([four], moves)
    assert ours.late_s < theirs.late_s
    assert ours.busy_s < theirs.busy_s


def test_the_fewest_agvs_are_enough_and_one_less_is_not() -> None:
    moves = [move(n, 300 + 30 * n) for n in range(40)]
    needed = agvs_needed(TUGGERS, moves)
    assert needed is not None
    assert dispatch([replace(TUGGERS, count=needed)], moves).late == 0
    assert dispatch([replace(TUGGERS, count=needed - 1)], moves).late > 0
    assert agvs_needed(TUGGERS, [move(1, 10)]) is None, "nobody is there in 10 s"
    assert in_time(TUGGERS, [move(1, 10), move(2, 225), move(3, 224), move(4, 999, place="moon")]) == [
        move(2, 225)
    ]
    assert agvs_needed(TUGGERS, []) == 1


@pytest.mark.parametrize(
    ("carriers", "moves", "named"),
    [
        ([], [move(1, 100)], "Line 1"),
        ([replace(TUGGERS, count=0)], [move(1, 100)], "Line 1"),
        ([TUGGERS], [move(1, 100, place="moon")], "moon"),
        ([replace(TUGGERS, carries=0)], [], "tuggers"),
        ([replace(TUGGERS, count=-1)], [], "tuggers"),
        ([replace(TUGGERS, trip_s={"Line 1": float("nan")})], [], "tuggers"),
        ([TUGGERS], [move(1, float("inf"))], "o1"),
        ([TUGGERS], [move(1, 100, pick_s=-1)], "o1"),
        ([replace(TUGGERS, count=1_001)], [], "AGVs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(carriers: Any, moves: Any, named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        dispatch(carriers, moves)
    assert named in caught.value.message
