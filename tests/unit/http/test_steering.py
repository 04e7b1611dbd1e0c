from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
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
    moment_s,
    wait_for_moment_s,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.backoff import backoff_s

POLICY = PollPolicy(poll_s=300, poll_busy_s=5, poll_soon_s=30, poll_s_max=3_600, polls_per_s_max=4_000)
FLEET = 1_000_000  # vehicles
OUTAGE_S = 3_600
PEAK = 1.25  # times the steady rate; 1.05 is chance, and ours come back within 225 s on average, not 300


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


@pytest.fixture(scope="module")
def moments() -> Any:
    """The moment of each vehicle of the fleet."""
    return np.array([moment_s(vin(number), POLICY.poll_s) for number in range(FLEET)])


def waits(moments: Any, at_s: Any) -> Any:
    """Return what `decide_wait_s` tells each vehicle of the fleet; it is arithmetic, so one call does for all."""
    return wait_for_moment_s(moments, period_s=POLICY.poll_s, now_s=at_s.astype(np.int64))


def returns_s() -> Any:
    """Return when each vehicle asks the first time after the server is back, an hour after it went away."""
    rng = np.random.default_rng(1)
    last_s = (rng.random(FLEET) - 1) * POLICY.poll_s  # its last answered poll, before 0
    told = OUTAGE_S + (last_s - OUTAGE_S) % POLICY.poll_s  # a DDI client goes on as it was told
    ours, failures = last_s + POLICY.poll_s, 0
    while (refused := ours < OUTAGE_S).any():  # ours waits longer with each failure
        failures += 1
        ours += np.where(refused, backoff_s(failures, fraction=rng.random(FLEET)), 0)  # type: ignore[arg-type]
    return np.where(np.arange(FLEET) % 2, told, ours)


def peak_per_s(polls: list[Any], *, from_s: float, to_s: float) -> int:
    at_s = np.concatenate(polls)
    return int(np.bincount((at_s[(from_s <= at_s) & (at_s < to_s)] - from_s).astype(np.int64)).max())


def test_a_fleet_is_told_what_each_of_its_vehicles_is(moments: Any) -> None:
    at_s = np.arange(1_000) * 7.9
    alone = [decide_wait_s(vin(n), period_s=POLICY.poll_s, now_s=int(s)) for n, s in enumerate(at_s)]
    assert waits(moments[:1_000], at_s).tolist() == alone


def test_after_an_outage_of_an_hour_a_million_vehicles_do_not_come_back_at_once(moments: Any) -> None:
    polls, at_s = [], returns_s()
    for _ in range(3):
        polls.append(at_s)
        at_s = at_s + waits(moments, at_s)
    peak = peak_per_s(polls, from_s=OUTAGE_S, to_s=OUTAGE_S + 3 * POLICY.poll_s)
    assert peak <= PEAK * FLEET / POLICY.poll_s


def test_a_million_vehicles_that_came_at_once_are_spread_by_their_next_poll(moments: Any) -> None:
    at_once_s = 1_000_000
    polls, at_s = [], at_once_s + np.arange(FLEET) % 5.0  # a whole network came back within five seconds
    for _ in range(3):
        at_s = at_s + waits(moments, at_s)
        polls.append(at_s)
    assert peak_per_s(polls, from_s=at_once_s + 5, to_s=at_once_s + 1_000) <= PEAK * FLEET / POLICY.poll_s


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
    drawn = FLEET // 10
    told = [steering.wait_s(vin(number), Need.WAITING, opens_in_s=60) for number in range(drawn)]
    later = Counter(wait_s for wait_s in told if wait_s > 60)
    assert max(later) <= 60 + 1_000_000 / POLICY.polls_per_s_max
    assert max(later.values()) * 10 <= 1.4 * POLICY.polls_per_s_max  # 1.2 is what chance alone gives a tenth


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
