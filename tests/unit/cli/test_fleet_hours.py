from __future__ import annotations

from typing import Any

import pytest

from ringroad.cli.fleet_hours import instant
from ringroad.http.console.why import hours_said
from ringroad.kernel.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2027-01-04", "Europe/Oslo", "2027-01-04T00:00:00+01:00"),
        ("2027-07-04T08:30", "Europe/Oslo", "2027-07-04T08:30:00+02:00"),  # in summer
        ("2027-01-04T08:00+00:00", "Europe/Oslo", "2027-01-04T08:00:00+00:00"),
    ],
)
def test_a_day_without_a_zone_begins_by_the_clock_of_the_one_that_is_named(
    text: str, zone: str, expected: str
) -> None:
    assert instant(text, zone) == expected


@pytest.mark.parametrize(
    ("text", "zone"), [("soon", "UTC"), ("", "UTC"), ("2027-01-04", "Oslo"), ("24:00", "UTC")]
)
def test_what_is_no_time_is_refused(text: str, zone: str) -> None:
    with pytest.raises(InvalidInput):
        instant(text, zone)


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (None, "whenever a campaign may"),
        (
            {"hours": ["01:00-05:00"], "quiet": ["sun 00:00-24:00"]},
            "01:00-05:00, not sun 00:00-24:00; Europe/Oslo",
        ),
        (
            {"hours": ["00:00-24:00"], "not_before": "2027-01-03T23:00:00Z"},
            "not before 2027-01-04 00:00; Europe/Oslo",
        ),
        ({"hours": ["01:00-05:00"], "not_before": None}, "01:00-05:00; Europe/Oslo"),
    ],
)
def test_hours_are_told_by_the_clock_they_go_by(schedule: dict[str, Any] | None, text: str) -> None:
    given = schedule and {"quiet": [], "time_zone": "Europe/Oslo"} | schedule
    assert hours_said(given) == text
