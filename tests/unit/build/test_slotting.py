"""Where parts should lie: near the line what is picked often for its room, moved only where that pays, never too full."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.logistics.slotting import Layout, StockPart, StockZone, fill_of, lay_out
from ringroad.kernel.errors import InvalidInput

FAST, BULK = StockZone(name="fast", places=4, pick_s=20), StockZone(name="bulk", places=20, pick_s=80)
ZONES = (FAST, BULK)


def part(name: str, picks: float, *, places: int = 1, zone: str = "") -> StockPart:
    return StockPart(name=name, places=places, picks_day=picks, zone=zone)


def cost(zones: Any, parts: Any, names: Any) -> float:
    pick_s = {zone.name: zone.pick_s for zone in zones}
    return float(sum(each.picks_day * pick_s[name] for each, name in zip(parts, names, strict=True)))


def fits(zones: Any, parts: Any, names: Any) -> bool:
    return all(
        sum(each.places for each, name in zip(parts, names, strict=True) if name == zone.name) <= zone.places
        for zone in zones
    )


def check(zones: Any, parts: Any, layout: Layout) -> None:
    """Count the slow way what the layout says of itself, and make its moves one by one."""
    names = [layout.zones[each.name] for each in parts]
    assert fits(zones, parts, names)
    assert layout.new_s_day == pytest.approx(cost(zones, parts, names))
    assert layout.bound_s_day <= layout.new_s_day + 1e-6
    at = {each.name: each.zone for each in parts}
    size = {each.name: each.places for each in parts}
    for move in layout.moves:
        assert at[move.part] == move.source
        at[move.part] = move.target
        used = sum(size[name] for name, zone in at.items() if zone == move.target)
        room = next(zone.places for zone in zones if zone.name == move.target)
        assert (used <= room) or move.aside
    assert at == dict(layout.zones)


def test_what_is_picked_often_for_its_room_lies_near_the_line() -> None:
    parts = [part("bulky", 100, places=4), part("small", 90), part("rare", 1), part("often", 200)]
    layout = lay_out(ZONES, parts)
    assert [name for name, zone in layout.zones.items() if zone == "fast"] == ["small", "rare", "often"]
    check(ZONES, parts, layout)


def test_a_part_is_moved_only_where_that_pays_within_the_horizon() -> None:
    parts = [part("a", 1, places=2, zone="bulk")]  # saves 60 s a day, costs 240 s
    assert lay_out(ZONES, parts, horizon_days=3).moves == ()
    (move,) = lay_out(ZONES, parts, horizon_days=5).moves
    assert (move.part, move.source, move.target, move.saves_s_day) == ("a", "bulk", "fast", 60)
    assert lay_out(ZONES, parts, horizon_days=3, move_s=0).moves


def test_two_parts_change_places_with_something_put_aside_where_both_zones_are_full() -> None:
    zones = (replace(FAST, places=1), replace(BULK, places=1))
    parts = [part("rare", 1, zone="fast"), part("often", 100, zone="bulk")]
    layout = lay_out(zones, parts)
    assert [(move.part, move.aside) for move in layout.moves] == [("often", True), ("rare", False)]
    check(zones, parts, layout)


def test_moves_that_make_room_come_before_those_that_need_it() -> None:
    parts = [part("rare", 0, places=4, zone="fast"), part("often", 100, places=4, zone="bulk")]
    layout = lay_out(ZONES, parts)
    assert [(move.part, move.aside) for move in layout.moves] == [("rare", False), ("often", False)]


def test_a_layout_that_was_made_is_left_alone() -> None:
    rng = np.random.default_rng(3)
    parts = [part(f"p{n}", float(rng.pareto(1.2) * 9), places=int(rng.integers(1, 3))) for n in range(12)]
    zones = (FAST, replace(BULK, places=40))
    layout = lay_out(zones, parts)
    again = [replace(each, zone=layout.zones[each.name]) for each in parts]
    assert lay_out(zones, again).moves == ()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_bound_is_below_the_best_of_all_layouts_and_tiny_packed_ones_are_not_far_above_it(
    data: st.DataObject,
) -> None:
    zones = tuple(
        StockZone(name=f"z{n}", places=data.draw(st.integers(2, 6)), pick_s=data.draw(st.integers(10, 90)))
        for n in range(3)
    )
    parts = [
        part(f"p{n}", data.draw(st.integers(0, 100)), places=data.draw(st.integers(1, 2)))
        for n in range(data.draw(st.integers(1, 5)))
    ]
    names = [zone.name for zone in zones]
    best = min(
        (
            cost(zones, parts, each)
            for each in itertools.product(names, repeat=len(parts))
            if fits(zones, parts, each)
        ),
        default=None,
    )
    if best is None:
        with pytest.raises(InvalidInput):
            lay_out(zones, parts)
        return
    layout = lay_out(zones, parts)
    check(zones, parts, layout)
    assert layout.bound_s_day <= best + 1e-6
    assert layout.new_s_day <= 1.5 * best + 1e-6


def test_a_thousand_parts_are_within_a_hundredth_of_the_bound() -> None:
    rng = np.random.default_rng(1)
    zones = tuple(StockZone(name=f"z{n}", places=300 * (n + 1), pick_s=20 + 25 * n) for n in range(4))
    parts = [part(f"p{n}", float(rng.pareto(1.2) * 5), places=int(rng.integers(1, 4))) for n in range(1_000)]
    layout = lay_out(zones, parts)
    check(zones, parts, layout)
    assert layout.gap < 0.01


def test_an_empty_warehouse_has_a_layout_that_costs_nothing() -> None:
    layout = lay_out(ZONES, [])
    assert (layout.new_s_day, layout.moves, layout.gap) == (0, (), 0)
    assert [row["used"] for row in fill_of(ZONES, [])] == [0, 0]


@pytest.mark.parametrize(
    ("zones", "parts", "named"),
    [
        ((), [], "zones"),
        ((FAST, FAST), [], "fast"),
        (ZONES, [part("a", 1), part("a", 2)], "'a'"),
        (ZONES, [part("a", 1, places=0)], "'a'"),
        (ZONES, [part("a", -1)], "'a'"),
        (ZONES, [part("a", float("nan"))], "'a'"),
        (ZONES, [part("a", float("inf"))], "'a'"),
        (ZONES, [part("a", 1, zone="attic")], "attic"),
        (ZONES, [part("a", 1, places=25)], "25 places"),
        ((replace(FAST, pick_s=0),), [], "fast"),
        ((replace(FAST, places=3), replace(BULK, places=3)), [part("a", 1, places=4)], "split"),
    ],
)
def test_what_cannot_be_is_refused_by_name(zones: Any, parts: Any, named: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        lay_out(zones, parts)
    assert named in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("given", [{"horizon_days": 0}, {"horizon_days": float("inf")}, {"move_s": -1}])
def test_a_horizon_or_a_move_that_cannot_be_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        lay_out(ZONES, [], **given)
