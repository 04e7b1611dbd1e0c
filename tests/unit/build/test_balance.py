"""Line balancing: rules and proofs against all assignments of small lines, and what the twin lets through."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.balance.assign import balance
from ringroad.build.balance.check import check_on_twin, line_new, line_now
from ringroad.build.balance.problem import Balance, BalanceProblem, Work, check_balance, read_work
from ringroad.build.balance.prove import prove
from ringroad.build.model import Line, Station
from ringroad.kernel.errors import InvalidInput

pytestmark = pytest.mark.timeout(400)  # the twin compiles, once per machine


@st.composite
def works(draw: st.DrawFn, *, tasks_max: int = 12) -> tuple[Work, ...]:
    seconds = draw(st.lists(st.integers(1, 30), min_size=1, max_size=tasks_max))
    return tuple(
        Work(
            id=f"t{number}",
            seconds=time,
            after=tuple(
                f"t{n}"
                for n in sorted(draw(st.sets(st.integers(0, number - 1), max_size=2)) if number else ())
            ),
        )
        for number, time in enumerate(seconds)
    )


@settings(deadline=None, max_examples=60)
@given(tasks=works(), stations=st.integers(1, 5), slack=st.integers(0, 30))
def test_every_balance_holds_and_is_not_below_its_bound(
    tasks: tuple[Work, ...], stations: int, slack: int
) -> None:
    by_stations = BalanceProblem(tasks=tasks, stations=stations)
    found = balance(by_stations)
    assert check_balance(by_stations, found) == []
    assert found.bound <= found.takt
    by_takt = BalanceProblem(tasks=tasks, takt=max(task.seconds for task in tasks) + slack)
    found = balance(by_takt)
    assert check_balance(by_takt, found) == []
    assert found.bound <= len(found.stations)


@settings(deadline=None, max_examples=20)
@given(tasks=works(tasks_max=6), stations=st.integers(1, 3))
def test_what_is_proved_is_the_best_of_all_balances(tasks: tuple[Work, ...], stations: int) -> None:
    problem = BalanceProblem(tasks=tasks, stations=stations)
    place = {task.id: number for number, task in enumerate(problem.tasks)}
    best = min(
        max(
            sum(task.seconds for task, at in zip(problem.tasks, dealt, strict=True) if at == each)
            for each in range(stations)
        )
        for dealt in product(range(stations), repeat=len(tasks))
        if all(
            dealt[place[before]] <= dealt[place[task.id]] for task in problem.tasks for before in task.after
        )
    )
    proved = prove(problem, balance(problem), budget=5)
    assert check_balance(problem, proved) == []
    assert (proved.takt, proved.bound) == (best, best)
    turned = BalanceProblem(tasks=tasks, takt=best)
    fewest = prove(turned, balance(turned), budget=5)
    assert check_balance(turned, fewest) == []
    assert fewest.bound == len(fewest.stations) <= stations


@pytest.mark.timeout(60)  # one second of takt after another would take hours
@pytest.mark.parametrize("chained", [True, False])
def test_a_thousand_long_tasks_are_balanced_in_seconds(chained: bool) -> None:  # noqa: FBT001 - of two lines
    tasks = tuple(
        Work(
            id=f"t{at}",
            seconds=1 + at * 7_919 % 60_000,
            after=(f"t{at - 1}",) if chained and at else (),
        )
        for at in range(1_000)
    )
    problem = BalanceProblem(tasks=tasks, stations=20)
    found = balance(problem)
    assert check_balance(problem, found) == []
    assert found.bound <= found.takt <= 1.05 * found.bound


TASKS = (
    Work(id="a", seconds=50, station="one"), Work(id="b", seconds=40, after=("a",), station="one"),
    Work(id="c", seconds=10, after=("b",), station="two"), Work(id="d", seconds=20, after=("c",), station="two"),
)  # fmt: skip


def test_the_twin_proposes_what_is_faster_and_keeps_what_is_not() -> None:
    problem = BalanceProblem(tasks=TASKS, stations=2)
    found = balance(problem)
    base = Line(
        name="1",
        stations=(Station(name="one", cycle_s=9, buffer=2), Station(name="two", cycle_s=9)),
        ratios=(),
    )
    now = line_now(TASKS, base)
    assert [(station.cycle_s, station.buffer) for station in now.stations] == [(90, 2), (30, 1)]
    new = line_new(TASKS, found, now)
    assert [(station.cycle_s, station.buffer) for station in new.stations] == [(50, 2), (70, 1)]
    said = check_on_twin(now, new, seed=1, threads=1)
    assert (said.proposed, said.better_permille) == (True, 1000)
    assert said.end_s[1] < said.end_s[0]
    assert not check_on_twin(new, now, seed=1, threads=1).proposed
    assert not check_on_twin(now, now, seed=1, threads=1).proposed


@pytest.mark.parametrize(("change", "message"), [
    ({"tasks": ()}, "between 1 and"),
    ({"tasks": (TASKS[0], TASKS[0])}, "'a' stands twice"),
    ({"tasks": (replace(TASKS[0], seconds=0),)}, "'a' takes 0 s"),
    ({"tasks": (replace(TASKS[0], after=("x",)),)}, "'a' follows 'x', which is not there"),
    ({"tasks": (replace(TASKS[0], after=("b",)), TASKS[1])}, "'a' follows itself"),
    ({"takt": 60}, "and not both"),
    ({"stations": None}, "and not both"),
    ({"stations": None, "takt": 49}, "'a' takes 50 s, more than the takt of 49 s"),
    ({"stations": 0}, "0 stations"),
])  # fmt: skip
def test_what_no_line_can_do_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        BalanceProblem(**{"tasks": TASKS, "stations": 2, **change})


@pytest.mark.parametrize(("stations", "takt", "sentence"), [
    ((("b", "a"), ("c", "d")), 90, ""),
    ((("b",), ("a", "c", "d")), 80, "task b is done before a"),
    ((("a", "b", "c", "d"),), 50, "the fullest station has 120 s, not 50 s"),
    ((("a", "b"), ("c",), ("d",)), 90, "3 stations, 2 are there"),
    ((("a", "b"), ("c",)), 90, "the balance does not have each task once"),
])  # fmt: skip
def test_the_checker_sees_each_broken_rule(
    stations: tuple[tuple[str, ...], ...], takt: int, sentence: str
) -> None:
    wrong = check_balance(
        BalanceProblem(tasks=TASKS, stations=2), Balance(stations=stations, takt=takt, bound=1)
    )
    assert wrong == ([sentence] if sentence else [])


@pytest.mark.parametrize("text", ["", "[]", '{"tasks": [{"id": "a"}]}', '{"tasks": [], "more": 1}'])
def test_a_document_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not the work of a line"):
        read_work(text)


def test_the_example_is_read_and_put_in_order() -> None:
    tasks = read_work((Path(__file__).parents[3] / "examples/shops/line-work.json").read_text())
    assert {task.station for task in tasks} == {"trim", "marriage", "final"}
    assert tasks[-1].after == ("doors", "fluids", "roof-liner", "pedals")
    turned = BalanceProblem(tasks=tasks[::-1], stations=3)
    assert turned.tasks[-1].id == "check"
