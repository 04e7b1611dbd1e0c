"""How late legs arrive: learned by route, calibrated by class and day, believed only where there is skill."""

from __future__ import annotations

import numpy as np
import pytest

from ringroad.build.logistics.boosted import fit_boosted
from ringroad.build.logistics.conformal import TAIL, TAIL_MIN, calibrate
from ringroad.build.logistics.history import Floats, History, history_of, split_at
from ringroad.build.logistics.learn import ROUTE, coverage_of, learn, pinball
from ringroad.build.logistics.quantiles import (
    GROUP_MIN,
    LEVELS,
    MEDIAN,
    Stage,
    fit_grouped,
    known_late,
    seen_at,
)
from ringroad.kernel.errors import InvalidInput

DAYS = 100
PER_DAY = 40


def made(
    *, days: int = DAYS, per_day: int = PER_DAY, seed: int = 1, drift: float = 0.0, road: float = 5.0
) -> History:
    """Legs of four routes in two classes: how late they leave is luck, what they lose on the way is little."""
    draw = np.random.default_rng(seed)
    count = days * per_day
    day = np.repeat(np.arange(days), per_day)
    route = draw.integers(0, 4, count)
    left = draw.exponential(20, count) - 5 + drift * day
    lost = draw.normal(0, road, count) + 10 * (route == 3)
    planned: Floats = (1440 * day + draw.integers(0, 1000, count)).astype(np.float64)
    return History(
        routes=("a", "b", "c", "d"),
        classes=("road", "sea"),
        shipment=np.arange(count),
        route=route,
        of_class=route // 2,
        planned_min=planned,
        arrives_min=planned + 120,
        departed_late_min=left,
        hub_late_min=np.full(count, np.nan),
        arrived_late_min=left + lost,
    )


def test_a_route_is_known_by_what_it_did_and_one_that_did_little_by_its_class() -> None:
    history = made()
    few = np.flatnonzero(history.route == 3)[GROUP_MIN - 1 :]
    history = history.take(~np.isin(np.arange(len(history)), few))
    fit = fit_grouped(history, Stage.DEPARTED)
    assert np.allclose(fit.by_route[3], fit.by_class[1])
    assert not np.allclose(fit.by_route[2], fit.by_class[1])
    assert np.allclose(fit.by_class[0], np.quantile(_lost(history)[history.of_class == 0], LEVELS))


def _lost(history: History) -> Floats:
    return history.arrived_late_min - history.departed_late_min


def test_a_route_that_nothing_is_known_of_has_the_distribution_of_all() -> None:
    history = made()
    fit = fit_grouped(history.take(history.of_class == 0), Stage.PLANNED)
    assert np.allclose(fit.by_route[3], fit.overall)


def test_what_is_known_of_a_leg_moves_its_whole_distribution() -> None:
    history = made()
    fit = fit_grouped(history, Stage.DEPARTED)
    assert np.allclose(
        fit.late_min(history) - history.departed_late_min[:, None], fit.by_route[history.route]
    )


def test_only_legs_that_were_at_a_hub_say_something_of_hubs() -> None:
    history = made()
    assert len(seen_at(history, Stage.AT_HUB)) == 0
    assert len(seen_at(history, Stage.DEPARTED)) == len(history)
    with pytest.raises(InvalidInput, match="no leg has arrived"):
        fit_grouped(seen_at(history, Stage.AT_HUB), Stage.AT_HUB)


def test_a_split_is_by_time_and_nothing_of_a_shipment_is_on_both_sides() -> None:
    history = made()
    shared = History(
        routes=history.routes, classes=history.classes, shipment=np.arange(len(history)) // (2 * PER_DAY),
        route=history.route, of_class=history.of_class, planned_min=history.planned_min,
        arrives_min=history.arrives_min, departed_late_min=history.departed_late_min,
        hub_late_min=history.hub_late_min, arrived_late_min=history.arrived_late_min,
    )  # fmt: skip
    before, after = split_at(shared, 51)
    assert before.known_day.max() < 51 <= after.day.min()
    assert not set(before.shipment.tolist()) & set(after.shipment.tolist())
    assert before.day.max() == 49  # day 50 travels with day 51


def test_a_leg_that_was_still_on_its_way_at_the_cut_teaches_nothing() -> None:
    history = made()
    history.arrived_late_min[history.day == 30] += 3 * 1440
    before, _ = split_at(history, 32)
    assert not (before.day == 30).any()
    assert (before.day == 29).any()


def test_calibration_gives_each_class_its_coverage_although_the_quantiles_are_wrong() -> None:
    history = made(days=160)
    wrong = np.tile(np.linspace(-1.0, 1.0, len(LEVELS)), (len(history), 1))  # far too narrow, and not skewed
    late = history.departed_late_min[:, None] + wrong
    found = calibrate(history, late, from_day=20)
    later = history.day >= 60
    narrow = coverage_of(history.take(later), late[later])
    held = coverage_of(history.take(later), found.late_min[later])
    assert max(narrow.values()) < 0.5
    assert all(0.87 <= share <= 0.93 for share in held.values()), held
    assert (np.diff(found.late_min, axis=1) >= 0).all()


