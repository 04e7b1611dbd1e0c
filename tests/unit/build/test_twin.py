"""The twin: two kernels and SimPy give the same times; luck is the same for every plan; a judge that fails closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ringroad.build.model import Line as PlantLine
from ringroad.build.model import Ratio, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import LineArrays, line_arrays
from ringroad.build.twin.judge import judge
from ringroad.build.twin.run import REPLICATIONS_MAX, replicate
from ringroad.kernel.errors import InvalidInput
from support.simpy_line import Line, by_events, by_flow, by_people, by_rework, simulate

pytestmark = pytest.mark.timeout(400)  # the first call compiles, once per machine

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)


def random_line(seed: int, *, full: bool, vehicles: int = 40, stations: int = 5) -> Line:
    """A line by chance; with `full`, all that the heap kernel knows. Times are so odd that none falls together."""
    rng = np.random.default_rng(seed)
    none: list[list[float]] = [[] for _ in range(stations)]
    line = Line(
        order=rng.permutation(vehicles).tolist(),
        work=rng.gamma(9, 60 / 9, (vehicles, stations)),
        release=np.sort(rng.uniform(0, 60 * vehicles, vehicles)).tolist() if seed % 2 else [0.0] * vehicles,
        places=rng.integers(1, 5, stations).tolist(),
        transfer=rng.uniform(1, 9, stations).tolist(),
        returns=rng.uniform(1, 9, stations).tolist(),
        pools=[2, 1, 2],
        operators=[-1] * stations,
        carriers=[-1] * stations,
        bad=np.zeros((vehicles, stations), dtype=np.int64),
        rework=rng.uniform(50, 200, stations).tolist(),
        rework_to=[int(rng.integers(0, station + 1)) for station in range(stations)],
        up=none,
        down=none,
        crews=sorted(
            (
                (int(rng.integers(0, stations)), int(rng.integers(1, 3)), float(rng.uniform(60, 200)),
                 set(np.flatnonzero(rng.random(vehicles) < 0.4).tolist()))
                for _ in range(2)
            ), key=lambda crew: crew[0],
        ),
    )  # fmt: skip
    if full:
        line.operators = rng.choice([-1, 0, 1], stations).tolist()
        line.carriers = [-1, *rng.choice([-1, 2], stations - 1).tolist()]
        line.bad = (rng.random((vehicles, stations)) < 0.1) * rng.integers(1, 3, (vehicles, stations))
        line.up = [rng.exponential(400, 30).tolist() if rng.random() < 0.6 else [] for _ in range(stations)]
        line.down = [rng.exponential(120, len(up)).tolist() for up in line.up]
    return line


@pytest.mark.parametrize("seed", range(30))
def test_a_flow_line_has_the_same_times_in_both_kernels_and_in_simpy(seed: int) -> None:
    line = random_line(seed, full=False)
    expected, _ = simulate(line)
    np.testing.assert_array_equal(by_flow(line), expected)
    np.testing.assert_array_equal(by_events(line)[0], expected)


@pytest.mark.parametrize("seed", range(60))
def test_breakdowns_rework_operators_and_carriers_are_as_in_simpy(seed: int) -> None:
    line = random_line(seed, full=True)
    expected, _ = simulate(line)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(
        by_events(line)[0], expected, rtol=0, atol=1e-9
    )  # seconds; sums in another order


def with_breakdowns(seed: int) -> Line:
    """A flow line whose stations stand never, from the start, many times, or over the end of the day."""
    line, rng = random_line(seed, full=False), np.random.default_rng(1_000 + seed)
    kinds = [([], []), ([0.0, 900.0], [rng.uniform(9, 999), 99.0]), (rng.exponential(300, 40), rng.exponential(99, 40)),
             ([rng.uniform(9, 2_000)], [1e6]), (rng.exponential(20, 99), rng.exponential(9, 99))]  # fmt: skip
    chosen = [kinds[kind] for kind in rng.permutation(len(kinds))]
    line.up, line.down = [list(map(float, up)) for up, _ in chosen], [list(map(float, d)) for _, d in chosen]
    return line


@pytest.mark.parametrize("seed", range(40))
def test_a_flow_line_that_breaks_down_has_the_same_times_in_both_kernels_and_in_simpy(seed: int) -> None:
    line = with_breakdowns(seed)
    expected, _ = simulate(line)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(by_flow(line), by_events(line)[0])
    np.testing.assert_allclose(by_flow(line), expected, rtol=1e-12, atol=1e-9)  # seconds; in another order


def with_rework(seed: int) -> Line:
    """A line with ways back that share no station, and a carrier or two for some places of their own."""
    line, rng = random_line(seed, full=True, stations=7), np.random.default_rng(2_000 + seed)
    line.operators, line.carriers, line.bad[:] = [-1] * 7, [-1] * 7, 0
    back, gates = {}, sorted(rng.choice(7, rng.integers(1, 4), replace=False).tolist())
    for number, gate in enumerate(gates):
        back[gate] = int(rng.integers(gates[number - 1] + 1 if number else 0, gate + 1))
        line.bad[:, gate] = (rng.random(40) < 0.3) * rng.integers(1, 4, 40)
        line.rework_to[gate], line.transfer[back[gate]] = back[gate], 0.0
    for number, place in enumerate(sorted(set(range(1, 7)) - set(back.values()))[:2]):
        line.carriers[place] = number
    return line


@pytest.mark.parametrize("seed", range(60))
def test_rework_and_carriers_of_a_place_have_the_same_times_without_events_and_in_simpy(seed: int) -> None:
    line = with_rework(seed)
    expected, _ = simulate(line)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(by_rework(line), by_events(line)[0])
    np.testing.assert_allclose(by_rework(line), expected, rtol=0, atol=1e-9)  # seconds; sums in another order


def with_people(seed: int) -> Line:
    """A line whose people work at several stations: scarce, so that two stations often ask for one at one moment."""
    line, rng = random_line(seed, full=seed % 3 == 0, stations=7), np.random.default_rng(3_000 + seed)
    line.carriers, line.bad[:], line.pools = [-1] * 7, 0, rng.integers(1, 4, 3).tolist()
    line.operators = rng.choice([-1, 0, 0, 1, 2], 7).tolist()
    line.transfer = [line.transfer, [0.0] * 7, [7.0] * 7, rng.choice([0.0, 5.0], 7).tolist()][seed % 4]
    return line


@pytest.mark.parametrize("seed", range(80))
def test_people_of_several_stations_have_the_same_times_without_events_and_in_simpy(seed: int) -> None:
    line = with_people(seed)
    expected, _ = simulate(line)
    found = by_people(line)
    assert found is not None
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, by_events(line)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)  # seconds; sums in another order


@pytest.mark.parametrize("work", [[[4, 4]] * 6, [[4, 4, 4]] * 6])
def test_who_asks_first_of_two_that_are_done_at_one_moment_is_left_to_the_events(
    work: list[list[float]],
) -> None:
    line = plain(work, operators=[0] * len(work[0]), release=[4.0 * number for number in range(6)])
    assert by_people(line) is None
    np.testing.assert_array_equal(by_events(line)[0], simulate(line)[0])


def plain(work: list[list[float]], **changes: Any) -> Line:
    stations = len(work[0])
    none: list[list[float]] = [[] for _ in range(stations)]
    base: dict[str, Any] = {
        "order": list(range(len(work))), "work": np.array(work), "release": [0.0] * len(work),
        "places": [2] * stations, "transfer": [0.0] * stations, "returns": [0.0] * stations, "pools": [1],
        "operators": [-1] * stations, "carriers": [-1] * stations,
        "bad": np.zeros((len(work), stations), dtype=np.int64), "rework": [5.0] * stations,
        "rework_to": list(range(stations)), "up": none, "down": none, "crews": [],
    }  # fmt: skip
    return Line(**base | changes)


@pytest.mark.parametrize(
    ("line", "finish"),
    [
        (plain([[1, 1], [1, 1], [1, 1]]), [2, 3, 4]),
        (plain([[1, 9], [1, 1], [1, 1], [1, 1]], places=[2, 1]), [10, 11, 12, 13]),
        (plain([[1, 1], [1, 1]], release=[0.0, 7.0]), [2, 9]),
        (plain([[1, 1], [1, 1]], transfer=[2.0, 3.0]), [7, 8]),
        (plain([[1], [1], [1]], crews=[(0, 1, 4.0, {0, 1, 2})]), [1, 5, 9]),
        (plain([[1], [1], [1]], crews=[(0, 2, 4.0, {0, 1, 2})]), [1, 2, 5]),
        (plain([[1], [1], [1]], crews=[(0, 1, 4.0, {0, 2})]), [1, 2, 5]),
        (plain([[4], [4]], up=[[3.0]], down=[[10.0]]), [14, 18]),
        (plain([[4], [4]], up=[[1.0, 1.0]], down=[[1.0, 1.0]]), [6, 10]),
        (plain([[4], [4]], up=[[6.0]], down=[[1_000.0]]), [4, 1_008]),
        (plain([[4], [4]], up=[[10.0]], down=[[10.0]], release=[100.0, 100.0]), [104, 108]),
        (plain([[4], [4]], up=[[10.0]], down=[[10.0]], release=[15.0, 15.0]), [24, 28]),
        (
            plain([[1, 9], [1, 1]], places=[2, 1], up=[[3.0], []], down=[[4.0], []]),
            [10, 11],
        ),  # while it waits
        (plain([[1], [1]], crews=[(0, 1, 4.0, {0, 1})], up=[[0.5]], down=[[9.0]]), [10, 11]),
    ],
)
def test_small_lines_have_the_times_one_finds_by_hand(line: Line, finish: list[float]) -> None:
    for found in (by_flow(line), by_events(line)[0], simulate(line)[0]):
        assert found.tolist() == finish


@pytest.mark.parametrize(
    ("line", "finish"),
    [
        (plain([[2], [2], [2]], bad=np.array([[1], [0], [0]])), [9, 4, 6]),
        (plain([[2, 2], [2, 2]], operators=[0, 0], transfer=[0.0, 0.5]), [6, 8]),
        (plain([[1, 1], [1, 1]], carriers=[-1, 0], transfer=[0.0, 2.0], returns=[0.0, 3.0]), [4, 9]),
    ],
)
def test_rework_operators_and_carriers_cost_what_one_finds_by_hand(line: Line, finish: list[float]) -> None:
    for found in (by_events(line)[0], simulate(line)[0]):
        assert found.tolist() == finish


# From the programme's line to many runs ---

STATIONS = (
    Station(name="a", cycle_s=60, spread_permille=100),
    Station(name="b", cycle_s=55, extra_s={"roof": 20}, buffer=2),
)
LINE = PlantLine(name="l", stations=STATIONS, ratios=(Ratio(option="roof", p=1, q=3),))
FULL = replace(
    LINE,
    stations=(
        replace(STATIONS[0], operators="fitters", uptime_s=3_600, repair_s=300),
        replace(STATIONS[1], operators="fitters", carriers="agvs", transfer_s=10, return_s=10,
                rework_permille=50, rework_s=200, rework_to="a"),
    ),
    pools={"fitters": 1, "agvs": 1},
)  # fmt: skip


def orders(count: int, *, roofs: int = 0) -> list[Order]:
    return [
        Order(
            id=f"o{n}", programme_id="p", variant="v", options=("roof",) if n < roofs else (), received_at=NOW
        )
        for n in range(count)
    ]


def runs(line: PlantLine, plans: list[list[int]], **changes: Any) -> Any:
    given: dict[str, Any] = {"on_line": 0, "replications": 120, "seed": 1, "threads": 2} | changes
    roofs = given.pop("roofs", 0)
    return replicate(line_arrays(line, orders(len(plans[0]), roofs=roofs)), plans, **given)


@pytest.mark.parametrize("line", [LINE, FULL])
def test_the_same_plan_has_the_same_luck_on_any_number_of_threads_and_another_seed_another(
    line: PlantLine,
) -> None:
    plan = list(range(30))
    found = runs(line, [plan, plan], roofs=10)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    np.testing.assert_array_equal(found, runs(line, [plan, plan], roofs=10, threads=1))
    assert not np.array_equal(found, runs(line, [plan, plan], roofs=10, seed=2))
    assert np.isfinite(found).all()
    assert len({float(each) for each in found[:, 0, 29]}) > 100


def test_a_vehicle_keeps_its_luck_at_another_place() -> None:
    alone = replace(LINE, stations=(replace(STATIONS[0], buffer=50),), ratios=())
    plan = list(range(20))
    forward, backward = runs(alone, [plan, plan[::-1]])[:, 0], runs(alone, [plan, plan[::-1]])[:, 1]
    np.testing.assert_allclose(forward.max(axis=1), backward.max(axis=1), atol=60)
    first = runs(alone, [plan])[:, 0, 0]
    np.testing.assert_allclose(first, runs(alone, [[1, 0, *plan[2:]]])[:, 0, 0] - 60, atol=40)


def test_times_have_the_mean_and_spread_of_their_station() -> None:
    one = replace(LINE, stations=(replace(STATIONS[0], cycle_s=50),), ratios=())
    found = runs(one, [[0]], replications=20_000)[:, 0, 0]
    assert found.mean() == pytest.approx(50, rel=0.005)
    assert found.std() == pytest.approx(5, rel=0.03)


def test_breakdowns_and_rework_happen_as_often_as_they_should() -> None:
    down = replace(
        LINE, stations=(replace(STATIONS[0], spread_permille=0, uptime_s=900, repair_s=100),), ratios=()
    )
    assert (runs(down, [[0]], replications=20_000)[:, 0, 0] > 60).mean() == pytest.approx(60 / 900, rel=0.1)
    bad = replace(
        LINE,
        stations=(replace(STATIONS[0], spread_permille=0, rework_permille=200, rework_s=300),),
        ratios=(),
    )
    assert (runs(bad, [[0]], replications=20_000)[:, 0, 0] > 60).mean() == pytest.approx(0.2, rel=0.05)


def test_a_violated_ratio_makes_the_line_wait_and_a_kept_one_does_not() -> None:
    calm = replace(LINE, stations=(Station(name="a", cycle_s=60, spread_permille=0),))
    bunched, spread = list(range(9)), [0, 3, 4, 1, 5, 6, 2, 7, 8]
    found = runs(calm, [bunched, spread], roofs=3, replications=1)
    assert found[0, 1].max() == 9 * 60
    assert found[0, 0].max() > 9 * 60


def test_vehicles_on_the_line_entered_before_now() -> None:
    calm = replace(LINE, stations=(Station(name="a", cycle_s=60, spread_permille=0),), ratios=())
    assert runs(calm, [[0, 1, 2]], on_line=2, replications=1)[0, 0].tolist() == [-60, 0, 60]


def test_extra_work_is_in_the_mean_and_a_shared_pool_in_the_plan() -> None:
    arrays = line_arrays(FULL, orders(2, roofs=1))
    assert arrays.mean.tolist() == [[60, 75], [60, 55]]
    assert arrays.plan.tolist() == [[2, 0, -1, 0], [3, 0, 1, 0]]
    assert (arrays.needs_events, line_arrays(LINE, []).needs_events) == (True, False)


BREAKS = replace(LINE, stations=tuple(replace(each, uptime_s=900, repair_s=200) for each in STATIONS))


@pytest.mark.parametrize("stops", [{}, {"b": 700.0}, {"a": 60.0, "b": 90_000.0}])
def test_a_line_that_breaks_down_or_stands_needs_no_events_and_has_the_times_it_has_with_them(
    stops: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = line_arrays(BREAKS, orders(40, roofs=12), stops=stops)
    assert (arrays.is_flow, arrays.needs_events) == (True, False)
    same_with_events(arrays, monkeypatch)


def same_with_events(arrays: LineArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the times are those that the heap of events gives."""
    plans = [list(range(40)), list(range(39, -1, -1))]
    found = replicate(arrays, plans, on_line=5, replications=60, seed=3, threads=2)
    for name, value in {"is_flow": False, "shares_people": False, "needs_events": True}.items():
        monkeypatch.setattr(LineArrays, name, value)
    expected = replicate(arrays, plans, on_line=5, replications=60, seed=3, threads=2)
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(found).all()


