"""Does the line still take the times that its twin is told? Measured work at stations against the programme's.

Each measured time becomes a normal score under the twin's own model: the logarithm of time over mean, in units of
the station's spread. Three kinds of bets are kept on a station: that it is slower than the programme says by more
than a tolerance, faster, or spread wider. Each bet is a likelihood ratio whose mean is at most 1 while the twin is
right, and a new one starts with each vehicle. Their mean over bets, summed over starts, has a mean of at most n
after n vehicles, so it passes `VEHICLES_PER_FALSE_ALARM` times the stations within n vehicles with a probability of
at most n / `VEHICLES_PER_FALSE_ALARM` for the whole line, however often somebody looks.
Scores are cut off, so that one strange time condemns nobody; that only makes bets smaller.

Assumed: times of successive vehicles at a station do not depend on each other, given what they are.

Pure. Invariant: a station without times is `unmeasured`: it neither agrees nor differs.

Source: Shin, Ramdas, Rinaldo (2023), E-detectors, for the sum over starts; Ville (1939) for the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from ringroad.build.model import Line, Station
from ringroad.build.twin.arrays import Floats

TOLERANCE_PERMILLE: Final = 30  # of a station's mean; less does not change which plan is better
SPREAD_TIMES_MAX: Final = 1.25  # of a station's spread; same
VEHICLES_PER_FALSE_ALARM: Final = 1_000_000
WINDOW: Final = 500  # newest times of a station that are looked at
MEASURED_MIN: Final = 30  # times, before a station counts as measured
SCORE_MAX: Final = 4.0  # spreads from the mean; what is farther counts as this far
SPREAD_MIN: Final = 0.01  # of the mean: clocks of stations are no better
_SHIFTS: Final = (0.25, 0.5, 1.0, 2.0)  # spreads that a mean may be off, beyond the tolerance
_WIDTHS: Final = (1.5, 2.0, 3.0)  # times that a spread may be too large, beyond what is tolerated

State = Literal["unmeasured", "agrees", "differs"]
How = Literal["", "slower", "faster", "wider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTime:
    """How long a station worked on one vehicle."""

    station: str
    worked_s: float
    features: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StationDrift:
    """One station of the twin against the line.

    Attributes:
        name: of the station.
        vehicles: times looked at.
        state: whether the twin is right about it.
        how: in which way it is not.
        cycle_s: what the programme says.
        spread_permille: same.
        measured_cycle_s: mean of the times without what options add; None without times.
        measured_spread_permille: standard deviation by the mean; None with fewer than two times.
    """

    name: str
    vehicles: int
    state: State
    how: How
    cycle_s: int
    spread_permille: int
    measured_cycle_s: float | None
    measured_spread_permille: int | None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        """Return what is wrong, for a person."""
        if self.how == "wider":
            return (
                f"{self.name} spreads by {(self.measured_spread_permille or 0) / 10:g} %,"
                f" the programme says {self.spread_permille / 10:g} %"
            )
        return f"{self.name} takes {self.measured_cycle_s:.1f} s, the programme says {self.cycle_s} s"


def drift_of(line: Line, times: Sequence[WorkTime]) -> tuple[StationDrift, ...]:
    """Return how each station of the twin fares.

    Args:
        line: as the twin is told.
        times: measured, the oldest first; those of stations that the line does not have are left out.
    """
    alarm = math.log(VEHICLES_PER_FALSE_ALARM * max(1, len(line.stations)))
    by_station: dict[str, list[WorkTime]] = {station.name: [] for station in line.stations}
    for time in times:
        if time.station in by_station and time.worked_s > 0:
            by_station[time.station].append(time)
    return tuple(
        _station(station, by_station[station.name][-WINDOW:], alarm=alarm) for station in line.stations
    )


def out_of_calibration(found: Sequence[StationDrift]) -> tuple[StationDrift, ...]:
    """Return the stations that the twin is wrong about; with any, it may not release a schedule."""
    return tuple(each for each in found if each.state == "differs")


def _station(station: Station, times: Sequence[WorkTime], *, alarm: float) -> StationDrift:
    means: Floats = np.array([_mean(station, time.features) for time in times], dtype=np.float64)
    worked: Floats = np.array([time.worked_s for time in times], dtype=np.float64)
    spread = max(SPREAD_MIN, station.spread_permille / 1000)
    found = _bets(worked, means, spread)
    how: How = ""
    if max(found.values(), default=0.0) >= alarm:
        how = max(found, key=lambda each: found[each])
    extra = means - station.cycle_s
    state: State = "differs" if how else "agrees" if len(times) >= MEASURED_MIN else "unmeasured"
    ratios = worked / means if len(times) else worked
    return StationDrift(
        name=station.name, vehicles=len(times), state=state, how=how, cycle_s=station.cycle_s,
        spread_permille=station.spread_permille,
        measured_cycle_s=round(float((worked - extra).mean()), 2) if len(times) else None,
        measured_spread_permille=round(1000 * float(ratios.std(ddof=1) / ratios.mean())) if len(times) > 1 else None,
    )  # fmt: skip


def _mean(station: Station, features: frozenset[str]) -> float:
    return station.cycle_s + sum(s for option, s in station.extra_s.items() if option in features)


def _bets(worked: Floats, means: Floats, spread: float) -> Mapping[How, float]:
    """Return the logarithm of each kind's share of the sum over starts."""
    if not len(worked):
        return {}
    sigma = math.sqrt(math.log(1 + spread * spread))
    scores = (np.log(worked / means) + sigma * sigma / 2) / sigma
    slack = math.log(1 + TOLERANCE_PERMILLE / 1000) / sigma
    pairs = len(scores) // 2 * 2
    apart = (scores[1:pairs:2] - scores[:pairs:2]) / math.sqrt(2)  # whatever the mean is
    squares = np.minimum(np.abs(apart), SCORE_MAX * SPREAD_TIMES_MAX) ** 2 / (2 * SPREAD_TIMES_MAX**2)
    kinds: dict[How, list[Floats]] = {
        "slower": [_shift(np.minimum(scores, SCORE_MAX) - slack, by) for by in _SHIFTS],
        "faster": [_shift(np.minimum(-scores, SCORE_MAX) - slack, by) for by in _SHIFTS],
        "wider": [squares * (1 - 1 / (width * width)) - math.log(width) for width in _WIDTHS],
    }
    bets = sum(len(each) for each in kinds.values())
    return {
        how: float(np.logaddexp.reduce([_over_starts(each) for each in gains])) - math.log(bets)
        for how, gains in kinds.items()
    }


def _shift(scores: Floats, by: float) -> Floats:
    gains: Floats = by * scores - by * by / 2
    return gains


def _over_starts(gains: Floats) -> float:
    """Return the logarithm of the sum, over all starts, of what a bet from there has become."""
    if not len(gains):
        return -math.inf
    return float(np.logaddexp.reduce(np.cumsum(gains[::-1])))
