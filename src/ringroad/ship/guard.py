"""Is the updated part of the fleet worse off than the part that was held back? One reading per metric. Pure.

The sequential half of the gate: counts in, readings out, whole numbers that are stored and can be computed again
from the stored counts. All metrics of a campaign share one error budget: together they accuse an update that is
within its margins with probability alpha at most, however often they are read.

==================  ==============================================================  ==========================
metric              event                                                           compared with
==================  ==============================================================  ==========================
install_failed      the installation failed, or the vehicle was lost over it        past campaigns, wide margin
rolled_back         it was installed and undone                                     past campaigns, wide margin
fault               first fault of a vehicle within its window                      control group, at risk
silence             not heard of for a while after the update                       control group, per trial
boot_loop           starts again and again                                          control group, at risk
boot_time, energy   the mean is higher                                              control group, mean
==================  ==============================================================  ==========================

Invariants:
    A metric without exposure in both arms is not known, and what is not known neither halts nor advances.
    The same counts give the same reading, whatever their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import LOG_E_MAX, Tick, point_milli, pooled
from ringroad.ship.evidence import Array, Counts, Scale, log_e_history, mixed
from ringroad.ship.means import Means, log_e_mean, mean_ratio_bounds

BOUND_PPM = (
    50_000  # chance in millionths that a bound of a ratio is wrong at any look; each side, each metric
)
BOUND_MICRONATS = math.ceil(
    math.log(1_000_000 / BOUND_PPM) * 1_000_000
)  # log e-value that refuses at such a chance, 20 to 1
HISTORY_PERMILLE = 100  # weight of history in the e-value of what has no control; it may be of another season
PAST_PPM_MAX = 20_000  # millionths; 2 %, the most that the rules accept unless told otherwise
MARGIN_MILLI_MAX = 100_000  # thousandths; a hundred times as many is no margin
WEIGHT_MAX = 1_000
PATH_CHARS_MAX = 200  # characters of a VSS path
ALPHA_PPM_MAX = 200_000  # millionths; one false halt in five is no promise
TICK_S_MAX = 86_400  # seconds; a day's weather does not cancel out
SECONDS_MAX = 90 * 86_400  # seconds of a window, a delay or a gap


class MetricName(StrEnum):
    """What can be watched."""

    INSTALL_FAILED = "install_failed"
    ROLLED_BACK = "rolled_back"
    FAULT = "fault"
    SILENCE = "silence"
    BOOT_LOOP = "boot_loop"
    BOOT_TIME = "boot_time"
    ENERGY = "energy"


HISTORY = frozenset({MetricName.INSTALL_FAILED, MetricName.ROLLED_BACK})
MEANS = frozenset({MetricName.BOOT_TIME, MetricName.ENERGY})
SAMPLED = MEANS | {MetricName.BOOT_LOOP}  # read from samples of a VSS path
# What a ramp counts as harm. Silence comes half a day late and is mostly parking: it halts, it sets no pace.
HARM = frozenset({MetricName.FAULT, MetricName.BOOT_LOOP})


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that must not get worse.

    Attributes:
        name: what is watched.
        margin_milli: how many times the control's rate, the past share or the control's mean is still acceptable,
            in thousandths.
        weight: share of the error budget, relative to the other metrics.
        path: VSS path whose samples are read, for `SAMPLED` metrics.
        at_least_milli: a sample of this or more is the event, for boot loops; thousandths.
    """

    name: MetricName
    margin_milli: int
    weight: int = 1
    path: str = ""
    at_least_milli: int = 1_000

    def __post_init__(self) -> None:
        """Refuse margins that would accuse a better update, weights that leave nothing, samples from nowhere."""
        if bool(self.path) != (self.name in SAMPLED):
            raise InvalidInput(
                f"{self.name} is {'read from a VSS path' if not self.path else 'not read from a path'}"
            )
        if len(self.path) > PATH_CHARS_MAX:
            raise InvalidInput(f"path is longer than {PATH_CHARS_MAX} characters")
        if not 1_000 <= self.margin_milli <= MARGIN_MILLI_MAX:
            raise InvalidInput(f"margin_milli must be between 1000 and {MARGIN_MILLI_MAX}")
        if not 1 <= self.weight <= WEIGHT_MAX:
            raise InvalidInput(f"weight must be between 1 and {WEIGHT_MAX}")


