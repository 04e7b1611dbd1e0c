"""A control group on the command line: options read, evidence told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringroad.cli.campaign_guard import (
    compared_text,
    guard_body,
    guard_policy,
    read_metric,
    readings_text,
    unread_text,
)
from ringroad.kernel.errors import InvalidInput
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.plan import PlanRequest
from ringroad.ship.ramp import HarmBudget

NAMES = ("control", "alpha", "window", "tick", "late", "gap", "quiet", "harm", "harm_counts", "reaction")


def options(**given: Any) -> dict[str, Any]:
    return {**dict.fromkeys(NAMES), "metric": (), **given}


def test_without_options_nothing_is_asked() -> None:
    assert guard_body(options()) == {}


def test_a_control_group_makes_the_gate_sequential_with_its_defaults() -> None:
    assert guard_body(options(control="2%")) == {"control": {"permille": 20}, "sequential": {}}


def test_every_option_is_read() -> None:
    given = options(
        control="20000", alpha="0.5%", window="2d", tick="5m", late="30m", gap="1h", quiet="6h", harm="10-50",
        reaction="2h", metric=("fault=1.5", "boot_time=1.1@Vehicle.BootTime"),
    )  # fmt: skip
    assert guard_body(given) == {
        "control": {"vehicles": 20_000},
        "ramp": {"harmed_first": 10, "harmed_last": 50, "reaction_s": 7_200},
        "sequential": {
            "alpha_ppm": 5_000, "window_s": 172_800, "tick_s": 300, "late_s": 1_800, "gap_s": 3_600, "quiet_s": 21_600,
            "metrics": [
                {"name": "fault", "margin_milli": 1_500},
                {"name": "boot_time", "margin_milli": 1_100, "path": "Vehicle.BootTime"},
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": "1%"},  # no control group
        {"metric": ("fault",)},
        {"harm": "35-400"},
        {"control": "20", "reaction": "2h"},  # no budget
        {"control": "20", "harm_counts": "whole-campaign"},
        {"control": "20", "harm": "35"},
        {"control": "20", "harm": "-5"},
        {"control": "20", "alpha": "one"},
        {"control": "20", "window": "long"},
        {"control": "some"},
    ],
)
def test_what_cannot_be_read_or_needs_more_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        guard_body(options(**given))


def test_waves_beside_a_budget_of_harm_are_refused_and_not_dropped() -> None:
    with pytest.raises(InvalidInput, match="it has no waves"):
        guard_body(options(control="20", harm="2-5"), waves=True)
    assert "ramp" not in guard_body(options(control="20"), waves=True)


@pytest.mark.parametrize(
    "text", ["", "Fault", "fault=", "fault=much", "fault=1.25@", "fault 1.25", "fault=1.2345"]
)
def test_a_metric_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_metric(text)


def test_a_plan_tells_what_is_compared_and_at_which_pace() -> None:
    request = msgspec.to_builtins(
        PlanRequest(query="all", gate=GatePolicy(sequential=SequentialPolicy()), ramp=HarmBudget())
    )
    told = dict(guard_policy(request))
    assert told["compared"] == (
        "install failed x 3, rolled back x 3, fault x 1.25, silence x 1.25; a good update halts with 1 %"
    )
    assert told["pace"] == "at most 35, later 400 vehicles harmed in flight"
    assert guard_policy({"gate": {"soak_s": 1}}) == []
    whole = {"ramp": {"harmed_first": 2, "harmed_last": 5, "counts": "whole_campaign"}}
    assert dict(guard_policy(whole))["pace"] == "at most 2, later 5 vehicles harmed of all that began"


def test_a_budget_of_harm_may_count_over_the_whole_campaign() -> None:
    asked = guard_body(options(control="20", harm="2-5", harm_counts="whole-campaign"))
    assert asked["ramp"] == {"harmed_first": 2, "harmed_last": 5, "counts": "whole_campaign"}


def reading(**more: Any) -> dict[str, Any]:
    each = {
        "metric": "fault", "treated": 12, "control": 4, "point_milli": 3_000, "low_milli": 1_400, "high_milli": None,
        "log_e_micronats": 2_302_585, "limit_micronats": 4_605_171, **more,
    }  # fmt: skip
    return {"read_at": "2026-11-23T08:00:00Z", "refused": "", "readings": [each]}


RUNNING = {"state": "running", "state_reason": ""}


def compared(**more: Any) -> dict[str, Any]:
    return {
        "metric": "fault", "against": "control", "margin_milli": 1_250, "limit_micronats": 4_605_171, "updated": 12,
        "other": 4, "updated_of": None, "other_of": None, "point_milli": 3_000, "low_milli": 1_400, "high_milli": None,
        "log_e_micronats": 2_302_585, "refused": False, "halted": False, **more,
    }  # fmt: skip


def test_every_metric_is_told_with_what_it_is_compared_with_and_its_bounds() -> None:
    past = compared(metric="install_failed", against="past", updated=3, updated_of=7, other=5, other_of=2_000)
    text = compared_text([past, compared()], RUNNING)
    head, first, second = text.splitlines()
    assert head.startswith("METRIC")
    assert "COMPARED WITH" in head
    assert first.startswith("install failed")
    assert "past installations" in first
    assert "3 of 7" in first
    assert "5 of 2000" in first
    assert "control group" in second
    assert "1.40 and ?" in second
    assert " 10" in second
    assert "refuses" not in text


def test_it_is_told_how_many_of_the_control_group_are_left() -> None:
    (*_, line) = compared_text([compared(control_held=20, control_left=18)], RUNNING).splitlines()
    assert line == "control group: 18 of 20 vehicles, 2 let go"
    (*_, line) = compared_text([compared(control_held=20, control_left=20)], RUNNING).splitlines()
    assert line == "control group: 20 of 20 vehicles"


def test_it_is_told_how_much_harm_a_budget_is_spent_by() -> None:
    fault = compared(updated=66, point_milli=1_200, low_milli=1_100, high_milli=1_500, harm_limit=400)
    (*_, line) = compared_text([fault], RUNNING).splitlines()
    told = "failures beyond the control group's share so far: "
    assert line == f"{told}about 11, 6 proved, at most 22; it pauses at 400 proved"
    one = compared(updated=1, point_milli=3_000, low_milli=0, high_milli=234_000, harm_limit=6)
    assert "0 proved, at most 1;" in compared_text([one], RUNNING)
    loops = compared(
        metric="boot_loop", updated=4, point_milli=None, low_milli=0, high_milli=None, harm_limit=400
    )
    (*_, line) = compared_text([fault, loops], RUNNING).splitlines()
    assert line == f"{told}6 proved, at most 26; it pauses at 400 proved"
    assert told not in compared_text([compared()], RUNNING)
    assert told not in compared_text([compared(updated=None, harm_limit=400)], RUNNING)


def test_a_past_without_any_installation_is_told_as_none() -> None:
    past = compared(metric="rolled_back", against="past", updated=0, updated_of=0, other=0, other_of=0)
    assert compared_text([past], RUNNING).count("none yet") == 2


def test_what_was_not_read_yet_stands_there_as_such() -> None:
    unread = dict.fromkeys(("updated", "other", "point_milli", "low_milli", "high_milli", "log_e_micronats"))
    (_, line) = compared_text([compared(**unread)], RUNNING).splitlines()
    assert line.count("?") == 6


def test_the_metric_that_halted_is_told_though_it_is_no_comparison_with_the_control_group() -> None:
    past = compared(
        metric="install_failed", against="past", halted=True, refused=True, log_e_micronats=10**10
    )
    text = compared_text(
        [past, compared()], {"state": "halted", "state_reason": "worse_than_before: install_failed"}
    )
    (line,) = [each for each in text.splitlines() if each.endswith("halted")]
    assert line.startswith("install failed")
    assert "> 5e+08" in line
    assert text.endswith("halted: worse than past installations: failed installations")


def test_readings_are_told_with_their_bounds() -> None:
    text = readings_text([reading(), reading(point_milli=None, low_milli=0)])
    assert "3.00 (1.40 to ?)" in text
    assert "? (0.00 to ?)" in text
    assert "refused" not in text


def test_a_refusal_is_told() -> None:
    assert "refused by fault" in readings_text([reading() | {"refused": "fault"}])


def test_nothing_read_is_told_and_whether_anything_ever_will_be() -> None:
    assert "not read yet" in readings_text([])
    assert "there is no control group" in unread_text()
    assert "yet" not in unread_text()


def test_strata_stand_below_the_metrics_with_their_own_bounds() -> None:
    newest = reading()
    part = {
        "stratum": "city/EU", "treated": 30, "control": 10, "point_milli": 3_000, "low_milli": 1_400, "high_milli": None,
        "log_e_micronats": 0,
    }  # fmt: skip
    newest["readings"][0]["strata"] = [part]
    (line,) = [each for each in readings_text([newest]).split("\n") if "city, EU" in each]
    assert "1.40 and ?" in line
