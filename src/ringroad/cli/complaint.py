"""`ringroad complaint`: what customers wrote."""

from __future__ import annotations

import re
from pathlib import Path

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.cli.uploads import upload
from ringroad.kernel.plurals import counted


@click.group("complaint", cls=ClientGroup)
def group() -> None:
    """Complaints from customers."""


@group.command("import", epilog=example("ringroad complaint import FLAT_CMPL.txt"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@with_client
def import_file(shell: Shell, client: Client, *, file: Path) -> None:
    """Import an NHTSA complaints flat file.

    Tab separated, 49 fields. The same rows again are no change.
    """
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", file.name)[:150]
    done = upload(client, "/complaints/import", file, query={"name": name})
    text = f"{counted(done['rows'], 'row')}: {done['new']} new, {done['duplicates']} known, {done['quarantined']} quarantined"
    if done["quarantined"]:
        text += "\nwhy: ringroad complaint quarantine"
    shell.show(done, text=text)


@group.command("list", epilog=example("ringroad complaint list --component brake"))
@click.option("--component", help="Any part of the component's name.")
@limited()
@with_client
def list_complaints(shell: Shell, client: Client, *, component: str | None, limit: int, offset: int) -> None:
    """List complaints, newest first."""
    rows = client.get("/complaints", component=component, limit=limit, offset=offset)
    text = table(
        ("id", "make", "model", "year", "component", "received", "text"),
        (
            (
                row["id"],
                row["make"],
                row["model"],
                row["model_year"],
                row["component"],
                row["received_on"],
                row["text"],
            )
            for row in rows
        ),
        empty="no complaint; ringroad complaint import FILE",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("quarantine", epilog=example("ringroad complaint quarantine"))
@limited()
@with_client
def quarantine(shell: Shell, client: Client, *, limit: int, offset: int) -> None:
    """List what could not be read, and why; telemetry and complaints."""
    rows = client.get("/quarantine", limit=limit, offset=offset)
    text = table(
        ("source", "where", "reason", "raw"),
        ((row["source"], row["locator"], row["reason"], row["raw"]) for row in rows),
        empty="nothing in quarantine",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)
