"""What signals do to a forecast, and when a change is told."""

from __future__ import annotations

import numpy as np
import pytest

from ringroad.signal.demand.block import Block, forecast_block
from ringroad.signal.demand.candidates import PLAIN
from ringroad.signal.demand.panel import ALL, ATOMS, Floats, Key
from ringroad.signal.demand.score import StockCost, wql
from ringroad.signal.demand.shift import SHIFTS_MAX, find_shifts
from ringroad.signal.demand.signals import Booked, Regressor, order_ratio, regressions, update_by_orders

KEYS = (Key("tow_bar", "north", "EU", "city"), Key("tow_bar", "south", "EU", "city"))
WHOLE = Key("tow_bar", ALL, ALL, ALL)


def followed(months: int = 48) -> tuple[Floats, tuple[float, ...]]:
    """Demand that follows clicks a month later, and clicks of one month more."""
    draw = np.random.default_rng(4)
    level = np.exp(np.cumsum(draw.normal(0, 0.25, months + 1)))
    clicks = 1_000 * level
    units = np.stack([draw.poisson(40 * np.concatenate([[1.0], level[: months - 1]])) for _ in KEYS]).astype(
        float
    )
    return units, tuple(float(each) for each in clicks)


def test_clicks_that_demand_followed_are_a_candidate_that_validation_believes() -> None:
    units, clicks = followed()
    told = Regressor(kind="clicks", key=WHOLE, values=clicks[: units.shape[1]])
    offered = regressions(KEYS, [told], 47)
    moved = offered["moved by clicks"](units[:, :47], 1)
    plain = PLAIN["faded, half in 8 months"](units[:, :47], 1)
    came = units[:, 47:48]
    assert wql(came, moved) < wql(came, plain)
    block = Block(keys=KEYS, units=units, horizon=2, cost=StockCost(), regressors=(told,))
    names = [each["name"] for each in forecast_block(block, PLAIN).told[0]["candidates"]]
    assert "moved by clicks" in names


@pytest.mark.parametrize(
    "values",
    [(), (5.0,) * 10, (float("nan"),) * 48, (7.0,) * 48, (0.0,) * 48],
    ids=["nothing", "too short", "unknown", "constant", "zero"],
)
def test_a_signal_without_a_history_or_a_relation_moves_nothing(values: tuple[float, ...]) -> None:
    units, _ = followed()
    offered = regressions(KEYS, [Regressor(kind="usage", key=WHOLE, values=values)], units.shape[1])
    plain = PLAIN["faded, half in 8 months"](units, 2)
    for forecast in offered.values():
        assert forecast(units, 2) == pytest.approx(plain)


def test_a_signal_that_ended_long_ago_moves_nothing_now() -> None:
    units, clicks = followed()
    ended = Regressor(kind="clicks", key=WHOLE, values=clicks[:30])
    forecast = regressions(KEYS, [ended], units.shape[1])["moved by clicks"]
    assert forecast(units, 2) == pytest.approx(PLAIN["faded, half in 8 months"](units, 2))


def test_a_signal_about_others_is_no_candidate() -> None:
    other = Regressor(kind="clicks", key=Key("sunroof", ALL, ALL, ALL), values=(1.0,) * 48)
    assert regressions(KEYS, [other], 48) == {}


def test_orders_move_a_month_towards_them_and_later_months_less() -> None:
    samples = np.random.default_rng(1).gamma(25, 4, (2, 4, ATOMS))  # about 100 each
    found = update_by_orders(KEYS, samples, [Booked(key=WHOLE, ahead=0, units=250.0, elapsed=0.5)])
    ratio = found.sum(axis=(0, 2)) / samples.sum(axis=(0, 2))
    assert ratio[0] > ratio[1] > ratio[2] > ratio[3] > 1.0
    fewer = update_by_orders(KEYS, samples, [Booked(key=WHOLE, ahead=0, units=20.0, elapsed=0.9)])
    assert fewer[:, 0].sum() < samples[:, 0].sum()


def test_no_draw_is_below_what_is_ordered_already() -> None:
    samples = np.random.default_rng(1).gamma(25, 4, (2, 2, ATOMS))
    found = update_by_orders(KEYS, samples, [Booked(key=WHOLE, ahead=1, units=230.0, elapsed=0.0)])
    assert found[:, 1].sum(axis=0).min() >= 230.0 - 1e-6
    assert (found[:, 0] == samples[:, 0]).all()
    nothing = update_by_orders(
        KEYS, np.zeros((2, 2, ATOMS)), [Booked(key=WHOLE, ahead=0, units=3.0, elapsed=0.4)]
    )
    assert nothing[:, 0].sum(axis=0) == pytest.approx(3.0)


@pytest.mark.parametrize("ahead", [-1, 2, 99])
def test_orders_of_months_that_are_not_forecast_change_nothing(ahead: int) -> None:
    samples = np.ones((2, 2, ATOMS))
    booked = [Booked(key=WHOLE, ahead=ahead, units=50.0, elapsed=0.5)]
    assert (update_by_orders(KEYS, samples, booked) == samples).all()


def test_orders_as_expected_change_next_to_nothing() -> None:
    prior = np.random.default_rng(2).gamma(25, 4, ATOMS)
    assert order_ratio(prior, prior.mean() * 0.5, 0.5) == pytest.approx(1.0)


def test_a_change_is_told_only_beyond_what_was_likely_and_worth_it() -> None:
    old = np.random.default_rng(3).normal(100, 10, (3, ATOMS))
    key, sure = KEYS[0], np.full((3, ATOMS), 100.0)
    assert find_shifts({key: old}, {key: old + 1}, moved_on=0) == []
    assert find_shifts({key: sure}, {key: sure * 1.05}, moved_on=0) == [], "certain, and too little to act on"
    found = find_shifts({key: old}, {key: old * 1.5}, moved_on=1)
    assert [(each.key, each.months) for each in found] == [(key, 2)]
    assert found[0].to_document()["change_permille"] == pytest.approx(500, abs=60)
    assert find_shifts({key: old}, {key: old * 9}, moved_on=3) == [], "no month that both know"
    assert find_shifts({}, {key: old}, moved_on=0) == []


def test_only_the_largest_changes_are_told() -> None:
    keys = [Key("tow_bar", f"p{number}", "EU", "city") for number in range(SHIFTS_MAX + 5)]
    old = {key: np.full((1, ATOMS), 100.0) for key in keys}
    new = {key: np.full((1, ATOMS), 200.0 + number) for number, key in enumerate(keys)}
    found = find_shifts(old, new, moved_on=0)
    assert len(found) == SHIFTS_MAX
    assert found[0].key == keys[-1]
