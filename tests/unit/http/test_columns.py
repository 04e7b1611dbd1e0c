"""Numbers of a table stand below the words that say what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ringroad.http

TEMPLATES = sorted((Path(ringroad.http.__file__).parent / "templates").glob("*.html"))


def first_rows(template: Path) -> list[tuple[str, str]]:
    """Head and first cell of each column, of all tables."""
    found: list[tuple[str, str]] = []
    for table in re.findall(r"<table.*?</table>", template.read_text(), re.DOTALL):
        heads, _, rows = table.partition("</thead>")
        cells = re.findall(r"<td[^>]*>", rows.partition("</tr>")[0])
        found += zip(re.findall(r"<th\b[^>]*>", heads), cells, strict=False)
    return found


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_head_of_a_column_of_numbers_stands_where_they_do(template: Path) -> None:
    for head, cell in first_rows(template):
        assert ("num" in head) == ("num" in cell), (head, cell)


def test_columns_of_numbers_are_found() -> None:
    numbers = [cell for template in TEMPLATES for _, cell in first_rows(template) if "num" in cell]
    assert len(numbers) > len(TEMPLATES)
