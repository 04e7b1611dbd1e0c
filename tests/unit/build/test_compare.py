"""Two plans beside each other on the twin: the verdict, the picture, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringroad.build.calendar import Calendar
from ringroad.build.model import Line, Ratio, Station
from ringroad.build.plan_line import Order
from ringroad.build.plant.line import line_of
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import stated_time
from ringroad.build.plant.read import read_plant
from ringroad.build.twin import run
from ringroad.build.twin.arrays import LineArrays
from ringroad.build.twin.assumed import assumptions, source_of
from ringroad.build.twin.compare import PlanCheck, compare

pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles

REPLICATE = run.replicate
NOW = datetime(2026, 11, 25, tzinfo=UTC)
STATIONS = (Station(name="frame", cycle_s=60), Station(name="roof", cycle_s=60, buffer=3))
LINE = Line(name="l", stations=STATIONS, ratios=(Ratio(option="roof", p=1, q=2, station="roof"),))
IDS = [f"o{number}" for number in range(12)]


def orders(*, due_s: dict[str, int] | None = None, building: int = 0) -> dict[str, Order]:
    """Twelve orders; the first six have a roof."""
    due = {order_id: NOW + timedelta(seconds=seconds) for order_id, seconds in (due_s or {}).items()}
    return {
        order_id: Order(
            id=order_id, programme_id="p", variant="v", options=("roof",) if number < 6 else (), received_at=NOW,
            due_at=due.get(order_id), state="building" if number < building else "open",
        )
        for number, order_id in enumerate(IDS)
    }  # fmt: skip


MIXED = [order_id for pair in zip(IDS[:6], IDS[6:], strict=True) for order_id in pair]


def check(new: list[str], known: dict[str, Order] | None = None, *, line: Line = LINE) -> PlanCheck:
    return compare(
        IDS, new, known or orders(), line, now=NOW, seed=1, threads=1, replications=200
    )  # fmt: skip


def test_a_plan_that_keeps_the_crews_from_waiting_is_released_and_its_numbers_say_so() -> None:
    found = check(MIXED)
    assert found.twin.released, found.twin
    assert found.twin.end_s[1] < found.twin.end_s[0]
    assert (found.vehicles, found.moved) == (12, 5)


def test_the_runs_of_the_running_plan_are_made_once_for_all_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "now": NOW,
        "seed": 3,
        "threads": 1,
        "replications": 200,
        "stops": {"roof": 90.0},
    }
    known = orders(due_s={"o1": 600, "o7": 500}, building=1)
    first = compare(IDS, MIXED, known, LINE, **given)
    expected = compare(IDS, [*IDS[:4], *reversed(IDS[4:])], known, LINE, **given)
    made: list[int] = []

    def replicate(arrays: LineArrays, plans: Sequence[Sequence[int]], **rest: Any) -> Any:
        made.append(len(plans))
        return REPLICATE(arrays, plans, **rest)

    monkeypatch.setattr(run, "replicate", replicate)
    found = compare(IDS, [*IDS[:4], *reversed(IDS[4:])], known, LINE, before=first, **given)
    assert (found, made) == (expected, [1])
    assert found.to_document() == expected.to_document()


def test_the_way_back_is_not_released() -> None:
    known = orders()
    found = compare(MIXED, IDS, known, LINE, now=NOW, seed=1, threads=1, replications=200)
    assert not found.twin.released
    assert found.twin.better_permille == 0


def test_one_order_that_would_be_late_keeps_the_running_plan() -> None:
    late = check([*IDS[1:], IDS[0]], orders(due_s={"o0": 200}))
    assert (late.twin.released, late.twin.broken) == (False, ("o0",))


def test_the_picture_has_each_vehicle_of_the_new_plan_and_each_station_within_its_room() -> None:
    found = check(MIXED, orders(due_s={"o1": 900}))
    assert [each.order_id for each in found.times] == MIXED
    assert [each.due_s for each in found.times if each.due_s is not None] == [900]
    assert all(
        earlier.new_s < later.new_s for earlier, later in zip(found.times, found.times[1:], strict=False)
    )
    for station in found.stations:
        assert 0 < station.new_permille <= 1000 * station.places
        assert 0 < station.running_permille <= 1000 * station.places


@pytest.mark.parametrize(
    ("new", "line", "why"),
    [
        (IDS[:-1], LINE, "do not hold the same orders"),
        ([*IDS[:-1], IDS[0]], LINE, "do not hold the same orders"),
        (MIXED, replace(LINE, stations=(), ratios=()), "has no station"),
    ],
)
def test_what_the_twin_cannot_run_is_not_released(new: list[str], line: Line, why: str) -> None:
    found = check(new, line=line)
    assert not found.twin.released
    assert why in found.twin.reason


def test_an_empty_line_has_nothing_to_show() -> None:
    found = compare([], [], {}, LINE, now=NOW, seed=1, threads=1)
    assert (found.times, found.stations, found.vehicles) == ((), (), 0)


def test_what_the_programme_left_open_is_named() -> None:
    assert assumptions(LINE) == (
        "times spread by 5 % at every station",
        "room for 1 vehicle before frame",
        "no station breaks down",
        "no vehicle needs rework",
    )
    said = tuple(
        replace(
            station,
            spread_permille=80,
            buffer=2,
            uptime_s=3_600,
            repair_s=60,
            rework_permille=10,
            rework_s=60,
        )
        for station in STATIONS
    )
    assert assumptions(replace(LINE, stations=said)) == ()


def test_what_a_file_or_a_document_says_is_not_assumed_though_it_is_the_default() -> None:
    text = """
        [programme]
        [[line.stations]]
        name = "frame"
        buffer = 1
        uptime_s = 0
        [[line.stations]]
        name = "roof"
        spread_permille = 50
        uptime_s = 0
    """
    of_file = source_of("p", text, None)
    assert of_file.name == "the programme's file"
    assert assumptions(LINE, of_file) == ("times spread by 5 % at frame", "no vehicle needs rework")

    example = Path(__file__).parents[3] / "examples" / "first" / "plant.toml"
    plant = read_plant(example.read_text(encoding="utf-8"))
    line = line_of(plant, "wren")
    assert line is not None
    assert line.stations[0].spread_permille == 50, "stated, of 240 observations"
    assert line.stations[0].buffer == 1
    of_plant = source_of("wren", "", plant)
    assert of_plant.name == "plant wren-mother"
    assert assumptions(line, of_plant) == ("a breakdown that is drawn is mended only while the line works",)
    assert assumptions(replace(line, calendar=None), of_plant) == ()
    assert assumptions(line) != assumptions(line, of_plant)
    lone = Key(("assembly", "Line 1", "marriage"), "cycle_s")
    unsure = replace(plant, parameters={**plant.parameters, lone: stated_time(60)})
    assert "times spread by 5 % at marriage" in assumptions(line, source_of("wren", "", unsure))


RESTING = replace(
    LINE, calendar=Calendar(name="days", hours=("mon-fri 00:00-00:10",), closed=("2026-11-26",))
)


def test_what_does_not_leave_before_a_rest_leaves_behind_it_on_the_wall() -> None:
    """Ten minutes of work a day: some eight of twelve leave today, the others on Friday, behind a holiday."""
    found = check(MIXED, line=RESTING)
    working = check(MIXED)
    assert [each.new_s for each in found.times] == [
        each.new_s if each.new_s <= 600 else each.new_s + 2 * 86_400 - 600 for each in working.times
    ]
    assert {each.new_s > 2 * 86_400 for each in found.times} == {True, False}
    assert found.twin.end_s[1] > 2 * 86_400
    assert found.stations == working.stations  # how full a station is while it works


@pytest.mark.parametrize(
    ("due_s", "broken"), [(86_400, ("o0",)), (2 * 86_400 + 60, ("o0",)), (2 * 86_400 + 900, ())]
)
def test_a_due_time_in_a_rest_is_met_by_what_left_before_it(due_s: int, broken: tuple[str, ...]) -> None:
    late = check([*IDS[1:], IDS[0]], orders(due_s={"o0": due_s}), line=RESTING)
    assert late.twin.broken == broken


def test_a_line_that_is_always_open_is_judged_as_one_without_a_calendar() -> None:
    always = replace(LINE, calendar=Calendar(name="always", hours=("00:00-24:00",)))
    known = orders(due_s={"o0": 200, "o5": 900}, building=2)
    assert check(MIXED, known, line=always) == check(MIXED, known)
