"""First-pass yield: small counts are pooled, large ones speak for themselves, and what is believed is calibrated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.quality.pooling import log_gamma
from ringroad.build.quality.yields import CELLS_MAX, Level, Tally, Yields, fit_yields
from ringroad.kernel.errors import InvalidInput


def tally(station: str = "roof", *, vehicles: int, failed: int, lot: str = "A", variant: str = "v", software: str = "1") -> Tally:  # fmt: skip
    return Tally(
        station=station,
        variant=variant,
        software=software,
        lots=(("glass", lot),),
        vehicles=vehicles,
        failed=failed,
    )


def level(found: Yields, kind: str, value: str = "") -> Level:
    return next(each for each in found.levels if (each.kind, each.value) == (kind, value))


def world(seed: int, *, stations: int = 6, per_station: int = 3_000) -> tuple[list[Tally], list[float]]:
    """Return counts of a line, and the true rate of each; of two stations one lot is faulty."""
    draw = np.random.default_rng(seed)
    counts, truth = [], []
    for station in range(stations):
        base = math.exp(draw.normal(math.log(0.02), 0.5))
        lots = np.exp(draw.normal(0, 0.2, 8))
        lots[0] *= 6 if station < 2 else 1
        variants, share = np.exp(draw.normal(0, 0.3, 3)), draw.dirichlet(np.ones(24)).reshape(3, 8)
        for variant in range(3):
            for lot in range(8):
                vehicles, rate = (
                    int(1 + per_station * share[variant, lot]),
                    base * variants[variant] * lots[lot],
                )
                counts.append(
                    tally(
                        f"s{station}",
                        variant=f"v{variant}",
                        lot=f"l{lot}",
                        vehicles=vehicles,
                        failed=int(draw.binomial(vehicles, min(0.9, rate))),
                    )
                )
                truth.append(min(0.9, rate))
    return counts, truth


def log_loss(counts: list[Tally], truth: list[float], rates: list[float]) -> float:
    total = sum(
        each.vehicles * (p * math.log(rate) + (1 - p) * math.log(1 - rate))
        for each, p, rate in zip(counts, truth, rates, strict=True)
    )
    return -total / sum(each.vehicles for each in counts)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pooling_predicts_better_than_frequencies_and_its_intervals_cover(seed: int) -> None:
    counts, truth = world(seed)
    found = fit_yields(counts)
    pooled = log_loss(counts, truth, [each.belief.fails for each in found.cells])
    raw = log_loss(counts, truth, [(each.failed + 0.5) / (each.vehicles + 1) for each in counts])
    by_station = {
        station: sum(each.failed for each in counts if each.station == station)
        / sum(each.vehicles for each in counts if each.station == station)
        for station in {each.station for each in counts}
    }
    assert pooled < raw
    assert pooled < log_loss(counts, truth, [by_station[each.station] for each in counts])
    covered = [
        low <= 1 - rate <= high
        for (low, high), rate in zip((each.belief.between() for each in found.cells), truth, strict=True)
    ]
    assert 0.8 <= sum(covered) / len(covered) <= 0.99


def test_intervals_of_a_few_stations_cover_their_share() -> None:
    covered = []
    for seed in range(8):
        counts, truth = world(seed, stations=4, per_station=600)
        for each in fit_yields(counts).levels:
            if each.kind == "station":
                there = [
                    (c.vehicles, rate)
                    for c, rate in zip(counts, truth, strict=True)
                    if c.station == each.station
                ]
                rate = sum(n * rate for n, rate in there) / sum(n for n, _ in there)
                low, high = each.belief.between()
                covered.append(low <= 1 - rate <= high)
    assert sum(covered) / len(covered) >= 0.85


@pytest.mark.parametrize("failed", [20, 30, 60])
def test_a_bad_lot_at_one_station_says_next_to_nothing_of_another(failed: int) -> None:
    nine = tally("doors", vehicles=9, failed=0, lot="D")
    usual, bad = tally(vehicles=300, failed=3, lot="A"), tally(vehicles=200, failed=failed, lot="B")
    found, without = fit_yields([nine, usual, bad]), fit_yields([nine, usual])
    doors, before = (
        next(each.belief for each in fit.levels if (each.station, each.kind) == ("doors", "station"))
        for fit in (found, without)
    )
    assert before.fails / 2 < doors.fails < 2 * before.fails
    low, high = doors.between()
    assert high - low > 0.03  # nine vehicles do not know it better
    assert level(found, "lot", "glass=B").times > 4


def test_where_any_lot_may_be_bad_a_new_one_is_believed_less() -> None:
    good = [tally(lot=f"l{n}", vehicles=300, failed=3) for n in range(8)]
    faulty = [tally(lot=f"l{n}", vehicles=300, failed=45 if n % 2 else 3) for n in range(8)]
    new = tally(lot="new", vehicles=1, failed=0)
    steady, mixed = (
        level(fit_yields([*counts, new]), "lot", "glass=new").belief for counts in (good, faulty)
    )
    assert steady.fails < mixed.fails
    assert steady.between()[0] > mixed.between()[0]


def test_three_vehicles_of_a_lot_say_little_and_three_hundred_much() -> None:
    usual = [tally(lot=f"l{n}", vehicles=300, failed=6) for n in range(6)]
    few = fit_yields([*usual, tally(lot="X", vehicles=3, failed=1)])
    many = fit_yields([*usual, tally(lot="X", vehicles=300, failed=100)])
    assert level(few, "lot", "glass=X").belief.fails < 0.1
    assert level(many, "lot", "glass=X").belief.fails == pytest.approx(1 / 3, rel=0.15)
    assert level(many, "lot", "glass=X").times > 4


def test_a_faulty_lot_is_not_blamed_on_the_variant_that_got_it() -> None:
    counts = [
        tally(
            variant=variant,
            lot=lot,
            vehicles=vehicles,
            failed=vehicles // 50 if lot == "A" else vehicles // 5,
        )
        for variant, lot, vehicles in (("v", "A", 500), ("w", "A", 500), ("v", "B", 100), ("w", "B", 500))
    ]
    found = fit_yields(counts)
    assert level(found, "lot", "glass=B").times > 2 * level(found, "variant", "w").times


def test_stations_that_look_alike_are_no_surer_than_all_failures_together_make_them() -> None:
    found = fit_yields([tally("a", vehicles=600, failed=37), tally("b", vehicles=700, failed=43)])
    low, high = level(found, "station").belief.between()
    assert high - low > 0.015
    assert found.rolled[2] - found.rolled[1] > 0.02


def test_rolled_yield_is_the_product_of_the_stations() -> None:
    found = fit_yields([tally(f"s{n}", vehicles=1_000, failed=20) for n in range(5)])
    product, low, high = found.rolled
    assert product == pytest.approx(0.98**5, abs=0.005)
    assert low < product < high <= 1


def test_the_interval_of_the_rolled_yield_covers_where_stations_are_unsure_of_their_mean_together() -> None:
    covered = 0
    for seed in range(12):
        draw = np.random.default_rng(seed)
        counts = [tally(f"s{n}", vehicles=45, failed=int(draw.binomial(45, 0.02))) for n in range(20)]
        _, low, high = fit_yields(counts).rolled
        covered += low <= 0.98**20 <= high
    assert covered >= 10


def test_the_rolled_yield_of_one_station_is_as_sure_as_the_station() -> None:
    found = fit_yields([tally(vehicles=300, failed=9)])
    assert found.rolled[1:] == pytest.approx(level(found, "station").belief.between())


def test_what_is_not_counted_is_not_believed() -> None:
    assert fit_yields([]).levels == ()
    with pytest.raises(InvalidInput, match="roof: 3 of 2 vehicles cannot have failed"):
        tally(vehicles=2, failed=3)
    with pytest.raises(InvalidInput, match=f"limit {CELLS_MAX}"):
        fit_yields([tally(vehicles=1, failed=0)] * (CELLS_MAX + 1))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400)), min_size=1, max_size=12))
def test_any_counts_give_shares_with_their_belief_inside(given_counts: list[tuple[int, int]]) -> None:
    counts = [
        tally(
            lot=f"l{n}",
            variant=f"v{n % 2}",
            software=str(n % 3),
            vehicles=vehicles,
            failed=min(vehicles, failed),
        )
        for n, (vehicles, failed) in enumerate(given_counts)
    ]
    found = fit_yields(counts)
    for belief in [*(each.belief for each in found.levels), *(each.belief for each in found.cells)]:
        low, high = belief.between()
        assert 0 <= low <= belief.first_pass <= high <= 1


def test_the_gamma_function_is_the_standard_librarys() -> None:
    points = np.array([1e-5, 0.3, 1.0, 7.9, 8.0, 100.0, 1e6])
    assert log_gamma(points) == pytest.approx([math.lgamma(x) for x in points], rel=1e-9, abs=1e-8)
