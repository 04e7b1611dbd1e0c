"""`ringroad vehicle check-agent`: run the conformance kit against an update agent."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING, Any

import click

from ringroad.kernel.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell
    from ringroad.sim.agentkit import Checked


@click.command("check-agent")
@click.argument("bench")
@click.pass_obj
def check_agent_command(shell: Shell, bench: str) -> None:
    """Check that an update agent does what the orchestrator relies on.

    BENCH is MODULE:NAME of a `ringroad.sim.agentkit.Bench`, or of a function that makes one.
    """
    rows = asyncio.run(_check(shell, _load(bench)))
    failed = sum(bool(row.problem) for row in rows)
    shell.show(
        [{"check": row.name, "scenarios": row.scenarios, "problem": row.problem} for row in rows],
        text=f"{len(rows) - failed} of {len(rows)} checks passed, {sum(row.scenarios for row in rows)} scenarios",
    )
    if failed:
        raise Conflict(
            f"{failed} checks failed", hint="what each verb owes: docs/howto/write-an-update-agent.md"
        )


async def _check(shell: Shell, bench: Any) -> list[Checked]:
    from ringroad.sim.agentkit import check_agent  # noqa: PLC0415 - the other commands need no kit

    rows = []
    async for row in check_agent(bench):
        rows.append(row)
        shell.say(f"{'failed' if row.problem else 'ok':<7} {row.name} ({row.scenarios})")
        if row.problem:
            shell.say(f"        {row.problem}")
    return rows


def _load(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute or "bench")
    except (ImportError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"{name!r} cannot be loaded: {error}",
            hint="MODULE:NAME; PYTHONPATH says where modules are looked for",
        ) from error
    return found() if callable(found) else found
