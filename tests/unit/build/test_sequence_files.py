"""Published instance formats: read as they are, refused with the line that is wrong."""

from __future__ import annotations

import re
import zipfile

import pytest

from ringroad.build.sequence.count import count_cost
from ringroad.build.sequence.csplib import read_csplib
from ringroad.build.sequence.problem import Level
from ringroad.build.sequence.roadef import LIMIT, OBJECTIVES, RATIOS, VEHICLES, read_roadef, weighted
from ringroad.kernel.errors import InvalidInput
from support.shared_data import shared_data

CSPLIB = """\
4 2 2
1 2
2 3
0 3 1 0
1 1 0 1
"""
MANY = f"""\
Some words about the set.
#----
# Problem one  (a comment)
#----
{CSPLIB}
#Problem two
3 5 2
0 1 1 0 0 0 0
1 2 0 0 1 0 1
"""


def test_an_instance_without_a_heading_has_the_files_name() -> None:
    (problem,) = read_csplib(CSPLIB, name="tiny").values()
    assert [sorted(car.features) for car in problem.cars] == [["0"], ["0"], ["0"], ["1"]]
    assert [(ratio.p, ratio.q) for ratio in problem.ratios] == [(1, 2), (2, 3)]
    assert (problem.order, problem.measure, problem.open_end) == ((Level.RATIOS,), "windows", False)


def test_many_instances_are_told_apart_and_old_ones_have_the_capacities_of_the_set() -> None:
    found = read_csplib(MANY)
    assert list(found) == ["one", "two"]
    assert [(ratio.p, ratio.q) for ratio in found["two"].ratios] == [(1, 2), (2, 3), (1, 3), (2, 5), (1, 5)]


def test_the_published_files_are_read() -> None:
    found = read_csplib(shared_data("car_sequencing_csplib/data.txt").read_text())
    assert len(found) == 79
    assert {len(problem.cars) for problem in found.values()} == {100, 200}
    with zipfile.ZipFile(shared_data("car_sequencing_csplib/ProblemDataSet200to400.zip")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".txt")]
        sizes = [
            len(cars)
            for name in names
            for cars in [read_csplib(archive.read(name).decode())["instance"].cars]
        ]
    assert sorted(sizes) == [200] * 10 + [300] * 10 + [400] * 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no instance"),
        ("hello", "no instance"),
        ("4 2\n", "line 1: an instance starts with three numbers"),
        ("# Problem a\n", "problem a: an instance starts"),
        ("9999 2 2\n1 2\n2 3\n", "line 1: 9999 cars"),
        ("4 0 2\n", "line 1: 4 cars, 0 options"),
        (CSPLIB.replace("1 2\n2 3\n", ""), "line 1: two rows with p and q"),
        (CSPLIB.replace("1 2\n2 3", "3 2\n2 3"), "line 2: option 0 has ratio 3/2"),
        (CSPLIB.replace("0 3 1 0", "0 4 1 0"), "line 5: more than the 4 cars"),
        (CSPLIB.replace("0 3 1 0", "0 2 1 0"), "line 1: 4 cars are announced, the classes have 3"),
        (CSPLIB.replace("0 3 1 0", "0 3 1 2"), "line 4: a class has"),
        (CSPLIB.replace("0 3 1 0", "0 -3 1 0"), "line 4: a class has"),
        (CSPLIB.replace("0 3 1 0", "0 3 1"), "line 4: a class has"),
        (CSPLIB.replace("0 3 1 0", "0 3 1 x"), "line 4: whole numbers only"),
        (CSPLIB + "2 0 1 1\n", "line 1: 2 classes are announced, 3 follow"),
        (CSPLIB + "and so on\n", "line 6: neither numbers nor a comment"),
        (MANY + "# Problem one\n", "line 15: problem one stands twice"),
        ("1" * 5_000_000, "larger than"),
    ],
)
def test_a_broken_csplib_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_csplib(text)


ROADEF = {
    VEHICLES: (
        "Date;SeqRank;Ident;Paint Color;HPRC1;LPRC1;\n"
        "2003 38 2;2;old2;1;1;0;\n"
        "2003 38 2;1;old1;2;0;0;\n"
        "2003 38 3;1;a;1;1;1;\n"
        "2003 38 3;2;b;2;0;1;\n"
        "2003 38 3;3;c;1;1;0;\n"
    ),
    RATIOS: "Ratio;Prio;Ident;\n1/2;1;HPRC1;\n1/3;0;LPRC1;\n",
    LIMIT: "\ufefflimitation;\n10;\n",
    OBJECTIVES: (
        "rank;objective name;\n"
        "1;high_priority_level_and_easy_to_satisfy_ratio_constraints;\n"
        "2;paint_color_batches;\n"
        "3;low_priority_level_ratio_constraints;\n"
    ),
}


