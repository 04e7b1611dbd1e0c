"""Action numbers as ranges: the same numbers, once each, in order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.store.batches import ranges


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        ([], []),
        ([7], [(7, 7)]),
        ([3, 1, 2], [(1, 3)]),
        ([1, 1, 3], [(1, 1), (3, 3)]),
        ([1, 2, 4, 5, 9], [(1, 2), (4, 5), (9, 9)]),
        (range(1, 1_000_001), [(1, 1_000_000)]),
    ],
)
def test_numbers_in_a_row_are_one_range(actions: list[int], expected: list[tuple[int, int]]) -> None:
    assert ranges(actions) == expected


@given(st.lists(st.integers(1, 200)))
def test_ranges_are_the_numbers_and_never_touch(actions: list[int]) -> None:
    found = ranges(actions)
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(set(actions))
    assert all(before[1] + 1 < after[0] for before, after in pairwise(found))
