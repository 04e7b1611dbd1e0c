"""`ringroad sequence solve`: files in, costs beside their bounds out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringroad.cli import run
from ringroad.cli.errors import EXIT_STATUS

pytestmark = pytest.mark.timeout(400)  # the first search on a machine compiles

CSPLIB = "# Problem tight\n6 1 2\n1\n2\n0 4 1\n1 2 0\n# Problem loose\n4 1 2\n1\n2\n0 2 1\n1 2 0\n"
ROADEF = {
    "vehicles.txt": "Date;SeqRank;Ident;Paint Color;HPRC1;\n2003 1 1;1;a;1;1;\n2003 1 1;2;b;2;1;\n2003 1 1;3;c;1;0;\n",
    "ratios.txt": "Ratio;Prio;Ident;\n1/2;1;HPRC1;\n",
    "paint_batch_limit.txt": "limitation;\n10;\n",
    "optimization_objectives.txt": (
        "rank;objective name;\n1;paint_color_batches;\n"
        "2;high_priority_level_and_difficult_to_satisfy_ratio_constraints;\n"
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.txt"
    path.write_text(CSPLIB)
    return path


def test_every_instance_of_a_file_is_solved_and_its_bound_shown(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sequence", "solve", str(file), "--moves", "2000", "--json"], {}) == 0
    tight, loose = json.loads(capsys.readouterr().out)
    assert (tight["instance"], tight["cost"], tight["at_least"]) == ("tight", {"ratios": 1}, {"ratios": 1})
    assert (loose["cost"], loose["moves"], loose["cars"], len(loose["order"])) == ({"ratios": 0}, 0, 4, 4)


def test_one_instance_may_be_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sequence", "solve", str(file), "--instance", "loose"], {}) == 0
    told = capsys.readouterr().out
    assert "loose: 4 cars" in told
    assert "tight: 6 cars" not in told
    assert run(["sequence", "solve", str(file), "--instance", "none"], {}) == EXIT_STATUS["not_found"]
    assert "it has tight, loose" in capsys.readouterr().err


def test_a_folder_is_a_roadef_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "000_1"
    folder.mkdir()
    for name, text in ROADEF.items():
        (folder / name).write_text(text)
    assert run(["sequence", "solve", str(folder), "--moves", "2000"], {}) == 0
    told = capsys.readouterr().out
    assert "000_1: 3 cars, weighted 1000000" in told
    (folder / "ratios.txt").unlink()
    assert run(["sequence", "solve", str(folder)], {}) == EXIT_STATUS["invalid_input"]
    assert "ratios.txt is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "words"), [("1 2\n", "three numbers"), ("", "no instance")])
def test_a_file_that_is_no_instance_is_refused(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.txt"
    path.write_text(text)
    assert run(["sequence", "solve", str(path)], {}) == EXIT_STATUS["invalid_input"]
    assert words in capsys.readouterr().err
    assert run(["sequence", "solve", str(tmp_path / "gone")], {}) == EXIT_STATUS["invalid_input"]
