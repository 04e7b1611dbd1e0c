"""The lineage of plants: clones stand below their parents, and nobody is left out or shown twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ringroad.build.clone.plants import clone_plant
from ringroad.build.plant.model import Identity, Plant
from ringroad.build.plant.read import read_plant
from ringroad.build.plant.store import StoredPlant
from ringroad.http.console.clones import lineage

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MOTHER = read_plant(
    (Path(__file__).parents[3] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
)


def kept(plant: Plant) -> StoredPlant:
    return StoredPlant(plant=plant, generation=1, made_by="olga", made_at=NOW)


def clone(parent: Plant, name: str) -> Plant:
    identity = Identity(id=name, name=name, enterprise="Ringroad Motors", site=name)
    return clone_plant(parent, [], identity=identity, now=NOW).plant


def shown(*plants: Plant) -> list[tuple[str, int]]:
    return [(each.plant.plant.id, each.depth) for each in lineage([kept(each) for each in plants])]


def test_clones_stand_below_their_parents() -> None:
    north = clone(MOTHER, "north")
    assert shown(clone(north, "far"), MOTHER, north, clone(MOTHER, "south")) == [
        ("wren-mother", 0), ("north", 1), ("far", 2), ("south", 1),
    ]  # fmt: skip


def test_a_clone_whose_parent_is_not_here_stands_by_itself() -> None:
    (north,) = lineage([kept(clone(MOTHER, "north"))])
    assert (north.depth, north.structure, north.parameters) == (0, None, None)


def test_plants_that_are_each_others_parents_are_shown_once() -> None:
    one, other = (
        replace(MOTHER, identity=replace(MOTHER.identity, id=name, parent=parent))
        for name, parent in (("a", "b"), ("b", "a"))
    )
    assert sorted(name for name, _ in shown(one, other)) == ["a", "b"]
    assert shown() == []


def test_what_differs_from_the_parent_is_counted() -> None:
    north = clone(MOTHER, "north")
    built = replace(north, structure=replace(north.structure, agvs=()))
    (_, found) = lineage([kept(MOTHER), kept(built)])
    assert found.structure == 1
    assert found.parameters == 0
