"""Names of the tree: what a person typed, and what the vehicle calls it."""

from __future__ import annotations

import pytest

from ringroad.http.diagnostics_tree import as_data_id


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ("f186", "F186"),
        ("F186", "F186"),
        ("operation-cycles", "operation-cycles"),
        ("software-state", "software-state"),
        ("faded", "faded"),
        ("f18", "f18"),
    ],
)
def test_only_the_identifiers_of_uds_are_the_same_in_small_letters(typed: str, asked: str) -> None:
    assert as_data_id(typed) == asked
