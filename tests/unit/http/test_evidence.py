"""What a finding's evidence and an outcome's measure say in words."""

from __future__ import annotations

from typing import Any

import pytest

from ringroad.http.console.evidence import evidence_chart, evidence_numbers, outcome_ratio, outcome_rows

EVIDENCE: dict[str, Any] = {
    "rule": "rising-faults",
    "against": "other_versions",
    "control_versions": ["0.9.0"],
    "population": {"vehicles_exposed": 1_100, "vehicles_with_fault": 5, "exposure_us": 7_200_000_000},
    "ratio": {"point_milli": None, "low_milli": 1_780, "high_milli": None},
    "log_e_micronats": 4_801_986,
    "alpha_ppm": 10_000,
    "hypotheses": 2,
    "first_signal_us": 1_795_629_574_268_161,
    "unbelieved_rows": 0,
}


def test_evidence_is_told_in_words_and_units() -> None:
    told = dict(evidence_numbers(EVIDENCE))
    assert told["Compared with"] == "other versions 0.9.0"
    assert told["Vehicles watched"] == "1,100"
    assert told["Time watched, all vehicles"] == "2 h 0 min"
    assert told["How much more often"] == "at least 1.78 times"
    assert told["Odds against chance"] == "122 to 1"
    assert told["Odds asked for"] == "200 to 1"
    assert told["First signal"] == "2026-11-25 17:59:34 UTC"
    assert told["Rows not believed"] == "0"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"population": None, "ratio": "2", "versions": [None, 3]},
        {"alpha_ppm": 0, "hypotheses": 1, "first_signal_us": "today"},
    ],
)
def test_what_a_document_does_not_say_is_left_out(document: dict[str, Any]) -> None:
    assert evidence_numbers(document) == []
    assert evidence_chart(document) == ""
    assert outcome_rows(document) == []
    assert outcome_ratio(document) == ""


def test_odds_beyond_belief_are_bounded() -> None:
    assert ("Odds against chance", "more than 1,000,000 to 1") in evidence_numbers(
        {"log_e_micronats": 10**12}
    )


def test_an_outcome_is_told_as_before_and_after() -> None:
    arm = {
        "software_versions": ["1.0.0"],
        "vehicles_exposed": 25,
        "vehicles_with_fault": 22,
        "exposure_us": 10**6,
    }
    measure = {
        "after": {**arm, "software_versions": [], "vehicles_with_fault": 0},
        "before": arm,
        "ratio_milli": 0,
        "interval_milli": [0, 420],
    }
    before, after = outcome_rows(measure)
    assert (before["arm"], before["software"], before["faults"]) == ("before", "1.0.0", "22")
    assert (after["arm"], after["software"], after["faults"]) == ("after", "–", "0")
    assert outcome_ratio(measure) == "0.00 times · between 0.00 and 0.42 times"
    assert outcome_ratio({"interval_milli": [200, None]}) == "at least 0.20 times"
    assert outcome_ratio({"interval_milli": [0, None]}) == ""
