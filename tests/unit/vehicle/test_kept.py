"""What a journal keeps of updates that ended, and that it stays bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ringroad.kernel.limits import ECUS_MAX
from ringroad.vehicle.journal import RECORD_BYTES_MAX
from ringroad.vehicle.kept import (
    DETAIL_CHARS_MAX,
    PAST_ECUS_KEPT,
    PAST_KEPT,
    PastEcu,
    PastUpdate,
    declined,
    remembered,
)
from ringroad.vehicle.memory import compacted
from ringroad.vehicle.records import decode_entry, encode_entry
from ringroad.vehicle.states import CampaignState, Compacted, Declined, Moved, Opened, fold

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def update(action_id: int, ecus: int = 0, text: str = "1.0.0") -> PastUpdate:
    lines = tuple(
        PastEcu(serial=f"{text}{n}", from_version=text, to_version=text, state="COMMITTED")
        for n in range(ecus)
    )
    return PastUpdate(action_id=action_id, state="SUCCEEDED", ended_at=NOW, detail="d", ecus=lines)


def kept(sizes: list[int], text: str = "1.0.0") -> tuple[PastUpdate, ...]:
    past: tuple[PastUpdate, ...] = ()
    for number, size in enumerate(sizes, 1):
        past = remembered(past, update(number, size, text))
    return past


def test_the_newest_updates_are_kept_newest_first() -> None:
    past = kept([1] * (PAST_KEPT + 5))
    assert [each.action_id for each in past] == list(range(PAST_KEPT + 5, 5, -1))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([33] * 16, [33] * 15 + [0]),
        ([ECUS_MAX, ECUS_MAX], [ECUS_MAX, ECUS_MAX]),  # just all that there is room for
        ([1, ECUS_MAX, ECUS_MAX], [ECUS_MAX, ECUS_MAX, 0]),
        ([0, 0], [0, 0]),
    ],
)
def test_the_oldest_lose_their_ecus_first_and_stay_themselves(sizes: list[int], expected: list[int]) -> None:
    assert [len(each.ecus) for each in kept(sizes)] == expected
    assert sum(expected) <= PAST_ECUS_KEPT


def test_the_longest_history_of_the_longest_names_is_one_record_of_the_journal() -> None:
    past = kept([ECUS_MAX] * PAST_KEPT, text="v" * 195)
    past = tuple(msgspec.structs.replace(each, detail="d" * DETAIL_CHARS_MAX) for each in past)
    short = compacted(CampaignState(epoch="e", past=past), at=NOW)
    assert len(encode_entry(short)) < RECORD_BYTES_MAX // 2
    assert fold(CampaignState(), decode_entry(encode_entry(short))).past == past


def test_an_update_that_ended_and_one_that_was_declined_are_kept_with_when_and_why() -> None:
    state = fold(CampaignState(), Opened(action_id=1, at=NOW))
    ended = NOW + timedelta(hours=1)
    state = fold(state, Moved(state="FAILED", at=ended, code="disk_full", detail="x" * 9_000))
    state = fold(state, Declined(action_id=2, at=ended, detail="blocked since boot_failed: brake"))
    newest, first = state.past
    assert newest == declined(2, "blocked since boot_failed: brake", at=ended)
    assert (newest.state, newest.code, newest.began_at) == ("FAILED", "blocked", None)
    assert (first.began_at, first.ended_at, first.code) == (NOW, ended, "disk_full")
    assert len(first.detail) == DETAIL_CHARS_MAX


def test_a_journal_that_was_compacted_before_updates_were_kept_still_reads() -> None:
    old = Compacted(epoch="e", at=NOW, state="SUCCEEDED", release_id="r", finished=(1,), installed={})
    content = encode_entry(old)
    assert b"past" not in content
    assert fold(CampaignState(), decode_entry(content)).past == ()
