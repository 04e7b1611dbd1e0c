"""Commands that only ask the server start fast: no web framework, no database driver, no engine of the lake."""

from __future__ import annotations

import json
import subprocess
import sys

GROUPS = (
    "account",
    "campaign",
    "change",
    "events",
    "finding",
    "fleet",
    "lap",
    "order",
    "plant",
    "release",
    "schedule",
)
HEAVY = ("litestar", "psycopg", "duckdb", "pyarrow", "ibis", "numba")
LOOK = """
import json, sys, click
from ringroad.cli import cli
context = click.Context(cli)
for group in {groups!r}:
    assert cli.get_command(context, group) is not None
print(json.dumps(sorted(set({heavy!r}) & set(sys.modules))))
"""


def test_commands_that_ask_the_server_load_no_server() -> None:
    look = LOOK.format(groups=GROUPS, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []


def test_what_starts_the_engines_loads_no_lake() -> None:
    look = LOOK.format(
        groups=("up", "keys", "site"), heavy=("litestar", "duckdb", "pyarrow", "ibis", "numba")
    )
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
