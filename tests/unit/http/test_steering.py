from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.device.steering import (
    TOLD_S_MAX,
    Need,
    PollPolicy,
    Steering,
    decide_opening_wait_s,
    decide_periods_s,
    decide_wait_s,
    is_told,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.backoff import backoff_s

POLICY = PollPolicy(poll_s=300, poll_busy_s=5, poll_soon_s=30, poll_s_max=3_600, polls_per_s_max=4_000)
FLEET = 100_000  # vehicles; a tenth of the largest, so that the test lasts a second
OUTAGE_S = 3_600
PEAK = 1.4  # times the steady rate; 1.2 is what chance alone gives with so many vehicles


def vin(number: int) -> str:
    return f"WRRDEM{number:011d}"


@pytest.mark.parametrize(
    ("vehicles", "doublings", "expected"),
    [
        ((10, 0, 0, 0), 0, (300, 30, 5, 300)),
        ((1_000_000, 0, 0, 0), 0, (300, 30, 5, 300)),  # 3,333 polls a second
        ((2_400_000, 0, 0, 0), 0, (600, 60, 10, 600)),
        ((0, 0, 1_000_000, 0), 0, (3_600, 1_500, 250, 3_600)),  # a last wave of a million
        ((0, 240_000, 0, 0), 0, (600, 60, 10, 600)),
        ((0, 0, 0, 1_000_000), 0, (300, 30, 250, 300)),  # all of them may be inside of their windows
        ((10, 0, 0, 0), 1, (600, 60, 10, 600)),
        ((10, 0, 0, 0), 2, (1_200, 120, 20, 1_200)),
        ((2_400_000, 0, 0, 0), 2, (2_400, 240, 40, 2_400)),
        ((10**9, 10**9, 10**9, 10**9), 2, (3_600, 3_600, 3_600, 3_600)),
        ((0, 0, 0, 0), 0, (300, 30, 5, 300)),
    ],
)
def test_periods_follow_need_fleet_and_pressure(
    vehicles: tuple[int, ...], doublings: int, expected: tuple[int, ...]
) -> None:
    assert decide_periods_s(POLICY, vehicles, doublings=doublings) == expected


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (PollPolicy(poll_s=2, poll_busy_s=1), (2, 2, 1, 2)),  # need never makes a vehicle poll less often
        (PollPolicy(poll_s=5, poll_busy_s=60), (5, 5, 5, 5)),
        (PollPolicy(poll_s=86_400, poll_busy_s=1), (TOLD_S_MAX, 30, 1, TOLD_S_MAX)),
        (PollPolicy(poll_s=7_200, poll_busy_s=1, poll_s_max=60), (7_200, 30, 1, 7_200)),
    ],
)
def test_settings_that_contradict_each_other_have_an_answer(
    policy: PollPolicy, expected: tuple[int, ...]
) -> None:
    assert decide_periods_s(policy, (1, 1, 1, 1)) == expected


@pytest.mark.parametrize(
    "wrong",
    [{"poll_s": 0}, {"poll_busy_s": 0}, {"poll_soon_s": -1}, {"poll_s_max": 0}, {"polls_per_s_max": 0}],
)
def test_a_policy_that_cannot_be_told_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        PollPolicy(**{"poll_s": 60, "poll_busy_s": 5, **wrong})


