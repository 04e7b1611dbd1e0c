"""programme.toml is read whole or refused with every problem and its line."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringroad.build.model import Programme
from ringroad.build.programme import PROBLEMS_MAX, find_problems, read_programme
from ringroad.build.toml_lines import locate
from ringroad.kernel.errors import InvalidInput

DISTRIBUTED = Path(__file__).parents[3] / "examples" / "distributed" / "programme.toml"
EXAMPLE = Path(__file__).parents[3] / "examples" / "road" / "programme.toml"

SMALL = """\
[programme]
id = "small"
name = "Small"

[ecus.gw]
hardware_id = "gw-1"
bus = "DoIP"
os = "Linux"
security = "uptane"
storage = "ab"
storage_bytes = 1000
supplier = "Aster"
agent = "ab"
primary = true

[ecus.body]
hardware_id = "body-1"
bus = "CAN"
os = "Zephyr"
security = "mcuboot"
storage = "inplace"
storage_bytes = 1000
supplier = "Aster"
agent = "uds"

[variants.one]
ecus = ["gw", "body"]
options = ["roof"]

[line]
name = "Line"

[[line.stations]]
name = "start"
cycle_s = 60

[[line.ratios]]
option = "roof"
p = 1
q = 2
"""


# All that a line may have besides.
WHOLE = (
    SMALL.replace('options = ["roof"]', 'options = ["roof", "red", "blue"]').replace(
        "[line]\n", "[line]\nfreeze = 20\n"
    )
    + """\
soft = true
station = "end"

[line.paint]
colours = ["red", "blue"]
batch_max = 10

[line.pools]
fitters = 3
agvs = 2

