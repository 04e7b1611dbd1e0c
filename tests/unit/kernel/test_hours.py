from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import (
    ALWAYS,
    DAYS,
    OwnHours,
    Window,
    closed_spans,
    find_zone,
    is_open,
    length_words,
    longest_s,
    longest_wait_s,
    offer_time,
    open_until,
    own_offer_time,
)

NIGHT = Window(hours=("22:00-05:00",), time_zone="Europe/Berlin")
MINUTE = timedelta(minutes=1)


def berlin(text: str) -> datetime:
    zone = find_zone("Europe/Berlin")
    assert zone is not None
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "quiet", "at", "open_"),
    [
        (("22:00-05:00",), (), "2026-11-25T21:59", False),
        (("22:00-05:00",), (), "2026-11-25T22:00", True),
        (("22:00-05:00",), (), "2026-11-26T04:59", True),
        (("22:00-05:00",), (), "2026-11-26T05:00", False),
        (("fri 22:00-05:00",), (), "2026-11-28T04:59", True),  # Saturday morning belongs to Friday's span
        (("fri 22:00-05:00",), (), "2026-11-28T22:30", False),
        (("sun 22:00-05:00",), (), "2026-11-30T03:00", True),  # past the end of the week
        (("sat-mon 08:00-24:00",), (), "2026-11-30T23:59", True),
        (("sat-mon 08:00-24:00",), (), "2026-12-01T08:00", False),
        (("mon,wed-thu 08:00-09:00",), (), "2026-11-26T08:30", True),
        ((), ("07:00-19:00",), "2026-11-26T08:30", False),
        ((), ("07:00-19:00",), "2026-11-26T19:00", True),
        (("00:00-24:00",), ("sun 00:00-24:00",), "2026-11-29T12:00", False),
    ],
)
def test_a_window_is_open_when_the_wall_clock_shows_its_hours(
    hours: tuple[str, ...], quiet: tuple[str, ...], at: str, *, open_: bool
) -> None:
    window = Window(hours=hours, quiet=quiet, time_zone="Europe/Berlin")
    assert is_open(window, window.zone(None), berlin(at)) is open_


def test_the_same_instant_is_day_here_and_night_there() -> None:
    at = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)
    assert is_open(NIGHT, NIGHT.zone(None), at)
    assert not is_open(NIGHT, NIGHT.zone(find_zone("Asia/Tokyo")), at)


@pytest.mark.parametrize(
    ("at", "until"),
    [
        ("2026-03-29T01:00", "2026-03-29T03:00"),  # 02:30 is skipped: the window opens as the clock jumps
        ("2026-10-24T12:00", "2026-10-25T02:30"),
    ],
)
def test_an_opening_that_the_clock_skips_begins_when_it_jumps(at: str, until: str) -> None:
    window = Window(hours=("02:30-04:00",), time_zone="Europe/Berlin")
    assert open_until(window, window.zone(None), berlin(at)) == (False, berlin(until))


def test_hours_that_happen_twice_are_open_twice() -> None:
    window = Window(hours=("02:15-02:45",), time_zone="Europe/Berlin")
    zone, at = window.zone(None), berlin("2026-10-25T00:00")
    spans = []
    for _ in range(2):
        opens = open_until(window, zone, at)[1]
        assert opens is not None
        closes = open_until(window, zone, opens)[1]
        assert closes is not None
        spans.append((opens, closes - opens))
        at = closes
    midnight = datetime(2026, 10, 25, tzinfo=UTC)
    assert spans == [(midnight + minutes * MINUTE, 30 * MINUTE) for minutes in (15, 75)]


@pytest.mark.parametrize(
    "given_window",
    [
        {},
        {"hours": ("22-05",)},
        {"hours": ("22:00-25:00",)},
        {"hours": ("22:60-23:00",)},
        {"hours": ("22:00-22:00",)},
        {"hours": ("24:00-05:00",)},
        {"hours": ("may 22:00-05:00",)},
        {"hours": ("mon-fri",)},
        {"hours": ("mon- 22:00-05:00",)},
        {"hours": ("22:00-05:00" + " " * 100,)},
        {"hours": ("22:00-23:00",) * 29},
        {"hours": ("22:00-05:00",), "time_zone": "Europe"},  # a folder of the database of time zones
        {"hours": ("22:00-05:00",), "time_zone": "../../etc/passwd"},
        {"hours": ("22:00-05:00",), "time_zone": ""},
        {"hours": ("22:00-05:00",), "time_zone": "CEST+1"},
        {"hours": ("08:00-10:00",), "quiet": ("07:00-19:00",)},
    ],
)
def test_a_window_that_cannot_be_read_or_never_opens_is_refused(given_window: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Window(**given_window)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hours", "quiet", "longest_h", "needed_h", "wait_h"),
    [
        (("22:00-05:00",), (), 7, 1, 18),  # begun at 04:00 at the latest, again at 22:00
        (("22:00-05:00",), (), 7, 7, 24),
        (("sat 20:00-23:00", "22:00-23:00"), (), 3, 2, 167),
        (("sun 20:00-04:00",), (), 8, 0, 160),
        (("00:00-24:00",), (), 168, 3, 0),
        ((), ("07:00-19:00",), 12, 1, 13),
    ],
)
def test_a_usual_week_has_a_longest_opening_and_a_longest_wait(
    hours: tuple[str, ...], quiet: tuple[str, ...], longest_h: int, needed_h: int, wait_h: int
) -> None:
    window = Window(hours=hours, quiet=quiet)
    assert longest_s(window) == longest_h * 3600
    assert longest_wait_s(window, needed_s=needed_h * 3600) == wait_h * 3600


