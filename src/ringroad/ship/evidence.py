"""What counts of two arms say about the ratio of their rates, at any time. Arrays in, arrays out; pure.

The arithmetic of the sequential gate: for one campaign on the server, for thousands at once in the benchmark.
Counts come by tick and stratum; given how many vehicles failed in both arms together, the share that fell on
the treated arm is binomial. What the likelihood says about a ratio is kept on a scale of ratios and summed, so
that evidence grows by addition:

    l(a) = sum over ticks and strata of  k_T ln a + (k_T + k_C) ln((E_T + E_C) / (a E_T + E_C))

and the e-value of the alternatives ``b`` against the ratio ``a`` is the mean of ``exp(l(b) - l(a))``.

1. Every alternative lies on the far side of the null: then the mean of the e-value is at most one under every
   ratio on the near side, for any exposure that was chosen beforehand, any pause and any shock that hits both
   arms, and ``P(ever e >= 1 / alpha) <= alpha``.
2. A bound of the ratio is the edge of the ratios that are all refused, at alpha.

Invariant: an arm without exposure adds no evidence in either direction.

Source: Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference" (2023), section 3;
ter Schure et al., "The safe log-rank test" (2020). The same measure, for single values: `kernel/rates.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import ALTERNATIVES, Tick

Array = npt.NDArray[np.float64]

BELOW = (1 / 1.2, 1 / 2, 1 / 20)  # alternatives to a ratio that is too high, relative to it
EXCESS_MIN = 0.02  # the finest bound above 1 is 1.02
EXCESS_STEP = 1.15  # neighbouring bounds differ by this factor in what they exceed 1 by
EXCESS_STEPS = 72  # up to 1 + 0.02 x 1.15^71 = 408: every vehicle fails where one in 400 does by itself
EXPONENT_MAX = 700.0  # nats; exp() of more overflows


def _excess_ratios() -> Array:
    steps = np.arange(EXCESS_STEPS, dtype=np.float64)
    return np.asarray(1 + EXCESS_MIN * EXCESS_STEP**steps, dtype=np.float64)


def _all_ratios() -> Array:
    above = _excess_ratios()
    return np.concatenate([1 / above[::-1], [1.0], above])


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts of both arms per tick and stratum; four arrays of one shape.

    Attributes:
        treated: vehicles that failed, treated arm.
        control: the same, control arm.
        treated_exposure: time at risk of the treated arm; any unit, the same for both arms.
        control_exposure: the same, control arm.
    """

    treated: Array
    control: Array
    treated_exposure: Array
    control_exposure: Array

    @classmethod
    def of(cls, ticks: Sequence[Tick]) -> Counts:
        """Return the counts of ticks as arrays of one dimension."""
        rows = np.array(
            [(tick.treated, tick.control, tick.treated_exposure, tick.control_exposure) for tick in ticks],
            dtype=np.float64,
        ).reshape(len(ticks), 4)
        return cls(
            treated=rows[:, 0],
            control=rows[:, 1],
            treated_exposure=rows[:, 2],
            control_exposure=rows[:, 3],
        )

    def swapped(self) -> Counts:
        """Return the same counts with the arms exchanged."""
        return Counts(
            treated=self.control,
            control=self.treated,
            treated_exposure=self.control_exposure,
            control_exposure=self.treated_exposure,
        )


