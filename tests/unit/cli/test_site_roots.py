"""The first roots of a plant: a hub's take no other's place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringroad.cli.site import keep_roots
from ringroad.kernel.errors import Conflict
from ringroad.storage.leaf import Credentials
from ringroad.storage.settings import Settings


def given(image: str, director: str) -> Credentials:
    return Credentials(
        site="wren", hub="hub:7422", token="t" * 43, ca="ca", image_root=image, director_root=director
    )


def roots(var: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text("ascii") for path in sorted(var.rglob("1.root.json"))}


def test_the_roots_of_its_hub_are_kept_and_joining_again_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path)
    keep_roots(settings, given("image", "director"))
    keep_roots(settings, given("image", "director"))
    keep_roots(settings, given("", ""))  # of a hub without keys
    assert roots(tmp_path) == {"image": "image", "director": "director"}


def test_roots_that_are_there_and_differ_are_not_written_over(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path)
    folder = tmp_path / "keys" / "director"
    folder.mkdir(parents=True)
    (folder / "1.root.json").write_text("its own", "ascii")
    with pytest.raises(Conflict, match="another root") as refused:
        keep_roots(settings, given("image", "director"))
    assert refused.value.hint
    assert "--var" in refused.value.hint
    assert roots(tmp_path) == {"director": "its own"}, "nothing of the other was written"
