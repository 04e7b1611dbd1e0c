from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.http.device.read_model import Device, Offer, ReadModel
from ringroad.http.device.steering import Need

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NIGHT = {"hours": ["22:00-05:00"], "quiet": [], "time_zone": "Europe/Oslo"}  # 21:00 to 04:00 UTC in winter


def model(
    window: dict[str, Any] | None = NIGHT,
    *,
    time_zone: str | None = None,
    schedule: dict[str, Any] | None = None,
    recall: bool = False,
    **row: Any,
) -> ReadModel:
    """One vehicle that is offered one action of one campaign."""
    made = ReadModel()
    vehicle = {"vin": "V", "gateway": "ddi", "token_sha256": b"", "config_wanted": False, "changed_seq": 1}
    vehicle |= {"auto_confirm": False, "honours_skip": False, "schedule": schedule}
    vehicle |= {"certificates": [], "certificates_after": None, "enrolment_sha256": None}
    made.fold_devices([vehicle | {"time_zone": time_zone}])
    terms = {"id": "c", "window": window, "install_s": 3600, "urgency": "forced", "consent": False}
    made.fold_terms([terms | {"recall": recall}])
    made.fold_assignments([{
        "vin": "V", "action_id": 7, "state": "offered", "kind": "update", "campaign_id": "c", "release_id": "r",
        "variant": "city", "changed_seq": 2, "chosen": False, "consented": False, "claimed": False, "packages": None, "reason": "",
        "ended_last": False,
        **row,
    }])  # fmt: skip
    return made


def told(made: ReadModel, at: datetime) -> Offer | None:
    return made.offer_now(made.devices["V"], lambda: at)[0]


@pytest.mark.parametrize(
    ("made", "hour", "offered"),
    [
        (model(), 20.9, False),
        (model(), 21, True),
        (model(), 27, True),
        (model(), 27.1, False),  # an installation of an hour would not be over at 04:00
        (model(time_zone="America/New_York"), 21, False),
        (model(time_zone="America/New_York"), 27, True),  # its own night begins at 03:00 UTC
        (model(time_zone="Atlantis/Poseidonis"), 21, True),  # what cannot be read counts as not known
        (model(time_zone="Atlantis/Poseidonis"), 12, False),
        (model(None), 12, True),
        (model(state="active"), 12, True),  # it has begun and must be able to end
        (model(state="cancelling"), 12, True),
        (model(kind="rollback"), 12, True),
    ],
)
def test_an_update_is_told_inside_the_window_of_the_vehicle(
    made: ReadModel, hour: float, *, offered: bool
) -> None:
    at = NOON.replace(hour=0) + timedelta(hours=hour)
    assert (told(made, at) is not None) is offered


EVENING = {"hours": ["20:00-23:00"], "quiet": [], "time_zone": "UTC"}
LATER = {"hours": ["00:00-24:00"], "quiet": [], "time_zone": "UTC", "not_before": "2026-11-26T06:00:00Z"}


@pytest.mark.parametrize(
    ("made", "hour", "offered"),
    [
        (model(None, schedule=EVENING), 19.9, False),
        (model(None, schedule=EVENING), 20, True),
        (model(None, schedule=EVENING), 22.1, False),  # an installation of an hour would not be over at 23:00
        (model(schedule=EVENING), 20, False),  # the campaign's window opens at 21:00
        (model(schedule=EVENING), 21.5, True),
        (model(schedule=EVENING), 25, False),  # the vehicle's own hours are over
        (model(None, schedule=EVENING, time_zone="Asia/Tokyo"), 11, True),  # 20:00 by its own clock
        (model(None, schedule=EVENING, time_zone="Asia/Tokyo"), 20, False),
        (model(None, schedule=LATER), 29.9, False),
        (model(None, schedule=LATER), 30, True),
        (model(None, schedule=LATER, recall=True), 12, True),  # an emergency is not put off
        (model(None, schedule=LATER, state="active"), 12, True),
        (model(None, schedule=EVENING, state="active"), 12, True),  # it has begun and must be able to end
        (model(None, schedule=EVENING, state="cancelling"), 12, True),
        (model(None, schedule=EVENING, kind="rollback"), 12, True),
    ],
)
def test_an_update_is_told_where_the_hours_of_its_fleet_and_of_the_campaign_are_both_open(
    made: ReadModel, hour: float, *, offered: bool
) -> None:
    at = NOON.replace(hour=0) + timedelta(hours=hour)
    assert (told(made, at) is not None) is offered
    telling = made.telling(made.devices["V"], lambda: at)
    if telling is not None and telling.window_open is not None:
        assert telling.window_open is offered


@pytest.mark.parametrize("state", ["offered", "active", "cancelling"])
def test_what_a_device_says_it_did_is_not_told_again_and_it_is_asked_what_it_runs(state: str) -> None:
    made = model(None, state=state)
    asked = [made.devices["V"].is_asked]
    assert told(made, NOON) is not None
    claimed = {
        "vin": "V", "action_id": 7, "state": state, "kind": "update", "campaign_id": "c", "release_id": "r",
        "variant": "city", "changed_seq": 3, "chosen": False, "consented": False, "claimed": True, "asked": True,
        "ended_last": False,
    }  # fmt: skip
    made.fold_assignments([claimed])
    assert told(made, NOON) is None
    asked.append(made.devices["V"].is_asked)
    made.fold_assignments([claimed | {"state": "installed", "changed_seq": 4}])
    asked.append(made.devices["V"].is_asked)
    assert asked == [False, True, False]


