"""Sums that fit their parts: plants, regions and models of one option, as distributions.

1. Each series' values become samples: their order follows what the series did together in past months, so that what
   rises together is summed as such.
   Source: the Schaake shuffle (Clark et al. 2004).
2. Sums have forecasts of their own, which see what single series are too rare to show. The means of all are reconciled
   by least squares, each weighted by its variance, and a series' samples are scaled to its reconciled mean.
   Source: MinT with a diagonal of variances (Wickramasinghe et al. 2019).
3. A sum is the sum of its parts' samples.

Pure. Invariant: every sum's samples are the sums of its parts' samples; no sample is below zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ringroad.signal.demand.panel import ALL, ATOMS, Floats, Key

TEMPLATE_MONTHS: Final = 36  # months whose togetherness is kept; older ones are another market
RECONCILED_SERIES_MAX: Final = (
    2_000  # of one option; above, a dense solution takes minutes, and sums are plain
)
SCALE_MAX: Final = 3.0  # a reconciled mean is not believed beyond this times or a part of the series' own


def sums_of(leaves: Sequence[Key]) -> tuple[Key, ...]:
    """Return the sums that the series of one option have, whole first; what would equal one series is left out."""
    found: dict[Key, set[Key]] = {}
    for leaf in leaves:
        for kept in product((False, True), repeat=3):
            key = Key(
                leaf.option, *(value if keep else ALL for value, keep in zip(leaf[1:], kept, strict=True))
            )
            found.setdefault(key, set()).add(leaf)
    seen: set[frozenset[Key]] = set()
    result = []
    for key in sorted(found, key=lambda key: (-key.count(ALL), key)):
        parts = frozenset(found[key])
        if len(parts) > 1 and parts not in seen:
            seen.add(parts)
            result.append(key)
    return tuple(result)


def parts_of(sums: Sequence[Key], leaves: Sequence[Key]) -> Floats:
    """Return which series each sum has, shape (sums, series), 1 or 0."""
    return np.array([[float(each.covers(leaf)) for leaf in leaves] for each in sums]).reshape(
        len(sums), len(leaves)
    )


def summed(parts: Floats, units: Floats) -> Floats:
    """Return the months of sums: NaN only where no part had begun."""
    known = parts @ (~np.isnan(units)).astype(float) > 0
    return np.where(known, parts @ np.nan_to_num(units), np.nan)


def couple(leaves: Sequence[Key], units: Floats, atoms: Floats) -> Floats:
    """Return atoms in the order of draws: draw number k of all series and months belongs together.

    Args:
        leaves: the keys; a series' ties are broken by its name alone.
        units: what was, shape (series, months).
        atoms: sorted, shape (series, horizon, atoms).
    """
    months = min(TEMPLATE_MONTHS, units.shape[1])
    recent = _level(np.nan_to_num(units[:, -months:]))
    start = np.floor(np.arange(ATOMS) * months / ATOMS).astype(np.intp)
    found = np.empty_like(atoms)
    noise = np.stack(
        [np.random.default_rng(crc32(repr(tuple(leaf)).encode())).random(ATOMS) for leaf in leaves]
    )
    for step in range(atoms.shape[1]):
        then = recent[:, (start + step) % months]
        order = np.lexsort((noise, then), axis=1)
        np.put_along_axis(found[:, step], order, atoms[:, step], axis=1)
    return found


def _level(units: Floats) -> Floats:
    """Take the straight line out of months, so that a trend is not taken for togetherness."""
    time = np.arange(units.shape[1]) - (units.shape[1] - 1) / 2
    spread = float((time**2).sum()) or 1.0
    slope = (units * time).sum(axis=1, keepdims=True) / spread
    return np.asarray(units - slope * time)


def reconciled(parts: Floats, leaf_atoms: Floats, sum_atoms: Floats) -> Floats:
    """Return by what each series' values are multiplied, shape (series, horizon).

    Args:
        parts: which series each sum has.
        leaf_atoms: forecasts of the series, shape (series, horizon, atoms).
        sum_atoms: forecasts that the sums have of their own.
    """
    series, horizon = leaf_atoms.shape[:2]
    if len(parts) == 0 or series > RECONCILED_SERIES_MAX:
        return np.ones((series, horizon))
    all_parts = np.concatenate([np.eye(series), parts])
    means = np.concatenate([leaf_atoms.mean(axis=2), sum_atoms.mean(axis=2)])
    spread = np.concatenate([leaf_atoms.var(axis=2).mean(axis=1), sum_atoms.var(axis=2).mean(axis=1)])
    weight = 1 / (spread + 1e-6 * (1 + spread.max()))
    left = all_parts.T @ (weight[:, None] * all_parts)
    fitted = np.linalg.solve(left, all_parts.T @ (weight[:, None] * means))
    own = means[:series]
    ratio = np.where(own > 0, fitted / np.where(own > 0, own, 1.0), 1.0)
    return np.asarray(np.clip(ratio, 1 / SCALE_MAX, SCALE_MAX))


def sum_samples(parts: Floats, samples: Floats) -> Floats:
    """Return the samples of sums: of each draw the sum over the parts, shape (sums, horizon, atoms)."""
    return np.stack([_sum(samples, np.flatnonzero(row)) for row in parts]) if len(parts) else samples[:0]


def _sum(samples: Floats, rows: NDArray[np.intp]) -> Floats:
    return np.asarray(samples[rows].sum(axis=0))
