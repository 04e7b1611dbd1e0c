"""When are the parts of the vehicles of a run there? Drawn from the distributions of their arrivals.

Orders that wait for the same shipments have the same luck: one truck is late for all of them. Between two quantiles time
passes evenly; behind the last one it goes on as between the last two, so what has no end is not taken to end there.

Pure. Invariants: a vehicle that waits for nothing is ready at once; one whose parts nobody can promise has no twin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.plan_line import Order
from ringroad.build.twin.arrays import Floats
from ringroad.build.working_time import ALWAYS, WorkingTime
from ringroad.kernel.errors import InvalidInput

_STREAM: Final = 0x7061727473  # "parts": its draws are apart from those of the kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Vehicles that wait for parts.

    Attributes:
        vehicles: of all, in rows of the arrays.
        rows: of those that wait.
        luck: number of the draw of each, equal where they wait for the same.
        levels: of each, shares of all cases from 0 to 1.
        times: of each, seconds from now at these levels.
    """

    vehicles: int
    rows: tuple[int, ...] = ()
    luck: tuple[int, ...] = ()
    levels: tuple[tuple[float, ...], ...] = ()
    times: tuple[tuple[float, ...], ...] = ()

    def at(self, share: Floats) -> Floats:
        """Return when each vehicle is ready, [draw, vehicle], for shares [draw, luck]."""
        ready: Floats = np.full((len(share), self.vehicles), -np.inf)
        for row, luck, levels, times in zip(self.rows, self.luck, self.levels, self.times, strict=True):
            ready[:, row] = np.interp(share[:, luck], levels, times)
        return ready

    def median(self) -> Floats:
        """Return when each vehicle is ready as often as not, seconds from now."""
        found: Floats = self.at(np.full((1, max(self.luck, default=-1) + 1), 0.5))[0]
        return found


def waits_of(placed: Sequence[Order], available: Mapping[str, PartAvailability], *, now: datetime) -> Waits:
    """Return which vehicles wait for parts, and for how long.

    Raises:
        InvalidInput: nobody can say when the parts of one that waits come.
    """
    found = [
        (row, available[order.id])
        for row, order in enumerate(placed)
        if order.id in available and order.state != "building"
    ]
    luck: dict[str, int] = {}
    levels, times = [], []
    for row, each in found:
        if not each.quantiles:
            raise InvalidInput(f"nobody can say when the parts of order {placed[row].id} come: {each.part}")
        luck.setdefault(each.part, len(luck))
        shares = [permille / 1000 for permille, _ in each.quantiles]
        at = [(when - now).total_seconds() for _, when in each.quantiles]
        if shares[-1] < 1:
            slope = (at[-1] - at[-2]) / (shares[-1] - shares[-2]) if len(at) > 1 else 0.0
            shares, at = [*shares, 1.0], [*at, at[-1] + slope * (1 - shares[-1])]
        levels.append(tuple(shares))
        times.append(tuple(at))
    return Waits(
        vehicles=len(placed), rows=tuple(row for row, _ in found),
        luck=tuple(luck[each.part] for _, each in found), levels=tuple(levels), times=tuple(times),
    )  # fmt: skip


def draw_ready(
    waits: Waits, *, replications: int, seed: int, time: WorkingTime = ALWAYS
) -> Floats | None:  # fmt: skip
    """Return when the parts of each vehicle are there, [replication, vehicle], worked seconds from now; None if all are."""
    if not waits.rows:
        return None
    shares = np.random.default_rng((_STREAM, seed)).random((replications, max(waits.luck) + 1))
    return time.worked_each(waits.at(shares))
