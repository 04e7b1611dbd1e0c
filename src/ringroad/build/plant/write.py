"""Write a plant document as its TOML file, a clone's structure by reference.

Pure. Invariant: what is read back is the same document, number for number (`tests/unit/build/test_plant_file.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ringroad.build.plant.model import SCHEMA, Plant, parameters_document, plain
from ringroad.build.plant.parameters import path_text


def plant_file(plant: Plant, *, by_reference: bool) -> str:
    """Return a plant as a file that `read_plant` reads.

    Args:
        plant: the document.
        by_reference: its structure is named by its hash: whoever reads it has a plant with that structure.
    """
    lines = [f"schema = {SCHEMA}"]
    if by_reference:
        lines.append(f'structure = "{plant.structure_sha256}"  # as of {plant.identity.parent}')
    lines += ["", *_table(("plant",), plain(plant.identity))]
    if not by_reference:
        for name, part in plain(plant.structure).items():
            lines += ["", *_part((name,), part)]
    for path, beliefs in parameters_document(plant.parameters).items():
        lines += ["", f"[{_dotted(('parameters', path))}]"]
        lines += [f"{_key(kind)} = {_inline(belief)}" for kind, belief in beliefs.items()]
    for where in sorted(plant.bindings):
        lines += ["", *_table(("bindings", path_text(where)), plant.bindings[where])]
    return "\n".join(lines) + "\n"


def _part(path: tuple[str, ...], part: Any) -> Iterator[str]:
    """Yield a table, or tables of an array."""
    if isinstance(part, Mapping):
        yield from _table(path, part)
        return
    for number, row in enumerate(part):
        if number:
            yield ""
        yield from _table(path, row, array=True)


def _table(path: tuple[str, ...], table: Mapping[str, Any], *, array: bool = False) -> Iterator[str]:
    """Yield a table: its own keys first, then arrays of tables below it."""
    yield f"[[{_dotted(path)}]]" if array else f"[{_dotted(path)}]"
    below = {name: value for name, value in table.items() if _holds_tables(value)}
    for name, value in table.items():
        if name not in below:
            yield f"{_key(name)} = {_inline(value)}"
    for name, value in below.items():
        yield ""
        yield from _part((*path, name), value)


def _holds_tables(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, Mapping) for each in value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(name)} = {_inline(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(each) for each in value) + "]"
    return json.dumps(value, ensure_ascii=False)  # texts, numbers and flags are written alike in TOML


def _dotted(path: Iterable[str]) -> str:
    return ".".join(_key(each) for each in path)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
