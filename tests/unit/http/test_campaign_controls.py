"""What the page of a campaign lets an approver do: with which plan is asked, and not while the newest is blocked."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

import ringroad.http
from ringroad.http.auth import Account, Role
from ringroad.http.console.ship import campaign_controls, figures, planned_waves
from ringroad.http.views import CampaignView, PlanView
from ringroad.kernel.hours import Window
from ringroad.ship.gate import GatePolicy
from ringroad.ship.plan import PlanRequest

NOW = datetime(2026, 11, 26, 15, 0, tzinfo=UTC)
ADMIN = Account(name="ann", role=Role.ADMIN, via="session")
DOCUMENT: dict[str, Any] = {
    "request": {"query": "variant = cargo"},
    "wave_vehicles": [2, 6],
    "counts": {"match": 8, "control": 3},
}


def campaign(state: str, reason: str = "") -> CampaignView:
    return CampaignView(
        id="campaign_1", name="Q", release_id="release_1", release_version="1", release_name="R", lap_id=None,
        state=state, state_reason=reason, wave=0, plan_id="plan_2", generation=3, created_by="ann", created_at=NOW,
        finished_at=None, vehicles=0, installed=0, downloaded=0, failed=0,
    )  # fmt: skip


def plan(document: dict[str, Any] = DOCUMENT) -> PlanView:
    return PlanView(
        id="plan_2", generation=2, parent_id="plan_1", document=document, findings=[], made_by="ben", made_at=NOW,
        approved_by=None, approved_at=None,
    )  # fmt: skip


def offered(state: str, given: PlanView | None, reason: str = "") -> dict[str, str]:
    controls = campaign_controls(campaign(state, reason), ADMIN, plan=given)
    return {each["verb"]: each["ask"] for each in controls}


def test_an_approval_asks_with_the_generation_the_query_the_vehicles_the_waves_and_the_control_group() -> (
    None
):
    assert offered("planned", plan())["approve"].splitlines() == [
        "Approve generation 2 of the plan?",
        "Query: variant = cargo",
        "Takes in: 8 vehicles, waves 2 + 6",
        "Control group: 3 vehicles are held back",
    ]


def test_an_approval_asks_with_everything_that_is_signed_for() -> None:
    request = PlanRequest(
        query="all",
        gate=GatePolicy(failed_permille_max=15),
        window=Window(hours=("22:00-05:00",), quiet=("sun 00:00-24:00",), time_zone="Europe/Oslo"),
        priority=4,
        urgency="soft",
        consent=True,
        consent_phases=("activate",),
        rollback_installed=True,
    )
    rest = "evidence is no older than: 24 h; without an outcome at most: 50 %"
    asked = offered("planned", plan({**DOCUMENT, "request": msgspec.to_builtins(request)}))["approve"]
    assert asked.splitlines()[4:] == [
        "Gate: failed at most: 1.5 %; decides after: 1 outcome; runs the new software for: none; " + rest,
        "May begin: 22:00-05:00, by the vehicle's clock; Europe/Oslo where that is not known",
        "Quiet hours: sun 00:00-24:00",
        "Late joiners: stay out",
        "Served: with priority 4",
        "Urgency: soft: the driver, or a device on DDI, decides when",
        "Consent: each driver is asked first, unless they agreed to all updates: activate",
        "Attempts: 1; a vehicle that failed is not tried again",
        "Deadline: 7 d after its offer; without an outcome by then a vehicle is silent",
        "After a halt: vehicles that have it are told to return",
    ]


@pytest.mark.parametrize(
    ("role", "reason", "expected"),
    [
        (Role.APPROVER, "too_few_reports_for_good", {"resume-without-reports", "abort"}),
        (Role.OPERATOR, "too_few_reports_for_good", {"abort"}),
        (Role.APPROVER, "lunch", {"resume", "abort"}),
        (Role.APPROVER, "parked_for_good", {"resume", "abort"}),
        (Role.VIEWER, "too_few_reports_for_good", set()),
        (Role.APPROVER, "release_harmed_elsewhere: fix (campaign_1)", {"abort"}),
        (Role.APPROVER, "budget_spent", {"resume-beyond-budget", "abort"}),
        (Role.OPERATOR, "budget_spent", {"abort"}),
        (Role.APPROVER, "budget_spent_unproved", {"resume-beyond-budget", "abort"}),
        (Role.OPERATOR, "budget_spent_unproved", {"abort"}),
    ],
)
def test_an_approver_alone_resumes_a_campaign_whose_reports_will_never_come(
    role: Role, reason: str, expected: set[str]
) -> None:
    account = Account(name="ann", role=role, via="session")
    made = campaign_controls(campaign("paused", reason), account, plan=plan())
    assert {each["verb"] for each in made} == expected


@pytest.mark.parametrize(
    ("reason", "ramp", "asked"),
    [
        ("not_known_for_good: fault", True, "Go on with at most 2 more vehicles, and be asked again after them?"),
        ("not_known_for_good: fault", False, "Go on with the next wave?"),
        ("too_few_reports_for_good", True, "Go on with the next wave?"),
    ],
)  # fmt: skip
def test_who_goes_on_without_a_metric_is_told_how_far(reason: str, asked: str, *, ramp: bool) -> None:
    budget = {"ramp": {"harmed_first": 2, "harmed_last": 5}} if ramp else {}
    given = plan({**DOCUMENT, "request": {"query": "all", **budget}})
    assert offered("paused", given, reason)["resume-without-reports"].startswith(f"{asked} Of wave 0, ")


@pytest.mark.parametrize(
    ("reason", "until"),
    [("budget_spent", "is proved"), ("budget_spent_unproved", "cannot be excluded")],
)
def test_who_goes_on_beyond_a_budget_is_told_until_when(reason: str, until: str) -> None:
    asked = offered("paused", plan(), reason)["resume-beyond-budget"]
    assert asked.endswith(f"until as much harm again {until}.")


def test_the_approval_of_a_recall_asks_with_the_plan_too() -> None:
    recall = {
        **DOCUMENT,
        "request": {"query": "all", "recall": True, "ramp": {"harmed_first": 2, "harmed_last": 5}},
    }
    asked = offered("planned", plan(recall))["approve-recall"]
    assert "8 vehicles, a budget of harm, 2-5" in asked
    assert asked.endswith("It is an emergency recall, served before all other campaigns.")


@pytest.mark.parametrize(("state", "verb"), [("planned", "approve"), ("approved", "start")])
def test_nothing_is_approved_or_started_while_the_newest_plan_is_blocked(state: str, verb: str) -> None:
    assert verb in offered(state, plan())
    assert list(offered(state, None)) == ["abort"]


def test_a_blocked_plan_is_not_answered_with_done() -> None:
    script = (Path(ringroad.http.__file__).parent / "static" / "app.js").read_text()
    assert "data.current === false" in script
    assert 'toast(text, "bad")' in script


def test_the_waves_of_a_plan_are_shown_before_its_start() -> None:
    shown = [(each["wave"], each["text"]) for each in planned_waves(plan())]
    assert shown == [(1, "2 planned"), (2, "6 planned")]
    assert planned_waves(None) == []
    assert figures(campaign("planned"), [], plan=plan())[0][:2] == (8, "planned")
    assert figures(campaign("draft"), [])[0][:2] == (0, "vehicles")
