"""What a person reads of a forecast: the skill beside a series or a sum is that of what is shown there."""

from __future__ import annotations

from typing import Any

import pytest

from ringroad.cli.demand import series_text


def row(*, is_sum: bool, skilled: bool) -> dict[str, Any]:
    return {
        "option": "", "plant": "north", "region": "EU", "model": "van", "is_sum": is_sum,
        "months": [{"mean": 9.0, "q10": 5.0, "q90": 12.0}],
        "told": {
            "skill": {"naive": -0.04, "floor": -0.06}, "floor_skill": 0.02, "skilled": skilled, "graded": True,
            "chosen": "season",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("is_sum", "skilled", "words"),
    [
        (True, False, "-4 %   sum of its parts"),  # also where the floor would be better: parts add up
        (False, False, "+2 %   the floor: no model has skill"),
        (False, True, "-4 %   season"),
    ],
)
def test_the_skill_beside_a_series_or_a_sum_is_that_of_what_is_shown(
    *, is_sum: bool, skilled: bool, words: str
) -> None:
    assert words in series_text([row(is_sum=is_sum, skilled=skilled)])
