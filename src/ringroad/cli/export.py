"""`ringroad export`: whole tables as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import size
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.kernel.plurals import counted
from ringroad.publish.tables import TABLES, cursor_of

WHAT: Final = click.Choice(list(TABLES))
SHOWN_EVERY_BYTES: Final = 8 * 1024**2  # bytes between two lines of progress
LINES_LOOKED_AT: Final = 2  # at the end of a file that is gone on with
TAIL_BYTES: Final = 64 * 1024  # that are read first
LINE_BYTES_MAX: Final = 64 * 1024**2  # bytes of the longest line that is looked for
SUFFIXES: Final = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


@click.group("export", cls=ClientGroup)
def group() -> None:
    """Whole tables as files."""


@group.command(
    "write",
    epilog=example(
        "ringroad export write vehicles vehicles.csv",
        "ringroad export write ecus ecus.parquet",
        "ringroad export write results winter.parquet --campaign winter",
        "ringroad export write facts facts.jsonl",
        "ringroad export write facts facts.jsonl --resume",
    ),
)
@click.argument("what", type=WHAT)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--campaign", help="Of which campaign: results, decisions and evidence are of one.")
@click.option("--resume", is_flag=True, help="Go on behind the last row of FILE.part; for .jsonl.")
@with_client
def write(shell: Shell, client: Client, *, what: str, file: Path, campaign: str | None, resume: bool) -> None:
    """Write everything of one kind into FILE, as it is now; its suffix is the format: .csv, .jsonl or .parquet.

    FILE appears when it is whole; until then it is FILE.part.
    """
    form = SUFFIXES.get(file.suffix.lower())
    if form is None:
        raise InvalidInput(f"{file.name}: what format is that?", hint="name it .csv, .jsonl or .parquet")
    campaign_id = client.find("/campaigns", campaign)["id"] if campaign else None
    part = file.with_name(f"{file.name}.part")
    source = {"what": what, "campaign_id": campaign_id, "server": client.address.url}
    written, after = _kept(part, what, source) if resume and form == "jsonl" else (0, None)
    if resume and form != "jsonl":
        raise InvalidInput(f"{file.name}: only .jsonl can be gone on with", hint="leave --resume out")
    with client.open_bytes(f"/exports/{what}", format=form, campaign_id=campaign_id, after=after) as (
        headers, pieces,
    ):  # fmt: skip
        rows = int(headers.get("ringroad-rows", "0"))
        click.echo(f"{what}: {counted(rows, 'row')}" + (f" behind {after}" if after else ""), err=True)
        try:
            if not after:
                _source_of(part).write_text(json.dumps(source), encoding="utf-8")
            with part.open("r+b" if after else "wb") as out:
                out.truncate(written)
                out.seek(written)
                for piece in pieces:
                    out.write(piece)
                    if written // SHOWN_EVERY_BYTES != (written + len(piece)) // SHOWN_EVERY_BYTES:
                        click.echo(f"{size(written + len(piece))} so far", err=True)
                    written += len(piece)
                out.flush()
                os.fsync(out.fileno())
            part.replace(file)
            _source_of(part).unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"{file} cannot be written: {error.strerror}") from error
    shell.show(
        {"file": str(file), "rows": rows, "bytes": written},
        text=f"{file}: {counted(rows, 'row')}, {size(written)}",
    )


def _source_of(part: Path) -> Path:
    """Return the file that says what a part is of."""
    return part.with_name(f"{part.name}.source")


def _kept(part: Path, what: str, source: dict[str, str | None]) -> tuple[int, str | None]:
    """Return how many bytes of a broken export are whole lines, and what names the place behind the last of them."""
    try:
        with part.open("rb") as file:
            size_bytes, tail = part.stat().st_size, b""
            while tail.rstrip(b"\n").count(b"\n") < LINES_LOOKED_AT and len(tail) < min(
                size_bytes, LINE_BYTES_MAX
            ):
                file.seek(max(0, size_bytes - 2 * len(tail) - TAIL_BYTES))
                tail = file.read()
    except FileNotFoundError:
        return 0, None
    except OSError as error:
        raise Unavailable(f"{part} cannot be read: {error.strerror}") from error
    cut = tail.rpartition(b"\n")[2]
    last = tail[: len(tail) - len(cut)].rstrip(b"\n").rpartition(b"\n")[2]
    if not last:
        return 0, None
    try:
        begun = _source_of(part).read_bytes()
        after = cursor_of(TABLES[what], json.loads(last))
        if json.loads(begun) == source:
            return size_bytes - len(cut), after
    except OSError as error:
        raise InvalidInput(f"nothing says what {part} is of", hint="leave --resume out") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{part} is no export of {what}", hint="leave --resume out") from error
    raise InvalidInput(f"{part} is of another campaign, table or server", hint="leave --resume out")
