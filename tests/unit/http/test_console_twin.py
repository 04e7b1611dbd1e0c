"""The pictures of the twin's answers: a due time far away does not flatten when vehicles leave."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from ringroad.http.console.twin import what_if_chart, what_if_due_note
from ringroad.http.views_build import WhatIfView

NOW = datetime(2026, 11, 26, 6, tzinfo=UTC)


def asked(*due_s: int | None) -> WhatIfView:
    times = [
        {"order_id": f"order_{n}", "running_s": 600 * (n + 1), "new_s": 900 * (n + 1), "due_s": each}
        for n, each in enumerate(due_s)
    ]
    answer: dict[str, Any] = {"times": times}
    return WhatIfView(
        id="what_if_1", programme_id="kestrel", station="trim", down_s=1_800, generation=1, answer=answer, branch=None,
        asked_at=NOW, asked_by="ann", answered_at=NOW,
    )  # fmt: skip


def lines(question: WhatIfView) -> dict[str, list[float | None]]:
    return {each["name"]: each["data"] for each in json.loads(what_if_chart(question))["series"]}


def test_a_due_time_in_weeks_is_a_note_beside_the_picture_and_does_not_set_its_axis() -> None:
    question = asked(1_200, 4_000_000, None, 5_000_000)
    assert lines(question)["due"] == [20.0, None, None, None]
    assert what_if_due_note(question) == "2 are due later"


def test_a_due_time_weeks_ago_does_not_set_the_axis_either() -> None:
    question = asked(-4_000_000, -600)
    assert lines(question)["due"] == [None, -10.0]
    assert what_if_due_note(question) == "1 was due long before"


def test_where_every_due_time_is_far_the_picture_has_only_the_two_plans() -> None:
    question = asked(4_000_000, None)
    assert list(lines(question)) == ["as it is", "with the stop"]
    assert what_if_due_note(question) == "1 is due later"


def test_without_a_due_time_out_of_reach_there_is_no_note() -> None:
    assert not what_if_due_note(asked(600, None))
