from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.device.notices import NOTICE_BYTES_MAX, Notice, closing_notices, parse_notice

VINS = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.lists(st.tuples(st.integers(1, 2**31 - 1), VINS), max_size=500))
def test_what_is_told_is_read_and_every_notice_fits(closings: list[tuple[int, str]]) -> None:
    notices = closing_notices(closings)
    assert all(len(notice.encode()) <= NOTICE_BYTES_MAX for notice in notices)
    told = [pair for notice in notices for pair in parse_notice(notice).closed]
    assert told == list(dict.fromkeys(closings))


def test_many_closings_share_a_notice_and_very_many_take_a_second() -> None:
    assert len(closing_notices([(number, "WRRDEM00000000001") for number in range(250)])) == 1
    assert len(closing_notices([(number, "WRRDEM00000000001") for number in range(500)])) == 2


@pytest.mark.parametrize(
    ("payload", "notice"),
    [
        ("17", Notice(changed_from=17)),
        ("", Notice()),
        ("-1", Notice()),
        ("17x", Notice()),
        ("closed", Notice()),
        ("closed\nx V", Notice()),
        ("closed\n", Notice()),
        ("closed\n17 A B", Notice(closed=((17, "A B"),))),
        ("anything else", Notice()),
    ],
)
def test_a_notice_that_makes_no_sense_says_that_something_changed(payload: str, notice: Notice) -> None:
    assert parse_notice(payload) == notice
