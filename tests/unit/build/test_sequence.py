"""The line's sequence: the search against an obvious checker, and against published instances."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.model import Ratio
from ringroad.build.sequence import VIOLATION_COST, Car, _Search, count_violations, sequence
from ringroad.kernel.errors import InvalidInput

INSTANCES = Path(__file__).parents[4] / "shared" / "data" / "car_sequencing_csplib" / "data.txt"
DEFAULT_P, DEFAULT_Q = (1, 2, 1, 2, 1), (2, 3, 3, 5, 5)
SATISFIABLE = ["60-01", "65-05", "70-03", "75-07", "80-02", "85-04", "90-01", "90-10"]
HARD = {
    "4/72": 0,
    "6/76": 6,
    "10/93": 3,
    "16/81": 0,
    "19/71": 2,
    "21/90": 2,
    "36/92": 2,
    "41/66": 0,
    "26/82": 0,
}


def read_instances(text: str) -> dict[str, tuple[list[Car], list[Ratio]]]:
    """Read CSPLib prob001 instances: number of cars, options, classes; p; q; one row per class."""
    found = {}
    for block in re.split(r"# ?Problem ", text)[1:]:
        name = block.split()[0]
        rows = [[int(x) for x in row.split()] for row in block.split("\n")[1:] if re.match(r"\s*\d", row)]
        p, q = (rows[1], rows[2]) if len(rows[1]) == len(rows[2]) == rows[0][1] else (DEFAULT_P, DEFAULT_Q)
        classes = [row for row in rows[1:] if len(row) == rows[0][1] + 2]
        cars = [
            Car(id=f"{row[0]}.{number}", features=frozenset(f"o{o}" for o, has in enumerate(row[2:]) if has))
            for row in classes
            for number in range(row[1])
        ]
        found[name] = (cars, [Ratio(option=f"o{o}", p=p[o], q=q[o]) for o in range(rows[0][1])])
    return found


@pytest.mark.parametrize("name", [*SATISFIABLE, "4/72", "41/66", "26/82"])
def test_solves_published_instances(name: str) -> None:
    if not INSTANCES.exists():
        pytest.skip("the CSPLib instances are not here")
    cars, ratios = read_instances(INSTANCES.read_text())[name]
    assert len(cars) in (100, 200)
    allowed = 0 if name in SATISFIABLE else 6
    found = sequence(cars, ratios, frozen=0, iterations_max=3_000, seed=1)
    features = {car.id: car.features for car in cars}
    assert sorted(found.order) == sorted(features)
    assert count_violations([features[id_] for id_ in found.order], ratios) == found.violations <= allowed


OPTIONS = ("a", "b", "c")
RATIOS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 3)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    min_size=3,
    max_size=3,
).map(lambda pairs: [Ratio(option=option, p=p, q=q) for option, (p, q) in zip(OPTIONS, pairs, strict=True)])
CARS = st.lists(
    st.tuples(st.frozensets(st.sampled_from(OPTIONS)), st.sampled_from([0, 0, 10]), st.integers(0, 5)),
    max_size=14,
).map(
    lambda rows: [
        Car(id=f"c{number}", features=features, lateness_weight=weight, due_position=due)
        for number, (features, weight, due) in enumerate(rows)
    ]
)


def cost(cars: list[Car], order: tuple[str, ...], ratios: list[Ratio]) -> int:
    by_id = {car.id: car for car in cars}
    late = sum(
        by_id[id_].lateness_weight * max(0, at - by_id[id_].due_position) for at, id_ in enumerate(order)
    )
    return count_violations([by_id[id_].features for id_ in order], ratios) * VIOLATION_COST + late


@settings(max_examples=80, deadline=None)
@given(cars=CARS, ratios=RATIOS, frozen_share=st.integers(0, 3), seed=st.integers(0, 9))
def test_every_result_is_a_permutation_counted_right_and_no_worse_than_the_start(
    cars: list[Car], ratios: list[Ratio], frozen_share: int, seed: int
) -> None:
    frozen = len(cars) * frozen_share // 4
    start = list(range(len(cars)))
    found = sequence(cars, ratios, frozen=frozen, iterations_max=60, seed=seed, start=start)
    ids = tuple(car.id for car in cars)
    assert sorted(found.order) == sorted(ids)
    assert found.order[:frozen] == ids[:frozen]
    assert found.violations * VIOLATION_COST + found.lateness == cost(cars, found.order, ratios)
    assert cost(cars, found.order, ratios) <= cost(cars, ids, ratios)


@settings(max_examples=60, deadline=None)
@given(cars=CARS, ratios=RATIOS, seed=st.integers(0, 9))
def test_what_the_search_keeps_count_of_is_what_counting_from_scratch_gives(
    cars: list[Car], ratios: list[Ratio], seed: int
) -> None:
    if len(cars) < 2:
        return
    search = _Search(cars, ratios, frozen=0, rng=np.random.default_rng(seed))
    search.place(np.arange(len(cars)))
    search.improve(30)
    assert (
        search.cost == search.cost_of(search.at) == cost(cars, tuple(cars[i].id for i in search.at), ratios)
    )
    kept = [array.tolist() for array in (search.more, search.fewer, search.change)]
    sums = [list(row) for row in search.sums]
    search.place(search.at)
    assert [array.tolist() for array in (search.more, search.fewer, search.change)] == kept
    assert search.sums == sums


def test_the_same_seed_gives_the_same_sequence() -> None:
    cars = [Car(id=str(n), features=frozenset(OPTIONS[: n % 4])) for n in range(40)]
    ratios = [Ratio(option="a", p=1, q=2), Ratio(option="b", p=1, q=3), Ratio(option="c", p=1, q=3)]
    first, second = (sequence(cars, ratios, frozen=0, iterations_max=300, seed=7) for _ in range(2))
    assert first == second


def test_a_rush_order_comes_first_where_the_ratios_allow() -> None:
    cars = [Car(id=f"a{n}", features=frozenset("a")) for n in range(5)]
    cars += [Car(id=f"x{n}", features=frozenset()) for n in range(5)]
    cars += [Car(id="rush", features=frozenset("a"), lateness_weight=10)]
    found = sequence(cars, [Ratio(option="a", p=1, q=2)], frozen=0, iterations_max=500, seed=1)
    assert (found.order[0], found.violations) == ("rush", 0)


@pytest.mark.parametrize(
    ("text", "p", "q", "expected"),
    [
        ("aa", 1, 2, 1),
        ("a.a", 1, 2, 0),
        ("aaa", 1, 2, 2),
        ("aaa", 2, 5, 1),
        ("a.a.a", 1, 3, 2),
        ("", 1, 2, 0),
    ],
)
def test_violations_are_windows(text: str, p: int, q: int, expected: int) -> None:
    cars = [frozenset(sign) for sign in text]
    assert count_violations(cars, [Ratio(option="a", p=p, q=q)]) == expected


def test_limits() -> None:
    cars = [Car(id=str(n), features=frozenset()) for n in range(2_001)]
    with pytest.raises(InvalidInput):
        sequence(cars, [], frozen=0, iterations_max=1, seed=1)
    with pytest.raises(InvalidInput):
        sequence(cars[:2], [], frozen=3, iterations_max=1, seed=1)
    assert sequence([], [], frozen=0, iterations_max=5, seed=1).order == ()
    assert len(sequence(cars[:3], [], frozen=0, iterations_max=5, seed=1).order) == 3
