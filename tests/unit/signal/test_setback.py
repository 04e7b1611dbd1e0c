"""What a setback opens: a table, and that nothing is opened twice or on nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ringroad.kernel.errors import Corrupt
from ringroad.signal.setback import Known, Note, OpenNext, Reopen, Setback, decide_setback

AT = datetime(2026, 11, 23, tzinfo=UTC)
KEY = ("brake", "1.0", "P1")
FINDING = Known(id="finding_1", lap_id="lap_1", key=KEY, state="accepted", generation=2)
OTHER = Known(id="finding_9", lap_id="lap_9", key=KEY, state="open", generation=1)
HALTED = Setback(
    fact_id="fact_1",
    kind="halted",
    campaign_id="campaign_1",
    campaign_name="Spring",
    at=AT,
    programme_id="roadster",
    body={
        "reason": "too_many_failures",
        "wave": 1,
        "vehicles": {"installed": 3, "failed": 1, "rolled_back": 2},
    },
    ecus={"brake": "2.0"},
    finding=FINDING,
)
LOST = replace(HALTED, kind="not_recovered", body={"vehicles": {"not_recovered": 2}})


def arm(version: str, faulty: int) -> dict[str, Any]:
    return {
        "vehicles_exposed": 40,
        "vehicles_with_fault": faulty,
        "exposure_us": 10**9,
        "software_versions": [version],
    }


def version(name: str, faulty: int) -> dict[str, Any]:
    counts = {key: value for key, value in arm(name, faulty).items() if key != "software_versions"}
    return {"software_version": name, **counts}


WORSE = replace(
    HALTED,
    kind="worse",
    body={
        "before": arm("1.0", 5), "after": arm("2.0", 30), "new_versions": ["2.0", "2.1"], "ratio_milli": 6_000,
        "versions": [version("1.0", 5), version("2.0", 10), version("2.1", 20), version("9.9", 40)],
        "interval_milli": [2_000, 9_000], "log_e_micronats": 9_000_000,
        "window": {"since_us": 7, "until_us": 9, "tick_us": 1},
    },
    policy={"tick_s": 600},
)  # fmt: skip


@pytest.mark.parametrize("setback", [HALTED, LOST])
@pytest.mark.parametrize(
    ("state", "live", "expected"),
    [
        ("accepted", {KEY: FINDING}, Reopen),
        ("closed", {}, Reopen),
        ("rejected", {}, Reopen),
        ("open", {KEY: FINDING}, Note),
        ("closed", {KEY: OTHER}, Note),  # another finding of the same key is on somebody's desk
        ("rejected", {KEY: OTHER}, Note),
    ],
)
def test_a_lap_that_is_not_over_gets_its_finding_back(
    setback: Setback, state: str, live: dict[Any, Known], expected: type
) -> None:
    answer = decide_setback(replace(setback, finding=replace(FINDING, state=state)), live)
    assert type(answer) is expected
    assert not isinstance(answer, Note) or answer.finding in {OTHER, replace(FINDING, state="open")}


def test_the_reason_says_what_happened_to_which_campaign() -> None:
    told = [decide_setback(setback, {KEY: FINDING}) for setback in (HALTED, LOST)]
    reasons = [answer.reason for answer in told if isinstance(answer, Reopen)]
    assert reasons == ["Spring was halted: too many failures", "Spring: 2 vehicles did not recover"]


def test_a_halted_campaign_of_no_lap_opens_a_finding_with_what_was_harmed() -> None:
    answer = decide_setback(replace(HALTED, finding=None), {})
    assert isinstance(answer, OpenNext)
    assert answer.key == ("brake", "2.0", "UPDATE-HALTED")
    assert answer.evidence["updates"] == {"harmed": 3, "reported": 6}
    live = {answer.key: replace(OTHER, key=answer.key)}
    assert isinstance(decide_setback(replace(HALTED, finding=None), live), Note)


def test_of_several_ecus_none_is_blamed() -> None:
    ecus = {"brake": "2.0", "head": "2.1"}
    answer = decide_setback(replace(HALTED, finding=None, ecus=ecus, body={}), {})
    assert isinstance(answer, OpenNext)
    assert answer.key == ("*", "2.0, 2.1", "UPDATE-HALTED")
    assert answer.title == "Campaign Spring was halted"
    assert answer.evidence["updates"] == {"harmed": 0, "reported": 0}


def test_a_worse_outcome_opens_a_finding_about_the_new_version_with_most_faults_and_closes_the_old() -> None:
    answer = decide_setback(WORSE, {KEY: FINDING})
    assert isinstance(answer, OpenNext)
    assert answer.key == ("brake", "2.1", "P1")  # 9.9 is not of this campaign
    assert answer.closes == FINDING
    assert answer.title == "P1 on brake with software 2.1: 6.0 times more often than with 1.0"
    assert answer.evidence["measured_from_us"] == 7
    assert answer.evidence["policy"] == {"tick_s": 600}
    assert answer.evidence["ratio"] == {"point_milli": 6_000, "low_milli": 2_000, "high_milli": 9_000}
    assert [each["software_version"] for each in answer.evidence["versions"]] == ["1.0", "2.0", "2.1", "9.9"]


@pytest.mark.parametrize("state", ["closed", "rejected"])
def test_what_is_closed_already_is_not_closed_again(state: str) -> None:
    answer = decide_setback(replace(WORSE, finding=replace(FINDING, state=state)), {})
    assert isinstance(answer, OpenNext)
    assert answer.closes is None


def test_a_worse_outcome_of_a_version_that_was_found_already_is_noted_there() -> None:
    key = ("brake", "2.1", "P1")
    found = replace(OTHER, key=key)
    assert decide_setback(WORSE, {key: found, KEY: FINDING}) == Note(finding=found, closes=FINDING)


def test_an_outcome_of_an_older_release_has_its_counts_per_side() -> None:
    body = {name: value for name, value in WORSE.body.items() if name != "versions"}
    answer = decide_setback(replace(WORSE, body=body), {})
    assert isinstance(answer, OpenNext)
    assert answer.key[1] == "2.0"


@pytest.mark.parametrize(
    "setback",
    [
        replace(WORSE, finding=None),
        replace(WORSE, body={**WORSE.body, "new_versions": []}),
        replace(WORSE, body={**WORSE.body, "new_versions": ["1.0"]}),  # nothing but the old one
        replace(WORSE, body={**WORSE.body, "versions": []}),
    ],
)
def test_an_outcome_that_does_not_say_of_what_opens_nothing(setback: Setback) -> None:
    with pytest.raises(Corrupt):
        decide_setback(setback, {})
