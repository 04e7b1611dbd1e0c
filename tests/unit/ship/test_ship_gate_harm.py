"""Harm that was seen holds: in all or in one stratum, a ramp as well as a wave, and the reason names it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ringroad.ship.gate import (
    Advance,
    Evidence,
    Finish,
    GateDecision,
    GatePolicy,
    Grow,
    Halt,
    Hold,
    Pause,
    decide_gate,
    harm_at_end,
    harm_of,
)
from ringroad.ship.guard import BOUND_MICRONATS, Metric, MetricName, Reading, SequentialPolicy, StratumReading
from ringroad.ship.ramp import HarmBudget, Ramp, RampState
from ringroad.ship.replay import decide_again
from ringroad.ship.wave_facts import WaveFacts

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
DAY_US = 86_400_000_000
POLICY = GatePolicy(reports_min=100, soak_s=60, silence_s_max=3_600, sequential=SequentialPolicy())
WAVE = WaveFacts(
    vehicles_targeted=1_000, vehicles_installed=100, newest_report_at=NOW - timedelta(seconds=120),
    evidence_since=NOW - timedelta(seconds=120),
)  # fmt: skip
STRATUM = StratumReading(
    stratum="city/EU", log_e_micronats=0, point_milli=1_000, low_milli=500, high_milli=2_000, treated=5, control=5,
    treated_exposure=DAY_US, control_exposure=DAY_US,
)  # fmt: skip
WORSE = replace(STRATUM, stratum="van/EU", log_e_micronats=6_000_000, low_milli=1_900)
FAULT = Reading(
    metric=MetricName.FAULT, log_e_micronats=0, limit_micronats=5_991_465, point_milli=1_000, low_milli=500,
    high_milli=2_000, treated=5, control=99, treated_exposure=1_000 * DAY_US, control_exposure=20_000 * DAY_US,
)  # fmt: skip
SILENCE = replace(FAULT, metric=MetricName.SILENCE)
CONFINED = replace(FAULT, log_e_micronats=BOUND_MICRONATS, strata=(WORSE, STRATUM))
SMALL = Ramp(
    budget=HarmBudget(harmed_first=2, harmed_last=5), harm_holds=True,
    state=RampState(begun=4, offered=0, offered_s=4 * 60, in_flight_milli=0, left=10),
)  # fmt: skip


def decide(
    *readings: Reading, ramp: bool = False, named: bool = True, wave: WaveFacts = WAVE, refused: str = ""
) -> GateDecision:
    return decide_gate(
        POLICY, wave, WAVE, last_wave=False, now=NOW, harm_named=named, ramp=SMALL if ramp else None,
        evidence=Evidence(id=7, readings=readings, read_at=NOW, refused=refused),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (FAULT, ""),
        (replace(FAULT, low_milli=1_250), ""),  # exactly what is accepted
        (replace(FAULT, low_milli=1_251), "fault"),
        (replace(FAULT, low_milli=1_251, treated_exposure=0), ""),  # not known at all
        (CONFINED, "fault in van/EU"),
        (replace(CONFINED, log_e_micronats=BOUND_MICRONATS - 1), ""),  # chance finds as much in some stratum
        (replace(CONFINED, strata=()), ""),  # of all together, which its own bound tells
        (replace(CONFINED, strata=(replace(WORSE, low_milli=1_250),)), "fault"),  # of several, none of which stands out
        (replace(CONFINED, low_milli=1_251), "fault"),
    ],
)  # fmt: skip
def test_a_ramp_and_a_wave_hold_on_harm_of_all_or_of_one_stratum(fault: Reading, seen: str) -> None:
    known = fault.known
    ramp, wave = decide(fault, SILENCE, ramp=True), decide(fault, SILENCE)
    assert ramp == (Hold(f"harm_seen: {seen}") if seen else Grow(10))
    assert wave == (Hold(f"harm_seen: {seen}") if seen else Advance() if known else Hold("not_known: fault"))


def test_a_metric_that_is_not_compared_by_the_plan_holds_nothing() -> None:
    boot = replace(CONFINED, metric=MetricName.BOOT_LOOP, low_milli=9_000)
    assert decide(FAULT, SILENCE, boot) == Advance()


def test_a_wave_that_let_all_go_is_not_passed_by_on_harm() -> None:
    gone = replace(WAVE, vehicles_installed=0, vehicles_cancelled=1_000)
    assert decide(FAULT, SILENCE, wave=gone) == Advance("wave_let_go")
    assert decide(CONFINED, SILENCE, wave=gone) == Hold("harm_seen: fault in van/EU")


def test_what_refuses_halts_and_does_not_only_hold() -> None:
    assert decide(CONFINED, SILENCE, refused="fault") == Halt("worse_than_control: fault")


def test_harm_that_nothing_bounds_spends_the_budget_by_that_name() -> None:
    unbounded = replace(FAULT, treated=4, control=0, low_milli=900, high_milli=None, treated_exposure=DAY_US)
    assert decide(unbounded, SILENCE, ramp=True) == Hold("harm_seen: budget_spent")
    assert decide(unbounded, SILENCE, ramp=True, named=False) == Hold("harm_seen")


@pytest.mark.parametrize("ramp", [SMALL, None])
@pytest.mark.parametrize("more", [{"harm_named": True}, {"harm_named": False}, {}])
def test_a_decision_of_before_is_made_again_by_the_rule_of_before(
    ramp: Ramp | None, more: dict[str, bool]
) -> None:
    """Without the word in the record, harm of a stratum held nothing and harm of all held ramps alone."""
    rest = {"last_wave": False, "withdrawn": False, "reports_waiting": False, **more}
    again = [
        decide_again(
            {
                "wave": msgspec.to_builtins(WAVE), "released": msgspec.to_builtins(WAVE),
                "evidence": msgspec.to_builtins(Evidence(id=7, readings=(fault, SILENCE), read_at=NOW)),
                "ramp": msgspec.to_builtins(ramp), "rest": rest,
            },
            msgspec.to_builtins(POLICY), decided_at=NOW,
        )
        for fault in (CONFINED, replace(FAULT, low_milli=1_251))
    ]  # fmt: skip
    of_before = [Grow(10), Hold("harm_seen")] if ramp else [Advance(), Advance()]
    assert again == (
        [Hold("harm_seen: fault in van/EU"), Hold("harm_seen: fault")]
        if more.get("harm_named")
        else of_before
    )


PROVED = replace(
    FAULT, treated=66, low_milli=1_100
)  # at least 6 of the 66 come of the update; within the margin
SPENDING = replace(SMALL, limit=5)


@pytest.mark.parametrize(
    ("ramp", "readings", "decided"),
    [
        (SPENDING, (PROVED,), Pause("budget_spent")),
        (replace(SPENDING, limit=6), (PROVED,), Pause("budget_spent")),
        (replace(SPENDING, limit=7), (PROVED,), Grow(10)),  # an approver went on
        (SPENDING, (replace(PROVED, low_milli=1_000),), Grow(10)),  # nothing is proved
        (SPENDING, (replace(PROVED, low_milli=0),), Grow(10)),
        (SPENDING, (FAULT, replace(PROVED, metric=MetricName.SILENCE)), Grow(10)),  # which sets no pace
        (SPENDING, (replace(PROVED, treated=33), replace(PROVED, metric=MetricName.BOOT_LOOP, treated=33)), Pause("budget_spent")),
        (SMALL, (PROVED,), Grow(10)),  # of before
    ],
)  # fmt: skip
@pytest.mark.parametrize("left", [10, 0])
def test_a_ramp_pauses_once_as_much_harm_is_proved_as_its_budget_allows(
    ramp: Ramp, readings: tuple[Reading, ...], decided: GateDecision, *, left: int
) -> None:
    """However old the reading is, and also while vehicles only have offers; replayed as it was decided."""
    state = replace(ramp.state, left=left, offered=0 if left else 1)
    facts = {
        "wave": msgspec.to_builtins(WAVE), "released": msgspec.to_builtins(WAVE),
        "evidence": msgspec.to_builtins(Evidence(id=7, readings=readings, read_at=NOW)),
        "ramp": msgspec.to_builtins(replace(ramp, state=state)),
        "rest": {"last_wave": True, "withdrawn": False, "reports_waiting": False, "harm_named": True},
    }  # fmt: skip
    again = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert again == decided if left or isinstance(decided, Pause) else not isinstance(again, Pause)
    old = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW + timedelta(days=9))
    assert isinstance(old, Pause) == isinstance(decided, Pause)


def test_harm_that_is_proved_pauses_nobody_who_is_through_and_is_kept_for_who_ends_it() -> None:
    through = replace(SPENDING, state=replace(SMALL.state, left=0, offered=0))
    assert not through.is_spent((PROVED,))
    evidence = Evidence(id=7, readings=(PROVED, SILENCE), read_at=NOW)
    budget = HarmBudget(harmed_first=2, harmed_last=6)
    assert harm_at_end(POLICY, WAVE, WAVE, evidence=evidence, budget=budget) == "harm_seen: budget_spent"
    more = HarmBudget(harmed_first=2, harmed_last=7)
    assert harm_at_end(POLICY, WAVE, WAVE, evidence=evidence, budget=more) == ""


def test_what_refuses_halts_a_ramp_whose_budget_is_spent() -> None:
    evidence = Evidence(id=7, readings=(PROVED,), read_at=NOW, refused="fault")
    found = decide_gate(POLICY, WAVE, WAVE, last_wave=True, now=NOW, evidence=evidence, ramp=SPENDING)
    assert found == Halt("worse_than_control: fault")


FAILING = replace(WAVE, vehicles_installed=60, vehicles_failed=40)
UNBOUNDED = replace(FAULT, treated=4, control=0, low_milli=900, high_milli=None, treated_exposure=DAY_US)


@pytest.mark.parametrize(
    ("wave", "readings", "refused", "harm"),
    [
        (WAVE, (FAULT, SILENCE), "", ""),
        (WAVE, None, "", ""),
        (WAVE, (CONFINED, SILENCE), "", "harm_seen: fault in van/EU"),
        (WAVE, (UNBOUNDED, SILENCE), "", "harm_seen: budget_spent"),
        (WAVE, (FAULT, SILENCE), "silence", "worse_than_control: silence"),
        (WAVE, (CONFINED,), "fault", "worse_than_control: fault in van/EU"),
        (WAVE, (replace(CONFINED, low_milli=1_251),), "", "harm_seen: fault in van/EU"),
        (WAVE, (replace(FAULT, low_milli=1_251),), "", "harm_seen: fault"),  # of a plan without strata
        (WAVE, (SILENCE,), "fault", "worse_than_control: fault"),  # by a reading of before
        (FAILING, (CONFINED,), "", "worse_than_before: install_failed"),
        (FAILING, None, "", "worse_than_before: install_failed"),
    ],
)
def test_what_speaks_against_a_release_is_told_as_its_gate_would(
    wave: WaveFacts, readings: tuple[Reading, ...] | None, refused: str, harm: str
) -> None:
    """Old readings too: who aborts while the lake is silent has seen what was seen."""
    old = NOW - timedelta(days=9)
    evidence = None if readings is None else Evidence(id=7, readings=readings, read_at=old, refused=refused)
    assert harm_of(POLICY, wave, wave, evidence=evidence, budget=SMALL.budget) == harm


def test_without_a_budget_none_is_spent_and_without_a_comparison_failures_speak_alone() -> None:
    evidence = Evidence(id=7, readings=(UNBOUNDED, SILENCE))
    assert harm_of(POLICY, WAVE, WAVE, evidence=evidence, budget=None) == ""
    rules = GatePolicy(failed_permille_max=100)
    assert harm_of(rules, WAVE, WAVE, evidence=None, budget=None) == ""
    assert harm_of(rules, FAILING, FAILING, evidence=None, budget=None) == "too_many_failures"


@pytest.mark.parametrize(("fault", "seen"), [(CONFINED, "fault in van/EU"), (FAULT, "")])
def test_harm_that_holds_a_wave_for_days_stays_a_hold_for_harm_and_pauses_nothing(
    fault: Reading, seen: str
) -> None:
    old = NOW - timedelta(days=2)
    silent = replace(WAVE, vehicles_targeted=100, newest_report_at=old, evidence_since=old)
    of_before, last = (
        decide_again(
            {
                "wave": msgspec.to_builtins(silent), "released": msgspec.to_builtins(silent), "ramp": None,
                "evidence": msgspec.to_builtins(Evidence(id=7, readings=(fault, SILENCE), read_at=NOW)),
                "rest": {
                    "last_wave": False, "withdrawn": False, "reports_waiting": False, "harm_named": True,
                    "silence_pauses": True, **({"pauses_last": True} if rule else {}),
                },
            },
            msgspec.to_builtins(POLICY), decided_at=NOW,
        )
        for rule in (False, True)
    )  # fmt: skip
    assert of_before == Pause("evidence_too_old_for_good")
    assert last == (Hold(f"harm_seen: {seen}") if seen else of_before)


OVER = replace(WAVE, vehicles_installed=1_000, newest_outcome_at=NOW - timedelta(days=3))


@pytest.mark.parametrize(
    ("fault", "ramp", "decided"),
    [
        (FAULT, None, Finish()),
        (CONFINED, None, Hold("harm_seen: fault in van/EU")),
        (replace(FAULT, low_milli=1_251), None, Hold("harm_seen: fault")),
        (CONFINED, SMALL, Hold("harm_seen: fault in van/EU")),
        (UNBOUNDED, None, Finish()),
        (UNBOUNDED, SMALL, Hold("harm_seen: budget_spent")),
    ],
)
def test_a_campaign_that_has_nothing_more_to_release_does_not_finish_over_harm(
    fault: Reading, ramp: Ramp | None, decided: GateDecision
) -> None:
    """It waits for a person, as one that may go on does; before, it finished and the next plan heard of nothing."""
    spent = replace(ramp, state=replace(ramp.state, left=0)) if ramp else None
    for ends in (True, False):
        facts = {
            "wave": msgspec.to_builtins(OVER), "released": msgspec.to_builtins(OVER),
            "evidence": msgspec.to_builtins(Evidence(id=7, readings=(fault, SILENCE), read_at=NOW)),
            "ramp": msgspec.to_builtins(spent),
            "rest": {
                "last_wave": True, "withdrawn": False, "reports_waiting": False, "harm_named": True,
                **({"harm_ends": True} if ends else {}),
            },
        }  # fmt: skip
        again = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
        assert again == (decided if ends else Finish())


UNSEEN = replace(
    FAULT, treated=0, control=0, treated_exposure=0, control_exposure=0, low_milli=0, high_milli=None
)
WATCHED = NOW - timedelta(seconds=86_400 + 3_600)  # the window, and until it is read
DONE = replace(WAVE, vehicles_targeted=100, newest_outcome_at=WATCHED)
NEW = {"harm_named": True, "pauses_last": True, "silence_pauses": True, "unknown_holds": True}


def on(
    wave: WaveFacts, *readings: Reading, begun: int = 0, in_flight: int = 0, accepted: bool = False, new: bool = True
) -> GateDecision:  # fmt: skip
    """Decide on a wave, or with vehicles that began on a ramp of ten more."""
    state = RampState(
        begun=begun, offered=0, offered_s=begun * 60, in_flight_milli=1_000 * in_flight, left=10
    )
    rules = NEW if new else {"harm_named": True}
    return decide_gate(
        POLICY, wave, wave, last_wave=False, now=NOW, **rules, unknown_accepted=accepted,
        ramp=replace(SMALL, state=state) if begun else None,
        evidence=Evidence(id=7, readings=readings, read_at=NOW),
    )  # fmt: skip


RAMPING = replace(DONE, vehicles_targeted=110)  # with those that are not released yet


@pytest.mark.parametrize(
    ("wave", "readings", "more", "decided"),
    [
        (RAMPING, (UNSEEN, SILENCE), {"begun": 2, "in_flight": 2}, Pause("not_known_for_good: fault")),
        (RAMPING, (UNSEEN, SILENCE), {"begun": 2}, Pause("not_known_for_good: fault")),  # a window without data frees none
        (RAMPING, (), {"begun": 2}, Pause("not_known_for_good: fault")),
        (RAMPING, (UNSEEN,), {"begun": 2, "new": False}, Grow(2)),  # as decisions of before were made
        (RAMPING, (UNSEEN,), {"begun": 2, "accepted": True}, Grow(2, "unknown_accepted")),  # by an approver
        (RAMPING, (UNSEEN,), {"begun": 1}, Grow(1, "few_began")),  # of the first budget
        (RAMPING, (FAULT,), {"begun": 4}, Grow(10)),
        (replace(RAMPING, vehicles_targeted=111), (UNSEEN,), {"begun": 2}, Hold("not_known: fault")),  # one is open
        (replace(RAMPING, newest_outcome_at=WATCHED + timedelta(seconds=1)), (UNSEEN,), {"begun": 2}, Hold("not_known: fault")),
        (RAMPING, (replace(UNSEEN, treated=4),), {"begun": 2}, Hold("harm_seen: budget_spent")),
    ],
)  # fmt: skip
def test_a_ramp_of_whose_pace_nothing_is_known_stays_within_its_first_budget(
    wave: WaveFacts, readings: tuple[Reading, ...], more: dict[str, int], decided: GateDecision
) -> None:
    assert on(wave, *readings, **more) == decided  # type: ignore[arg-type]


WHOLE = replace(SMALL, budget=replace(SMALL.budget, counts="whole_campaign"))
LATELY = {"newest_outcome_at": WATCHED + timedelta(seconds=1)}
UNPROVED = Pause("budget_spent_unproved")


@pytest.mark.parametrize(
    ("begun", "reading", "wave", "more", "decided"),
    [
        (100, FAULT, {}, {}, Grow(10)),  # of about 800
        (900, FAULT, {}, {}, UNPROVED),
        (900, FAULT, {}, {"budgets": 2}, Grow(10)),  # an approver went on
        (1_900, FAULT, {}, {"budgets": 2}, UNPROVED),
        (900, FAULT, {"vehicles_targeted": 111}, {}, Hold("budget_in_flight")),  # one is open
        (900, FAULT, LATELY, {}, Hold("budget_in_flight")),  # one is watched
        (900, replace(FAULT, low_milli=1_251), {}, {}, Hold("harm_seen: fault")),
        (900, FAULT, {}, {"unseen": "fault"}, Pause("not_known_for_good: fault")),  # telemetry broke: not the budget
        (2, UNSEEN, {}, {}, Pause("not_known_for_good: fault")),
        (1, UNSEEN, {}, {}, Grow(1, "few_began")),
    ],
)  # fmt: skip
def test_a_budget_over_the_whole_campaign_is_not_freed_by_time_and_asks_a_person_once_it_is_spent(
    begun: int, reading: Reading, wave: dict[str, Any], more: dict[str, Any], decided: GateDecision
) -> None:
    """All windows are over, nobody is in flight."""
    facts, known = replace(RAMPING, **wave), reading is not UNSEEN
    state = RampState(begun=begun, offered=0, offered_s=begun * 60, in_flight_milli=0, left=10)
    for accepted in (False, True):
        found = decide_gate(
            POLICY, facts, facts, last_wave=False, now=NOW, **NEW, unknown_accepted=accepted,
            ramp=replace(WHOLE, state=state, **more),
            evidence=Evidence(id=7, readings=(reading, SILENCE), read_at=NOW),
        )  # fmt: skip
        steps = accepted and ("unseen" in more or not known)
        step = Grow(2 if begun > 1 else 1, "unknown_accepted")
        assert found == (step if steps else decided)


def test_a_budget_over_the_whole_campaign_lets_one_finish_that_reached_everybody() -> None:
    state = RampState(begun=9_000, offered=0, offered_s=60, in_flight_milli=0, left=0)
    end = replace(OVER, newest_outcome_at=WATCHED)
    found = decide_gate(
        POLICY, end, end, last_wave=True, now=NOW, **NEW, unknown_ends=True, ramp=replace(WHOLE, state=state),
        evidence=Evidence(id=7, readings=(FAULT, SILENCE), read_at=NOW),
    )  # fmt: skip
    assert found == Finish()


WORSE_SILENCE = replace(SILENCE, low_milli=1_251)


@pytest.mark.parametrize(
    ("wave", "readings", "more", "decided"),
    [
        (DONE, (UNSEEN, SILENCE), {}, Pause("not_known_for_good: fault")),
        (DONE, (), {}, Pause("not_known_for_good: fault")),
        (DONE, (FAULT,), {}, Pause("not_known_for_good: silence")),
        (DONE, (FAULT, SILENCE), {}, Advance()),
        (DONE, (), {"new": False}, Hold("not_known: fault")),
        (DONE, (), {"accepted": True}, Advance("unknown_accepted")),
        (DONE, (FAULT, SILENCE), {"accepted": True}, Advance()),  # nothing is missing
        (DONE, (WORSE_SILENCE,), {"accepted": True}, Hold("harm_seen: silence")),  # harm is not accepted
        (DONE, (WORSE_SILENCE,), {}, Hold("harm_seen: silence")),
        (replace(DONE, newest_outcome_at=WATCHED + timedelta(seconds=1)), (), {}, Hold("not_known: fault")),
        (replace(DONE, vehicles_targeted=101), (), {}, Hold("not_known: fault")),
    ],
)  # fmt: skip
def test_a_wave_of_which_nothing_can_be_known_any_more_pauses_for_an_approver(
    wave: WaveFacts, readings: tuple[Reading, ...], more: dict[str, bool], decided: GateDecision
) -> None:
    assert on(wave, *readings, **more) == decided


def test_a_ramp_whose_plan_compares_no_harm_goes_by_what_it_compares() -> None:
    silent = replace(
        POLICY, sequential=SequentialPolicy(metrics=(Metric(name=MetricName.SILENCE, margin_milli=1_250),))
    )
    state = RampState(begun=2, offered=0, offered_s=120, in_flight_milli=0, left=10)
    decided = [
        decide_gate(
            silent, RAMPING, RAMPING, last_wave=False, now=NOW, **NEW, ramp=replace(SMALL, state=state),
            evidence=Evidence(id=7, readings=readings, read_at=NOW),
        )
        for readings in ((), (SILENCE,))
    ]  # fmt: skip
    assert decided == [Pause("not_known_for_good: silence"), Grow(2)]


BLIND = replace(SMALL, unseen="fault", unseen_milli=5_000, state=replace(SMALL.state, begun=5))


def blind(
    *readings: Reading, ramp: Ramp = BLIND, wave: WaveFacts = RAMPING, accepted: bool = False
) -> GateDecision:
    """Decide on a ramp that nothing was seen of for some time, and again from the record."""
    evidence = Evidence(id=7, readings=readings, read_at=NOW)
    rest = {
        "last_wave": False,
        "withdrawn": False,
        "reports_waiting": False,
        **NEW,
        "unknown_accepted": accepted,
    }
    decided = decide_gate(POLICY, wave, wave, now=NOW, evidence=evidence, ramp=ramp, **rest)
    facts = {
        "wave": msgspec.to_builtins(wave), "released": msgspec.to_builtins(wave),
        "evidence": msgspec.to_builtins(evidence), "ramp": msgspec.to_builtins(ramp), "rest": rest,
    }  # fmt: skip
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided
    facts["ramp"] = {name: value for name, value in facts["ramp"].items() if not name.startswith("unseen")}
    by_time = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert isinstance(by_time, Grow | Hold), "as decisions of before were made"
    assert (by_time.reason == "budget_in_flight") == (ramp.state.in_flight_milli >= 5_000)
    return decided


BLIND_NOW = replace(BLIND, steps=True)  # as decisions are made now
MANY = replace(BLIND, unseen_milli=10_000_000)  # more than the bound that is known of them lets be in flight
WIDE = replace(FAULT, treated=0, control=0, high_milli=None)  # seen, and bounded by nothing yet


@pytest.mark.parametrize(
    ("ramp", "wave", "accepted", "decided"),
    [
        (BLIND, RAMPING, False, Pause("not_known_for_good: fault")),
        (BLIND, replace(RAMPING, vehicles_targeted=111), False, Hold("not_known: fault")),  # one is open
        (BLIND, replace(RAMPING, newest_outcome_at=NOW), False, Hold("not_known: fault")),  # one is watched
        (BLIND, RAMPING, True, Grow(2, "unknown_accepted")),
        (BLIND_NOW, RAMPING, True, Grow(2, "unknown_accepted")),
        (replace(BLIND, unseen_milli=500), RAMPING, False, Grow(1)),  # most were seen to the end
        (replace(BLIND, unseen_milli=0), RAMPING, True, Grow(2)),  # all were
        (replace(BLIND, state=replace(BLIND.state, in_flight_milli=5_000)), RAMPING, False, Hold("budget_in_flight")),
    ],
)  # fmt: skip
def test_time_without_a_sight_of_what_sets_its_pace_frees_nothing_of_a_ramp(
    ramp: Ramp, wave: WaveFacts, decided: GateDecision, *, accepted: bool
) -> None:
    assert blind(WIDE, SILENCE, ramp=ramp, wave=wave, accepted=accepted) == decided


@pytest.mark.parametrize(
    ("ramp", "accepted", "decided"),
    [
        (MANY, True, Grow(10, "unknown_accepted")),  # as decisions of before were made
        (
            replace(MANY, steps=True),
            True,
            Grow(2, "unknown_accepted"),
        ),  # no more, though the bound of before lets it
        (replace(MANY, steps=True, unseen_milli=1_000), True, Grow(10)),  # most were seen to the end
        (replace(MANY, steps=True), False, Pause("not_known_for_good: fault")),
    ],
)
def test_who_goes_on_past_what_is_not_seen_any_more_releases_the_first_budget(
    ramp: Ramp, decided: GateDecision, *, accepted: bool
) -> None:
    assert blind(FAULT, SILENCE, ramp=ramp, accepted=accepted) == decided


@pytest.mark.parametrize(
    ("ramp", "readings", "rules", "decided"),
    [
        (
            None,
            (FAULT, SILENCE),
            {},
            Hold("telemetry_silent"),
        ),  # known since the wave was released, and not now
        (None, (FAULT, SILENCE), {"unknown_accepted": True}, Advance()),
        (None, (), {}, Pause("not_known_for_good: fault")),  # an approver may go on all the same
        (None, (WORSE_SILENCE, FAULT), {}, Hold("harm_seen: silence")),
        (SMALL, (FAULT, SILENCE), {}, Hold("telemetry_silent")),
        (SMALL, (FAULT, SILENCE), {"unknown_accepted": True}, Grow(10)),
    ],
)
def test_nothing_is_released_while_telemetry_is_silent_on_what_was_known_before(
    ramp: Ramp | None, readings: tuple[Reading, ...], rules: dict[str, bool], decided: GateDecision
) -> None:
    wave = RAMPING if ramp else DONE
    evidence = Evidence(id=7, readings=readings, read_at=NOW, silent=True)
    rest = {"last_wave": False, "withdrawn": False, "reports_waiting": False, **NEW, **rules}
    assert decide_gate(POLICY, wave, wave, now=NOW, evidence=evidence, ramp=ramp, **rest) == decided
    facts = {
        "wave": msgspec.to_builtins(wave), "released": msgspec.to_builtins(wave), "rest": rest,
        "evidence": msgspec.to_builtins(evidence), "ramp": msgspec.to_builtins(ramp),
    }  # fmt: skip
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided
    facts["evidence"].pop("silent")
    of_before = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert of_before != Hold("telemetry_silent"), "as decisions of before were made"


LOST = NOW - timedelta(
    seconds=4 * SequentialPolicy().tick_s + 60
)  # so long ago that a reading of then is old
LATE = replace(DONE, newest_outcome_at=WATCHED + timedelta(seconds=1))
SPENT = replace(SMALL, state=replace(SMALL.state, left=0))


@pytest.mark.parametrize(
    ("wave", "readings", "more", "decided"),
    [
        (DONE, (FAULT, SILENCE), {"silent_since": None}, Finish()),  # telemetry is read
        (DONE, (FAULT, SILENCE), {"silent_since": NOW}, Hold("telemetry_silent")),
        (DONE, (FAULT, SILENCE), {"silent_since": LOST}, Pause("not_known_for_good: fault")),
        (DONE, (FAULT, SILENCE), {"silent_since": LOST, "accepted": True}, Finish()),
        (DONE, (), {"silent_since": LOST, "accepted": True}, Finish()),
        (DONE, (FAULT,), {"silent_since": None}, Pause("not_known_for_good: silence")),
        (LATE, (), {"silent_since": LOST}, Hold("watching")),
        (DONE, (WORSE_SILENCE, FAULT), {"silent_since": LOST}, Hold("harm_seen: silence")),
        (replace(DONE, vehicles_installed=0, vehicles_failed=1, vehicles_cancelled=99), (), {"silent_since": None}, Finish()),
        (DONE, (), {"silent_since": None, "ramp": SPENT}, Pause("not_known_for_good: fault")),
        (DONE, (FAULT,), {"silent_since": None, "ramp": SPENT}, Finish()),  # its pace is known
        (DONE, (FAULT,), {"silent_since": NOW, "ramp": SPENT}, Hold("telemetry_silent")),
        (DONE, (WIDE, SILENCE), {"silent_since": None, "ramp": replace(SPENT, unseen="fault", unseen_milli=5_000)}, Pause("not_known_for_good: fault")),
        (DONE, (WIDE, SILENCE), {"silent_since": None, "ramp": replace(SPENT, unseen="fault", unseen_milli=500)}, Finish()),
    ],
)  # fmt: skip
def test_a_campaign_does_not_finish_on_what_nobody_saw(
    wave: WaveFacts, readings: tuple[Reading, ...], more: dict[str, Any], decided: GateDecision
) -> None:
    """It waits while telemetry may come back, and then for an approver; in decisions of before it finished."""
    since = more["silent_since"]
    facts = {
        "wave": msgspec.to_builtins(wave), "released": msgspec.to_builtins(wave),
        "ramp": msgspec.to_builtins(more.get("ramp")),
        "evidence": msgspec.to_builtins(
            Evidence(id=7, readings=readings, read_at=NOW, silent=since is not None, silent_since=since)
        ),
        "rest": {
            "last_wave": True, "withdrawn": False, "reports_waiting": False, **NEW, "harm_ends": True,
            "unknown_ends": True, "unknown_accepted": more.get("accepted", False),
        },
    }  # fmt: skip
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided
    del facts["rest"]["unknown_ends"]
    of_before = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert isinstance(of_before, Finish) or of_before == decided


@pytest.mark.parametrize("ramp", [None, SMALL])
@pytest.mark.parametrize(
    ("newest", "since", "decided"),
    [
        (WATCHED, LOST, Pause("not_known_for_good: fault")),
        (WATCHED, LOST + timedelta(seconds=1), Hold("telemetry_silent")),  # it may be back at once
        (WATCHED + timedelta(seconds=1), LOST, Hold("telemetry_silent")),  # one is watched
        (WATCHED, None, Hold("telemetry_silent")),  # as decisions of before were made
    ],
)
def test_telemetry_that_stays_silent_pauses_for_an_approver(
    ramp: Ramp | None, newest: datetime, since: datetime | None, decided: GateDecision
) -> None:
    wave = replace(RAMPING if ramp else DONE, newest_outcome_at=newest)
    evidence = Evidence(id=7, readings=(FAULT, SILENCE), read_at=NOW, silent=True, silent_since=since)
    for accepted in (False, True):
        on = decide_gate(
            POLICY, wave, wave, last_wave=False, now=NOW, evidence=evidence, ramp=ramp, **NEW,
            unknown_accepted=accepted,
        )  # fmt: skip
        assert isinstance(on, Grow | Advance) if accepted else on == decided


@pytest.mark.parametrize(
    ("exposed", "more", "decided"),
    [
        ({"fault": (999 * DAY_US, 19_999 * DAY_US)}, {}, Advance()),
        ({"fault": (1_000 * DAY_US, 19_999 * DAY_US)}, {}, Pause("not_known_for_good: fault")),  # nothing of who is updated
        ({"fault": (999 * DAY_US, 20_000 * DAY_US)}, {}, Pause("not_known_for_good: fault")),  # nothing of the others
        ({"silence": (1_000 * DAY_US, 20_000 * DAY_US)}, {}, Advance()),  # known late after an update
        ({"fault": (1_000 * DAY_US, 0)}, {"vehicles_targeted": 101}, Hold("not_known: fault")),
        ({"fault": (1_000 * DAY_US, 0)}, {"newest_outcome_at": NOW}, Hold("not_known: fault")),
        ({"fault": (1_000 * DAY_US, 0)}, {"vehicles_installed": 0, "vehicles_cancelled": 100}, Advance("wave_let_go")),
    ],
)  # fmt: skip
def test_a_wave_of_which_nothing_was_seen_since_it_was_released_opens_no_other(
    exposed: dict[str, tuple[int, int]], more: dict[str, Any], decided: GateDecision
) -> None:
    wave, released = replace(DONE, **more), replace(DONE, **more)
    if "vehicles_cancelled" in more:
        released = replace(released, vehicles_targeted=200, vehicles_installed=100)
    evidence = Evidence(id=7, readings=(FAULT, SILENCE), read_at=NOW, exposed=exposed)
    assert (
        decide_gate(POLICY, wave, released, last_wave=False, now=NOW, ramp=None, **NEW, evidence=evidence)
        == decided
    )
    rest = {"last_wave": False, "withdrawn": False, "reports_waiting": False, **NEW}
    facts = {
        "wave": msgspec.to_builtins(wave), "released": msgspec.to_builtins(released),
        "evidence": msgspec.to_builtins(evidence), "rest": rest,
    }  # fmt: skip
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided


@pytest.mark.parametrize("ramp", [None, SMALL])
@pytest.mark.parametrize(
    ("fault", "refused", "decided", "before"),
    [
        (CONFINED, "fault", Halt("worse_than_control: fault in van/EU"), Halt("worse_than_control: fault")),
        (replace(CONFINED, low_milli=1_251), "", Hold("harm_seen: fault in van/EU"), Hold("harm_seen: fault")),
        (replace(CONFINED, low_milli=1_251, strata=(STRATUM,)), "", Hold("harm_seen: fault"), Hold("harm_seen: fault")),
    ],
)  # fmt: skip
def test_harm_that_is_seen_in_all_is_named_by_the_stratum_that_stands_out(
    ramp: Ramp | None, fault: Reading, refused: str, decided: GateDecision, before: GateDecision
) -> None:
    rest = {
        "last_wave": False, "withdrawn": False, "reports_waiting": False, **NEW, "harm_named": True, "strata_named": True,
    }  # fmt: skip
    facts = {
        "wave": msgspec.to_builtins(DONE), "released": msgspec.to_builtins(DONE), "ramp": msgspec.to_builtins(ramp),
        "evidence": msgspec.to_builtins(
            Evidence(id=7, readings=(fault, SILENCE), read_at=NOW, refused=refused)
        ),
        "rest": rest,
    }  # fmt: skip
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided
    del facts["rest"]["strata_named"]
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == before


STALE_S = 4 * SequentialPolicy().tick_s + 60
UNWATCHED = WATCHED - timedelta(seconds=STALE_S)  # watched by now, and a reading of then would be old
OLD = NOW - timedelta(seconds=STALE_S + 1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("ramp", [None, SMALL])
@pytest.mark.parametrize(
    ("newest", "read_at", "readings", "open_", "accepted", "decided"),
    [
        (UNWATCHED, OLD, (FAULT, SILENCE), 0, False, Pause("not_known_for_good: fault")),
        (UNWATCHED, None, (), 0, False, Pause("not_known_for_good: fault")),
        (UNWATCHED, OLD + timedelta(seconds=1), (), 0, False, None),  # a reading that is not old yet
        (UNWATCHED + timedelta(seconds=1), OLD, (), 0, False, Hold("reading_too_old")),
        (UNWATCHED, None, (), 1, False, Hold("no_reading")),  # an outcome is to come
        (UNWATCHED, OLD, (WORSE_SILENCE, FAULT), 0, False, Hold("harm_seen: silence")),
        (UNWATCHED, OLD, (WORSE_SILENCE, FAULT), 0, True, Hold("harm_seen: silence")),  # harm is not accepted
        (UNWATCHED, OLD, (FAULT, SILENCE), 0, True, "on"),
        (UNWATCHED, None, (), 0, True, "on"),
    ],
)  # fmt: skip
def test_readings_that_do_not_come_pause_and_an_approver_goes_on_by_one_step(
    *, last: bool, ramp: Ramp | None, newest: datetime, read_at: datetime | None, readings: tuple[Reading, ...], open_: int,
    accepted: bool, decided: GateDecision | str | None,
) -> None:  # fmt: skip
    if last and ramp:
        ramp = replace(ramp, state=replace(ramp.state, left=0))
    wave = replace(DONE, newest_outcome_at=newest, vehicles_targeted=DONE.vehicles_targeted + open_)
    if ramp and not last:
        wave = replace(wave, vehicles_targeted=wave.vehicles_targeted + ramp.state.left)
    rest = {
        "last_wave": last, "withdrawn": False, "reports_waiting": False, **NEW, "harm_named": True, "harm_ends": True,
        "unknown_ends": True, "unread_ends": True, "unknown_accepted": accepted,
    }  # fmt: skip
    facts = {
        "wave": msgspec.to_builtins(wave), "released": msgspec.to_builtins(wave), "ramp": msgspec.to_builtins(ramp),
        "evidence": msgspec.to_builtins(Evidence(id=7, readings=readings, read_at=read_at)), "rest": rest,
    }  # fmt: skip
    again = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    goes_on = Finish() if last else Grow(2, "unknown_accepted") if ramp else Advance("unknown_accepted")
    if decided is None:
        assert again != Hold("reading_too_old")
    elif last and open_:
        assert again == Hold("outcomes_awaited")
    else:
        assert again == (goes_on if decided == "on" else decided)
    del rest["unread_ends"]
    of_before = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert isinstance(of_before, Hold | Pause), "as decisions of before were made"
    assert of_before != Pause("not_known_for_good: fault") or decided is None


@pytest.mark.parametrize(
    ("newest", "read_at", "decided"),
    [
        (NOW - timedelta(seconds=1), OLD, Hold("reading_too_old")),
        (NOW - timedelta(seconds=1), None, Hold("no_reading")),
        (UNWATCHED + timedelta(seconds=1), None, Hold("no_reading")),
        (UNWATCHED, None, Finish("unknown_accepted")),
        (None, None, Finish("unknown_accepted")),  # nobody was to be watched
    ],
)
def test_an_accepted_unknown_finishes_only_once_the_newest_was_to_be_watched_and_is_named(
    newest: datetime | None, read_at: datetime | None, decided: GateDecision
) -> None:
    wave = msgspec.to_builtins(replace(DONE, newest_outcome_at=newest))
    rest = {
        "last_wave": True, "withdrawn": False, "reports_waiting": False, **NEW, "unread_ends": True,
        "unread_watched": True, "unknown_accepted": True,
    }  # fmt: skip
    evidence = msgspec.to_builtins(Evidence(id=7, readings=(), read_at=read_at))
    facts = {"wave": wave, "released": wave, "evidence": evidence, "rest": rest}
    assert decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW) == decided
    del rest["unread_watched"]
    of_before = decide_again(facts, msgspec.to_builtins(POLICY), decided_at=NOW)
    assert of_before == Finish(), "as decisions of before were made"
