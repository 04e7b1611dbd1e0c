"""What the health of a server says where several things are wrong at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ringroad.http.device.overload import LoadPolicy, Pressure, Shed
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


def test_a_clock_that_was_set_is_told_with_what_to_look_at() -> None:
    health = health_of(Shed.NOTHING, None, express=True, clock="was set 8 d ahead")
    assert (health.status, health.clock, health.telemetry) == ("degraded", "was set 8 d ahead", "ok")
    assert "time service" in health.hint
    assert health_of(Shed.POLLS, SILENT, express=True, clock="was set 8 d ahead").hint == SILENT.hint
    assert health_of(Shed.NOTHING, None, express=True).clock == "ok"


class Set:
    """A clock that is set a day ahead at its second look."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return datetime(2027, 1, 11, tzinfo=UTC) + timedelta(days=self.looks > 1)

    def monotonic_s(self) -> float:
        return 1.0


def test_a_server_looks_at_its_own_clock() -> None:
    pressure, clock = Pressure(LoadPolicy()), Set()

    async def watch() -> None:
        looked = asyncio.Event()

        def waiting() -> int:
            if clock.looks > 1:
                looked.set()
            return 0

        task = asyncio.create_task(pressure.watch(clock=clock, waiting=waiting, changed=lambda _: None))
        await looked.wait()
        task.cancel()

    assert pressure.clock == "ok"
    asyncio.run(watch())
    assert pressure.clock == "was set 24 h ahead"
