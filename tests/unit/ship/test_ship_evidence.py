"""The sequential evidence: it is the measure of `kernel.rates`, and it keeps its promise at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import Tick, log_e_above
from ringroad.ship.evidence import Array, Counts, Scale, log_e_history, mixed

count = st.integers(0, 50)
exposure = st.integers(1, 10**12)
ALPHA_PPM = 50_000
REFUSES = math.log(1_000_000 / ALPHA_PPM)


def counts(*rows: tuple[float, float, float, float]) -> Counts:
    columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    return Counts(
        treated=columns[0], control=columns[1], treated_exposure=columns[2], control_exposure=columns[3]
    )


def summed(scale: Scale, of: Counts) -> Array:
    total: Array = scale.log_likelihood(of).sum(axis=0)
    return total


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(
    st.lists(st.tuples(count, count, exposure, exposure), max_size=6), st.sampled_from([1_000, 1_250, 3_000])
)
def test_the_e_value_is_the_one_of_the_kernel(
    rows: list[tuple[int, int, int, int]], margin_milli: int
) -> None:
    ticks = [
        Tick(treated=k_t, control=k_c, treated_exposure=e_t, control_exposure=e_c)
        for k_t, k_c, e_t, e_c in rows
    ]
    scale = Scale(margin_milli, bounds=np.empty(0))
    found = float(scale.log_e(summed(scale, Counts.of(ticks))))
    assert found == pytest.approx(log_e_above(ticks, margin=margin_milli / 1_000), abs=1e-6)


@pytest.mark.parametrize("row", [(7, 0, 100, 0), (0, 7, 0, 100), (0, 0, 100, 100), (0, 0, 0, 0)])
def test_a_tick_without_both_arms_or_without_events_says_nothing(
    row: tuple[float, float, float, float],
) -> None:
    assert not Scale(1_250).log_likelihood(counts(row)).any()


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(count, count, exposure, exposure)
def test_one_more_failure_never_lowers_the_e_value_or_the_bound(
    k_t: int, k_c: int, e_t: int, e_c: int
) -> None:
    scale = Scale(1_000)
    few, more = (summed(scale, counts((k_t + extra, k_c, e_t, e_c))) for extra in (0, 1))
    assert float(scale.log_e(more)) >= float(scale.log_e(few))
    upper_few, upper_more = (float(scale.upper(each, alpha_ppm=ALPHA_PPM)) for each in (few, more))
    assert upper_more >= upper_few


def test_the_upper_bound_is_infinite_without_evidence_and_falls_towards_the_ratio() -> None:
    scale = Scale(1_000)
    bounds = [
        float(scale.upper(summed(scale, counts(row)), alpha_ppm=ALPHA_PPM))
        for row in [
            (0, 0, 50, 50),
            (0, 4, 1, 4_000),
            (2, 2, 50, 50),
            (20, 20, 500, 500),
            (2_000, 2_000, 5e4, 5e4),
        ]
    ]
    assert bounds[0] == bounds[1] == math.inf
    assert bounds[2] > bounds[3] > bounds[4] > 1
    assert bounds[4] < 1.2


def test_the_bound_of_the_swapped_arms_is_the_lower_bound() -> None:
    scale = Scale(1_000)
    given_counts = counts((3_000, 1_000, 1e5, 1e5))
    low = 1 / float(scale.upper(summed(scale, given_counts.swapped()), alpha_ppm=ALPHA_PPM))
    high = float(scale.upper(summed(scale, given_counts), alpha_ppm=ALPHA_PPM))
    assert 2.4 < low < 3 < high < 3.7


def test_a_bound_with_an_accepted_ratio_above_it_is_no_bound() -> None:
    scale = Scale(1_000, bounds=np.array([1.0, 2.0, 4.0]))
    evidence = np.zeros(scale.points.size)
    evidence[8:11] = (-9.0, 0.0, -9.0)  # 1 and 4 are refused, 2 is not
    assert float(scale.upper(evidence, alpha_ppm=ALPHA_PPM)) == 4.0
    evidence[10] = 0.0
    assert float(scale.upper(evidence, alpha_ppm=ALPHA_PPM)) == math.inf


def test_the_scale_for_harm_bounds_alike_above_one() -> None:
    full, half = Scale(1_250), Scale.for_harm(1_250)
    given_counts = counts((30, 20, 5e3, 5e3), (4, 9, 1e3, 2e3))
    assert float(full.upper(summed(full, given_counts), alpha_ppm=ALPHA_PPM)) == float(
        half.upper(summed(half, given_counts), alpha_ppm=ALPHA_PPM)
    )


def test_peeking_at_every_tick_keeps_both_promises_in_three_thousand_campaigns() -> None:
    """Sixty looks each, a shock that triples both rates, exposure that grows as long as nothing happens."""
    rng = np.random.default_rng(11)
    replicates = 3_000
    scale = Scale(1_000, bounds=np.array([1.0]))  # the true ratio is 1: it may be refused 5 % of the time
    evidence = np.zeros((replicates, scale.points.size))
    accused = np.zeros(replicates, dtype=bool)
    missed = np.zeros(replicates, dtype=bool)
    exposed = np.full(replicates, 20.0)
    for tick in range(60):
        rate = 0.03 if tick % 24 < 8 else 0.01
        treated, control = rng.poisson(rate * exposed), rng.poisson(np.full(replicates, rate * 400))
        seen = Counts(
            treated=treated.astype(float), control=control.astype(float),
            treated_exposure=exposed, control_exposure=np.full(replicates, 400.0),
        )  # fmt: skip
        evidence += scale.log_likelihood(seen)
        accused |= scale.log_e(evidence) >= REFUSES
        missed |= scale.upper(evidence, alpha_ppm=ALPHA_PPM) <= 1.0
        exposed = np.where(treated == 0, np.minimum(exposed * 1.3, 2_000), exposed)
    # 5 % of 3,000 are 150; three standard deviations above that are 186
    assert 10 < accused.sum() < 186
    assert missed.sum() < 186


def test_history_multiplies_the_odds() -> None:
    found = float(log_e_history(np.ones(1), np.ones(1), base_ppm=300_000, margin_milli=1_000)[0])
    odds = [ratio * 0.3 / 0.7 for ratio in (1.5, 2, 3, 4, 6, 10, 20)]
    assert found == pytest.approx(math.log(sum(odd / (1 + odd) for odd in odds) / 7 / 0.3))


def test_history_refuses_gross_failure_and_tolerates_the_margin() -> None:
    def log_e(failed: int, tried: int) -> float:
        found = log_e_history(
            np.float64(failed) + np.zeros(()), np.full((), tried), base_ppm=5_000, margin_milli=3_000
        )
        return float(found)

    assert log_e(4, 40) > REFUSES
    assert log_e(150, 10_000) < 0
    assert log_e(0, 0) == 0
    assert log_e(1, 10) < REFUSES


@pytest.mark.parametrize(("failed", "tried", "base_ppm"), [(2, 1, 5_000), (-1, 1, 5_000), (0, 1, 0)])
def test_history_refuses_counts_that_cannot_be_true(failed: int, tried: int, base_ppm: int) -> None:
    with pytest.raises(InvalidInput):
        log_e_history(np.full((), failed), np.full((), tried), base_ppm=base_ppm, margin_milli=3_000)


def test_history_says_nothing_where_everything_would_be_accepted() -> None:
    assert not log_e_history(np.array([10.0]), np.array([10.0]), base_ppm=500_000, margin_milli=3_000).any()


def test_a_mean_of_e_values_is_weighed() -> None:
    nothing, much = np.zeros(1), np.full(1, math.log(1_000))
    assert float(mixed(nothing, much, other_permille=100)[0]) == pytest.approx(math.log(0.9 + 100))
    assert float(mixed(nothing, much, other_permille=0)[0]) == pytest.approx(0)


@pytest.mark.parametrize("margin_milli", [0, -1])
def test_refuses_a_margin_of_nothing(margin_milli: int) -> None:
    with pytest.raises(InvalidInput):
        Scale(margin_milli)
