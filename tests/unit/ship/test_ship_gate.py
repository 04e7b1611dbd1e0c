from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.gate import (
    Advance,
    Finish,
    GateDecision,
    GatePolicy,
    Halt,
    Hold,
    Pause,
    decide_gate,
)
from ringroad.ship.wave_facts import WaveFacts

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
POLICY = GatePolicy(
    failed_permille_max=10, reports_min=100, soak_s=60, silence_s_max=3_600, silent_permille_max=200
)


def wave(installed: int, failed: int = 0, *, age_s: int = 120, of: int = 1_000, **more: Any) -> WaveFacts:
    reported = installed + failed
    at = NOW - timedelta(seconds=age_s)
    return WaveFacts(
        **{
            "vehicles_targeted": of,
            "vehicles_installed": installed,
            "vehicles_failed": failed,
            "newest_report_at": at if reported else None,
            "evidence_since": at if reported >= 100 else None,
            **more,
        }
    )


def decide(facts: WaveFacts, policy: GatePolicy = POLICY, *, last_wave: bool = False) -> GateDecision:
    return decide_gate(policy, facts, facts, last_wave=last_wave, now=NOW)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (wave(99, 1), Advance()),  # exactly at the limit
        (wave(98, 2), Halt("too_many_failures")),
        (wave(98, 2, age_s=99_999), Halt("too_many_failures")),  # old harm is still harm
        (wave(0, 1), Hold("too_few_reports")),  # one bad car proves nothing yet
        (wave(0, 11), Halt("too_many_failures")),  # above the limit whatever the rest brings
        (wave(0), Hold("too_few_reports")),
        (wave(100, age_s=59), Hold("soaking")),
        (wave(100, age_s=60), Advance()),
        (wave(100, age_s=3_600), Advance()),
        (wave(100, age_s=3_601), Hold("evidence_too_old")),
        (wave(100, newest_report_at=None), Hold("evidence_too_old")),
        (wave(100, evidence_since=None), Hold("soaking")),
        (wave(100, vehicles_silent=200), Advance()),
        (wave(100, vehicles_silent=201), Hold("too_many_silent")),
        (wave(99, vehicles_lost=1, evidence_since=NOW - timedelta(seconds=60)), Advance()),
        (wave(98, vehicles_lost=1, vehicles_rolled_back=1), Halt("too_many_failures")),
        (wave(100, age_s=-400), Hold("evidence_from_the_future")),
        (wave(100, of=99), Hold("contradictory_evidence")),
        (wave(-1), Hold("contradictory_evidence")),
        (wave(0, of=0), Hold("empty_wave")),
        (wave(3, of=3, evidence_since=NOW - timedelta(seconds=61)), Advance()),  # all of a small wave
        (wave(0, vehicles_downloaded=100, evidence_since=NOW - timedelta(seconds=60),
              newest_report_at=NOW - timedelta(seconds=60)), Advance()),
        (wave(0, 2, vehicles_downloaded=98), Halt("too_many_failures")),
        (wave(2, of=3), Hold("too_few_reports")),
        (wave(0, of=3, vehicles_silent=3), Hold("too_few_reports")),  # silence is no evidence of good
        (wave(0, of=3, vehicles_cancelled=3), Advance("wave_let_go")),  # the next takes the place of the first
        (wave(0, of=3, vehicles_cancelled=2), Hold("too_few_reports")),
        (wave(0, of=3, vehicles_cancelled=2, vehicles_silent=1), Hold("too_few_reports")),
        (wave(0, of=3, vehicles_cancelled=2, vehicles_lost=1), Halt("too_many_failures")),
        (wave(1, of=3, vehicles_cancelled=2), Hold("soaking")),
        (wave(1, of=3, vehicles_cancelled=2, evidence_since=NOW - timedelta(seconds=60)), Advance()),
    ],
)  # fmt: skip
def test_decides(facts: WaveFacts, expected: GateDecision) -> None:
    assert decide(facts) == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (wave(999, of=1_000), Hold("outcomes_awaited")),
        (wave(1_000), Finish()),
        (wave(1_000, age_s=10), Hold("soaking")),
        (wave(0, of=5, vehicles_silent=5), Finish()),  # every vehicle has an outcome, and none is unknown
        (wave(900, 100), Halt("too_many_failures")),
        (wave(1_001), Hold("contradictory_evidence")),
    ],
)
def test_the_last_wave_finishes_or_halts(facts: WaveFacts, expected: GateDecision) -> None:
    assert decide(facts, last_wave=True) == expected


