"""What the checks of a simulated plant's stations find, of which lots, and who is told.

A result depends on the seed, the order and the station alone, so that a run can be had again. Vehicles fail as often
as the programme says (`rework_permille`), or as `FAILED_PERMILLE`; those with the faulty lot of a station more often.
Who fails is repaired in its place and checked again at once.

Invariant: what could not be told is told later, the newest of it; the line never waits for it.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ringroad.build.model import Line, Station
from ringroad.kernel.clock import Clock
from ringroad.sim.api import Api
from ringroad.sim.plant import LineOrder
from ringroad.sim.stations import tell_waiting

FAILED_PERMILLE: Final = 10  # of vehicles at a station of which the programme says nothing
UNTOLD_MAX: Final = 500  # results that wait for a server that does not answer; half of what one request takes
CHECK: Final = "station check"
LOTS: Final = "AB"  # of each part and day; the last one is what `faulty` is about


def part_of(station: Station) -> str:
    """Return the part that a station fits."""
    return f"{station.name} kit"


def lot_of(station: Station, order: LineOrder, *, seed: int, at: datetime) -> str:
    """Return the lot of the part that a station fits into an order's vehicle."""
    chance = _chance(seed, order.id, station.name, "lot")
    return f"{at:%y%m%d}-{LOTS[int(chance * len(LOTS))]}"


def passes(station: Station, order: LineOrder, lot: str, *, seed: int, faulty: float = 0.0) -> bool:
    """Return whether a vehicle passes a station's check at once.

    Args:
        station: of the line.
        order: the vehicle.
        lot: of the part that was fitted there.
        seed: of the draw.
        faulty: share of vehicles with the day's last lot that fail.
    """
    share = (station.rework_permille or FAILED_PERMILLE) / 1000
    if lot.endswith(LOTS[-1]):
        share = max(share, faulty)
    return _chance(seed, order.id, station.name, "check") >= share


@dataclass(slots=True, kw_only=True)
class StationChecks:
    """Tells the server what the checks of a line found.

    Attributes:
        api: the access of whoever runs the plant.
        programme_id: whose line it is.
        line: as the programme says it.
        clock: of the stations.
        seed: of the results.
        faulty: by station, the share of vehicles with its faulty lot that fail.
        refused: what the server did not believe, for whoever asks.
    """

    api: Api
    programme_id: str
    line: Line
    clock: Clock
    seed: int = 0
    faulty: Mapping[str, float] = field(default_factory=dict)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    _untold: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=UNTOLD_MAX))

    async def tell(self, worked: Sequence[tuple[int, LineOrder]]) -> None:
        """Tell what was checked at the last takt, and what could not be told before."""
        now = self.clock.now()
        for place, order in worked:
            self._untold.extend(self._results(self.line.stations[place], order, now))
        self.refused += await tell_waiting(
            self.api,
            f"/programmes/{self.programme_id}/station-results",
            self._untold,
            what="result",
            of="vehicle",
        )

    def _results(self, station: Station, order: LineOrder, now: datetime) -> list[dict[str, Any]]:
        lot = lot_of(station, order, seed=self.seed, at=now)
        passed = passes(station, order, lot, seed=self.seed, faulty=self.faulty.get(station.name, 0.0))
        found = [True] if passed else [False, True]
        return [
            {"id": f"{order.id}:{station.name}:{number}", "vehicle": order.id, "station": station.name,
             "check": CHECK, "passed": good, "at": now.isoformat(), "lots": {part_of(station): lot}}
            for number, good in enumerate(found, start=1)
        ]  # fmt: skip


def _chance(seed: int, *names: str) -> float:
    digest = hashlib.sha256(" ".join((str(seed), *names)).encode()).digest()
    return (int.from_bytes(digest[:6]) + 0.5) / (1 << 48)
