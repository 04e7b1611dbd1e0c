"""Forecasts without a model: what was wanted in recent months may be wanted again.

`window` is the floor every other candidate has to beat: the last twelve months, each equally likely. `faded` counts
older months less. `seasonal_naive` is what forecasts are measured against: the same month of the year before.

Pure. NaN is a month before a series began, and is left out; a series of nothing is expected to stay so.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ringroad.signal.demand.panel import ATOMS, LEVELS, Floats

FLOOR_MONTHS: Final = 12  # the best of 3 to 24 on public part sales, and a whole year of seasons
SEASON: Final = 12  # months
SEASON_PRIOR: Final = 20.0  # units
ROWS_AT_ONCE: Final = 1_000  # series; a comparison of all months and levels takes 100 bytes per month of each


def window(units: Floats, horizon: int, *, months: int = FLOOR_MONTHS) -> Floats:
    """Return the last months as a distribution of each month to come, shape (series, horizon, atoms)."""
    return weighted(units[:, -months:], np.ones(min(months, units.shape[1])), horizon, smooth=True)


def faded(units: Floats, horizon: int, *, half_life: float) -> Floats:
    """Return all months as a distribution, one `half_life` months older counting half."""
    age = np.arange(units.shape[1])[::-1]
    return weighted(units, 0.5 ** (age / half_life), horizon)


def seasonal(units: Floats, horizon: int, *, half_life: float) -> Floats:
    """Return faded months without their season, with the season of each month to come.

    A month's season is its share over the years, drawn to 1 as if `SEASON_PRIOR` more units had been wanted evenly.
    """
    months = units.shape[1]
    if months < 2 * SEASON:
        return faded(units, horizon, half_life=half_life)
    whole = months - months % SEASON
    years = np.nan_to_num(units[:, -whole:]).reshape(len(units), whole // SEASON, SEASON)
    mean = years.mean(axis=(1, 2))[:, None]
    index = (years.sum(axis=1) + SEASON_PRIOR) / (years.shape[1] * mean + SEASON_PRIOR)
    place = (np.arange(months) - (months - whole)) % SEASON
    level = faded(units / index[:, place], horizon, half_life=half_life)
    return np.asarray(level * index[:, (np.arange(horizon) + whole) % SEASON][:, :, None])


def seasonal_naive(units: Floats, horizon: int) -> Floats:
    """Return the value of the same month a year before, or the last one where there is no year yet."""
    known = units.shape[1]
    ahead = np.arange(horizon)
    place = known - SEASON + ahead % SEASON if known >= SEASON else np.full(horizon, known - 1)
    return np.repeat(np.nan_to_num(units[:, place])[:, :, None], ATOMS, axis=2)


def zero(units: Floats, horizon: int) -> Floats:
    """Return nothing, ever: the forecast that wins by absolute errors wherever most months are zero."""
    return np.zeros((len(units), horizon, ATOMS))


def weighted(units: Floats, weights: Floats, horizon: int, *, smooth: bool = False) -> Floats:
    """Return quantiles of months with weights, the same for each month to come.

    Args:
        units: shape (series, months).
        weights: of the months.
        horizon: months to come.
        smooth: between two values go in a line, as `numpy.quantile` does by default; else step.
    """
    found = np.zeros((len(units), ATOMS))
    for start in range(0, len(units), ROWS_AT_ONCE):
        part = units[start : start + ROWS_AT_ONCE]
        found[start : start + ROWS_AT_ONCE] = _smooth(part) if smooth else _steps(part, weights)
    return np.repeat(found[:, None, :], horizon, axis=1)


def _smooth(units: Floats) -> Floats:
    known = np.sum(~np.isnan(units), axis=1)
    ordered = np.sort(units, axis=1)  # NaN goes last
    place = LEVELS * np.maximum(known - 1, 0)[:, None]
    low = np.floor(place).astype(np.intp)
    high = np.minimum(low + 1, np.maximum(known - 1, 0)[:, None])
    share = place - low
    from_below = np.take_along_axis(ordered, low, 1)
    return np.asarray(np.nan_to_num(from_below + (np.take_along_axis(ordered, high, 1) - from_below) * share))


def _steps(units: Floats, weights: Floats) -> Floats:
    heavy = np.where(np.isnan(units), 0.0, weights)
    order = np.argsort(units, axis=1, kind="stable")
    ordered = np.nan_to_num(np.take_along_axis(units, order, 1))
    reached = np.cumsum(np.take_along_axis(heavy, order, 1), axis=1)
    total = reached[:, -1:]
    reached = reached / np.where(total > 0, total, 1.0)
    place = np.sum(reached[:, None, :] < LEVELS[None, :, None] - 1e-9, axis=2)
    return np.asarray(np.take_along_axis(ordered, np.minimum(place, units.shape[1] - 1), 1))
