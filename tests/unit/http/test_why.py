from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ringroad.http.console.render import short
from ringroad.http.console.why import waits_for, waits_for_window, why_not_updating
from ringroad.http.views import AssignmentView, VehicleResolutionView, VehicleView

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NIGHT = {"hours": ["22:00-05:00"], "quiet": [], "time_zone": "Europe/Oslo"}
LATER = {"hours": ["23:00-24:00"], "quiet": [], "time_zone": "UTC"}
VEHICLE = VehicleView(
    vin="V", programme_id="p", variant="city", region="EU", tags=[], gateway="ddi", release_id=None,
    blocked_reason=None, born_at=NOON, release_version=None, release_name=None, action_id=7, campaign_id="c",
    update_state="offered", last_report_at=None, ecus=2,
)  # fmt: skip


def assignment(**more: Any) -> AssignmentView:
    given = {
        "action_id": 7, "campaign_id": "c", "campaign_name": "fix", "campaign_state": "running",
        "release_version": "2", "vin": "V", "wave": 1, "kind": "update", "state": "offered", "state_detail": "",
        "offered_at": NOON, "deadline_at": NOON + timedelta(days=7), "last_report_at": None, "finished_at": None,
        "window": NIGHT, "install_s": 600, "time_zone": None, "released": True, "attempt": 1, "not_before": None, **more,
    }  # fmt: skip
    return AssignmentView(**given)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "waits for its window, open at 25 Nov 22:00 Europe/Oslo"),
        ({"time_zone": "Asia/Tokyo"}, "waits for its window, open at 25 Nov 22:00 Asia/Tokyo"),
        ({"time_zone": "nowhere"}, "waits for its window, open at 25 Nov 22:00 Europe/Oslo"),
        ({"install_s": 8 * 3600}, "waits for its window: never open for long enough"),
        ({"time_zone": "America/Los_Angeles"}, ""),  # 04:00 there
        ({"window": None}, ""),
        ({"window": None, "own_window": NIGHT}, "waits for its own hours, open at 25 Nov 22:00 Europe/Oslo"),
        ({"own_window": LATER}, "waits for its own hours, open at 25 Nov 23:00 UTC"),  # both must be open
        (
            {"own_window": {**NIGHT, "hours": ["00:00-24:00"]}},
            "waits for its window, open at 25 Nov 22:00 Europe/Oslo",
        ),
        ({"own_window": NIGHT, "state": "active"}, ""),
        ({"state": "active"}, ""),
        ({"state": "pending"}, ""),
    ],
)
def test_a_vehicle_outside_of_its_window_is_said_to_wait_for_it(more: dict[str, Any], says: str) -> None:
    now = NOON - timedelta(hours=-1) if more.get("time_zone") == "Asia/Tokyo" else NOON
    assert waits_for_window(assignment(**more), now=now - timedelta(minutes=5)) == says


def test_why_says_when_the_window_opens() -> None:
    why = why_not_updating(VEHICLE, assignment(), now=NOON)
    assert why.text == "It waits for its window, open at 25 Nov 22:00 Europe/Oslo."
    assert why_not_updating(VEHICLE, assignment(), now=NOON.replace(hour=22)).text.startswith("Offered")


PUT_OFF = {
    "hours": ["00:00-24:00"],
    "quiet": [],
    "time_zone": "Europe/Oslo",
    "not_before": "2026-12-04T08:00:00+00:00",
}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"own_window": PUT_OFF}, "Its fleet put updates off until 04 Dec 2026 09:00 Europe/Oslo."),
        (
            {"own_window": PUT_OFF, "time_zone": "Asia/Tokyo"},
            "Its fleet put updates off until 04 Dec 2026 17:00 Asia/Tokyo.",
        ),
        ({"own_window": PUT_OFF, "recall": True}, ""),
        ({"own_window": {**PUT_OFF, "not_before": "2026-11-25T11:59:59+00:00"}}, ""),
        ({"own_window": NIGHT}, ""),
        ({}, ""),
    ],
)
def test_why_says_that_its_fleet_put_a_vehicle_off_that_waits_for_its_wave(
    more: dict[str, Any], says: str
) -> None:
    waits = "It waits for wave 2, which starts when the gate has good evidence from those before."
    why = why_not_updating(VEHICLE, assignment(state="pending", wave=2, released=False, **more), now=NOON)
    assert why.text == f"{waits} {says}".rstrip()


@pytest.mark.parametrize(
    ("behind_state", "says"),
    [
        ("running", "waits for what winter has under way"),
        ("paused", "waits for what winter has under way, which is paused: no deadline ends it before it is resumed"),
    ],
)  # fmt: skip
def test_why_names_the_campaign_that_a_vehicle_waits_for(behind_state: str, says: str) -> None:
    waits = assignment(state="pending", wave=1, released=True, behind="winter", behind_state=behind_state)
    assert waits_for(waits, now=NOON) == says
    assert why_not_updating(VEHICLE, waits, now=NOON).text == f"Wave 1 has begun; it {says}."


