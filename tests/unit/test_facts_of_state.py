"""No query changes a state unless its caller appends a fact: read from the source, for every query there is.

Coarse: that a function which writes reaches `append_fact`, or that all of its callers do. That both happen in one
transaction is watched in every test on a database (`support/ledger_watch.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringroad.kernel.facts import STAGE_OF, FactKind
from support.docs_pages import ROOT
from support.ledger_watch import NOT_STATE, STATE

SOURCE = ROOT / "src" / "ringroad"
FOLDERS = sorted({path.parent for path in SOURCE.rglob("queries*.sql")})
APPENDS = {"append_fact", "append_facts"}


@dataclass(kw_only=True)
class Function:
    """What one function, by its name, runs and calls."""

    queries: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


def queries_of_state(text: str) -> set[str]:
    """Return the names of queries that insert into, delete from or change a column of a table of state."""
    found = set()
    for name, body in re.findall(r"-- name: (\w+)\S*\n(.*?)(?=-- name: |\Z)", text, flags=re.DOTALL):
        for verb, table in re.findall(r"\b(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", body):
            columns = STATE.get(table, ())
            if columns and (verb != "UPDATE" or "*" in columns or _sets(body, columns)):
                found.add(name)
    return found


def _sets(body: str, columns: Iterable[str]) -> bool:
    return any(re.search(rf"\b{column}\s*=[^=]", body.split(" WHERE ", maxsplit=1)[0]) for column in columns)


def functions(sources: Iterable[str]) -> dict[str, Function]:
    """Return every function; those of the same name are one, to be careful."""
    found: dict[str, Function] = {}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            function = found.setdefault(node.name, Function())
            for call in ast.walk(node):
                if isinstance(call, ast.Attribute) and ast.unparse(call.value) == "SQL":
                    function.queries.add(call.attr)
                elif isinstance(call, ast.Call):
                    function.calls.add(ast.unparse(call.func).rpartition(".")[2])
    return found


def without_fact(known: dict[str, Function], state: set[str]) -> set[str]:
    """Return functions that run a query of state, and neither reach a fact nor are called only where one is."""

    def reaches(name: str, seen: frozenset[str] = frozenset()) -> bool:
        calls = known[name].calls
        return bool(calls & APPENDS) or any(
            reaches(call, seen | {name}) for call in calls & known.keys() - seen - {name}
        )

    def covered(name: str, seen: frozenset[str] = frozenset()) -> bool:
        callers = {other for other, function in known.items() if name in function.calls} - seen - {name}
        return reaches(name) or (bool(callers) and all(covered(each, seen | {name}) for each in callers))

    return {name for name, function in known.items() if function.queries & state and not covered(name)}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_whoever_runs_a_query_that_changes_a_state_appends_a_fact(folder: Path) -> None:
    state = queries_of_state("".join(path.read_text("utf-8") for path in sorted(folder.glob("queries*.sql"))))
    known = functions(path.read_text("utf-8") for path in sorted(folder.rglob("*.py")))
    used = set().union(*(function.queries for function in known.values()))
    assert state <= used, "nobody runs this"
    assert without_fact(known, state) == set()


def test_every_table_is_state_or_it_is_said_why_not() -> None:
    schema = (SOURCE / "storage" / "schema.sql").read_text("utf-8")
    tables = dict(re.findall(r"CREATE TABLE public\.(\w+) \((.*?)\n\);", schema, flags=re.DOTALL))
    assert tables.keys() == STATE.keys() | NOT_STATE.keys()
    assert not STATE.keys() & NOT_STATE.keys()
    for table, columns in STATE.items():
        for column in columns:
            assert column == "*" or re.search(rf"^    {column} ", tables[table], flags=re.MULTILINE)


def test_every_kind_of_fact_has_a_stage_or_none_on_purpose() -> None:
    assert STAGE_OF.keys() == set(FactKind)


# The reader above finds what is wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("UPDATE finding SET state = 'closed' WHERE id = :id;", True),
        ("UPDATE finding SET title = :title WHERE state = 'open';", False),
        ("UPDATE assignment a\n   SET a.state = m.state FROM m WHERE true;", True),
        ("WITH moved AS (\nUPDATE assignment SET state = 'pending' WHERE true\nRETURNING 1) SELECT 1;", True),
        ("INSERT INTO finding (id) VALUES (:id);", True),
        ("INSERT INTO complaint (id) VALUES (:id);", False),
        ("DELETE FROM blocked_option WHERE option = :option;", True),
        ("SELECT state FROM finding;", False),
    ],
)
def test_a_query_of_state_is_known(query: str, changes: bool) -> None:  # noqa: FBT001 - a table
    assert queries_of_state(f"-- name: it!\n{query}\n") == ({"it"} if changes else set())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def close(): SQL.close()", {"close"}),
        ("def close(): SQL.close(); append_fact()", set()),
        ("def close(): SQL.close(); tell()\ndef tell(): ledger.append_facts()", set()),
        ("def close(): SQL.close()\ndef one(): close(); append_fact()", set()),
        ("def close(): SQL.close()\ndef one(): close(); append_fact()\ndef two(): close()", {"close"}),
        ("def close(): SQL.close(); again()\ndef again(): close()", {"close"}),
        ("def look(): SQL.look()", set()),
    ],
)
def test_a_change_without_a_fact_is_found(source: str, found: set[str]) -> None:
    assert without_fact(functions([source]), {"close"}) == found
