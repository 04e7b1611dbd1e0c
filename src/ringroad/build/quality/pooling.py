"""How alike are the stations, variants, versions and lots of a line, and so how far does one say something of another? Pure.

A factor says how many times as often vehicles with something fail as others do.

1. Usually it is Gamma(k, mean 1). How alike things are, k, is not known: every candidate counts as far as it is likely,
   by the counts and by a prior on the spread 1 / sqrt(k) (half-Cauchy for stations, which differ by design; half-normal
   for what varies at one station, which seldom does).
2. One variant, version or lot of twenty is taken to be of another kind: faulty, with a factor of any size. One that is
   faulty therefore does not make all others, at this station and elsewhere, look as if they differed as much.
3. The line's mean is that of vehicles with nothing special: it is found anew in each turn, given all factors.
4. Factors are their posterior means given all others, found by turns. A turn begins with what stands out of its station,
   since from the raw mean the turns may come to rest where the good lots are better than usual, not the bad one worse.
5. What is believed is as wide as its own failures, and as all that it leans on, are unsure: a thing with few vehicles
   leans on the line's mean, and that on how few stations it is known from.

Source: Gelman, "Prior distributions for variance parameters in hierarchical models" (2006), for the priors on spreads;
West, "Outlier models and prior distributions in Bayesian linear regression" (1984), for the second kind; Bishop, Pattern
Recognition and Machine Learning, 10.1, for the turns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Name = tuple[str, str]  # station, and what is at it

ROUNDS: Final = 12  # in which factors settle to a thousandth
STRENGTHS: Final = np.geomspace(0.5, 512, 21)  # candidates for k; 512 means that levels hardly differ
CELL_STRENGTHS: Final = np.geomspace(4, 16_384, 13)  # candidates for kappa, in vehicles
CELLS_SD: Final = 0.3  # scale of the spread of cells around their product of factors
BAD_MIN: Final = 0.5  # failures that a belief is worth at least, as in Jeffreys' prior
EXPECTED_MIN: Final = 1e-6  # failures
FAULTY_STRENGTH: Final = 1.0  # exponential: from nothing special to tens of times as often
FAULTY_TIMES: Final = 6.0  # as often, on average
STANDS_OUT_NATS: Final = (
    5.0  # likelihood of something having its own rate, from which the turns begin with it
)
STANDS_OUT_MAX: Final = 5  # such things of one station
LIKELY: Final = 1e-4  # of a candidate, below which it is left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of the factors of a kind before anything is counted.

    Attributes:
        faulty: share that is of another kind.
        log_spread: of each of `STRENGTHS`, up to a constant.
    """

    faulty: float
    log_spread: Array


_SD: Final = 1 / np.sqrt(
    STRENGTHS
)  # candidates are evenly spaced in its logarithm: hence its own factor below
STATIONS: Final = Prior(faulty=0.0, log_spread=np.log(_SD) - np.log1p((_SD / 0.7) ** 2))
WITHIN: Final = Prior(faulty=0.05, log_spread=np.log(_SD) - (_SD / 0.25) ** 2 / 2)


