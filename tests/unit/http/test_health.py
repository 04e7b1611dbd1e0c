"""What the health of a server says where several things are wrong at once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringroad.http.device.overload import Shed
from ringroad.http.health import health_of
from ringroad.signal.silence import Silence, Why

SILENT = Silence(since=datetime(2026, 11, 27, 14, 2, 5, tzinfo=UTC), why=Why.UNTAKEN)


@pytest.mark.parametrize(
    ("shed", "silence", "status"),
    [
        (Shed.NOTHING, None, "ok"),
        (Shed.NOTHING, SILENT, "degraded"),
        (Shed.POLLS, None, "overloaded"),
        (Shed.POLLS, SILENT, "overloaded"),  # telemetry has a field of its own
    ],
)
def test_load_and_silence_are_both_told(shed: Shed, silence: Silence | None, status: str) -> None:
    health = health_of(shed, silence, express=True)
    assert (health.status, health.gateways) == (status, shed.text)
    assert (health.telemetry == "ok", health.hint == "") == (silence is None, silence is None)
