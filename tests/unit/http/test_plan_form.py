"""What the form that plans again has in its fields."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ringroad.http.console.plan_form import plan_fields
from ringroad.kernel.hours import Window
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import Metric, MetricName, SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import RetryPolicy


def test_a_first_plan_begins_with_the_defaults() -> None:
    fields = plan_fields(None)
    assert (fields["waves"], fields["failed"], fields["deadline"]) == ("2%, 20%", "2", "168")
    assert (fields["control"], fields["harm"], fields["attempts"], fields["hours"]) == ("", "", "", "")
    assert fields["metrics"] == "install_failed=3 rolled_back=3 fault=1.25 silence=1.25"
    assert fields["alpha"] == "1"


def test_what_was_asked_for_stands_in_the_form_again() -> None:
    metrics = (Metric(name=MetricName.BOOT_TIME, margin_milli=1_100, path="Vehicle.BootTime"),)
    request = PlanRequest(
        query="variant = city",
        waves=(WaveSize(vehicles=10), WaveSize(permille=5)),
        gate=GatePolicy(soak_s=5_400, sequential=SequentialPolicy(alpha_ppm=500, metrics=metrics)),
        control=WaveSize(vehicles=20_000),
        window=Window(hours=("22:00-05:00", "sat 20:00-24:00"), quiet=(), time_zone="Europe/Oslo"),
        retry=RetryPolicy(attempts_max=4),
        priority=3,
        consent=True,
    )
    fields = plan_fields({"request": msgspec.to_builtins(request)})
    told = {
        "waves": "10, 0.5%", "soak": "1.5", "alpha": "0.05", "metrics": "boot_time=1.1@Vehicle.BootTime",
        "control": "20000", "harm": "", "hours": "22:00-05:00, sat 20:00-24:00", "quiet": "",
        "time_zone": "Europe/Oslo", "attempts": "4", "priority": "3", "consent": "true", "recall": "false",
    }  # fmt: skip
    assert {name: fields[name] for name in told} == told


def test_a_budget_of_harm_stands_in_the_form_again() -> None:
    request = PlanRequest(
        query="all",
        waves=(),
        gate=GatePolicy(sequential=SequentialPolicy()),
        control=WaveSize(permille=20),
        ramp=HarmBudget(harmed_first=5, harmed_last=50),
    )
    fields = plan_fields({"request": msgspec.to_builtins(request)})
    assert (fields["harm"], fields["control"]) == ("5-50", "2%")


@pytest.mark.parametrize("document", [{}, {"query": "all"}, {"request": {"query": 3}}])
def test_a_document_of_another_version_leaves_the_defaults(document: dict[str, Any]) -> None:
    assert plan_fields(document) == plan_fields(None)
