"""What the command line says of a site and of a stop: nothing that contradicts itself, in plain words and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringroad.cli.schedule import times_text
from ringroad.cli.schedule_stops import minutes_text
from ringroad.cli.site import holds_texts, state_text

LINK: dict[str, Any] = {
    "site": "wren", "hub": "localhost:7422", "connected": True, "reached_at": "2026-11-26T06:00:00Z", "waiting": 0,
    "births_waiting": 0, "held_until": None, "no_news": "", "clock_behind_s": 0, "lines": [], "hub_reads": None,
    "hub_tells": None, "aside": 0,
}  # fmt: skip


def test_a_site_that_just_could_not_ask_its_hub_is_not_said_to_be_connected() -> None:
    assert ": connected; nothing waits" in state_text(LINK)
    said = state_text(LINK | {"no_news": "the hub is not reached"})
    assert "connected" not in said
    assert ": last reached 2026-11-26" in said


def test_a_line_without_a_release_is_said_to_have_none() -> None:
    line = {
        "programme_id": "kestrel", "release": "", "may_flash": False, "reason": "its hub set no release",
        "coming": "", "coming_missing": 0, "refused": "",
    }  # fmt: skip
    assert list(holds_texts(LINK | {"lines": [line]})) == [
        "line kestrel has no release to flash: its hub set no release"
    ]


@pytest.mark.parametrize(("seconds", "text"), [(1_200, "20"), (90, "1.5"), (100, "1.67"), (604_800, "10080")])
def test_minutes_are_plain_numbers(seconds: int, text: str) -> None:
    assert minutes_text(seconds) == text


def test_the_times_of_a_line_say_when_it_rests_and_who_is_late() -> None:
    row: dict[str, Any] = {
        "calendar": "two shifts", "time_zone": "Europe/Oslo", "rests_until": "2026-11-27T05:00:00Z",
        "rests": [{"since": "2026-11-26T21:10:00Z", "until": "2026-11-27T05:00:00Z"}],
        "vehicles": [
            {"order_id": "order_zyvj64ea", "enters_at": None, "leaves_at": "2026-11-27T05:01:00Z", "due_at": None, "late": False},
            {
                "order_id": "order_wgc7tyfp", "enters_at": "2026-11-27T05:01:00Z", "leaves_at": "2026-11-27T05:03:00Z",
                "due_at": "2026-11-27T04:00:00Z", "late": True,
            },
        ],
    }  # fmt: skip
    said = times_text(row, 30)
    assert said.startswith(
        "the line works by calendar 'two shifts', Europe/Oslo; it rests until 2026-11-27 05:00:00 UTC"
    )
    assert "on the line" in said
    assert "rests  2026-11-26 21:10:00 UTC to 2026-11-27 05:00:00 UTC" in said
    assert [line.endswith("late") for line in said.splitlines()].count(True) == 1
    assert "wgc7tyfp" not in times_text(row, 1)
    always = times_text(
        {"calendar": "", "time_zone": "UTC", "rests_until": None, "rests": [], "vehicles": []}, 30
    )
    assert always == "the line works always\n\nno car is to be built"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hub_reads": 1}, "its hub reads format 1 at most"),
        ({"hub_tells": 2}, "its hub tells in format 2"),
        ({"aside": 3}, "its hub put aside 3 of the events and stops"),
    ],
)
def test_a_site_says_which_side_is_to_be_brought_up_to_date_and_what_its_hub_could_not_read(
    given: dict[str, int], said: str
) -> None:
    (line,) = holds_texts(LINK | given)
    assert said in line


def test_the_page_of_sites_shows_what_a_site_that_is_cut_off_says() -> None:
    line = {
        "programme_id": "wren", "release": "Fourth 1.3.0", "may_flash": True, "reason": "", "coming": "",
        "coming_missing": 0, "refused": "",
    }  # fmt: skip
    row = LINK | {
        "hub": "hub.example.com:7422", "connected": False, "reached_at": "2026-11-26T08:11:00Z", "waiting": 14,
        "births_waiting": 3, "held_until": "2026-12-20T06:00:00Z", "held_ends": "snapshot", "vin_plant": "B",
        "lines": [line],
    }  # fmt: skip
    page = Path(__file__).parents[3] / "docs" / "howto" / "sites.md"
    said = "\n".join(("$ ringroad --var plant site status", state_text(row), *holds_texts(row)))
    assert f"```console\n{said}\n```" in page.read_text("utf-8")
