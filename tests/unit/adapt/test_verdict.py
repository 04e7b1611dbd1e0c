"""The same measure, taken again: better, worse or unknown with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.adapt.model import VerdictPolicy
from ringroad.adapt.verdict import decide_verdict, verdict_body, versions_of
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.fault_counts import Cell, FaultCount

HOUR_US = 3_600_000_000
POLICY = VerdictPolicy()
UNTIL_US = 100 * HOUR_US


def count(
    version: str,
    faulted: int,
    *,
    vehicles: int = 50,
    hours: int = 20,
    first_hour: int = 0,
    stratum: str = "base",
    last_us: int | None = UNTIL_US,
) -> FaultCount:
    return FaultCount(
        ecu="brake",
        software_version=version,
        fault_code="P1",
        vehicles_exposed=vehicles,
        vehicles_with_fault=faulted,
        vehicles_outside=0,
        first_fault_us=0 if faulted else None,
        last_observed_us=last_us,
        cells=tuple(
            Cell(
                tick=first_hour + hour,
                stratum=stratum,
                faulted=faulted if hour == 0 else 0,
                exposure_us=vehicles * HOUR_US,
            )
            for hour in range(hours)
        ),
    )


BEFORE = count("1.0", 20)


def test_fewer_faults_are_better_with_numbers() -> None:
    verdict = decide_verdict(POLICY, BEFORE, [count("2.0", 1, first_hour=50)], until_us=UNTIL_US)
    assert (verdict.word, verdict.reason) == ("better", "")
    assert verdict.ratio_milli == 50
    assert verdict.high_milli is not None
    assert verdict.low_milli <= 50 <= verdict.high_milli < 1_000
    body = verdict_body(verdict)
    assert body["before"]["vehicles_with_fault"] == 20
    assert body["after"] == {
        "software_versions": ["2.0"],
        "vehicles_exposed": 50,
        "vehicles_with_fault": 1,
        "exposure_us": 50 * 20 * HOUR_US,
    }


def test_more_faults_are_worse() -> None:
    verdict = decide_verdict(POLICY, count("1.0", 3), [count("2.0", 30)], until_us=UNTIL_US)
    assert verdict.word == "worse"
    assert verdict.low_milli > 1_000


def test_several_new_versions_count_together() -> None:
    split = [count("2.0", 0, vehicles=25), count("2.0-van", 1, vehicles=25)]
    verdict = decide_verdict(POLICY, BEFORE, split, until_us=UNTIL_US)
    assert verdict.word == "better"
    assert verdict.after.vehicles_exposed == 50


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (None, [count("2.0", 0)], "before_missing"),
        (count("1.0", 0, hours=0), [count("2.0", 0)], "before_missing"),
        (BEFORE, [], "after_missing"),
        (BEFORE, [count("2.0", 0, last_us=None)], "after_missing"),
        (BEFORE, [count("2.0", 0, vehicles=9)], "too_few_vehicles"),
        (BEFORE, [count("2.0", 0, last_us=UNTIL_US - 25 * HOUR_US)], "silent"),
        (BEFORE, [count("2.0", 0, hours=0)], "too_little_exposure"),
        (BEFORE, [count("2.0", 0, stratum="van")], "too_little_exposure"),
        (BEFORE, [count("2.0", 18)], "not_distinguishable"),
        (count("1.0", 0), [count("2.0", 0)], "not_distinguishable"),
    ],
)
def test_unknown_says_why(before: FaultCount | None, after: list[FaultCount], reason: str) -> None:
    verdict = decide_verdict(POLICY, before, after, until_us=UNTIL_US)
    assert (verdict.word, verdict.reason) == ("unknown", reason)


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_verdict_never_contradicts_its_counts(before: int, after: int) -> None:
    word = decide_verdict(POLICY, count("1.0", before), [count("2.0", after)], until_us=UNTIL_US).word
    assert word != "better" or after < before
    assert word != "worse" or before < after


def test_only_the_asked_versions_are_taken() -> None:
    counts = [count("1.0", 1), count("2.0", 2), count("3.0", 3)]
    assert versions_of(counts, ecu="brake", code="P1", versions={"2.0", "9"}) == [counts[1]]
    assert versions_of(counts, ecu="radio", code="P1", versions={"2.0"}) == []


@pytest.mark.parametrize("wrong", [{"alpha_ppm": 0}, {"vehicles_min": 0}, {"exposure_s_min": 0}])
def test_a_policy_that_decides_on_nothing_cannot_be_made(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        VerdictPolicy(**wrong)