@pytest.mark.parametrize(
    ("detail", "says"),
    [
        ("AWAITING_CONSENT consent waiting for consent to download",
         "It waits for its driver: waiting for consent to download."),
        ("READY consent waiting for consent to install: what ann agreed to ended 2026-11-25 12:00 UTC",
         "It waits for its driver: waiting for consent to install: what ann agreed to ended 2026-11-25 12:00 UTC."),
        ("READY postponed put off by ann", "It was put off by its driver: put off by ann."),
        ("READY ecu_locked brake is locked by ole until 12:05:00 UTC", "It waits until nobody works at its ECUs: brake is locked by ole until 12:05:00 UTC."),
        ("READY quiet_hours quiet hours until 06:00", "It keeps to its own quiet hours: quiet hours until 06:00."),
        ("READY precondition Vehicle.Speed == 0, but the value is 42",
         "It waits until what the release demands holds: Vehicle.Speed == 0, but the value is 42."),
        ("READY", ""), ("", ""), ("DOWNLOADING 50 %", ""), ("SYNCING consent x", ""), ("READY consent_given all", ""),
    ],
)  # fmt: skip
def test_why_names_what_a_vehicle_waits_for_aboard(detail: str, says: str) -> None:
    active = assignment(state="active", state_detail=detail, last_report_at=NOON)
    why = why_not_updating(VEHICLE, active, now=NOON)
    assert (says or "The vehicle works on 2.") in why.text
    assert why.text.endswith(f" It said so {short(NOON)}." if says else ".")
    assert why.title == ("Why it is not updating" if says else "It is updating")


def test_why_tells_a_workshops_flash_from_another_end() -> None:
    detail = "changed_elsewhere: brake runs what no package holds; the vehicle said FAILED no_backup"
    why = why_not_updating(VEHICLE, assignment(state="cancelled", state_detail=detail), now=NOON)
    assert why.text.startswith(
        "Something else than a campaign changed it, a workshop say: brake runs what no"
    )
    other = why_not_updating(VEHICLE, assignment(state="cancelled", state_detail="withdrawn"), now=NOON)
    assert other.text.startswith("Its last offer ended: cancelled.")


def test_why_says_that_an_update_is_stored() -> None:
    why = why_not_updating(VEHICLE, assignment(state="downloaded"), now=NOON)
    assert (why.title, why.tone) == ("It has the update stored", "ok")


@pytest.mark.parametrize(
    ("detail", "no"), [("", ""), ("declined by its driver", " It says: declined by its driver.")]
)
def test_why_says_that_the_driver_is_asked(detail: str, no: str) -> None:
    why = why_not_updating(VEHICLE, assignment(window=None, asked=True, state_detail=detail), now=NOON)
    assert why.text == f"Its driver is asked and has not agreed.{no}"
    assert why_not_updating(VEHICLE, assignment(window=None), now=NOON).text.startswith("Offered")


def test_why_says_of_a_device_that_is_told_nothing_what_it_has_to_say() -> None:
    kept = assignment(window=None, withheld=True)
    why = why_not_updating(VEHICLE, kept, now=NOON)
    assert why.text.startswith("It is told nothing: the update is only to be downloaded")
    assert "honours_skip" in why.next
    assert waits_for(kept, now=NOON) == "is told nothing: it never said that it honours skip"


def resolution(**more: Any) -> VehicleResolutionView:
    given = {
        "campaign_id": "d", "campaign_name": "winter", "campaign_state": "running", "release_id": "r", "release_version": "3",
        "verdict": "mismatch", "reason": "no_ecu: x", "sentence": "It has no x.", "wave": 0, "steps": [],
        "install_bytes": 0, "install_s": 0, **more,
    }  # fmt: skip
    return VehicleResolutionView(**given)


