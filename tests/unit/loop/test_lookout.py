"""How often what costs much is done again, and how long its last word is good for."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import cast

import pytest

from ringroad.kernel.errors import Conflict
from ringroad.loop import lookout as lookouts
from ringroad.loop.lookout import CHEAP_S, EVERYTHING, GATE_REST_S_MAX, REST_S_MAX, Look, Lookout, Pace
from ringroad.storage.db import Connection


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
    ("took_s", "rests_s"), [(0.0, 0.0), (CHEAP_S, 0.0), (1.0, 10.0), (3.0, 30.0), (600.0, REST_S_MAX)]
)
def test_what_took_long_rests_so_many_times_as_long_up_to_a_bound(took_s: float, rests_s: float) -> None:
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


def test_what_was_done_is_fresh_for_the_longest_rest_unless_it_failed_the_last_time() -> None:
    clock = Hand()
    pace = Pace(clock, share=10, rest_s_max=30.0)
    assert not pace.is_fresh("a")
    spend(pace, clock, 5.0)
    clock.at_s += 30.0
    assert pace.is_fresh("a")
    clock.at_s += 0.001
    assert not pace.is_fresh("a")
    spend(pace, clock, 5.0)
    with pytest.raises(KeyError):
        spend(pace, clock, 5.0, fails=True)
    assert not pace.is_fresh("a")
    spend(pace, clock, 5.0)
    pace.keep_only(set())
    assert not pace.is_fresh("a")


def test_a_gate_that_took_minutes_is_looked_at_again_within_half_a_minute() -> None:
    clock = Hand()
    gates = Lookout(clock).gates
    spend(gates, clock, 300.0)
    assert not gates.is_due("a")
    assert gates.is_fresh("a")
    clock.at_s += GATE_REST_S_MAX
    assert gates.is_due("a")


def test_after_a_dear_look_that_left_some_the_next_one_looks_at_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookouts, "plan_each_time", lambda _: None)
    monkeypatch.setattr(lookouts, "read_levels", lambda _: {"campaign_1": 0})
    monkeypatch.setattr(lookouts, "read_change_number", lambda _: 7)
    monkeypatch.setattr(lookouts, "read_changed_vins", lambda *_, **__: ["vin_1"])
    clock = Hand()
    lookout = Lookout(clock)
    seen: list[Look] = []
    for left_some in (True, True, False, True, False, False):
        with lookout.look(cast("Connection", None)) as look:
            seen.append(look)
            clock.at_s += 1.0
            if left_some:
                lookout.left_some()
    changed = Look(vins=("vin_1",), bundles=("vin_1",))
    assert seen == [EVERYTHING, EVERYTHING, EVERYTHING, changed, EVERYTHING, changed]


def test_bundles_that_wait_are_looked_for_without_looking_at_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lookouts, "plan_each_time", lambda _: None)
    monkeypatch.setattr(lookouts, "read_levels", lambda _: {"campaign_1": 0})
    monkeypatch.setattr(lookouts, "read_change_number", lambda _: 7)
    monkeypatch.setattr(lookouts, "read_changed_vins", lambda *_, **__: ["vin_1"])
    clock = Hand()
    lookout = Lookout(clock)
    seen: list[Look] = []
    for left in (True, True, None, False, False):
        with suppress(Conflict), lookout.look(cast("Connection", None)) as look:
            seen.append(look)
            clock.at_s += 1.0
            if left:
                lookout.left_bundles()
            if left is None:
                raise Conflict("broke off")
    changed = Look(vins=("vin_1",), bundles=("vin_1",))
    bundles = Look(vins=("vin_1",), bundles=None)
    assert seen == [EVERYTHING, bundles, bundles, bundles, changed]