times = st.tuples(st.integers(0, 23), st.integers(0, 59)).map(lambda pair: f"{pair[0]:02}:{pair[1]:02}")
spans = st.tuples(st.sampled_from(["", *(f"{day} " for day in DAYS)]), times, times).filter(
    lambda span: span[1] != span[2]
)
windows = st.lists(spans, min_size=1, max_size=3).map(
    lambda found: Window(hours=tuple(f"{day}{start}-{end}" for day, start, end in found))
)
zones = st.sampled_from([
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns",
    "Asia/Kathmandu", "Pacific/Apia", "Pacific/Chatham", "America/Nuuk",
])  # fmt: skip
# Where clocks are set: around the ends of March and October, of Ramadan, and the day that Samoa left out.
instants = st.one_of(
    st.integers(0, 660_000_000).map(
        lambda second: datetime(2009, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    ),
    st.sampled_from(
        ["2026-03-29", "2026-10-25", "2026-11-01", "2026-04-05", "2026-02-15", "2011-12-30"]
    ).flatmap(
        lambda day: st.integers(-2880, 2880).map(
            lambda minute: datetime.fromisoformat(day).replace(tzinfo=UTC) + minute * MINUTE
        )
    ),
)


@settings(deadline=None, max_examples=150)
@given(window=windows, name=zones, at=instants)
def test_nothing_changes_before_the_instant_that_is_told_and_it_does_then(
    window: Window, name: str, at: datetime
) -> None:
    zone = find_zone(name)
    assert zone is not None
    now_open, until = open_until(window, zone, at)
    assert now_open is is_open(window, zone, at)
    last = at + timedelta(days=8) if until is None else until
    probe = at.replace(second=0, microsecond=0) + MINUTE
    while probe < last:
        assert is_open(window, zone, probe) is now_open
        probe += 7 * MINUTE
    if until is not None:
        assert is_open(window, zone, until) is not now_open
        assert is_open(window, zone, until - timedelta(microseconds=1)) is now_open
    else:
        assert longest_s(window) == 7 * 86_400


@settings(deadline=None, max_examples=150)
@given(window=windows, name=zones, at=instants, needed_s=st.integers(0, 8 * 3600))
def test_whatever_begins_when_it_may_is_over_before_the_window_closes(
    window: Window, name: str, at: datetime, needed_s: int
) -> None:
    zone = find_zone(name)
    assert zone is not None
    may, changes = offer_time(window, zone, at, needed_s=needed_s)
    begins = at if may else changes
    if begins is None:
        assert (
            longest_s(window) < needed_s + 7200
        )  # a clock that is set back can make it an hour or two longer
        return
    closes = open_until(window, zone, begins)[1]
    assert is_open(window, zone, begins)
    assert closes is None or begins + timedelta(seconds=needed_s) <= closes
    if may and changes is not None:
        assert not offer_time(window, zone, changes, needed_s=needed_s)[0]


@pytest.mark.parametrize(
    ("hours", "at", "recall", "expected"),
    [
        (ALWAYS, "2026-12-01T12:00", False, (False, "2026-12-27T12:00")),
        (ALWAYS, "2026-12-27T12:00", False, (True, None)),
        (ALWAYS, "2026-12-01T12:00", True, (True, None)),  # an emergency recall is not put off
        (("22:00-05:00",), "2026-12-01T23:00", False, (False, "2026-12-27T22:00")),
        (("22:00-05:00",), "2026-12-01T23:00", True, (True, None)),
        (("22:00-05:00",), "2026-12-01T12:00", True, (False, "2026-12-01T22:00")),  # but keeps to the hours
        (("22:00-22:30",), "2026-12-01T12:00", False, (False, None)),  # never for long enough
        (
            ("22:00-22:30",),
            "2026-12-01T12:00",
            True,
            (True, None),
        ),  # nor do hours keep a recall away for good
    ],
)
def test_what_is_put_off_may_begin_in_its_hours_after_that(
    hours: tuple[str, ...], at: str, *, recall: bool, expected: tuple[bool, str | None]
) -> None:
    own = OwnHours(hours=hours, time_zone="Europe/Berlin", not_before=berlin("2026-12-27T12:00"))
    may, changes = own_offer_time(own, own.zone(None), berlin(at), needed_s=3_600, recall=recall)
    assert may is expected[0]
    if not may:
        assert changes == (berlin(expected[1]) if expected[1] else None)


def test_utc_needs_no_list_of_names_from_the_disk(tmp_path: Path) -> None:
    look = "import sys, ringroad.kernel.hours as h; print(h.find_zone('UTC'), 'zoneinfo' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["UTC", "False"]


def test_a_time_without_a_zone_puts_nothing_off() -> None:
    with pytest.raises(InvalidInput):
        OwnHours(hours=ALWAYS, not_before=datetime(2026, 12, 27))  # noqa: DTZ001 - what is refused


def test_an_opening_on_the_day_on_which_the_clock_is_set_is_seen_from_nine_days_before() -> None:
    window = Window(hours=("01:00-02:00",), time_zone="Europe/Berlin")
    start, end = berlin("2026-10-16T08:00"), berlin("2026-10-26T00:00")
    spans = list(closed_spans(window, window.zone(None), start=start, end=end))
    assert berlin("2026-10-25T01:00") in {until for _, until in spans}
    assert not any(since <= berlin("2026-10-25T01:30") < until for since, until in spans)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (5, "5 s"), (600, "10 min"), (605, "10 min 5 s"), (5_400, "1 h 30 min"), (86_400, "24 h"),
        (86_401, "24 h 1 min"), (234_210, "2 d 18 h"), (604_800, "7 d"),
    ],
)  # fmt: skip
def test_a_length_of_time_is_told_in_at_most_two_units(seconds: int, text: str) -> None:
    assert length_words(seconds) == text
