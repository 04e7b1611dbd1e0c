"""A decision of the gate says by which metric, stratum, bound, margin and odds it was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ringroad.cli.campaign_text import gate_text
from ringroad.http.console.decided import counted, decision_lines
from ringroad.ship.compared import compared_then
from ringroad.ship.gate import Evidence, GatePolicy
from ringroad.ship.guard import MetricName, Past, Reading, SequentialPolicy, StratumReading
from ringroad.ship.wave_facts import WaveFacts

NOW = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
DAY_US = 86_400_000_000
VAN = StratumReading(
    stratum="van/EU", log_e_micronats=6_000_000, point_milli=6_000, low_milli=1_900, high_milli=20_000, treated=30,
    control=5, treated_exposure=DAY_US, control_exposure=DAY_US,
)  # fmt: skip
FAULT = Reading(
    metric=MetricName.FAULT, log_e_micronats=3_912_024, limit_micronats=5_991_465, point_milli=2_000, low_milli=900,
    high_milli=None, treated=1_200, control=99, treated_exposure=1_000 * DAY_US, control_exposure=20_000 * DAY_US,
    strata=(VAN, replace(VAN, stratum="city/EU", low_milli=1_250)),
)  # fmt: skip
WAVE = WaveFacts(vehicles_targeted=1_000, vehicles_installed=97, vehicles_failed=3)
POLICY = msgspec.to_builtins(GatePolicy(sequential=SequentialPolicy()))
HELD = "harm_seen: fault in van/EU"


def facts(*readings: Reading, **more: Any) -> dict[str, Any]:
    past: dict[str, Past] = {MetricName.INSTALL_FAILED: Past(failed=9, tried=1_998)}
    evidence = Evidence(id=7, readings=readings, read_at=NOW, past=past)
    wave = msgspec.to_builtins(WAVE)
    return {"wave": wave, "released": wave, "evidence": msgspec.to_builtins(evidence), **more}


def test_what_held_comes_first_with_its_stratum_bounds_margin_and_odds() -> None:
    lines = decision_lines(facts(FAULT), POLICY, HELD)
    assert lines[0] == (
        "faults: 1,200 updated, 99 of the control group; 2.00 times · at least 0.90 times; up to 1.25 times are accepted;"
        " 50 to 1 against chance, halts at 400 to 1; most in van/EU: 30 updated, 5 of the control group;"
        " 6.00 times · between 1.90 and 20.00 times"
    )
    assert [line.partition(":")[0] for line in lines[1:4]] == [
        "failed installations",
        "roll-backs",
        "silence",
    ]
    assert lines[1].startswith("failed installations: 3 of 100 updated, 9 of 1,998 past installations; ")
    assert lines[2].startswith("roll-backs: 0 of 97 updated, no past installations; ")
    assert (
        lines[3] == "silence: nothing is known yet against the control group; up to 1.25 times are accepted"
    )
    assert (
        lines[4] == "reading 7; bounds hold at every look with 95 %; a good update halts in 1 % of campaigns"
    )


def test_a_stratum_within_the_margin_is_not_named() -> None:
    (fault, *_) = decision_lines(facts(replace(FAULT, strata=FAULT.strata[1:])), POLICY, "harm_seen: fault")
    assert "most in" not in fault


def test_what_halted_is_marked_in_what_was_compared() -> None:
    rows = compared_then(facts(FAULT), POLICY, reason="worse_than_control: fault")
    assert [row.metric for row in rows if row.halted] == ["fault"]


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, POLICY),
        (facts(FAULT), msgspec.to_builtins(GatePolicy())),
        (facts(FAULT), {**POLICY, "reports_min": 0}),
        (facts(FAULT), {}),
        (facts(evidence=3), POLICY),
        (facts(released={"vehicles_targeted": "ten"}), POLICY),
    ],
)
def test_a_gate_of_rules_or_a_record_of_before_has_no_comparison(
    given: dict[str, Any], policy: dict[str, Any]
) -> None:
    assert decision_lines(given, policy, HELD) == []


def test_without_a_reading_only_installations_are_compared_and_contradictory_counts_are_not() -> None:
    first = decision_lines(facts(evidence=None), POLICY, "no_reading")
    assert first[0].startswith("failed installations: 3 of 100 updated")
    assert not first[-1].startswith("reading")
    wrong = {"vehicles_targeted": 1, "vehicles_installed": 5}
    assert decision_lines(facts(released=wrong), POLICY, "no_reading")[0].startswith(
        "failed installations: nothing is known yet"
    )


def test_the_counts_of_the_wave_are_told_without_those_that_are_nothing() -> None:
    assert counted(facts()) == "1000 targeted, 97 installed, 3 failed"
    assert counted({}) == counted({"wave": "lost"}) == ""


def test_the_command_line_tells_what_the_first_decision_shown_rests_on() -> None:
    row = {
        "decided_at": "2026-11-26T08:00:00Z", "wave": 1, "decision": "hold", "reason": HELD, "facts": facts(FAULT),
        "policy": POLICY,
    }  # fmt: skip
    text = gate_text([row, row])
    assert text.count("most in van/EU") == 1
    assert "the first of these rests on\n  faults: 1,200 updated" in text
    rules = {**row, "reason": "soaking", "policy": msgspec.to_builtins(GatePolicy())}
    assert "rests on" not in gate_text([rules])
    assert "rests on" not in gate_text([])
    assert "rests on" not in gate_text([row], last=True)
