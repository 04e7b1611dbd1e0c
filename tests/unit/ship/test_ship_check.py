from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ringroad.kernel.hours import OwnHours, Window
from ringroad.ship.calendar import shortest_s
from ringroad.ship.check import (
    CheckFacts,
    HaltedBefore,
    check_plan,
    unacknowledged,
)
from ringroad.ship.control import can_decide
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.model import ReleaseFacts, Severity
from ringroad.ship.plan import Plan, PlanRequest, Resolved, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.resolve import Resolution
from ringroad.ship.unheard import Unheard, heard_before

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
FAULT = Metric(name=MetricName.FAULT, margin_milli=1_250)
RELEASE = ReleaseFacts(id="r", programme_id="p", version="2.0.0", state="signed", variants={})


class Counted(Plan):
    """A plan of so many vehicles, whoever they are."""

    numbers: dict[str, int] = {}  # noqa: RUF012 - set by `plan`

    def count(self, verdict: Any) -> int:
        return self.numbers.get(verdict, 0)


def plan(numbers: dict[str, int], *, not_known: int = 0, waves: int = 2, **request: Any) -> Plan:
    made = type("Of", (Counted,), {"numbers": numbers, "__slots__": ()})
    values: dict[str, Any] = {
        name: () if name != "past" else {} for name in Plan.__dataclass_fields__
    } | {
        "release_id": "r", "release_version": "2.0.0", "request": PlanRequest(query="all", **request),
        "facts_as_of": NOW, "wave_vehicles": (1,) * waves, "not_known": not_known, "not_selected": {},
        "no_rollback_image": {}, "install_s_estimate": 60, "ddi_vehicles": {},
    }  # fmt: skip
    found: Plan = made(**values)
    return found


def codes(made: Plan, **facts: Any) -> dict[str, Severity]:
    return {each.code: each.severity for each in check_plan(made, RELEASE, CheckFacts(**facts))}


def resolved(vehicles: int, *steps: str) -> Resolved:
    return Resolved(
        number=1, kind=b"", vehicles=vehicles, stratum="", example="V",
        resolution=Resolution(verdict="match", steps=steps),
    )  # fmt: skip


def test_a_plan_that_only_downloads_is_checked_for_what_it_cannot_do() -> None:
    only: dict[str, Any] = {"urgency": "download_only"}
    assert "download_needs_steps" not in codes(plan({"match": 3}, **only))
    by_steps = replace(plan({"match": 3}, **only), resolved=(resolved(1, "r"), resolved(2, "q", "r")))
    assert codes(by_steps)["download_needs_steps"] is Severity.BLOCKING
    assert codes(plan({"match": 3}, **only), skip_unknown=2)["download_only_not_told"] is Severity.WARNING
    installs = replace(plan({"match": 3}), resolved=(resolved(2, "q", "r"),))
    assert not {"download_needs_steps", "download_only_not_told"} & codes(installs, skip_unknown=2).keys()


def test_a_release_that_halted_a_campaign_is_a_warning_that_names_which_when_and_why() -> None:
    halted = HaltedBefore(campaign_id="campaign_7", name="Winter", reason="worse_than_control: fault", at=NOW)
    assert "release_halted_before" not in codes(plan({"match": 3}))
    (found,) = [
        each
        for each in check_plan(plan({"match": 3}), RELEASE, CheckFacts(halted_before=[halted]))
        if each.code == "release_halted_before"
    ]
    assert found.severity is Severity.WARNING
    said = "release 2.0.0 halted campaign Winter (campaign_7) on 2026-11-25: worse than the control group: faults"
    assert found.message == said
    aborted = replace(halted, aborted=True, reason="harm_seen: fault", at=None)
    (found,) = [
        each
        for each in check_plan(plan({"match": 3}), RELEASE, CheckFacts(halted_before=[aborted]))
        if each.code == "release_halted_before"
    ]
    assert (
        found.message
        == "release 2.0.0 did harm in campaign Winter (campaign_7), aborted: more harm than is accepted: faults"
    )