@given(
    name=st.text(min_size=1, max_size=40),
    period_s=st.integers(1, TOLD_S_MAX),
    now_s=st.integers(0, 2**33),
    late_s=st.integers(0, 100_000),
)
def test_a_vehicle_comes_at_its_moment_whenever_it_asks(
    name: str, period_s: int, now_s: int, late_s: int
) -> None:
    wait_s = decide_wait_s(name, period_s=period_s, now_s=now_s)
    assert max(1, period_s // 2) <= wait_s < max(2, period_s // 2 + period_s)
    later_s = now_s + late_s
    again_s = later_s + decide_wait_s(name, period_s=period_s, now_s=later_s)
    assert (again_s - now_s - wait_s) % period_s == 0


def test_a_vehicle_that_keeps_its_moment_is_told_the_period() -> None:
    now_s = 1_000_000 + decide_wait_s(vin(1), period_s=300, now_s=1_000_000)
    assert decide_wait_s(vin(1), period_s=300, now_s=now_s) == 300


@pytest.mark.parametrize(
    ("told_s", "wait_s", "same"), [(300, 300, True), (300, 320, True), (300, 340, False), (5, 300, False), (2, 1, False)]
)  # fmt: skip
def test_only_an_interval_that_is_off_is_told_anew(told_s: int, wait_s: int, same: bool) -> None:  # noqa: FBT001
    assert is_told(told_s, wait_s) is same


def returns_s(rng: random.Random, number: int) -> float:
    """Return when a vehicle asks the first time after the server is back, an hour after it went away."""
    last_s = rng.random() * POLICY.poll_s - POLICY.poll_s  # its last answered poll, before 0
    if number % 2:  # a DDI client goes on as it was told
        return OUTAGE_S + (last_s - OUTAGE_S) % POLICY.poll_s
    asked_s, failures = last_s + POLICY.poll_s, 0
    while asked_s < OUTAGE_S:  # ours waits longer with each failure
        failures += 1
        asked_s += backoff_s(failures, fraction=rng.random())
    return asked_s


def peak_per_s(polls: list[float], *, from_s: float, to_s: float) -> int:
    return max(Counter(int(at_s) for at_s in polls if from_s <= at_s < to_s).values())


def test_after_an_outage_of_an_hour_the_fleet_does_not_come_back_at_once() -> None:
    rng, steady = random.Random(1), FLEET / POLICY.poll_s
    polls = []
    for number in range(FLEET):
        at_s = returns_s(rng, number)
        for _ in range(3):
            polls.append(at_s)
            at_s += decide_wait_s(vin(number), period_s=POLICY.poll_s, now_s=int(at_s))
    assert peak_per_s(polls, from_s=OUTAGE_S, to_s=OUTAGE_S + 3 * POLICY.poll_s) <= PEAK * steady


def test_a_fleet_that_came_at_once_is_spread_by_its_next_poll() -> None:
    steady = FLEET / POLICY.poll_s
    at_once_s = 1_000_000
    polls = []
    for number in range(FLEET):
        at_s = at_once_s + number % 5  # a whole network came back within five seconds
        for _ in range(3):
            at_s += decide_wait_s(vin(number), period_s=POLICY.poll_s, now_s=at_s)
            polls.append(float(at_s))
    assert peak_per_s(polls, from_s=at_once_s + 5, to_s=at_once_s + 1_000) <= PEAK * steady


@pytest.mark.parametrize(
    ("wait_s", "opens_in_s", "low", "high"),
    [
        (300, 400, 300, 300),  # it comes before and is told again
        (300, 300, 300, 300),
        (300, 100, 101, 130),
        (300, 0, 1, 30),
        (300, -5, 1, 30),  # it opened while this was decided
        (110, 100, 101, 130),
        (1, 0, 1, 30),
    ],
)
def test_a_vehicle_comes_soon_after_its_window_opens(
    wait_s: int, opens_in_s: int, low: int, high: int
) -> None:
    told = [decide_opening_wait_s(vin(n), wait_s, opens_in_s=opens_in_s, spread_s=30) for n in range(200)]
    assert (min(told), max(told)) == (low, high)


def test_a_fleet_whose_window_opens_does_not_come_at_once() -> None:
    steering = Steering(POLICY, clock=Wall(), vehicles=[0, 0, 0, 1_000_000])
    waits = [steering.wait_s(vin(number), Need.WAITING, opens_in_s=60) for number in range(FLEET)]
    later = Counter(wait_s for wait_s in waits if wait_s > 60)
    assert max(later) <= 60 + 1_000_000 / POLICY.polls_per_s_max
    assert max(later.values()) * 10 <= PEAK * POLICY.polls_per_s_max  # a tenth of the million is drawn here


class Wall:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 25, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def monotonic_s(self) -> float:
        return 0.0


def test_steering_follows_the_fleet_and_pressure_from_one_second_to_the_next() -> None:
    clock, vehicles = Wall(), [1_000, 0, 0, 0]
    steering = Steering(POLICY, clock=clock, vehicles=vehicles)
    calm_s = steering.wait_s(vin(1), Need.IDLE)
    vehicles[Need.IDLE] = 10**7
    assert steering.wait_s(vin(1), Need.IDLE) == calm_s
    clock.at += timedelta(seconds=1)
    assert steering.wait_s(vin(1), Need.IDLE) >= 2_500 // 2
    vehicles[Need.IDLE], steering.doublings = 1_000, 2
    clock.at -= timedelta(days=400)  # a clock that was set back is a time like any other
    assert 600 <= steering.wait_s(vin(1), Need.IDLE) < 1_800
    assert 10 <= steering.wait_s(vin(1), Need.OFFERED) < 30
