"""What stands on a line: for how long more, and whom it holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.build.model import Station
from ringroad.build.stops import (
    EXPECTED_S_DEFAULT,
    OVERDUE_S,
    LineStop,
    delay_s,
    expected_s,
    held_options,
    standing_s,
    stopped_stations,
)

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
    assert expected_s(Station(name="a", cycle_s=60, repair_s=1_200)) == 1_200
    assert expected_s(Station(name="a", cycle_s=60)) == EXPECTED_S_DEFAULT