@pytest.mark.parametrize(
    ("first", "gate", "found"),
    [
        (10, {"reports_min": 1, "soak_s": 60}, {}),
        (11, {"reports_min": 1, "soak_s": 60}, {"reports_min_small": Severity.WARNING}),
        (11, {"reports_min": 2, "soak_s": 60}, {}),
        (4, {}, {"no_soak": Severity.INFO}),  # the defaults
        (400, {}, {"reports_min_small": Severity.WARNING, "no_soak": Severity.INFO}),
        (400, {"sequential": SequentialPolicy(metrics=(FAULT,))}, {}),
    ],
)
def test_a_gate_that_one_good_report_opens_is_told_of(
    first: int, gate: dict[str, Any], found: dict[str, Severity]
) -> None:
    made = replace(plan({"match": 9_000}, gate=GatePolicy(**gate)), wave_vehicles=(first, 9_000 - first))
    said = {
        code: severity for code, severity in codes(made).items() if code in {"reports_min_small", "no_soak"}
    }
    assert said == found
    alone = replace(made, wave_vehicles=(9_000,))  # nothing opens after it
    assert not {"reports_min_small", "no_soak"} & codes(alone).keys()


def own(*hours: str, days: int | None = None) -> OwnHours:
    return OwnHours(hours=hours, not_before=None if days is None else NOW + timedelta(days=days))


NIGHTS = Window(hours=("22:00-05:00",))


@pytest.mark.parametrize(
    ("hours", "request_", "found"),
    [
        (own("mon 02:00-03:00"), {}, set()),
        (own("mon 02:00-02:01"), {}, {"own_hours_no_time"}),  # a week and a minute may pass
        (
            own("02:00-02:01"),
            {"vehicle_deadline_s": 86_399},
            {"own_hours_no_time"},
        ),  # not within a day less a second
        (own("02:00-02:01"), {"vehicle_deadline_s": 86_460}, set()),
        (own("06:00-20:00"), {"window": NIGHTS}, {"own_hours_no_time"}),
        (own("04:30-20:00"), {"window": NIGHTS}, set()),
        (own("05:00-20:00", "04:59-05:00"), {"window": NIGHTS}, set()),  # the minute before the window closes
        (own("00:00-24:00", days=6), {}, set()),
        (own("00:00-24:00", days=8), {}, {"own_hours_put_off"}),
        (own("00:00-24:00", days=8), {"recall": True}, set()),
        (own("06:00-20:00", days=8), {"window": NIGHTS}, {"own_hours_no_time"}),
    ],
)
def test_hours_that_fleets_set_are_looked_at_before_vehicles_count_as_silent(
    hours: OwnHours, request_: dict[str, Any], found: set[str]
) -> None:
    told = codes(plan({"match": 3}, **request_), own_hours={hours: 2, own("00:00-24:00"): 1})
    assert {code for code in told if code.startswith("own_hours")} == found


def test_what_fleets_leave_no_time_for_is_said_with_its_vehicles_and_the_hours_of_most() -> None:
    facts = CheckFacts(own_hours={own("06:00-20:00"): 2, own("07:00-19:00"): 30})
    (finding,) = (
        each
        for each in check_plan(plan({"match": 3}, window=NIGHTS), RELEASE, facts)
        if each.code == "own_hours_no_time"
    )
    assert "leave 32 vehicles no time" in finding.message
    assert "07:00-19:00" in finding.message
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("unheard", "severity", "said"),
    [
        (Unheard(), None, ""),
        (Unheard(never=9), Severity.INFO, "of 100 vehicles 9 were never heard of: who"),
        (Unheard(never=10), Severity.WARNING, "10 were never heard of"),
        (
            Unheard(long_ago=10),
            Severity.WARNING,
            f"10 were last heard of before {NOW - timedelta(days=3):%Y-%m-%d %H:%M} UTC",
        ),
        (
            Unheard(never=5, long_ago=5),
            Severity.WARNING,
            "5 were never heard of and 5 were last heard of before",
        ),
    ],
)
def test_vehicles_that_were_not_heard_of_are_told_of_and_warned_of_where_they_are_many(
    unheard: Unheard, severity: Severity | None, said: str
) -> None:
    made = plan({"match": 100}, vehicle_deadline_s=3 * 86_400)
    found = [
        each
        for each in check_plan(made, RELEASE, CheckFacts(unheard=unheard))
        if each.code == "vehicles_unheard"
    ]
    assert [each.severity for each in found] == ([severity] if severity else [])
    assert all(said in each.message for each in found)


def test_who_was_heard_of_within_a_day_is_there_whatever_the_deadline() -> None:
    request = plan({"match": 1}, vehicle_deadline_s=60).request
    assert heard_before(request, now=NOW) == NOW - timedelta(days=1)


