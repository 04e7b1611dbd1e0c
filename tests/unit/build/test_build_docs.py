"""The reference names every finding, image code and format that the code can produce."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from ringroad.build.model import ImageFormat

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "src" / "ringroad" / "build"


def test_every_finding_of_a_release_check_is_documented_and_none_is_made_up() -> None:
    source = "".join(
        (BUILD / f"{name}.py").read_text()
        for name in ("release", "release_groups", "release_shape", "downgrade")
    )
    made = set(re.findall(r'(?:_?blocking|_problem)\(\s*"([a-z_]+)"', source)) | set(
        re.findall(r'code="([a-z_]+)"', source)
    )
    text = (ROOT / "docs" / "reference" / "programme.md").read_text()
    section = text[text.index("## Findings") : text.index("## Versions")]
    assert set(re.findall(r"`([a-z_]+)`", section)) == made
    assert len(made) > 25


def test_every_code_of_a_refused_image_is_documented() -> None:
    source = "".join(path.read_text() for path in (BUILD / "images").glob("*.py"))
    made = {f"image_{code}" for code in re.findall(r'refuse\(\s*"([a-z_]+)"', source)}
    text = (ROOT / "docs" / "howto" / "packages-and-releases.md").read_text()
    assert set(re.findall(r"`(image_[a-z_]+)`", text)) == made
    assert {f"`{name}`" for name in get_args(ImageFormat)} <= set(re.findall(r"`[a-z]+`", text))


def test_every_key_of_the_programme_file_is_documented() -> None:
    keys = set(
        re.findall(
            r"^([a-z_]+) = ", (ROOT / "examples" / "road" / "programme.toml").read_text(), re.MULTILINE
        )
    )
    text = (ROOT / "docs" / "reference" / "programme.md").read_text()
    assert {f"`{key}`" for key in keys} <= set(re.findall(r"`[a-z_]+`", text))
