from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from ringroad.ship.difference import (
    FieldChange,
    Move,
    compare_documents,
    compare_findings,
    in_order,
    move_of,
)
from ringroad.ship.gate import GatePolicy
from ringroad.ship.guard import SequentialPolicy
from ringroad.ship.plan import PlanRequest, WaveSize
from ringroad.ship.ramp import HarmBudget
from ringroad.ship.retry import RetryPolicy


def document(request: PlanRequest | None = None, **more: Any) -> dict[str, Any]:
    asked = msgspec.to_builtins(request or PlanRequest(query="region = NO"))
    return {
        "request": asked, "release_version": "2.0.0", "facts_as_of": datetime.now(UTC).isoformat(),
        "targets_sha256": "x", "counts": {"match": 4, "control": 0}, "wave_vehicles": [1, 3],
        "not_selected": {"region = NO": 2},
    } | more  # fmt: skip


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(each.field, each.before, each.after) for each in compare_documents(before, after)]


def test_plans_of_the_same_request_and_vehicles_are_the_same() -> None:
    again = document(facts_as_of="another hour", targets_sha256="y", not_selected={})
    assert compare_documents(document(), again) == ()


@pytest.mark.parametrize(
    ("request_after", "expected"),
    [
        (PlanRequest(query="region = SE"), [("query", "region = NO", "region = SE")]),
        (PlanRequest(query="region = NO", waves=(WaveSize(vehicles=5),)), [("waves", "2 %, 20 %", "5")]),
        (PlanRequest(query="region = NO", waves=()), [("waves", "2 %, 20 %", "none")]),
        (PlanRequest(query="region = NO", vehicle_deadline_s=5_400), [("vehicle deadline", "7 d", "90 min")]),
        (PlanRequest(query="region = NO", rollback_installed=True), [("return after a halt", "no", "yes")]),
        (PlanRequest(query="region = NO", control=WaveSize(permille=25)), [("control", "none", "2.5 %")]),
        (
            PlanRequest(query="region = NO", gate=GatePolicy(soak_s=61, failed_permille_max=5)),
            [("gate: failed at most", "2 %", "0.5 %"), ("gate: soak", "0 s", "61 s")],
        ),
    ],
)
def test_a_field_that_changed_is_told_in_words(
    request_after: PlanRequest, expected: list[tuple[str, str, str]]
) -> None:
    found = changed(document(), document(request_after))
    assert found == [tuple(each) for each in expected]


def test_what_a_gate_gains_reads_from_none() -> None:
    guarded = PlanRequest(query="region = NO", gate=GatePolicy(sequential=SequentialPolicy()))
    found = {field: (before, after) for field, before, after in changed(document(), document(guarded))}
    assert found["gate: against the control group: watched for"] == ("none", "1 d")
    assert found["gate: against the control group: good updates halted at most"] == ("none", "1 %")
    assert "fault up to 1.25 times" in found["gate: against the control group: metrics"][1]
    assert all(before == "none" or field == "gate: failed at most" for field, (before, _) in found.items())
    assert {field: pair[::-1] for field, pair in found.items()} == {
        field: (before, after) for field, before, after in changed(document(guarded), document())
    }


def test_no_name_of_ours_and_no_bare_number_of_seconds_is_shown() -> None:
    asked = PlanRequest(
        query="region = NO", gate=GatePolicy(silence_s_max=7_200, sequential=SequentialPolicy()), ramp=HarmBudget(),
        control=WaveSize(permille=20), urgency="soft", retry=RetryPolicy(), late_joiners="included",
    )  # fmt: skip
    found = changed(document(), document(asked, install_s_estimate=90))
    assert ("gate: evidence no older than", "1 d", "2 h") in found
    assert ("time to install", "none", "90 s") in found
    assert not [line for line in found if any("_" in word for word in line)]
    assert not [field for field, *_ in found if re.search(r"\b(s|permille|ppm|milli|max|min)\b", field)]


def test_a_budget_that_says_of_whom_it_counts_is_compared_with_one_of_before() -> None:
    gate = GatePolicy(sequential=SequentialPolicy())
    plain, of_before = (document(PlanRequest(query="all", gate=gate, ramp=HarmBudget())) for _ in range(2))
    del of_before["request"]["ramp"]["counts"]
    assert changed(of_before, plain) == []
    whole = document(PlanRequest(query="all", gate=gate, ramp=HarmBudget(counts="whole_campaign")))
    assert changed(of_before, whole) == [("budget of harm: over", "in flight", "whole campaign")]


def test_counts_and_waves_that_follow_are_told_too() -> None:
    assert changed(document(), document(counts={"match": 5, "control": 0}, wave_vehicles=[1, 4])) == [
        ("vehicles: match", "4", "5"), ("vehicles of each wave", "1, 3", "1, 4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "old", [{}, {"request": None}, {"request": {"query": "all"}}, {"odd": [{"a": 1}], "x": {}}]
)
def test_documents_of_older_versions_are_compared_as_far_as_they_go(old: dict[str, Any]) -> None:
    assert compare_documents(old, old) == ()
    assert FieldChange(field="release version", before="none", after="2.0.0") in compare_documents(
        old, document()
    )


def test_findings_that_are_gone_and_new_are_told() -> None:
    one = {"severity": "warning", "code": "one_wave", "message": "all at once", "hint": "x"}
    two = {"severity": "blocking", "code": "no_targets", "message": "nobody", "hint": ""}
    assert compare_findings([one], [two]) == (
        ("warning: all at once [one_wave]",), ("blocking: nobody [no_targets]",),
    )  # fmt: skip
    assert compare_findings([one, two], [two, one]) == ((), ())


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, "wave 1", "joins"),
        (None, "control", "joins"),
        ("mismatch", "wave 2", "joins"),
        ("wave 1", None, "leaves"),
        ("control", "unknown", "leaves"),
        ("wave 1", "wave 2", "moves"),
        ("wave 1", "control", "moves"),
        (None, "mismatch", "moves"),
        ("unknown", "already_installed", "moves"),
    ],
)
def test_only_who_is_updated_or_held_back_takes_part(
    before: str | None, after: str | None, kind: str
) -> None:
    assert move_of(before, after, 1, ["V"]).kind == kind


def test_joining_vehicles_come_first_and_the_many_before_the_few() -> None:
    def moved(before: str | None, after: str | None, vehicles: int) -> Move:
        return move_of(before, after, vehicles, [])

    shuffled = [
        moved("wave 1", "wave 2", 9),
        moved("wave 1", None, 1),
        moved(None, "wave 2", 2),
        moved(None, "wave 1", 5),
    ]
    assert [(each.kind, each.vehicles) for each in in_order(shuffled)] == [
        ("joins", 5), ("joins", 2), ("leaves", 1), ("moves", 9),
    ]  # fmt: skip
