"""The line's sequence: search and repair against an obvious checker, and against published instances."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.kernels.compiled import cache_folder
from ringroad.build.model import Ratio
from ringroad.build.sequence.bound import lower_bound
from ringroad.build.sequence.count import count_cost, count_violations
from ringroad.build.sequence.csplib import read_csplib
from ringroad.build.sequence.problem import Car, Level, Problem
from ringroad.build.sequence.repair import greedy, repair
from ringroad.build.sequence.solve import MOVES_MAX, solve, solve_twice
from ringroad.kernel.errors import InvalidInput
from support.shared_data import shared_data

pytestmark = pytest.mark.timeout(400)  # the first call compiles, once per machine

SATISFIABLE = ["60-01", "65-05", "70-03", "75-07", "80-02", "85-04", "90-01", "90-10"]
HARD = {"4/72": 0, "6/76": 6, "19/71": 2, "21/90": 2, "36/92": 2, "41/66": 0}
OPTIONS = ("a", "b", "c")
LEVELS = list(Level)


@pytest.mark.parametrize("name", [*SATISFIABLE, *HARD])
def test_solves_published_instances(name: str) -> None:
    text = shared_data("car_sequencing_csplib/data.txt").read_text()
    problem = read_csplib(text)[name]
    goal = HARD.get(name, 0)
    found = solve(problem, moves_max=5_000_000, seed=1, stop=lambda cost, _: cost[0] <= goal)
    assert found.rank == (goal,)
    features = {car.id: car.features for car in problem.cars}
    assert sorted(found.order) == sorted(features)
    assert count_violations([features[id_] for id_ in found.order], problem.ratios) == goal


@pytest.mark.parametrize("seed", range(3))
def test_whole_batches_are_brought_to_others_of_their_colour(seed: int) -> None:
    """Each exchange of two cars of different colours makes more batches; a ratio keeps each batch's own order."""
    colours = ["red", "blue", "green", "black"]
    cars = tuple(
        Car(
            id=f"c{number}",
            features=frozenset({"roof"} if number % 2 else ()),
            colour=colours[number // 12 % 4],
        )
        for number in range(144)
    )
    problem = Problem(
        cars=cars, ratios=(Ratio(option="roof", p=1, q=2),), order=(Level.RATIOS, Level.PAINT), batch_max=0
    )
    found = solve(problem, moves_max=40_000, seed=seed, start=range(len(cars)))
    assert found.rank == (0, len(colours) - 1)


# Any problem ---

CARS = st.lists(
    st.tuples(
        st.frozensets(st.sampled_from(OPTIONS)),
        st.sampled_from(["red", "blue"]),
        st.sampled_from([0, 0, 3]),
        st.integers(-2, 12),
        st.sampled_from([0, 0, 2]),
        st.none() | st.integers(0, 14),
    ),
    max_size=14,
).map(
    lambda rows: tuple(
        Car(
            id=f"c{number}", features=features, colour=colour, lateness_weight=late, due_position=due,
            earliness_weight=early, ready_position=due, unwanted_weight=late, wanted_position=due - 2, home=home,
        )
        for number, (features, colour, late, due, early, home) in enumerate(rows)
    )
)  # fmt: skip
RATIOS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=3, max_size=3).map(
    lambda rows: tuple(
        Ratio(option=option, p=p, q=max(1, p + more), soft=soft)
        for option, (p, more, soft) in zip(OPTIONS, rows, strict=True)
    )
)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    cars = draw(CARS)
    return Problem(
        cars=cars,
        ratios=draw(RATIOS),
        frozen=draw(st.integers(0, len(cars))),
        batch_max=draw(st.sampled_from([0, 2, 3])),
        order=tuple(draw(st.permutations(LEVELS))[: draw(st.integers(1, 6))]),
        measure=draw(st.sampled_from(["windows", "excess"])),
        open_end=draw(st.booleans()),
    )


def cost(problem: Problem, order: list[int]) -> tuple[int, ...]:
    return tuple(count_cost(problem, [problem.cars[index].id for index in order]).values())


@settings(max_examples=150, deadline=None)
@given(problem=problems(), seed=st.integers(0, 9), shuffle=st.randoms(use_true_random=False))
def test_a_search_counts_as_the_checker_does_and_never_makes_its_start_worse(
    problem: Problem, seed: int, shuffle: Any
) -> None:
    free = list(range(problem.frozen, len(problem.cars)))
    shuffle.shuffle(free)
    start = [*range(problem.frozen), *free]
    found = solve(problem, moves_max=600, seed=seed, start=start)  # raises Corrupt where the counts differ
    ids = tuple(car.id for car in problem.cars)
    assert sorted(found.order) == sorted(ids)
    assert found.order[: problem.frozen] == ids[: problem.frozen]
    assert found.rank == tuple(count_cost(problem, found.order).values()) <= cost(problem, start)


