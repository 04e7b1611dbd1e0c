"""Changes of faults that wait to be told: which are worth a batch of their own, and what is told of a code that flaps."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ringroad.protocol.fault_status import FOLDED_PATH, WAITED_PATH, began
from ringroad.protocol.vehicle import FaultEvent
from ringroad.vehicle import fault_news
from ringroad.vehicle.fault_news import (
    AGAIN_PER_HOUR_MAX,
    AT_ONCE_PER_HOUR_MAX,
    AT_ONCE_S_MIN,
    HOUR_S,
    SAME_PER_HOUR_MAX,
    FaultNews,
    told_late,
)
from ringroad.vehicle.observe import say_waiting
from support.uptane import NOW

FAILS, FAILED, GONE = 0x09, 0x08, 0x00


def event(status: int, *, second: float = 0.0, code: str = "C0051-00", ecu: str = "brake") -> FaultEvent:
    return FaultEvent(
        at=NOW + timedelta(seconds=second), ecu=ecu, code=code, status=status, software_version="1",
        snapshot={"Vehicle.Speed": second},
    )  # fmt: skip


def lived(
    seconds: int, changes: dict[int, list[FaultEvent]] | list[FaultEvent]
) -> list[tuple[int, list[FaultEvent]]]:
    """Look once a second, tell what is worth it, and return the batches at once."""
    news, batches = FaultNews(), list[tuple[int, list[FaultEvent]]]()
    for second in range(seconds):
        news.add(changes.get(second, []) if isinstance(changes, dict) else [changes[second % len(changes)]])
        if news.worth_a_batch(now_s=second):
            told = news.batch()
            news.stored(told, now_s=second, at_once=True)
            batches.append((second, told))
    return batches


def test_a_first_change_is_told_at_once() -> None:
    assert lived(3, {1: [event(FAILS, second=1)]}) == [(1, [event(FAILS, second=1)])]


def test_a_code_that_flaps_is_told_a_few_times_an_hour() -> None:
    batches = lived(2 * 3600, [event(FAILS), event(FAILED)])
    assert len(batches) == 2 * SAME_PER_HOUR_MAX
    times = [second for second, _ in batches]
    assert times[0] == 0
    assert min(later - earlier for earlier, later in pairwise(times)) >= AT_ONCE_S_MIN


def test_a_new_code_does_not_wait_for_those_that_flap() -> None:
    flapping = [
        event(FAILS if turn else FAILED, code=f"C{code:04d}-00") for turn in (0, 1) for code in range(20)
    ]
    news = FaultNews()
    at_once = 0
    for second in range(1_000):
        news.add(flapping)
        if news.worth_a_batch(now_s=second):
            news.stored(news.batch(), now_s=second, at_once=True)
            at_once += 1
    assert at_once <= AGAIN_PER_HOUR_MAX + 1
    news.add([event(FAILS, code="U0100-00")])
    assert news.worth_a_batch(now_s=1_000)
    assert "U0100-00" in {each.code for each in news.batch()}


def test_two_new_codes_in_a_row_are_told_within_the_interval_with_their_own_times() -> None:
    batches = lived(20, {3: [event(FAILS, second=3)], 4: [event(FAILS, second=4, code="U0100-00")]})
    assert batches == [(3, [event(FAILS, second=3)]), (8, [event(FAILS, second=4, code="U0100-00")])]


def test_whatever_comes_batches_at_once_are_bounded_and_the_budget_comes_back() -> None:
    storm = {second: [event(FAILS, code=f"C{second:04d}-00")] for second in range(0, 4_000, 5)}
    times = [second for second, _ in lived(4_000, storm)]
    for begin in times:
        assert len([each for each in times if begin <= each < begin + HOUR_S]) <= AT_ONCE_PER_HOUR_MAX
    assert times[-1] > HOUR_S


@pytest.mark.parametrize(
    ("statuses", "told", "folded"),
    [
        ([FAILS], [FAILS], None),
        ([FAILS, FAILED], [FAILS, FAILED], None),
        ([FAILS, FAILED, FAILS], [FAILS, FAILS], 1),
        ([FAILS, FAILED, FAILS, FAILED], [FAILS, FAILED], 1),
        ([GONE, FAILS, GONE, FAILS], [GONE, FAILS], 1),  # the second of two: the server sees the other itself
        ([FAILED, FAILS, FAILED, FAILS, GONE], [FAILED, GONE], 2),
    ],
)
def test_of_a_code_that_waits_the_first_and_the_newest_change_are_told_and_the_rest_is_counted(
    statuses: list[int], told: list[int], folded: int | None
) -> None:
    news = FaultNews()
    for second, status in enumerate(statuses):
        news.add([event(status, second=second)])
    batch = news.batch()
    assert [each.status for each in batch] == told
    assert batch[0] == event(statuses[0])  # with its own frame and time
    assert batch[-1].at == NOW + timedelta(seconds=len(statuses) - 1)
    assert batch[-1].snapshot.get(FOLDED_PATH) == folded


@given(st.lists(st.sampled_from((FAILS, FAILED, GONE, 0x04, 0x0D)), min_size=1, max_size=40))
def test_what_is_told_and_what_is_counted_is_what_happened(statuses: list[int]) -> None:
    changes = [status for index, status in enumerate(statuses) if not index or status != statuses[index - 1]]
    news = FaultNews()
    news.add([event(status, second=second) for second, status in enumerate(changes)])
    batch = news.batch()
    seen = sum(began(one.status, two.status) for one, two in pairwise(batch))
    counted = sum(each.snapshot.get(FOLDED_PATH, 0) for each in batch)
    assert seen + counted == sum(began(one, two) for one, two in pairwise(changes))
    assert batch[-1].status == changes[-1]


def test_what_one_batch_does_not_hold_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_news, "EVENTS_PER_BATCH_MAX", 5)
    news = FaultNews()
    codes = [f"C{number:04d}-00" for number in range(4)]
    for status in (FAILS, GONE):
        news.add([event(status, code=code) for code in codes])
    told: list[str] = []
    for _ in range(2):
        batch = news.batch()
        assert len(batch) <= 5
        told += [each.code for each in batch]
        news.stored(batch, now_s=0, at_once=False)
    assert sorted(told) == sorted(codes * 2)
    assert news.batch() == []


def test_what_could_not_be_stored_waits_on() -> None:
    news = FaultNews()
    news.add([event(FAILS)])
    assert news.batch() == news.batch() == [event(FAILS)]
    news.stored(news.batch(), now_s=0, at_once=True)
    assert not news.worth_a_batch(now_s=AT_ONCE_S_MIN)


def test_a_change_that_waited_says_for_how_long_and_one_that_did_not_says_nothing() -> None:
    news = FaultNews()
    codes = [f"C{number:04d}-00" for number in range(AT_ONCE_PER_HOUR_MAX + 2)]
    now_s = 0.0
    for code in codes[:AT_ONCE_PER_HOUR_MAX]:
        news.add([event(FAILS, code=code)])
        assert news.worth_a_batch(now_s=now_s)
        news.stored(news.batch(), now_s=now_s, at_once=True)
        now_s += AT_ONCE_S_MIN
    late, later = (
        event(FAILS, code=code, second=second) for code, second in zip(codes[-2:], (0, 57), strict=True)
    )
    news.add([late, later])
    assert not news.worth_a_batch(now_s=now_s)
    assert [news.waiting(now=NOW + timedelta(seconds=second)) for second in (5, 6, 62, 63)] == [0, 1, 1, 2]
    told = told_late(news.batch(), now=NOW + timedelta(seconds=60))
    assert [each.snapshot.get(WAITED_PATH) for each in told] == [60, None]
    assert [(each.code, each.at) for each in told] == [(each.code, each.at) for each in (late, later)]
    news.stored(told, now_s=now_s, at_once=False)
    assert (news.waiting(now=NOW + timedelta(hours=1)), news.batch()) == (0, [])


def test_how_many_wait_is_logged_when_they_are_more_than_ever() -> None:
    with capture_logs() as logged:
        before = 0
        for codes in (0, 2, 2, 1, 3, 0, 1):
            before = say_waiting(codes, before, vin="V")
    assert [each["codes"] for each in logged] == [2, 3]
