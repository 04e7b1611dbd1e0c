"""What a shell may put where the cursor stands in a QUERY: the server is asked, as the console asks it.

The shell is told whole words, so that what stands before the cursor of a query in quotes is given back as it is.

Invariant: whatever goes wrong, nothing is offered and nothing is printed; somebody is typing.
"""

from __future__ import annotations

from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from ringroad.cli.client import open_client
from ringroad.cli.groups import access_of
from ringroad.cli.shell import Shell
from ringroad.kernel.errors import RingroadError

ANSWER_S_MAX: Final = 5.0  # seconds; somebody waits with a finger on a key


def complete_query(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return what the query so far may become, one step on."""
    named = ctx.find_root().params
    shell: Shell = ctx.obj
    shell.place(config=named.get("config"), var=named.get("var"))
    body = {"query": incomplete, "cursor": len(incomplete)}
    try:
        with ctx.scope(cleanup=False), open_client(access_of(shell)) as client:
            found = client.send("POST", "/vehicles/complete", body=body, wait_s=ANSWER_S_MAX)
    except (RingroadError, OSError):
        return []
    return [CompletionItem(became(incomplete, found, each)) for each in found["choices"]]


def became(query: str, found: dict[str, Any], choice: dict[str, Any]) -> str:
    """Return a query in which a choice has taken the place of what it is for."""
    return str(query[: found["start"]] + choice["text"] + query[found["end"] :])
