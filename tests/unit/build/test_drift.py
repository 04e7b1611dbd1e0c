"""The twin against the line: when it is right it is left alone, when it is wrong it is noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ringroad.build.model import Line, Station
from ringroad.build.twin.drift import (
    MEASURED_MIN,
    VEHICLES_PER_FALSE_ALARM,
    StationDrift,
    WorkTime,
    drift_of,
    out_of_calibration,
)

STATIONS = tuple(Station(name=f"s{number}", cycle_s=60, extra_s={"roof": 20}) for number in range(5))
LINE = Line(name="l", stations=STATIONS, ratios=())


def times(
    seed: int, vehicles: int, *, station: str = "s0", slow: float = 1.0, spread: float = 0.05
) -> list[WorkTime]:
    """Every third vehicle has a roof; times are lognormal with a mean of what the programme says, times `slow`."""
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(np.log(1 + spread * spread))
    return [
        WorkTime(
            station=station, worked_s=(80 if number % 3 == 0 else 60) * slow * float(np.exp(draw)),
            features=frozenset({"roof"} if number % 3 == 0 else ()),
        )
        for number, draw in enumerate(rng.normal(-sigma * sigma / 2, sigma, vehicles))
    ]  # fmt: skip


def first(found: tuple[StationDrift, ...]) -> StationDrift:
    return found[0]


def test_a_twin_that_is_right_raises_no_false_alarm_at_any_look() -> None:
    """400 stations with 500 vehicles each, looked at 20 times: the bound allows 0.2 alarms for each line of five."""
    alarms = 0
    for seed in range(400):
        measured = times(seed, 500)
        alarms += any(out_of_calibration(drift_of(LINE, measured[:seen])) for seen in range(25, 501, 25))
    assert alarms <= 400 * 500 / VEHICLES_PER_FALSE_ALARM + 1


@pytest.mark.parametrize("slow", [0.98, 1.02])
def test_what_is_off_by_less_than_the_tolerance_is_left_alone(slow: float) -> None:
    for seed in range(20):
        assert first(drift_of(LINE, times(seed, 2_000, slow=slow))).state == "agrees"


@pytest.mark.parametrize(
    ("slow", "spread", "vehicles", "how"),
    [
        (1.10, 0.05, 60, "slower"),
        (1.06, 0.05, 300, "slower"),
        (0.90, 0.05, 60, "faster"),
        (1.00, 0.15, 100, "wider"),
    ],
)
def test_a_twin_that_is_wrong_is_noticed_and_in_which_way(
    slow: float, spread: float, vehicles: int, how: str
) -> None:
    noticed = [first(drift_of(LINE, times(seed, vehicles, slow=slow, spread=spread))) for seed in range(20)]
    assert [each.how for each in noticed] == [how] * 20


def test_a_line_that_becomes_slow_after_a_long_time_is_noticed_as_soon() -> None:
    before, after = times(1, 1_000), times(2, 60, slow=1.1)
    assert first(drift_of(LINE, [*before, *after])).how == "slower"


def test_one_strange_time_condemns_nobody() -> None:
    measured = times(1, 200)
    measured[100] = replace(measured[100], worked_s=6_000)
    measured[150] = replace(measured[150], worked_s=0.5)
    assert first(drift_of(LINE, measured)).state == "agrees"


def test_what_was_measured_put_into_the_programme_ends_the_alarm_at_once() -> None:
    measured = times(3, 400, slow=1.1)
    found = first(drift_of(LINE, measured))
    assert found.state == "differs"
    assert found.measured_cycle_s is not None
    assert found.measured_spread_permille is not None
    told = replace(
        STATIONS[0], cycle_s=round(found.measured_cycle_s), spread_permille=found.measured_spread_permille
    )
    assert first(drift_of(replace(LINE, stations=(told, *STATIONS[1:])), measured)).state == "agrees"


@pytest.mark.parametrize("vehicles", [0, 1, MEASURED_MIN - 1])
def test_few_times_prove_nothing(vehicles: int) -> None:
    found = drift_of(LINE, times(1, vehicles))
    assert [each.state for each in found] == ["unmeasured"] * 5
    assert [each.vehicles for each in found] == [vehicles, 0, 0, 0, 0]
    assert out_of_calibration(found) == ()


def test_what_cannot_be_a_time_or_a_station_is_left_out() -> None:
    odd = [
        WorkTime(station="s0", worked_s=0, features=frozenset()),
        WorkTime(station="s0", worked_s=-5, features=frozenset()),
        WorkTime(station="gone", worked_s=60, features=frozenset()),
    ]
    assert [each.vehicles for each in drift_of(LINE, odd)] == [0] * 5
    assert drift_of(replace(LINE, stations=()), odd) == ()


def test_a_station_said_to_be_exact_is_not_condemned_for_a_clock() -> None:
    exact = replace(LINE, stations=(replace(STATIONS[0], spread_permille=0),))
    assert first(drift_of(exact, times(1, 500, spread=0.005))).state == "agrees"


def test_it_says_in_words_what_is_wrong() -> None:
    slow = first(drift_of(LINE, times(3, 400, slow=1.1)))
    assert str(slow).startswith("s0 takes 6")
    assert str(slow).endswith("the programme says 60 s")
    wide = first(drift_of(LINE, times(3, 400, spread=0.2)))
    assert "the programme says 5 %" in str(wide)
