"""The gate with a control group: evidence halts, missing or old evidence holds, a ramp grows once per reading."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.kernel.errors import InvalidInput
from ringroad.ship.gate import (
    Advance,
    Evidence,
    Finish,
    GateDecision,
    GatePolicy,
    Grow,
    Halt,
    Hold,
    decide_gate,
)
from ringroad.ship.guard import Metric, MetricName, Past, Reading, SequentialPolicy
from ringroad.ship.ramp import HarmBudget, Ramp, RampState
from ringroad.ship.wave_facts import WaveFacts

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
DAY_US = 86_400_000_000
SEQUENTIAL = SequentialPolicy()
POLICY = GatePolicy(
    failed_permille_max=0, reports_min=100, soak_s=60, silence_s_max=3_600, sequential=SEQUENTIAL
)
PAST: dict[str, Past] = {
    name: Past(failed=49, tried=9_998) for name in (MetricName.INSTALL_FAILED, MetricName.ROLLED_BACK)
}
LIMIT = SEQUENTIAL.limit(SEQUENTIAL.metrics[0])


def reading(metric: MetricName, **more: Any) -> Reading:
    return Reading(
        **{
            "metric": metric, "log_e_micronats": 0, "limit_micronats": LIMIT, "point_milli": 1_000, "low_milli": 500,
            "high_milli": 2_000, "treated": 5, "control": 99, "treated_exposure": 1_000 * DAY_US,
            "control_exposure": 20_000 * DAY_US, **more,
        }
    )  # fmt: skip


FAULT, SILENCE = reading(MetricName.FAULT), reading(MetricName.SILENCE)
EVIDENCE = Evidence(id=7, readings=(FAULT, SILENCE), read_at=NOW - timedelta(seconds=900), past=PAST)
STATE = RampState(begun=1_000, offered=200, offered_s=1_000 * 64_800, in_flight_milli=400_000, left=900_000)
RAMP = Ramp(budget=HarmBudget(harmed_first=40, harmed_last=400), state=STATE, used=6)


def wave(installed: int = 100, failed: int = 0, **more: Any) -> WaveFacts:
    at = NOW - timedelta(seconds=120)
    return WaveFacts(
        **{
            "vehicles_targeted": 1_000, "vehicles_installed": installed, "vehicles_failed": failed,
            "newest_report_at": at, "evidence_since": at, **more,
        }
    )  # fmt: skip


def decide(
    evidence: Evidence | None = EVIDENCE,
    *,
    facts: WaveFacts | None = None,
    ramp: Ramp | None = None,
    last_wave: bool = False,
    **more: Any,
) -> GateDecision:
    facts = facts or wave()
    return decide_gate(
        POLICY, facts, facts, last_wave=last_wave, now=NOW, evidence=evidence, ramp=ramp, **more
    )


def test_the_policy_says_its_kind() -> None:
    assert (POLICY.kind, GatePolicy().kind) == ("sequential", "rules")


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        (EVIDENCE, Advance()),
        (replace(EVIDENCE, refused="fault"), Halt("worse_than_control: fault")),
        (replace(EVIDENCE, refused="fault", read_at=NOW - timedelta(days=9)), Halt("worse_than_control: fault")),
        (None, Hold("no_reading")),
        (Evidence(past=PAST), Hold("no_reading")),
        (replace(EVIDENCE, read_at=NOW - timedelta(seconds=4 * 900 + 60)), Advance()),
        (replace(EVIDENCE, read_at=NOW - timedelta(seconds=4 * 900 + 61)), Hold("reading_too_old")),
        (replace(EVIDENCE, read_at=NOW + timedelta(seconds=301)), Hold("evidence_from_the_future")),
        (replace(EVIDENCE, readings=(FAULT,)), Hold("not_known: silence")),
        (replace(EVIDENCE, readings=()), Hold("not_known: fault")),
        (replace(EVIDENCE, readings=(replace(FAULT, control_exposure=0), SILENCE)), Hold("not_known: fault")),
        (replace(EVIDENCE, readings=(FAULT, replace(SILENCE, treated_exposure=0))), Hold("not_known: silence")),
        (replace(EVIDENCE, control_short="9 of 20"), Hold("control_too_small")),
        (replace(EVIDENCE, control_short="9 of 20", refused="fault"), Halt("worse_than_control: fault")),
    ],
)  # fmt: skip
def test_waves_advance_on_fresh_readings_of_every_metric(
    evidence: Evidence | None, expected: GateDecision
) -> None:
    assert decide(evidence) == expected


def test_the_rules_hold_as_before_and_the_fixed_limit_does_not_halt() -> None:
    """One failed installation of a hundred: the rule of 0 permille would halt, the past does not."""
    assert decide(facts=wave(99, 1)) == Advance()
    assert decide(facts=wave(50)) == Hold("too_few_reports")
    assert decide(facts=wave(evidence_since=None)) == Hold("soaking")
    assert decide(reports_waiting=True) == Hold("reports_waiting")
    assert decide(facts=wave(-1)) == Hold("contradictory_evidence")
    assert decide(withdrawn=True) == Halt("release_withdrawn")


@pytest.mark.parametrize(
    ("facts", "metric"),
    [
        (wave(20, 12), "install_failed"),
        (wave(20, vehicles_lost=12), "install_failed"),
        (wave(20, vehicles_rolled_back=12), "rolled_back"),
    ],
)
def test_gross_failure_of_installations_halts_without_any_reading(facts: WaveFacts, metric: str) -> None:
    for evidence in (EVIDENCE, Evidence(past=PAST), Evidence(), None):
        assert decide(evidence, facts=facts) == Halt(f"worse_than_before: {metric}")
        assert decide(evidence, facts=facts, ramp=RAMP) == Halt(f"worse_than_before: {metric}")


def test_harm_halts_before_anything_else_is_looked_at() -> None:
    refused = replace(EVIDENCE, refused="silence")
    for ramp in (None, RAMP):
        assert isinstance(decide(refused, ramp=ramp, reports_waiting=True), Halt)
        assert isinstance(decide(refused, ramp=ramp, last_wave=True), Halt)


@pytest.mark.parametrize(
    ("outcomes", "halts"),
    [
        ({"vehicles_installed": 2, "vehicles_rolled_back": 4}, True),
        ({"vehicles_installed": 4, "vehicles_rolled_back": 3}, True),
        (
            {"vehicles_installed": 9, "vehicles_failed": 1, "vehicles_rolled_back": 1, "vehicles_lost": 1},
            True,
        ),
        ({"vehicles_installed": 10, "vehicles_rolled_back": 3}, False),  # less than a quarter
        ({"vehicles_installed": 0, "vehicles_failed": 2}, False),  # two may be bad luck
        ({"vehicles_installed": 6, "vehicles_cancelled": 4, "vehicles_silent": 2}, False),
    ],
)
def test_in_a_small_wave_plain_harm_halts_though_the_comparison_cannot_tell_yet(
    outcomes: dict[str, Any], *, halts: bool
) -> None:
    few = replace(wave(0), vehicles_targeted=13, **outcomes)
    known = replace(EVIDENCE, past={name: Past(failed=0, tried=17) for name in PAST})
    policy = replace(POLICY, reports_min=2)
    for waves in ((few, few), (few, wave()), (replace(wave(0), vehicles_targeted=13), few)):
        decision = decide_gate(policy, *waves, last_wave=False, now=NOW, evidence=known)
        assert isinstance(decision, Halt) is halts, waves
        if isinstance(decision, Halt):
            assert decision.reason == "too_many_failures"


def test_only_metrics_that_need_a_control_group_need_a_reading() -> None:
    installs = SequentialPolicy(metrics=(Metric(name=MetricName.ROLLED_BACK, margin_milli=3_000),))
    policy = replace(POLICY, sequential=installs)
    facts = wave()
    assert decide_gate(policy, facts, facts, last_wave=False, now=NOW, evidence=Evidence()) == Advance()


def test_a_ramp_grows_on_a_fresh_reading_and_once() -> None:
    grown = decide(ramp=RAMP)
    assert isinstance(grown, Grow)
    assert 1_000 < grown.vehicles < STATE.left
    assert decide(ramp=replace(RAMP, used=7)) == Hold("budget_in_flight")
    assert (
        decide(replace(EVIDENCE, readings=(FAULT,)), ramp=RAMP) == grown
    )  # silence comes late, and sets no pace


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (None, "no_reading"),
        (Evidence(past=PAST), "no_reading"),
        (replace(EVIDENCE, read_at=NOW - timedelta(hours=2)), "reading_too_old"),
        (replace(EVIDENCE, readings=()), "budget_in_flight"),
        (replace(EVIDENCE, readings=(replace(FAULT, high_milli=None),)), "budget_in_flight"),
        (replace(EVIDENCE, readings=(replace(FAULT, control_exposure=0),)), "budget_in_flight"),
        (replace(EVIDENCE, control_short="9 of 20"), "control_too_small"),
    ],
)
def test_a_ramp_does_not_grow_without_evidence(evidence: Evidence | None, reason: str) -> None:
    assert decide(evidence, ramp=RAMP) == Hold(reason)


SMALL = replace(
    RAMP, budget=HarmBudget(harmed_first=2, harmed_last=5), harm_holds=True,
    state=RampState(begun=4, offered=0, offered_s=4 * 60, in_flight_milli=0, left=10),
)  # fmt: skip
ALL_FAIL = reading(
    MetricName.FAULT, treated=4, control=0, low_milli=1_870, high_milli=None, point_milli=None,
    treated_exposure=DAY_US, control_exposure=3 * DAY_US,
)  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (ALL_FAIL, Hold("harm_seen")),
        (
            replace(ALL_FAIL, low_milli=900),
            Hold("harm_seen"),
        ),  # more than the budget, though it may be chance
        (replace(ALL_FAIL, low_milli=900, treated=2), Hold("harm_seen")),
        (replace(ALL_FAIL, low_milli=900, treated=1), Grow(1)),
        (replace(ALL_FAIL, low_milli=900, treated=0), Grow(2)),
        (replace(ALL_FAIL, low_milli=900, control=12), Grow(2)),  # the control group fails as often
        (replace(ALL_FAIL, low_milli=1_251, high_milli=9_000, control=40), Hold("harm_seen")),
    ],
)
def test_a_ramp_does_not_grow_on_harm(fault: Reading, expected: GateDecision) -> None:
    assert decide(replace(EVIDENCE, readings=(fault,)), ramp=SMALL) == expected


def test_a_metric_that_sets_no_pace_holds_a_ramp_above_its_margin_and_not_at_it() -> None:
    ramp = replace(RAMP, harm_holds=True)
    at = replace(EVIDENCE, readings=(FAULT, replace(SILENCE, low_milli=1_250)))
    assert decide(at, ramp=ramp) == decide(ramp=RAMP)
    above = replace(EVIDENCE, readings=(FAULT, replace(SILENCE, low_milli=1_251)))
    assert decide(above, ramp=ramp) == Hold("harm_seen")


def test_a_growth_that_was_decided_before_harm_held_it_is_decided_as_it_was() -> None:
    assert decide(replace(EVIDENCE, readings=(ALL_FAIL,)), ramp=replace(SMALL, harm_holds=False)) == Grow(2)


def test_a_ramp_never_releases_more_than_is_left_and_then_ends_like_a_last_wave() -> None:
    few = replace(RAMP, state=replace(STATE, left=3))
    assert decide(ramp=few) == Grow(3)
    done = replace(RAMP, state=replace(STATE, left=0))
    assert decide(ramp=done, last_wave=True) == Hold("outcomes_awaited")
    assert decide(ramp=done, last_wave=True, facts=wave(1_000)) == Finish()


@pytest.mark.parametrize(
    ("watched_s", "evidence", "expected"),
    [
        (86_400 + 3_600, EVIDENCE, Finish()),
        (86_400 + 3_600, replace(EVIDENCE, control_short="9 of 20"), Finish()),  # nobody else is offered it
        (86_400 + 3_599, EVIDENCE, Hold("watching")),
        (10**6, replace(EVIDENCE, read_at=NOW - timedelta(hours=3)), Hold("reading_too_old")),
        (10**6, Evidence(past=PAST), Hold("no_reading")),
        (10**6, None, Hold("no_reading")),
    ],
)
def test_the_last_update_is_watched_for_a_window_before_the_campaign_finishes(
    watched_s: int, evidence: Evidence | None, expected: GateDecision
) -> None:
    newest = NOW - timedelta(seconds=900 + watched_s)
    assert decide(evidence, last_wave=True, facts=wave(1_000, newest_outcome_at=newest)) == expected


@pytest.mark.parametrize("field", ["begun", "offered", "offered_s", "in_flight_milli", "left"])
def test_a_ramp_below_zero_cannot_be(field: str) -> None:
    with pytest.raises(InvalidInput):
        replace(STATE, **{field: -1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha_ppm": 0},
        {"alpha_ppm": 500_000},
        {"metrics": ()},
        {"metrics": SEQUENTIAL.metrics[:1] * 2},
        {"tick_s": 0},
        {"tick_s": 100_000, "window_s": 200_000},
        {"tick_s": 900, "window_s": 600, "quiet_s": 60},
        {"window_s": 10**9},
        {"gap_s": 0},
        {"late_s": -1},
        {"quiet_s": 86_400},
    ],
)
def test_a_policy_that_could_not_keep_its_promise_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        replace(SEQUENTIAL, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": MetricName.FAULT, "path": "Vehicle.Speed"},
        {"name": MetricName.BOOT_TIME},
        {"name": MetricName.BOOT_LOOP, "path": "x" * 201},
    ],
)
def test_a_metric_is_sampled_from_a_path_or_is_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Metric(margin_milli=1_250, **wrong)
