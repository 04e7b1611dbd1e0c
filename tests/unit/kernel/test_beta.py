"""Beta distributions against scipy's, and a bound that holds."""

from __future__ import annotations

import pytest
from scipy import stats  # type: ignore[import-untyped]

from ringroad.kernel.beta import beta_cdf, beta_quantile, upper_bound

SHAPES = [
    (0.5, 30.0),
    (3.0, 200.0),
    (40.0, 2_000.0),
    (2_000.0, 100_000.0),
    (1.0, 1.0),
    (5.0, 2.0),
    (1e5, 3.0),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_quantiles_and_shares_below_are_scipys(a: float, b: float) -> None:
    for share in (1e-7, 0.025, 0.5, 0.975, 1 - 1e-7):
        found = beta_quantile(share, a, b)
        assert found == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-7, abs=1e-12)
        assert beta_cdf(found, a, b) == pytest.approx(share, rel=1e-6)


def test_outside_of_a_share_there_is_all_or_nothing() -> None:
    assert (beta_cdf(-0.1, 2, 3), beta_cdf(0, 2, 3), beta_cdf(1, 2, 3), beta_cdf(1.5, 2, 3)) == (0, 0, 1, 1)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.4])
@pytest.mark.parametrize("of", [5, 60, 400])
def test_a_bound_is_exceeded_no_more_often_than_it_says(share: float, of: int) -> None:
    miss = 0.01
    beyond = sum(
        float(stats.binom.pmf(events, of, share))
        for events in range(of + 1)
        if upper_bound(events, of, miss) < share
    )
    assert beyond <= miss
    assert upper_bound(of, of, miss) == 1
