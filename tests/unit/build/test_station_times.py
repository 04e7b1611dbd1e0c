"""Measured station times: what is believed, what was known, and what is refused with which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.model import Line, Station
from ringroad.build.plan_line import Order
from ringroad.build.station_times import SortedTimes, StationTime, sort_times

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LINE = Line(
    name="l", stations=tuple(Station(name=name, cycle_s=60) for name in ("frame", "roof", "test")), ratios=()
)
ORDERS = {
    state: Order(
        id=state, programme_id="p", variant="v", received_at=NOW - timedelta(hours=1), state=state
    )
    for state in ("open", "building", "born", "cancelled")
}  # fmt: skip


def time(number: int, station: str = "frame", *, ago_s: float = 100, **changes: Any) -> StationTime:
    base = StationTime(
        id=f"e{number}", order_id="building", station=station, worked_ms=60_000,
        finished_at=NOW - timedelta(seconds=ago_s),
    )  # fmt: skip
    return replace(base, **changes)


def sort(*delivered: StationTime, before: tuple[StationTime, ...] = (), line: Line = LINE) -> SortedTimes:
    return sort_times(delivered, line, ORDERS, before, now=NOW)


WAY = (time(1, ago_s=300), time(2, "roof", ago_s=200), time(3, "test", ago_s=100))


@pytest.mark.parametrize("delivered", [WAY, WAY[::-1], (WAY[1], WAY[0], WAY[2])])
def test_a_vehicles_way_is_taken_in_whatever_order_it_is_told(delivered: tuple[StationTime, ...]) -> None:
    found = sort(*delivered)
    assert (found.taken, found.repeated, found.refused) == (delivered, 0, ())


def test_the_same_event_again_is_counted_and_taken_once() -> None:
    assert (sort(*WAY, *WAY).taken, sort(*WAY, *WAY).repeated) == (WAY, 3)
    again = sort(*WAY, before=WAY)
    assert (again.taken, again.repeated, again.refused) == ((), 3, ())


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (time(9, "chassis"), "no station 'chassis': it has frame, roof, test"),
        (time(9, order_id="nobody"), "there is no order nobody"),
        (time(9, order_id="open"), "order open is open: it never entered the line"),
        (time(9, order_id="cancelled"), "order cancelled is cancelled"),
        (time(9, ago_s=-60), "frame finished order building 60 s in the future"),
        (time(9, ago_s=7_200), "frame finished order building before it was received"),
        (time(2, "roof", worked_ms=1), "event e2 was building at roof before"),
        (time(9, "roof", ago_s=10), "roof finished order building already, as event e2"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_the_rest_is_taken(bad: StationTime, why: str) -> None:
    found = sort(*WAY, bad)
    assert found.taken == WAY
    (refused,) = found.refused
    assert (refused.id, refused.station, refused.order_id) == (bad.id, bad.station, bad.order_id)
    assert why in refused.reason


@pytest.mark.parametrize(
    ("bad", "before"),
    [(time(9, "test", ago_s=350), WAY[:1]), (time(9, "frame", ago_s=50), WAY[1:]), (time(9, "roof", ago_s=50), WAY[2:])],
)  # fmt: skip
def test_stations_the_wrong_way_round_are_refused(bad: StationTime, before: tuple[StationTime, ...]) -> None:
    (refused,) = sort(bad, before=before).refused
    assert "cannot have left" in refused.reason
    assert bad.station in refused.reason


def test_on_a_line_with_rework_a_vehicle_may_come_back() -> None:
    gate = replace(LINE.stations[2], rework_permille=50, rework_s=60, rework_to="frame")
    reworked = replace(LINE, stations=(*LINE.stations[:2], gate))
    back = (*WAY, time(4, "frame", ago_s=50), time(5, "roof", ago_s=40))
    assert sort(*back, line=reworked).taken == back


def test_a_clock_a_little_ahead_is_forgiven_and_born_vehicles_may_be_told_late() -> None:
    assert sort(time(1, ago_s=-4)).taken
    assert sort(time(1, order_id="born")).taken


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from(["frame", "roof", "test", "x"]), st.integers(-100, 4_000)
        )
    )
)
def test_every_event_is_taken_repeated_or_refused_and_a_second_delivery_takes_nothing(
    rows: list[tuple[int, str, int]],
) -> None:
    delivered = [time(number, station, ago_s=ago_s) for number, station, ago_s in rows]
    found = sort(*delivered)
    assert len(found.taken) + found.repeated + len(found.refused) == len(delivered)
    assert sort(*delivered, before=found.taken).taken == ()
