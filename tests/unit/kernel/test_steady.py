from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ringroad.kernel.steady import SETTLE_S, STEP_S_MAX, Steady

START = datetime(2027, 1, 11, 8, tzinfo=UTC)
DAY_S = 86_400.0


class TwoClocks:
    """A wall clock that can be set, and a monotonic one."""

    def __init__(self) -> None:
        self.passed_s = self.set_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s + self.set_s)

    def monotonic_s(self) -> float:
        return 5.0 + self.passed_s


def test_the_first_look_and_every_one_that_goes_with_time_are_taken() -> None:
    clock = TwoClocks()
    steady = Steady(clock)
    for passed_s in (0.0, 1.0, DAY_S, 400 * DAY_S):
        clock.passed_s = passed_s
        look = steady.look()
        assert (look.now, look.step_s, look.text) == (clock.now(), 0.0, "ok")


@pytest.mark.parametrize(
    ("step_s", "text"), [(8 * DAY_S, "was set 8 d ahead"), (-DAY_S, "was set 24 h back"), (301, "was set 5 min 1 s ahead")]
)  # fmt: skip
def test_a_clock_that_is_set_and_set_back_however_often_is_not_taken_in_between(
    step_s: float, text: str
) -> None:
    clock = TwoClocks()
    steady = Steady(clock)
    steady.look()
    for _ in range(100):
        clock.passed_s, clock.set_s = clock.passed_s + SETTLE_S - 1, step_s
        assert (steady.look().step_s, steady.look().text) == (step_s, text)
        clock.passed_s, clock.set_s = clock.passed_s + SETTLE_S - 1, 0
        assert steady.look().step_s == 0


def test_a_clock_that_stays_elsewhere_is_taken_and_each_further_step_begins_anew() -> None:
    clock = TwoClocks()
    steady = Steady(clock)
    steady.look()
    clock.set_s = 8 * DAY_S
    assert steady.look().step_s
    clock.passed_s, clock.set_s = SETTLE_S - 1, 9 * DAY_S
    assert steady.look().step_s
    clock.passed_s = 2 * SETTLE_S - 2
    assert steady.look().step_s
    clock.passed_s = 2 * SETTLE_S
    assert steady.look().step_s == 0
    clock.set_s = 0
    assert steady.look().text == "was set 9 d back"


def test_a_clock_that_drifts_or_is_set_by_little_is_taken() -> None:
    clock = TwoClocks()
    steady = Steady(clock)
    for _ in range(10):
        clock.set_s += STEP_S_MAX
        assert steady.look().step_s == 0
