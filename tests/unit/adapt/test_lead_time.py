"""A scripted lap with known timestamps, to the microsecond; and what must hold for any lap."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.adapt.lead_time import (
    APPROVALS_NAMED_MAX,
    covered_us,
    lap_report,
    union,
)
from ringroad.adapt.model import LapReport
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import Fact, FactKind, Stage

K = FactKind
START = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE_US = 60_000_000
FAR = START + timedelta(days=9)


def fact(
    kind: FactKind,
    minute: float,
    *,
    work: float = 0,
    subject: str = "x",
    lap: str | None = "lap_1",
    body: Mapping[str, str] | None = None,
) -> Fact:
    """A fact `minute` minutes into the lap, worked on for `work` minutes before."""
    at = START + timedelta(minutes=minute)
    return Fact(
        id=f"fact_{kind}_{minute}_{subject}_{work}",
        kind=kind,
        subject=subject,
        lap_id=lap,
        causes=(),
        actor="test",
        work_started_at=at - timedelta(minutes=work),
        event_at=at,
        recorded_at=at,
        body=body or {},
    )


STRAIGHT = [
    fact(K.SIGNAL_OBSERVED, 0),
    fact(K.FINDING_OPENED, 10, work=1, subject="finding"),
    fact(K.FINDING_ACCEPTED, 30, work=5, subject="finding"),
    fact(K.CHANGE_PROPOSED, 50, work=15, subject="change"),
    fact(K.CHANGE_APPROVED, 60, work=2, subject="change"),
    fact(K.RELEASE_CREATED, 90, work=20, subject="release_1"),
    fact(K.RELEASE_SIGNED, 100, work=5, subject="release_1"),
    fact(K.CAMPAIGN_PLANNED, 105, work=2, subject="campaign_1"),
    fact(K.CAMPAIGN_APPROVED, 115, work=1, subject="campaign_1"),
    fact(K.VEHICLE_UPDATED, 130, work=10, subject="v1"),
    fact(K.VEHICLE_UPDATED, 140, work=15, subject="v2"),
    fact(K.CAMPAIGN_FINISHED, 150, subject="campaign_1"),
    fact(K.OUTCOME_MEASURED, 200, work=10, subject="outcome"),
]
REWORK = [
    *STRAIGHT[:9],
    fact(K.VEHICLE_UPDATED, 130, work=10, subject="v1"),
    fact(K.VEHICLE_UPDATE_FAILED, 131, subject="v2"),
    fact(K.CAMPAIGN_HALTED, 135, subject="campaign_1"),
    fact(K.VEHICLE_ROLLED_BACK, 137, work=1, subject="v1"),
    fact(K.VEHICLE_ROLLED_BACK, 138, work=1, subject="v2"),
    fact(K.RELEASE_SIGNED, 175, work=30, subject="release_2"),
    fact(K.CAMPAIGN_PLANNED, 176, subject="campaign_2"),
    fact(K.CAMPAIGN_APPROVED, 180, subject="campaign_2"),
    fact(K.SCHEDULE_REPLANNED, 190, work=1, subject="schedule"),
    fact(K.VEHICLE_UPDATED, 210, work=10, subject="v1"),
    fact(K.VEHICLE_UPDATED, 220, work=10, subject="v2"),
    fact(K.CAMPAIGN_FINISHED, 221, subject="campaign_2"),
    fact(K.OUTCOME_MEASURED, 250, work=4, subject="outcome"),
]


# What happens beside the stages: orders, offers, a halt that opens the finding again, what became of its vehicles.
# None of it is work, a boundary, or a wait that anybody had to sit out.
BESIDE = [
    fact(K.ORDER_STARTED, 70, subject="order"),
    fact(K.ORDER_REOPENED, 80, subject="order"),
    fact(K.ORDER_CANCELLED, 85, subject="order"),
    fact(K.VEHICLES_OFFERED, 120, subject="campaign_1"),
    fact(K.VEHICLES_ACTIVE, 125, subject="campaign_1"),
    fact(K.VEHICLES_CANCELLING, 135, subject="campaign_1"),
    fact(K.SIGNAL_OBSERVED, 135, subject="finding"),
    fact(K.FINDING_REOPENED, 136, subject="finding"),
    fact(K.VEHICLE_BLOCKED, 137, subject="v1"),
    fact(K.OUTCOME_MEASURED, 139, subject="recovery_1", body={"measure": "recovery", "verdict": "unknown"}),
    fact(K.VEHICLES_CANCELLED, 140, subject="campaign_1"),
    fact(K.OUTCOME_MEASURED, 200, subject="recovery_1", body={"measure": "recovery", "verdict": "recovered"}),
    fact(K.VEHICLES_OFFERED, 205, subject="campaign_2"),
    fact(K.FINDING_CLOSED, 250, subject="finding"),
    fact(K.CHANGE_DONE, 250, subject="change"),
]


def minutes(report: LapReport) -> dict[str, tuple[float, float, float]]:
    return {
        item.stage.value: (
            item.elapsed_us / MINUTE_US,
            item.working_us / MINUTE_US,
            item.waiting_us / MINUTE_US,
        )
        for item in report.stages
    }


def test_a_straight_lap_is_exact() -> None:
    report = lap_report(STRAIGHT, FAR)
    assert minutes(report) == {
        "signal": (10, 1, 9),
        "design": (50, 22, 28),
        "build": (40, 25, 15),
        "ship": (40, 2 + 1 + 20, 17),
        "adapt": (60, 10, 50),
    }
    assert report.elapsed_us == 200 * MINUTE_US
    assert (report.started_at, report.ended_at) == (START, START + timedelta(minutes=200))
    # accepted: 10..25, approved: 50..58, campaign: 105..114
    assert report.approvals.waiting_us == (15 + 8 + 9) * MINUTE_US
    assert (report.approvals.given, report.approvals.refused, report.approvals.pending) == (3, 0, 0)
    assert [(each.kind, each.verdict) for each in report.approvals.each] == [
        ("finding.accepted", "given"),
        ("change.approved", "given"),
        ("campaign.approved", "given"),
    ]
    assert report.rework.releases_again == report.rework.campaigns_halted == 0
    assert {item.visits for item in report.stages} == {1}
    assert not any(item.censored for item in report.stages)
    assert report.milestones["first_vehicle_confirmed"] == START + timedelta(minutes=130)
    assert report.milestones["last_vehicle_confirmed"] == START + timedelta(minutes=140)


def test_a_lap_with_a_halted_campaign_and_a_second_release_is_exact() -> None:
    report = lap_report(REWORK, FAR)
    assert minutes(report) == {
        "signal": (10, 1, 9),
        "design": (50, 22, 28),
        "build": (40 + 40, 25 + 32, 15 + 8),  # the second fix is built from the halt on
        "ship": (35 + 45, (2 + 1 + 10) + (1 + 20), 22 + 24),
        "adapt": (30, 4, 26),
    }
    assert report.elapsed_us == 250 * MINUTE_US
    rework = report.rework
    assert (rework.releases_again, rework.campaigns_halted, rework.vehicles_rolled_back) == (1, 1, 2)
    assert (rework.updates_failed, rework.replans) == (1, 1)
    assert {item.stage: item.visits for item in report.stages}[Stage.SHIP] == 2
    assert report.approvals.given == 4


def test_what_happens_beside_the_stages_changes_no_figure() -> None:
    assert lap_report([*REWORK, *BESIDE], FAR) == lap_report(REWORK, FAR)


@pytest.mark.parametrize("minute", [140, 178, 225])  # while the second fix is built, shipped, and measured
def test_an_open_lap_is_not_moved_or_ended_by_what_became_of_the_halted_vehicles(minute: int) -> None:
    now = START + timedelta(minutes=minute)
    known = [each for each in REWORK if each.event_at <= now]
    beside = [each for each in BESIDE if each.event_at <= now]
    there, here = lap_report([*known, *beside], now), lap_report(known, now)
    assert there.is_open
    assert (there.stages, there.rework, there.milestones) == (here.stages, here.rework, here.milestones)
    assert there.approvals.pending == here.approvals.pending + 1  # the finding, opened again


def test_a_finding_that_is_opened_again_waits_until_it_is_decided_on() -> None:
    facts = [
        *REWORK[:12],  # up to the halt, after 135 minutes
        fact(K.FINDING_REOPENED, 136, subject="finding"),
        fact(K.FINDING_ACCEPTED, 160, work=4, subject="finding"),
    ]
    before, after = lap_report(REWORK[:12], FAR).approvals, lap_report(facts, FAR).approvals
    assert (after.given, after.pending) == (before.given + 1, 0)
    assert after.waiting_us == before.waiting_us + (160 - 4 - 136) * MINUTE_US


def test_a_new_change_after_a_halt_goes_back_to_design() -> None:
    facts = [
        *STRAIGHT[:9],
        fact(K.CAMPAIGN_HALTED, 120, subject="campaign_1"),
        fact(K.CHANGE_PROPOSED, 130, subject="change_2"),
        fact(K.CHANGE_APPROVED, 140, subject="change_2"),
        fact(K.RELEASE_SIGNED, 170, subject="release_2"),
    ]
    report = lap_report(facts, START + timedelta(minutes=180))
    assert {stage: figures[0] for stage, figures in minutes(report).items()} == {
        "signal": 10,
        "design": 60,
        "build": 40 + 10 + 30,
        "ship": 20 + 10,
        "adapt": 0,
    }


def test_an_open_lap_is_counted_up_to_now_and_censored() -> None:
    report = lap_report(STRAIGHT[:4], START + timedelta(minutes=75))
    assert report.is_open
    assert minutes(report)["design"][0] == 65
    assert [item.stage for item in report.stages if item.censored] == [Stage.DESIGN]
    assert report.approvals.pending == 1
    assert [(each.kind, each.verdict) for each in report.approvals.each] == [
        ("finding.accepted", "given"),
        ("change.proposed", "pending"),
    ]
    assert report.approvals.waiting_us == (15 + 25) * MINUTE_US
    assert report.elapsed_us == 75 * MINUTE_US


def test_an_unknown_outcome_measured_again_moves_the_end() -> None:
    report = lap_report([*STRAIGHT, fact(K.OUTCOME_MEASURED, 260, subject="outcome")], FAR)
    assert report.elapsed_us == 260 * MINUTE_US
    assert minutes(report)["adapt"][0] == 120


def test_work_after_an_outcome_opens_the_lap_again() -> None:
    report = lap_report(
        [*STRAIGHT, fact(K.CHANGE_PROPOSED, 260, subject="change_2")], START + timedelta(minutes=300)
    )
    assert report.is_open
    assert minutes(report)["adapt"][0] == 120
    assert minutes(report)["design"][0] == 50 + 40


def test_a_rejected_finding_ends_its_lap() -> None:
    report = lap_report([*STRAIGHT[:2], fact(K.FINDING_REJECTED, 25, subject="finding")], FAR)
    assert not report.is_open
    assert report.elapsed_us == 25 * MINUTE_US
    assert report.approvals.refused == 1
    assert [(each.kind, each.verdict) for each in report.approvals.each] == [("finding.rejected", "refused")]


def test_many_decisions_are_all_counted_and_the_latest_are_named() -> None:
    facts = [
        fact(K.CAMPAIGN_APPROVED, 80 + count, subject=f"campaign_{count}")
        for count in range(APPROVALS_NAMED_MAX + 20)
    ]
    approvals = lap_report([*STRAIGHT[:2], *facts], FAR).approvals
    assert approvals.given == APPROVALS_NAMED_MAX + 20
    assert approvals.each[-1].verdict == "pending"  # the finding
    assert [each.subject for each in approvals.each[:-1]] == [
        f"campaign_{count}" for count in range(21, APPROVALS_NAMED_MAX + 20)
    ]


@pytest.mark.parametrize(
    "facts",
    [
        [],
        [fact(K.SIGNAL_OBSERVED, 0, lap=None)],
        [fact(K.SIGNAL_OBSERVED, 0), fact(K.FINDING_OPENED, 1, lap="lap_2")],
    ],
)
def test_facts_of_no_or_several_laps_are_refused(facts: list[Fact]) -> None:
    with pytest.raises(InvalidInput):
        lap_report(facts, FAR)


any_facts = st.lists(
    st.builds(
        fact,
        st.sampled_from(list(FactKind)),
        st.integers(0, 500),
        work=st.integers(0, 60),
        subject=st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(any_facts, st.integers(0, 600), st.randoms())
def test_any_lap_adds_up_and_order_does_not_matter(facts: list[Fact], now: int, rng: random.Random) -> None:
    at = START + timedelta(minutes=now)
    report = lap_report(facts, at)
    assert sum(item.elapsed_us for item in report.stages) == report.elapsed_us
    assert report.elapsed_us == (report.measured_to - report.started_at) // timedelta(microseconds=1)
    for item in report.stages:
        assert min(item.elapsed_us, item.working_us, item.waiting_us) >= 0
        assert item.working_us + item.waiting_us == item.elapsed_us
    assert sum(item.censored for item in report.stages) == report.is_open
    assert lap_report(rng.sample(facts, len(facts)), at) == report
    assert lap_report([*facts, *facts], at) == report  # repeated facts count once


def test_overlapping_work_counts_once() -> None:
    spans = union([(START, START + timedelta(5)), (START + timedelta(2), START + timedelta(7))])
    assert spans == [(START, START + timedelta(7))]
    assert covered_us(spans, start=START + timedelta(6), end=START + timedelta(9)) == 86_400_000_000
