"""First-pass yield by station, variant, supplier lot and software version, with partial pooling. Pure.

How often a vehicle fails at a station is a product: the station's own rate, and a factor for each of its variant, its
software and the lots fitted there, around 1:

    m = mean of the line x base(station) x r(station, variant) x r(station, software) x product of r(station, part, lot)
    theta of a cell ~ Beta(kappa m, kappa (1 - m))

How a factor is believed from its failures, and how alike factors are, is in `pooling.py`. A cell is predicted from
factors that its own counts were taken out of, and then learns from them; a lot of three vehicles so says little, and one
of three hundred much.

Source: Clayton and Kaldor, "Empirical Bayes estimates of age-standardized relative risks" (1987), section 3; Gelman et
al., Bayesian Data Analysis, 3rd edition, 5.3 (beta-binomial cells), 15 (crossed factors).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from ringroad.build.quality.pooling import (
    BAD_MIN,
    STATIONS,
    WITHIN,
    Array,
    Family,
    cell_spread,
    settle_all,
)
from ringroad.kernel.beta import beta_quantile
from ringroad.kernel.errors import InvalidInput

CELLS_MAX: Final = 50_000  # of one fit; a second of work
RATE_MAX: Final = 0.95  # what a product of factors may come to
RATE_MIN: Final = 1e-6
INTERVAL: Final = 0.9  # that an interval covers

Kind = Literal["station", "variant", "software", "lot"]
KINDS: Final[tuple[Kind, ...]] = ("station", "variant", "software", "lot")


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
        shared: share of what it is unsure of that all stations are unsure of together: the line's mean.
    """

    station: str
    kind: Kind
    value: str
    vehicles: int
    failed: int
    belief: Belief
    times: float
    shared: float = 0.0


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
        strengths: k by kind, and kappa as "cell": how alike levels are, as far as the counts say; the higher, the more
            they are pooled.
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
    families = {
        kind: Family.of(
            [[(each.station, value) for value in each.values(kind)] for each in counts],
            STATIONS if kind == "station" else WITHIN,
        )
        for kind in KINDS
    }
    mean = max(RATE_MIN, min(RATE_MAX, (failed.sum() + BAD_MIN) / (n.sum() + 2 * BAD_MIN)))
    rates = np.full(len(counts), mean)
    settle_all(families["station"], [families[kind] for kind in KINDS[1:]], rates, n, failed)
    inner = cell_spread(np.clip(rates, RATE_MIN, RATE_MAX), n, failed)
    # The line's mean is as sure as its failures, and as its stations, of which each is one draw, make it.
    of_line = 1 / (failed.sum() + BAD_MIN) + families["station"].spread / len(families["station"].names)
    without, doubt = rates.copy(), np.full(len(counts), of_line)
    for family in families.values():
        factor, variance = family.without_own(n, failed, rates)
        without, doubt = without * factor, doubt + variance
    cells = tuple(_cells(counts, np.clip(without, RATE_MIN, RATE_MAX), doubt, inner))
    levels = tuple(level for kind in KINDS for level in _levels(families, kind, n * rates, n, of_line))
    return Yields(
        levels=levels, cells=cells, rolled=_rolled([each for each in levels if each.kind == "station"]),
        strengths={kind: family.strength for kind, family in families.items()} | {"cell": 1 / inner},
    )  # fmt: skip


def _cells(counts: Sequence[Tally], rates: Array, doubt: Array, inner: float) -> Iterable[Cell]:
    """Yield cells: a beta with the mean and the variance that the factors leave, and what was seen of the cell."""
    variance = rates**2 * doubt + rates * (1 - rates) * inner
    strength = np.maximum(BAD_MIN / rates, rates * (1 - rates) / variance - 1)
    for tally, rate, size in zip(counts, rates.tolist(), strength.tolist(), strict=True):
        bad, good = rate * size + tally.failed, (1 - rate) * size + tally.vehicles - tally.failed
        yield Cell(tally=tally, belief=Belief(bad=bad, good=good))


def _levels(
    families: Mapping[Kind, Family], kind: Kind, expected: Array, n: Array, of_line: float
) -> Iterable[Level]:
    """Yield levels: what is expected of their vehicles, as sure as their failures and all they lean on make it."""
    family = families[kind]
    vehicles, bad = family.sums(n), family.sums(expected)
    others = of_line + sum(
        family.carried(other, expected) for name, other in families.items() if name != kind
    )
    doubt = family.doubt + family.leans**2 * others
    for number, (station, value) in enumerate(family.names):
        rate = min(RATE_MAX, max(RATE_MIN, float(bad[number] / max(1.0, vehicles[number]))))
        a = max(BAD_MIN, 1 / float(doubt[number]))
        yield Level(
            station=station, kind=kind, value=value, vehicles=int(vehicles[number]),
            failed=int(family.seen[number]), belief=Belief(bad=a, good=a * (1 - rate) / rate),
            times=1.0 if kind == "station" else float(family.factor[number]),
            shared=float(family.leans[number] ** 2 * of_line / doubt[number]),
        )  # fmt: skip


def _rolled(stations: Sequence[Level]) -> tuple[float, float, float]:
    """Return the product of first-pass yields, with its interval.

    On the logarithm, stations' own widths add as squares, since they are unsure apart; what they are unsure of together
    adds as it is. Above and below the product have a width each.

    Source: rolled throughput yield; Montgomery, Introduction to Statistical Quality Control, 1.3. Zou and Donner,
    "Construction of confidence limits about effect measures" (2008), for widths of a sum.
    """
    product = math.prod(each.belief.first_pass for each in stations)
    shared = [each.shared for each in stations]
    below, above = [], []
    for each in stations:
        low, high = each.belief.between()
        below.append(math.log(each.belief.first_pass / max(low, RATE_MIN)))
        above.append(math.log(max(high, RATE_MIN) / each.belief.first_pass))
    return (
        product,
        product * math.exp(-_together(below, shared)),
        min(1.0, product * math.exp(_together(above, shared))),
    )


def _together(widths: Sequence[float], shared: Sequence[float]) -> float:
    """Return the width of a sum, of which each term shares a part of its variance with all others."""
    own = sum(width**2 * (1 - part) for width, part in zip(widths, shared, strict=True))
    return math.sqrt(
        own + sum(width * math.sqrt(part) for width, part in zip(widths, shared, strict=True)) ** 2
    )
