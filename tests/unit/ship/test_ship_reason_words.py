"""Reasons have words, and what people wrote stays as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ringroad.ship.fresh
import ringroad.ship.gate
from ringroad.ship.guard import MetricName
from ringroad.ship.judged import REFUSALS
from ringroad.ship.reason_words import (
    BUDGET_SPENT,
    CODE_WORDS,
    GATE_WORDS,
    HARMED_ELSEWHERE,
    METRIC_WORDS,
    VERDICT_WORDS,
    metric_words,
    reason_words,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("worse_than_before: install_failed", "worse than past installations: failed installations"),
        (
            "campaign halted: worse_than_control: fault in city/NO",
            "campaign halted: worse than the control group: faults in city/NO",
        ),
        ("harm_seen: budget_spent", "more harm than is accepted: the budget is spent"),
        ("harm_seen", "more harm than is accepted"),
        (
            "budget_spent_unproved",
            "no more may begin within the budget of harm: so much is not proved, and cannot be excluded",
        ),
        (
            "release_harmed_elsewhere: a_fix (campaign_1)",
            "its release did harm in another campaign: a_fix (campaign_1)",
        ),
        ("not_known: silence", "not known yet: silence"),
        ("soaking", "the new software has not run for long enough yet"),
        ("some_new_reason", "some new reason"),
        (
            "generation 2 of its plan is blocked: no_targets, no_control_group; plan again",
            "generation 2 of its plan is blocked: no targets, no control group; plan again",
        ),
        ("FAILED no_backup brake: it is gone", "failed: no way back: brake: it is gone"),
        ("FAILED no_backup", "failed: no way back"),
        ("ROLLBACK_FAILED rollback_failed brake: no answer", "rollback failed: brake: no answer"),
        (
            "ROLLBACK_FAILED blocked blocked since commit_failed: brake",
            "rollback failed: it begins nothing: blocked since commit_failed: brake",
        ),
        ("ROLLED_BACK self_test_failed brake said 0x31", "rolled back: self test failed: brake said 0x31"),
        ("INSTALLING 40 % brake-1 ACTIVATED", "installing 40 % brake-1 ACTIVATED"),
        ("DOWNLOADING 7 %", "downloading 7 %"),
        ("FAILED brake would go back", "failed brake would go back"),
        ("already_installed", "already installed"),
        (
            "mismatch: requires: brake; the vehicle said FAILED rollback no",
            "does not fit: requires: brake; the vehicle said failed: its release counter is too low: no",
        ),
        (
            "mismatch: release_counter: brake runs 3",
            "does not fit: the release counter of what runs is higher: brake runs 3",
        ),
        (
            "changed_elsewhere: front_left runs what no package holds",
            "changed by something else than a campaign: front_left runs what no package holds",
        ),
    ],
)
def test_a_reason_is_told_in_words(text: str, words: str) -> None:
    assert reason_words(text) == words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "by hand",
        "v1.2.0 of front_left is bad",
        "wait: service desk is full",
        "closed RHU: File.ok",
        "x: y_z",
    ],
)
def test_what_a_person_or_another_client_wrote_is_left_alone(text: str) -> None:
    assert reason_words(text) == text


def test_every_reason_of_the_gate_and_every_metric_and_refusal_has_words() -> None:
    source = "".join(
        Path(str(each.__file__)).read_text() for each in (ringroad.ship.gate, ringroad.ship.fresh)
    )
    reasons = set(re.findall(r'(?:Hold|Halt|Advance|Pause)\("([a-z_]+)', source))
    reasons |= set(re.findall(r'return f?"([a-z]+_[a-z_]+)', source)) | {
        ringroad.ship.gate.HARM_SEEN,
        HARMED_ELSEWHERE,
    }
    assert len(reasons) >= 18
    assert reasons <= GATE_WORDS.keys()
    assert set(MetricName) | {BUDGET_SPENT} == METRIC_WORDS.keys()
    assert REFUSALS.keys() <= CODE_WORDS.keys()
    assert metric_words("of_tomorrow") == "of tomorrow"
    assert "mismatch" in VERDICT_WORDS
