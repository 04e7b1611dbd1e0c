"""What the twin says of a station that stands: by hand where there is no luck, and never better than without."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from ringroad.build.calendar import Calendar
from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import line_arrays
from ringroad.build.twin.run import replicate
from ringroad.build.twin.what_if import LATE_NAMED_MAX, StopEffect, stop_station
from ringroad.kernel.errors import InvalidInput

pytestmark = pytest.mark.timeout(400)  # the first run on a machine compiles

NOW = datetime(2026, 11, 25, tzinfo=UTC)
CALM = Line(
    name="l",
    stations=tuple(Station(name=name, cycle_s=60, spread_permille=0) for name in ("frame", "roof")), ratios=(),
)  # fmt: skip
IDS = [f"o{number}" for number in range(20)]


def orders(*, due_s: int = 0, building: int = 0) -> dict[str, Order]:
    return {
        order_id: Order(
            id=order_id, programme_id="p", variant="v", received_at=NOW, state="building" if number < building else "open",
            due_at=NOW + timedelta(seconds=due_s + 60 * number) if due_s else None,
        )
        for number, order_id in enumerate(IDS)
    }  # fmt: skip


def ask(station: str = "roof", down_s: int = 600, *, line: Line = CALM, **changes: Any) -> StopEffect:
    return stop_station(
        IDS,
        orders(**changes),
        line,
        station=station,
        down_s=down_s,
        now=NOW,
        seed=1,
        threads=1,
        replications=120,
    )


@pytest.mark.parametrize(
    ("station", "down_s", "later_s"),
    [("frame", 600, 600), ("roof", 600, 540), ("roof", 60, 0), ("roof", 61, 1), ("frame", 1, 1)],
)
def test_a_stop_at_the_start_costs_what_one_finds_by_hand(station: str, down_s: int, later_s: int) -> None:
    """The first vehicle needs the roof a minute from now; nothing catches up, since the takt is the cycle."""
    found = ask(station, down_s)
    assert (found.refused, found.vehicles, found.later_s) == ("", 20, later_s)
    assert found.end_s == (1_260, 1_260 + later_s)


def test_work_that_was_begun_goes_on_after_the_stop() -> None:
    """The vehicle on the line came to the roof half a minute ago and needs another minute there."""
    uneven = replace(CALM, stations=(CALM.stations[0], replace(CALM.stations[1], cycle_s=90)))
    for stops, leaves in (({}, 60), ({"roof": 100.0}, 160)):
        arrays = line_arrays(uneven, list(orders(building=1).values()), stops=stops)
        found = replicate(arrays, [list(range(20))], on_line=1, replications=1, seed=1, threads=1)
        assert found[0, 0, 0] == leaves


def test_a_stop_comes_on_top_of_breakdowns_and_has_the_same_luck_on_any_number_of_threads() -> None:
    frail = replace(CALM, stations=(replace(CALM.stations[0], uptime_s=900, repair_s=120), CALM.stations[1]))
    arrays = line_arrays(frail, list(orders().values()), stops={"frame": 600})
    given: dict[str, Any] = {"on_line": 0, "replications": 200, "seed": 1}
    found = replicate(arrays, [list(range(20))], threads=1, **given)
    np.testing.assert_array_equal(found, replicate(arrays, [list(range(20))], threads=2, **given))
    calm = replicate(line_arrays(frail, list(orders().values())), [list(range(20))], threads=1, **given)
    assert (found[:, 0, 0] >= 660).all()
    assert found.mean() > calm.mean() + 500


def test_orders_that_a_stop_makes_late_are_counted_and_named() -> None:
    found = ask(due_s=300)
    assert (found.late, found.late_named) == (20, tuple(IDS[:LATE_NAMED_MAX]))
    assert ask(due_s=2_000).late == 0
    assert ask(due_s=30).late == 0  # they are late without it
    assert found.times[0] == ("o0", 120, 660, 300)


@pytest.mark.parametrize(
    ("station", "why"), [("nowhere", "has no station 'nowhere'"), ("", "has no station ''")]
)
def test_a_station_that_is_not_there_is_named(station: str, why: str) -> None:
    assert why in ask(station).refused
    with pytest.raises(InvalidInput):
        line_arrays(CALM, [], stops={station: 1.0})


def test_an_empty_schedule_has_no_answer() -> None:
    found = stop_station([], {}, CALM, station="roof", down_s=60, now=NOW, seed=1, threads=1)
    assert found.refused == "nothing is scheduled"


@pytest.mark.parametrize(
    ("down_s", "later_s"),
    [
        (600, 540),  # the last one leaves as the half hour is over
        (660, 86_400 - 1_800 + 600),
        (1_800, 86_400 - 1_800 + 1_740),
        (8 * 3_600, 86_400 - 1_800 + 1_740),  # mended in the night
    ],
)
def test_a_stop_is_over_on_the_wall_and_what_it_pushes_into_a_rest_goes_on_behind_it(
    down_s: int, later_s: int
) -> None:
    """Half an hour of work a day, in which all twenty vehicles would leave."""
    line = replace(CALM, calendar=Calendar(name="days", hours=("00:00-00:30",)))
    assert ask("roof", down_s, line=line).later_s == later_s
