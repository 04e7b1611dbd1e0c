"""Is a measured quantity (boot time, energy) higher than in the control group, at any time? Arrays; pure.

Means are compared within each tick and stratum, so that weather and time of day cancel out; the differences,
weighed by how many vehicles stand behind them, are summed. A mixture of Gaussians over the size of the rise
makes an e-value of the sum, valid at every look:

    d = mean_T - m mean_C     n = n_T n_C / (n_T + n_C)     S = sum n d / s     V = sum n^2 (v_T / n_T + m^2 v_C / n_C) / s^2
    e = 2 sqrt(f / (V + f)) exp(S^2 / (2 (V + f))) Phi(S / sqrt(V + f))

with ``s^2`` the pooled variance and ``f`` a constant. Asymptotic: it holds once means behave like Gaussians, which
takes `VEHICLES_MIN` vehicles per arm; before, there is no evidence.

Not here: what makes vehicles differ for good. Each treated vehicle is to be measured once; the control group is
measured again and again, so that its own deviation never averages out, and a margin above 1 has to cover it. The
vehicles counted here are measurements, so a few that are measured often pass; `strata.CONTROL_MIN` asks for vehicles.

Source: Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), one-sided normal
mixture; Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences" (2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.evidence import Array

VEHICLES_MIN = 50  # vehicles per arm, over all ticks, before a mean behaves like a Gaussian
CELL_MIN = 2  # vehicles per arm in one tick and stratum; one alone has no variance
TUNED_VEHICLES = 100.0  # the constant f: about a tenth of the vehicles at which the test is sharpest
RATIO_STEP = 1.01  # neighbouring bounds of the ratio of means differ by a hundredth
FAR_BELOW = -30.0  # standard deviations; the error function is 0 in double precision below -38
RATIO_STEPS = 160  # bounds are searched between 1/4.9 and 4.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Measurements per tick and stratum: arrays of one shape, ticks on the last axis.

    Attributes:
        treated_n: vehicles measured, treated arm.
        treated_mean: their mean; any unit.
        treated_variance: their variance, with n - 1.
        control_n: as above, control arm.
        control_mean: as above.
        control_variance: as above.
    """

    treated_n: Array
    treated_mean: Array
    treated_variance: Array
    control_n: Array
    control_mean: Array
    control_variance: Array


def log_e_mean(means: Means, *, margin_milli: int) -> Array:
    """Return the logarithm of the e-value against "treated mean <= margin x control mean", over all ticks.

    Raises:
        InvalidInput: the margin is not positive.
    """
    if margin_milli <= 0:
        raise InvalidInput("margin_milli must be above 0")
    return _log_e(_sums(means), np.array([margin_milli / 1_000]))[..., 0]


def mean_ratio_bounds(means: Means, *, alpha_ppm: int) -> tuple[Array, Array]:
    """Return the lower and upper bound of the ratio of means; 0 and infinite where nothing is refused.

    Both together cover the ratio at every look with probability ``1 - alpha``.
    """
    grid = RATIO_STEP ** np.arange(-RATIO_STEPS, RATIO_STEPS + 1, dtype=np.float64)
    limit = math.log(2_000_000 / alpha_ppm)
    sums = _sums(means)
    above = _log_e(sums, grid) >= limit
    below = _log_e(sums, grid, sign=-1.0) >= limit
    refused_to = np.logical_and.accumulate(above, axis=-1).sum(axis=-1)
    refused_from = np.logical_and.accumulate(below[..., ::-1], axis=-1).sum(axis=-1)
    low = np.insert(grid, 0, 0.0)[refused_to]
    high = np.append(grid, np.inf)[grid.size - refused_from]
    return low, high


class _Sums(NamedTuple):
    """What the e-value needs of all ticks; in standard deviations. 0 where there is too little."""

    treated: Array  # sum of n x mean
    control: Array
    treated_variance: Array  # sum of n^2 x variance of the mean
    control_variance: Array
    enough: npt.NDArray[np.bool_]


def _sums(means: Means) -> _Sums:
    tells = (means.treated_n >= CELL_MIN) & (means.control_n >= CELL_MIN)
    treated_n = np.where(tells, means.treated_n, 0.0)
    control_n = np.where(tells, means.control_n, 0.0)
    both = np.where(tells, treated_n + control_n, 1.0)
    weight = treated_n * control_n / both
    freedom = np.maximum((both - 2.0).sum(axis=-1, where=tells), 1.0)
    pooled = (treated_n - 1.0) * means.treated_variance + (control_n - 1.0) * means.control_variance
    variance = pooled.sum(axis=-1, where=tells) / freedom
    enough = (treated_n.sum(axis=-1) >= VEHICLES_MIN) & (control_n.sum(axis=-1) >= VEHICLES_MIN)
    enough = enough & (variance > 0)
    scale = np.where(enough, variance, 1.0)

    def total(values: Array, unit: Array) -> Array:
        found: Array = np.where(enough, values.sum(axis=-1, where=tells) / unit, 0.0)
        return found

    return _Sums(
        treated=total(weight * means.treated_mean, np.sqrt(scale)),
        control=total(weight * means.control_mean, np.sqrt(scale)),
        treated_variance=total(weight**2 * means.treated_variance / np.maximum(treated_n, 1.0), scale),
        control_variance=total(weight**2 * means.control_variance / np.maximum(control_n, 1.0), scale),
        enough=enough,
    )


def _log_e(sums: _Sums, margins: Array, *, sign: float = 1.0) -> Array:
    """Return log e-values for each margin on a new last axis."""
    score = sign * (sums.treated[..., None] - margins * sums.control[..., None])
    spread = sums.treated_variance[..., None] + margins**2 * sums.control_variance[..., None]
    total = spread + TUNED_VEHICLES
    gain = 0.5 * np.log(TUNED_VEHICLES / total) + score**2 / (2 * total)
    found: Array = np.where(sums.enough[..., None], gain + _log_twice_phi(score / np.sqrt(total)), 0.0)
    return found


def _log_twice_phi(z: Array) -> Array:
    """Return log(2 Phi(z)); numpy has no error function, and far below 0 its logarithm needs an expansion."""
    near = np.vectorize(
        lambda x: math.log(math.erfc(-x / math.sqrt(2.0))) if x > FAR_BELOW else 0.0, otypes=[float]
    )
    far = np.minimum(z, FAR_BELOW)
    tail = -0.5 * far**2 - np.log(-far) - 0.5 * math.log(math.pi / 2)
    value: Array = np.where(z > FAR_BELOW, near(z), tail)
    return value