@settings(max_examples=150, deadline=None)
@given(problem=problems(), kept=st.randoms(use_true_random=False))
def test_a_repair_places_every_car_once_and_leaves_the_frozen_ones(problem: Problem, kept: Any) -> None:
    free = [index for index in range(problem.frozen, len(problem.cars)) if kept.random() < 0.6]
    for order in (greedy(problem), repair(problem, [*range(problem.frozen), *free])):
        assert sorted(order) == list(range(len(problem.cars)))
        assert order[: problem.frozen] == list(range(problem.frozen))


@settings(max_examples=100, deadline=None)
@given(problem=problems(), place=st.integers(0, 20))
def test_a_new_car_goes_where_the_checker_finds_it_cheapest(problem: Problem, place: int) -> None:
    levels = tuple(level for level in problem.order if level not in (Level.STABILITY, Level.OVERLONG))
    if not levels or len(problem.cars) <= problem.frozen:
        return
    problem = replace(problem, order=levels, measure="windows", open_end=False)
    new = problem.frozen + place % (len(problem.cars) - problem.frozen)
    running = [index for index in range(len(problem.cars)) if index != new]
    found = repair(problem, running)
    tries = [[*running[:at], new, *running[at:]] for at in range(problem.frozen, len(running) + 1)]
    assert cost(problem, found) <= min(cost(problem, each) for each in tries)


@settings(max_examples=100, deadline=None)
@given(problem=problems(), seed=st.integers(0, 9))
def test_no_sequence_costs_less_than_the_bound(problem: Problem, seed: int) -> None:
    found = solve(problem, moves_max=300, seed=seed)
    bound = lower_bound(problem)
    for level, least in bound.items():
        if level is not Level.PAINT or not found.cost.get(Level.OVERLONG, 1):
            assert least <= found.cost[level]


def test_the_same_seed_gives_the_same_sequence_and_another_one_may_not() -> None:
    cars = tuple(Car(id=str(n), features=frozenset(OPTIONS[: n % 4])) for n in range(60))
    ratios = tuple(Ratio(option=option, p=1, q=q) for option, q in zip(OPTIONS, (2, 3, 3), strict=True))
    problem = Problem(cars=cars, ratios=ratios)
    first, second, other = (solve(problem, moves_max=20_000, seed=seed) for seed in (7, 7, 8))
    assert first == second
    assert first.order != other.order
    assert solve_twice(problem, moves_max=20_000, seed=7) == solve_twice(problem, moves_max=20_000, seed=7)


def test_more_of_an_earlier_level_is_never_bought_with_less_of_a_later_one() -> None:
    red = [Car(id=f"r{n}", features=frozenset("a"), colour="red") for n in range(6)]
    blue = [Car(id=f"b{n}", features=frozenset(), colour="blue") for n in range(6)]
    problem = Problem(cars=(*red, *blue), ratios=(Ratio(option="a", p=1, q=2),))
    ratios_first = solve(problem, moves_max=50_000, seed=1)
    paint_first = solve(replace(problem, order=(Level.PAINT, Level.RATIOS)), moves_max=50_000, seed=1)
    assert (ratios_first.cost[Level.RATIOS], ratios_first.cost[Level.PAINT]) == (0, 10)
    assert (paint_first.cost[Level.PAINT], paint_first.cost[Level.RATIOS]) == (1, 5)


def test_a_batch_is_not_longer_than_allowed_where_that_can_be() -> None:
    cars = tuple(Car(id=f"{n}", features=frozenset(), colour="red" if n < 8 else "blue") for n in range(12))
    found = solve(Problem(cars=cars, ratios=(), batch_max=3), moves_max=100_000, seed=1)
    assert (found.cost[Level.OVERLONG], found.cost[Level.PAINT]) == (0, 4)


def test_a_plan_that_costs_nothing_is_left_as_it_runs() -> None:
    cars = tuple(Car(id=str(n), features=frozenset("a" if n % 2 else ""), home=n) for n in range(20))
    problem = Problem(cars=cars, ratios=(Ratio(option="a", p=1, q=2),))
    running, found = solve_twice(problem, moves_max=10_000, seed=1)
    assert running.order == found.order == tuple(str(n) for n in range(20))


def test_one_bad_place_is_mended_by_moving_few_cars() -> None:
    features = ["a" if n % 2 else "" for n in range(40)]
    features[10], features[11] = "a", ""
    cars = tuple(Car(id=str(n), features=frozenset(f), home=n) for n, f in enumerate(features))
    problem = Problem(cars=cars, ratios=(Ratio(option="a", p=1, q=2),))
    _, found = solve_twice(problem, moves_max=300_000, seed=1)
    assert found.cost[Level.RATIOS] == 0
    assert found.cost[Level.STABILITY] == 2


