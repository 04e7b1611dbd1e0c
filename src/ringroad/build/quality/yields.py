"""First-pass yield by station, variant, supplier lot and software version, with partial pooling. Pure.

How often a vehicle fails at a station is a product: the station's own rate, and a factor for each of its variant, its
software and the lots fitted there, around 1:

    m = base(station) x r(station, variant) x r(station, software) x product of r(station, part, lot)
    base ~ Gamma(k, mean of the line)    r ~ Gamma(k of its family, mean 1)    theta of a cell ~ Beta(kappa m, kappa (1 - m))

Factors are their posterior means given all others, found by turns; each `k` and `kappa` is the one under which the
counts are likeliest (empirical Bayes). A cell is predicted from factors that its own counts were taken out of, and
then learns from them; a lot of three vehicles so says little, and one of three hundred much.

Source: Clayton and Kaldor, "Empirical Bayes estimates of age-standardized relative risks" (1987), section 3; Gelman et
al., Bayesian Data Analysis, 3rd edition, 5.3 (beta-binomial cells), 15 (crossed factors).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from ringroad.kernel.beta import beta_quantile
from ringroad.kernel.errors import InvalidInput

CELLS_MAX: Final = 50_000  # of one fit; a second of work
ROUNDS: Final = 12  # in which factors settle to a thousandth
STRENGTHS: Final = np.geomspace(0.5, 512, 21)  # candidates for k; 512 means that levels hardly differ
CELL_STRENGTHS: Final = np.geomspace(4, 16_384, 13)  # candidates for kappa, in vehicles
BAD_MIN: Final = 0.5  # failures that a belief is worth at least, as in Jeffreys' prior
RATE_MAX: Final = 0.95  # what a product of factors may come to
RATE_MIN: Final = 1e-6
INTERVAL: Final = 0.9  # that an interval covers

Kind = Literal["station", "variant", "software", "lot"]
KINDS: Final[tuple[Kind, ...]] = ("station", "variant", "software", "lot")
Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Vehicles that were alike at a station, and how many of them did not pass at once."""

    station: str
    variant: str
    software: str
    lots: tuple[tuple[str, str], ...]  # part and lot, in order
    vehicles: int
    failed: int

    def __post_init__(self) -> None:
        """Refuse what cannot be counted."""
        if not 0 <= self.failed <= self.vehicles:
            raise InvalidInput(
                f"{self.station}: {self.failed} of {self.vehicles} vehicles cannot have failed"
            )

    def values(self, kind: Kind) -> tuple[str, ...]:
        """Return what these vehicles have of a kind: a station as "", a lot with its part."""
        match kind:
            case "station":
                return ("",)
            case "variant":
                return (self.variant,)
            case "software":
                return (self.software,) if self.software else ()
            case "lot":
                return tuple(f"{part}={lot}" for part, lot in self.lots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A share that fails, as a beta distribution: as from `bad` and `good` vehicles."""

    bad: float
    good: float

    @property
    def fails(self) -> float:
        """Expected share that fails."""
        return self.bad / (self.bad + self.good)

    @property
    def first_pass(self) -> float:
        """Expected share that is right at once."""
        return 1 - self.fails

    def between(self) -> tuple[float, float]:
        """Return between what the share right at once is, with probability `INTERVAL`."""
        half = INTERVAL / 2
        return (
            1 - beta_quantile(0.5 + half, self.bad, self.good),
            1 - beta_quantile(0.5 - half, self.bad, self.good),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A station, or a variant, a software version or a lot at it.

    Attributes:
        station: of the line.
        kind: of the level.
        value: "" for the station itself, ``part=lot`` for a lot.
        vehicles: seen.
        failed: of these, not right at once.
        belief: of those to come.
        times: how many times as often it fails as its station does otherwise; 1 for a station.
    """

    station: str
    kind: Kind
    value: str
    vehicles: int
    failed: int
    belief: Belief
    times: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Vehicles alike at a station: what was seen, and what is believed of those to come."""

    tally: Tally
    belief: Belief


@dataclass(frozen=True, slots=True, kw_only=True)
class Yields:
    """First-pass yield of a line, whole.

    Attributes:
        levels: stations, and what is at each; in the order of the counts.
        cells: as the counts.
        rolled: share of vehicles that pass all stations at once, with its interval.
        strengths: k by kind, and kappa as "cell": how alike levels are; the higher, the more they are pooled.
    """

    levels: tuple[Level, ...] = ()
    cells: tuple[Cell, ...] = ()
    rolled: tuple[float, float, float] = (1.0, 0.0, 1.0)
    strengths: Mapping[str, float] = field(default_factory=dict)


def fit_yields(counts: Sequence[Tally]) -> Yields:
    """Return what is believed of a line's first-pass yield.

    Args:
        counts: one for all vehicles alike at a station.

    Raises:
        InvalidInput: more cells than `CELLS_MAX`.
    """
    if len(counts) > CELLS_MAX:
        raise InvalidInput(f"{len(counts)} cells, limit {CELLS_MAX}", hint="look at fewer days")
    if not counts:
        return Yields()
    n = np.array([each.vehicles for each in counts], dtype=np.float64)
    failed = np.array([each.failed for each in counts], dtype=np.float64)
    families = {kind: _Family.of(counts, kind) for kind in KINDS}
    mean = max(RATE_MIN, min(RATE_MAX, (failed.sum() + 0.5) / (n.sum() + 1)))
    rates = np.full(len(counts), mean)
    for turn in range(ROUNDS):
        for family in families.values():
            family.settle(rates, n, failed, learn=turn < ROUNDS - 2)
    kappa = _cell_strength(np.clip(rates, RATE_MIN, RATE_MAX), n, failed)
    without = np.full(len(counts), mean)
    doubt = np.full(len(counts), 1 / (failed.sum() + BAD_MIN))  # of the line's mean
    for family in families.values():
        factor, variance = family.without_own(n, failed, rates)
        without, doubt = without * factor, doubt + variance
    cells = tuple(_cells(counts, np.clip(without, RATE_MIN, RATE_MAX), doubt, kappa))
    base = _base_doubt(families["station"], failed)
    levels = tuple(
        level for kind, family in families.items() for level in _levels(family, kind, rates, n, base)
    )
    return Yields(
        levels=levels, cells=cells, rolled=_rolled([each for each in levels if each.kind == "station"]),
        strengths={kind: family.k for kind, family in families.items()} | {"cell": kappa},
    )  # fmt: skip


@dataclass(slots=True, kw_only=True)
class _Family:
    """Levels of a kind: which cells have which, and their factors."""

    names: list[tuple[str, str]]  # station and value
    cell: Index  # a cell and a level of it, at the same place
    level: Index
    factor: Array
    k: float = 8.0
    expected: Array = field(default_factory=lambda: np.zeros(0))  # failures, were the factor 1
    seen: Array = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(cls, counts: Sequence[Tally], kind: Kind) -> _Family:
        places: dict[tuple[str, str], int] = {}
        pairs = [
            (number, places.setdefault((each.station, value), len(places)))
            for number, each in enumerate(counts)
            for value in each.values(kind)
        ]
        table = np.array(pairs, dtype=np.int64).reshape(len(pairs), 2)
        return cls(names=list(places), cell=table[:, 0], level=table[:, 1], factor=np.ones(len(places)))

    def settle(self, rates: Array, n: Array, failed: Array, *, learn: bool) -> None:
        """Find the factors given all others; changes `rates`."""
        size = len(self.names)
        if not size:
            return
        alone = rates[self.cell] / self.factor[self.level]
        self.expected = np.bincount(self.level, n[self.cell] * alone, size).astype(np.float64)
        self.seen = np.bincount(self.level, failed[self.cell], size).astype(np.float64)
        if learn:
            self.k = _strength(self.seen, self.expected)
        after = (self.k + self.seen) / (self.k + self.expected)
        np.multiply.at(rates, self.cell, (after / self.factor)[self.level])
        self.factor = after

    def without_own(self, n: Array, failed: Array, rates: Array) -> tuple[Array, Array]:
        """Return for each cell its factors without its own counts, and the variance of their logarithm."""
        factor, variance = np.ones(len(n)), np.zeros(len(n))
        if self.names:
            own = n[self.cell] * rates[self.cell] / self.factor[self.level]
            seen = self.seen[self.level] - failed[self.cell]
            np.multiply.at(
                factor,
                self.cell,
                (self.k + seen) / (self.k + np.maximum(0.0, self.expected[self.level] - own)),
            )
            np.add.at(variance, self.cell, 1 / (self.k + seen))
        return factor, variance


def _strength(seen: Array, expected: Array) -> float:
    """Return the k under which failures of levels are likeliest: each is negative binomial around its expectation."""
    expected = np.maximum(expected, RATE_MIN)
    logs = [
        float(
            (
                log_gamma(k + seen) - math.lgamma(k) - k * np.log1p(expected / k)
                + seen * (np.log(expected) - np.log(k + expected))
            ).sum()
        )
        for k in STRENGTHS
    ]  # fmt: skip
    return float(STRENGTHS[int(np.argmax(logs))])


def _cell_strength(rates: Array, n: Array, failed: Array) -> float:
    """Return the kappa under which cells are likeliest: each is beta-binomial around its product of factors."""
    logs = []
    for kappa in CELL_STRENGTHS:
        a, b = kappa * rates, kappa * (1 - rates)
        total = log_gamma(a + failed) - log_gamma(a) + log_gamma(b + n - failed) - log_gamma(b)
        logs.append(float((total - log_gamma(kappa + n)).sum()) + len(n) * math.lgamma(kappa))
    return float(CELL_STRENGTHS[int(np.argmax(logs))])


def _cells(counts: Sequence[Tally], rates: Array, doubt: Array, kappa: float) -> Iterable[Cell]:
    """Yield cells: a beta with the mean and the variance that the factors leave, and what was seen of the cell."""
    variance = rates**2 * doubt + rates * (1 - rates) / (kappa + 1)
    strength = np.maximum(BAD_MIN / rates, rates * (1 - rates) / variance - 1)
    for tally, rate, size in zip(counts, rates.tolist(), strength.tolist(), strict=True):
        bad, good = rate * size + tally.failed, (1 - rate) * size + tally.vehicles - tally.failed
        yield Cell(tally=tally, belief=Belief(bad=bad, good=good))


def _base_doubt(stations: _Family, failed: Array) -> dict[str, float]:
    """Return by station the variance of its rate's logarithm: by its own failures, and the line's as far as it leans on these."""
    leans = stations.k / (stations.k + stations.expected)
    variance = 1 / (stations.k + stations.seen) + leans**2 / (failed.sum() + BAD_MIN)
    return {name: float(value) for (name, _), value in zip(stations.names, variance, strict=True)}


def _levels(
    family: _Family, kind: Kind, rates: Array, n: Array, base: Mapping[str, float]
) -> Iterable[Level]:
    """Yield levels: what is expected of their vehicles, as sure as their failures, k and their station make it."""
    size = len(family.names)
    vehicles = np.bincount(family.level, n[family.cell], size)
    believed = np.bincount(family.level, (n * rates)[family.cell], size) / np.maximum(vehicles, 1)
    for number, (station, value) in enumerate(family.names):
        rate = min(RATE_MAX, max(RATE_MIN, float(believed[number])))
        leans = family.k / (family.k + float(family.expected[number]))
        own = 1 / (family.k + float(family.seen[number])) + leans**2 * base[station]
        a = max(BAD_MIN, 1 / (base[station] if kind == "station" else own))
        yield Level(
            station=station, kind=kind, value=value, vehicles=int(vehicles[number]),
            failed=int(family.seen[number]), belief=Belief(bad=a, good=a * (1 - rate) / rate),
            times=1.0 if kind == "station" else float(family.factor[number]),
        )  # fmt: skip


def _rolled(stations: Sequence[Level]) -> tuple[float, float, float]:
    """Return the product of first-pass yields; its interval is lognormal, with the stations' variances added.

    Source: rolled throughput yield; Montgomery, Introduction to Statistical Quality Control, 1.3.
    """
    product = math.prod(each.belief.first_pass for each in stations)
    bounds = [each.belief.between() for each in stations]
    wide = sum(math.log(max(high, RATE_MIN) / max(low, RATE_MIN)) ** 2 for low, high in bounds)
    half = math.exp(math.sqrt(wide) / 2)
    return product, product / half, min(1.0, product * half)


def log_gamma(x: Array) -> Array:
    """Return the logarithm of the gamma function of what is above 0, by Stirling's series from 8 on."""
    shift = np.zeros_like(x)
    y = x.astype(np.float64, copy=True)
    for _ in range(8):
        low = y < 8
        shift = np.where(low, shift + np.log(y), shift)
        y = np.where(low, y + 1, y)
    inverse = 1 / y
    series = inverse / 12 - inverse**3 / 360 + inverse**5 / 1260
    found: Array = (y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - shift
    return found
