"""Whose folder `var` is."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringroad.cli.supervisor import check_var, prepare_var
from ringroad.kernel.errors import Conflict
from ringroad.storage.settings import Settings


def test_a_folder_in_which_only_a_demo_ran_is_new(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    prepare_var(Settings(var=tmp_path))
    check_var(tmp_path)


def test_a_folder_with_something_else_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(Conflict, match="not a Ringroad folder"):
        prepare_var(Settings(var=tmp_path))
    assert {each.name for each in tmp_path.iterdir()} == {"demo", "thesis.tex"}