def default_margin_milli(name: MetricName) -> int:
    """Return the margin of a metric unless another is given: wide for the past, narrow for a mean."""
    return 3_000 if name in HISTORY else 1_100 if name in MEANS else 1_250


DEFAULT_METRICS = tuple(
    Metric(name=name, margin_milli=default_margin_milli(name))
    for name in (
        MetricName.INSTALL_FAILED,
        MetricName.ROLLED_BACK,
        MetricName.FAULT,
        MetricName.SILENCE,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialPolicy:
    """What must not get worse, and how it is observed. Checked when it is made, so that a stored one is valid.

    Attributes:
        alpha_ppm: chance in millionths that an update within its margins is halted, over the whole campaign.
        metrics: what is watched; each at most once.
        window_s: seconds after the update for which a vehicle is watched.
        tick_s: seconds of one comparison; the finer, the better shocks cancel out.
        late_s: seconds after the end of a tick until it is read, so that vehicles have sent.
        gap_s: seconds between two observations of a vehicle that still count as one stretch.
        quiet_s: seconds without a message after which a vehicle is silent.
    """

    alpha_ppm: int = 10_000
    metrics: tuple[Metric, ...] = DEFAULT_METRICS
    window_s: int = 86_400
    tick_s: int = 900
    late_s: int = 3_600
    gap_s: int = 3_600
    quiet_s: int = 43_200

    def __post_init__(self) -> None:
        """Refuse a policy that could not halt, or not keep its promise."""
        if not 0 < self.alpha_ppm <= ALPHA_PPM_MAX:
            raise InvalidInput(f"alpha_ppm must be between 1 and {ALPHA_PPM_MAX}")
        names = [metric.name for metric in self.metrics]
        if not names or len(set(names)) != len(names):
            raise InvalidInput("each metric once, at least one")
        if not 1 <= self.tick_s <= min(TICK_S_MAX, self.window_s):
            raise InvalidInput(f"tick_s must be between 1 and {TICK_S_MAX}, and not above window_s")
        for name in ("window_s", "gap_s", "quiet_s"):
            if not 1 <= getattr(self, name) <= SECONDS_MAX:
                raise InvalidInput(f"{name} must be between 1 and {SECONDS_MAX}")
        if not 0 <= self.late_s <= SECONDS_MAX:
            raise InvalidInput(f"late_s must be between 0 and {SECONDS_MAX}")
        if self.quiet_s >= self.window_s and MetricName.SILENCE in names:
            raise InvalidInput("quiet_s must be below window_s", hint="or leave the metric silence out")

    @property
    def compared(self) -> tuple[Metric, ...]:
        """The metrics that need a control group."""
        return tuple(metric for metric in self.metrics if metric.name not in HISTORY)

    def limit(self, metric: Metric) -> int:
        """From which log e-value, in micronats, a metric halts."""
        return limit_micronats(self.alpha_ppm, self.metrics, metric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """How installations of earlier campaigns ended; `failed` of `tried`."""

    failed: int
    tried: int

    def __post_init__(self) -> None:
        """Refuse counts that cannot be true."""
        if not 0 <= self.failed <= self.tried:
            raise InvalidInput("between none and all of the tries can have failed")

    @property
    def share_ppm(self) -> int:
        """Share that failed, in millionths; one failure more than was seen, so that it is never nothing.

        Capped, so that a past of which nothing or nothing good is known is no licence.
        """
        return min(PAST_PPM_MAX, (self.failed + 1) * 1_000_000 // (self.tried + 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanCell:
    """Measurements of both arms in one tick and stratum; millionths of the metric's unit."""

    treated_n: int
    treated_mean: int
    treated_variance: int  # square millionths, with n - 1
    control_n: int
    control_mean: int
    control_variance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumReading:
    """What one metric says in one stratum alone; fields as those of `Reading`."""

    stratum: str
    log_e_micronats: int
    point_milli: int | None
    low_milli: int
    high_milli: int | None
    treated: int
    control: int
    treated_exposure: int
    control_exposure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one metric says now. Ratios in thousandths, None where the evidence sets no bound.

    Attributes:
        log_e_micronats: logarithm of the e-value against "within the margin", in millionths, rounded down.
        limit_micronats: at this or above it the update is refused.
        point_milli: the ratio itself, over all strata.
        low_milli: the ratio is above this, with 95 % confidence at every look.
        high_milli: the ratio is below this, likewise.
        treated: vehicles with the event, or vehicles measured.
        control: the same in the control group.
        treated_exposure: time at risk, trials or vehicles.
        control_exposure: the same in the control group; 0 where the past is the control.
        strata: the same in each stratum, those with the most against them first; `strata.py`.
    """

    metric: MetricName
    log_e_micronats: int
    limit_micronats: int
    point_milli: int | None
    low_milli: int
    high_milli: int | None
    treated: int
    control: int
    treated_exposure: int
    control_exposure: int
    strata: tuple[StratumReading, ...] = ()

    @property
    def exceeded(self) -> bool:
        """Whether the update is refused."""
        return self.limit_micronats <= self.log_e_micronats

    @property
    def known(self) -> bool:
        """Whether both arms were observed at all."""
        return self.treated_exposure > 0 and (self.control_exposure > 0 or self.metric in HISTORY)


def limit_micronats(alpha_ppm: int, metrics: Sequence[Metric], metric: Metric) -> int:
    """Return from which log e-value on a metric refuses: the error budget shared out by weight, rounded up."""
    total = sum(each.weight for each in metrics)
    return math.ceil(math.log(1_000_000 * total / (alpha_ppm * metric.weight)) * 1_000_000)


def read_rate(
    metric: Metric, ticks: Sequence[Tick], *, limit: int, exposure: tuple[int, int] | None = None
) -> Reading:
    """Read a metric that is counted in both arms.

    Args:
        metric: which.
        ticks: concurrent counts per tick and stratum, in any order.
        limit: from `limit_micronats`.
        exposure: of both arms, where the ticks tell some of it twice; their sums unless given.
    """
    scale = Scale(metric.margin_milli)
    # In one order, so that sums of floating numbers are the same whatever the order of the ticks.
    counts = Counts.of(sorted(ticks, key=_key))
    evidence = scale.log_likelihood(counts).sum(axis=0)
    swapped = scale.log_likelihood(counts.swapped()).sum(axis=0)
    high = float(scale.upper(evidence, alpha_ppm=BOUND_PPM))
    total = pooled(ticks)
    treated_exposure, control_exposure = exposure or (total.treated_exposure, total.control_exposure)
    return Reading(
        metric=metric.name,
        log_e_micronats=_micronats(scale.log_e(evidence)),
        limit_micronats=limit,
        point_milli=point_milli(ticks),
        low_milli=math.floor(1_000 / float(scale.upper(swapped, alpha_ppm=BOUND_PPM))),
        high_milli=math.ceil(high * 1_000) if math.isfinite(high) else None,
        treated=total.treated,
        control=total.control,
        treated_exposure=treated_exposure,
        control_exposure=control_exposure,
    )


def read_history(metric: Metric, *, failed: int, tried: int, past: Past, limit: int) -> Reading:
    """Read a metric that has no control group, against the past.

    Its e-value is a mean of one tenth history and nine tenths nothing, so that only gross failure halts.

    Raises:
        InvalidInput: more failures than tries.
    """
    given = np.asarray(failed, dtype=np.float64), np.asarray(tried, dtype=np.float64)

    def log_e(margin_milli: int) -> Array:
        alone = log_e_history(*given, base_ppm=past.share_ppm, margin_milli=margin_milli)
        return mixed(np.zeros_like(alone), alone, other_permille=HISTORY_PERMILLE)

    refuses = math.log(1_000_000 / BOUND_PPM)
    grid = [math.floor(ratio * 1_000) for ratio in Scale(metric.margin_milli).bounds]
    refused = [ratio for ratio in grid if ratio > 0 and float(log_e(ratio)) >= refuses]
    return Reading(
        metric=metric.name,
        log_e_micronats=_micronats(log_e(metric.margin_milli)),
        limit_micronats=limit,
        point_milli=failed * 1_000_000_000 // (tried * past.share_ppm) if tried else None,
        low_milli=max(refused, default=0),
        high_milli=None,
        treated=failed,
        control=past.failed,
        treated_exposure=tried,
        control_exposure=0,
    )


def read_installations(
    policy: SequentialPolicy, past: Mapping[str, Past], *, installed: int, failed: int, rolled_back: int
) -> tuple[Reading, ...]:
    """Read how the installations themselves went, against the past.

    Args:
        policy: of the campaign.
        past: how earlier ones ended, by metric; a metric without a past is judged as if never tried.
        installed: vehicles of all released waves that have the new software.
        failed: vehicles that do not have it because the installation failed, or that were lost over it.
        rolled_back: vehicles that had it, and went back.
    """
    counts = {
        MetricName.INSTALL_FAILED: (failed, installed + failed + rolled_back),
        MetricName.ROLLED_BACK: (rolled_back, installed + rolled_back),
    }
    return tuple(
        read_history(
            metric, failed=counts[metric.name][0], tried=counts[metric.name][1],
            past=past.get(metric.name, Past(failed=0, tried=0)), limit=policy.limit(metric),
        )
        for metric in policy.metrics
        if metric.name in HISTORY
    )  # fmt: skip


def read_mean(metric: Metric, cells: Sequence[MeanCell], *, limit: int) -> Reading:
    """Read a metric that is measured, not counted.

    Args:
        metric: which.
        cells: measurements per tick and stratum, in any order.
        limit: from `limit_micronats`.
    """
    rows = np.array(
        sorted(
            (
                cell.treated_n, cell.treated_mean, cell.treated_variance,
                cell.control_n, cell.control_mean, cell.control_variance,
            )
            for cell in cells
        ),
        dtype=np.float64,
    ).reshape(len(cells), 6).T  # fmt: skip
    means = Means(
        treated_n=rows[0], treated_mean=rows[1], treated_variance=rows[2],
        control_n=rows[3], control_mean=rows[4], control_variance=rows[5],
    )  # fmt: skip
    low, high = (float(bound) for bound in mean_ratio_bounds(means, alpha_ppm=2 * BOUND_PPM))
    treated_n, control_n = int(rows[0].sum()), int(rows[3].sum())
    control_sum = float(rows[4] @ rows[0])  # control means, weighed like the treated ones
    return Reading(
        metric=metric.name,
        log_e_micronats=_micronats(log_e_mean(means, margin_milli=metric.margin_milli)),
        limit_micronats=limit,
        point_milli=math.floor(float(rows[1] @ rows[0]) * 1_000 / control_sum) if control_sum > 0 else None,
        low_milli=math.floor(low * 1_000),
        high_milli=math.ceil(high * 1_000) if math.isfinite(high) else None,
        treated=treated_n,
        control=control_n,
        treated_exposure=treated_n,
        control_exposure=control_n,
    )


def _key(tick: Tick) -> tuple[int, int, int, int]:
    return (tick.treated, tick.control, tick.treated_exposure, tick.control_exposure)


def _micronats(log_e: Array) -> int:
    return math.floor(max(-LOG_E_MAX, min(LOG_E_MAX, float(log_e))) * 1_000_000)
