"""Beliefs are sums: they merge by adding, shrink by scaling, and cannot be what no observations could sum up to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.plant.posterior import (
    STATED,
    Origin,
    Posterior,
    observed_times,
    stated_rate,
    stated_share,
    stated_time,
)
from ringroad.kernel.errors import InvalidInput

HERE = Origin(plant="here", evidence="test")
times = st.lists(st.floats(1, 10_000), min_size=1, max_size=30)


def test_a_stated_time_has_the_mean_and_spread_that_were_stated() -> None:
    belief = stated_time(60, spread_permille=50)
    assert belief.mean == pytest.approx(60)
    assert belief.spread_permille == 50
    assert belief.n == 1
    assert belief.origin == STATED


@given(times, times)
def test_beliefs_merge_into_what_all_observations_say(one: list[float], other: list[float]) -> None:
    merged = observed_times(one, origin=HERE).merged(observed_times(other, origin=HERE))
    whole = observed_times([*one, *other], origin=HERE)
    assert merged.n == whole.n
    assert merged.total == pytest.approx(whole.total)
    assert merged.squares == pytest.approx(whole.squares)


@given(times, st.floats(0.01, 1))
def test_less_of_the_same_evidence_says_the_same_less_surely(seconds: list[float], weight: float) -> None:
    belief = observed_times(seconds, origin=HERE)
    less = belief.scaled(weight)
    assert less.mean == pytest.approx(belief.mean)
    assert less.error_variance >= belief.error_variance or less.error_variance == pytest.approx(
        belief.error_variance
    )


@pytest.mark.parametrize(
    "belief",
    [stated_time(60, n=50), stated_share(0.97, n=50), stated_share(1, n=50), stated_rate(3600, n=50)],
)
def test_more_evidence_makes_the_interval_narrower(belief: Posterior) -> None:
    low, high = belief.interval()
    closer, farther = belief.scaled(4).interval()
    assert low <= belief.mean <= high
    assert low < closer
    assert farther < high or farther == high == 1


def test_a_share_stays_between_none_and_all() -> None:
    assert stated_share(1, n=3).interval()[1] == 1
    assert stated_share(0, n=3).interval()[0] == 0


@pytest.mark.parametrize(
    ("family", "n", "total", "squares"),
    [
        ("time", 0, 0, 0),
        ("time", -1, 4, 16),
        ("time", math.nan, 4, 16),
        ("time", 2, 8, 30),  # two times whose logarithms are 4 on average have squares of 32 at least
        ("time", 1, 1000, 1_000_000),
        ("time", 1, 0, math.inf),
        ("share", 10, 11, 0),
        ("share", 10, -1, 0),
        ("rate", 10, 0, 0),
        ("rate", 1e13, 1e13, 0),
    ],
)
def test_sums_that_no_observations_have_are_refused(
    family: str, n: float, total: float, squares: float
) -> None:
    with pytest.raises(InvalidInput):
        Posterior(family=family, n=n, total=total, squares=squares)  # type: ignore[arg-type]


def test_beliefs_of_two_kinds_are_not_merged() -> None:
    with pytest.raises(InvalidInput, match="a time and a share"):
        stated_time(60).merged(stated_share(0.9))


@pytest.mark.parametrize("seconds", [[], [0.0], [60.0, -1.0], [math.nan], [1e12]])
def test_times_that_cannot_be_observed_are_refused(seconds: list[float]) -> None:
    with pytest.raises(InvalidInput):
        observed_times(seconds, origin=HERE)
