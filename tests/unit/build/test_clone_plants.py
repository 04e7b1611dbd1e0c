"""Documents of clones: structure by reference, beliefs from those who count, and nothing counted twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.build.clone.plants import clone_plant, learn_plant, observed, parents_of
from ringroad.build.plant.line import line_of
from ringroad.build.plant.model import Identity, Plant
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, observed_times, stated_share, stated_time
from ringroad.build.plant.read import plant_from_document, read_plant
from ringroad.build.twin.drift import WorkTime
from ringroad.kernel.errors import Conflict, InvalidInput

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SOURCE = Path(__file__).parents[3] / "examples" / "first" / "plant.toml"
MOTHER = read_plant(SOURCE.read_text(encoding="utf-8"))
MARRIAGE = Key(("assembly", "Line 1", "marriage"), "cycle_s")


def who(name: str) -> Identity:
    return Identity(id=name, name=name, enterprise="Ringroad Motors", site=name)


def named(plant: Plant, name: str) -> Plant:
    return replace(plant, identity=replace(plant.identity, id=name))


def test_a_clone_has_its_parents_structure_and_a_document_of_its_own() -> None:
    north = clone_plant(MOTHER, [], identity=who("north"), now=NOW).plant
    assert north.structure_sha256 == MOTHER.structure_sha256
    assert north.identity.parent == MOTHER.id
    assert not north.bindings
    assert plant_from_document(north.to_document()) == north
    assert north.parameters.keys() == MOTHER.parameters.keys()
    with pytest.raises(Conflict, match="its own clone"):
        clone_plant(MOTHER, [], identity=who(MOTHER.id), now=NOW)
    east = clone_plant(MOTHER, [], identity=replace(who("east"), time_zone="Asia/Shanghai"), now=NOW).plant
    assert (east.identity.time_zone, east.structure_sha256) == ("Asia/Shanghai", MOTHER.structure_sha256)
    with pytest.raises(InvalidInput, match="no time zone 'Haicheng'"):
        clone_plant(MOTHER, [], identity=replace(who("east"), time_zone="Haicheng"), now=NOW)


def test_a_clone_inherits_from_its_parent_and_from_grown_plants_of_the_same_structure_only() -> None:
    north = clone_plant(MOTHER, [], identity=who("north"), now=NOW).plant
    south = clone_plant(MOTHER, [], identity=who("south"), now=NOW).plant
    other = replace(named(MOTHER, "other"), structure=replace(MOTHER.structure, agvs=()))
    found = parents_of(south, [MOTHER, north, south, named(MOTHER, "twin"), other])
    assert [each.id for each in found] == ["twin", MOTHER.id]
    grandchild = clone_plant(north, [MOTHER], identity=who("farther"), now=NOW).plant
    assert [each.id for each in parents_of(grandchild, [MOTHER, north])] == ["north", MOTHER.id]


def test_learning_twice_from_the_same_times_changes_nothing() -> None:
    north = clone_plant(MOTHER, [], identity=who("north"), now=NOW).plant
    line = line_of(north, "wren")
    assert line
    times = [WorkTime(station="marriage", worked_s=70.0 + at, features=frozenset({"van"})) for at in range(8)]
    own = observed(north, line, "wren", times)
    once = learn_plant(north, [MOTHER], own, now=NOW).plant
    assert once.parameters[MARRIAGE].mean > north.parameters[MARRIAGE].mean
    assert once.parameters[MARRIAGE].n > north.parameters[MARRIAGE].n
    later = NOW.replace(hour=5)
    assert learn_plant(once, [MOTHER], own, now=later).plant == once


def test_what_a_clone_took_over_adds_up_by_itself_whatever_its_parents_believe() -> None:
    north = clone_plant(MOTHER, [], identity=who("north"), now=NOW).plant
    key = min(each for each in MOTHER.parameters if each.kind == "cycle_s")
    half = stated_time(MOTHER.parameters[key].mean / 2)
    shifted = replace(north, parameters={**north.parameters, key: half})
    kept = learn_plant(shifted, [MOTHER], {}, now=NOW, taken={key: (half, None)}).plant
    assert kept.parameters[key] == half
    forgotten = learn_plant(shifted, [MOTHER], {}, now=NOW).plant
    assert forgotten.parameters[key].mean == pytest.approx(MOTHER.parameters[key].mean, rel=0.01)
    own = observed_times([half.mean * 1.02] * 40, origin=Origin(plant="north"))
    learned = learn_plant(kept, [MOTHER], {key: own}, now=NOW, taken={key: (half, own)})
    assert learned.plant.parameters[key].n == half.n + 40
    assert learned.plant.parameters[key].mean == pytest.approx(half.mean * 1.02, rel=0.01)
    again = learn_plant(learned.plant, [MOTHER], {key: own}, now=NOW, taken={key: (half, own)})
    assert again.plant == learned.plant, "learning twice changes nothing"


def test_the_rate_that_was_decided_for_a_gate_is_copied_as_it_is_and_stays_whatever_a_clone_learns() -> None:
    path = ("assembly", "Line 1", "flash_and_test", "end of line")
    gate = next(each for *_, cell in [MOTHER.structure.lines[0].stations] for each in cell.gates)
    rate = Key(path, "inspects")

    def deciding(plant: Plant, share: float) -> Plant:
        return replace(plant, parameters={**plant.parameters, rate: stated_share(share, n=1)})

    mother, twin = deciding(MOTHER, 1.0), named(deciding(MOTHER, 0.5), "twin")
    north = clone_plant(mother, [twin], identity=who("north"), now=NOW).plant
    assert north.inspect_permille(path, gate) == 1000
    decided = deciding(north, 0.3)
    assert learn_plant(decided, [mother, twin], {}, now=NOW).plant.inspect_permille(path, gate) == 300


def test_what_options_add_is_not_taken_for_the_work_of_the_station() -> None:
    line = line_of(MOTHER, "wren")
    assert line
    station = next(each for each in line.stations if each.extra_s)
    option, extra_s = next(iter(station.extra_s.items()))
    times = [
        WorkTime(station=station.name, worked_s=100.0, features=frozenset({"van"})),
        WorkTime(station=station.name, worked_s=100.0 + extra_s, features=frozenset({"van", option})),
        WorkTime(station="elsewhere", worked_s=100.0, features=frozenset()),
        WorkTime(station=station.name, worked_s=extra_s / 2, features=frozenset({option})),
    ]
    (found,) = observed(MOTHER, line, "wren", times).values()
    assert found.n == 2
    assert found.mean == pytest.approx(100.0)


def test_a_plant_without_a_parent_or_with_a_strange_observation_learns_nothing() -> None:
    with pytest.raises(InvalidInput, match=f"plant {MOTHER.id} has no parent here"):
        learn_plant(MOTHER, [], {}, now=NOW)
    north = clone_plant(MOTHER, [], identity=who("north"), now=NOW).plant
    strange = Key(("assembly", "Line 1", "nowhere"), "cycle_s")
    with pytest.raises(InvalidInput, match="nowhere#cycle_s"):
        learn_plant(north, [MOTHER], {strange: stated_time(60)}, now=NOW)