def test_what_its_attributes_cannot_say_a_device_is_not_asked() -> None:
    made = model(None, state="active", claimed=True, asked=False)
    assert told(made, NOON) is None
    assert made.devices["V"].claimed_action_id == 7  # a failure of it is taken
    assert not made.devices["V"].is_asked


def test_hours_of_a_fleet_that_change_hold_at_once() -> None:
    made = model(None, schedule=EVENING)
    assert told(made, NOON) is None
    vehicle = {
        "vin": "V", "gateway": "ddi", "token_sha256": b"", "config_wanted": False, "changed_seq": 3,
        "auto_confirm": False, "honours_skip": False, "time_zone": None,
        "certificates": [], "certificates_after": None, "enrolment_sha256": None,
    }  # fmt: skip
    made.fold_devices([vehicle | {"schedule": {"hours": [], "quiet": ["20:00-23:00"], "time_zone": "UTC"}}])
    assert told(made, NOON) is not None
    made.fold_devices([vehicle | {"schedule": None}])
    assert told(made, NOON.replace(hour=21)) is not None


def test_what_was_looked_up_once_is_looked_up_again_when_it_changes() -> None:
    made = model()
    hours = [NOON + timedelta(hours=hour) for hour in range(48)]
    assert [told(made, at) is not None for at in hours] == [at.hour >= 21 or at.hour <= 3 for at in hours]


def test_without_its_terms_nothing_is_told() -> None:
    made = model()
    made.terms.clear()
    assert told(made, NOON.replace(hour=23)) is None


def test_a_vehicle_that_reported_work_is_told_on() -> None:
    made = model()
    made.devices["V"].begin(8)  # of another action
    assert told(made, NOON) is None
    made.devices["V"].begin(7)
    assert told(made, NOON) is not None
    made.devices["V"].close(7)
    assert told(made, NOON) is None


@pytest.mark.parametrize(
    ("made", "at", "need", "counted"),
    [
        (model(), NOON, Need.WAITING, Need.WAITING),
        (model(), NOON.replace(hour=22), Need.OFFERED, Need.WAITING),  # until it begins
        (model(state="active"), NOON, Need.OFFERED, Need.OFFERED),
        (model(None), NOON, Need.OFFERED, Need.OFFERED),
    ],
)
def test_a_vehicle_that_waits_for_its_window_is_counted_as_such_until_it_begins(
    made: ReadModel, at: datetime, need: Need, counted: Need
) -> None:
    assert made.offer_now(made.devices["V"], lambda: at)[1] is need
    assert made.vehicles[counted] == 1


@pytest.mark.parametrize(
    ("action_id", "kind", "campaign_id", "release_id", "taken"),
    [
        (9, "update", "c", "r", True),
        (9, "step", "c", "r", True),
        (5, "update", "c", "r", False),
        (9, "rollback", "c", "r", False),
        (9, "update", "d", "r", False),
        (9, "update", "c", "q", False),  # the goal of the way that the offer is a step on
    ],
)
def test_an_offer_whose_vehicle_waits_for_its_next_attempt_is_taken_away(
    action_id: int, kind: str, campaign_id: str, release_id: str, *, taken: bool
) -> None:
    made = model(None)
    waiting = {
        "vin": "V", "action_id": action_id, "state": "pending", "kind": kind, "campaign_id": campaign_id,
        "release_id": release_id, "variant": "city", "changed_seq": 3, "chosen": True, "consented": False, "claimed": False,
        "ended_last": False,
    }  # fmt: skip
    made.fold_assignments([waiting])
    assert (told(made, NOON) is None) is taken


@pytest.mark.parametrize(
    ("made", "at", "opens_in_s"),
    [
        (model(), NOON, 9 * 3_600),
        (model(), NOON.replace(hour=20, minute=59, second=50), 10),
        (model(), NOON.replace(hour=22), None),  # it is open
        (model(time_zone="America/New_York"), NOON, 15 * 3_600),
        (model(None), NOON, None),
        (model(kind="rollback"), NOON, None),
        (model(None, schedule=EVENING), NOON, 8 * 3_600),
        (model(schedule=EVENING), NOON, 9 * 3_600),  # both of them must be open
        (model(state="installed"), NOON, None),
    ],
)
def test_it_is_known_when_a_window_opens(made: ReadModel, at: datetime, opens_in_s: int | None) -> None:
    assert made.opens_in_s(made.devices["V"], lambda: at) == opens_in_s


class Overtaken(Device):
    """A device that is given a newer offer by another thread, right after somebody looked at the one before."""

    newer: Offer | None = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name == "offer" and self.newer is not None:
            self.offer, self.newer = self.newer, None
        return found


@pytest.mark.parametrize("word", ["begin", "consent", "close"])
def test_what_a_device_says_of_an_update_does_not_undo_its_cancel(word: str) -> None:
    device = Overtaken(b"", ddi=True, config_wanted=False)
    device.offer = Offer(action_id=7, kind="update", release_id="r", variant="city", campaign_id="c")
    device.newer = cancel = Offer(action_id=7, kind="cancel", release_id="r", variant="city")
    getattr(device, word)(7)
    assert device.offer in ({None} if word == "close" else {cancel})


@pytest.mark.parametrize("other", [6, 8])
def test_what_a_device_says_of_another_action_opens_nothing(other: int) -> None:
    made = model()
    made.devices["V"].begin(other)
    made.devices["V"].consent(other)
    assert told(made, NOON) is None
    made.devices["V"].begin(7)
    assert told(made, NOON) is not None
