"""What a campaign's page says of its control group."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ringroad.http.console.guard import (
    compared_rows,
    exposure_chart,
    gate_lines,
    reading_charts,
    stratum_rows,
)
from ringroad.http.views import ComparedView, ExposureView, ReadingView
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def reading(number: int, *metrics: str, **more: Any) -> ReadingView:
    each = {
        "log_e_micronats": 0, "limit_micronats": 5_991_465, "point_milli": 1_000, "low_milli": 500,
        "high_milli": 2_000, "treated": 1_234, "control": 5, **more,
    }  # fmt: skip
    return ReadingView(
        id=number, campaign_id="c", through_us=number, refused="", read_at=NOW + timedelta(hours=number),
        readings=[{"metric": metric, **each} for metric in metrics],
    )  # fmt: skip


def test_the_gate_of_a_plan_is_told_in_words() -> None:
    request = PlanRequest(
        query="all",
        gate=GatePolicy(sequential=SequentialPolicy()),
        ramp=HarmBudget(),
        control=WaveSize(vehicles=5),
    )
    told = dict(gate_lines({"request": msgspec.to_builtins(request)}))
    assert told["fault"] == "at most 1.25 times the control group"
    assert told["install failed"] == "at most 3 times the past"
    assert told["a good update halts in"] == "1 % of campaigns"
    assert told["harmed at most"] == "35 vehicles in flight, later 400"
    assert told["evidence is no older than"] == "24 h"
    assert "failed at most" not in told
    times = {
        "compared every": "15 min", "read": "1 h after that", "still seen across a gap of": "1 h", "watched for": "24 h",
        "silent after": "12 h without a message", "a halt takes effect within": "2 h 15 min",
    }  # fmt: skip
    assert {name: told[name] for name in times} == times


def test_a_budget_over_the_whole_campaign_says_so_and_when_it_pauses() -> None:
    ramp = {"harmed_first": 2, "harmed_last": 5, "counts": "whole_campaign"}
    told = dict(gate_lines({"request": {"ramp": ramp}}))
    assert told["harmed at most"] == "2 vehicles of all that began, later 5"
    assert told["pauses for an approver"].endswith("harmed 5, or as many cannot be excluded any more")


def test_the_rules_of_a_gate_are_told_with_their_units() -> None:
    told = dict(gate_lines({"request": {"gate": msgspec.to_builtins(GatePolicy(failed_permille_max=15))}}))
    assert told["failed at most"] == "1.5 %"
    assert told["runs the new software for"] == "none"
    assert told["decides after"] == "1 outcome"


@pytest.mark.parametrize(
    "document",
    [{}, {"request": {}}, {"gate": {"soak_s": 5}}, {"request": {"gate": {"soak_s": 5, "sequential": None}}}],
)
def test_documents_of_older_versions_are_told_as_far_as_they_go(document: dict[str, Any]) -> None:
    assert gate_lines(document) in ([], [("runs the new software for", "5 s")])


def compared(metric: str, **more: Any) -> ComparedView:
    values: dict[str, Any] = {
        "metric": metric, "against": "control", "margin_milli": 1_250, "limit_micronats": 5_991_465, "log_e_micronats": 0,
        "point_milli": 1_000, "low_milli": 500, "high_milli": 2_000, "updated": 1_234, "other": 1_200, **more,
    }  # fmt: skip
    return ComparedView(**values)


def test_every_metric_that_is_compared_is_a_row_with_what_it_is_compared_with() -> None:
    past = compared("install_failed", against="past", updated=3, updated_of=7, other=5, other_of=2_000)
    rows = compared_rows([past, compared("fault")])
    assert [(row["metric"], row["against"]) for row in rows] == [
        ("install failed", "past installations"), ("fault", "control group"),
    ]  # fmt: skip
    assert (rows[0]["updated"], rows[0]["other"]) == ("3 of 7", "5 of 2,000")
    assert rows[1]["ratio"] == "1.00 times · between 0.50 and 2.00 times"
    assert (rows[1]["updated"], rows[1]["odds"], rows[1]["asked"]) == ("1,234", "1 to 1", "400 to 1")
    assert not rows[1]["refused"]


@pytest.mark.parametrize("by", ["halted", "refused"])
def test_what_refuses_an_update_or_halted_it_is_marked(by: str) -> None:
    (row,) = compared_rows([compared("fault", **{by: True})])
    assert row["refused"]


def test_what_was_not_read_yet_is_no_number() -> None:
    unread = dict.fromkeys(("updated", "other", "point_milli", "low_milli", "high_milli", "log_e_micronats"))
    (row,) = compared_rows([compared("fault", **unread)])
    assert (row["updated"], row["other"], row["ratio"], row["odds"]) == ("–", "–", "not known yet", "–")
    assert compared_rows([]) == []


def test_each_metric_has_a_chart_from_old_to_new_that_leaves_out_what_is_not_known() -> None:
    readings = [
        reading(2, "fault", "silence", high_milli=99_000),
        reading(1, "fault", "silence", point_milli=None, high_milli=None),
    ]
    (fault, spec), (silence, _) = reading_charts(readings)
    assert (fault, silence) == ("fault", "silence")
    drawn = json.loads(spec)
    assert drawn["categories"] == ["23 Nov 09:00:00 UTC", "23 Nov 10:00:00 UTC"]
    assert [one["data"] for one in drawn["series"]] == [[None, 1.0], [None, 10.0], [0.5, 0.5]]
    assert reading_charts(readings[:1]) == []
    assert reading_charts([reading(2), reading(1)]) == []


def test_what_is_still_accepted_is_drawn_beside_the_ratio() -> None:
    document = {"request": {"gate": {"sequential": {"metrics": [{"name": "fault", "margin_milli": 1_250}]}}}}
    ((_, spec), (_, other)) = reading_charts([reading(2, "fault", "silence"), reading(1, "fault")], document)
    assert json.loads(spec)["series"][-1]["data"] == [1.25, 1.25]
    assert len(json.loads(other)["series"]) == 3


def test_each_stratum_is_shown_with_its_own_bounds() -> None:
    newest = reading(2, "fault")
    assert stratum_rows([]) == stratum_rows([newest]) == []  # of before they were read alone
    part = {
        "stratum": "city/EU", "treated": 30, "control": 10, "point_milli": 3_000, "low_milli": 1_400, "high_milli": 6_100,
        "log_e_micronats": 2_303_000,
    }  # fmt: skip
    newest.readings[0]["strata"] = [part]
    (row,) = stratum_rows([newest, reading(1, "fault")])
    assert (row["metric"], row["stratum"], row["updated"], row["control"]) == (
        "fault",
        "city, EU",
        "30",
        "10",
    )
    assert "3.00 times" in row["ratio"]
    assert "1.40" in row["ratio"]
    assert "10" in row["odds"]


def test_exposure_adds_up_over_time() -> None:
    rows = [ExposureView(at=NOW + timedelta(hours=n), offered=5, installed=n, failed=n % 2) for n in range(3)]
    drawn = json.loads(exposure_chart(rows))
    assert [one["data"] for one in drawn["series"]] == [[5, 10, 15], [0, 1, 3], [0, 1, 1]]
    assert exposure_chart(rows[:1]) == ""
