"""A line is looked at again: what its stations were learned to take and what is on order decide, and nothing follows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ringroad.build.balance.line_work import check_work, state_of, work_document, work_from, work_now
from ringroad.build.balance.problem import Work
from ringroad.build.balance.slow import look_again
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 26, tzinfo=UTC)
LINE = Line(
    name="Line 1",
    stations=(
        Station(name="trim", cycle_s=120, buffer=2),
        Station(name="final", cycle_s=60, buffer=2, extra_s={"tow_bar": 20}),
    ),
    ratios=(),
)
TASKS = (
    Work(id="carpet", seconds=30, station="trim"),
    Work(id="harness", seconds=30, station="trim"),
    Work(id="seats", seconds=30, station="final"),
    Work(id="check", seconds=15, after=("seats",), station="final"),
)


def order(*options: str) -> Order:
    return Order(id="o", programme_id="wren", variant="van", options=options, received_at=NOW)


def test_work_takes_what_its_station_was_learned_to_take_and_what_the_mix_adds() -> None:
    seconds = {task.id: task.seconds for task in work_now(TASKS, LINE, [])}
    assert seconds == {"carpet": 60, "harness": 60, "seats": 40, "check": 20}
    mixed = {task.id: task.seconds for task in work_now(TASKS, LINE, [order("tow_bar"), order()])}
    assert mixed == {"carpet": 60, "harness": 60, "seats": 47, "check": 23}


@pytest.mark.parametrize(("learned", "takes"), [(70, 70), (50, 50), (120, 120), (20, 50)])
def test_many_short_tasks_take_together_what_their_station_was_learned_to_take(
    learned: int, takes: int
) -> None:
    short = tuple(Work(id=f"clip {at}", seconds=1, station="trim") for at in range(50))
    line = replace(LINE, stations=(replace(LINE.stations[0], cycle_s=learned), LINE.stations[1]))
    work = work_now((*short, *TASKS[2:]), line, [])
    assert sum(task.seconds for task in work if task.station == "trim") == takes, "no task takes no time"
    assert {task.seconds for task in work[:50]} <= {takes // 50, -(-takes // 50)}
    long = work_now((*short, replace(TASKS[0], seconds=500), *TASKS[2:]), line, [])
    assert sum(task.seconds for task in long if task.station == "trim") == max(learned, 51)
    assert min(task.seconds for task in long) == 1


def test_an_answer_is_asked_for_again_only_if_what_it_rests_on_changed() -> None:
    same = state_of(TASKS, LINE, [order("tow_bar"), order()])
    assert same == state_of(TASKS, LINE, [order(), order("tow_bar"), order(), order("tow_bar")])
    assert same != state_of(TASKS, LINE, [order(), order()])
    slower = replace(LINE, stations=(LINE.stations[0], replace(LINE.stations[1], cycle_s=70)))
    assert same != state_of(TASKS, slower, [order("tow_bar"), order()])
    assert same != state_of(TASKS[1:], LINE, [order("tow_bar"), order()])
    assert work_from(work_document(TASKS)) == TASKS


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ((replace(TASKS[0], station="paint"), *TASKS[1:]), "task 'carpet' is done at 'paint'"),
        ((replace(TASKS[0], station=""), *TASKS[1:]), "task 'carpet' is done at no station"),
        (TASKS[:2], "no task is done at final"),
    ],
)
def test_work_that_is_not_of_this_line_is_refused_and_never_balanced(
    tasks: tuple[Work, ...], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_work(tasks, LINE)
    found = look_again(tasks, LINE, [], threads=1)
    assert (found.proposed, found.stations) == (False, ())
    assert words in found.reason


def test_a_balance_that_the_twin_finds_better_is_proposed_with_what_it_saves() -> None:
    found = look_again(TASKS, LINE, [], threads=1)
    assert (found.proposed, found.takt_s) == (True, (120, 100))
    assert found.end_s[1] < found.end_s[0]
    assert [(each.name, each.now_s) for each in found.stations] == [("trim", 120), ("final", 60)]
    assert max(each.new_s for each in found.stations) == 100
    assert sum(len(each.moved) for each in found.stations) > 0


def test_a_line_that_is_balanced_already_stays_as_it_is() -> None:
    even = replace(LINE, stations=(replace(LINE.stations[0], cycle_s=60), LINE.stations[1]))
    found = look_again(TASKS, even, [], threads=1)
    assert (found.proposed, found.end_s) == (False, (0, 0))
    assert "no other balance" in found.reason
