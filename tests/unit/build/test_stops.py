"""What stands on a line: for how long more, and whom it holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.build.calendar import Calendar
from ringroad.build.model import Line, Station
from ringroad.build.stops import (
    EXPECTED_S_DEFAULT,
    EXPECTED_S_MAX,
    OVERDUE_S,
    LineStop,
    delay_s,
    expected_s,
    held_options,
    standing_s,
    stopped_stations,
)
from ringroad.build.working_time import stands_at_work, working_time

NOW = datetime(2026, 11, 23, 6, tzinfo=UTC)


def stop(station: str, **changes: Any) -> LineStop:
    given: dict[str, Any] = {
        "id": "stop_1", "programme_id": "p", "station": station, "kind": "breakdown", "reason": "robot 3",
        "options": (), "event_id": "", "began_at": NOW, "expected_s": 600, "stopped_by": "tester",
    }  # fmt: skip
    return LineStop(**(given | changes))


@pytest.mark.parametrize(
    ("after_s", "left_s"), [(0, 600), (200, 400), (599, 1), (600, OVERDUE_S), (10_000, OVERDUE_S)]
)
def test_a_stop_lasts_as_long_as_expected_and_then_five_minutes_more_and_more(
    after_s: int, left_s: int
) -> None:
    assert stop("roof").left_s(NOW + timedelta(seconds=after_s)) == left_s


def test_the_longest_stop_of_a_station_counts_and_the_line_waits_for_the_longest_of_all() -> None:
    stops = [stop("roof"), stop("roof", expected_s=900), stop("trim", expected_s=300)]
    assert standing_s(stops, NOW) == {"roof": 900, "trim": 300}
    assert delay_s(stops, NOW) == 900
    assert delay_s([], NOW) == 0


def test_a_stop_for_some_holds_those_and_no_station() -> None:
    some = stop("roof", kind="quality", reason="glass cracks", options=("sunroof", "glass"))
    assert standing_s([some], NOW) == {}
    assert stopped_stations([some]) == {}
    assert held_options([some, stop("trim")]) == {
        "sunroof": "roof, quality stop: glass cracks",
        "glass": "roof, quality stop: glass cracks",
    }


def test_nobody_says_how_long_then_the_programme_does() -> None:
    always = Line(name="1", stations=(), ratios=())
    assert expected_s(always, Station(name="a", cycle_s=60, repair_s=1_200), NOW) == 1_200
    assert expected_s(always, Station(name="a", cycle_s=60), NOW) == EXPECTED_S_DEFAULT


def test_a_breakdown_lasts_until_its_seconds_of_work_are_over_and_rests_come_on_top() -> None:
    shift = Line(name="1", stations=(), ratios=(), calendar=Calendar(name="day", hours=("06:00-14:00",)))
    repaired = Station(name="a", cycle_s=60, repair_s=1_800)
    for began_at, wall_s in (
        (NOW, 1_800),  # the shift begins
        (NOW + timedelta(hours=7.75), 16 * 3_600 + 1_800),  # a quarter of an hour before it ends
        (NOW - timedelta(hours=1), 3_600 + 1_800),  # in the rest before it
    ):
        found = expected_s(shift, repaired, began_at)
        assert found == wall_s
        time = working_time(shift.calendar, start=began_at)
        assert stands_at_work(
            {"a": stop("a", began_at=began_at, expected_s=found).left_s(began_at)}, time
        ) == {"a": 1_800}
    weekly = Line(name="1", stations=(), ratios=(), calendar=Calendar(name="day", hours=("mon 06:00-07:00",)))
    assert expected_s(weekly, replace(repaired, repair_s=7_200), NOW) == EXPECTED_S_MAX