@pytest.mark.parametrize(
    ("match", "unknown", "not_known", "warned"),
    [(10, 0, 0, False), (10, 10, 0, False), (10, 5, 6, True), (10, 11, 0, True), (10, 0, 11, True)],
)
def test_a_plan_that_rests_on_what_is_not_known_is_warned_of(
    match: int, unknown: int, not_known: int, *, warned: bool
) -> None:
    found = codes(plan({"match": match, "unknown": unknown}, not_known=not_known))
    assert (found.get("targets_mostly_unknown") is Severity.WARNING) is warned


@pytest.mark.parametrize(
    ("held", "treated", "alpha_ppm", "margin_milli", "decides"),
    [
        (20_000, 980_000, 10_000, 1_250, True),
        (4, 18, 10_000, 1_250, False),
        (1_000, 9_000, 10_000, 1_250, False),
        (5_000, 45_000, 10_000, 1_250, True),
        (4_000, 996_000, 10_000, 1_250, True),
        (100, 999_900, 10_000, 1_250, False),  # however many are updated: what is compared with is too few
        (2_000, 20_000, 1, 1_250, False),  # one false halt in a million asks for more
        (2_000, 20_000, 100_000, 1_250, True),
    ],
)
def test_a_control_group_decides_before_the_fleet_is_through_or_cannot(
    held: int, treated: int, alpha_ppm: int, margin_milli: int, *, decides: bool
) -> None:
    metric = Metric(name=MetricName.FAULT, margin_milli=margin_milli)
    policy = SequentialPolicy(alpha_ppm=alpha_ppm, metrics=(metric,))
    assert can_decide(policy, metric, held=held, treated=treated) is decides
    gate = GatePolicy(sequential=policy)
    found = codes(plan({"match": treated, "control": held}, gate=gate))
    assert ("control_cannot_decide" not in found) is decides


def test_more_vehicles_on_either_side_never_make_a_control_group_blind() -> None:
    policy = SequentialPolicy(metrics=(FAULT,))
    for held in (10, 100, 1_000, 10_000):
        for treated in (10, 1_000, 100_000):
            if can_decide(policy, FAULT, held=held, treated=treated):
                assert can_decide(policy, FAULT, held=2 * held, treated=treated)
                assert can_decide(policy, FAULT, held=held, treated=2 * treated)


def test_the_hint_names_a_control_group_that_would_do_if_there_is_one() -> None:
    gate = GatePolicy(sequential=SequentialPolicy(metrics=(FAULT,)))

    def hint(held: int, treated: int) -> str:
        made = plan({"match": treated, "control": held}, gate=gate)
        found = check_plan(made, RELEASE, CheckFacts())
        return next(each.hint for each in found if each.code == "control_cannot_decide")

    assert hint(100, 999_900).startswith("hold back ")
    enough = int(hint(100, 999_900).removeprefix("hold back "))
    assert can_decide(gate.sequential or SequentialPolicy(), FAULT, held=enough, treated=1_000_000 - enough)
    assert "too small" in hint(4, 18)


def test_without_a_control_group_there_is_nothing_that_cannot_decide() -> None:
    assert "control_cannot_decide" not in codes(plan({"match": 10}))
    history = SequentialPolicy(metrics=(Metric(name=MetricName.INSTALL_FAILED, margin_milli=3_000),))
    made = plan({"match": 10, "control": 1}, gate=GatePolicy(sequential=history))
    assert "control_cannot_decide" not in codes(made)


@pytest.mark.parametrize(
    ("days", "expected"),
    [(-1, {"metadata_expired": Severity.BLOCKING}), (0, {"metadata_expired": Severity.BLOCKING}),
     (6, {"metadata_expires": Severity.WARNING}), (7, {"metadata_expires": Severity.WARNING}), (8, {})],
)  # fmt: skip
def test_metadata_that_expires_before_the_campaign_can_be_over_is_told(
    days: int, expected: dict[str, Severity]
) -> None:
    made = plan({"match": 10}, vehicle_deadline_s=7 * 86_400)
    found = codes(made, expires={"Root of the Image repository": NOW + timedelta(days=days)})
    assert {code: severity for code, severity in found.items() if "metadata" in code} == expected


@pytest.mark.parametrize(("days", "told"), [(-1, True), (7, True), (8, False)])
def test_a_certificate_that_ends_before_the_campaign_can_be_over_is_told(days: int, *, told: bool) -> None:
    made = plan({"match": 10}, vehicle_deadline_s=7 * 86_400)
    found = codes(made, certificates={"certificate of the server": NOW + timedelta(days=days)})
    assert ("certificate_expires" in found) is told
    assert found.get("certificate_expires", Severity.WARNING) is Severity.WARNING
    assert "vehicle_certificates_expire" not in found
    assert codes(made, certificates_ending=3)["vehicle_certificates_expire"] is Severity.WARNING


