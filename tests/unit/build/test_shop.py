"""A shop's schedule: search, repair and proof against an obvious checker, and against published instances."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.shop.bound import lower_bound
from ringroad.build.shop.brandimarte import read_brandimarte
from ringroad.build.shop.check import check_schedule, count_cost
from ringroad.build.shop.dispatch import dispatch, place_all, repair
from ringroad.build.shop.document import (
    placed_of,
    read_shop,
    schedule_document,
    schedule_of,
    shop_document,
    shop_of,
)
from ringroad.build.shop.problem import CALM, ORDER, Job, Level, Placed, Resource, ShopProblem, Task
from ringroad.build.shop.prove import gap_permille, prove
from ringroad.build.shop.replan import affected, replan_at
from ringroad.build.shop.solve import MOVES_MAX, solve, solve_twice
from ringroad.kernel.errors import InvalidInput
from support.shared_data import shared_data

pytestmark = pytest.mark.timeout(400)  # the first call compiles, once per machine

MACHINES = ("press", "saw", "weld")
FAMILIES = ("", "door", "roof")


def task(id_: str, *, family: str = "", **work: int) -> Task:
    return Task(id=id_, work=work, family=family)


def job(id_: str, *tasks: Task, **kwargs: Any) -> Job:
    return Job(id=id_, tasks=tasks, **kwargs)


PRESS = Resource(id="press")
TWO = ShopProblem(
    resources=(PRESS, Resource(id="saw")),
    jobs=(job("a", task("a1", press=5), task("a2", saw=5)), job("b", task("b1", press=2), task("b2", saw=9))),
)


def by_task(placed: tuple[Placed, ...]) -> dict[str, tuple[str, int, int]]:
    return {each.task: (each.resource, each.start, each.end) for each in placed}


# Any problem ---

CLOSED = st.sampled_from([(), ((3, 6),), ((0, 4), (9, 11), (20, 30))])
TASKS = st.tuples(
    st.dictionaries(st.sampled_from(MACHINES), st.integers(0, 6), min_size=1), st.sampled_from(FAMILIES)
)
SETUPS = st.dictionaries(
    st.tuples(st.sampled_from(MACHINES), st.sampled_from(FAMILIES), st.sampled_from(FAMILIES)),
    st.integers(0, 5),
)


@st.composite
def problems(draw: st.DrawFn, *, jobs_max: int = 5, tasks_max: int = 4) -> ShopProblem:
    resources = tuple(
        Resource(
            id=name, closed=draw(CLOSED), splits=draw(st.booleans()), family=draw(st.sampled_from(FAMILIES))
        )
        for name in MACHINES
    )
    rows_of = st.lists(TASKS, min_size=1, max_size=tasks_max)
    asked = st.tuples(rows_of, st.integers(0, 9), st.none() | st.integers(9, 25))
    jobs = tuple(
        Job(
            id=f"j{number}",
            tasks=tuple(
                Task(id=f"j{number}.{step}", work=work, family=family)
                for step, (work, family) in enumerate(rows)
            ),
            release=release,
            due=due,
            weight=2,
        )
        for number, (rows, release, due) in enumerate(draw(st.lists(asked, min_size=1, max_size=jobs_max)))
    )
    return ShopProblem(resources=resources, jobs=jobs, setups=draw(SETUPS))


@settings(deadline=None, max_examples=40)
@given(problem=problems(), seed=st.integers(0, 99), order=st.sampled_from([ORDER, CALM]), data=st.data())
def test_whatever_is_asked_holds_and_never_costs_more_than_the_start(
    problem: ShopProblem, seed: int, order: tuple[Level, ...], data: st.DataObject
) -> None:
    problem = replace(problem, order=order)
    first = dispatch(problem)
    found = solve(problem, moves_max=400, seed=seed)
    assert check_schedule(problem, found.placed) == []
    assert found.rank <= first.rank
    assert all(bound <= cost for bound, cost in zip(lower_bound(problem).values(), found.rank, strict=True))
    now, down = data.draw(st.integers(0, 30)), data.draw(st.sampled_from(MACHINES))
    left = replan_at(problem, found.placed, now=now, frozen=3, down={down: 7})
    fixed = {each.id: each.fixed for _, each in left.tasks() if each.fixed}
    again = solve_twice(left, moves_max=200, seed=seed)
    assert check_schedule(left, again.placed) == []
    assert again.rank <= repair(left).rank
    assert {each.task: each for each in again.placed if each.task in fixed} == fixed


@settings(deadline=None, max_examples=15)
@given(
    problem=problems(jobs_max=2, tasks_max=2), order=st.sampled_from([(Level.MAKESPAN,), (Level.TARDINESS,)])
)
def test_no_bound_is_above_the_best_of_all_schedules(problem: ShopProblem, order: tuple[Level, ...]) -> None:
    problem = replace(problem, order=order)
    tasks = [task for _, task in problem.tasks()]
    best = min(
        place_all(problem, tuple(zip(names, on, strict=True))).rank
        for names in permutations([task.id for task in tasks])
        if all(
            names.index(one.id) < names.index(two.id)
            for job in problem.jobs
            for one, two in pairwise(job.tasks)
        )
        for on in product(*(next(task for task in tasks if task.id == name).work for name in names))
    )
    assert tuple(lower_bound(problem).values()) <= best
    proof = prove(problem, dispatch(problem), budget=5, seed=1)
    assert tuple(proof.bound.values()) <= best
    assert proof.schedule.rank >= best
    assert solve(problem, moves_max=500, seed=1).rank >= best


def test_a_document_says_the_same_again() -> None:
    problem = replace(
        TWO,
        resources=(Resource(id="press", closed=((1, 2),), splits=False, family="x"), Resource(id="saw")),
        setups={("press", "x", ""): 3},
    )
    assert shop_of(shop_document(problem)) == problem
    schedule = dispatch(problem)
    assert schedule_of(schedule_document(schedule)) == schedule
    assert placed_of(schedule_document(schedule)) == schedule.placed


# The rules, one by one ---


def test_the_same_budget_and_seed_give_the_same_schedule() -> None:
    problem = replace(TWO, jobs=tuple(job(f"j{n}", task(f"t{n}", press=n + 3, saw=9 - n)) for n in range(8)))
    assert solve(problem, moves_max=2_000, seed=7) == solve(problem, moves_max=2_000, seed=7)


def test_the_search_puts_the_short_job_first() -> None:
    found = solve(TWO, moves_max=1_000, seed=1)
    assert found.cost[Level.MAKESPAN] == 16
    assert prove(TWO, found, budget=5, seed=1).is_optimal


def test_work_pauses_in_a_break_or_waits_for_its_end() -> None:
    resource = replace(PRESS, closed=((3, 10),))
    problem = ShopProblem(resources=(resource,), jobs=(job("a", task("a1", press=5)),))
    assert by_task(dispatch(problem).placed)["a1"] == ("press", 0, 12)
    whole = replace(problem, resources=(replace(resource, splits=False),))
    assert by_task(dispatch(whole).placed)["a1"] == ("press", 10, 15)
    for each, end in ((problem, 12), (whole, 15)):
        assert prove(each, dispatch(each), budget=5, seed=1).bound[Level.MAKESPAN] == end


def test_tasks_of_one_family_are_done_together_where_setting_up_takes_time() -> None:
    setups = {
        ("press", one, other): 10 for one in ("door", "roof") for other in ("door", "roof") if one != other
    }
    jobs = tuple(job(f"j{n}", task(f"t{n}", family="door" if n % 2 else "roof", press=3)) for n in range(6))
    problem = ShopProblem(resources=(PRESS,), jobs=jobs, setups=setups)
    found = solve(problem, moves_max=2_000, seed=1)
    assert found.cost == {Level.TARDINESS: 0, Level.MAKESPAN: 28, Level.CHANGES: 0, Level.SETUP: 10}
    assert prove(problem, found, budget=5, seed=1).bound[Level.MAKESPAN] == 28


def test_a_due_time_counts_more_than_the_last_end() -> None:
    jobs = (job("a", task("a1", press=9)), job("b", task("b1", press=2), task("b2", saw=2), due=5))
    found = solve(replace(TWO, jobs=jobs), moves_max=1_000, seed=1)
    assert found.cost[Level.TARDINESS] == 0
    assert by_task(found.placed)["b1"] == ("press", 0, 2)


def test_what_was_done_stays_even_where_it_cannot_have_been() -> None:
    impossible = {
        "a2": Placed(task="a2", resource="saw", start=0, end=5),  # before a1, which is still to be done
        "b1": Placed(task="b1", resource="press", start=2, end=2),  # in no time
    }
    left = replan_at(TWO, dispatch(TWO).placed, now=5, done=impossible)
    found = solve_twice(left, moves_max=500, seed=1)
    assert check_schedule(left, found.placed) == []
    at = by_task(found.placed)
    assert (at["a2"], at["b1"]) == (("saw", 0, 5), ("press", 2, 2))
    assert min(at["a1"][1], at["b2"][1]) >= 0


def test_a_machine_that_stands_moves_what_waits_for_it_and_little_else() -> None:
    jobs = tuple(job(f"j{n}", task(f"t{n}.1", press=4, weld=5), task(f"t{n}.2", saw=3)) for n in range(5))
    problem = ShopProblem(resources=(PRESS, Resource(id="saw"), Resource(id="weld")), jobs=jobs)
    running = solve(problem, moves_max=2_000, seed=1)
    left = replan_at(problem, running.placed, now=4, down={"press": 30})
    repaired = repair(left)
    found = solve_twice(left, moves_max=1_000, seed=1)
    assert affected(running.placed, left, repaired.placed)
    assert all(each.resource != "press" or each.start < 4 or each.start >= 34 for each in found.placed)
    assert found.cost[Level.CHANGES] <= repaired.cost[Level.CHANGES]
    calm = solve_twice(replace(left, order=ORDER), moves_max=1_000, seed=1)
    assert found.cost[Level.CHANGES] <= calm.cost[Level.CHANGES]
    assert calm.cost[Level.MAKESPAN] <= found.cost[Level.MAKESPAN]


def test_a_gap_is_shown_only_where_something_is_proved() -> None:
    assert [gap_permille(*each) for each in ((100, 98), (5, 0), (7, 7), (0, 0))] == [21, None, 0, 0]


@pytest.mark.parametrize(("move", "sentence"), [
    ({"start": 3, "end": 8}, "before the one before it ends"),
    ({"resource": "saw"}, "cannot be done on saw"),
    ({"start": 0, "end": 4}, "has not the time that it takes"),
    ({"start": -5, "end": 0}, "starts in the past"),
])  # fmt: skip
def test_the_checker_sees_each_broken_rule(move: dict[str, Any], sentence: str) -> None:
    jobs = (job("a", task("a1", press=5)), job("b", task("b1", press=5)))
    problem = replace(TWO, jobs=jobs)
    good = {each.task: each for each in dispatch(problem).placed}
    name = "b1" if "ends" in sentence else "a1"
    bad = {**good, name: replace(good[name], **move)}
    assert any(sentence in each for each in check_schedule(problem, tuple(bad.values())))
    with pytest.raises(InvalidInput, match="does not hold"):
        count_cost(problem, tuple(bad.values()))


def test_the_checker_sees_a_set_up_that_was_left_out_and_a_break_that_was_worked_through() -> None:
    jobs = (job("a", task("a1", family="x", press=2)), job("b", task("b1", family="y", press=2)))
    problem = ShopProblem(
        resources=(replace(PRESS, closed=((10, 20),)),), jobs=jobs, setups={("press", "x", "y"): 3}
    )
    early = (
        Placed(task="a1", resource="press", start=0, end=2),
        Placed(task="b1", resource="press", start=4, end=6),
    )
    assert check_schedule(problem, early) == ["task b1 starts on press before it is set up"]
    inside = (early[0], Placed(task="b1", resource="press", start=12, end=22))
    assert check_schedule(problem, inside) == ["task b1 starts while press is closed"]
    assert check_schedule(problem, early[:1]) == ["the schedule does not have each task once"]


@pytest.mark.parametrize(("change", "message"), [
    ({"resources": (PRESS, PRESS)}, "a resource stands twice"),
    ({"resources": (replace(PRESS, closed=((5, 4),)), Resource(id="saw"))}, "'press' is closed from 5 to 4"),
    ({"resources": (replace(PRESS, closed=((5, 9), (8, 12))), Resource(id="saw"))}, "closed from 8 to 12"),
    ({"jobs": (job("a"),)}, "'a' has no task"),
    ({"jobs": (job("a", task("a1")),)}, "'a1' has no resource"),
    ({"jobs": (job("a", task("a1", lathe=3)),)}, "'a1' wants resource 'lathe'"),
    ({"jobs": (job("a", task("a1", press=-3)),)}, "'a1' takes -3"),
    ({"jobs": (job("a", task("a1", press=3), release=9, due=4),)}, "'a' is due at 4, before it is there"),
    ({"jobs": (job("a", task("a1", press=3)), job("b", task("a1", press=3)))}, "'a1' stands twice"),
    ({"setups": {("lathe", "x", "y"): 3}}, "'lathe' from 'x' to 'y'"),
    ({"setups": {("press", "x", "y"): -1}}, "takes -1"),
    ({"order": ()}, "no level"),
])  # fmt: skip
def test_what_no_schedule_can_hold_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        replace(TWO, **change)


def test_replans_refuse_what_cannot_be() -> None:
    running = dispatch(TWO).placed
    with pytest.raises(InvalidInput, match="'lathe' is not in the shop"):
        replan_at(TWO, running, now=3, down={"lathe": 4})
    with pytest.raises(InvalidInput, match="stands for no time"):
        replan_at(TWO, running, now=3, down={"press": 0})
    with pytest.raises(InvalidInput, match="'a1' began at 9, which is in the future"):
        replan_at(TWO, running, now=3, done={"a1": Placed(task="a1", resource="press", start=9, end=14)})
    with pytest.raises(InvalidInput, match="limit"):
        solve(TWO, moves_max=MOVES_MAX + 1, seed=1)
    with pytest.raises(InvalidInput, match="limit"):
        prove(TWO, dispatch(TWO), budget=10**9, seed=1)


@pytest.mark.parametrize(("text", "message"), [
    ("", "no flexible job shop"),
    ("2 1\n1 1 1 5", "says 2 jobs, but 1 follow"),
    ("1 1\n1 1 1", "ends in the middle"),
    ("1 1\n1 1 1 5 7", "numbers behind its last task"),
    ("1 1\n1 1 3 5", "wants machine 3 of 1"),
    ("1 1\n1 1 x 5", "'x' in job j1 is no whole number"),
    ("1 9999\n1 1 1 5", "9999 machines, limit"),
])  # fmt: skip
def test_a_file_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_brandimarte(text)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"resources": [], "jobs": [], "extra": 1}', '{"resources": 3, "jobs": []}']
)
def test_a_document_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a shop"):
        read_shop(text)


def test_machines_count_from_one_or_from_zero() -> None:
    one, zero = (
        read_brandimarte("1 2\n1 2 1 5 2 6"),
        read_brandimarte("1 2 2.0\n1 2 0 5 1 6".replace(" 2.0", "")),
    )
    assert [list(each.jobs[0].tasks[0].work) for each in (one, zero)] == [["m1", "m2"], ["m0", "m1"]]


@pytest.mark.parametrize(("name", "goal"), [("mk01", 42), ("mk03", 204), ("mk08", 523)])
def test_published_instances_come_near_their_best_known_ends(name: str, goal: int) -> None:
    problem = read_brandimarte(shared_data(f"fjsp/brandimarte/{name}.txt").read_text())
    found = solve(problem, moves_max=60_000, seed=1)
    assert check_schedule(problem, found.placed) == []
    assert found.cost[Level.MAKESPAN] <= goal


@settings(max_examples=60, deadline=None)
@given(problems(), st.integers(0, 40), st.integers(0, 10))
def test_a_schedule_that_nothing_happens_to_holds_at_any_later_time(
    problem: ShopProblem, now: int, frozen: int
) -> None:
    running = dispatch(problem)
    left = replan_at(problem, running.placed, now=now, frozen=frozen)
    assert check_schedule(left, running.placed) == []
