"""Readings of the sequential gate: whole numbers, one error budget, nothing known without both arms."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import Tick, rate_ratio
from ringroad.ship.evidence import log_e_history
from ringroad.ship.guard import (
    MeanCell,
    Metric,
    MetricName,
    Past,
    limit_micronats,
    read_history,
    read_mean,
    read_rate,
)

FAULT = Metric(name=MetricName.FAULT, margin_milli=1_250)
INSTALL = Metric(name=MetricName.INSTALL_FAILED, margin_milli=3_000)
BOOT = Metric(name=MetricName.BOOT_TIME, margin_milli=1_100, path="Vehicle.BootTime")
LIMIT = limit_micronats(10_000, [FAULT], FAULT)
PAST = Past(failed=49, tried=9_998)


def tick(treated: int, control: int, treated_exposure: int = 1_000, control_exposure: int = 1_000) -> Tick:
    return Tick(
        treated=treated, control=control, treated_exposure=treated_exposure, control_exposure=control_exposure
    )


def test_metrics_share_one_error_budget() -> None:
    assert math.ceil(math.log(100) * 1_000_000) == LIMIT
    assert limit_micronats(10_000, [FAULT, INSTALL], FAULT) == math.ceil(math.log(200) * 1_000_000)
    heavy = Metric(name=MetricName.FAULT, margin_milli=1_250, weight=3)
    limits = [limit_micronats(10_000, [heavy, INSTALL], each) for each in (heavy, INSTALL)]
    assert sum(math.exp(-limit / 1_000_000) for limit in limits) <= 0.01


def test_a_gross_regression_is_refused_and_an_equal_rate_is_not() -> None:
    bad, good = (read_rate(FAULT, [tick(40, 5)], limit=LIMIT), read_rate(FAULT, [tick(20, 20)], limit=LIMIT))
    assert bad.exceeded
    assert bad.low_milli > 1_250
    assert not good.exceeded
    assert good.point_milli == 1_000
    assert good.high_milli is not None
    assert good.low_milli < 1_000 < good.high_milli


def test_a_margin_tolerates_what_it_says() -> None:
    slightly_worse = [tick(1_400, 1_000, 100_000, 100_000)]
    lenient = Metric(name=MetricName.FAULT, margin_milli=1_500)
    assert not read_rate(lenient, slightly_worse, limit=LIMIT).exceeded
    strict = Metric(name=MetricName.FAULT, margin_milli=1_000)
    assert read_rate(strict, slightly_worse, limit=LIMIT).exceeded


@pytest.mark.parametrize("ticks", [[], [tick(5, 0, 1_000, 0)], [tick(0, 5, 0, 1_000)], [tick(0, 0, 0, 0)]])
def test_without_both_arms_nothing_is_known_and_nothing_refused(ticks: list[Tick]) -> None:
    reading = read_rate(FAULT, ticks, limit=LIMIT)
    assert not reading.known
    assert not reading.exceeded
    assert (reading.point_milli, reading.low_milli, reading.high_milli) == (None, 0, None)


ticks_of_any_kind = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 10**9), st.integers(1, 10**9)), max_size=7
)


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(ticks_of_any_kind, st.randoms())
def test_the_same_counts_give_the_same_reading_in_any_order(
    rows: list[tuple[int, int, int, int]], rng: random.Random
) -> None:
    ticks = [tick(*row) for row in rows]
    assert read_rate(FAULT, rng.sample(ticks, len(ticks)), limit=LIMIT) == read_rate(
        FAULT, ticks, limit=LIMIT
    )


@settings(max_examples=40, deadline=None)  # a shared machine may be slow
@given(ticks_of_any_kind)
def test_one_more_failure_never_takes_a_refusal_back(rows: list[tuple[int, int, int, int]]) -> None:
    ticks = [*(tick(*row) for row in rows), tick(3, 1)]
    more = [*ticks[:-1], tick(4, 1)]
    before, after = read_rate(FAULT, ticks, limit=LIMIT), read_rate(FAULT, more, limit=LIMIT)
    assert after.log_e_micronats >= before.log_e_micronats


def test_the_interval_is_about_the_one_of_the_kernel() -> None:
    """Both come from e-values, over other alternatives and grids: they agree within a third."""
    ticks = [tick(300, 100, 10_000, 10_000)]
    ours, kernel = read_rate(FAULT, ticks, limit=LIMIT), rate_ratio(ticks, alpha_ppm=100_000)
    assert ours.high_milli is not None
    assert kernel.high_milli is not None
    assert ours.high_milli == pytest.approx(kernel.high_milli, rel=0.3)
    assert ours.low_milli == pytest.approx(kernel.low_milli, rel=0.3)
    assert ours.low_milli < 3_000 < ours.high_milli


def test_history_halts_only_gross_failure() -> None:
    usual = read_history(INSTALL, failed=60, tried=10_000, past=PAST, limit=LIMIT)
    gross = read_history(INSTALL, failed=6, tried=40, past=PAST, limit=LIMIT)
    assert not usual.exceeded
    assert usual.point_milli == 1_200
    assert gross.exceeded
    assert gross.low_milli >= 3_000
    assert gross.known


def test_history_weighs_a_tenth() -> None:
    alone = float(log_e_history(np.full((), 6.0), np.full((), 40.0), base_ppm=5_000, margin_milli=3_000))
    mixed = read_history(INSTALL, failed=6, tried=40, past=PAST, limit=LIMIT).log_e_micronats
    assert mixed == math.floor(math.log(0.9 + 0.1 * math.exp(alone)) * 1_000_000)


def test_history_of_nothing_is_no_licence() -> None:
    none, terrible = Past(failed=0, tried=0), Past(failed=900, tried=1_000)
    assert none.share_ppm == terrible.share_ppm == 20_000
    assert PAST.share_ppm == 5_000
    assert read_history(INSTALL, failed=15, tried=30, past=none, limit=LIMIT).exceeded


@pytest.mark.parametrize(("failed", "tried"), [(2, 1), (-1, 5)])
def test_history_refuses_counts_that_cannot_be_true(failed: int, tried: int) -> None:
    with pytest.raises(InvalidInput):
        read_history(INSTALL, failed=failed, tried=tried, past=PAST, limit=LIMIT)
    with pytest.raises(InvalidInput):
        Past(failed=failed, tried=tried)


def test_a_mean_that_rises_is_refused() -> None:
    worse = [MeanCell(treated_n=60, treated_mean=9_000_000, treated_variance=10**12, control_n=500,
                      control_mean=6_000_000, control_variance=10**12)]  # fmt: skip
    reading = read_mean(BOOT, worse, limit=LIMIT)
    assert reading.exceeded
    assert reading.point_milli == 1_500
    assert 1_100 < reading.low_milli < 1_500
    assert not read_mean(BOOT, [], limit=LIMIT).known


@pytest.mark.parametrize(
    "wrong", [{"margin_milli": 999}, {"margin_milli": 10**9}, {"weight": 0}, {"weight": 10**9}]
)
def test_refuses_metrics_that_accuse_the_better_or_have_no_share(wrong: dict[str, int]) -> None:
    given_metric: dict[str, Any] = {"margin_milli": 1_250, "weight": 1, **wrong}
    with pytest.raises(InvalidInput):
        Metric(name=MetricName.FAULT, **given_metric)
