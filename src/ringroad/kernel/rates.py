"""Is a rate higher here than there? One method for detection, verdicts and gates.

Pure; integers in, integers out, logarithms in between.
Given how many events two arms had together, the share that fell on the treated arm is binomial, whatever
shock (cold snap, holiday, bad fuel) hit both. A mixture of likelihood ratios over that binomial is an e-value:
under the hypothesis "treated rate <= margin x control rate" its mean is at most one, so that
``P(e >= 1 / alpha) <= alpha``, for concurrent ticks at every look, for ever (Ville's inequality).

Invariant: an arm without exposure adds no evidence in either direction.

Source: conditional binomial e-process; Ramdas et al., "Game-theoretic statistics and safe anytime-valid
inference" (2023), section 3; ter Schure et al., "The safe log-rank test" (2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ringroad.kernel.errors import InvalidInput

ALTERNATIVES = (1.5, 2.0, 3.0, 4.0, 6.0, 10.0, 20.0)  # rate ratios the mixture looks for, per margin
GRID_STEPS_PER_DECADE = 20  # resolution of intervals: neighbours are 12 % apart
GRID_DECADES = 3  # intervals are searched between 1/1000 and 1000
LOG_E_MAX = 10_000.0  # nats; beyond this nobody compares any more
TICKS_MAX = 100_000  # ticks x strata of one comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Counts of both arms in one stretch of time (and one stratum).

    Attributes:
        treated: vehicles that failed for the first time, treated arm.
        control: the same, control arm.
        treated_exposure: time at risk of the treated arm; any unit, the same for both arms.
        control_exposure: the same, control arm.
    """

    treated: int
    control: int
    treated_exposure: int
    control_exposure: int

    def __post_init__(self) -> None:
        """Refuse negative counts, and events where nobody was at risk."""
        if min(self.treated, self.control, self.treated_exposure, self.control_exposure) < 0:
            raise InvalidInput("counts and exposure cannot be negative")
        if (self.treated and not self.treated_exposure) or (self.control and not self.control_exposure):
            raise InvalidInput(
                "events without exposure contradict each other",
                hint="count events only where their vehicle was at risk",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRatio:
    """A rate ratio with its interval, in thousandths; None where the evidence sets no bound."""

    point_milli: int | None
    low_milli: int
    high_milli: int | None


def log_e_above(ticks: Iterable[Tick], *, margin: float = 1.0) -> float:
    """Return the logarithm of the e-value against "treated rate <= margin x control rate".

    Args:
        ticks: concurrent counts; a tick where one arm has no exposure adds nothing.
        margin: the largest rate ratio that is still acceptable, > 0.

    Returns:
        Nats. ``log(1 / alpha)`` or more rejects the hypothesis at level alpha.

    Raises:
        InvalidInput: margin is not positive, or more ticks than `TICKS_MAX`.
    """
    informative = _informative(ticks)
    if not margin > 0:
        raise InvalidInput("margin must be above 0")
    logs = []
    for ratio in ALTERNATIVES:
        terms = []
        for tick in informative:
            base = margin * tick.treated_exposure
            null_total = base + tick.control_exposure
            alternative_total = ratio * base + tick.control_exposure
            shrink = math.log(null_total / alternative_total)
            terms.append(tick.treated * (math.log(ratio) + shrink) + tick.control * shrink)
        logs.append(math.fsum(terms))
    peak = max(logs)
    total = peak + math.log(math.fsum(math.exp(value - peak) for value in logs) / len(logs))
    return max(-LOG_E_MAX, min(LOG_E_MAX, total))


def log_e_below(ticks: Iterable[Tick], *, margin: float = 1.0) -> float:
    """Return the logarithm of the e-value against "treated rate >= margin x control rate".

    Raises:
        InvalidInput: as in `log_e_above`.
    """
    if not margin > 0:
        raise InvalidInput("margin must be above 0")
    return log_e_above([_swapped(tick) for tick in ticks], margin=1 / margin)


def log_sum_exp(logs: Sequence[float]) -> float:
    """Return the logarithm of a sum, from those of its terms: of e-values, each with the logarithm of its stake."""
    peak = max(logs)
    return peak + math.log(math.fsum(math.exp(value - peak) for value in logs))


def rejects(log_e: float, *, alpha_ppm: int, hypotheses: int = 1) -> bool:
    """Return whether an e-value rejects at level `alpha_ppm`, shared by several hypotheses (Bonferroni)."""
    return log_e >= math.log(max(1, hypotheses) * 1_000_000 / alpha_ppm)


def rate_ratio(ticks: Sequence[Tick], *, alpha_ppm: int = 50_000) -> RateRatio:
    """Return the pooled rate ratio and an interval that covers it with probability ``1 - alpha``.

    The bounds are those margins on a logarithmic grid that the e-value does not reject, half of alpha per side,
    so they may be read at every look.

    Args:
        ticks: concurrent counts.
        alpha_ppm: miss probability of the interval in millionths; 50,000 is 95 %.
    """
    kept = _informative(ticks)
    if not kept:
        return RateRatio(point_milli=None, low_milli=0, high_milli=None)
    grid = [
        10 ** (step / GRID_STEPS_PER_DECADE)
        for step in range(-GRID_DECADES * GRID_STEPS_PER_DECADE, GRID_DECADES * GRID_STEPS_PER_DECADE + 1)
    ]
    low = 0.0
    for margin in grid:
        if not rejects(log_e_above(kept, margin=margin), alpha_ppm=alpha_ppm // 2):
            break
        low = margin
    high = math.inf
    for margin in reversed(grid):
        if not rejects(log_e_below(kept, margin=margin), alpha_ppm=alpha_ppm // 2):
            break
        high = margin
    return RateRatio(
        point_milli=point_milli(kept),
        low_milli=math.floor(low * 1000),
        high_milli=None if math.isinf(high) else math.ceil(high * 1000),
    )


def pooled(ticks: Iterable[Tick]) -> Tick:
    """Return the sums over all ticks."""
    treated = control = treated_exposure = control_exposure = 0
    for tick in ticks:
        treated += tick.treated
        control += tick.control
        treated_exposure += tick.treated_exposure
        control_exposure += tick.control_exposure
    return Tick(
        treated=treated,
        control=control,
        treated_exposure=treated_exposure,
        control_exposure=control_exposure,
    )


def point_milli(ticks: Iterable[Tick]) -> int | None:
    """Return the rate ratio over all ticks in thousandths, None without a control failure.

    Mantel-Haenszel estimate: ticks and strata weigh by how much they can tell.

    Source: Rothman et al., Modern Epidemiology, person-time rate ratio.
    """
    above = below = 0
    for tick in _informative(ticks):
        total = tick.treated_exposure + tick.control_exposure
        above += (tick.treated * tick.control_exposure << 20) // total
        below += (tick.control * tick.treated_exposure << 20) // total
    return above * 1000 // below if below else None


def _informative(ticks: Iterable[Tick]) -> list[Tick]:
    kept = [
        tick
        for tick in ticks
        if (tick.treated or tick.control) and tick.treated_exposure and tick.control_exposure
    ]
    if len(kept) > TICKS_MAX:
        raise InvalidInput(f"{len(kept)} ticks in one comparison, limit {TICKS_MAX}", hint="use longer ticks")
    return kept


def _swapped(tick: Tick) -> Tick:
    return Tick(
        treated=tick.control,
        control=tick.treated,
        treated_exposure=tick.control_exposure,
        control_exposure=tick.treated_exposure,
    )
