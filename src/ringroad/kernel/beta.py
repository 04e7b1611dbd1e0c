"""Shares that are believed: the beta distribution, its distribution function and quantiles. Standard library only.

Pure. Source: Press et al., Numerical Recipes, 3rd edition, 6.4 (continued fraction after Lentz); Clopper and Pearson,
"The use of confidence or fiducial limits illustrated in the case of the binomial" (1934).
"""

from __future__ import annotations

import math
from typing import Final

STEPS_MAX: Final = 400  # of the continued fraction; it needs about the square root of a + b near the mean
NEAR: Final = 1e-14  # relative change at which the fraction has settled
_TINY: Final = 1e-300
_TRIES: Final = 80  # of a quantile; some eight are needed, and sixty halve all bits of a double away
_CLOSE: Final = 1e-11  # relative change at which a quantile is found


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the share of a beta distribution below `x`."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return min(1.0, math.exp(log_front) * _fraction(x, a, b) / a)
    return max(0.0, 1 - math.exp(log_front) * _fraction(1 - x, b, a) / b)


def beta_quantile(share: float, a: float, b: float) -> float:
    """Return below what `share` of a beta distribution lies: Newton's steps, halved where they leave the bounds."""
    low, high = 0.0, 1.0
    x = a / (a + b)
    log_scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    for _ in range(_TRIES):
        above = beta_cdf(x, a, b) - share
        low, high = (low, x) if above > 0 else (x, high)
        density = math.exp(log_scale + (a - 1) * math.log(x) + (b - 1) * math.log1p(-x))
        after = x - above / density if density > _TINY else low
        if not low < after < high:
            after = (low + high) / 2
        if abs(after - x) <= _CLOSE * after:
            return after
        x = after
    return x


def upper_bound(events: int, of: int, miss: float) -> float:
    """Return a bound that a binomial share exceeds with probability `miss` at most, whatever it is.

    Args:
        events: seen.
        of: how many could have been.
        miss: probability.
    """
    if events >= of:
        return 1.0
    if not events:
        return -math.expm1(math.log(miss) / of)
    return beta_quantile(1 - miss, events + 1, of - events)


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _off_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, STEPS_MAX):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _off_zero(1 + part * d)
            c = _off_zero(1 + part / c)
            found *= d * c
        if abs(d * c - 1) < NEAR:
            break
    return found


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
