"""What simulated ECUs know of their vehicle when they store a fault."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from ringroad.protocol.vehicle import Sample
from ringroad.sim.fleet import surroundings_of
from ringroad.sim.vecu.fault_memory import Snapshot

NOW = datetime(2026, 11, 26, tzinfo=UTC)
KM, SPEED = "Vehicle.TraveledDistance", "Vehicle.Speed"


class Told:
    """Signals as a vehicle has them."""

    def __init__(self, values: Mapping[str, float | int | bool | str]) -> None:
        self._values = values

    def read(self, now: datetime) -> list[Sample]:
        """Return them all, of now."""
        return [Sample(at=now, path=path, value=value) for path, value in self._values.items()]


@pytest.mark.parametrize(
    ("values", "km", "kmh"),
    [
        ({KM: 12_034.9, SPEED: 42}, 12_034, 42),
        ({KM: 12, SPEED: 0}, 12, 0),
        ({}, 0, 0),
        ({KM: -1, SPEED: 70_000}, 0, 0),
        ({KM: float("nan"), SPEED: float("inf")}, 0, 0),
        ({KM: True, SPEED: "fast"}, 0, 0),
    ],
)
def test_a_fault_is_stored_with_what_the_signals_say(
    values: Mapping[str, float | int | bool | str], km: int, kmh: int
) -> None:
    expected = Snapshot(unix_s=int(NOW.timestamp()), odometer_km=km, speed_kmh=kmh)
    assert surroundings_of(Told(values), now=NOW) == expected
