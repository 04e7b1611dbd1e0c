"""The example world: a mother plant and plants made after it on three continents, ramped up with and without what she knows.

What is true of each plant is drawn from a seed and known here, so that what each way of beginning believes can be held
against it. A plant plans by its beliefs: people per station so that a paced line keeps its takt, inspectors where they
pay. Who believes a station to be faster than it is has a line that waits for it; who doubts, pays people who wait.

Pure and deterministic: a seed gives the same world, and all ways of beginning have the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from ringroad.build.clone.inherit import inherit
from ringroad.build.clone.learn import learn
from ringroad.build.clone.sums import CloneSums, sums_of
from ringroad.build.plant.model import Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior

Array = npt.NDArray[np.float64]
Way = Literal["cloned", "alone", "copied"]

WAYS: Final[tuple[Way, ...]] = ("cloned", "alone", "copied")
PLANT_SD, STATION_SD = 0.10, 0.09  # of log seconds: between plants, and of a station between plants
YIELD_PLANT_SD, YIELD_SD = 0.2, 0.3  # of the logit of a first pass
OTHER_SD, OTHER_YIELD_SD = 0.35, 0.8  # of a plant that is no clone: its stations have nothing of the mother's
STATED_SD: Final = 0.2  # of log seconds: what a work study before the first vehicle is off by
STATED_FIRST_PASS, STATED_TRIALS = (
    0.99,
    20.0,
)  # what engineers promise of every station, and how many trials that is worth
SAFETY: Final = 2.0  # standard deviations of a time that people are planned for
INSPECTOR_FINDS: Final = 0.9  # of bad vehicles
SPREAD_SD: Final = 0.25  # of the log of one cycle


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What one plant pays, in euro.

    Attributes:
        wage_h: one person, an hour.
        line_h: line and building, an hour.
        parts: and freight, of one vehicle.
        inspect: one inspection.
        rework: a bad vehicle, repaired at its station.
        escape: a bad vehicle, repaired behind the line.
    """

    wage_h: float
    line_h: float
    parts: float
    inspect: float
    rework: float
    escape: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A plant of the world.

    Attributes:
        id: of its document.
        name: for people.
        site: ISA-95 site.
        continent: where it is.
        kind: made after the mother, or bought: called a clone, and none.
        hours: a day.
        costs: there.
        rebuilt: stations that it built otherwise, and how many times as long they take there.
    """

    id: str
    name: str
    site: str
    continent: str
    kind: Literal["clone", "bought"] = "clone"
    hours: float
    costs: Costs
    rebuilt: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """How a plant begins: vehicles allowed on the first days, then as many as its hours let it, and for how long."""

    takt_s: float
    pilot: tuple[int, ...]
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is true of one plant: [station] log seconds, and share of vehicles that are right at once."""

    seconds: Array
    first_pass: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of a ramp.

    Attributes:
        vehicles: built.
        built: since the first day.
        error: root mean square error of what is believed of the times at its beginning, of a logarithm.
        takt_s: seconds per vehicle, in the mean.
        conversion: euro per vehicle: people, line, inspection, repairs.
        first_pass: share of vehicles that leave the line right.
    """

    vehicles: int
    built: int
    error: float
    takt_s: float
    conversion: float
    first_pass: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Belief:
    """[station] log seconds with variance, and the first pass."""

    seconds: Array
    variance: Array
    first_pass: Array


def stations_of(mother: Plant) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Return the mother's times and first passes, station by station."""
    keys = sorted(mother.parameters)
    times = tuple(key for key in keys if key.kind == "cycle_s")
    passes = tuple(key for key in keys if key.kind == "first_pass" and Key(key.path, "cycle_s") in times)
    return tuple(Key(key.path, "cycle_s") for key in passes), passes


