from __future__ import annotations

from typing import Any

import pytest

from ringroad.cli.campaign_return import returns_text
from ringroad.cli.campaign_text import (
    campaign_head,
    cancelled_word,
    difference_text,
    ends_text,
    plan_text,
    waves_text,
)
from ringroad.cli.campaign_watch import progress_line
from ringroad.http.auth import Account, Role
from ringroad.http.console.conduct import state_told
from ringroad.kernel.errors import Forbidden


def campaign(**more: Any) -> dict[str, Any]:
    return {
        "name": "fix", "state": "running", "state_reason": "", "wave": 1, "vehicles": 6, "installed": 2, "failed": 1,
        "downloaded": 0, "claimed": 0, "cancelled": 3, **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, "2 of 6 installed, 1 failed, 3 let go"),
        ({"cancelled": 0}, "2 of 6 installed, 1 failed"),
        ({"cancelled": 0, "failed": 3, "silent": 2}, "2 of 6 installed, 1 failed, 2 silent"),
        ({"state": "aborted"}, "2 of 6 installed, 1 failed, 3 cancelled"),
        ({"state": "halted", "returned": 2, "cancelled": 0}, "0 of 6 installed, 2 returned, 1 failed"),
    ],
)
def test_whoever_watches_is_told_that_vehicles_were_let_go(more: dict[str, Any], says: str) -> None:
    assert progress_line(campaign(**more)).endswith(says)


@pytest.mark.parametrize(
    ("since", "told"),
    [
        (
            "2026-11-25T14:02:05Z",
            ["telemetry  silent since 2026-11-25 14:02:05 UTC: what it compares is not known, and its gate holds; ringroad doctor says why"],
        ),
        (None, []),
    ],
)  # fmt: skip
def test_a_campaign_says_that_telemetry_is_silent(since: str | None, told: list[str]) -> None:
    row = campaign(
        id="campaign_1", release_name="Q", release_version="2", plan_id=None, lap_id=None, created_by="ann",
        created_at="2026-11-25T12:00:00Z", finished_at=None, telemetry_silent_since=since,
    )  # fmt: skip
    lines = campaign_head(row, None).splitlines()
    assert [" ".join(line.split()) for line in lines if line.startswith("telemetry")] == [
        " ".join(line.split()) for line in told
    ]


def test_a_wave_whose_vehicles_are_on_their_way_says_so_of_those_that_wait() -> None:
    rows = [
        {"wave": 1, "state": "installed", "vehicles": 1, "on_the_way": 0},
        {"wave": 1, "state": "pending", "vehicles": 9, "on_the_way": 8},
        {"wave": 2, "state": "pending", "vehicles": 3},  # of a server of the version before
    ]
    first, second = waves_text(rows).splitlines()
    assert first.endswith("1 installed, 9 pending (8 of those that wait are on a step of their way)")
    assert second.endswith("3 pending")


def test_vehicles_that_went_back_are_not_counted_as_installed() -> None:
    row = campaign(returned=1, silent=1, failed=3)
    assert ends_text(row) == ("1, 1 returned", "2, 1 silent")
    assert ends_text(campaign()) == ("2", "1")
    outside = campaign(
        returned=2, gone_back=1
    )  # the other never counted as installed, and went back all the same
    assert ends_text(outside) == ("1, 1 returned", "1")
    rows = [
        {"wave": 1, "state": "failed", "vehicles": 2, "returned": 0},
        {"wave": 1, "state": "installed", "vehicles": 6, "returned": 6},
    ]
    assert "6 returned, 2 failed\n" in waves_text(rows)
    assert "#" not in waves_text(rows)
    del rows[1]["returned"]  # a server of the version before
    assert "6 installed, 2 failed\n" in waves_text(rows)
    assert state_told("rollback", "installed") == "went back"
    assert state_told("update", "installed") == "installed"


def test_a_campaign_of_an_older_server_counts_nobody_who_was_let_go() -> None:
    row = campaign()
    del row["cancelled"]
    assert progress_line(row).endswith("1 failed")
    assert cancelled_word(row) == "let go"


def test_whoever_returns_is_listed_once_and_what_they_get_back_beside_it() -> None:
    text = returns_text(
        {"to": {"1.0.0": 5}, "packages": {"brake 1.0.0": 5, "head 1.0.0": 2}, "cannot": {"no_previous": 1}}
    )
    *rows, packages = text.splitlines()[1:]
    assert [line.split()[0] for line in rows] == ["5", "1"]
    assert packages == "those that return get back, by ECU: brake 1.0.0 (5), head 1.0.0 (2)"
    nobody = returns_text({"to": {}, "packages": {}, "cannot": {"no_previous": 1}})
    assert "get back" not in nobody


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"match": 16, "control": 4}, "20: 16 get it, 4 are the control group"),
        ({"match": 16}, "16"),
        ({}, "none"),
    ],
)
def test_matches_of_a_plan_are_as_many_as_the_preview_says(counts: dict[str, int], says: str) -> None:
    document = {
        "counts": counts, "wave_vehicles": [],
        "request": {"query": "all", "gate": {"failed_permille_max": 5, "reports_min": 1, "soak_s": 0}},
    }  # fmt: skip
    (line,) = [each for each in plan_text(document).splitlines() if each.startswith("matches")]
    assert line.removeprefix("matches").strip() == says


@pytest.mark.parametrize(
    ("role", "hint"),
    [
        (Role.APPROVER, "ann is operator; ask an approver, who may do it"),
        (Role.ADMIN, "ann is operator; ask an admin"),
    ],
)
def test_who_may_not_is_told_to_ask_somebody_who_may(role: Role, hint: str) -> None:
    with pytest.raises(Forbidden) as refused:
        Account(name="ann", role=Role.OPERATOR, via="api").require(role)
    assert refused.value.hint == hint


def test_what_a_plan_changed_is_never_cut() -> None:
    before = " and ".join(f"not vin in (WRR1ZZZ00PA00000{number})" for number in range(4))
    found = {
        "older": 1, "newer": 2, "moves": [], "findings_gone": [], "findings_new": [],
        "fields": [
            {"field": "query", "before": before, "after": f"{before} and region = EU"},
            {"field": "soak", "before": "1 h", "after": "2 h"},
        ],
    }  # fmt: skip
    text = difference_text(found)
    assert f"query\n  generation 1  {before}\n  generation 2  {before} and region = EU" in text
    assert "soak" in text.splitlines()[1]


def test_the_marks_of_a_wave_are_explained_where_one_ended_badly_and_lost_is_told_from_silent() -> None:
    rows = [
        {"wave": 1, "state": "installed", "vehicles": 7},
        {"wave": 2, "state": "expired", "vehicles": 3, "lost": 1},
    ]
    first, second, marks = waves_text(rows).splitlines()
    assert first.endswith("]  7 installed")
    assert second.endswith(f"[{'x' * 10}{'?' * 20}]  1 lost while installing, 2 silent")
    assert marks.strip() == "# installed, x failed, ? silent"
    assert len(waves_text(rows[:1]).splitlines()) == 1