FOUR = replace(
    LINE, ratios=(), pools={"agvs": 1, "more": 2, "fitters": 1},
    stations=tuple(Station(name=name, cycle_s=50, transfer_s=0 if name == "b" else 5) for name in "abcd"),
)  # fmt: skip
BACK = {"rework_permille": 300, "rework_s": 90}


def four(**changes: dict[str, Any]) -> PlantLine:
    return replace(
        FOUR, stations=tuple(replace(each, **changes.get(each.name, {})) for each in FOUR.stations)
    )


@pytest.mark.parametrize(
    ("line", "needs_events"),
    [
        (four(c=BACK | {"rework_to": "b"}), False),
        (
            four(b=BACK, d=BACK | {"rework_to": "c"}, c={"transfer_s": 0, "uptime_s": 900, "repair_s": 60}),
            False,
        ),
        (four(c=BACK | {"rework_to": "b"}, d={"carriers": "agvs", "return_s": 9}), False),
        (four(d={"carriers": "agvs", "return_s": 9}, b={"carriers": "more", "return_s": 9}), False),
        (four(d={"carriers": "agvs"}, b={"carriers": "agvs"}), True),  # who asks first has it
        (four(b={"operators": "fitters"}, a={"operators": "fitters"}, d=BACK | {"rework_to": "b"}), True),
        (four(c=BACK), True),  # who comes back may overtake one that is on its way there
        (four(c=BACK | {"rework_to": "b"}, b={"carriers": "agvs"}), True),
        (
            four(c=BACK | {"rework_to": "b"}, d=BACK | {"rework_to": "b"}),
            True,
        ),  # two ways back share stations
        (four(d=BACK | {"rework_to": "b"}, b=BACK), True),
        (four(c=BACK | {"rework_to": "b", "spread_permille": 0}), True),  # two of a moment
        (four(c=BACK | {"rework_to": "b", "rework_s": 0}), True),
    ],
)
def test_rework_and_carriers_need_events_where_their_order_does_and_have_the_same_times_without(
    line: PlantLine, *, needs_events: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = line_arrays(line, orders(40))
    assert (arrays.needs_events, arrays.is_flow) == (needs_events, False)
    same_with_events(arrays, monkeypatch)


ASKED = {"operators": "fitters", "transfer_s": 0, "uptime_s": 900, "repair_s": 60}


@pytest.mark.parametrize(
    ("line", "ways"),
    [
        (four(b=ASKED, c=ASKED, d=ASKED), (False, True, False)),
        (four(a={"operators": "fitters"}, b={"operators": "more"}, c={"operators": "fitters"}), (False, True, False)),
        (four(b=ASKED), (True, False, False)),  # as many people as stations: nobody waits for one
        (four(b={"operators": "more"}, d={"operators": "more"}), (True, False, False)),
        (four(b={"operators": "more"}, d={"carriers": "more"}), (False, False, True)),  # they carry, too
        (four(b=ASKED, c=ASKED, d={"carriers": "agvs"}), (False, False, True)),
        (four(b=ASKED, c=ASKED, d=BACK), (False, False, True)),
        (four(b=ASKED, c=ASKED, d={"spread_permille": 0}), (False, False, True)),  # two of a moment
    ],
)  # fmt: skip
def test_people_need_events_where_others_are_asked_too_and_have_the_same_times_without(
    line: PlantLine, ways: tuple[bool, bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = line_arrays(line, orders(40))
    assert (arrays.is_flow, arrays.shares_people, arrays.needs_events) == ways
    same_with_events(arrays, monkeypatch)


@pytest.mark.parametrize(
    ("plans", "changes"),
    [
        ([[0, 0]], {}),
        ([[0]], {}),
        ([[0, 1, 2]], {}),
        ([[0, 1]], {"replications": -1}),
        ([[0, 1]], {"replications": REPLICATIONS_MAX + 1}),
    ],
)
def test_runs_that_cannot_be_are_refused(plans: list[list[int]], changes: dict[str, Any]) -> None:
    given: dict[str, Any] = {"on_line": 0, "replications": 1, "seed": 1, "threads": 1} | changes
    with pytest.raises(InvalidInput):
        replicate(line_arrays(LINE, orders(2)), plans, **given)


def test_a_line_without_stations_or_with_too_many_vehicles_has_no_twin() -> None:
    with pytest.raises(InvalidInput):
        line_arrays(replace(LINE, stations=()), orders(1))
    with pytest.raises(InvalidInput):
        line_arrays(LINE, orders(1) * 10_001)


# The judge ---

TAKT_S = 60.0
CALM = np.full((1_000, 2), 1_000.0)


def verdict(new: Any, *, running: Any = CALM, due: tuple[float, float] = (np.inf, 1_100.0)) -> Any:
    return judge(running, new, due, ["a", "b"], takt_s=TAKT_S)


def shifted(share: float, seconds: float, *, vehicle: int = 1) -> Any:
    found = CALM.copy()
    found[: int(1_000 * share), vehicle] += seconds
    return found


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (CALM, (True, 1000, ())),  # no difference to see: it costs less as counted
        (CALM - 500, (True, 1000, ())),
        (CALM + 61, (False, 0, ())),  # the line ends later
        (CALM + 60, (True, 1000, ())),  # by no more than a takt
        (shifted(0.1, 300, vehicle=0), (True, 900, ())),
        (shifted(0.101, 300, vehicle=0), (False, 899, ())),
        (shifted(0.05, 300), (True, 950, ())),  # late in few runs
        (shifted(0.2, 300), (False, 800, ("b",))),
        (shifted(0.2, 110), (False, 800, ("b",))),
    ],
)
def test_a_plan_is_released_if_it_is_better_often_enough_and_breaks_no_due_time(
    new: Any, expected: tuple[bool, int, tuple[str, ...]]
) -> None:
    found = verdict(new)
    assert (found.released, found.better_permille, found.broken) == expected
    assert found.reason


def test_less_lateness_is_worth_a_longer_line() -> None:
    running, new = CALM.copy(), CALM.copy()
    running[:, 1] = 1_500  # 400 late
    new[:, 0] = 1_700  # the line ends later, nobody waits for that one
    found = verdict(new, running=running)
    assert (found.released, found.late_s, found.end_s) == (True, (400, 0), (1_500, 1_700))


def test_one_broken_due_time_is_enough_to_refuse() -> None:
    running = CALM.copy()
    running[:, 0] = 9_000
    found = judge(running, CALM + 101, (5_000.0, 1_100.0), ["a", "b"], takt_s=TAKT_S)
    assert (found.released, found.better_permille, found.broken) == (False, 1000, ("b",))
    assert found.reason == "1 in time now would be late at the 0.9 quantile: b"


@pytest.mark.parametrize("new", [CALM[:99], np.full((1_000, 2), np.nan), np.full((1_000, 2), np.inf)])
def test_a_twin_that_did_not_run_through_releases_nothing(new: Any) -> None:
    assert not judge(CALM[: len(new)], new, (np.inf, np.inf), ["a", "b"], takt_s=TAKT_S).released
    assert not judge(new, CALM[: len(new)], (np.inf, np.inf), ["a", "b"], takt_s=TAKT_S).released


def test_two_plans_that_are_alike_within_a_takt_are_said_to_be_so_and_others_are_not() -> None:
    tie = ": alike within a takt, where the plan that costs less counts as better"
    assert verdict(CALM + 1).reason.endswith(f"end of the line +1 s in the mean{tie}")
    assert tie not in verdict(CALM - 500).reason
    assert tie not in verdict(CALM + 61).reason


def test_an_empty_line_is_no_worse() -> None:
    none = np.zeros((1_000, 0))
    assert judge(none, none, [], [], takt_s=TAKT_S).released
