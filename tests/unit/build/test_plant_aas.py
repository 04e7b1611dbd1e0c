"""A plant goes into an Asset Administration Shell and back without loss; other files are refused."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.build.plant.aas import MEMBERS_MAX, SUBMODELS, Form, export_aas, import_aas
from ringroad.build.plant.model import Cell, Gate, Plant, PlantLine, Structure
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, stated_rate, stated_share, stated_time
from ringroad.build.plant.read import read_plant
from ringroad.kernel.errors import InvalidInput, Unavailable

SOURCE = (Path(__file__).parents[3] / "examples" / "first" / "plant.toml").read_text(encoding="utf-8")
MOTHER = replace(
    read_plant(SOURCE), bindings={("assembly", "Line 1", "marriage"): {"order": "ns=2;s=marriage.order"}}
)

_names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20
).filter(lambda text: bool(text.strip()))
_means = st.floats(0.01, 1e6)
_worth = st.floats(0.01, 1e6)


@st.composite
def plants(draw: st.DrawFn) -> Plant:
    names = draw(st.lists(_names, min_size=1, max_size=3, unique=True))
    cells = tuple(
        Cell(
            name=name, buffer=draw(st.integers(1, 9)), tools=tuple(draw(st.lists(_names, max_size=2, unique=True))),
            gates=(Gate(name="end", checks=("leak",), inspect_permille=draw(st.integers(0, 1000))),)
            if draw(st.booleans()) else (),
        )
        for name in names
    )  # fmt: skip
    area, line = draw(_names), draw(_names)
    parameters = {}
    for cell in cells:
        path = (area, line, cell.name)
        origin = Origin(plant=draw(st.sampled_from(["", "north"])), evidence=draw(_names))
        parameters[Key(path, "cycle_s")] = stated_time(
            draw(_means), spread_permille=draw(st.integers(0, 900)), n=draw(_worth), origin=origin
        )
        parameters[Key(path, "extra_s", draw(_names))] = stated_time(draw(_means), origin=origin)
        if draw(st.booleans()):
            parameters[Key(path, "uptime_s")] = stated_rate(draw(_means), n=draw(_worth))
            parameters[Key(path, "repair_s")] = stated_time(draw(_means))
        for gate in cell.gates:
            parameters[Key((*path, gate.name), "finds")] = stated_share(draw(st.floats(0, 1)), n=draw(_worth))
    made = PlantLine(
        name=line,
        area=area,
        stations=cells,
        pools=draw(st.dictionaries(_names, st.integers(1, 9), max_size=2)),
        freeze=draw(st.integers(0, 200)),
    )
    return Plant(identity=MOTHER.identity, structure=Structure(lines=(made,)), parameters=parameters)


@pytest.mark.parametrize("form", ["json", "aasx"])
def test_the_example_comes_back_as_it_was(form: Form) -> None:
    assert import_aas(export_aas(MOTHER, form=form)) == MOTHER


@settings(max_examples=25, deadline=None)
@given(plants(), st.sampled_from(["json", "aasx"]))
def test_any_plant_comes_back_as_it_was(plant: Plant, form: Form) -> None:
    again = import_aas(export_aas(plant, form=form))
    assert again == plant
    assert again.structure_sha256 == plant.structure_sha256
    assert again.parameters_sha256 == plant.parameters_sha256


def test_a_shell_has_the_four_submodels_and_isa_95_names() -> None:
    shell = json.loads(export_aas(MOTHER, form="json"))
    assert sorted(each["idShort"] for each in shell["submodels"]) == sorted(SUBMODELS)
    assert len(shell["assetAdministrationShells"]) == 1
    assert "Ringroad Motors/Harbour/assembly/Line 1/marriage" in json.dumps(shell)


def _without(name: str) -> bytes:
    shell = json.loads(export_aas(MOTHER, form="json"))
    shell["submodels"] = [each for each in shell["submodels"] if each["idShort"] != name]
    return json.dumps(shell).encode()


def _bomb() -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as package:
        for number in range(MEMBERS_MAX + 1):
            package.writestr(f"{number}", b"")
    return into.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no plant as an Asset Administration Shell"),
        (b"[]", "no plant as an Asset"),
        (b"{}", "0 shells"),
        (b"\xff\xfe", "no plant as an Asset"),
        (b"PK\x03\x04rubbish", "no plant as an Asset"),
        (_bomb(), "unpacks to more than"),
        (_without("Quality"), "no submodel Quality"),
        (export_aas(MOTHER, form="json").replace(b"urn:ringroad:plant:wren-mother", b"urn:ringroad:plant:robin"), "its plant 'wren-mother'"),
        (export_aas(MOTHER, form="json").replace(b"ns=2;s=marriage.order", b"marriage.order"), "is no NodeId"),
        (export_aas(MOTHER, form="json").replace(b'"two shifts"', b'"no shifts"', 1), "no calendar"),
    ],
)  # fmt: skip
def test_what_is_no_plant_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        import_aas(content)


def test_without_the_sdk_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    absent: Any = None
    monkeypatch.setitem(sys.modules, "basyx.aas.model", absent)
    with pytest.raises(Unavailable, match="basyx-python-sdk") as refused:
        export_aas(MOTHER, form="json")
    assert "ringroad[aas]" in refused.value.hint
