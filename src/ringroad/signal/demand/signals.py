"""What people order, look at and use moves a forecast.

- Orders, clicks, take rates and use of a feature by month are regressors: how much demand followed them in the past
  says how much it will. The regression is one more candidate, and is believed where validation says so.
- Orders that stand for months to come are evidence of these months: the forecast is the prior, the orders of a part
  of a month are counts, and no draw is below what is ordered already.

Pure. Invariant: without a history, or without a relation in it, a regressor moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ringroad.signal.demand.candidates import SHAPE_HALF_LIFE, Forecast
from ringroad.signal.demand.empirical import faded
from ringroad.signal.demand.panel import Floats, Key

SignalKind = Literal["orders", "clicks", "take_rate", "usage"]
KINDS: Final[tuple[SignalKind, ...]] = ("orders", "clicks", "take_rate", "usage")

RECENT_MONTHS: Final = 2  # of a signal, against
BASE_MONTHS: Final = 12  # the months before
HISTORY_MONTHS_MIN: Final = 18  # of a signal, before its relation to demand is looked for
RIDGE: Final = 0.5  # squared log ratios; as much evidence that there is no relation, as a doubling once
LOG_RATIO_MAX: Final = 1.1  # a regressor moves a level by three times at most
MEMORY: Final = 0.7  # of what orders say of one month, what is left for the next
STRENGTH_MAX: Final = (
    200.0  # orders that a prior weighs at most; a forecast that is too sure can be told better
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressor:
    """A signal by month, for all series that its key covers.

    Attributes:
        kind: what it is.
        key: whom it is about.
        values: one per month of the panel from its first, and those after its last; NaN where nothing was told.
    """

    kind: SignalKind
    key: Key
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """Orders of a month that is not over.

    Attributes:
        key: whom it is about.
        ahead: 0 for the first month that is forecast.
        units: ordered so far.
        elapsed: how much of the time in which its orders come is over, 0 to 1; 0: unknown.
    """

    key: Key
    ahead: int
    units: float
    elapsed: float


def regressions(keys: Sequence[Key], regressors: Sequence[Regressor], months: int) -> dict[str, Forecast]:
    """Return a candidate for each kind of signal that covers some of the series.

    Args:
        keys: of the series that will be forecast, in their order.
        regressors: what was told.
        months: of demand that are known now; how much longer a signal is, it leads.
    """
    found: dict[str, Forecast] = {}
    for kind in KINDS:
        rows = [_closest(key, [each for each in regressors if each.kind == kind]) for key in keys]
        if any(rows):
            length = max(months, *(len(row.values) for row in rows if row))  # one that ended says nothing now
            told = np.full((len(keys), length), np.nan)
            for place, row in enumerate(rows):
                if row:
                    told[place, : len(row.values)] = row.values
            found[f"moved by {kind.replace('_', ' ')}"] = _Regression(told=told, lead=max(0, length - months))
    return found


def _closest(key: Key, regressors: Sequence[Regressor]) -> Regressor | None:
    covering = [each for each in regressors if each.key.covers(key)]
    return min(covering, key=lambda each: (each.key.count("*"), each.key), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Regression:
    """Demand follows a signal: a candidate that knows its signal, for the series it was made for."""

    told: Floats
    lead: int

    def __call__(self, units: Floats, horizon: int) -> Floats:
        months = units.shape[1]
        signal = self.told[:, : months + self.lead]
        shape = faded(units, horizon, half_life=SHAPE_HALF_LIFE)
        return np.asarray(shape * np.exp(_moved(units, signal, horizon, self.lead))[:, None, None])


def _moved(units: Floats, signal: Floats, horizon: int, lead: int) -> Floats:
    """Return the log ratio by which each series is expected to move, 0 where nothing says so."""
    months = units.shape[1]
    cross, square = np.zeros(len(units)), np.zeros(len(units))
    for known in range(BASE_MONTHS + RECENT_MONTHS, months):
        then = _log_ratio(signal[:, : known + lead])
        after = units[:, known : known + horizon]
        shift = np.log(
            (np.nan_to_num(np.nanmean(_some(after), axis=1)) + 0.5) / (_level(units[:, :known]) + 0.5)
        )
        cross += then * shift
        square += then * then
    enough = np.sum(~np.isnan(signal), axis=1) >= HISTORY_MONTHS_MIN
    slope = np.where(enough, cross / (square + RIDGE), 0.0)
    return np.asarray(np.clip(slope * _log_ratio(signal), -LOG_RATIO_MAX, LOG_RATIO_MAX))


def _log_ratio(signal: Floats) -> Floats:
    """Return how a signal stands now against the year before, in logarithms."""
    recent = np.nanmean(_some(signal[:, -RECENT_MONTHS:]), axis=1)
    base = np.nanmean(_some(signal[:, -RECENT_MONTHS - BASE_MONTHS : -RECENT_MONTHS]), axis=1)
    known = (np.nan_to_num(recent) > 0) & (np.nan_to_num(base) > 0)
    return np.where(known, np.log(np.where(known, recent, 1.0) / np.where(known, base, 1.0)), 0.0)


def _some(values: Floats) -> Floats:
    """Return values with rows of nothing but NaN as 0, whose mean is asked without a warning."""
    if values.shape[1] == 0:
        return np.zeros((len(values), 1))
    return np.where(np.isnan(values).all(axis=1, keepdims=True), 0.0, values)


def _level(units: Floats) -> Floats:
    return np.asarray(faded(units, 1, half_life=SHAPE_HALF_LIFE)[:, 0].mean(axis=1))


def update_by_orders(leaves: Sequence[Key], samples: Floats, booked: Sequence[Booked]) -> Floats:
    """Return samples that know of orders.

    The forecast of a sum is a Gamma prior of its rate; orders of a part of a month are Poisson counts of it. All
    parts move by the same ratio, later months by less. Where draws are still below what is ordered, they are raised.

    Args:
        leaves: keys of the series.
        samples: in the order of draws, shape (series, horizon, atoms).
        booked: what is ordered; each about its own series or sum.
    """
    found = samples.copy()
    for each in sorted(booked, key=lambda item: (-item.key.count("*"), item.key, item.ahead)):
        rows = np.flatnonzero([each.key.covers(leaf) for leaf in leaves])
        if not len(rows) or not 0 <= each.ahead < samples.shape[1]:
            continue
        if each.elapsed > 0:
            ratio = order_ratio(found[rows, each.ahead].sum(axis=0), each.units, each.elapsed)
            for step in range(each.ahead, samples.shape[1]):
                found[rows, step] *= ratio ** (MEMORY ** (step - each.ahead))
        of_sum = found[rows, each.ahead].sum(axis=0)
        short = np.maximum(each.units - of_sum, 0.0)
        share = np.where(
            of_sum > 0, found[rows, each.ahead] / np.where(of_sum > 0, of_sum, 1.0), 1 / len(rows)
        )
        found[rows, each.ahead] += share * short
    return found


def order_ratio(prior: Floats, units: float, elapsed: float) -> float:
    """Return the posterior mean of a month's demand, by its prior mean."""
    mean, variance = float(prior.mean()), float(prior.var())
    if mean <= 0:
        return 1.0
    strength = min(mean / max(variance, 1e-9), STRENGTH_MAX / mean)  # the prior's rate: months it is worth
    shape = mean * strength
    return (shape + units) / (strength + elapsed) / mean


def told_by(booked: Sequence[Booked], regressors: Sequence[Regressor]) -> Mapping[str, int]:
    """Return how many signals of each kind a forecast knew."""
    counts: dict[str, int] = {kind: sum(each.kind == kind for each in regressors) for kind in KINDS}
    counts["booked"] = len(booked)
    return {kind: count for kind, count in counts.items() if count}
