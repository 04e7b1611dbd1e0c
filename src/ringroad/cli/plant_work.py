"""`ringroad plant work`: tell a server which tasks a line does, and read what balancing it anew would bring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringroad.build.balance.line_work import work_document
from ringroad.build.balance.problem import DOCUMENT_BYTES_MAX, read_work
from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, patient, read_text, wait_for, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.plurals import counted


@click.group("work", cls=ClientGroup)
def work() -> None:
    """The tasks of a line, which the worker looks at for a better balance."""


@work.command("tell", epilog=example("ringroad plant work tell work.json"))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--programme", help="The vehicle programme; default: the only one.")
@patient("the twin")
@with_client
def tell(shell: Shell, client: Client, *, path: Path, programme: str | None, wait: str) -> None:
    """Tell which tasks the line does: PATH is a file as for `plant balance`, with the station of each task.

    The worker looks at it now, and as stations, orders or the document change, at most once in balance_every_s.
    """
    tasks = read_work(read_text(path, bytes_max=DOCUMENT_BYTES_MAX))
    found = programme_of(client, programme)
    client.post(f"/programmes/{found}/work", {"tasks": work_document(tasks)})
    row = client.get(f"/programmes/{found}/balance")
    if wait:
        row = wait_for(shell, lambda: _looked(client, found), wait=wait, what="the twin") or row
    shell.show(row, text=_text(row))


@work.command("show", epilog=example("ringroad plant work show"))
@click.option("--programme", help="The vehicle programme; default: the only one.")
@with_client
def show(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show what the worker found when it looked at the line's balance last."""
    row = client.get(f"/programmes/{programme_of(client, programme)}/balance")
    shell.show(row, text=_text(row))


def _looked(client: Client, programme_id: str) -> Mapping[str, Any] | None:
    row: Mapping[str, Any] = client.get(f"/programmes/{programme_id}/balance")
    return row if row["looked_at"] else None


def _text(row: Mapping[str, Any]) -> str:
    lines = [f"{row['programme_id']}: {counted(row['tasks'], 'task')}, told by {row['told_by']}"]
    if row["proposed"]:
        lines.append(
            table(
                ("station", "now", "then", "comes from elsewhere"),
                (
                    (each["name"], f"{each['now_s']} s", f"{each['new_s']} s", " ".join(each["moved"]))
                    for each in row["stations"]
                ),
            )
        )
        now, then = row["takt_s"]
        lines.append(f"\na takt of {then} s in place of {now} s, at least {row['at_least_s']} s")
    lines.append(row["reason"])
    return "\n".join(lines)
