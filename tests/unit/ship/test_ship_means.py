"""Measured quantities: a rise is seen, a shock to both arms is not a rise, peeking keeps its promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.evidence import Array
from ringroad.ship.means import VEHICLES_MIN, Means, log_e_mean, mean_ratio_bounds

REPLICATES, TICKS, TREATED, CONTROL = 800, 40, 15, 60


def measured(
    rng: np.random.Generator,
    *,
    ratio: float,
    shock: bool = False,
    replicates: int = REPLICATES,
    sizes: tuple[int, int] = (TREATED, CONTROL),
) -> Means:
    """Skewed measurements (gamma, mean 4) in every tick; a shock triples both arms at night."""
    night = np.where(np.arange(TICKS) % 24 < 8, 3.0 if shock else 1.0, 1.0)[:, None]

    def arm(vehicles: int, factor: float) -> tuple[Array, Array, Array]:
        values = rng.gamma(2.0, 2.0, size=(replicates, TICKS, vehicles)) * factor * night
        return (
            np.full((replicates, TICKS), float(vehicles)),
            values.mean(axis=-1),
            values.var(axis=-1, ddof=1),
        )

    treated, control = arm(sizes[0], ratio), arm(sizes[1], 1.0)
    return Means(
        treated_n=treated[0], treated_mean=treated[1], treated_variance=treated[2],
        control_n=control[0], control_mean=control[1], control_variance=control[2],
    )  # fmt: skip


def until(means: Means, tick: int) -> Means:
    return Means(**{name: getattr(means, name)[..., :tick] for name in Means.__slots__})


@pytest.mark.parametrize(
    ("ratio", "shock", "sizes"), [(1.0, False, (15, 60)), (1.0, True, (15, 60)), (2.0, False, (60, 15))]
)
def test_peeking_at_every_tick_accuses_what_is_within_the_margin_at_most_alpha_of_the_time(
    *, ratio: float, shock: bool, sizes: tuple[int, int]
) -> None:
    means = measured(np.random.default_rng(5), ratio=ratio, shock=shock, sizes=sizes)
    accused = np.zeros(REPLICATES, dtype=bool)
    for tick in range(1, TICKS + 1):
        accused |= log_e_mean(until(means, tick), margin_milli=round(ratio * 1_000)) >= math.log(20)
    assert accused.sum() < 0.05 * REPLICATES + 3 * math.sqrt(0.05 * 0.95 * REPLICATES)


def test_a_rise_beyond_the_margin_is_seen_and_one_within_is_not() -> None:
    means = measured(np.random.default_rng(6), ratio=1.3)
    assert (log_e_mean(means, margin_milli=1_000) >= math.log(100)).mean() > 0.95
    assert (log_e_mean(means, margin_milli=1_400) >= math.log(100)).sum() == 0


def test_the_bounds_hold_the_ratio() -> None:
    few = measured(np.random.default_rng(7), ratio=1.3, replicates=100)
    low, high = mean_ratio_bounds(few, alpha_ppm=50_000)
    assert ((low < 1.3) & (high > 1.3)).mean() > 0.95
    assert np.median(high) < 1.6
    assert np.median(low) > 1.1


def cells(treated_n: float, control_n: float, ticks: int, variance: float = 1.0) -> Means:
    def full(value: float) -> Array:
        return np.full(ticks, value)

    return Means(
        treated_n=full(treated_n), treated_mean=full(9.0), treated_variance=full(variance),
        control_n=full(control_n), control_mean=full(1.0), control_variance=full(variance),
    )  # fmt: skip


@pytest.mark.parametrize(
    "too_little",
    [
        cells(VEHICLES_MIN - 1, 500, 1),  # too few treated
        cells(500, VEHICLES_MIN - 1, 1),  # too few in control
        cells(1, 500, 200, math.nan),  # alone in every tick: no variance
        cells(0, 500, 5),
        cells(500, 500, 0),
        cells(500, 500, 3, 0.0),  # measurements that never differ are no measurements
    ],
)
def test_too_little_evidence_says_nothing(too_little: Means) -> None:
    assert float(log_e_mean(too_little, margin_milli=1_000)) == 0.0
    low, high = mean_ratio_bounds(too_little, alpha_ppm=50_000)
    assert (float(low), float(high)) == (0.0, math.inf)


def test_enough_of_the_same_evidence_does() -> None:
    assert float(log_e_mean(cells(VEHICLES_MIN, 500, 1), margin_milli=1_000)) > math.log(1_000)


def test_a_much_lower_mean_is_a_number_too() -> None:
    lower = cells(100_000, 100_000, 50)
    swapped = Means(
        treated_n=lower.control_n, treated_mean=lower.control_mean, treated_variance=lower.control_variance,
        control_n=lower.treated_n, control_mean=lower.treated_mean, control_variance=lower.treated_variance,
    )  # fmt: skip
    assert float(log_e_mean(swapped, margin_milli=1_000)) < -5


def test_refuses_a_margin_of_nothing() -> None:
    with pytest.raises(InvalidInput):
        log_e_mean(cells(60, 60, 1), margin_milli=0)
