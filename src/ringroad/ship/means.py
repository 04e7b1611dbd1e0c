"""Is a measured quantity (boot time, energy) higher than in the control group, at any time? Arrays; pure.

Means are compared within each tick and stratum, so that weather and time of day cancel out; the differences,
weighed by how many vehicles stand behind them, are summed. A mixture of Gaussians over the size of the rise
makes an e-value of the sum, valid at every look:

    d = mean_T - m mean_C     n = n_T n_C / (n_T + n_C)     S = sum n d / s     V = sum n^2 (v_T / n_T + m^2 v_C / n_C) / s^2
    e = 2 sqrt(f / (V + f)) exp(S^2 / (2 (V + f))) Phi(S / sqrt(V + f))

with ``s^2`` the pooled variance and ``f`` a constant. Asymptotic: it holds once means behave like Gaussians, which
takes `VEHICLES_MIN` vehicles per arm; before, there is no evidence.

Not here: what makes vehicles differ for good. Each treated vehicle is to be measured once; the control group is
measured again and again, so that its own deviation never averages out, and a margin above 1 has to cover it.

Source: Howard et al., "Time-uniform, nonparametric, nonasymptotic confidence sequences" (2021), one-sided normal
mixture; Waudby-Smith et al., "Time-uniform central limit theory and asymptotic confidence sequences" (2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.evidence import Array

VEHICLES_MIN = 50  # vehicles per arm, over all ticks, before a mean behaves like a Gaussian
CELL_MIN = 2  # vehicles per arm in one tick and stratum; one alone has no variance
TUNED_VEHICLES = 100.0  # the constant f: about a tenth of the vehicles at which the test is sharpest
RATIO_STEP = 1.01  # neighbouring bounds of the ratio of means differ by a hundredth
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
    return _log_e(means, margin_milli / 1_000)


def mean_ratio_bounds(means: Means, *, alpha_ppm: int) -> tuple[Array, Array]:
    """Return the lower and upper bound of the ratio of means; 0 and infinite where nothing is refused.

    Both together cover the ratio at every look with probability ``1 - alpha``.
    """
    steps = np.arange(-RATIO_STEPS, RATIO_STEPS + 1, dtype=np.float64)
    grid = RATIO_STEP**steps
    limit = math.log(2_000_000 / alpha_ppm)
    above = np.stack([_log_e(means, ratio) >= limit for ratio in grid], axis=-1)
    below = np.stack([_log_e(means, ratio, sign=-1.0) >= limit for ratio in grid], axis=-1)
    refused_to = np.logical_and.accumulate(above, axis=-1).sum(axis=-1)
    refused_from = np.logical_and.accumulate(below[..., ::-1], axis=-1).sum(axis=-1)
    low = np.append(grid[::-1], 0.0)[::-1][refused_to]
    high = np.append(grid, np.inf)[grid.size - refused_from]
    return low, high


def _log_e(means: Means, margin: float, *, sign: float = 1.0) -> Array:
    tells = (means.treated_n >= CELL_MIN) & (means.control_n >= CELL_MIN)
    treated_n = np.where(tells, means.treated_n, 0.0)
    control_n = np.where(tells, means.control_n, 0.0)
    both = np.where(tells, treated_n + control_n, 1.0)
    weight = treated_n * control_n / both
    gap = sign * (means.treated_mean - margin * means.control_mean)
    spread = means.treated_variance / np.maximum(treated_n, 1.0)
    spread = spread + margin**2 * means.control_variance / np.maximum(control_n, 1.0)
    freedom = np.maximum((both - 2.0).sum(axis=-1, where=tells), 1.0)
    pooled = (treated_n - 1.0) * means.treated_variance + (control_n - 1.0) * means.control_variance
    variance = pooled.sum(axis=-1, where=tells) / freedom
    enough = (treated_n.sum(axis=-1) >= VEHICLES_MIN) & (control_n.sum(axis=-1) >= VEHICLES_MIN)
    enough = enough & (variance > 0)
    scale = np.where(enough, variance, 1.0)
    score = np.where(enough, (weight * gap).sum(axis=-1, where=tells) / np.sqrt(scale), 0.0)
    total = np.where(enough, (weight**2 * spread).sum(axis=-1, where=tells) / scale, 0.0) + TUNED_VEHICLES
    log_e = (
        0.5 * np.log(TUNED_VEHICLES / total) + score**2 / (2 * total) + _log_twice_phi(score / np.sqrt(total))
    )
    found: Array = np.where(enough, log_e, 0.0)
    return found


def _log_twice_phi(z: Array) -> Array:
    """Return log(2 Phi(z)); numpy has no error function, and far below 0 its logarithm needs an expansion."""
    near = np.vectorize(
        lambda x: math.log(math.erfc(-x / math.sqrt(2.0))) if x > -30.0 else 0.0, otypes=[float]
    )
    far = np.minimum(z, -30.0)
    tail = -0.5 * far**2 - np.log(-far) - 0.5 * math.log(math.pi / 2)
    value: Array = np.where(z > -30.0, near(z), tail)
    return value