def test_a_roadef_instance_has_the_day_before_first_and_its_own_order_of_objectives() -> None:
    problem = read_roadef(ROADEF)
    assert [car.id for car in problem.cars] == ["old1", "old2", "a", "b", "c"]
    assert (problem.frozen, problem.batch_max) == (2, 10)
    assert problem.order == (Level.OVERLONG, Level.RATIOS, Level.PAINT, Level.SOFT_RATIOS)
    assert [(ratio.p, ratio.q, ratio.soft) for ratio in problem.ratios] == [(1, 2, False), (1, 3, True)]


def test_a_roadef_sequence_costs_what_its_windows_batches_and_ranks_say() -> None:
    # HPRC1 along old1 old2 a b c: 0 1 1 0 1, so only old2 a has one too many of 1/2.
    # LPRC1: 0 0 1 1 0, 1/3: the windows old2 a b, a b c and, open at the end, none more have one too many.
    # Colours 2 1 1 2 1: from old2 on 1 1 2 1, two changes.
    cost = count_cost(read_roadef(ROADEF), ["old1", "old2", "a", "b", "c"])
    assert cost == {Level.OVERLONG: 0, Level.RATIOS: 1, Level.PAINT: 2, Level.SOFT_RATIOS: 2}
    assert weighted(cost) == 1_002_002


def test_soft_ratios_without_an_objective_do_not_count() -> None:
    problem = read_roadef(ROADEF | {OBJECTIVES: "rank;objective name;\n1;paint_color_batches;\n"})
    assert (problem.order, len(problem.ratios)) == ((Level.OVERLONG, Level.PAINT), 1)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (RATIOS, "1/2", "2/1", "ratios.txt, line 2: '2/1' is no ratio"),
        (RATIOS, "1/2", "1/0", "ratios.txt, line 2: '1/0' is no ratio"),
        (RATIOS, "1/2;1", "1/2;x", "ratios.txt, line 2: Prio is 'x'"),
        (RATIOS, "LPRC1", "HPRC1", "ratios.txt, line 3: 'HPRC1' stands twice"),
        (RATIOS, "LPRC1", "LPRC9", "vehicles.txt: no column lprc9"),
        (RATIOS, "Prio", "Priority", "ratios.txt: no column prio"),
        (RATIOS, "1/2;1;HPRC1;\n1/3;0;LPRC1;\n", "", "ratios.txt: a row of column names"),
        (VEHICLES, ";a;1;1;1;", ";a;1;1;2;", "vehicles.txt, line 4: a ratio's column must hold 0 or 1"),
        (VEHICLES, ";a;1;1;1;", ";a;1;1;", "vehicles.txt, line 4: 5 cells, 6 columns"),
        (VEHICLES, ";b;", ";a;", "vehicles.txt, line 5: vehicle 'a' stands twice"),
        (VEHICLES, "3;1;a", "3;first;a", "vehicles.txt, line 4: SeqRank is 'first'"),
        (VEHICLES, "2003 38 3;1;a", "today;1;a", "vehicles.txt, line 4: Date is 'today'"),
        (LIMIT, "10", "0", "paint_batch_limit.txt, line 2: one whole number"),
        (LIMIT, "10", "many", "paint_batch_limit.txt, line 2: one whole number"),
        (
            OBJECTIVES,
            "paint_color_batches",
            "beauty",
            "optimization_objectives.txt, line 3: no objective 'beauty'",
        ),
        (OBJECTIVES, "2;paint", "1;paint", "optimization_objectives.txt, line 3: each rank"),
    ],
)
def test_a_broken_roadef_instance_is_refused_with_file_and_line(
    name: str, old: str, new: str, message: str
) -> None:
    text = ROADEF[name].replace(old, new)
    assert text != ROADEF[name]
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_roadef(ROADEF | {name: text})


@pytest.mark.parametrize("name", list(ROADEF))
def test_a_roadef_instance_needs_all_its_files(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is missing"):
        read_roadef({key: text for key, text in ROADEF.items() if key != name})
