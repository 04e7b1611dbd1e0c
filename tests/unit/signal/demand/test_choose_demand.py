"""What is chosen for a series, and what it is chosen from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ringroad.signal.demand.candidates import FLOOR, PLAIN, candidates
from ringroad.signal.demand.choose import choose, forecast_chosen, origins_of, weigh
from ringroad.signal.demand.empirical import faded, seasonal_naive, window
from ringroad.signal.demand.panel import DECILES, Floats, quantiles
from ringroad.signal.demand.score import wql


def dying(series: int = 40, months: int = 36) -> Floats:
    """Parts whose demand fades away."""
    draw = np.random.default_rng(1)
    return draw.poisson(30 * 0.9 ** np.arange(months), (series, months)).astype(float)


def test_a_window_has_the_quantiles_of_its_months() -> None:
    units = np.arange(24.0)[None, :]
    assert quantiles(window(units, 2), DECILES)[0, 1] == pytest.approx(np.quantile(units[0, -12:], DECILES))


def test_what_fades_counts_recent_months_more() -> None:
    units = np.concatenate([np.full((1, 24), 10.0), np.zeros((1, 8))], axis=1)
    means = [float(faded(units, 1, half_life=half).mean()) for half in (2.0, 8.0, 64.0)]
    assert means == sorted(means)
    assert means[0] < 1 < means[1]


def test_months_before_a_series_began_are_left_out() -> None:
    units = np.array([[np.nan, np.nan, 4.0, 6.0]])
    assert window(units, 1).min() >= 4.0
    assert faded(units, 1, half_life=4.0).min() == 4.0


def test_a_series_that_never_was_is_expected_to_stay_nothing() -> None:
    units = np.full((2, 24), np.nan)
    for name, forecast in candidates().items():
        assert not forecast(units, 3).any(), name


def test_last_year_is_the_naive_forecast() -> None:
    units = np.arange(24.0)[None, :]
    assert seasonal_naive(units, 14)[0, :, 0].tolist() == [*range(12, 24), 12, 13]


def test_all_candidates_give_sorted_values_that_are_not_negative_and_the_same_again() -> None:
    draw = np.random.default_rng(2)
    units = draw.poisson(3.0, (6, 40)).astype(float)
    for name, forecast in candidates().items():
        atoms = forecast(units, 4)
        assert atoms.shape == (6, 4, 100), name
        assert (np.diff(atoms, axis=2) >= -1e-9).all(), name
        assert (atoms >= 0).all(), name
        assert (atoms == forecast(units, 4)).all(), name


def test_the_models_are_among_the_candidates_of_a_machine_that_has_them() -> None:
    assert {"IMAPA", "TSB", "ADIDA", "theta", FLOOR} <= set(candidates())


def test_demand_that_dies_is_not_left_to_the_floor() -> None:
    units = dying()
    known, came = units[:, :30], units[:, 30:]
    choice = choose(known, 6, PLAIN)
    found = forecast_chosen(known, 6, PLAIN, choice.weights)
    assert wql(came, found) < wql(came, window(known, 6))
    assert choice.weights[:, choice.names.index(FLOOR)].max() < 0.05
    assert choice.told(0) in {"last 6 months 100 %", "faded, half in 4 months 100 %"}


def test_a_season_is_seen_where_the_models_are_installed() -> None:
    draw = np.random.default_rng(3)
    level = 50 + 40 * np.sin(np.arange(60) * 2 * np.pi / 12)
    units = draw.poisson(level, (8, 60)).astype(float)
    offered = {
        name: each for name, each in candidates().items() if name in {FLOOR, "theta", "seasonal smoothed"}
    }
    choice = choose(units[:, :48], 12, offered)
    found = forecast_chosen(units[:, :48], 12, offered, choice.weights)
    assert choice.weights[:, choice.names.index(FLOOR)].max() == 0.0
    assert wql(units[:, 48:], found) < 0.7 * wql(units[:, 48:], window(units[:, :48], 12))


def test_what_comes_after_the_known_months_changes_no_choice() -> None:
    units = dying()
    later = units.copy()
    later[:, 30:] = 1_000.0
    assert (choose(units[:, :30], 6, PLAIN).weights == choose(later[:, :30], 6, PLAIN).weights).all()


@pytest.mark.parametrize("months", [1, 6, 12])
def test_too_few_months_to_validate_leave_the_floor_alone(months: int) -> None:
    choice = choose(dying(months=months), 6, PLAIN)
    assert choice.origins == ()
    assert choice.told(0) == f"{FLOOR} 100 %"


@pytest.mark.parametrize(
    ("months", "horizon", "expected"),
    [(39, 12, (27, 24, 21, 18)), (24, 12, (16, 13)), (48, 3, (45, 42, 39, 36)), (12, 6, ()), (14, 1, (13,))],
)
def test_origins_leave_months_to_train_on_and_to_score(
    months: int, horizon: int, expected: tuple[int, ...]
) -> None:
    assert origins_of(months, horizon) == expected


@given(arrays(float, (5, 4), elements=st.floats(0, 1e6)), st.sampled_from([1.0, 4.0, 16.0]))
@settings(max_examples=60, deadline=None)
def test_weights_are_shares(found: Floats, pooled: float) -> None:
    names = (FLOOR, "b", "c", "d")
    weights = weigh(names, found, pooled)
    assert weights.sum(axis=1) == pytest.approx(1.0)
    assert (weights >= 0).all()


def test_a_candidate_that_lost_less_weighs_more_and_of_one_that_lost_far_more_nothing_is_taken() -> None:
    names = (FLOOR, "b", "c")
    shares = [weigh(names, np.array([[100.0, loss, 150.0]]), 1.0)[0] for loss in (101.0, 100.0, 99.0, 90.0)]
    assert [share[1] for share in shares] == sorted(share[1] for share in shares)
    assert shares[-1].tolist() == [0.0, 1.0, 0.0]