def draw_truth(mother: Plant, site: Site, draw: np.random.Generator) -> Truth:
    """Return what is true of a plant."""
    times, passes = stations_of(mother)
    seconds = np.array([mother.parameters[key].centre for key in times])
    logits = np.array([mother.parameters[key].centre for key in passes])
    own, plant = draw.standard_normal((2, len(times))), draw.standard_normal(2)
    if site.kind == "clone":
        seconds = seconds + PLANT_SD * plant[0] + STATION_SD * own[0]
        logits = logits + YIELD_PLANT_SD * plant[1] + YIELD_SD * own[1]
    else:
        seconds = seconds.mean() + OTHER_SD * own[0]
        logits = logits.mean() + OTHER_YIELD_SD * own[1]
    factors = [site.rebuilt.get(key.path[-1], 1.0) for key in times]
    return Truth(seconds=seconds + np.log(factors), first_pass=1 / (1 + np.exp(-logits)))


def ramp_up(mother: Plant, site: Site, ramp: Ramp, truth: Truth, *, way: Way, seed: int) -> list[Day]:
    """Return the first days of a plant that begins one way.

    Args:
        mother: what the mother believes.
        site: the plant.
        ramp: how it begins.
        truth: what is true of it.
        way: with what it inherits and doubts (``cloned``), with a work study alone (``alone``), or with the mother's
            numbers and no doubt (``copied``).
        seed: of its luck, the same for all ways.
    """
    return _ramp_up(mother, site, ramp, truth, way=way, seed=seed)[0]


def sums_after(mother: Plant, site: Site, ramp: Ramp, truth: Truth, *, seed: int) -> CloneSums:
    """Return what a plant says to its parents after a ramp that began with what it inherits. Args: as `ramp_up`."""
    _, sums = _ramp_up(mother, site, ramp, truth, way="cloned", seed=seed)
    times, passes = stations_of(mother)
    identity = replace(mother.identity, id=site.id, parent=mother.id)
    return sums_of(
        replace(mother, identity=identity), sums.times(times, site.id) | sums.passes(passes, site.id)
    )


def _ramp_up(
    mother: Plant, site: Site, ramp: Ramp, truth: Truth, *, way: Way, seed: int
) -> tuple[list[Day], _Sums]:
    """Return the first days of a plant, and what it measured."""
    draw = np.random.default_rng([seed, 1])
    luck = np.random.default_rng([seed, 2])
    stated = truth.seconds + STATED_SD * draw.standard_normal(len(truth.seconds))
    sums = _Sums(stations=len(truth.seconds))
    days: list[Day] = []
    for day in range(ramp.days):
        belief = _believe(mother, sums, way, stated)
        allowed = ramp.pilot[day] if day < len(ramp.pilot) else int(3600 * site.hours / ramp.takt_s)
        cycles = luck.standard_normal((allowed, len(truth.seconds)))
        bad = luck.random((allowed, len(truth.seconds))) > truth.first_pass
        days.append(_day(site, ramp, truth, belief, cycles, before=sums.n))
        built = days[-1].vehicles
        sums.take(truth.seconds + SPREAD_SD * cycles[:built], bad[:built])
    return days, sums


def known_day(site: Site, ramp: Ramp, truth: Truth) -> Day:
    """Return a day of a plant that knows what is true of it: what every ramp ends at."""
    draw = np.random.default_rng(0)
    cycles = draw.standard_normal((int(3600 * site.hours / ramp.takt_s), len(truth.seconds)))
    belief = _Belief(
        seconds=truth.seconds, variance=np.zeros_like(truth.seconds), first_pass=truth.first_pass
    )
    return _day(site, ramp, truth, belief, cycles, before=0)


@dataclass(slots=True)
class _Sums:
    """What a plant measured itself, as sums."""

    stations: int
    n: int = 0
    total: Array = field(init=False)
    squares: Array = field(init=False)
    good: Array = field(init=False)

    def __post_init__(self) -> None:
        self.total, self.squares, self.good = (np.zeros(self.stations) for _ in range(3))

    def take(self, logs: Array, bad: npt.NDArray[np.bool_]) -> None:
        """Add some vehicles: [vehicle, station]."""
        self.n += len(logs)
        self.total += logs.sum(axis=0)
        self.squares += (logs * logs).sum(axis=0)
        self.good += (~bad).sum(axis=0)

    def times(self, keys: Sequence[Key], plant: str) -> dict[Key, Posterior]:
        """Return sums of times by key."""
        return {
            key: Posterior(
                family="time", n=self.n, total=float(self.total[at]), squares=float(self.squares[at]),
                origin=Origin(plant=plant),
            )
            for at, key in enumerate(keys)
        }  # fmt: skip

    def passes(self, keys: Sequence[Key], plant: str) -> dict[Key, Posterior]:
        """Return sums of first passes by key."""
        return {
            key: Posterior(family="share", n=self.n, total=float(self.good[at]), origin=Origin(plant=plant))
            for at, key in enumerate(keys)
        }


