"""Rate comparison: values, limits, and the promise that good software is rarely accused."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.rates import Tick, log_e_above, log_e_below, pooled, rate_ratio, rejects

count = st.integers(0, 50)
exposure = st.integers(1, 10**12)


def tick(treated: int, control: int, treated_exposure: int = 100, control_exposure: int = 100) -> Tick:
    return Tick(
        treated=treated,
        control=control,
        treated_exposure=treated_exposure,
        control_exposure=control_exposure,
    )


def test_matches_the_formula_for_one_tick() -> None:
    expected = math.log(
        sum((r / (1 + r) / 0.5) ** 5 * (1 / (1 + r) / 0.5) for r in (1.5, 2, 3, 4, 6, 10, 20)) / 7
    )
    assert log_e_above([tick(5, 1)]) == pytest.approx(expected)


def test_below_is_above_with_the_arms_swapped() -> None:
    assert log_e_below([tick(1, 9)]) == pytest.approx(log_e_above([tick(9, 1)]))


@pytest.mark.parametrize("only", [tick(7, 0, 100, 0), tick(0, 7, 0, 100), tick(0, 0)])
def test_a_tick_without_both_arms_says_nothing(only: Tick) -> None:
    assert log_e_above([only]) == 0
    assert log_e_above([tick(5, 1), only]) == log_e_above([tick(5, 1)])
    assert rate_ratio([only]).high_milli is None


@pytest.mark.parametrize("numbers", [(1, 0, 0, 5), (0, 1, 5, 0), (-1, 0, 5, 5), (0, 0, -5, 5)])
def test_refuses_events_without_exposure_and_negative_counts(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(InvalidInput):
        tick(*numbers)


def test_refuses_a_margin_of_nothing() -> None:
    with pytest.raises(InvalidInput):
        log_e_above([tick(1, 1)], margin=0)
    with pytest.raises(InvalidInput):
        log_e_below([tick(1, 1)], margin=-1)


@given(count, count, exposure, exposure)
def test_one_more_failure_never_weakens_the_evidence(k_t: int, k_c: int, e_t: int, e_c: int) -> None:
    assert log_e_above([tick(k_t + 1, k_c, e_t, e_c)]) >= log_e_above([tick(k_t, k_c, e_t, e_c)])


@given(count, count, exposure, exposure)
def test_a_wider_margin_never_strengthens_the_evidence(k_t: int, k_c: int, e_t: int, e_c: int) -> None:
    here = [tick(k_t, k_c, e_t, e_c)]
    assert log_e_above(here, margin=2.0) <= log_e_above(here, margin=1.0) + 1e-9


@given(st.lists(st.tuples(count, count, exposure, exposure), max_size=8), st.randoms())
def test_the_order_of_ticks_does_not_matter(
    numbers: list[tuple[int, int, int, int]], rng: random.Random
) -> None:
    ticks = [tick(*item) for item in numbers]
    shuffled = rng.sample(ticks, len(ticks))
    assert log_e_above(shuffled) == log_e_above(ticks)
    assert rate_ratio(shuffled) == rate_ratio(ticks)


def test_the_interval_holds_the_point_and_narrows_with_evidence() -> None:
    few, many = rate_ratio([tick(6, 2)]), rate_ratio([tick(600, 200)])
    assert few.point_milli == many.point_milli == 3000
    assert few.low_milli < many.low_milli < 3000
    assert many.high_milli is not None
    assert many.high_milli > 3000
    assert few.high_milli is None or few.high_milli > many.high_milli


def test_no_control_failure_leaves_the_ratio_open_above() -> None:
    ratio = rate_ratio([tick(20, 0)])
    assert (ratio.point_milli, ratio.high_milli) == (None, None)
    assert ratio.low_milli > 1000


def test_pooled_sums() -> None:
    assert pooled([tick(1, 2, 3, 4), tick(10, 20, 30, 40)]) == tick(11, 22, 33, 44)


def test_bonferroni_shares_alpha() -> None:
    log_e = math.log(150)
    assert rejects(log_e, alpha_ppm=10_000)
    assert not rejects(log_e, alpha_ppm=10_000, hypotheses=2)


def test_peeking_at_every_tick_accuses_good_software_at_most_alpha_of_the_time() -> None:
    """A shock that triples both rates at night, and thirty looks: still at most 5 %, in 160 seeded fleets."""
    rng = random.Random(7)
    alarms = 0
    for _ in range(160):
        seen: list[Tick] = []
        for hour in range(30):
            rate = 0.03 if hour % 24 < 8 else 0.01
            k_t = sum(rng.random() < rate for _ in range(60))
            k_c = sum(rng.random() < rate for _ in range(60))
            seen.append(tick(k_t, k_c, 60, 60))
            if rejects(log_e_above(seen), alpha_ppm=50_000):
                alarms += 1
                break
    assert alarms <= 8