@dataclass(slots=True, kw_only=True)
class Family:
    """Levels of a kind: which cells have which, and what is believed of their factors.

    Attributes:
        names: of the levels.
        cell: a cell, and a level of it at the same place of `level`.
        level: of that cell.
        prior: of the factors.
        factor: posterior means.
        doubt: variance of the factors' logarithm.
        leans: how much of a belief is what was expected, and not its own failures: 1 for a level without vehicles.
        expected: failures, were the factor 1.
        seen: failures.
        weights: of the candidates for k.
    """

    names: list[Name]
    cell: Index
    level: Index
    prior: Prior
    factor: Array
    doubt: Array
    leans: Array
    expected: Array
    seen: Array
    weights: Array = field(default_factory=lambda: np.full(len(STRENGTHS), 1 / len(STRENGTHS)))

    @classmethod
    def of(cls, names_of_cells: Sequence[Sequence[Name]], prior: Prior) -> Family:
        """Return the levels that cells have, none of them special yet."""
        places: dict[Name, int] = {}
        pairs = [
            (number, places.setdefault(name, len(places)))
            for number, names in enumerate(names_of_cells)
            for name in names
        ]
        table, size = np.array(pairs, dtype=np.int64).reshape(len(pairs), 2), len(places)
        return cls(
            names=list(places), cell=table[:, 0], level=table[:, 1], prior=prior, factor=np.ones(size),
            doubt=np.zeros(size), leans=np.ones(size), expected=np.zeros(size), seen=np.zeros(size),
        )  # fmt: skip

    @property
    def strength(self) -> float:
        """The likely k: the higher, the more levels are pooled."""
        return float(np.exp((self.weights * np.log(STRENGTHS)).sum()))

    @property
    def spread(self) -> float:
        """The expected variance of factors, faulty ones left out."""
        return float((self.weights / STRENGTHS).sum())

    def sums(self, of_cells: Array) -> Array:
        """Return by level the sum over its cells."""
        return np.bincount(self.level, of_cells[self.cell], len(self.names)).astype(np.float64)

    def settle(self, rates: Array, n: Array, failed: Array) -> None:
        """Find the factors given all others; changes `rates`."""
        if not self.names:
            return
        self.expected, self.seen = self.sums(n * rates) / self.factor, self.sums(failed)
        usual = math.log1p(-self.prior.faulty) + _log_mass(self.seen, self.expected, STRENGTHS[:, np.newaxis])
        if self.prior.faulty:
            faulty = _log_mass(self.seen, self.expected, FAULTY_STRENGTH, FAULTY_TIMES)
            usual = np.logaddexp(usual, math.log(self.prior.faulty) + faulty)
        log_weights = self.prior.log_spread + usual.sum(axis=1)
        weights = np.exp(log_weights - log_weights.max())
        self.weights = weights / weights.sum()
        after, self.doubt, self.leans = self._believed(self.seen, self.expected)
        np.multiply.at(rates, self.cell, (after / self.factor)[self.level])
        self.factor = after

    def without_own(self, n: Array, failed: Array, rates: Array) -> tuple[Array, Array]:
        """Return for each cell what its factors are without its own counts, times what they are, and their doubt."""
        times, doubt = np.ones(len(n)), np.zeros(len(n))
        if self.names:
            own = n[self.cell] * rates[self.cell] / self.factor[self.level]
            factor, variance, _ = self._believed(
                self.seen[self.level] - failed[self.cell],
                np.maximum(0.0, self.expected[self.level] - own),
            )
            np.multiply.at(times, self.cell, factor / self.factor[self.level])
            np.add.at(doubt, self.cell, variance)
        return times, doubt

    def carried(self, other: Family, expected: Array) -> Array:
        """Return by level the doubt that another family's levels bring: of many that share it each brings little."""
        starts = np.searchsorted(other.cell, self.cell)  # cells of a family are in order
        many = np.searchsorted(other.cell, self.cell, side="right") - starts
        first = np.repeat(starts - np.cumsum(many) + many, many)
        there = other.level[first + np.arange(len(first))]
        pairs = np.repeat(self.level, many) * max(1, len(other.names)) + there
        both, place = np.unique(pairs, return_inverse=True)
        mine, theirs = both // max(1, len(other.names)), both % max(1, len(other.names))
        share = (
            np.bincount(place, np.repeat(expected[self.cell], many), len(both)) / self.sums(expected)[mine]
        )
        return np.bincount(mine, share**2 * other.doubt[theirs], len(self.names)).astype(np.float64)

    def _believed(self, seen: Array, expected: Array) -> tuple[Array, Array, Array]:
        """Return mean, variance of the logarithm, and leaning of factors: mixed over k, and over usual and faulty."""
        mean, square, leans = np.zeros(len(seen)), np.zeros(len(seen)), np.zeros(len(seen))
        faulty = _log_mass(seen, expected, FAULTY_STRENGTH, FAULTY_TIMES)
        for k, weight in zip(STRENGTHS.tolist(), self.weights.tolist(), strict=True):
            if weight < LIKELY:
                continue
            share = np.zeros(len(seen))
            if self.prior.faulty:
                odds = (
                    faulty
                    - _log_mass(seen, expected, k)
                    + math.log(self.prior.faulty / (1 - self.prior.faulty))
                )
                share = 1 / (1 + np.exp(-np.clip(odds, -50, 50)))
            for part, shape, rate in (
                (weight * (1 - share), k, k),
                (weight * share, FAULTY_STRENGTH, FAULTY_STRENGTH / FAULTY_TIMES),
            ):
                found = (shape + seen) / (rate + expected)
                mean += part * found
                square += part * found**2 * (1 + 1 / (shape + seen))
                leans += part * rate / (rate + expected)
        return mean, square / mean**2 - 1, leans