class Scale:
    """The ratios at which the likelihood is kept: a margin with its alternatives, and candidates for a bound.

    Not changed after it is made. Evidence is an array whose last axis is this scale.
    """

    __slots__ = ("_log_points", "_margin", "_rows", "bounds", "points")

    def __init__(self, margin_milli: int, *, bounds: Array | None = None) -> None:
        """Make a scale.

        Args:
            margin_milli: the largest rate ratio that is still acceptable, in thousandths.
            bounds: candidates for the upper bound, ascending; all ratios from 1/408 to 408 unless given.

        Raises:
            InvalidInput: the margin is not positive.
        """
        if margin_milli <= 0:
            raise InvalidInput("margin_milli must be above 0")
        self.bounds = _all_ratios() if bounds is None else bounds
        margin = margin_milli / 1_000 * np.array([1.0, *ALTERNATIVES])
        rows = [self.bounds, *(ratio * self.bounds for ratio in BELOW)]
        self.points: Array = np.concatenate([margin, *rows])
        self._log_points = np.log(self.points)
        self._rows = [
            slice(margin.size + row * self.bounds.size, margin.size + (row + 1) * self.bounds.size)
            for row in range(len(rows))
        ]
        self._margin = slice(0, margin.size)

    @classmethod
    def for_harm(cls, margin_milli: int) -> Scale:
        """Return a scale that bounds only by how much the treated rate is higher: half the work."""
        return cls(margin_milli, bounds=_excess_ratios())

    def log_likelihood(self, counts: Counts) -> Array:
        """Return l(a) for each count and each point: shape ``counts.shape + (points,)``; sum it as needed."""
        events = counts.treated + counts.control
        tells = (events > 0) & (counts.treated_exposure > 0) & (counts.control_exposure > 0)
        treated_exposure = np.where(tells, counts.treated_exposure, 1.0)[..., None]
        control_exposure = np.where(tells, counts.control_exposure, 1.0)[..., None]
        treated = np.where(tells, counts.treated, 0.0)[..., None]
        both = np.where(tells, events, 0.0)[..., None]
        shrink = np.log(
            (treated_exposure + control_exposure) / (self.points * treated_exposure + control_exposure)
        )
        found: Array = treated * self._log_points + both * shrink
        return found

    def log_e(self, evidence: Array) -> Array:
        """Return the logarithm of the e-value against "treated rate <= margin x control rate"."""
        margin = evidence[..., self._margin]
        return _log_mean_exp(margin[..., 1:] - margin[..., :1])

    def upper(self, evidence: Array, *, alpha_ppm: int) -> Array:
        """Return the upper bound of the rate ratio: the lowest candidate above which all are refused.

        It covers the ratio at every look with probability ``1 - alpha``; infinite where nothing is refused.
        """
        null, *alternatives = (evidence[..., row] for row in self._rows)
        total = sum(np.exp(np.minimum(other - null, EXPONENT_MAX)) for other in alternatives)
        refused = np.asarray(total >= len(BELOW) * 1_000_000 / alpha_ppm)
        from_here_on = np.logical_and.accumulate(refused[..., ::-1], axis=-1)[..., ::-1]
        first = np.where(from_here_on.any(axis=-1), from_here_on.argmax(axis=-1), self.bounds.size)
        return np.append(self.bounds, np.inf)[first]


def log_e_history(failed: Array, tried: Array, *, base_ppm: int, margin_milli: int) -> Array:
    """Return the logarithm of the e-value against "a try fails with probability <= margin x base".

    For what has no concurrent control: nobody in the control group installs anything. A shock that hits all
    vehicles counts as harm here; hence a wide margin.

    Args:
        failed: tries that failed.
        tried: tries with an outcome, failed ones included.
        base_ppm: share of past tries that failed, in millionths.
        margin_milli: how many times the base is still acceptable, in thousandths.

    Raises:
        InvalidInput: more failures than tries, or no base to compare with.
    """
    if base_ppm <= 0 or margin_milli <= 0:
        raise InvalidInput("a base and a margin above 0 are needed")
    if np.any(failed < 0) or np.any(failed > tried):
        raise InvalidInput("between none and all of the tries can have failed")
    null = base_ppm / 1_000_000 * margin_milli / 1_000
    if null >= 1:  # no share of failures is above what is accepted
        return np.zeros_like(np.asarray(failed, dtype=np.float64))
    odds = np.array(ALTERNATIVES) * null / (1 - null)  # alternatives multiply the odds, and so stay below 1
    alternatives = odds / (1 + odds)
    good = np.asarray(tried - failed, dtype=np.float64)[..., None]
    bad = np.asarray(failed, dtype=np.float64)[..., None]
    return _log_mean_exp(bad * np.log(alternatives / null) + good * np.log((1 - alternatives) / (1 - null)))


def mixed(log_e: Array, log_e_other: Array, *, other_permille: int) -> Array:
    """Return the logarithm of a weighted mean of two e-values, which is an e-value again."""
    share = other_permille / 1_000
    with np.errstate(divide="ignore"):  # a share of nothing has the logarithm minus infinity
        mean: Array = np.logaddexp(np.log1p(-share) + log_e, np.log(share) + log_e_other)
    return mean


def _log_mean_exp(values: Array) -> Array:
    peak = values.max(axis=-1, keepdims=True)
    mean: Array = peak[..., 0] + np.log(np.exp(values - peak).mean(axis=-1))
    return mean
