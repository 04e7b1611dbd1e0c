from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringroad.cli.campaign_conduct import conduct_body
from ringroad.http.console.conduct import conduct_lines
from ringroad.kernel.errors import InvalidInput
from ringroad.ship.plan import PlanRequest
from ringroad.ship.retry import RetryPolicy


def options(**given: Any) -> dict[str, Any]:
    return {
        "hours": (),
        "quiet_hours": (),
        "time_zone": None,
        "priority": None,
        "recall": False,
        "soft": False,
        "download_only": False,
        "consent": False,
        "consent_phases": (),
        "attempts": None,
        "again_after": None,
        "again_after_max": None,
        **given,
    }


def test_the_options_of_a_window_become_a_request_and_are_used_up() -> None:
    given = options(
        hours=("22:00-05:00",), quiet_hours=("sun 00:00-24:00",), time_zone="Europe/Oslo", control="20"
    )
    window = {"hours": ["22:00-05:00"], "quiet": ["sun 00:00-24:00"], "time_zone": "Europe/Oslo"}
    assert conduct_body(given) == {"window": window}
    assert given == {"control": "20"}
    assert conduct_lines({"request": {"window": window}}) == [
        (
            "may begin",
            "22:00-05:00, not sun 00:00-24:00, by the vehicle's clock; Europe/Oslo where that is not known",
        )
    ]


def test_without_options_nothing_is_asked() -> None:
    assert conduct_body(options()) == {}
    assert conduct_lines({"request": {"query": "all", "window": None}}) == []
    assert conduct_lines({"query": "all"}) == []  # a plan of an older version


def test_priority_and_recall_are_asked_for_and_told() -> None:
    assert conduct_body(options(priority=3, recall=True)) == {"priority": 3, "recall": True}
    assert conduct_lines({"request": {"priority": 3}}) == [("served", "with priority 3")]
    told = conduct_lines({"request": {"priority": 3, "recall": True}})
    assert told == [("served", "as an emergency recall, before all others and in place of what waits")]


def test_consent_and_urgency_are_asked_for_and_told() -> None:
    asked = conduct_body(options(soft=True, consent=True))
    assert asked == {"consent": True, "urgency": "soft"}
    assert [name for name, _ in conduct_lines({"request": asked})] == ["urgency", "consent"]
    assert conduct_lines({"request": {"urgency": "forced", "consent": False}}) == []


def test_a_plan_that_only_downloads_and_the_phases_of_consent_are_asked_for_and_told() -> None:
    assert conduct_body(options(download_only=True)) == {"urgency": "download_only"}
    asked = conduct_body(options(consent_phases=("activate", "download")))
    assert asked == {"consent": True, "consent_phases": ["download", "activate"]}
    ((_, told),) = conduct_lines({"request": asked})
    assert told.endswith(": download, activate")
    with pytest.raises(InvalidInput):
        conduct_body(options(soft=True, download_only=True))


def test_attempts_are_asked_for_and_told() -> None:
    asked = conduct_body(options(attempts=4, again_after="30m"))
    assert asked == {"retry": {"attempts_max": 4, "first_s": 1_800}}
    told = conduct_lines({"request": msgspec.to_builtins(PlanRequest(query="all", retry=RetryPolicy()))})
    assert told == [
        (
            "attempts",
            "3, after 10 min, doubling up to 24 h: no network, an ECU that does not answer, a full store, too many restarts, nothing begun, over DDI",
        )
    ]


def test_whoever_approves_reads_what_a_plan_leaves_at_its_defaults_too() -> None:
    lines = conduct_lines({"request": msgspec.to_builtins(PlanRequest(query="all"))}, whole=True)
    assert lines == [
        ("may begin", "at any time"),
        ("quiet hours", "none"),
        ("late joiners", "stay out"),
        ("served", "with priority 0, after campaigns with a higher one"),
        ("urgency", "forced: installed without delay"),
        ("consent", "no driver is asked"),
        ("attempts", "1; a vehicle that failed is not tried again"),
        ("deadline", "7 d after its offer; without an outcome by then a vehicle is silent"),
        ("after a halt", "vehicles that have it stay on it until they are ordered back"),
    ]
    assert conduct_lines({"query": "all"}, whole=True) == []  # a plan of an older version


def test_hours_and_quiet_hours_are_told_apart_to_whoever_approves() -> None:
    window = {"hours": ["22:00-05:00"], "quiet": ["sun 00:00-24:00"], "time_zone": "Europe/Oslo"}
    assert conduct_lines({"request": {"window": window}}, whole=True) == [
        ("may begin", "22:00-05:00, by the vehicle's clock; Europe/Oslo where that is not known"),
        ("quiet hours", "sun 00:00-24:00"),
    ]


def test_a_wait_without_attempts_is_refused() -> None:
    with pytest.raises(InvalidInput):
        conduct_body(options(again_after="30m"))


def test_a_time_zone_without_hours_is_refused() -> None:
    with pytest.raises(InvalidInput):
        conduct_body(options(time_zone="Europe/Oslo"))
