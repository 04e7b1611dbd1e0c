"""A line and its orders as the arrays that the twin's kernels take.

Vehicles enter at the takt, those that are on the line already before time 0. Each ratio p/q is p crews at its
station, each of which stays with a vehicle for q takts: where a sequence gives the station more, the line waits.

Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringroad.build.model import Line, Ratio, Station
from ringroad.build.plan_line import Order
from ringroad.kernel.errors import InvalidInput

QUANTILES: Final = 1_024  # of a station's times; between them the draw is a straight line
VEHICLES_MAX: Final = 10_000  # per run
WORKS_MAX: Final = 4_000_000  # vehicles times stations; 32 MB for each array of times

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineArrays:
    """See `kernels/flow.py`, `rework.py`, `people.py`, `events.py` and `replicas.py` there for each."""

    mean: Floats
    factors: Floats
    plan: Ints
    times: Floats
    pools: Ints
    refused: Floats
    up: Floats
    down: Floats
    crew_from: Ints
    crews: Ints
    crew_hold: Floats
    wants: Ints
    takt_s: float
    stop: Floats

    @property
    def is_flow(self) -> bool:
        """Whether vehicles only follow each other: no rework, no scarce operators, no carriers."""
        return not ((self.refused > 0).any() or (self.plan[:, 1:3] >= 0).any())

    @property
    def shares_people(self) -> bool:
        """Whether the line is a flow line but for operators of several stations, all with a spread."""
        return bool(
            (self.plan[:, 1] >= 0).any()
            and not (self.refused > 0).any()
            and not (self.plan[1:, 2] >= 0).any()
            and (self.factors[:, 0] < self.factors[:, -1]).all()
        )

    @property
    def needs_events(self) -> bool:
        """Whether the line has more than `kernels/rework.py` and `kernels/people.py` know.

        That is: operators beside anything else of these; carriers that bring vehicles to several places;
        ways back that share a station, or end at a place with a way or a carrier to it; gates whose station has no
        spread or whose rework takes no time, since then what comes back and what waits may do so at one moment.
        """
        gates = np.flatnonzero(self.refused > 0)
        ends = self.plan[gates, 3]
        carriers = self.plan[1:, 2][self.plan[1:, 2] >= 0]
        return not self.shares_people and bool(
            (self.plan[:, 1] >= 0).any()
            or len(set(carriers.tolist())) < len(carriers)
            or (ends > gates).any()
            or (ends[1:] <= gates[:-1]).any()
            or (self.times[ends, 0] > 0).any()
            or (self.plan[ends, 2] >= 0).any()
            or (self.factors[gates, 0] == self.factors[gates, -1]).any()
            or (self.times[gates, 2] <= 0).any()
        )


def line_arrays(
    line: Line, orders: Sequence[Order], *, stops: Mapping[str, float] | None = None
) -> LineArrays:
    """Return the arrays of a line, with a row for each order.

    Args:
        line: as the programme says it.
        orders: a row each.
        stops: stations that stand now, and for how many seconds more.

    Raises:
        InvalidInput: no station, one that stands and is not there, or more orders than one run takes.
    """
    stations = line.stations
    if not stations:
        raise InvalidInput(f"line {line.name!r} has no station")
    if len(orders) > VEHICLES_MAX or len(orders) * len(stations) > WORKS_MAX:
        raise InvalidInput(f"{len(orders)} vehicles at {len(stations)} stations are more than one run takes")
    names = [station.name for station in stations]
    unknown = sorted(set(stops or {}) - set(names))
    if unknown:
        raise InvalidInput(
            f"line {line.name!r} has no station {unknown[0]!r}", hint=f"one of {', '.join(names)}"
        )
    pools = {name: number for number, name in enumerate(line.pools)}
    people = {name: number for name, number in pools.items() if not _has_enough(line, name)}
    ratios = sorted(line.ratios, key=lambda ratio: _at(ratio, names))
    starts = [sum(_at(ratio, names) < number for ratio in ratios) for number in range(len(stations) + 1)]
    takt_s = float(line.takt_s)
    return LineArrays(
        mean=_array([[_mean(station, order) for station in stations] for order in orders], float, len(stations)),
        factors=np.array([_factors(station.spread_permille / 1000) for station in stations]),
        plan=_array(
            [
                (1 + station.buffer, people.get(station.operators, -1), pools.get(station.carriers, -1),
                 names.index(station.rework_to or station.name))
                for station in stations
            ], int, 4,
        ),
        times=_array([(each.transfer_s, each.return_s, each.rework_s) for each in stations], float, 3),
        pools=np.array(list(line.pools.values()), dtype=np.int64),
        refused=np.array([station.rework_permille / 1000 for station in stations]),
        up=np.array([float(station.uptime_s) for station in stations]),
        down=np.array([float(station.repair_s) for station in stations]),
        crew_from=np.array(starts, dtype=np.int64),
        crews=np.array([ratio.p for ratio in ratios], dtype=np.int64),
        crew_hold=np.array([ratio.q * takt_s for ratio in ratios], dtype=np.float64),
        wants=_array(
            [[int(ratio.option in order.features) for ratio in ratios] for order in orders], int, len(ratios)
        ),
        takt_s=takt_s,
        stop=np.array([float((stops or {}).get(name, 0)) for name in names]),
    )  # fmt: skip


def _array(rows: Sequence[Any], kind: type, columns: int) -> Any:
    return np.array(rows, dtype=np.int64 if kind is int else np.float64).reshape(len(rows), columns)


def _at(ratio: Ratio, names: Sequence[str]) -> int:
    return names.index(ratio.station) if ratio.station else 0


def _has_enough(line: Line, pool: str) -> bool:
    """Whether nobody waits for an operator: each station needs one at most, and nothing is carried by them."""
    asked = sum(station.operators == pool for station in line.stations)
    return asked <= line.pools[pool] and all(station.carriers != pool for station in line.stations)


def _mean(station: Station, order: Order) -> float:
    return station.cycle_s + sum(
        seconds for option, seconds in station.extra_s.items() if option in order.features
    )


def _factors(spread: float) -> Floats:
    """Return quantiles of a lognormal distribution with mean 1 and this standard deviation.

    Work takes longer than planned more often than much shorter, which a lognormal distribution says.
    """
    sigma = math.sqrt(math.log(1 + spread * spread))
    normal = NormalDist()
    points = [normal.inv_cdf((number + 0.5) / (QUANTILES + 1)) for number in range(QUANTILES + 1)]
    factors = np.exp(sigma * np.array(points) - sigma * sigma / 2)
    mean: Floats = factors / factors.mean()
    return mean
