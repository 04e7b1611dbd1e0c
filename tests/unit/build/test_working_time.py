"""A line's time without its rests: on the wall and back, over nights, holidays and clocks that are set."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.calendar import HORIZON_DAYS, Calendar, closed_times
from ringroad.build.working_time import (
    ALWAYS,
    WorkingTime,
    worked_day_s,
    worked_gaps,
    worked_spans,
    working_time,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window, is_open

HOUR = 3_600.0
DAY = 86_400.0
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
OSLO = ZoneInfo("Europe/Oslo")
DAYS = Calendar(name="days", hours=("mon-fri 06:00-14:00",), breaks=("mon-fri 09:30-10:00",))
NIGHTS = Calendar(name="nights", time_zone="Europe/Oslo", hours=("mon-sun 22:00-06:00",))

spans = st.sampled_from(
    ["mon-fri 06:00-22:00", "mon-sun 22:00-06:00", "sat 08:00-12:00", "00:00-24:00", "tue,thu 05:30-13:15"]
)
calendars = st.builds(
    Calendar,
    name=st.just("some"),
    time_zone=st.sampled_from(["UTC", "Europe/Oslo", "America/New_York", "Australia/Lord_Howe"]),
    hours=st.lists(spans, min_size=1, max_size=3, unique=True).map(tuple),
    breaks=st.sampled_from([(), ("09:30-09:45",), ("mon-fri 23:00-23:30", "12:00-12:30")]),
    closed=st.sampled_from([(), ("2026-12-25", "2027-01-01"), ("2026-10-25",)]),
)
starts = st.integers(0, 250 * 24 * 60).map(lambda minutes: MONDAY - timedelta(days=60) + timedelta(minutes=minutes))  # fmt: skip
seconds = st.integers(-4 * 86_400, 2 * (HORIZON_DAYS + 30) * 86_400).map(lambda halves: halves / 2)


@settings(max_examples=40, deadline=None)
@given(calendar=calendars, start=starts, wall_s=seconds, worked_s=seconds)
def test_what_is_done_by_a_time_on_the_wall_is_what_is_worked_until_then(
    calendar: Calendar, start: datetime, wall_s: float, worked_s: float
) -> None:
    time = working_time(calendar, start=start)
    done, begun = time.done(worked_s), time.begun(worked_s)
    assert time.worked(done) == pytest.approx(worked_s, abs=1e-3)
    assert time.worked(begun) == pytest.approx(worked_s, abs=1e-3)
    assert done <= begun
    assert time.done(time.worked(wall_s)) <= wall_s + 1e-3
    assert time.rests(wall_s) == (time.done(time.worked(wall_s)) < wall_s - 1e-3)


@settings(max_examples=25, deadline=None)
@given(calendar=calendars, start=starts, walls=st.lists(seconds, min_size=2, max_size=30).map(sorted))
def test_more_time_on_the_wall_is_never_less_work_and_many_at_once_are_as_one_by_one(
    calendar: Calendar, start: datetime, walls: list[float]
) -> None:
    time = working_time(calendar, start=start)
    worked, done = [time.worked(each) for each in walls], [time.done(each) for each in walls]
    assert worked == sorted(worked)
    assert done == sorted(done)
    assert time.worked_each(np.array(walls)).tolist() == pytest.approx(worked)
    assert time.done_each(np.array(walls)).tolist() == pytest.approx(done)
    assert time.done_each(np.array(walls[:1])).tolist() == pytest.approx(done[:1])
    assert time.done_each(np.array([])).tolist() == []
    assert time.worked_each(np.array([-np.inf, np.inf])).tolist() == [-np.inf, np.inf]


def test_a_shift_with_a_break_counts_what_is_worked() -> None:
    time = working_time(DAYS, start=MONDAY + timedelta(hours=7))
    assert [time.worked(hours * HOUR) for hours in (1, 2.5, 2.75, 3, 4, 7, 20, 23, 24)] == [
        hours * HOUR for hours in (1, 2.5, 2.5, 2.5, 3.5, 6.5, 6.5, 6.5, 7.5)
    ]
    assert (time.done(2.5 * HOUR), time.begun(2.5 * HOUR)) == (2.5 * HOUR, 3 * HOUR)
    assert (time.done(6.5 * HOUR), time.begun(6.5 * HOUR)) == (7 * HOUR, 23 * HOUR)


def test_what_begins_while_it_rests_begins_when_it_opens_and_nothing_was_worked_before() -> None:
    time = working_time(DAYS, start=MONDAY)
    assert (time.worked(5 * HOUR), time.begun(0), time.done(0), time.done(1)) == (
        0,
        6 * HOUR,
        0,
        6 * HOUR + 1,
    )
    assert [time.worked(-HOUR), time.done(-HOUR)] == [-HOUR, -HOUR]  # before now they are the same


def test_a_weekend_and_a_holiday_are_not_worked() -> None:
    friday = datetime(2026, 12, 18, 13, tzinfo=UTC)
    calendar = Calendar(name="days", hours=DAYS.hours, closed=("2026-12-21", "2026-12-22"))
    time = working_time(calendar, start=friday)
    assert time.begun(HOUR) == 4 * DAY + 17 * HOUR  # Wednesday at six
    assert time.worked(4.5 * DAY) == HOUR


@pytest.mark.parametrize(
    ("evening", "night_h"),
    [
        (datetime(2026, 3, 28, 22, tzinfo=OSLO), 7),  # the clock is set from two to three
        (datetime(2026, 10, 24, 22, tzinfo=OSLO), 9),  # from three to two
        (datetime(2026, 11, 23, 22, tzinfo=OSLO), 8),
    ],
)
def test_a_night_shift_is_as_long_as_the_clock_makes_it(evening: datetime, night_h: int) -> None:
    start = evening.astimezone(UTC)
    time = working_time(NIGHTS, start=start)
    assert time.done(night_h * HOUR) == night_h * HOUR
    opens = start + timedelta(seconds=time.begun(night_h * HOUR))
    assert opens.astimezone(OSLO).hour == 22
    assert (start + timedelta(seconds=time.done(night_h * HOUR))).astimezone(OSLO).hour == 6


def test_behind_the_horizon_work_goes_on_at_the_mean_share() -> None:
    time = working_time(Calendar(name="half", hours=("00:00-12:00",)), start=MONDAY)
    end = HORIZON_DAYS * DAY
    assert time.worked(end) == end / 2
    assert time.worked(end + 10 * DAY) == pytest.approx(end / 2 + 5 * DAY)
    assert time.done(end / 2 + 5 * DAY) == pytest.approx(end + 10 * DAY)


@pytest.mark.parametrize("calendar", [None, Calendar(name="always", hours=("00:00-24:00",))])
def test_who_never_rests_has_the_time_of_the_wall(calendar: Calendar | None) -> None:
    assert working_time(calendar, start=MONDAY) == ALWAYS == WorkingTime()
    assert ALWAYS.worked(1e9) == ALWAYS.done(1e9) == ALWAYS.begun(1e9) == 1e9


def test_a_plan_by_a_calendar_that_came_to_have_no_open_time_starts_behind_its_horizon() -> None:
    days = [MONDAY.date() + timedelta(days=number) for number in range(HORIZON_DAYS + 1)]
    shut = Calendar(name="strike", hours=("00:00-24:00",), closed=tuple(map(str, days)))
    time = working_time(shut, start=MONDAY)
    assert time.begun(0) == HORIZON_DAYS * DAY
    assert (time.worked(HORIZON_DAYS * DAY), time.worked(HORIZON_DAYS * DAY + 5)) == (0, 5)


def test_a_break_between_two_vehicles_is_no_slow_station() -> None:
    at = [MONDAY + timedelta(hours=hours) for hours in (9, 9.25, 10.25, 11, 13.9, 30.1, 72.1)]
    assert [round(each / HOUR, 6) for each in worked_gaps(DAYS, at)] == [0.25, 0.5, 0.75, 2.9, 0.2, 14.9]
    assert worked_gaps(None, at) == pytest.approx([gap * HOUR for gap in (0.25, 1, 0.75, 2.9, 16.2, 42)])
    late = [MONDAY + timedelta(hours=hours) for hours in (15, 16)]  # nobody should work then
    assert worked_gaps(DAYS, late) == [0]
    weeks = [MONDAY + timedelta(days=7 * number, hours=7) for number in range(30)]  # longer than the horizon
    assert worked_gaps(DAYS, weeks) == [37.5 * HOUR] * 29
    assert worked_gaps(DAYS, []) == []


def test_what_is_worked_in_spans_is_the_same_in_any_order() -> None:
    days = [MONDAY + timedelta(days=day, hours=13, minutes=50) for day in (0, 1, 45, 2)]
    assert worked_spans(DAYS, [(day, day + timedelta(hours=17)) for day in days]) == [HOUR] * 4
    assert worked_spans(None, [(MONDAY, MONDAY + timedelta(hours=1))]) == [HOUR]


@pytest.mark.parametrize(
    ("hours", "breaks", "worked_h"),
    [
        (("mon-fri 06:00-14:00",), ("mon-fri 09:30-10:00",), 7.5),
        (("mon-fri 22:00-06:00",), (), 8),
        (("mon-fri 06:00-10:00", "mon-fri 11:00-15:00"), (), 8),
        (("mon-fri 06:00-14:00", "mon-fri 14:00-22:00", "mon-fri 22:00-06:00"), (), 24),
        (("00:00-24:00",), (), 24),
        (("sat 08:00-12:00", "mon-thu 06:00-14:00"), (), 36 / 5),
    ],
)
def test_a_day_of_work_has_the_hours_of_a_usual_week(
    hours: tuple[str, ...], breaks: tuple[str, ...], worked_h: float
) -> None:
    calendar = Calendar(name="some", hours=hours, breaks=breaks)
    assert worked_day_s(calendar) == pytest.approx(worked_h * HOUR)
    assert worked_day_s(None) == DAY


def test_a_calendar_that_cannot_be_read_here_is_said_rather_than_taken_for_a_closed_one() -> None:
    calendar = Calendar(name="days", time_zone="Europe/Atlantis", hours=("mon-fri 06:00-14:00",))
    with pytest.raises(InvalidInput, match="there is no time zone 'Europe/Atlantis'"):
        working_time(calendar, start=MONDAY)


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Oslo", "America/New_York"])
def test_closed_days_that_are_ages_away_close_nothing_here(day: str, zone: str) -> None:
    calendar = Calendar(name="days", time_zone=zone, hours=("mon-fri 06:00-14:00",))
    assert working_time(replace(calendar, closed=(day,)), start=MONDAY) == working_time(
        calendar, start=MONDAY
    )


@settings(max_examples=60, deadline=None)
@given(
    calendar=calendars,
    start=starts,
    minutes=st.lists(st.integers(0, HORIZON_DAYS * 24 * 60 - 1), max_size=50),
)
def test_a_calendar_is_closed_exactly_where_its_wall_clock_shows_none_of_its_hours(
    calendar: Calendar, start: datetime, minutes: list[int]
) -> None:
    shut, zone = closed_times(calendar, start=start), ZoneInfo(calendar.time_zone)
    window = Window(hours=calendar.hours, quiet=calendar.breaks, time_zone=calendar.time_zone)
    for minute in minutes:
        at = start + timedelta(minutes=minute)
        is_shut = any(since <= minute * 60 < to for since, to in shut)
        closed_day = at.astimezone(zone).date().isoformat() in calendar.closed
        assert is_shut == (closed_day or not is_open(window, zone, at)), at
