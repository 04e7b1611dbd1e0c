"""One thing is, two things are."""

from __future__ import annotations

import pytest

from ringroad.kernel.plurals import counted


@pytest.mark.parametrize(
    ("number", "verb", "said"),
    [
        (0, "", "0 vehicles"),
        (1, "", "1 vehicle"),
        (2, "", "2 vehicles"),
        (1, "are", "1 vehicle is"),
        (1, "were", "1 vehicle was"),
        (1, "have", "1 vehicle has"),
        (1, "do", "1 vehicle does"),
        (1, "need", "1 vehicle needs"),
        (0, "are", "0 vehicles are"),
        (2, "need", "2 vehicles need"),
    ],
)
def test_a_number_of_things_and_what_they_do(number: int, verb: str, said: str) -> None:
    assert counted(number, "vehicle", verb) == said