def settle_all(stations: Family, others: Sequence[Family], rates: Array, n: Array, failed: Array) -> None:
    """Find the factors of all families and the line's mean; changes `rates`."""
    _begin_with_what_stands_out(stations, others, rates, n, failed)
    for _ in range(ROUNDS):
        rates *= (failed.sum() + BAD_MIN) / ((n * rates).sum() + BAD_MIN)
        for family in (stations, *others):
            family.settle(rates, n, failed)


def _begin_with_what_stands_out(
    stations: Family, others: Sequence[Family], rates: Array, n: Array, failed: Array
) -> None:
    """Give a factor to what fails far more often than the rest of its station, the clearest first; changes `rates`."""
    station = np.zeros(len(n), dtype=np.int64)
    station[stations.cell] = stations.level
    for _ in range(STANDS_OUT_MAX):
        clearest: dict[int, tuple[float, Family, int, float]] = {}
        whole, bad = stations.sums(n * rates), stations.sums(failed)
        for family in others:
            of = np.zeros(len(family.names), dtype=np.int64)
            of[family.level] = station[family.cell]
            own, seen = family.sums(n * rates), family.sums(failed)
            rest, rest_bad = np.maximum(EXPECTED_MIN, whole[of] - own), np.maximum(BAD_MIN, bad[of] - seen)
            times = (seen / own) / (rest_bad / rest)
            usual = bad[of] / whole[of]
            nats = _log_ratio(seen, own * usual) + _log_ratio(bad[of] - seen, rest * usual)
            for level in np.flatnonzero((times > 1) & (nats > STANDS_OUT_NATS)).tolist():
                found = (float(nats[level]), family, level, float(times[level]))
                if found[0] > clearest.get(int(of[level]), found)[0] or int(of[level]) not in clearest:
                    clearest[int(of[level])] = found
        for _, family, level, times_as_often in clearest.values():
            family.factor[level] *= times_as_often
            rates[family.cell[family.level == level]] *= times_as_often
        if not clearest:
            return


def cell_spread(rates: Array, n: Array, failed: Array) -> float:
    """Return the expected 1 / (kappa + 1): how far cells, beta-binomial, are from their product of factors."""
    logs = []
    for kappa in CELL_STRENGTHS:
        a, b = kappa * rates, kappa * (1 - rates)
        total = log_gamma(a + failed) - log_gamma(a) + log_gamma(b + n - failed) - log_gamma(b)
        logs.append(float((total - log_gamma(kappa + n)).sum()) + len(n) * math.lgamma(kappa))
    mean = float((n * rates).sum() / n.sum())
    sd = np.sqrt((1 - mean) / (mean * CELL_STRENGTHS))
    log_weights = np.array(logs) + np.log(sd) - np.log1p((sd / CELLS_SD) ** 2)
    weights = np.exp(log_weights - log_weights.max())
    return float((weights / (CELL_STRENGTHS + 1)).sum() / weights.sum())


def _log_mass(seen: Array, expected: Array, k: float | Array, times: float = 1.0) -> Array:
    """Return the logarithm of a negative binomial's mass, up to what does not depend on `k` and `times`."""
    expected = times * np.maximum(expected, EXPECTED_MIN)
    different, place = np.unique(seen, return_inverse=True)
    rising = (log_gamma(k + different) - log_gamma(np.asarray(k, dtype=np.float64)))[..., place]
    found: Array = rising - k * np.log1p(expected / k) + seen * (np.log(expected) - np.log(k + expected))
    return found


def _log_ratio(seen: Array, expected: Array) -> Array:
    """Return seen x log(seen / expected), 0 where nothing was seen."""
    return np.where(
        seen > 0, seen * np.log(np.maximum(seen, BAD_MIN) / np.maximum(expected, EXPECTED_MIN)), 0.0
    )


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
