"""A plant document is read whole, or refused with every problem, its line and the station it is about."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.model import Line, Programme, Ratio, Station
from ringroad.build.plant import read
from ringroad.build.plant.diff import diff_plants
from ringroad.build.plant.line import as_line, check_line_of, line_of, plant_of_line
from ringroad.build.plant.model import Cell, Identity, Plant
from ringroad.build.plant.parameters import KINDS, Key, path_of, path_text
from ringroad.build.plant.posterior import stated_time
from ringroad.build.plant.read import find_plant_problems, plant_from_document, read_plant
from ringroad.build.programme import read_programme
from ringroad.kernel.errors import InvalidInput

EXAMPLES = Path(__file__).parents[3] / "examples"
SOURCE = (EXAMPLES / "first" / "plant.toml").read_text(encoding="utf-8")
MOTHER = read_plant(SOURCE)
WREN = read_programme((EXAMPLES / "first" / "programme.toml").read_text(encoding="utf-8"))
TRIM = ("assembly", "Line 1", "marriage")


def line_of_text(text: str) -> int:
    return SOURCE[: SOURCE.index(text)].count("\n") + 1


def test_a_document_says_the_line_as_planners_take_it() -> None:
    line = line_of(MOTHER, "wren")
    assert line is not None
    marriage, test = line.stations
    assert (marriage.cycle_s, marriage.extra_s, marriage.uptime_s) == (60, {"tow_bar": 12}, 28_800)
    assert (test.rework_permille, test.rework_s, test.buffer) == (30, 900, 2)
    assert line.ratios == (Ratio(option="tow_bar", p=1, q=2),)
    check_line_of(MOTHER, WREN)


def test_a_document_reads_back_from_its_json_form() -> None:
    assert plant_from_document(json.loads(json.dumps(MOTHER.to_document()))) == MOTHER


def test_a_plant_with_a_clock_of_its_own_keeps_the_hours_of_its_calendars_by_it() -> None:
    away = replace(MOTHER, identity=replace(MOTHER.identity, time_zone="Asia/Shanghai"))
    assert plant_from_document(json.loads(json.dumps(away.to_document()))) == away
    assert away.structure_sha256 == MOTHER.structure_sha256
    far, here = (as_line(plant, plant.structure.lines[0]).calendar for plant in (away, MOTHER))
    assert here is not None
    assert here.time_zone == "Europe/Oslo"
    assert far == replace(here, time_zone="Asia/Shanghai")


def test_the_line_of_a_programme_keeps_its_calendar_as_a_plant() -> None:
    calendar = MOTHER.structure.calendars[0]
    resting = replace(WREN.line, calendar=calendar)
    assert line_of(plant_of_line(replace(WREN, line=resting)), WREN.id) == resting
    kept = Programme.from_document(json.loads(json.dumps(replace(WREN, line=resting).to_document())))
    assert kept.line == resting


def test_names_are_those_of_isa_95() -> None:
    assert MOTHER.full_name(TRIM) == "Ringroad Motors/Harbour/assembly/Line 1/marriage"


@pytest.mark.parametrize(
    ("before", "after", "line", "said"),
    [
        ("buffer = 2", "buffer = 0", "buffer = 2", "station 'flash_and_test' has a buffer of 0"),
        ("buffer = 2", "buffer = 1_001", "buffer = 2", "between 1 and 1000"),
        ('after = ["draw"]', 'after = ["trim"]', "[[shops.routings.steps]]", "'door' goes round in a circle"),
        ('after = ["draw"]', 'after = ["darw"]', 'after = ["draw"]', "did you mean 'draw'?"),
        ('calendar = "two shifts"\npools', 'calendar = "late"\npools', 'calendar = "two', "no calendar"),
        ('"mon-fri 06:00-22:00"', '"monday"', 'hours = ["mon', "calendar 'two shifts'"),
        ('"2026-12-25"', '"Christmas"', "closed", "'Christmas' is no day"),
        ('"2026-12-25"', '"9999-12-31"', "closed", "'9999-12-31' is no day"),
        ('"2026-12-25"', '"0001-01-01"', "closed", "'0001-01-01' is no day"),
        ("mean = 0.92", "mean = 1.2", "finds = ", "between 0 and 1"),
        ("mean = 0.92, n = 60", "mean = 0.92, n = 0", "finds = ", "n = 0"),
        ("pick_s = 25", "pick = 25", "pick_s = 25", "did you mean 'pick_s'?"),
        ("pick_s = 25", "cycle_s = 25", "pick_s = 25", "is a zone, which has no 'cycle_s'"),
        ("pick_s = 25", 'pick_s = "fast"', "pick_s = 25", "must be a number"),
        ("work_s.trimmer = 6", "work_s.press-1 = 6", "work_s.trimmer = 6", "no resource of it"),
        ('setup_s."doors>roofs"', 'setup_s."doors>doors"', 'setup_s."doors', "no change of it"),
        ('lead_s."at dock"', 'lead_s."at doc"', 'lead_s."at dock"', "did you mean 'at dock'?"),
        (
            '[parameters."legs/tow',
            '[parameters."legs/two',
            '[parameters."legs/tow',
            "is nothing of this plant",
        ),
        ('carriers = "trolleys"', 'carriers = "trolley"', "carriers = ", "no pool of the line"),
        ('serves = ["Line 1"', 'serves = ["Line 2"', "serves = ", "no line, shop or zone"),
        ("rework_s = { mean = 900, spread_permille = 400, n = 36 }", "", "", "'rework_s' go together"),
        ('site = "Harbour"', 'site = "H"\ntime_zone = "Oslo"', "", "there is no time zone 'Oslo'"),
        ('id = "wren-mother"', 'id = "Wren"', 'id = "wren-mother"', "small letters"),
        ('name = "flash_and_test"', 'name = "marriage"', 'name = "flash_and_test"', "stands twice"),
        ("[warehouse]", "[warehose]", "[warehouse]", "did you mean 'warehouse'?"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(before: str, after: str, line: str, said: str) -> None:
    assert before in SOURCE
    plant, problems = find_plant_problems(SOURCE.replace(before, after, 1))
    assert plant is None
    named = [problem for problem in problems if said in problem.message]
    assert named, [str(problem) for problem in problems]
    if line:
        assert line_of_text(line) in {problem.line for problem in named}


def numbers_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Return where the numbers of a document stand."""
    if isinstance(value, dict | list):
        for step, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers_of(each, (*path, step))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def full_document() -> dict[str, Any]:
    """Return a document that has every number there is."""
    body = tomllib.loads(SOURCE)
    (line,), shop = body["lines"], body["shops"][0]
    line["freeze"], line["paint"] = 3, {"colours": ["red"], "batch_max": 4}
    for station in line["stations"]:
        station["buffer"] = 2
        for gate in station.get("gates", ()):
            gate |= {"inspect_permille": 500, "inspect_cost": 2, "escape_cost": 90}
    for resource in shop["resources"]:
        resource["count"] = 1
    for fleet in body["agvs"]:
        fleet["carries"] = 2
    for zone in body["warehouse"]["zones"]:
        zone["rank"] = 1
    return body