def test_parts_that_are_late_come_late_and_cars_that_are_due_come_early() -> None:
    cars = [Car(id=str(n), features=frozenset()) for n in range(10)]
    cars[0] = replace(cars[0], earliness_weight=1, ready_position=8)
    cars[9] = replace(cars[9], lateness_weight=1, due_position=1)
    found = solve(Problem(cars=tuple(cars), ratios=()), moves_max=20_000, seed=1, start=range(10))
    assert found.order.index("0") >= 8
    assert found.order.index("9") <= 1


def test_a_car_that_nobody_wants_yet_comes_within_its_window() -> None:
    cars = [Car(id=str(n), features=frozenset()) for n in range(10)]
    cars[0] = replace(cars[0], lateness_weight=1, due_position=6, unwanted_weight=1, wanted_position=5)
    problem = Problem(cars=tuple(cars), ratios=(), order=(Level.TIMES,))
    assert count_cost(problem, [str(n) for n in range(10)]) == {Level.TIMES: 5}
    found = solve(problem, moves_max=20_000, seed=1, start=range(10))
    assert found.order.index("0") in (5, 6)
    assert found.cost == {Level.TIMES: 0}
    assert repair(problem, list(range(1, 10))).index(0) in (5, 6)


@pytest.mark.parametrize(
    ("text", "p", "q", "expected"),
    [
        ("aa", 1, 2, (1, 1, 1)),
        ("a.a", 1, 2, (0, 0, 0)),
        ("aaa", 1, 2, (2, 2, 2)),
        ("aaa", 2, 5, (1, 1, 1)),
        ("a.a.a", 1, 3, (2, 2, 2)),
        ("aaaa", 1, 3, (2, 4, 5)),
        ("", 1, 2, (0, 0, 0)),
        ("a", 0, 1, (1, 1, 1)),
    ],
)
def test_violations_are_windows_or_the_cars_they_have_too_many(
    text: str, p: int, q: int, expected: tuple[int, int, int]
) -> None:
    cars = [frozenset(sign) for sign in text]
    ratios = [Ratio(option="a", p=p, q=q)]
    once = count_violations(cars, ratios)
    excess = count_violations(cars, ratios, measure="excess")
    beyond_the_end = count_violations(cars, ratios, measure="excess", open_end=True)
    assert (once, excess, beyond_the_end) == expected


def test_windows_of_frozen_cars_alone_do_not_count() -> None:
    cars = [frozenset("a"), frozenset("a"), frozenset("a"), frozenset[str]()]
    ratios = [Ratio(option="a", p=1, q=2)]
    assert [count_violations(cars, ratios, frozen=frozen) for frozen in range(5)] == [2, 2, 1, 0, 0]


CARS_2 = (Car(id="1", features=frozenset()), Car(id="2", features=frozenset()))
BAD: list[dict[str, Any]] = [
    {"cars": tuple(Car(id=str(n), features=frozenset()) for n in range(2_001))},
    {"cars": (*CARS_2, CARS_2[0])},
    {"cars": (replace(CARS_2[0], lateness_weight=1_001),)},
    {"cars": (replace(CARS_2[0], earliness_weight=-1),)},
    {"cars": (replace(CARS_2[0], unwanted_weight=1_001),)},
    {"frozen": 3},
    {"frozen": -1},
    {"batch_max": -1},
    {"order": (Level.PAINT, Level.PAINT)},
    {"order": ()},
    {"ratios": (Ratio(option="a", p=2, q=1),)},
    {"ratios": (Ratio(option="a", p=0, q=0),)},
    {"ratios": (Ratio(option="a", p=1, q=1_001),)},
    {"ratios": tuple(Ratio(option=str(n), p=1, q=2) for n in range(129))},
]


@pytest.mark.parametrize("bad", BAD)
def test_a_problem_that_no_search_can_use_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Problem(**{"cars": CARS_2, "ratios": (), **bad})


@pytest.mark.parametrize("order", [["1"], ["1", "1"], ["1", "3"], ["2", "1"]])
def test_an_order_that_is_not_one_of_the_cars_is_refused(order: list[str]) -> None:
    with pytest.raises(InvalidInput):
        count_cost(Problem(cars=CARS_2, ratios=(), frozen=1), order)


def test_small_and_oversized_budgets() -> None:
    empty = Problem(cars=(), ratios=())
    assert solve(empty, moves_max=5, seed=1).order == ()
    assert len(solve(Problem(cars=CARS_2, ratios=()), moves_max=0, seed=1).order) == 2
    with pytest.raises(InvalidInput):
        solve(empty, moves_max=MOVES_MAX + 1, seed=1)


# Machine code and where it lies ---


def test_machine_code_is_kept_below_the_environment_and_only_where_it_may_be_written() -> None:
    folder = cache_folder(Path("/env"), writable=lambda _: True)
    assert folder is not None
    assert folder.parent == Path("/env/var/cache/ringroad")
    assert cache_folder(Path("/env"), writable=lambda _: False) is None


def test_the_server_loads_no_compiler() -> None:
    code = "import sys, ringroad.http.app, ringroad.loop.planning; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
