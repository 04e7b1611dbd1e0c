"""How often what costs much is done again."""

from __future__ import annotations

from datetime import datetime

import pytest

from ringroad.loop.lookout import CHEAP_S, Pace


class Hand:
    """A clock that is set by hand."""

    at_s = 0.0

    def now(self) -> datetime:
        raise AssertionError("nobody asks for the time of day")

    def monotonic_s(self) -> float:
        return self.at_s


def spend(pace: Pace, clock: Hand, seconds: float, name: str = "a", *, fails: bool = False) -> None:
    with pace.spend(name):
        clock.at_s += seconds
        if fails:
            raise KeyError


@pytest.mark.parametrize(
    ("took_s", "rests_s"), [(0.0, 0.0), (CHEAP_S, 0.0), (1.0, 10.0), (3.0, 30.0), (600.0, 6_000.0)]
)
def test_what_took_long_rests_so_many_times_as_long(took_s: float, rests_s: float) -> None:
    clock = Hand()
    pace = Pace(clock, share=10)
    assert pace.is_due("a")
    spend(pace, clock, took_s)
    ended_s = clock.at_s
    if rests_s:
        clock.at_s = ended_s + rests_s - 0.001
        assert not pace.is_due("a")
    clock.at_s = ended_s + rests_s
    assert pace.is_due("a")


def test_one_that_rests_keeps_no_other_from_its_turn() -> None:
    clock = Hand()
    pace = Pace(clock, share=10)
    spend(pace, clock, 5.0)
    assert pace.is_due("b")
    assert not pace.is_due("a")


def test_what_failed_rests_as_well() -> None:
    clock = Hand()
    pace = Pace(clock, share=10)
    with pytest.raises(KeyError):
        spend(pace, clock, 1.0, fails=True)
    assert not pace.is_due("a")


def test_what_was_left_over_is_due_at_once_and_what_is_gone_is_forgotten() -> None:
    clock = Hand()
    pace = Pace(clock, share=10)
    for name in ("a", "b"):
        spend(pace, clock, 1.0, name)
    pace.hurry("a")
    assert (pace.is_due("a"), pace.is_due("b")) == (True, False)
    pace.keep_only({"a"})
    assert pace.is_due("b")