NUMBERS = [path for path in numbers_of(full_document()) if path != ("schema",)]


@pytest.mark.parametrize("value", [-1, 10**17, "many"])
@pytest.mark.parametrize("path", NUMBERS, ids=lambda path: ".".join(str(step) for step in path))
def test_a_number_that_cannot_be_says_whose_it_is(path: tuple[str | int, ...], value: object) -> None:
    body: Any = full_document()
    at, names = body, []
    for step in path[:-1]:
        at = at[step]
        names += [repr(at[key]) for key in ("name", "option") if isinstance(step, int) and key in at]
    if path[0] == "parameters":
        names = [str(path[1])]
    at[path[-1]] = value
    with pytest.raises(InvalidInput) as told:
        plant_from_document(body)
    named = [line for line in told.value.message.split("\n")[1:] if all(name in line for name in names)]
    assert any(str(path[-1]) in line or path[0] == "parameters" for line in named), told.value.message


def test_every_kind_of_number_is_tried() -> None:
    kept = {str(path[-1]) for path in NUMBERS if path[0] != "parameters"}
    assert kept >= {
        "freeze", "batch_max", "buffer", "inspect_permille", "inspect_cost", "escape_cost", "count", "carries",
        "places", "rank", "p", "q",
    }  # fmt: skip


