"""Numbers of a table stand below the words that say what they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ringroad.http

TEMPLATES = sorted((Path(ringroad.http.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_head_of_a_column_of_numbers_stands_where_they_do(template: Path) -> None:
    for table in re.findall(r"<table.*?</table>", template.read_text(), re.DOTALL):
        heads, _, rows = table.partition("</thead>")
        cells = re.findall(r"<td[^>]*>", rows.partition("</tr>")[0])
        for head, cell in zip(re.findall(r"<th\b[^>]*>", heads), cells, strict=False):
            assert ("num" in head) == ("num" in cell), (head, cell)
