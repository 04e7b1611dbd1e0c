"""How long the stations of a simulated plant work, and who is told: what a real plant's stations measure.

A time depends on the seed, the order and the station alone, so that a run can be had again. It has the mean and the
spread that the programme says, unless a station is made slow.

Invariant: what could not be told is told later, the newest of it; the line never waits for it.
"""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Final

import structlog

from ringroad.build.model import Line, Station
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import RingroadError
from ringroad.sim.api import Api
from ringroad.sim.plant import LineOrder

UNTOLD_MAX: Final = 1_000  # times that wait for a server that does not answer; the oldest are lost first

_log = structlog.get_logger(__name__)


def worked_s(station: Station, order: LineOrder, *, seed: int, slow: float = 1.0) -> float:
    """Return how many seconds a station works on an order, `slow` times as many as it should."""
    digest = hashlib.sha256(f"{seed} {order.id} {station.name}".encode()).digest()
    chance = (int.from_bytes(digest[:6]) + 0.5) / (1 << 48)
    spread = station.spread_permille / 1000
    sigma = math.sqrt(math.log(1 + spread * spread))
    features = {*order.options, order.variant}
    mean = station.cycle_s + sum(s for option, s in station.extra_s.items() if option in features)
    return slow * mean * math.exp(sigma * NormalDist().inv_cdf(chance) - sigma * sigma / 2)


@dataclass(slots=True, kw_only=True)
class StationClocks:
    """Tells the server what the stations of a line measured.

    Attributes:
        api: the access of whoever runs the plant.
        programme_id: whose line it is.
        line: as the programme says it.
        clock: of the stations.
        seed: of the times.
        slow: by station, how many times as long it takes as it should.
        refused: what the server did not believe, for whoever asks.
    """

    api: Api
    programme_id: str
    line: Line
    clock: Clock
    seed: int = 0
    slow: Mapping[str, float] = field(default_factory=dict)
    refused: list[Mapping[str, Any]] = field(default_factory=list)
    _untold: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=UNTOLD_MAX))

    async def tell(self, worked: Sequence[tuple[int, LineOrder]]) -> None:
        """Tell what was worked at the last takt, and what could not be told before."""
        now = self.clock.now().isoformat()
        for place, order in worked:
            station = self.line.stations[place]
            seconds = worked_s(station, order, seed=self.seed, slow=self.slow.get(station.name, 1.0))
            self._untold.append(
                {"id": f"{order.id}:{station.name}", "order_id": order.id, "station": station.name,
                 "worked_s": round(seconds, 3), "finished_at": now}
            )  # fmt: skip
        self.refused += await tell_waiting(
            self.api,
            f"/programmes/{self.programme_id}/station-times",
            self._untold,
            what="time",
            of="order_id",
        )


async def tell_waiting(
    api: Api, path: str, waiting: deque[dict[str, Any]], *, what: str, of: str
) -> list[Mapping[str, Any]]:
    """Tell the server what stations measured and found; what it does not answer for waits for the next time.

    Args:
        api: the access of whoever runs the plant.
        path: that takes them.
        waiting: what is told; is emptied once it is.
        what: one of them is called; more of them with an s.
        of: the key that names the vehicle.

    Returns:
        What the server did not believe.
    """
    try:
        answer = await api.post_once(path, {f"{what}s": list(waiting)})
    except RingroadError as error:
        _log.info(f"plant.{what}s_untold", waiting=len(waiting), reason=error.code)
        return []
    waiting.clear()
    refused: list[Mapping[str, Any]] = answer["refused"]
    for each in refused:
        _log.info(f"plant.{what}_refused", station=each["station"], vehicle=each[of], reason=each["reason"])
    return refused
