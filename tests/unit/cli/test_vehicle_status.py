"""What `ringroad vehicle status` says of how an update ended."""

from __future__ import annotations

import pytest

from ringroad.cli.vehicle import _status_text

STATUS = {
    "vin": "V", "state": "CANCELLED", "action_id": 7, "running": True, "reports_refused": 0, "peer_bytes": 0,
    "blocked": False, "ecus": [{"name": "brake", "mode": "ab", "committed": "1.0", "state": "IDLE"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "detail", "told"),
    [("cancelled", "taken back", "  cancelled: taken back"), ("cancelled", "", "  cancelled")],
)
def test_a_reason_stands_behind_its_code_and_no_colon_without_one(code: str, detail: str, told: str) -> None:
    assert _status_text({**STATUS, "code": code, "detail": detail}).splitlines()[1] == told
