"""What counts as a good forecast, and why absolute errors do not."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ringroad.signal.demand import empirical
from ringroad.signal.demand.panel import ATOMS, Floats
from ringroad.signal.demand.score import StockCost, grade, losses, skill, wql
from support.shared_data import shared_data


def rare(seed: int, series: int = 200, months: int = 48) -> Floats:
    """Parts of which seven months in ten want none."""
    draw = np.random.default_rng(seed)
    return np.where(draw.random((series, months)) < 0.3, draw.poisson(2.0, (series, months)) + 1.0, 0.0)


def sure(values: Floats) -> Floats:
    """A forecast that is certain of its values."""
    return np.repeat(values[:, :, None], ATOMS, axis=2)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_at_all_wins_by_absolute_error_and_loses_by_what_is_graded(seed: int) -> None:
    units = rare(seed)
    known, came = units[:, :36], units[:, 36:]
    nothing, floor = (
        grade(came, empirical.zero(known, 12), known),
        grade(came, empirical.window(known, 12), known),
    )
    assert nothing.mase <= floor.mase
    assert nothing.wape <= floor.wape
    assert floor.wql < nothing.wql
    assert floor.rmse < nothing.rmse
    assert floor.cumulative < nothing.cumulative
    assert abs(floor.bias) < abs(nothing.bias)
    assert floor.stock_cost < nothing.stock_cost


def test_published_scores_of_part_sales_come_out() -> None:
    """Source: the evaluation of Chronos has 1.59995 for last year's month on the same data and split."""
    with (shared_data("carparts") / "carparts_wide.csv").open(encoding="ascii", newline="") as stream:
        rows = list(csv.reader(stream))[1:]
    units = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows]).T
    known, came = units[:, :-12], units[:, -12:]
    assert wql(came, empirical.seasonal_naive(known, 12)) == pytest.approx(1.59995, abs=1e-4)
    assert wql(came, empirical.zero(known, 12)) == pytest.approx(1.0)
    assert wql(came, empirical.window(known, 12)) == pytest.approx(0.8925, abs=1e-4)


def test_what_came_true_costs_nothing() -> None:
    came = np.array([[3.0, 0.0, 5.0]])
    found = grade(came, sure(came), np.array([[1.0, 2.0, 1.0]]))
    assert (found.wql, found.rmse, found.cumulative, found.bias, found.stock_cost, found.wape) == (
        0,
        0,
        0,
        0,
        0,
        0,
    )


def test_a_unit_missed_costs_its_shortage_and_one_too_many_its_holding() -> None:
    came, past = np.array([[10.0]]), np.array([[1.0, 2.0]])
    cost = StockCost(holding=1.0, shortage=4.0)
    assert grade(came, sure(came - 1), past, cost).stock_cost == pytest.approx(4.0 / 10)
    assert grade(came, sure(came + 1), past, cost).stock_cost == pytest.approx(1.0 / 10)


def test_months_that_are_not_known_are_not_scored() -> None:
    came = np.array([[1.0, np.nan]])
    assert wql(came, sure(np.array([[1.0, 99.0]]))) == 0.0
    assert grade(came, sure(np.array([[1.0, 99.0]])), came).cumulative == 0.0


@pytest.mark.parametrize(
    ("loss", "reference", "expected"), [(0.5, 1.0, 0.5), (2.0, 1.0, -1.0), (0.0, 0.0, 0.0), (0.1, 0.0, -1.0)]
)
def test_skill_is_what_is_saved_of_the_reference(loss: float, reference: float, expected: float) -> None:
    assert skill(loss, reference) == expected


def test_a_forecast_that_moves_away_from_what_came_loses_more() -> None:
    came = np.full((1, 1), 5.0)
    off = [float(losses(came, sure(came + by))[0]) for by in (0.0, 1.0, 2.0, 3.0)]
    assert off == sorted(off)
    assert off[0] < off[1]