def test_late_failures_of_an_earlier_wave_still_halt() -> None:
    assert decide_gate(POLICY, wave(100), wave(200, 10), last_wave=False, now=NOW) == Halt(
        "too_many_failures"
    )


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ({"vehicles_installed": 100}, Advance("wave_let_go")),
        ({"vehicles_installed": 100, "newest_report_at": NOW - timedelta(days=9)}, Advance("wave_let_go")),
        ({"vehicles_installed": 98, "vehicles_lost": 2}, Halt("too_many_failures")),
        ({"vehicles_silent": 100}, Hold("too_few_reports")),
        ({}, Hold("too_few_reports")),
    ],
)
def test_a_wave_that_let_all_its_vehicles_go_is_judged_by_those_before_it(
    earlier: dict[str, Any], expected: GateDecision
) -> None:
    current = wave(0, of=3, vehicles_cancelled=3)
    released = WaveFacts(**{"vehicles_targeted": 103, "vehicles_cancelled": 3, **earlier})
    assert decide_gate(POLICY, current, released, last_wave=False, now=NOW) == expected


OVER = wave(1, of=3, vehicles_silent=1, vehicles_cancelled=1)
MANY_SILENT = wave(100, of=200, vehicles_silent=100)
OLD = wave(200, of=200, age_s=9_999)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (OVER, Pause("too_few_reports_for_good")),
        (wave(1, of=3, vehicles_silent=1), Hold("too_few_reports")),  # one may still report
        (wave(0, of=3, vehicles_silent=3), Pause("too_few_reports_for_good")),
        (MANY_SILENT, Pause("too_many_silent_for_good")),
        (wave(100, of=201, vehicles_silent=100), Hold("too_many_silent")),
        (OLD, Pause("evidence_too_old_for_good")),
        (wave(200, of=201, age_s=9_999), Hold("evidence_too_old")),
        (wave(100, of=100, age_s=10), Hold("soaking")),  # which time ends
        (wave(0, of=3, vehicles_silent=1, vehicles_lost=2), Halt("too_many_failures")),
        (wave(200, of=200), Advance()),
    ],
)
def test_a_wait_that_no_vehicle_can_end_pauses_for_a_person(facts: WaveFacts, expected: GateDecision) -> None:
    decided = decide_gate(POLICY, facts, facts, last_wave=False, now=NOW, silence_pauses=True)
    assert decided == expected


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (dataclasses.replace(OVER, newest_outcome_at=NOW - timedelta(seconds=60)), Advance("silence_accepted")),
        (dataclasses.replace(OVER, newest_outcome_at=NOW - timedelta(seconds=59)), Hold("soaking")),
        (wave(0, of=3, vehicles_silent=3), Advance("silence_accepted")),
        (MANY_SILENT, Advance("silence_accepted")),
        (OLD, Advance("silence_accepted")),
        (wave(1, of=3, vehicles_silent=1), Hold("too_few_reports")),  # nobody accepted for who may still report
        (wave(98, 2, of=100), Halt("too_many_failures")),
        (wave(1_000), Advance()),  # nothing is missing
    ],
)  # fmt: skip
def test_what_an_approver_accepts_is_the_silence_alone(facts: WaveFacts, expected: GateDecision) -> None:
    decided = decide_gate(
        POLICY, facts, facts, last_wave=False, now=NOW, silence_pauses=True, silence_accepted=True
    )
    assert decided == expected


def test_a_wait_ends_by_itself_while_a_vehicle_of_an_earlier_wave_may_report() -> None:
    for facts in (OVER, MANY_SILENT, OLD):
        later = dataclasses.replace(facts, vehicles_targeted=facts.vehicles_targeted + 1)
        of_before, last = (
            decide_gate(POLICY, facts, later, last_wave=False, now=NOW, silence_pauses=True, pauses_last=last)
            for last in (False, True)
        )
        assert isinstance(of_before, Pause)
        assert last == Hold(of_before.reason.removesuffix("_for_good"))


def test_decisions_of_before_are_replayed_as_they_were_made() -> None:
    assert decide(OVER) == Hold("too_few_reports")


def test_the_last_wave_waits_for_earlier_waves() -> None:
    current = wave(100, of=100)
    assert decide_gate(POLICY, current, wave(150, of=200), last_wave=True, now=NOW) == Hold(
        "outcomes_awaited"
    )


