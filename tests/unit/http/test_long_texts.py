"""Texts of a megabyte in the API's document: what they may hold, in a form that generators of texts can read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.http.app import create_management
from ringroad.http.routes import LONG_NAME_PATTERN, LONG_TEXT_PATTERN, NAME_PATTERN, TEXT_PATTERN

COUNTED_MAX = 10_000  # characters; a repetition of more is a program of many megabytes


@pytest.mark.parametrize(
    ("long", "short"), [(LONG_NAME_PATTERN, NAME_PATTERN), (LONG_TEXT_PATTERN, TEXT_PATTERN)]
)
@given(text=st.text(alphabet="\0\n a", max_size=6))
def test_a_long_text_may_hold_what_a_short_one_may(long: str, short: str, text: str) -> None:
    assert bool(re.search(long, text)) == bool(re.search(short, text))


def test_no_length_of_a_long_text_can_be_folded_into_its_pattern() -> None:
    document = create_management().openapi_schema.to_schema()
    long = [each["pattern"] for each in _texts(document) if each.get("maxLength", 0) > COUNTED_MAX]
    assert set(long) == {LONG_NAME_PATTERN, LONG_TEXT_PATTERN}


def _texts(part: Any) -> Iterator[dict[str, Any]]:
    """Yield all schemas of texts with a pattern."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part
        for each in part.values():
            yield from _texts(each)
    elif isinstance(part, list):
        for each in part:
            yield from _texts(each)
