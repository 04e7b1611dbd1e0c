"""What the sequencer is told of parts on their way: quantiles, and what they say of all parts of an order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.logistics.availability import PartAvailability, arrived, never, together
from ringroad.kernel.errors import InvalidInput

NOW = datetime(2026, 11, 26, 8, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


def spread(part: str, *minutes: float) -> PartAvailability:
    return PartAvailability(
        part=part,
        quantiles=tuple(zip((100, 500, 900), (at(each) for each in minutes), strict=True)),
    )


SEATS = spread("seats", 0, 10, 50)


@pytest.mark.parametrize(
    ("permille", "minutes"), [(1, 0), (100, 0), (300, 5), (500, 10), (700, 30), (800, 40), (900, 50)]
)
def test_between_two_quantiles_time_passes_evenly_and_nothing_is_promised_before_the_first(
    permille: int, minutes: int
) -> None:
    assert SEATS.ready_at(permille) == at(minutes)


def test_nothing_is_promised_beyond_the_last_quantile_and_nothing_of_what_may_never_come() -> None:
    assert SEATS.ready_at(901) is None
    assert never("seats").ready_at(1) is None
    assert arrived("seats", NOW).ready_at(999) == NOW


@pytest.mark.parametrize(
    ("minutes", "share"), [(-1, 0), (0, 0.1), (5, 0.3), (10, 0.5), (30, 0.7), (50, 0.9), (999, 0.9)]
)
def test_a_share_of_cases_is_read_off_the_same_line(minutes: int, share: float) -> None:
    assert SEATS.share_by(at(minutes)) == pytest.approx(share)
    assert never("seats").share_by(at(minutes)) == 0


def test_an_order_has_its_parts_when_it_has_the_last_one() -> None:
    both = together([SEATS, spread("glass", 200, 210, 250)])
    assert both.part == "glass"
    ready = both.ready_at(500)  # seats are there by then in 0.9 of all cases, so glass has to be in 0.556
    assert ready
    assert abs(ready - at(215.6)) < timedelta(minutes=1)
    assert together([SEATS]) is SEATS
    assert together([SEATS, arrived("glass", at(-5))]).ready_at(500) == at(10)


def test_an_order_of_which_one_part_never_comes_is_promised_nothing() -> None:
    assert together([SEATS, never("glass")]) == never("glass")


@given(st.lists(st.lists(st.integers(0, 10_000), min_size=3, max_size=3), min_size=1, max_size=5))
def test_an_order_is_never_sooner_than_any_of_its_parts(minutes: list[list[int]]) -> None:
    parts = [spread(f"p{number}", *sorted(each)) for number, each in enumerate(minutes)]
    whole = together(parts)
    for permille in (100, 500, 800):
        ready = whole.ready_at(permille)
        for part in parts:
            part_ready = part.ready_at(permille)
            assert part_ready
            assert ready is None or part_ready <= ready + timedelta(seconds=1)


@pytest.mark.parametrize(
    "quantiles",
    [
        ((500, at(1)), (500, at(2))),
        ((900, at(1)), (500, at(2))),
        ((500, at(2)), (900, at(1))),
        ((0, at(1)),),
        ((1001, at(1)),),
    ],
)
def test_what_is_no_distribution_is_refused_with_its_part(
    quantiles: tuple[tuple[int, datetime], ...],
) -> None:
    with pytest.raises(InvalidInput, match="'seats'"):
        PartAvailability(part="seats", quantiles=quantiles)


@pytest.mark.parametrize("count", [0, 101])
def test_an_order_waits_for_a_number_of_parts_that_can_be(count: int) -> None:
    with pytest.raises(InvalidInput, match=f"{count} parts"):
        together([SEATS] * count)