def _believe(mother: Plant, sums: _Sums, way: Way, stated: Array) -> _Belief:
    match way:
        case "cloned":
            return _inherited(mother, sums)
        case "alone":
            weight = 1 / STATED_SD**2
            total = weight + sums.n / SPREAD_SD**2
            good = sums.good + STATED_TRIALS * STATED_FIRST_PASS
            return _Belief(
                seconds=(weight * stated + sums.total / SPREAD_SD**2) / total,
                variance=np.full(sums.stations, 1 / total),
                first_pass=good / (sums.n + STATED_TRIALS),
            )
        case "copied":
            times, passes = stations_of(mother)
            known = [mother.parameters[key] for key in times]
            n = np.array([each.n for each in known])
            shares = [mother.parameters[key] for key in passes]
            good, trials = np.array([each.total for each in shares]), np.array([each.n for each in shares])
            return _Belief(
                seconds=(np.array([each.total for each in known]) + sums.total) / (n + sums.n),
                variance=SPREAD_SD**2 / (n + sums.n),
                first_pass=(good + sums.good) / (trials + sums.n),
            )


def _inherited(mother: Plant, sums: _Sums) -> _Belief:
    times, passes = stations_of(mother)
    of = {mother.id: mother.parameters}
    seen = sums.n > 0
    learned = learn(inherit(of, times), sums.times(times, "") if seen else {}).learned
    shares = learn(inherit(of, passes), sums.passes(passes, "") if seen else {}).learned
    return _Belief(
        seconds=np.array([each.centre for each in learned]),
        variance=np.array([each.variance for each in learned]),
        first_pass=1 / (1 + np.exp(-np.array([each.centre for each in shares]))),
    )


def _day(site: Site, ramp: Ramp, truth: Truth, belief: _Belief, cycles: Array, *, before: int) -> Day:
    """Return a day planned by what is believed, and run by what is true."""
    spread = np.sqrt(SPREAD_SD**2 + belief.variance)
    people = np.maximum(1.0, np.exp(belief.seconds + SAFETY * spread) / ramp.takt_s)
    pace = np.maximum(ramp.takt_s, (np.exp(truth.seconds + SPREAD_SD * cycles) / people).max(axis=1))
    built = max(1, int((np.cumsum(pace) <= 3600 * site.hours).sum()))
    takt_s = float(pace[:built].mean())
    costs, bad = site.costs, 1 - truth.first_pass
    pays = INSPECTOR_FINDS * (1 - belief.first_pass) * (costs.escape - costs.rework) > costs.inspect
    found = np.where(pays, INSPECTOR_FINDS * bad, 0.0)
    conversion = (
        takt_s / 3600 * (float(people.sum()) * costs.wage_h + costs.line_h)
        + float(pays.sum()) * costs.inspect
        + float((found * costs.rework + (bad - found) * costs.escape).sum())
    )
    return Day(
        vehicles=built,
        built=before + built,
        error=float(np.sqrt(((belief.seconds - truth.seconds) ** 2).mean())),
        takt_s=takt_s,
        conversion=conversion,
        first_pass=float(np.prod(1 - bad + found)),
    )


def reached(days: Sequence[Day], good: Sequence[bool]) -> tuple[int, int]:
    """Return the first day, from 1, from which on every day is good, and vehicles built before it.

    Of a ramp that never gets there: the day behind the last, and all vehicles.
    """
    last_bad = max((at for at, each in enumerate(good) if not each), default=-1)
    return last_bad + 2, days[last_bad].built if last_bad >= 0 else 0
