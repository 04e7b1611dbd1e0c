"""Rising fault rates open findings; everything doubtful does not."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.fault_counts import Cell, FaultCount
from ringroad.signal.detect import HOUR_US, DetectPolicy, NoFinding, OpenFinding, decide_finding

POLICY = DetectPolicy(recent_s=10 * 3_600)
HOURS = 40
UNTIL_US = HOURS * HOUR_US


def count(
    version: str,
    faults: dict[int, int],
    *,
    vehicles: int = 50,
    hours: int = HOURS,
    stratum: str = "base",
    code: str = "P1",
    outside: int = 0,
) -> FaultCount:
    """A version on `vehicles` for `hours` hours, with first faults by hour."""
    total = sum(faults.values())
    return FaultCount(
        ecu="brake",
        software_version=version,
        fault_code=code,
        vehicles_exposed=vehicles,
        vehicles_with_fault=total,
        vehicles_outside=outside,
        first_fault_us=min(faults) * HOUR_US if total else None,
        last_observed_us=hours * HOUR_US,
        cells=tuple(
            Cell(tick=hour, stratum=stratum, faulted=faults.get(hour, 0), exposure_us=vehicles * HOUR_US)
            for hour in range(hours)
        ),
    )


BAD = count("2.0", dict.fromkeys(range(5, 25), 1))
GOOD = count("1.0", {3: 1, 30: 1})


def only(policy: DetectPolicy, *counts: FaultCount, live: tuple[str, ...] = ()) -> OpenFinding | NoFinding:
    keys = {("brake", version, "P1") for version in live}
    decisions = decide_finding(policy, counts, live=keys, until_us=UNTIL_US)
    return next(item for item in decisions if item.key == ("brake", counts[0].software_version, "P1"))


def test_a_version_that_fails_more_often_than_the_others_opens_a_finding() -> None:
    decision = only(POLICY, BAD, GOOD)
    assert isinstance(decision, OpenFinding)
    assert decision.comparison.against == "other_versions"
    assert decision.comparison.control_versions == ("1.0",)
    assert (decision.comparison.totals.treated, decision.comparison.totals.control) == (20, 2)
    assert decision.comparison.ratio.point_milli == 10_000
    assert decision.first_signal_us == 5 * HOUR_US


def test_the_good_version_is_not_accused() -> None:
    assert [item.key[1] for item in decide_finding(POLICY, [BAD, GOOD], live=(), until_us=UNTIL_US)
            if isinstance(item, OpenFinding)] == ["2.0"]  # fmt: skip


def test_a_single_version_is_compared_with_its_own_past() -> None:
    alone = count("1.0", {2: 1} | dict.fromkeys(range(32, 40), 2))
    decision = only(POLICY, alone)
    assert isinstance(decision, OpenFinding)
    assert decision.comparison.against == "own_past"
    assert decision.comparison.split_us == 30 * HOUR_US
    assert decision.first_signal_us == 32 * HOUR_US  # the rise, not the old single fault


def test_a_steady_single_version_opens_nothing() -> None:
    steady = count("1.0", dict.fromkeys(range(HOURS), 1))
    decision = only(POLICY, steady)
    assert isinstance(decision, NoFinding)
    assert decision.reason == "not_rising"


def test_a_shock_that_hits_all_versions_opens_nothing() -> None:
    cold = dict.fromkeys(range(30, 36), 4)
    for counts in ((count("1.0", cold), count("2.0", cold)), (count("2.0", cold), count("1.0", cold))):
        assert isinstance(only(POLICY, *counts), NoFinding)


def test_versions_on_different_variants_are_not_compared_with_each_other() -> None:
    steady_bad = count("2.0", dict.fromkeys(range(5, 40), 1))
    decision = only(POLICY, steady_bad, replace(GOOD, cells=count("1.0", {3: 1, 30: 1}, stratum="van").cells))
    assert isinstance(decision, NoFinding)
    assert decision.comparison is not None
    assert decision.comparison.against == "own_past"


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((count("2.0", {}, outside=30), GOOD), "missing_exposure"),
        ((replace(BAD, vehicles_with_fault=0, cells=(), first_fault_us=None, vehicles_outside=20), GOOD), "missing_exposure"),
        ((count("2.0", dict.fromkeys(range(5), 1), vehicles=9), GOOD), "too_few_vehicles"),
        ((count("2.0", {5: 2}), GOOD), "too_few_faulty_vehicles"),
        ((count("2.0", {0: 30}, hours=1),), "too_little_exposure"),
        ((count("2.0", {5: 3}), count("1.0", {5: 2})), "not_rising"),
    ],
)  # fmt: skip
def test_doubtful_evidence_opens_nothing_and_says_why(counts: tuple[FaultCount, ...], reason: str) -> None:
    decision = only(POLICY, *counts)
    assert isinstance(decision, NoFinding)
    assert decision.reason == reason


def test_a_live_finding_is_not_opened_again() -> None:
    decision = only(POLICY, BAD, GOOD, live=("2.0",))
    assert decision == NoFinding(key=("brake", "2.0", "P1"), reason="already_live")


def test_many_candidates_share_alpha() -> None:
    weak = count("2.0", dict.fromkeys(range(5, 17), 1))
    rest = [count("1.0", {1: 1}, code=f"Q{number}") for number in range(200)]
    assert isinstance(only(POLICY, weak, count("1.0", {})), OpenFinding)
    assert isinstance(only(POLICY, weak, count("1.0", {}), *rest), NoFinding)


@settings(max_examples=25, deadline=None)
@given(st.randoms())
def test_the_order_of_counts_does_not_matter(rng: random.Random) -> None:
    counts = [BAD, GOOD, count("1.0", {1: 1}, code="P2"), count("2.0", {9: 4}, code="P2")]
    expected = decide_finding(POLICY, counts, live=(), until_us=UNTIL_US)
    shuffled = rng.sample(counts, len(counts))
    assert decide_finding(POLICY, shuffled, live=(), until_us=UNTIL_US) == expected


def test_nothing_in_nothing_out() -> None:
    assert decide_finding(POLICY, [], live=(), until_us=UNTIL_US) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha_ppm": 0},
        {"alpha_ppm": 1_000_000},
        {"margin_milli": 999},
        {"margin_alone_milli": 0},
        {"vehicles_min": 0},
        {"faulty_vehicles_min": 0},
        {"tick_s": 0},
        {"recent_s": 14 * 86_400},
        {"gap_s": 0},
        {"exposure_s_min": 0},
    ],
)
def test_an_invalid_policy_cannot_be_made(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidInput):
        DetectPolicy(**wrong)  # type: ignore[arg-type]


def test_contradictory_counts_cannot_be_made() -> None:
    with pytest.raises(InvalidInput):
        replace(BAD, vehicles_with_fault=3)
    with pytest.raises(InvalidInput):
        replace(BAD, vehicles_exposed=3)
