"""Real delays, of one airport's flights of 2013: what is known when they are planned, and once they departed."""

from __future__ import annotations

import pytest
from benchmarks.flights import flights, folder, history

from ringroad.build.logistics.history import History
from ringroad.build.logistics.learn import ROUTE, learn
from ringroad.build.logistics.quantiles import Stage, fit_grouped


@pytest.fixture(scope="module")
def legs() -> History:
    data = folder()
    assert data
    found = history(list(flights(data, origin="LGA")))
    assert len(found) == 101_140
    return found


def test_when_a_leg_is_planned_nothing_is_known_beyond_what_its_route_does(legs: History) -> None:
    skill = learn(legs, Stage.PLANNED, {ROUTE: fit_grouped}).skill
    assert skill
    assert not skill.shown
    assert skill.skill_low < 0


def test_once_it_departed_the_error_is_two_fifths_less_and_every_class_is_covered(legs: History) -> None:
    skill = learn(legs, Stage.DEPARTED, {ROUTE: fit_grouped}).skill
    assert skill
    assert skill.shown
    assert skill.skill > 0.4
    assert skill.coverage_min
    assert skill.coverage_min >= 0.85
