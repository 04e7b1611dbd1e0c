"""Sums that fit their parts, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.signal.demand.block import (
    Block,
    block_of,
    forecast_block,
    forecasted_of,
    level_of,
    to_bytes,
    work,
)
from ringroad.signal.demand.candidates import PLAIN
from ringroad.signal.demand.hierarchy import couple, parts_of, reconciled, summed, sums_of
from ringroad.signal.demand.panel import ALL, ATOMS, Floats, Key, quantiles
from ringroad.signal.demand.score import StockCost
from ringroad.signal.demand.signals import Booked, Regressor

KEYS = tuple(
    Key("tow_bar", plant, region, model)
    for plant in ("north", "south") for region in ("CN", "EU") for model in ("suv", "van")
)  # fmt: skip


def market(seed: int = 1, months: int = 48, *, together: float = 0.3) -> Floats:
    """Series with a season, that rise and fall together."""
    draw = np.random.default_rng(seed)
    common = (1 + 0.4 * np.sin(np.arange(months) * np.pi / 6)) * np.exp(draw.normal(0, together, months))
    return np.stack([draw.poisson(draw.uniform(2, 20) * common) for _ in KEYS]).astype(float)


def block(
    units: Floats,
    *,
    horizon: int = 4,
    booked: tuple[Booked, ...] = (),
    regressors: tuple[Regressor, ...] = (),
) -> Block:
    return Block(
        keys=KEYS[: len(units)],
        units=units,
        horizon=horizon,
        cost=StockCost(),
        booked=booked,
        regressors=regressors,
    )


def test_every_dimension_may_be_summed_over_and_nothing_is_summed_twice() -> None:
    sums = sums_of(KEYS)
    assert sums[0] == Key("tow_bar", ALL, ALL, ALL)
    assert len(sums) == 3**3 - len(KEYS)
    assert len(set(sums)) == len(sums)
    assert sums_of(KEYS[:1]) == ()
    assert [level_of(key) for key in (sums[0], KEYS[0])] == ["all", "plant × region × model"]


@given(seed=st.integers(0, 1000), count=st.integers(1, 8), months=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_every_sums_samples_are_the_sums_of_its_parts(seed: int, count: int, months: int) -> None:
    draw = np.random.default_rng(seed)
    units = np.where(draw.random((count, months)) < 0.5, draw.poisson(4.0, (count, months)), 0.0)
    booked = (Booked(key=Key("tow_bar", ALL, ALL, ALL), ahead=0, units=50.0, elapsed=0.5),)
    found = forecast_block(block(units, horizon=3, booked=booked), PLAIN)
    leaves = found.samples[: found.series]
    assert (found.samples >= 0).all()
    for key, samples in zip(found.keys[found.series :], found.samples[found.series :], strict=True):
        parts = [row for row, leaf in enumerate(found.keys[: found.series]) if key.covers(leaf)]
        assert samples == pytest.approx(leaves[parts].sum(axis=0))


def test_what_rises_together_is_wider_as_a_sum_than_what_does_not() -> None:
    draw = np.random.default_rng(5)
    common = draw.normal(0, 1, 36)
    together = np.stack([50 + 10 * common for _ in KEYS])
    apart = np.stack([50 + 10 * draw.permutation(common) for _ in KEYS])
    widths = []
    for units in (together, apart):
        marginal = np.sort(np.stack([np.quantile(row, (np.arange(ATOMS) + 0.5) / ATOMS) for row in units]))[
            :, None, :
        ]
        total = couple(KEYS, units, marginal).sum(axis=0)[0]
        widths.append(float(np.quantile(total, 0.9) - np.quantile(total, 0.1)))
    assert widths[0] > 1.5 * widths[1]


def test_coupling_changes_no_series_own_distribution() -> None:
    units = market()
    atoms = np.sort(np.random.default_rng(3).random((len(KEYS), 3, ATOMS)))
    assert (np.sort(couple(KEYS, units, atoms)) == atoms).all()


def test_series_are_scaled_towards_a_sum_that_is_surer_than_they_are() -> None:
    leaves = KEYS[:2]
    sums = sums_of(leaves)
    parts = parts_of(sums, leaves)
    spread = np.linspace(0, 20, ATOMS)
    leaf_atoms = np.stack([spread, spread])[:, None, :]
    sum_atoms = np.full((1, 1, ATOMS), 40.0)
    ratio = reconciled(parts, leaf_atoms, sum_atoms)
    assert (ratio * leaf_atoms.mean(axis=2)).sum() == pytest.approx(40.0, rel=0.01)
    assert reconciled(parts, leaf_atoms, leaf_atoms.sum(axis=0)[None]) == pytest.approx(1.0)


def test_a_sum_begins_with_its_first_part() -> None:
    units = np.array([[np.nan, np.nan, 1.0], [np.nan, 2.0, 3.0]])
    assert np.array_equal(summed(np.ones((1, 2)), units), [[np.nan, 2.0, 4.0]], equal_nan=True)


def test_every_level_is_graded_beside_the_floor_and_last_years_month() -> None:
    found = forecast_block(block(market()), PLAIN)
    assert set(found.levels) == {
        "all", "plant", "region", "model", "plant × region", "plant × model", "region × model",
        "plant × region × model",
    }  # fmt: skip
    for grades in found.levels.values():
        assert set(grades) == {"model", "floor", "naive"}
        assert set(grades["model"]) == {"wql", "rmse", "cumulative", "bias", "stock_cost", "mase", "wape"}


def test_no_model_is_shown_where_it_has_no_skill_and_the_floor_stands_there() -> None:
    draw = np.random.default_rng(8)
    units = draw.poisson(5.0, (8, 48)).astype(float)  # nothing to be learned
    units[0, 42:] = 100.0  # what no model could have seen
    found = forecast_block(block(units), PLAIN)
    for row, told in enumerate(found.told[: found.series]):
        assert told["skilled"] == (min(told["skill"].values()) > 0)
        if not told["skilled"]:
            months = units[row, -12:]
            floor = quantiles(np.sort(found.samples[row, 0]), [0.1, 0.5, 0.9])
            assert floor == pytest.approx(np.quantile(months, [0.1, 0.5, 0.9]), abs=0.2)
    assert any(not told["skilled"] for told in found.told[: found.series])


def test_too_few_months_are_not_graded_and_have_the_floor() -> None:
    found = forecast_block(block(market(months=10)), PLAIN)
    assert found.levels == {}
    assert all(not told["graded"] and told["chosen"] == "last 12 months 100 %" for told in found.told)


def test_what_cannot_be_graded_is_not_shown_though_validation_chose_it() -> None:
    units = np.repeat(
        np.arange(20.0)[None, :] ** 2, 8, axis=0
    )  # the last months tell more than the year does
    found = forecast_block(block(units), PLAIN)
    assert all(not told["graded"] for told in found.told)
    assert found.told[0]["chosen"] != "last 12 months 100 %"
    shown = quantiles(np.sort(found.samples[0, 0]), [0.1, 0.5, 0.9])
    assert shown == pytest.approx(np.quantile(units[0, -12:], [0.1, 0.5, 0.9]), rel=0.05)


def test_a_block_goes_through_bytes_without_loss_and_gives_the_same_bytes_again() -> None:
    units = market(months=24)
    units[0, :3] = np.nan
    given_block = block(
        units, booked=(Booked(key=KEYS[0], ahead=1, units=3.0, elapsed=0.0),),
        regressors=(Regressor(kind="clicks", key=KEYS[1], values=tuple(map(float, range(25)))),),
    )  # fmt: skip
    back = block_of(to_bytes(given_block))
    assert np.array_equal(back.units, units, equal_nan=True)
    assert (back.keys, back.booked, back.regressors, back.cost) == (
        given_block.keys, given_block.booked, given_block.regressors, given_block.cost,
    )  # fmt: skip
    first, second = work(to_bytes(given_block)), work(to_bytes(back))
    assert first == second
    assert forecasted_of(first).samples.shape == (27, 4, ATOMS)