@pytest.mark.parametrize(
    "given",
    [{"failed_permille_max": -1}, {"failed_permille_max": 1_001}, {"reports_min": 0}, {"soak_s": -1},
     {"silence_s_max": 0}, {"silent_permille_max": 1_001}, {"reports_min": 10**10}],
)  # fmt: skip
def test_a_policy_that_makes_no_sense_cannot_be_made(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        GatePolicy(**given)


POLICIES = st.builds(
    GatePolicy,
    failed_permille_max=st.integers(0, 999),
    reports_min=st.integers(1, 60),
    soak_s=st.integers(0, 100),
    silence_s_max=st.integers(1, 200),
    silent_permille_max=st.integers(0, 1_000),
)
COUNTS = st.integers(0, 40)
AGES = st.none() | st.integers(-1_000, 1_000).map(lambda age_s: NOW - timedelta(seconds=age_s))


@st.composite
def waves(draw: st.DrawFn) -> WaveFacts:
    names = ("installed", "failed", "rolled_back", "lost", "silent", "cancelled")
    counts: dict[str, Any] = {f"vehicles_{name}": draw(COUNTS) for name in names}
    targeted = sum(counts.values()) + draw(st.integers(-5, 40))
    return WaveFacts(
        vehicles_targeted=targeted, newest_report_at=draw(AGES), evidence_since=draw(AGES), **counts
    )


@given(POLICIES, waves(), st.booleans())
def test_one_more_failure_never_undoes_a_halt(policy: GatePolicy, facts: WaveFacts, last: bool) -> None:  # noqa: FBT001
    if not isinstance(decide(facts, policy, last_wave=last), Halt) or facts.open <= 0:
        return
    for name in ("vehicles_failed", "vehicles_rolled_back", "vehicles_lost"):
        worse = dataclasses.replace(facts, **{name: getattr(facts, name) + 1})
        assert isinstance(decide(worse, policy, last_wave=last), Halt)


@given(POLICIES, waves())
def test_turning_a_good_vehicle_into_a_failed_one_never_helps(policy: GatePolicy, facts: WaveFacts) -> None:
    if facts.vehicles_installed == 0 or isinstance(decide(facts, policy), Advance):
        return
    worse = dataclasses.replace(
        facts, vehicles_installed=facts.vehicles_installed - 1, vehicles_failed=facts.vehicles_failed + 1
    )
    assert not isinstance(decide(worse, policy), Advance)


@given(POLICIES, waves())
def test_an_advance_rests_on_fresh_sufficient_consistent_evidence(
    policy: GatePolicy, facts: WaveFacts
) -> None:
    if decide(facts, policy) != Advance():
        return
    assert facts.newest_report_at is not None
    assert facts.evidence_since is not None
    assert (NOW - facts.newest_report_at).total_seconds() <= policy.silence_s_max
    assert (NOW - facts.evidence_since).total_seconds() >= policy.soak_s
    assert facts.reported >= min(policy.reports_min, facts.needed) > 0
    assert facts.open >= 0
    assert facts.harmed * 1_000 <= policy.failed_permille_max * max(facts.reported, facts.vehicles_targeted)


@given(POLICIES, waves(), st.booleans())
def test_no_evidence_never_advances(policy: GatePolicy, facts: WaveFacts, last: bool) -> None:  # noqa: FBT001
    for bare in (
        dataclasses.replace(facts, newest_report_at=None),
        dataclasses.replace(facts, evidence_since=None),
    ):
        assert decide(bare, policy, last_wave=last) != Advance()


@pytest.mark.parametrize("last_wave", [False, True])
def test_a_withdrawn_release_halts_whatever_the_evidence(*, last_wave: bool) -> None:
    good = wave(100)
    decision = decide_gate(POLICY, good, good, last_wave=last_wave, now=NOW, withdrawn=True)
    assert decision == Halt("release_withdrawn")


@pytest.mark.parametrize(
    ("facts", "last_wave", "expected"),
    [
        (wave(100), False, Hold("reports_waiting")),
        (wave(100, of=100), True, Hold("reports_waiting")),
        (wave(98, 2), False, Halt("too_many_failures")),
    ],
)
def test_while_reports_wait_only_harm_is_decided_on(
    facts: WaveFacts, *, last_wave: bool, expected: GateDecision
) -> None:
    decision = decide_gate(POLICY, facts, facts, last_wave=last_wave, now=NOW, reports_waiting=True)
    assert decision == expected


@pytest.mark.parametrize("pauses", [True, False])
def test_a_wave_that_let_all_go_before_anything_is_known_opens_no_next_one(*, pauses: bool) -> None:
    """A campaign that vehicles may join pauses too: one that joins may never come, and a person has to go on."""
    gone = wave(0, of=3, vehicles_cancelled=3)
    rules: dict[str, Any] = {"silence_pauses": pauses, "pauses_last": True, "unknown_holds": True}
    decided = [
        decide_gate(POLICY, gone, released, last_wave=False, now=NOW, **rules, silence_accepted=accepted)
        for accepted in (False, True)
        for released in (gone, wave(100, of=103, vehicles_cancelled=3), wave(0, of=4, vehicles_cancelled=3))
    ]
    passed = Advance("wave_let_go")
    assert decided[:3] == [Pause("too_few_reports_for_good"), passed, Hold("too_few_reports")]
    assert decided[3:] == [Advance("silence_accepted"), passed, Hold("too_few_reports")]
