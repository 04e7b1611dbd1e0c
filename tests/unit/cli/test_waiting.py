from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from ringroad.cli.campaign_text import why_text
from ringroad.cli.waiting import why_it_waits
from ringroad.http.views import AssignmentView, VehicleView

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
OFF = {
    "hours": ["00:00-24:00"],
    "quiet": [],
    "time_zone": "UTC",
    "not_before": "2026-12-24T08:00:00+00:00",
}
VEHICLE = VehicleView(
    vin="V", programme_id="p", variant="city", region="EU", tags=[], gateway="ddi", release_id=None,
    blocked_reason=None, born_at=NOON, release_version=None, release_name=None, action_id=7, campaign_id="c",
    update_state="pending", last_report_at=None, ecus=2,
)  # fmt: skip
MINE = AssignmentView(
    action_id=7, campaign_id="c", campaign_name="fix", campaign_state="running", release_version="2", vin="V", wave=1,
    kind="update", state="pending", state_detail="", offered_at=None, deadline_at=None, last_report_at=None,
    finished_at=None, window=None, own_window=OFF, install_s=600, time_zone=None, released=False, attempt=1, not_before=None,
)  # fmt: skip
FOUND = {
    "campaign_id": "c", "campaign_name": "fix", "campaign_state": "running", "release_version": "2", "verdict": "match",
    "sentence": "", "today": "match", "today_sentence": "", "state": "pending", "state_detail": "", "wave": 1, "steps": ["2"],
    "install_bytes": 0, "install_s": 0,
}  # fmt: skip


class Answers:
    def get(self, path: str, **_: Any) -> Any:
        other = msgspec.structs.replace(MINE, campaign_id="newer", own_window=None)
        found = [other, MINE] if path.endswith("/assignments") else VEHICLE
        return msgspec.to_builtins(found)


@pytest.mark.parametrize("state", ["pending", "installed"])
def test_why_a_vehicle_of_a_campaign_waits_is_said_while_it_does(state: str) -> None:
    shell = cast("Any", SimpleNamespace(clock=SimpleNamespace(now=lambda: NOON)))
    found = FOUND | {"state": state}
    text = why_text(found, vin="V", waits=why_it_waits(shell, cast("Any", Answers()), found, vin="V"))
    said = "Its fleet put updates off until 24 Dec 2026 08:00 UTC."
    assert (said in text) is (state == "pending")
