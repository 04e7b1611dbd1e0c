"""When telemetry is said to be silent, and when that is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from ringroad.signal.silence import Backlog, Silence, Watched, Why

LOOK_S = 5
EMPTY = Backlog(waiting=0, taken=7)
STUCK = Backlog(waiting=3, taken=7)


def moving(number: int) -> Backlog:
    return Backlog(waiting=3, taken=7 + number)


def watched(looks: Sequence[Backlog | None]) -> tuple[Watched, float]:
    """Return what is known after one look each five seconds, and the time of the last."""
    seen = Watched(answered_s=0.0)
    for number, backlog in enumerate(looks, 1):
        seen = seen.after(backlog, now_s=number * LOOK_S)
    return seen, len(looks) * LOOK_S


@pytest.mark.parametrize(
    ("looks", "silent"),
    [
        ([], None),
        ([EMPTY] * 100, None),
        ([EMPTY] + [None] * 4, None),  # exactly as long as a restart may take
        ([EMPTY] + [None] * 5, (25, Why.UNANSWERED)),
        ([None] * 5, (25, Why.UNANSWERED)),  # it never answered
        ([EMPTY] + [None] * 100 + [EMPTY], None),
        ([EMPTY, None] * 100, None),  # it answers each other time
        ([STUCK] * 19, None),
        ([STUCK] * 20, (95, Why.UNTAKEN)),
        ([*[STUCK] * 20, EMPTY], None),
        ([*[STUCK] * 20, moving(1)], None),
        ([moving(number) for number in range(100)], None),  # a worker that is behind, and at work
        ([STUCK] * 15 + [None] * 4 + [STUCK], None),  # what waited before it was silent is looked at anew
        ([STUCK] * 15 + [None] * 5, (25, Why.UNANSWERED)),
        ([STUCK] * 20 + [None] * 5 + [moving(1)], None),  # who was away does not know when that was taken
    ],
)
def test_telemetry_is_silent_when_its_stream_does_not_answer_or_is_not_read(
    looks: Sequence[Backlog | None], silent: tuple[float, Why] | None
) -> None:
    seen, now_s = watched(looks)
    assert seen.silent_s(now_s=now_s) == silent


@pytest.mark.parametrize(
    ("looks", "over"),
    [
        ([EMPTY], {Why.UNANSWERED, Why.UNTAKEN}),
        ([STUCK], {Why.UNANSWERED}),  # a server that has just begun to look: others know longer
        ([STUCK, moving(1)], {Why.UNANSWERED, Why.UNTAKEN}),
        ([moving(1), None, moving(9)], {Why.UNANSWERED, Why.UNTAKEN}),
        ([moving(1), *[None] * 5, moving(9)], {Why.UNANSWERED}),  # taken while it was away, perhaps long ago
        ([EMPTY, None], set()),
    ],
)
def test_who_saw_it_arrive_says_that_a_silence_is_over(
    looks: Sequence[Backlog | None], over: set[Why]
) -> None:
    seen, _ = watched(looks)
    assert {why for why in Why if seen.is_over(why)} == over


@pytest.mark.parametrize("why", Why)
def test_a_silence_says_since_when_why_and_what_to_look_at(why: Why) -> None:
    silence = Silence(since=datetime(2026, 11, 27, 14, 2, 5, tzinfo=UTC), why=why)
    assert silence.text.startswith("silent since 2026-11-27 14:02:05 UTC: ")
    assert silence.hint