def test_a_day_that_no_document_may_close_any_more_is_read_where_it_is_kept() -> None:
    body = tomllib.loads(SOURCE.replace('"2026-12-25"', '"1999-12-25"', 1))
    kept = plant_from_document(body)
    assert "1999-12-25" in kept.structure.calendars[0].closed
    with pytest.raises(InvalidInput, match="'1999-12-25' is no day"):
        plant_from_document(body, new=True)


def test_a_station_without_a_cycle_time_is_named() -> None:
    body = tomllib.loads(SOURCE)
    del body["parameters"]["assembly/Line 1/marriage"]["cycle_s"]
    with pytest.raises(InvalidInput, match="station 'marriage' has no 'cycle_s'"):
        plant_from_document(body)


@pytest.mark.parametrize(
    "source", ["", "plant = 1", "[plant", "\x00", "[[lines]]\nname = 1", "parameters = 3"]
)
def test_other_texts_are_refused_and_not_guessed_at(source: str) -> None:
    plant, problems = find_plant_problems(source)
    assert plant is None
    assert problems


def test_a_text_that_is_nested_without_end_is_refused() -> None:
    plant, (problem,) = find_plant_problems("a = " + "[" * 5_000)
    assert plant is None
    assert "nested too deep" in problem.message


def test_only_the_problems_that_are_shown_cost_a_search_for_what_may_be_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[str] = []

    def search(word: str, _known: object, n: int) -> list[str]:
        assert n == 1
        searched.append(word)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", search)
    unknown = "".join(f'[parameters."nowhere/{number}"]\ncycle_s = 60\n' for number in range(300))
    plant, problems = find_plant_problems(SOURCE + "\n" + unknown)
    assert plant is None
    assert sum("is nothing of this plant" in each.message for each in problems) == 300
    assert len(searched) == 50


def test_parameters_beyond_the_limit_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "PARAMETERS_MAX", 3)
    plant, problems = find_plant_problems(SOURCE)
    assert plant is None
    assert any("more than 3 parameters" in each.message for each in problems)


def test_a_document_of_a_later_schema_is_refused() -> None:
    with pytest.raises(InvalidInput, match="schema 2 is not known"):
        plant_from_document(MOTHER.to_document() | {"schema": 2})


def test_a_clone_has_the_structure_hash_of_its_mother_and_other_parameters_another_hash() -> None:
    clone = replace(
        MOTHER,
        identity=Identity(id="wren-north", name="North", enterprise="Ringroad Motors", site="North", parent="wren-mother"),
        parameters={**MOTHER.parameters, Key(TRIM, "cycle_s"): stated_time(70, n=30)},
    )  # fmt: skip
    assert clone.structure_sha256 == MOTHER.structure_sha256
    assert clone.parameters_sha256 != MOTHER.parameters_sha256


def test_drift_of_a_clone_is_what_its_beliefs_contradict() -> None:
    slower = replace(
        MOTHER,
        parameters={
            **MOTHER.parameters,
            Key(TRIM, "cycle_s"): stated_time(66, n=50),
            Key(TRIM, "extra_s", "tow_bar"): stated_time(12.1),
        },
    )
    found = diff_plants(MOTHER, slower)
    assert not found.structure
    assert [(str(each.key), each.how) for each in found.parameters] == [
        ("assembly/Line 1/marriage#cycle_s", "differs"),
        ("assembly/Line 1/marriage#extra_s.tow_bar", "learned"),
    ]


