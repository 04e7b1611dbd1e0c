"""A clone begins with what its parents know, learns from its own cycles, and notices where it is no clone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ringroad.build.clone.inherit import inherit
from ringroad.build.clone.learn import Clone, belief_of, learn
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import (
    Origin,
    Posterior,
    observed_times,
    stated_rate,
    stated_share,
    stated_time,
)
from ringroad.kernel.errors import InvalidInput

HERE = Origin(plant="north")
KEYS = [Key(("assembly", "Line 1", f"station {at}"), "cycle_s") for at in range(20)]
TRUE_S = np.exp(np.random.default_rng(4).normal(math.log(60), 0.3, len(KEYS)))


def cycles(mean_s: float, n: int, *, seed: int) -> Posterior:
    draw = np.random.default_rng(seed)
    return observed_times(mean_s * np.exp(draw.normal(0, 0.2, n)), origin=HERE)


def parents(count: int = 3) -> dict[str, dict[Key, Posterior]]:
    return {
        f"plant {number}": {
            key: cycles(mean_s, 400, seed=100 * number + at)
            for at, (key, mean_s) in enumerate(zip(KEYS, TRUE_S, strict=True))
        }
        for number in range(count)
    }


def cloned(n: int, *, factors: dict[int, float] | None = None, slower: float = 1.0) -> Clone:
    own = {
        key: cycles(mean_s * slower * (factors or {}).get(at, 1.0), n, seed=9_000 + at)
        for at, (key, mean_s) in enumerate(zip(KEYS, TRUE_S, strict=True))
    }
    return learn(inherit(parents(), KEYS), own)


def error(found: Clone) -> float:
    return math.sqrt(
        sum((each.centre - math.log(mean_s)) ** 2 for each, mean_s in zip(found.learned, TRUE_S, strict=True))
        / len(KEYS)
    )


def test_how_much_slower_the_whole_plant_is_is_said_with_how_sure_that_is() -> None:
    nothing, few, many = (
        cloned(n, slower=1.1) if n else learn(inherit(parents(), KEYS), {}) for n in (0, 2, 60)
    )
    spans = [each.plant_high - each.plant_low for each in (nothing, few, many)]
    assert spans[0] > 2 * spans[1] > 2 * spans[2] > 0
    for each in (few, many):
        assert each.plant_low < each.plant < each.plant_high
        assert each.plant_low < math.log(1.1) < each.plant_high
    prior = math.sqrt(inherit(parents(), KEYS).plant_variance)
    assert nothing.plant_high == pytest.approx(1.645 * prior, rel=0.05) == -nothing.plant_low


@pytest.mark.parametrize("stations", [1, 2, 3, 20])
@pytest.mark.parametrize("vehicles", [1, 5, 20])
def test_a_few_good_vehicles_say_little_of_the_whole_plant(stations: int, vehicles: int) -> None:
    keys = [Key(key.path, "first_pass") for key in KEYS[:stations]]
    inheritance = inherit({"mother": {key: stated_share(0.97, n=1_200) for key in keys}}, keys)
    all_good = Posterior(family="share", n=vehicles, total=vehicles, origin=HERE)
    found, nothing = (learn(inheritance, own) for own in (dict.fromkeys(keys, all_good), {}))
    assert found.plant_low < nothing.plant < found.plant < found.plant_high
    expected = (
        stations * vehicles * 0.03
    )  # bad ones of as many vehicles; their lack is that much evidence of odds
    assert found.plant <= 1.1 * expected * inheritance.plant_variance
    assert found.plant_high - found.plant_low > 0.8 * (nothing.plant_high - nothing.plant_low)


def test_before_its_first_vehicle_a_clone_believes_what_its_parents_have_in_common() -> None:
    found = learn(inherit(parents(), KEYS), {})
    assert error(found) < 0.03
    assert all(
        each.low < math.log(mean_s) < each.high for each, mean_s in zip(found.learned, TRUE_S, strict=True)
    )
    assert all(each.own_n == 0 and not each.is_different for each in found.learned)
    assert all(each.high - each.low > 0.2 for each in found.learned), (
        "nobody knows yet how fast it is as a whole"
    )


def test_two_cycles_of_a_clone_are_worth_more_than_two_cycles() -> None:
    alone = math.sqrt(
        sum((cycles(s, 2, seed=9_000 + at).log_mean - math.log(s)) ** 2 for at, s in enumerate(TRUE_S))
        / len(KEYS)
    )
    assert error(cloned(2)) < alone / 2


def test_a_station_that_was_changed_is_noticed_and_believes_its_own_cycles() -> None:
    found = cloned(10, factors={3: 2.0})
    assert [at for at, each in enumerate(found.learned) if each.is_different] == [3]
    changed = found.learned[3]
    assert changed.centre == pytest.approx(math.log(2 * TRUE_S[3]), abs=0.15)
    assert changed.low < math.log(2 * TRUE_S[3]) < changed.high
    assert changed.inherited == pytest.approx(math.log(TRUE_S[3]), abs=0.1)


def test_a_plant_that_is_slower_as_a_whole_has_no_different_station() -> None:
    found = cloned(10, slower=1.3)
    assert found.plant == pytest.approx(math.log(1.3), abs=0.08)
    assert not any(each.is_different for each in found.learned)


def test_a_plant_that_is_no_clone_widens_what_it_believes_of_stations_it_never_saw() -> None:
    draw = np.random.default_rng(11)
    factors = {at: float(math.exp(draw.normal(0, 0.5))) for at in range(19)}
    own = {key: cycles(TRUE_S[at] * factors[at], 30, seed=9_000 + at) for at, key in enumerate(KEYS[:19])}
    other = learn(inherit(parents(), KEYS), own).learned[19]
    alike = {key: cycles(TRUE_S[at], 30, seed=9_000 + at) for at, key in enumerate(KEYS[:19])}
    clone = learn(inherit(parents(), KEYS), alike).learned[19]
    assert other.high - other.low > 2 * (clone.high - clone.low)


def test_much_of_its_own_outweighs_everything_inherited() -> None:
    found = cloned(2_000, factors=dict.fromkeys(range(0, 20, 2), 1.5))
    for at, each in enumerate(found.learned):
        assert each.centre == pytest.approx(math.log(TRUE_S[at] * (1.5 if at % 2 == 0 else 1)), abs=0.03)


def test_one_parent_is_believed_less_than_three() -> None:
    one = learn(inherit(parents(1), KEYS), {}).learned[0]
    three = learn(inherit(parents(3), KEYS), {}).learned[0]
    assert one.high - one.low > three.high - three.low


@pytest.mark.parametrize(
    ("family", "beliefs"),
    [
        ("share", [stated_share(0.95, n=400), stated_share(0.93, n=300)]),
        ("rate", [stated_rate(36_000, n=40), stated_rate(40_000, n=30)]),
        ("time", [stated_time(60, n=400), stated_time(63, n=300)]),
    ],
)
def test_shares_rates_and_times_are_all_inherited(family: str, beliefs: list[Posterior]) -> None:
    inheritance = inherit({str(at): {KEYS[0]: each} for at, each in enumerate(beliefs)}, KEYS[:1])
    learned = learn(inheritance, {}).learned[0]
    belief = belief_of(
        learned, like=beliefs[0], noise=float(inheritance.noise[0]), parents=inheritance.parents
    )
    assert belief.family == family
    assert (
        min(each.mean for each in beliefs) * 0.98 <= belief.mean <= max(each.mean for each in beliefs) * 1.02
    )
    assert belief.n < min(each.n for each in beliefs), "a clone knows less than each of its parents"


def test_a_belief_of_a_document_says_the_same_as_what_was_learned() -> None:
    inheritance = inherit(parents(), KEYS)
    own = {KEYS[0]: cycles(70, 5, seed=1)}
    learned = learn(inheritance, own).learned[0]
    belief = belief_of(
        learned, like=own[KEYS[0]], noise=float(inheritance.noise[0]), parents=inheritance.parents
    )
    assert belief.log_mean == pytest.approx(learned.centre)
    assert belief.error_variance == pytest.approx(learned.variance, rel=1e-6)
    assert "5 of its own" in belief.origin.evidence


def test_what_no_parent_has_or_nobody_inherited_is_refused() -> None:
    unknown = Key(("assembly", "Line 1", "new"), "cycle_s")
    with pytest.raises(InvalidInput, match="no parent has assembly/Line 1/new#cycle_s"):
        inherit(parents(), [*KEYS, unknown])
    with pytest.raises(InvalidInput, match="assembly/Line 1/new#cycle_s was not inherited"):
        learn(inherit(parents(), KEYS), {unknown: cycles(60, 3, seed=1)})
    mixed = {"a": {KEYS[0]: stated_time(60), KEYS[1]: stated_share(0.9)}}
    with pytest.raises(InvalidInput, match="several families"):
        inherit(mixed, KEYS[:2])


def test_a_parent_that_has_none_of_the_parameters_says_nothing_of_them() -> None:
    other = {Key(("assembly", "Line 9", "paint"), "cycle_s"): cycles(60.0, 50, seed=1)}
    found = inherit({**parents(), "press shop": other}, KEYS)
    alone = inherit(parents(), KEYS)
    assert found.parents == alone.parents
    assert np.array_equal(found.centre, alone.centre)
    assert (found.plant_variance, found.transfer_variance) == (alone.plant_variance, alone.transfer_variance)
    with pytest.raises(InvalidInput, match="no parent has"):
        inherit({"press shop": other}, KEYS)


def shares(n: int, *, seed: int = 5) -> tuple[float, float]:
    """Return how many 90 % intervals of a clone's first passes hold the truth, and their mean error."""
    draw = np.random.default_rng([seed, n])
    keys = [Key(("assembly", "Line 1", f"station {at}"), "first_pass") for at in range(40)]
    logits = draw.normal(3.9, 0.6, 40) + draw.normal(0, 0.2, 5)[:, None] + draw.normal(0, 0.15, (5, 40))
    good = [
        draw.binomial(trials, 1 / (1 + np.exp(-row)))
        for row, trials in zip(logits, [20_000] * 4 + [n], strict=True)
    ]
    beliefs = [
        {
            key: Posterior(family="share", n=trials, total=float(each), origin=Origin())
            for key, each in zip(keys, row, strict=True)
        }
        for row, trials in zip(good, [20_000] * 4 + [n], strict=True)
    ]
    found = learn(
        inherit({f"plant {at}": each for at, each in enumerate(beliefs[:4])}, keys), beliefs[4]
    ).learned
    truth = 1 / (1 + np.exp(-logits[4]))
    held = np.mean([each.low <= real <= each.high for each, real in zip(found, logits[4], strict=True)])
    error = np.mean([1 / (1 + np.exp(-each.centre)) - real for each, real in zip(found, truth, strict=True)])
    return float(held), float(error)


@pytest.mark.parametrize("n", [1, 3, 10, 100])
def test_a_few_good_vehicles_do_not_make_a_clone_believe_in_bad_ones(n: int) -> None:
    held, error = shares(n)
    assert held >= 0.8
    assert abs(error) < 0.01
