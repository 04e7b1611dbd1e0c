"""The line's schedule: what is held back, what comes first, and that nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build import plan_line
from ringroad.build.calendar import Calendar
from ringroad.build.improve_line import FREEZE_VEHICLES, SPARED_PLACES, improve_schedule, spare_orders
from ringroad.build.logistics.availability import PartAvailability, never
from ringroad.build.model import Line, Paint, Ratio, Station
from ringroad.build.plan_line import (
    Order,
    ScheduleDocument,
    count_moved,
    decide_schedule,
    earliest_at,
    entry_times,
    latest_entry,
    line_problem,
)
from ringroad.build.sequence.count import count_violations
from ringroad.build.stops import LineStop
from ringroad.build.working_time import ALWAYS, working_time
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)
LINE = Line(
    name="l",
    stations=(Station(name="a", cycle_s=60), Station(name="b", cycle_s=50)),
    ratios=(Ratio(option="roof", p=1, q=2), Ratio(option="premium", p=2, q=3)),
)


def order(number: int, **changes: Any) -> Order:
    base = Order(
        id=f"o{number:03d}", programme_id="p", variant="city", received_at=NOW + timedelta(seconds=number)
    )
    return replace(base, **changes)


def decide(orders: list[Order], **changes: Any) -> ScheduleDocument:
    given: dict[str, Any] = {
        "blocked": {},
        "baseline": "release_1",
        "frozen": [],
        "now": NOW,
    } | changes
    blocked, baseline, frozen = given.pop("blocked"), given.pop("baseline"), given.pop("frozen")
    return decide_schedule(orders, LINE, blocked, baseline, frozen, **given)


def stop(station: str = "a", **changes: Any) -> LineStop:
    base = LineStop(
        id="stop_1", programme_id="p", station=station, kind="breakdown", reason="robot 3", options=(), event_id="",
        began_at=NOW, expected_s=1_800, stopped_by="tester",
    )  # fmt: skip
    return replace(base, **changes)


MIXED = [
    order(n, options=("roof",) if n % 2 else (), variant="premium" if n % 3 else "city") for n in range(30)
]


def test_all_orders_are_placed_without_violations_where_that_is_possible() -> None:
    found = decide(MIXED)
    assert sorted(found.sequence) == [item.id for item in MIXED]
    by_id = {item.id: item.features for item in MIXED}
    assert count_violations([by_id[id_] for id_ in found.sequence], LINE.ratios) == found.violations == 0


@pytest.mark.parametrize(
    ("blocked", "held", "reason"),
    [
        ({"roof": "glass cracks"}, 15, "roof is blocked: glass cracks"),
        ({"premium": "no seats"}, 20, "premium is blocked: no seats"),
        ({"wheels": "x"}, 0, ""),
    ],
)
def test_blocked_parts_hold_orders_back_with_the_reason(
    blocked: dict[str, str], held: int, reason: str
) -> None:
    found = decide(MIXED, blocked=blocked)
    assert (len(found.held), {item.reason for item in found.held}) == (held, {reason} if reason else set())
    assert len(found.sequence) == 30 - held


def test_without_a_baseline_nothing_is_built() -> None:
    found = decide(MIXED, baseline=None)
    assert (found.sequence, len(found.held)) == ((), 30)


def test_cars_on_the_line_keep_their_places_even_if_blocked() -> None:
    found = decide(MIXED, frozen=["o005", "o001", "gone"], blocked={"roof": "x"})
    assert (found.sequence[:2], found.frozen) == (("o005", "o001"), 2)


def test_a_rush_order_overtakes_and_a_due_one_is_in_time() -> None:
    rush = order(90, rush=True)
    due = order(91, due_at=NOW + timedelta(seconds=110 + 5 * 60))
    late = order(92, due_at=NOW)
    found = decide([*MIXED, rush, due, late])
    assert found.sequence.index("o090") <= 2
    assert found.sequence.index("o091") <= 5
    assert (found.late_orders, found.violations) == (1, 0)


def test_a_schedule_names_the_orders_that_it_makes_late_and_no_others() -> None:
    due = [order(n, due_at=NOW + timedelta(seconds=110 + 60 * n)) for n in range(4)]  # each just in time
    long_late = order(4, due_at=NOW)
    running = decide([*due, long_late], parent=[each.id for each in (*due, long_late)])
    assert running.made_late == (), "the running sequence is late as it was"
    rush = order(90, rush=True)
    found = decide([*due, long_late, rush], parent=running.sequence)
    pushed = [each.id for each in due if found.sequence.index(each.id) > running.sequence.index(each.id)]
    assert pushed, found.sequence
    assert list(found.made_late) == [each for each in found.sequence if each in pushed]
    hopeless = decide([order(5, due_at=NOW), *due], parent=[each.id for each in due])
    assert hopeless.made_late == ("o005",), "a new one that cannot be in time is late by it, too"
    assert ScheduleDocument.from_document(found.to_document()) == found
    assert "made_late" not in running.to_document()


def test_an_order_twice_is_refused() -> None:
    with pytest.raises(InvalidInput):
        decide([order(1), order(1)])


def test_more_orders_than_a_schedule_holds_wait() -> None:
    found = decide([order(n) for n in range(2_005)])
    assert (len(found.sequence), {item.reason for item in found.held}) == (2_000, {"the schedule is full"})


def test_what_stays_of_the_running_sequence_keeps_its_order() -> None:
    before = decide(MIXED)
    after = decide([*MIXED, order(90, variant="premium")], parent=before.sequence)
    assert [order_id for order_id in after.sequence if order_id != "o090"] == list(before.sequence)
    assert (after.moved, after.violations) == (0, 0)


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ("abcd", "abcd", 0),
        ("abcd", "bcda", 1),
        ("abcd", "dcba", 3),
        ("abcd", "xbay", 1),
        ("", "ab", 0),
        ("ab", "", 0),
    ],
)
def test_moved_are_the_vehicles_to_take_out_so_that_the_others_keep_their_order(
    before: str, after: str, moved: int
) -> None:
    assert count_moved(list(before), list(after)) == moved


PAINTED = replace(LINE, ratios=(), paint=Paint(colours=("red", "blue"), batch_max=4))


def test_vehicles_of_a_colour_are_painted_together() -> None:
    orders = [order(n, options=("red" if n % 2 else "blue",)) for n in range(8)]
    found = decide_schedule(orders, PAINTED, {}, "release_1", [], now=NOW)
    assert (found.paint_changes, found.violations) == (1, 0)
    tight = replace(PAINTED, paint=Paint(colours=("red", "blue"), batch_max=2))
    found = decide_schedule(orders, tight, {}, "release_1", [], now=NOW)
    assert (found.paint_changes, found.violations) == (3, 0)


# A better schedule ---


@pytest.mark.timeout(400)  # the first search on a machine compiles
def test_a_search_betters_a_schedule_and_leaves_what_is_about_to_enter() -> None:
    orders = [order(n, options=("roof",) if n < 15 else ()) for n in range(30)]
    bad = decide(orders, parent=[f"o{n:03d}" for n in range(30)], frozen=[f"o{n:03d}" for n in range(30)])
    orders[0] = replace(orders[0], state="building")
    better = improve_schedule(bad, orders, LINE, now=NOW, seed=1, moves_max=60_000)
    assert better is not None
    assert better.sequence[: 1 + FREEZE_VEHICLES] == bad.sequence[: 1 + FREEZE_VEHICLES]
    longer = improve_schedule(bad, orders, replace(LINE, freeze=9), now=NOW, seed=1, moves_max=60_000)
    assert longer is not None
    assert longer.sequence[: 1 + 9] == bad.sequence[: 1 + 9]
    assert sorted(better.sequence) == sorted(bad.sequence)
    assert better.violations < 14
    assert (better.frozen, better.iterations > 0, better.moved > 0) == (1, True, True)
    assert better == improve_schedule(bad, orders, LINE, now=NOW, seed=1, moves_max=60_000)


BUNCHED = [order(n, options=("roof",) if n < 15 else ()) for n in range(30)]
AS_RECEIVED = [each.id for each in BUNCHED]


def test_a_sequence_that_can_be_built_keeps_its_order_however_bad_and_one_that_cannot_is_repaired() -> None:
    assert decide(BUNCHED, parent=AS_RECEIVED).sequence == tuple(AS_RECEIVED)
    assert decide(BUNCHED[1:], parent=AS_RECEIVED).sequence == tuple(AS_RECEIVED[1:])  # one was born
    late = [*BUNCHED, order(30)]
    assert decide(late, parent=AS_RECEIVED).sequence != (*AS_RECEIVED, "o030")
    held = [replace(BUNCHED[0], options=("roof", "tow")), *BUNCHED[1:]]
    repaired = decide(held, parent=AS_RECEIVED, blocked={"tow": "late"})
    assert repaired.sequence != tuple(AS_RECEIVED[1:])
    assert [each.order_id for each in repaired.held] == ["o000"]


def test_spared_orders_get_their_places_back_and_the_rest_stays_better() -> None:
    bad = decide(BUNCHED, parent=AS_RECEIVED)
    better = improve_schedule(bad, BUNCHED, LINE, now=NOW, seed=1, moves_max=60_000)
    assert better is not None
    late = max(AS_RECEIVED[5:], key=lambda each: better.sequence.index(each) - AS_RECEIVED.index(each))
    milder = spare_orders(bad, better, BUNCHED, LINE, now=NOW, spared={late})
    assert milder is not None
    assert milder.sequence.index(late) == max(FREEZE_VEHICLES, AS_RECEIVED.index(late) - SPARED_PLACES)
    assert [each for each in milder.sequence if each != late] == [
        each for each in better.sequence if each != late
    ]
    assert better.violations <= milder.violations < bad.violations
    assert milder.moved == count_moved(AS_RECEIVED, milder.sequence)


def test_what_is_left_of_a_better_schedule_must_still_cost_less() -> None:
    bad = decide(BUNCHED, parent=AS_RECEIVED)
    assert spare_orders(bad, bad, BUNCHED, LINE, now=NOW, spared={"o029"}) is None
    assert spare_orders(bad, bad, BUNCHED, LINE, now=NOW, spared=set()) is None


def test_a_schedule_that_cannot_be_better_is_left_alone() -> None:
    assert improve_schedule(decide(MIXED), MIXED, LINE, now=NOW, seed=1) is None
    assert improve_schedule(decide([]), [], LINE, now=NOW, seed=1) is None


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["city", "premium"]),
            st.booleans(),
            st.booleans(),
            st.none() | st.integers(-100, 5000),
        ),
        max_size=12,
    ),
    blocked=st.sets(st.sampled_from(["roof", "premium", "city"])),
    frozen=st.lists(st.integers(0, 12), max_size=4),
)
def test_every_order_is_placed_or_held_once_and_the_same_facts_give_the_same_schedule(
    rows: list[tuple[str, bool, bool, int | None]], blocked: set[str], frozen: list[int]
) -> None:
    orders = [
        order(
            n, variant=variant, options=("roof",) if roof else (), rush=rush,
            due_at=None if due is None else NOW + timedelta(seconds=due),
        )
        for n, (variant, roof, rush, due) in enumerate(rows)
    ]  # fmt: skip
    given_facts: dict[str, Any] = {
        "blocked": dict.fromkeys(blocked, "x"), "frozen": [f"o{n:03d}" for n in frozen]
    }  # fmt: skip
    found = decide(orders, **given_facts)
    assert sorted([*found.sequence, *(item.order_id for item in found.held)]) == [item.id for item in orders]
    for item in orders:
        if item.id in found.sequence[found.frozen :]:
            assert not item.features & blocked
    assert decide(orders, **given_facts) == found
    assert ScheduleDocument.from_document(json.loads(json.dumps(found.to_document()))) == found


def test_a_station_that_stands_makes_the_line_late_and_is_named_in_the_schedule() -> None:
    due = [order(n, due_at=NOW + timedelta(seconds=110 + 60 * n)) for n in range(10)]
    running = decide(due)
    assert running.late_orders == 0
    stands = decide(due, stops=[stop()], parent=running.sequence)
    assert stands.sequence == running.sequence
    assert stands.late_orders == 10
    assert stands.stopped == {"a": "breakdown: robot 3"}
    assert decide(due, parent=running.sequence).stopped == {}


def test_what_cannot_pass_a_station_is_held_and_the_others_are_built() -> None:
    found = decide(MIXED, stops=[stop("b", kind="quality", options=("roof",), reason="glass cracks")])
    held = {item.order_id for item in found.held}
    assert held == {item.id for item in MIXED if "roof" in item.options}
    assert {item.reason for item in found.held} == {"roof is blocked: b, quality stop: glass cracks"}
    assert sorted(found.sequence) == sorted(item.id for item in MIXED if item.id not in held)
    assert found.stopped == {}


def test_a_search_puts_those_first_that_a_stop_would_make_late() -> None:
    """Without the stop every order is in time, and no other sequence costs less."""
    easy = [order(n, due_at=NOW + timedelta(hours=5)) for n in range(20)]
    tight = [order(n, due_at=NOW + timedelta(seconds=110 + 60 * n + 240)) for n in range(20, 24)]
    orders = [*easy, *tight]
    current = replace(decide(orders), sequence=tuple(each.id for each in orders))
    assert improve_schedule(current, orders, LINE, now=NOW, seed=1, moves_max=20_000) is None
    later = NOW + timedelta(minutes=15)
    found = improve_schedule(current, orders, LINE, now=later, seed=1, moves_max=20_000)
    assert found is not None
    assert found.late_orders < decide(orders, now=later, parent=current.sequence).late_orders


def test_a_schedule_with_what_stands_reads_back_and_an_unknown_word_of_a_newer_release_is_left_out() -> None:
    found = decide(MIXED, stops=[stop()])
    written = json.loads(json.dumps(found.to_document()))
    assert ScheduleDocument.from_document(written) == found
    assert ScheduleDocument.from_document(written | {"newer": 1}) == found
    assert "stopped" not in decide(MIXED).to_document()


def parts_at(minutes: int, *, spread: int = 0) -> PartAvailability:
    at = (NOW + timedelta(minutes=minutes - spread), NOW + timedelta(minutes=minutes))
    return PartAvailability(part="seats", quantiles=((100, at[0]), (500, at[1])))


def test_an_order_whose_parts_are_late_gives_its_place_up_and_the_others_keep_their_order() -> None:
    orders = [order(n) for n in range(20)]
    parent = [item.id for item in orders]
    found = decide(orders, parent=parent, available={"o002": parts_at(12)})
    assert found.sequence.index("o002") >= 12
    assert [each for each in found.sequence if each != "o002"] == [each for each in parent if each != "o002"]
    assert found.moved == 1


def test_an_order_whose_parts_are_there_when_it_enters_stays_where_it_is() -> None:
    orders = [order(n) for n in range(20)]
    parent = [item.id for item in orders]
    available = {"o012": parts_at(12), "o003": parts_at(-5), "o019": parts_at(19, spread=19)}
    assert decide(orders, parent=parent, available=available).sequence == tuple(parent)


def test_an_order_whose_parts_nobody_can_promise_is_held_with_their_name() -> None:
    found = decide([order(1), order(2)], available={"o001": never("seats")})
    assert found.sequence == ("o002",)
    assert [(item.order_id, item.reason) for item in found.held] == [
        ("o001", "nobody can say when it has seats")
    ]


def test_a_car_on_the_line_keeps_its_place_whatever_becomes_of_its_parts() -> None:
    available = {"o000": never("seats"), "o001": parts_at(600)}
    orders = [order(n, state="building" if n < 2 else "open") for n in range(5)]
    found = decide(orders, frozen=["o000", "o001"], available=available)
    assert found.sequence[:2] == ("o000", "o001")


def test_when_all_parts_are_late_every_order_still_has_a_place() -> None:
    orders = [order(n) for n in range(6)]
    found = decide(
        orders, parent=[item.id for item in orders], available={o.id: parts_at(90) for o in orders}
    )
    assert sorted(found.sequence) == [item.id for item in orders]


@pytest.mark.parametrize("freeze", [0, 1, 5, 100])
def test_a_replan_keeps_the_next_vehicles_that_the_line_freezes(freeze: int) -> None:
    parent = tuple(each.id for each in MIXED)
    on_line = list(parent[:2])
    line = replace(LINE, freeze=freeze)
    orders = [replace(each, state="building" if each.id in on_line else "open") for each in MIXED]
    found = decide_schedule(
        [*orders, order(99, rush=True)], line, {}, "release_1", on_line, now=NOW, parent=parent
    )
    kept = min(len(parent), 2 + freeze)
    assert found.sequence[:kept] == parent[:kept]
    assert found.sequence.index("o099") == kept, "right behind those that stay"
    assert sorted(found.sequence) == sorted([*parent, "o099"])
    assert found.frozen == 2, "vehicles on the line"


def test_a_full_schedule_holds_back_others_before_a_vehicle_that_is_next_to_enter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan_line, "CARS_MAX", 4)
    orders = [order(n) for n in range(4)]
    rush = [order(n, rush=True) for n in range(90, 93)]
    parent = [each.id for each in orders]
    found = decide_schedule(
        [*orders, *rush], replace(LINE, freeze=2), {}, "release_1", [], now=NOW, parent=parent
    )
    assert found.sequence[:2] == tuple(parent[:2])
    assert len(found.sequence) == 4
    assert {each.order_id for each in found.held} == {"o002", "o003", "o092"}


def test_a_frozen_vehicle_that_cannot_be_built_in_time_gives_up_its_place_all_the_same() -> None:
    parent = tuple(each.id for each in MIXED)
    line = replace(LINE, freeze=4)
    found = decide_schedule(
        MIXED,
        line,
        {"roof": "cracks"},
        "release_1",
        [],
        now=NOW,
        parent=parent,
        available={"o000": parts_at(20)},
    )
    assert not {each.id for each in MIXED if "roof" in each.options} & set(found.sequence)
    assert found.sequence[:4] == ("o002", "o004", "o006", "o008")
    assert found.sequence.index("o000") > 4


def test_a_rush_order_does_not_enter_before_its_parts() -> None:
    orders = [*(order(n) for n in range(12)), order(99, rush=True)]
    found = decide(orders, available={"o099": parts_at(8)})
    assert found.sequence.index("o099") == 8


def test_a_search_knows_when_parts_are_there() -> None:
    orders = [order(n, options=("roof",) if n % 3 == 0 else ()) for n in range(20)]
    together = tuple(sorted((o.id for o in orders), key=lambda each: (int(each[1:]) % 3 > 0, each)))
    bad = replace(decide(orders), sequence=together)
    available = {"o001": parts_at(15), "o002": parts_at(10)}
    found = improve_schedule(bad, orders, LINE, now=NOW, seed=1, moves_max=20_000, available=available)
    assert found
    assert bad.sequence.index("o001") < 15 <= found.sequence.index("o001")
    assert bad.sequence.index("o002") < 10 <= found.sequence.index("o002")


def test_an_order_with_a_window_is_built_within_it_and_one_that_cannot_wait_is_counted_early() -> None:
    plain = [order(n) for n in range(10)]
    window = order(
        90, earliest_at=NOW + timedelta(seconds=110 + 5 * 60), due_at=NOW + timedelta(seconds=110 + 7 * 60)
    )
    running = decide(plain)
    found = decide([*plain, window], parent=running.sequence)
    assert found.sequence.index("o090") in (5, 6, 7)
    assert (found.late_orders, found.early_orders) == (0, 0)
    tomorrow = order(91, earliest_at=NOW + timedelta(days=1))
    alone = decide([*plain, tomorrow], parent=running.sequence)
    assert alone.sequence[-1] == "o091"  # the line does not wait
    assert alone.early_orders == 1
    assert ScheduleDocument.from_document(alone.to_document()) == alone
    without = {key: value for key, value in alone.to_document().items() if key != "early_orders"}
    assert ScheduleDocument.from_document(without).early_orders == 0  # of an older release


def test_the_search_moves_an_order_into_its_window() -> None:
    orders = [order(n) for n in range(20)]
    orders[FREEZE_VEHICLES + 1] = replace(
        orders[FREEZE_VEHICLES + 1], earliest_at=NOW + timedelta(seconds=110 + 12 * 60)
    )
    running = replace(decide(orders), sequence=tuple(each.id for each in orders))
    better = improve_schedule(running, orders, LINE, now=NOW, seed=1, moves_max=50_000)
    assert better is not None
    assert better.sequence.index(orders[FREEZE_VEHICLES + 1].id) >= 12
    assert better.early_orders == 0


SHIFT = Calendar(
    name="days",
    hours=("mon-fri 06:00-06:10",),
    closed=("2026-11-25",),  # the Wednesday: ten minutes of work a day, so that positions are few
)
RESTING = replace(LINE, ratios=(), calendar=SHIFT)


def decide_at_rest(orders: list[Order], *, now: datetime = NOW, **changes: Any) -> ScheduleDocument:
    return decide_schedule(orders, changes.pop("line", RESTING), {}, "release_1", [], now=now, **changes)


@pytest.mark.parametrize(
    ("due_at", "in_time"),
    [
        (NOW + timedelta(seconds=170), 2),  # the first leaves 110 s from now, the next a takt later
        (NOW + timedelta(minutes=10), 9),  # the end of the shift; what is on the line then leaves tomorrow
        (NOW + timedelta(hours=20), 9),  # a night is not worked
        (NOW + timedelta(days=1, minutes=1), 10),
        (NOW + timedelta(days=2, hours=3), 19),  # due on the holiday: done before it
        (NOW + timedelta(days=3), 19),  # Thursday, before anything was worked
        (NOW + timedelta(days=3, minutes=10), 29),
    ],
)
def test_due_times_count_what_is_worked_until_then(due_at: datetime, in_time: int) -> None:
    orders = [order(number, due_at=due_at) for number in range(40)]
    assert decide_at_rest(orders).late_orders == 40 - in_time


@pytest.mark.parametrize(
    ("opens", "places"),
    [(timedelta(minutes=5), 4), (timedelta(minutes=10), 9), (timedelta(hours=9), 9), (timedelta(days=1), 9)],
)
def test_an_order_that_nobody_wants_before_a_rest_is_over_leaves_behind_it(
    opens: timedelta, places: int
) -> None:
    orders = [order(0, earliest_at=NOW + opens), *(order(number) for number in range(1, 30))]
    first = next(each for each in range(30) if decide_of(orders, at=each).early_orders == 0)
    assert first == places


def decide_of(orders: list[Order], *, at: int) -> ScheduleDocument:
    """Return the schedule whose parent has the first order at a place."""
    ids = [each.id for each in orders[1:]]
    return decide_at_rest(orders, parent=[*ids[:at], orders[0].id, *ids[at:]])


def test_parts_that_come_in_the_night_are_there_in_the_morning() -> None:
    night = NOW + timedelta(hours=15)
    parts = {"o000": PartAvailability(part="axle", quantiles=((500, night), (1000, night)))}
    found = line_problem([order(0)], RESTING, frozen=0, now=NOW, available=parts)
    assert found.cars[0].ready_position == 10  # ten are begun today


@pytest.mark.parametrize(("opens", "place"), [(timedelta(minutes=10), 8), (timedelta(hours=9), 9)])
def test_what_leaves_as_a_rest_begins_has_left_before_a_window_that_opens_within(
    opens: timedelta, place: int
) -> None:
    even = replace(RESTING, stations=tuple(replace(each, cycle_s=60) for each in RESTING.stations))
    found = line_problem([order(0, earliest_at=NOW + opens)], even, frozen=0, now=NOW)
    assert found.cars[0].wanted_position == place


def test_shops_are_to_bring_parts_when_the_line_works_on_them() -> None:
    found = entry_times(RESTING, [f"o{number}" for number in range(21)], now=NOW + timedelta(minutes=5))
    assert [found[f"o{number}"] - NOW for number in (0, 4, 5, 14, 15, 20)] == [
        timedelta(minutes=5), timedelta(minutes=9), timedelta(days=1), timedelta(days=1, minutes=9),
        timedelta(days=3), timedelta(days=3, minutes=5),
    ]  # fmt: skip
    assert entry_times(LINE, ["o0", "o1"], now=NOW) == {"o0": NOW, "o1": NOW + timedelta(seconds=60)}


@pytest.mark.parametrize(
    ("due", "enters"),
    [
        (timedelta(minutes=10), timedelta(seconds=490)),
        (timedelta(hours=9), timedelta(seconds=490)),  # due in the night: out as the shift ends
        (timedelta(days=1, seconds=20), timedelta(seconds=510)),
        (timedelta(days=2, hours=1), timedelta(days=1, seconds=490)),
        (-timedelta(hours=1), -timedelta(seconds=3_710)),
    ],
)
def test_a_vehicle_with_a_due_time_enters_so_much_work_before_it(due: timedelta, enters: timedelta) -> None:
    assert (
        latest_entry(RESTING, NOW + due, working_time(RESTING.calendar, start=NOW), now=NOW) == NOW + enters
    )
    assert latest_entry(LINE, NOW + due, ALWAYS, now=NOW) == NOW + due - timedelta(seconds=110)


def test_a_vehicle_leaves_a_resting_line_behind_its_rests() -> None:
    assert earliest_at(RESTING, (), now=NOW) == NOW + timedelta(seconds=110)
    assert earliest_at(RESTING, (), now=NOW + timedelta(minutes=9)) == NOW + timedelta(days=1, seconds=50)
    assert earliest_at(RESTING, (), now=NOW + timedelta(hours=30)) == NOW + timedelta(days=3, seconds=110)


@settings(max_examples=25, deadline=None)
@given(
    orders=st.lists(
        st.tuples(st.booleans(), st.none() | st.integers(-500, 9_000), st.none() | st.integers(0, 9_000)),
        min_size=1, max_size=25,
    )
)  # fmt: skip
def test_a_line_that_is_always_open_is_planned_as_one_without_a_calendar(
    orders: list[tuple[bool, int | None, int | None]],
) -> None:
    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOW + timedelta(seconds=seconds)

    given = [
        order(number, options=("roof",) if roof else (), due_at=at(due), earliest_at=at(opens))
        for number, (roof, due, opens) in enumerate(orders)
    ]
    always = replace(LINE, calendar=Calendar(name="always", hours=("00:00-24:00",)))
    assert decide_at_rest(given, line=always) == decide_at_rest(given, line=LINE)
