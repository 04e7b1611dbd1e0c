"""A plant that is nobody's clone adds up what it believed and what it measured, unless they contradict each other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.build.clone.plants import remember_plant
from ringroad.build.clone.remember import ALONE_N_MIN, remember
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior, observed_times, stated_share, stated_time
from ringroad.build.plant.read import read_plant
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SOURCE = Path(__file__).parents[3] / "examples" / "first" / "plant.toml"
MOTHER = read_plant(SOURCE.read_text(encoding="utf-8"))
MARRIAGE = Key(("assembly", "Line 1", "marriage"), "cycle_s")
OWN = Origin(plant="wren-mother", learned_at=NOW)


def times(mean: float, n: int) -> Posterior:
    return observed_times([mean * (0.94 + 0.02 * (at % 7)) for at in range(n)], origin=OWN)


def test_what_was_measured_adds_to_what_was_believed() -> None:
    before = times(60.0, 200)
    own = times(60.6, 50)
    after, different = remember(before, own, origin=OWN)
    assert (after.n, different) == (250, False)
    assert before.mean < after.mean < own.mean
    assert after.error_variance < before.error_variance


def test_a_station_that_clearly_is_no_more_what_it_was_believes_itself() -> None:
    after, different = remember(times(60.0, 200), times(90.0, 30), origin=OWN)
    assert different
    assert after == times(90.0, 30)


def test_a_bad_morning_does_not_overthrow_what_was_believed() -> None:
    after, different = remember(times(60.0, 200), times(90.0, ALONE_N_MIN - 1), origin=OWN)
    assert not different
    assert after.mean == pytest.approx(60.0, rel=0.04)


def test_a_persons_word_weighs_as_one_observation() -> None:
    after, _ = remember(stated_time(60.0), times(63.0, 20), origin=OWN)
    assert after.n == 21
    assert after.mean == pytest.approx(63.0, rel=0.01)


def test_learning_twice_from_the_same_times_changes_nothing() -> None:
    own = {MARRIAGE: times(61.0, 40)}
    once = remember_plant(MOTHER, MOTHER, own, now=NOW)
    assert once.parents == ()
    assert once.plant.parameters[MARRIAGE].n == MOTHER.parameters[MARRIAGE].n + 40
    twice = remember_plant(once.plant, MOTHER, own, now=NOW.replace(hour=5))
    assert twice.plant == once.plant


def test_what_cannot_be_added_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be merged"):
        remember(stated_share(0.9), times(60.0, 20), origin=OWN)
    strange = replace(MARRIAGE, path=("assembly", "Line 1", "nowhere"))
    with pytest.raises(InvalidInput, match="nowhere#cycle_s"):
        remember_plant(MOTHER, MOTHER, {strange: times(60.0, 20)}, now=NOW)
