from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ringroad.ship.plan import PRIORITY_MAX, PlanRequest
from ringroad.ship.precedence import higher_than, in_order, lower_than

LEVELS = {"a": 0, "b": 10, "c": 3, "d": 0}


def test_campaigns_are_served_in_tiers() -> None:
    assert in_order(LEVELS) == [["b"], ["c"], ["a", "d"]]
    assert in_order({}) == []
    assert higher_than(LEVELS, "a") == ["b", "c"]
    assert lower_than(LEVELS, "c") == ["a", "d"]
    assert lower_than(LEVELS, "d") == []


@given(st.dictionaries(st.text(max_size=3), st.integers(0, PRIORITY_MAX + 1), min_size=1))
def test_of_two_campaigns_one_goes_first_or_neither(levels: dict[str, int]) -> None:
    for one in levels:
        for other in levels:
            assert (other in higher_than(levels, one)) == (one in lower_than(levels, other))
            assert not (other in higher_than(levels, one) and other in lower_than(levels, one))
    assert sorted(name for tier in in_order(levels) for name in tier) == sorted(levels)


def test_a_recall_goes_before_every_priority() -> None:
    assert PlanRequest(query="all", recall=True).level > PlanRequest(query="all", priority=PRIORITY_MAX).level