@pytest.mark.parametrize(
    ("taken", "left_out", "text"),
    [
        (None, resolution(), "winter ships 3: it does not fit. It has no x."),
        (None, resolution(verdict="unknown"), "winter ships 3: it is not known well enough. It has no x."),
        (None, resolution(verdict="control", sentence=""), "winter ships 3: it is held back, and others are compared with it."),
        (None, resolution(verdict="control", sentence="", campaign_state="paused"), "winter ships 3: it is held back, and others are compared with it."),
        *(
            (None, resolution(verdict="control", sentence="", campaign_state=over),
             f"winter shipped 3: it was held back, and others were compared with it. That campaign is {over}.")
            for over in ("halted", "aborted", "finished")
        ),
        (assignment(state="failed"), resolution(), "winter ships 3: it does not fit. It has no x."),
        (assignment(state="installed"), resolution(campaign_id="b"), "It confirmed 2."),  # an older campaign
        (assignment(state="installed"), resolution(campaign_id="c", verdict="match"), "It confirmed 2."),
        (None, resolution(verdict="already_installed"), "No campaign has taken in this vehicle."),
        # What is under way goes first, however old its campaign is.
        *(
            (assignment(state=state, window=None, campaign_state="paused"), resolution(planned_at=NOON + timedelta(days=1)), text)
            for state, text in (
                ("offered", "Offered 25 Nov 12:00:00 UTC; the vehicle has not answered yet."),
                ("active", "The vehicle works on 2."),
                ("pending", "Its campaign is paused; it is in wave 1."),
                ("cancelling", "The offer was withdrawn; the vehicle's answer is awaited."),
            )
        ),
        (assignment(state="pending", campaign_state="halted"), resolution(planned_at=NOON + timedelta(days=1)),
         "winter ships 3: it does not fit. It has no x."),
        # What ended goes by when it did, not by which campaign was made first.
        (assignment(state="installed", finished_at=NOON), resolution(planned_at=NOON - timedelta(1)), "It confirmed 2."),
        (assignment(state="installed", finished_at=NOON), resolution(campaign_id="b", planned_at=NOON + timedelta(1)),
         "winter ships 3: it does not fit. It has no x."),
    ],
)  # fmt: skip
def test_a_newer_plan_that_leaves_a_vehicle_out_is_why_it_is_not_updating(
    taken: AssignmentView | None, left_out: VehicleResolutionView, text: str
) -> None:
    assert why_not_updating(VEHICLE, taken, left_out, now=NOON).text == text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "Wave 1 has begun; it waits until its order is signed"),
        ({"released": False, "wave": 2}, "It waits for wave 2, which starts when the gate"),
        (
            {"released": False, "wave": 2, "wave_opens_at": NOON},
            f"It waits for wave 2, which starts from {NOON:%Y-%m-%d %H:%M} UTC on, once the gate",
        ),
        (
            {"released": False, "wave": 1, "wave_opens_at": NOON},
            f"It waits for wave 1, which starts from {NOON:%Y-%m-%d %H:%M} UTC on.",
        ),
        (
            {"released": False},
            "Wave 1 has begun, and takes in vehicles as its budget of harm allows; this one was not",
        ),
        (
            {"state_detail": "attempt 1 failed, again from 25 Nov 12:10 UTC: FAILED offline"},
            "It waits in wave 1: attempt 1",
        ),
        ({"campaign_state": "paused"}, "Its campaign is paused"),
        ({"campaign_state": "halted"}, "Its campaign is halted"),
    ],
)
def test_why_says_what_a_vehicle_waits_for(more: dict[str, Any], says: str) -> None:
    given = {"state": "pending", "window": None, **more}
    assert why_not_updating(VEHICLE, assignment(**given), now=NOON).text.startswith(says)


@pytest.mark.parametrize(
    ("state", "title", "says"),
    [
        ("pending", "It is ordered back", "It waits until its order is signed"),
        ("offered", "It is ordered back", "It has not answered yet."),
        ("active", "It is ordered back", "It works on it."),
        ("installed", "It went back", "It left 2, whose campaign is halted, and runs what it ran before."),
        ("failed", "It did not go back", "That came to nothing: failed."),
    ],
)
def test_why_says_where_a_return_stands(state: str, title: str, says: str) -> None:
    back = assignment(kind="rollback", state=state, campaign_state="halted", window=None)
    why = why_not_updating(VEHICLE, back, now=NOON)
    assert why.title == title
    assert says in why.text


def test_a_vehicle_that_runs_the_release_of_a_stopped_campaign_is_not_called_up_to_date() -> None:
    runs = msgspec.structs.replace(VEHICLE, release_version="2")
    why = why_not_updating(runs, assignment(state="installed", campaign_state="halted"), now=NOON)
    assert why.title == "It runs the release of a stopped campaign"
    assert why.text == "It confirmed 2, whose campaign is halted. It is not ordered back yet."
    finished = why_not_updating(runs, assignment(state="installed", campaign_state="finished"), now=NOON)
    assert finished.title == "It is up to date"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"state": "cancelling", "withdrawn": "its campaign was halted: too many failures"},
            "The offer was withdrawn, as its campaign was halted: too many failures; the vehicle's answer is awaited.",
        ),
        (
            {
                "state": "cancelled",
                "state_detail": "CANCELLED cancelled a person at the maker ended its campaign",
                "withdrawn": "its campaign was aborted by ole: the wrong notes.",
            },
            "Its last offer ended: cancelled, as its campaign was aborted by ole: the wrong notes.",
        ),
        ({"state": "cancelling"}, "The offer was withdrawn; the vehicle's answer is awaited."),
        (
            {"state": "cancelled", "state_detail": "consent_denied: declined by cabs"},
            "2 was declined by cabs for its driver.",
        ),
        (
            {"state": "cancelled", "state_detail": "declined by its driver"},
            "Its last offer ended: cancelled. It says: declined by its driver.",
        ),
    ],
)
def test_an_update_that_was_withdrawn_says_by_what_and_why(more: dict[str, Any], says: str) -> None:
    assert why_not_updating(VEHICLE, assignment(**more), now=NOON).text == says