[[line.stations]]
name = "end"
cycle_s = 50
extra_s = {roof = 20, one = 5}
buffer = 3
spread_permille = 120
transfer_s = 10
return_s = 8
uptime_s = 3600
repair_s = 300
rework_permille = 50
rework_s = 600
rework_to = "start"
operators = "fitters"
carriers = "agvs"
"""
)


def line_of(text: str) -> int:
    return next(number for number, row in enumerate(SMALL.split("\n"), 1) if row == text)


def test_the_example_has_the_vehicles_of_the_road() -> None:
    programme = read_programme(EXAMPLE.read_text())
    premium = [programme.ecus[name] for name in programme.variants["premium"].ecus]
    assert len(programme.variants["city"].ecus) == 4
    assert len(premium) == 33
    assert sum(ecu.storage == "ab" for ecu in premium) == 18
    assert len({ecu.os for ecu in premium}) == 12
    assert {ecu.bus for ecu in premium} == {"DoIP", "CAN", "CAN FD", "HTTP"}
    assert len({ecu.security for ecu in premium}) == 4
    assert len({ecu.supplier for ecu in premium}) == 5
    assert [programme.ecus[name].agent for name in programme.variants["box"].ecus] == ["ddi"]


def test_the_distributed_example_has_33_ecus_of_every_kind() -> None:
    ecus = list(read_programme(DISTRIBUTED.read_text()).ecus.values())
    kinds = Counter(ecu.hardware_id.partition("-")[0] for ecu in ecus)
    assert kinds == {"soc": 18, "mcu": 15}
    assert len({ecu.os for ecu in ecus}) == 12
    assert {ecu.bus for ecu in ecus} == {"DoIP", "CAN", "CAN FD", "HTTP", "local"}
    assert sum(ecu.bus == "HTTP" for ecu in ecus) == 1
    assert {ecu.agent for ecu in ecus} == {"ab", "uds", "mcuboot", "sovd", "files", "container"}
    assert len({ecu.security for ecu in ecus}) == 4
    assert len({ecu.supplier for ecu in ecus}) == 5


@pytest.mark.parametrize("source", [EXAMPLE.read_text(), DISTRIBUTED.read_text(), SMALL, WHOLE])
def test_a_programme_survives_its_json_form(source: str) -> None:
    programme = read_programme(source)
    assert Programme.from_document(json.loads(json.dumps(programme.to_document()))) == programme


def test_what_the_line_has_besides_is_read_and_what_is_left_out_does_not_happen() -> None:
    line = read_programme(WHOLE).line
    start, end = line.stations
    assert (start.buffer, start.spread_permille, start.uptime_s, start.operators) == (1, 50, 0, "")
    assert (end.buffer, end.extra_s, end.rework_to, end.carriers) == (
        3,
        {"roof": 20, "one": 5},
        "start",
        "agvs",
    )
    assert (line.pools, line.freeze) == ({"fitters": 3, "agvs": 2}, 20)
    assert line.paint is not None
    assert (line.paint.colours, line.paint.batch_max) == (("red", "blue"), 10)
    assert (line.ratios[0].soft, line.ratios[0].station) == (True, "end")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("freeze = 20", "freeze = 201", "'freeze' is 201; it must be between 0 and 200"),
        (
            "buffer = 3",
            "buffer = 0",
            "station 'end' has a buffer of 0: a vehicle that comes to it must have a place",
        ),
        (
            "buffer = 3",
            "buffer = -1",
            "station 'end' has a buffer of -1: a vehicle that comes to it must have a place",
        ),
        ("buffer = 3", "buffer = 1001", "station 'end': 'buffer' is 1001; it must be between 1 and 1000"),
        ("spread_permille = 120", "spread_permille = 9999", "between 0 and 2000"),
        ("repair_s = 300\n", "", "station 'end': 'uptime_s' and 'repair_s' go together"),
        ("rework_s = 600\n", "", "station 'end': 'rework_permille' and 'rework_s' go together"),
        ('rework_to = "start"', 'rework_to = "stat"', "'stat' is no station; did you mean 'start'"),
        ('name = "start"', 'name = "end"', "station 'end' stands twice"),
        ('operators = "fitters"', 'operators = "fitter"', "no pool in [line.pools]; did you mean 'fitters'"),
        ('carriers = "agvs"', 'carriers = "x"', "'x' is no pool"),
        (
            "{roof = 20, one = 5}",
            "{rof = 20}",
            "'rof' is no variant and no option of one; did you mean 'roof'",
        ),
        ("{roof = 20, one = 5}", "{roof = 0}", "station 'end', extra_s: 'roof' is 0; it must be between 1"),
        ("{roof = 20, one = 5}", "7", "must be a table"),
        ("fitters = 3", "fitters = 0", "pools: 'fitters' is 0"),
        ('station = "end"', 'station = "ende"', "'ende' is no station; did you mean 'end'"),
        ("soft = true", "soft = 1", "'soft' must be true or false"),
        ('colours = ["red", "blue"]', 'colours = ["rot"]', "'rot' is no option of a variant"),
        ('colours = ["red", "blue"]', "colours = []", "it must have 1 to"),
        ("batch_max = 10", "batch_max = 0", "paint: 'batch_max' is 0"),
        ("p = 1", "p = 3", "ratio of 'roof': 3 of 2 successive vehicles is no limit"),
        ("cycle_s = 50\n", "", "station 'end' has no 'cycle_s'"),
        ('name = "end"\n', "", "station 2 has no 'name'"),
    ],
)
def test_what_cannot_be_in_a_line_is_named(old: str, new: str, words: str) -> None:
    assert WHOLE.count(old) == 1
    programme, problems = find_problems(WHOLE.replace(old, new))
    assert programme is None
    assert any(words in problem.message for problem in problems), problems


@pytest.mark.parametrize("value", ["-1", "1_000_000_000_000", '"many"', "true"])
@pytest.mark.parametrize(
    ("whose", "key"),
    [
        *(("station 'end': ", key) for key in (
            "cycle_s", "spread_permille", "transfer_s", "return_s", "uptime_s", "repair_s", "rework_permille",
            "rework_s",
        )),
        ("ratio of 'roof': ", "p"),
        ("ratio of 'roof': ", "q"),
        ("", "freeze"),
    ],
)  # fmt: skip
def test_a_number_of_a_line_that_cannot_be_says_whose_it_is(whose: str, key: str, value: str) -> None:
    source = re.sub(rf"^{key} = (?!60$)\d+$", f"{key} = {value}", WHOLE, flags=re.MULTILINE)
    _, problems = find_problems(source)
    assert any(each.message.startswith(f"{whose}{key!r} ") for each in problems), problems


def test_a_number_of_an_ecu_that_cannot_be_says_whose_it_is() -> None:
    _, problems = find_problems(SMALL.replace("storage_bytes = 1000", "storage_bytes = 0", 1))
    assert [each.message.partition(" is 0")[0] for each in problems] == ["ECU 'gw': 'storage_bytes'"]


def test_a_gate_does_not_send_vehicles_on_to_a_station_behind_it() -> None:
    source = SMALL.replace(
        "cycle_s = 60", 'cycle_s = 60\nrework_permille = 1\nrework_s = 1\nrework_to = "end"'
    )
    source += '[[line.stations]]\nname = "end"\ncycle_s = 1\n'
    _, problems = find_problems(source)
    assert ["'start' sends refused vehicles on to 'end'" in problem.message for problem in problems] == [True]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ('storage = "inplace"', 'storage = "inplac"', 21, "did you mean 'inplace'"),
        (
            'supplier = "Aster"\nagent = "uds"',
            'suplier = "Aster"\nagent = "uds"',
            23,
            "did you mean 'supplier'",
        ),
        ('agent = "uds"', 'agent = "ab"', 24, "cannot serve storage 'inplace'"),
        ('agent = "uds"', 'agent = "container"', 24, "cannot serve storage 'inplace'"),
        ('agent = "ab"', 'agent = "sovd"', 7, "does not reach an ECU on 'DoIP'"),
        ('bus = "CAN"', 'bus = "local"', 24, "what is on the Primary's computer"),
        ('agent = "uds"', 'agent = "udss"', 24, "did you mean 'uds'"),
        ('agent = "uds"', 'agent = "uds"\nsettings = { x = 1 }', 25, "x must be text"),
        ('agent = "uds"', 'agent = "uds"\nsettings = "x"', 25, "must be a table"),
        ('agent = "uds"', 'agent = "ddi"\nsettings = { success = "surely" }', 25, "success"),
        ('agent = "uds"', 'agent = "ddi"\nsettings = { sucess = "word" }', 25, "sucess"),
        (
            'storage_bytes = 1000\nsupplier = "Aster"\nagent = "uds"',
            'storage_bytes = "1 kB"\nsupplier = "Aster"\nagent = "uds"',
            22,
            "must be a whole number, not a text",
        ),
        ("primary = true\n", "", 26, "exactly one primary ECU, found none"),
        (
            'ecus = ["gw", "body"]',
            'ecus = [\n  "gw",\n  "bodi",\n]',
            29,
            "unknown ECU 'bodi'; did you mean 'body'",
        ),
        ('ecus = ["gw", "body"]', 'ecus = ["gw"]', 16, "ECU 'body' is in no variant"),
        ("p = 1", "p = 3", 39, "p must not exceed q"),
        ("cycle_s = 60", "cycle_s = 0", 35, "between 1 and 86400"),
        ("cycle_s = 60", "cycle_s = true", 35, "must be a whole number, not true or false"),
        ('option = "roof"', 'option = "rof"', 38, "did you mean 'roof'"),
        ("[line]\n", "[lime]\n", 30, "did you mean 'line'"),
        ('name = "Small"', 'name = "Small', 3, "not TOML"),
        ("[ecus.body]", "[ecus.Body]", 16, "small letters"),
    ],
)
def test_a_problem_is_named_with_its_line(old: str, new: str, line: int, words: str) -> None:
    assert SMALL.count(old) == 1
    programme, problems = find_problems(SMALL.replace(old, new))
    assert programme is None
    assert any(problem.line == line and words in problem.message for problem in problems), problems


def test_all_problems_are_reported_at_once_in_order_and_at_most_fifty() -> None:
    many = SMALL + "".join(f"[ecus.e{number}]\n" for number in range(20))
    with pytest.raises(InvalidInput) as caught:
        read_programme(many, filename="p.toml")
    rows = caught.value.message.split("\n")
    assert rows[0].startswith("p.toml has 180 problems")
    assert len(rows) == PROBLEMS_MAX + 2
    assert rows[-1] == "... and 130 more"
    numbers = [int(row.split(":")[1]) for row in rows[1:-1]]
    assert numbers == sorted(numbers)


def test_an_empty_file_and_a_huge_one_are_refused() -> None:
    assert {problem.message for problem in find_problems("")[1]} >= {
        "[programme] is missing",
        "[line] is missing",
    }
    assert "larger" in find_problems("#" * 2_000_000)[1][0].message


def test_strings_comments_and_nested_brackets_do_not_mislead_the_locator() -> None:
    source = 'a = """x\n[not.a.table]\nb = 1\n"""\n# [c]\nlist = [\n  "]", # ]\n  [1, 2],\n]\n[t."x.y"]\nk.l = {m = "}"}\n[[t.z]]\n[[t.z]]\nq=1\n'
    tomllib.loads(source)
    found = locate(source)
    assert found.line_of(("list",)) == 6
    assert found.line_of(("t", "x.y")) == 10
    assert found.line_of(("t", "x.y", "k", "l", "m")) == 11
    assert found.line_of(("t", "z", 1, "q")) == 14
    assert found.line_of(("nowhere",)) == 1


@given(st.text(alphabet="[]{}=\"'#.,\n\\ abc1_-", max_size=80))
def test_the_locator_ends_on_every_text_that_is_toml(source: str) -> None:
    try:
        parsed = tomllib.loads(source)
    except tomllib.TOMLDecodeError:
        return
    found = locate(source)
    for key in parsed:
        assert 1 <= found.line_of((key,)) <= source.count("\n") + 1
        assert (key,) in found.lines


@given(
    st.recursive(
        st.one_of(st.booleans(), st.integers(), st.text(max_size=5)),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_a_value_of_any_type_is_refused_with_words_and_never_with_a_crash(value: object) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for key in (
        'storage_bytes = 1000\nsupplier = "Aster"\nagent = "uds"',
        'ecus = ["gw", "body"]',
        'name = "Line"',
    ):
        name = key.split(" = ", 1)[0]
        _, problems = find_problems(SMALL.replace(key, f"{name} = {text}", 1))
        for problem in problems:
            assert problem.line >= 1
