"""ARCHITECTURE.md names tests, contracts, rooms and files that exist."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"\btests/[\w/]+\.py(?:::\w+)?", TEXT)))
INVARIANTS = re.findall(r"^### \d\. .+?(?=^##)", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_of_every_invariant_it_is_said_what_holds_it() -> None:
    assert len(INVARIANTS) == 6
    for section in INVARIANTS:
        assert re.search(r"\btests/[\w/]+\.py::\w+", section), section.split("\n", 1)[0]


@pytest.mark.parametrize("named", NAMED)
def test_a_named_test_exists(named: str) -> None:
    file, _, function = named.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not function or function in functions


def test_a_named_contract_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["name"] for contract in project["tool"]["importlinter"]["contracts"]}
    assert set(re.findall(r'Contract "([^"]+)"', TEXT)) == contracts


def test_the_drawn_order_of_imports_is_the_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    assert " > ".join(layers).replace("ringroad.", "") in TEXT


def test_every_room_has_a_row_and_every_row_a_room() -> None:
    table = TEXT.split("## Rooms", 1)[1].split("## Patterns", 1)[0]
    rows = [line.split("|")[1] for line in table.split("\n") if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {path.parent.name for path in (ROOT / "src" / "ringroad").glob("*/__init__.py")}


def test_every_named_file_exists() -> None:
    rooms = ROOT / "src" / "ringroad"
    for name in set(re.findall(r"`((?:\w+/)*\w+\.py)`", TEXT)):
        if not name.startswith("tests/"):
            assert list(rooms.rglob(name)), f"{name} is nowhere"