def test_a_campaign_runs_at_least_for_its_soaks_its_deadline_and_what_is_watched() -> None:
    made = plan({"match": 10}, waves=3, vehicle_deadline_s=100, gate=GatePolicy(soak_s=10))
    assert shortest_s(made) == 120
    watched = replace(made.request, gate=GatePolicy(soak_s=10, sequential=SequentialPolicy(window_s=86_400)))
    assert shortest_s(replace(made, request=watched)) == 120 + 86_400
    assert shortest_s(replace(made, wave_vehicles=())) == 100


def dated(*days: float | None) -> tuple[WaveSize, ...]:
    return tuple(
        WaveSize(vehicles=1, not_before=None if each is None else NOW + timedelta(days=each)) for each in days
    )


def test_a_campaign_runs_at_least_until_its_last_date() -> None:
    made = plan({"match": 10}, waves=3, vehicle_deadline_s=100, gate=GatePolicy(soak_s=10))
    asked = replace(made.request, waves=dated(None, 2))
    assert shortest_s(replace(made, request=asked)) == 2 * 86_400 + 10 + 100
    ends = {"certificates": {"certificate of the server": NOW + timedelta(days=1)}}
    assert "certificate_expires" not in codes(made, **ends)
    assert "certificate_expires" in codes(replace(made, request=asked), **ends)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ((None, None), {}),
        ((1, 2), {}),
        ((1, None), {}),
        ((-1, 2), {"wave_date_past": Severity.WARNING}),
        ((0, 2), {"wave_date_past": Severity.WARNING}),
        ((3, 2), {"waves_out_of_order": Severity.WARNING}),
        ((None, 2, 3), {"wave_date_unused": Severity.WARNING}),
        ((1, 3_651), {"wave_date_far": Severity.BLOCKING}),
    ],
)  # fmt: skip
def test_dates_of_waves_that_mean_nothing_are_told(
    days: tuple[float | None, ...], expected: dict[str, Severity]
) -> None:
    made = plan({"match": 2}, waves=2)
    found = codes(replace(made, request=replace(made.request, waves=dated(*days))))
    assert {
        code: severity for code, severity in found.items() if "wave_date" in code or "order" in code
    } == expected


@pytest.mark.parametrize(
    ("acknowledged", "missing"),
    [
        ([], ("one_wave", "wave_1_large")),
        (["one_wave"], ("wave_1_large",)),
        (["one_wave", "wave_1_large", "of another plan"], ()),
        (["ONE_WAVE", "wave_1_large"], ("one_wave",)),
    ],
)
def test_every_warning_is_to_be_acknowledged_and_nothing_else(
    acknowledged: list[str], missing: tuple[str, ...]
) -> None:
    findings = [
        {"severity": "warning", "code": "wave_1_large"}, {"severity": "warning", "code": "one_wave"},
        {"severity": "info", "code": "vehicles_already_installed"}, {"severity": "warning", "code": "one_wave"},
    ]  # fmt: skip
    assert unacknowledged(findings, acknowledged) == missing


def test_a_budget_over_the_whole_campaign_is_told_how_far_a_good_update_comes() -> None:
    """More of a larger control group or budget, everybody at the end; of one in flight, what it leaves open."""

    def told(held: int, last: int, counts: Any = "whole_campaign") -> str:
        made = plan(
            {"match": 980_000, "control": held}, gate=GatePolicy(sequential=SequentialPolicy()),
            ramp=HarmBudget(harmed_last=last, counts=counts), control=WaveSize(vehicles=held),
        )  # fmt: skip
        found = check_plan(made, RELEASE, CheckFacts())
        return next(each.message for each in found if each.code.startswith("budget_"))

    assert told(20_000, 400, "in_flight").startswith("a budget of 400 bounds what vehicles suffer")
    assert told(20_000, 400).startswith("a budget of 400 over the whole campaign lets an update")
    reached = [
        int(told(held, last).split("reach about ")[1].split(" ")[0])
        for held, last in ((20_000, 50), (20_000, 100), (20_000, 400), (50_000, 400))
    ]
    assert reached == sorted(set(reached))
    assert reached[0] > 10_000
    assert reached[2] == 490_000
    assert "reach all of 980000 vehicles" in told(20_000, 800)
