"""Which vehicles a gate looks at follows from a seed, at the gate's rate, and a contained lot is always looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringroad.build.plant.alike import Alike
from ringroad.build.plant.model import Plant
from ringroad.build.plant.read import read_plant
from ringroad.build.quality.draw import (
    Arrived,
    BadLot,
    Drawn,
    Gated,
    contained_at,
    draw,
    gates_of_line,
    lot_falls,
)

SEED = bytes(range(32))
GATE = Gated(station="test", gate="end", checks=("leak",), permille=300)
BAD = BadLot(part="battery", lot="B-17", station="marriage")
PLACE = ("test", "end")
EXAMPLE = Path(__file__).parents[4] / "examples" / "first" / "plant.toml"


def drawn(
    vehicle: str | Arrived,
    *,
    before: Drawn | None = None,
    bad: BadLot | None = None,
    permille: int = 300,
    all_of: tuple[Alike, ...] = (),
) -> list[Drawn]:
    arrived = Arrived(order_id=vehicle) if isinstance(vehicle, str) else vehicle
    return list(
        draw(
            SEED, arrived, [replace(GATE, permille=permille, all_of=all_of)], {PLACE: before} if before else {},
            {PLACE: bad} if bad else {},
        )
    )  # fmt: skip


def plant(gate: str = "") -> Plant:
    text = EXAMPLE.read_text(encoding="utf-8")
    return read_plant(text.replace('checks = ["leak", "torque", "software"]', gate) if gate else text)


@pytest.mark.parametrize("permille", [0, 50, 300, 999, 1000])
def test_as_many_vehicles_are_chosen_as_the_rate_says(permille: int) -> None:
    gate = replace(GATE, permille=permille)
    chosen = sum(lot_falls(SEED, f"order_{number}", gate) for number in range(4_000))
    assert abs(chosen / 4 - permille) <= 25  # some 3.4 standard deviations of a half


def test_the_same_vehicle_is_chosen_again_and_another_seed_gate_or_vehicle_says_nothing_of_it() -> None:
    names = [f"order_{number}" for number in range(64)]

    def choices(seed: bytes = SEED, gate: Gated = GATE) -> list[bool]:
        return [lot_falls(seed, name, gate) for name in names]

    assert choices() == choices()
    others = [
        choices(bytes(32)),
        choices(gate=replace(GATE, gate="other")),
        choices(gate=replace(GATE, station="x")),
    ]
    assert all(other != choices() for other in others)


def test_a_vehicle_that_was_chosen_at_a_rate_stays_chosen_at_a_higher_one() -> None:
    names = [f"order_{number}" for number in range(500)]
    few, more = ({name for name in names if drawn(name, permille=rate)[0].inspect} for rate in (100, 400))
    assert few < more


def test_a_contained_lot_is_looked_at_whatever_was_drawn_and_stays_so() -> None:
    (passed,) = drawn("order_1", permille=0)
    assert (passed.inspect, passed.reason) == (False, "not drawn, 0 % are")
    (seen,) = drawn("order_1", before=passed, bad=BAD)
    assert (seen.inspect, seen.permille, seen.reason) == (True, 1000, "lot B-17 of battery is contained")
    assert drawn("order_1", before=seen) == []  # released: who was chosen stays chosen
    assert drawn("order_1", before=passed, permille=1000) == []  # a rate that rose later changes no choice
    (all_of,) = drawn("order_1", bad=BAD, permille=1000)
    assert (all_of.inspect, all_of.every) == (True, False)  # it says nothing of others


def test_every_vehicle_of_a_kind_is_looked_at_also_once_its_lot_is_known_only_later() -> None:
    kinds = (Alike(variant="van", software="1.0", lots=(("glass", "B"),)),)
    van = Arrived(order_id="order_1", variant="van", software="1.0", lots=frozenset({("test", "glass", "B")}))
    (seen,) = drawn(van, permille=0, all_of=kinds)
    assert (seen.inspect, seen.permille, seen.every) == (True, 1000, False)  # it says nothing of others
    assert seen.reason == "every one of van, glass lot B, software 1.0 is looked at"
    assert drawn(van, before=seen, permille=0) == []  # though nobody looks at its kind any more
    (unknown,) = drawn(replace(van, lots=frozenset()), permille=0, all_of=kinds)
    assert not unknown.inspect
    (after_all,) = drawn(van, before=unknown, permille=0, all_of=kinds)
    assert after_all.inspect
    (whole,) = drawn(van, permille=1000, all_of=kinds)
    assert whole.every  # where all are looked at, each says what all are like


@pytest.mark.parametrize(
    "other",
    [{"variant": "bus"}, {"software": "2.0"}, {"lots": frozenset({("test", "glass", "A")})},
     {"lots": frozenset({("roof", "glass", "B")})}, {"lots": frozenset({("test", "battery", "B")})}],
)  # fmt: skip
def test_a_vehicle_of_another_kind_is_drawn_by_chance(other: dict[str, Any]) -> None:
    van = Arrived(order_id="order_1", variant="van", software="1.0", lots=frozenset({("test", "glass", "B")}))
    kinds = (Alike(variant="van", software="1.0", lots=(("glass", "B"),)),)
    (found,) = drawn(replace(van, **other), permille=0, all_of=kinds)
    assert (found.inspect, found.reason) == (False, "not drawn, 0 % are")


def test_a_vehicle_that_came_to_a_gate_that_looks_at_every_one_stays_drawn_at_any_later_rate() -> None:
    (came,) = drawn("order_1", permille=1000)
    assert (came.inspect, came.permille, came.every) == (True, 1000, True)
    assert came.reason == "every vehicle is looked at"
    assert drawn("order_1", before=came, permille=0) == drawn("order_1", before=came, bad=BAD) == []


def test_a_gate_without_named_checks_is_one_check_by_its_own_name() -> None:
    (gate,) = gates_of_line(plant("inspect_permille = 200"), "wren")
    assert (gate.gate, gate.checks, gate.permille) == ("end of line", ("end of line",), 200)
    (all_of,) = gates_of_line(plant(), "wren")
    assert (all_of.checks, all_of.permille) == (("leak", "torque", "software"), 1000)
    assert gates_of_line(plant(), "other") == ()


def test_a_contained_lot_that_no_gate_looks_at_stays_and_an_alarm_alone_keeps_nobody() -> None:
    end = {("flash_and_test", "end of line"): BAD}
    assert contained_at(plant(), "wren", [BAD]) == end
    nowhere = replace(BAD, station="roof")
    assert contained_at(plant(), "wren", [nowhere]) == {("", ""): nowhere}
    assert contained_at(plant(), "wren", [replace(nowhere, stays=False)]) == {}
