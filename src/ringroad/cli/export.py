"""`ringroad export`: whole tables as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import counted, size
from ringroad.kernel.errors import InvalidInput, Unavailable

WHAT: Final = click.Choice(["vehicles", "results", "decisions", "evidence", "facts"])
SHOWN_EVERY_BYTES: Final = 8 * 1024**2  # bytes between two lines of progress
SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


@click.group("export", cls=ClientGroup)
def group() -> None:
    """Whole tables as files."""


@group.command(
    "write",
    epilog=example(
        "ringroad export write vehicles vehicles.csv",
        "ringroad export write results winter.parquet --campaign winter",
        "ringroad export write facts facts.jsonl",
    ),
)
@click.argument("what", type=WHAT)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--campaign", help="Of which campaign: results, decisions and evidence are of one.")
@with_client
def write(shell: Shell, client: Client, *, what: str, file: Path, campaign: str | None) -> None:
    """Write everything of one kind into FILE, as it is now; its suffix is the format: .csv, .jsonl or .parquet.

    FILE appears when it is whole; until then it is FILE.part.
    """
    form = SUFFIXES.get(file.suffix.lower())
    if form is None:
        raise InvalidInput(f"{file.name}: what format is that?", hint="name it .csv, .jsonl or .parquet")
    campaign_id = client.find("/campaigns", campaign)["id"] if campaign else None
    part = file.with_name(f"{file.name}.part")
    written = 0
    with client.open_bytes(f"/exports/{what}", format=form, campaign_id=campaign_id) as (headers, pieces):
        rows = int(headers.get("ringroad-rows", "0"))
        click.echo(f"{what}: {counted(rows, 'row')}", err=True)
        try:
            with part.open("wb") as out:
                for piece in pieces:
                    out.write(piece)
                    if written // SHOWN_EVERY_BYTES != (written + len(piece)) // SHOWN_EVERY_BYTES:
                        click.echo(f"{size(written + len(piece))} so far", err=True)
                    written += len(piece)
                out.flush()
                os.fsync(out.fileno())
            part.replace(file)
        except OSError as error:
            raise Unavailable(f"{file} cannot be written: {error.strerror}") from error
    shell.show(
        {"file": str(file), "rows": rows, "bytes": written},
        text=f"{file}: {counted(rows, 'row')}, {size(written)}",
    )