def test_a_day_is_calibrated_with_what_was_known_before_it_alone() -> None:
    history = made()
    late = np.zeros((len(history), len(LEVELS)))
    found = calibrate(history, late, from_day=20)
    history.arrived_late_min[history.day >= 60] += 500
    again = calibrate(history, late, from_day=20)
    same = history.day <= 60
    assert np.array_equal(found.late_min[same], again.late_min[same])
    assert not np.array_equal(found.late_min[~same], again.late_min[~same])


def test_a_class_that_is_missed_again_and_again_gets_a_wider_interval() -> None:
    steady, drifting = made(), made(drift=3.0)
    late = np.zeros((len(steady), len(LEVELS)))
    held = calibrate(steady, late, from_day=20)
    widened = calibrate(drifting, late, from_day=20)
    assert (widened.tail[:, 1] < held.tail[:, 1]).all()
    assert (widened.tail >= TAIL_MIN).all()
    assert np.allclose(held.tail, TAIL, atol=0.035)


def test_legs_before_the_first_calibrated_day_keep_their_quantiles() -> None:
    history = made()
    late = np.zeros((len(history), len(LEVELS)))
    found = calibrate(history, late, from_day=20)
    assert (found.late_min[history.day < 20] == 0).all()


def test_nothing_to_calibrate_with_moves_nothing() -> None:
    history = made(days=2)
    empty = history.take(history.day < 0)
    found = calibrate(empty, np.zeros((0, len(LEVELS))), from_day=0)
    assert (found.offset_min == 0).all()


def test_planning_has_no_skill_and_is_hidden_and_a_departure_has_and_is_shown() -> None:
    history = made()
    planned = learn(history, Stage.PLANNED, {ROUTE: fit_grouped}).skill
    departed = learn(history, Stage.DEPARTED, {ROUTE: fit_grouped}).skill
    assert planned
    assert not planned.shown
    assert departed
    assert departed.shown
    assert departed.skill > 0.5
    assert departed.coverage_min
    assert departed.coverage_min >= 0.85


def test_the_candidate_that_errs_less_on_what_came_after_is_chosen() -> None:
    class Vague:
        def late_min(self, history: History) -> Floats:
            return known_late(history, Stage.DEPARTED)[:, None] + 60 * (LEVELS - 0.5)

    found = learn(made(), Stage.DEPARTED, {"vague": lambda *_: Vague(), ROUTE: fit_grouped})
    assert found.skill
    assert found.skill.model == ROUTE
    assert found.skill.tried["vague"] > found.skill.tried[ROUTE]


def test_a_chosen_model_without_skill_is_not_used() -> None:
    class Lucky:
        def late_min(self, history: History) -> Floats:
            sharp = fit_grouped(made(), Stage.PLANNED).late_min(history)
            sharp[:, MEDIAN] = np.sort(sharp, axis=1)[:, MEDIAN]
            return sharp

    found = learn(made(), Stage.PLANNED, {"lucky": lambda *_: Lucky(), ROUTE: fit_grouped})
    assert found.skill
    assert not found.skill.shown
    assert not isinstance(found.model, Lucky)


def test_nothing_is_said_of_skill_when_few_legs_arrived() -> None:
    assert learn(made(days=4), Stage.DEPARTED, {ROUTE: fit_grouped}).skill is None


def test_nothing_is_said_of_skill_when_nothing_had_arrived_before_the_rest_set_out() -> None:
    history = made(days=30)
    history.arrives_min[:] = history.planned_min + 45 * 1440
    found = learn(
        history, Stage.DEPARTED, {"boosted": lambda *_: pytest.fail("it was tried"), ROUTE: fit_grouped}
    )
    assert found.skill is None


def test_pinball_is_the_mean_loss_of_all_levels() -> None:
    given = np.zeros((2, len(LEVELS)))
    assert pinball(given, np.array([1.0, -1.0])) == pytest.approx(0.5)
    assert pinball(given[:0], np.zeros(0)) == 0


@pytest.mark.parametrize("name", ["arrived_late_min", "planned_min"])
def test_a_time_that_is_no_number_is_refused(name: str) -> None:
    row = {
        "shipment": "s", "route": "r", "leg_class": "c", "planned_min": 0.0, "arrives_min": 1.0,
        "departed_late_min": 0.0, "hub_late_min": float("nan"), "arrived_late_min": 0.0,
    }  # fmt: skip
    assert len(history_of([row])) == 1
    with pytest.raises(InvalidInput, match="no number"):
        history_of([row | {name: float("nan")}])


def test_trees_learn_what_a_route_alone_does_not_tell_and_say_the_same_again() -> None:
    history = made(days=60)
    noon = history.planned_min % 1440 >= 720
    history.arrived_late_min[noon] += 40  # on the way; the route's quantiles mix both halves of the day
    trees, again = (fit_boosted(history, Stage.DEPARTED, rounds=40) for _ in range(2))
    late = trees.late_min(history)
    assert np.array_equal(late, again.late_min(history))
    assert (np.diff(late, axis=1) >= 0).all()
    routes = fit_grouped(history, Stage.DEPARTED).late_min(history)
    assert pinball(late, history.arrived_late_min) < pinball(routes, history.arrived_late_min) / 2
