"""A plant goes into a file and comes back, whole or with its structure by reference."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ringroad.build.clone.plants import clone_plant
from ringroad.build.plant.model import Identity, Plant, Structure
from ringroad.build.plant.read import nowhere, plant_from_document, read_plant, structure_from
from ringroad.build.plant.write import plant_file
from ringroad.kernel.errors import InvalidInput

EXAMPLES = Path(__file__).parents[3] / "examples"
MOTHER = read_plant((EXAMPLES / "first" / "plant.toml").read_text(encoding="utf-8"))
NORTH = clone_plant(
    MOTHER,
    [],
    identity=Identity(id="north", name='North "the cold"', enterprise="Ringroad Motors", site="Nordhavn\\1"),
    now=datetime(2026, 11, 26, 8, tzinfo=UTC),
).plant
BY_REFERENCE = plant_file(NORTH, by_reference=True)


def find(sha256: str) -> Structure | None:
    return MOTHER.structure if sha256 == MOTHER.structure_sha256 else None


@pytest.mark.parametrize(
    "plant", [MOTHER, NORTH, read_plant((EXAMPLES / "world" / "mother.toml").read_text())]
)
def test_a_whole_file_reads_back_number_for_number(plant: Plant) -> None:
    again = read_plant(plant_file(plant, by_reference=False))
    assert again == plant
    assert (again.structure_sha256, again.parameters_sha256) == (
        plant.structure_sha256,
        plant.parameters_sha256,
    )


def test_a_clones_file_refers_to_its_parents_structure_and_is_as_the_whole_one_where_that_is_known() -> None:
    assert "[[lines]]" not in BY_REFERENCE
    assert MOTHER.structure_sha256 in BY_REFERENCE
    assert read_plant(BY_REFERENCE, find=find) == NORTH
    document = {k: v for k, v in NORTH.to_document().items() if k in ("schema", "plant", "parameters")}
    assert plant_from_document(document | {"structure": MOTHER.structure_sha256}, find=find) == NORTH


def test_a_structure_alone_reads_back_and_one_that_cannot_be_is_refused() -> None:
    document = MOTHER.to_document()
    alone = {
        name: part
        for name, part in document.items()
        if name not in ("schema", "plant", "parameters", "bindings")
    }
    assert structure_from(alone) == MOTHER.structure
    with pytest.raises(InvalidInput, match="unknown key 'plant'"):
        structure_from(document)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (BY_REFERENCE, "import the document of wren-mother first"),
        (BY_REFERENCE.replace(MOTHER.structure_sha256, "x" * 64), "64 hex digits"),
        (BY_REFERENCE.replace('parent = "wren-mother"\n', ""), "'structure' is for clones"),
        (
            BY_REFERENCE + '[[calendars]]\nname = "late"\nhours = ["mon 06:00-14:00"]\n',
            "'calendars' of its own",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_or_is_half_of_one_is_refused(source: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_plant(source, find=nowhere)


def test_a_parameter_of_what_the_structure_does_not_have_is_refused_by_reference_too() -> None:
    smaller = replace(MOTHER, structure=replace(MOTHER.structure, legs=()))
    source = BY_REFERENCE.replace(MOTHER.structure_sha256, smaller.structure_sha256)
    with pytest.raises(InvalidInput, match="legs/"):
        read_plant(source, find=lambda _: smaller.structure)