def test_a_changed_structure_is_told_place_by_place() -> None:
    line = MOTHER.structure.lines[0]
    cells = (replace(line.stations[0], buffer=4), Cell(name="roof"), *line.stations[1:])
    other = replace(
        MOTHER,
        structure=replace(MOTHER.structure, lines=(replace(line, stations=cells),)),
        parameters={**MOTHER.parameters, Key(("assembly", "Line 1", "roof"), "cycle_s"): stated_time(55)},
    )
    found = diff_plants(MOTHER, other)
    assert [(each.path, each.before, each.after) for each in found.structure] == [
        ("lines / Line 1 / stations / marriage / buffer", None, 4),
        ("lines / Line 1 / stations / roof", None, {"name": "roof"}),
    ]
    assert [each.how for each in found.parameters] == ["new"]


def test_a_plant_does_not_differ_from_itself() -> None:
    assert not diff_plants(MOTHER, read_plant(SOURCE)).differs


def test_a_line_that_names_what_the_programme_does_not_have_cannot_build_it() -> None:
    other = Programme(
        id="wren", name="Wren", ecus=WREN.ecus, line=WREN.line,
        variants={name: replace(variant, options=()) for name, variant in WREN.variants.items()},
    )  # fmt: skip
    with pytest.raises(InvalidInput, match="'tow_bar' is no variant and no option of one"):
        check_line_of(MOTHER, other)
    with pytest.raises(InvalidInput, match="no line for programme wren2"):
        check_line_of(MOTHER, replace(WREN, id="wren2"))


_names = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20
).filter(lambda text: bool(text.strip()))


@st.composite
def stations(draw: st.DrawFn, name: str) -> Station:
    breaks, rework = draw(st.booleans()), draw(st.booleans())
    return Station(
        name=name,
        cycle_s=draw(st.integers(1, 86_400)),
        extra_s=draw(st.dictionaries(st.sampled_from(["tow_bar", "van"]), st.integers(1, 86_400))),
        buffer=draw(st.integers(1, 1_000)),
        spread_permille=draw(st.integers(0, 2_000)),
        transfer_s=draw(st.integers(0, 86_400)),
        return_s=draw(st.integers(0, 86_400)),
        uptime_s=draw(st.integers(1, 31_536_000)) if breaks else 0,
        repair_s=draw(st.integers(1, 31_536_000)) if breaks else 0,
        rework_permille=draw(st.integers(1, 900)) if rework else 0,
        rework_s=draw(st.integers(1, 86_400)) if rework else 0,
    )


@given(st.data(), st.lists(_names, min_size=1, max_size=4, unique=True))
def test_a_programmes_line_is_the_same_read_as_a_plant(data: st.DataObject, names: list[str]) -> None:
    line = Line(name="L/1", stations=tuple(data.draw(stations(name)) for name in names), ratios=())
    programme = replace(WREN, line=line)
    plant = plant_of_line(programme)
    assert line_of(plant, "wren") == line
    assert plant_from_document(plant.to_document()) == plant


@given(st.lists(_names, min_size=1, max_size=4))
def test_paths_read_back_whatever_is_in_their_names(names: list[str]) -> None:
    assert path_of(path_text(tuple(names))) == tuple(names)


def test_every_kind_of_parameter_is_in_the_reference() -> None:
    page = (EXAMPLES.parent / "docs" / "reference" / "plant-document.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert f"`{kind}`" in page, kind


def test_the_same_plant_has_the_same_hash_whatever_the_order_of_its_parameters() -> None:
    turned = Plant(
        identity=MOTHER.identity,
        structure=MOTHER.structure,
        parameters=dict(reversed(list(MOTHER.parameters.items()))),
    )
    assert turned.parameters_sha256 == MOTHER.parameters_sha256
