"""What `ringroad vehicle status` says of how an update ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringroad.cli.vehicle import PAST_SHOWN, _status, _status_text
from ringroad.protocol.vehicle import VehicleState
from ringroad.vehicle.ecu_tries import EcuTry
from ringroad.vehicle.states import CampaignState, EcuState

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
FOLDER = Path("bench/V")

STATUS = {
    "vin": "V", "state": "CANCELLED", "action_id": 7, "running": True, "reports_refused": 0, "peer_bytes": 0,
    "blocked": False, "past": [], "ecus": [{"name": "brake", "mode": "ab", "committed": "1.0", "touched": False, "state": "IDLE", "why": ""}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "detail", "told"),
    [("cancelled", "taken back", "  cancelled: taken back"), ("cancelled", "", "  cancelled")],
)
def test_a_reason_stands_behind_its_code_and_no_colon_without_one(code: str, detail: str, told: str) -> None:
    assert _status_text({**STATUS, "code": code, "detail": detail}, FOLDER).splitlines()[1] == told


def test_the_command_that_unblocks_is_told_as_it_can_be_said() -> None:
    told = _status_text({**STATUS, "code": "commit_failed", "detail": "", "blocked": True}, FOLDER)
    assert "  a technician mends it, then: ringroad vehicle unblock --data bench/V" in told.splitlines()


def test_updates_that_ended_before_are_named_with_why_and_the_newest_of_them_is_not_told_twice() -> None:
    past = [
        {"action_id": each, "state": "CANCELLED", "ended_at": "2026-11-26T12:00:00+00:00", "code": "cancelled", "detail": "taken back"}
        for each in range(7, 0, -1)
    ]  # fmt: skip
    past[2] = {
        "action_id": 5,
        "state": "SUCCEEDED",
        "ended_at": "2026-11-26T11:00:00+00:00",
        "version": "1.2.0",
    }
    told = _status_text({**STATUS, "code": "cancelled", "detail": "", "past": past}, FOLDER).splitlines()[3:]
    assert len(told) == PAST_SHOWN
    assert told[:2] == [
        "  before: update 6, CANCELLED 2026-11-26 12:00:00 UTC, cancelled: taken back",
        "  before: update 5 to 1.2.0, SUCCEEDED 2026-11-26 11:00:00 UTC",
    ]


@pytest.mark.parametrize(("due_in_s", "told"), [(5, "UNREACHABLE"), (0, "INSTALLING")])
def test_an_ecu_whose_next_try_is_due_is_told_at_work_while_the_vehicle_runs(
    due_in_s: int, told: str
) -> None:
    one = EcuTry(
        code="unreachable", detail="", count=3, count_max=8, again_at=NOW + timedelta(seconds=due_in_s)
    )
    state = CampaignState(
        state="INSTALLING",
        ecus={"S1": EcuState.INSTALLING},
        unreachable=frozenset({"S1"}),
        failing={"S1": one},
    )
    config: Any = SimpleNamespace(
        vin="V", ecus=(SimpleNamespace(name="brake", serial="S1", mode="ab", factory=None),)
    )
    shown = [
        _status(config, state, running=running, now=NOW)["ecus"][0]["state"] for running in (True, False)
    ]
    assert shown == [told, "UNREACHABLE"]


def test_what_is_committed_is_not_told_where_the_journal_that_knew_it_is_gone() -> None:
    brake = SimpleNamespace(name="brake", serial="S1", mode="ab", factory=SimpleNamespace(version="1.0.0"))
    config: Any = SimpleNamespace(vin="V", ecus=(brake,))
    lost = CampaignState(state="ROLLBACK_FAILED", code="journal_missing")
    shown = [
        _status(config, state, running=False, now=NOW)["ecus"][0]["committed"]
        for state in (CampaignState(), lost)
    ]
    assert shown == ["1.0.0", ""]


@pytest.mark.parametrize(
    ("state", "ecu", "told"),
    [
        ("ROLLBACK_FAILED", EcuState.ROLLING_BACK, "was 1.0.0"),
        ("INSTALLING", EcuState.INSTALLING, "was 1.0.0"),
        ("INSTALLING", EcuState.STAGED, "1.0.0"),
        ("ROLLED_BACK", EcuState.ROLLED_BACK, "1.0.0"),
        ("FAILED", EcuState.FAILED, "1.0.0"),  # it could not be staged: nothing was installed
    ],
)
def test_what_ran_before_is_told_as_that_once_an_update_touched_the_ecu(
    state: VehicleState, ecu: EcuState, told: str
) -> None:
    brake = SimpleNamespace(
        name="brake", serial="S1", mode="inplace", factory=SimpleNamespace(version="1.0.0")
    )
    config: Any = SimpleNamespace(vin="V", ecus=(brake,))
    value = _status(config, CampaignState(state=state, ecus={"S1": ecu}), running=True, now=NOW)
    line = _status_text(value, FOLDER).splitlines()[-1]
    assert line.split("inplace")[1].split(str(ecu))[0].strip() == told
