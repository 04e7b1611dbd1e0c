"""`ringroad programme`: vehicle programmes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringroad.build.programme import PROGRAMME_BYTES_MAX, read_programme
from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, read_text, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, when
from ringroad.kernel.errors import NotFound
from ringroad.kernel.plurals import counted


@click.group("programme", cls=ClientGroup)
def group() -> None:
    """Vehicle programmes: variants, ECUs and the line, from one file."""


@group.command("import", epilog=example("ringroad programme import examples/road/programme.toml"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--replace", is_flag=True, help="Replace what is stored under this id by other content.")
@with_client
def import_file(shell: Shell, client: Client, *, file: Path, replace: bool) -> None:
    """Import a programme from FILE; every problem is named with its line."""
    source = read_text(file, bytes_max=PROGRAMME_BYTES_MAX)
    programme = read_programme(source, filename=str(file))  # here, so that problems name this file
    body: dict[str, object] = {"source": source}
    if replace:
        try:
            body["generation"] = client.get(f"/programmes/{programme.id}")["generation"]
        except NotFound:
            shell.say(f"{programme.id} is new")
    row = client.post("/programmes", body)
    variants = ", ".join(_variants(row["document"]))
    shell.show(row, text=f"programme {row['id']}, generation {row['generation']}: {variants}")


@group.command("list", epilog=example("ringroad programme list"))
@limited()
@with_client
def list_programmes(shell: Shell, client: Client, *, limit: int, offset: int) -> None:
    """List vehicle programmes."""
    rows = client.get("/programmes", limit=limit, offset=offset)
    text = table(
        ("id", "name", "variants", "ecus", "generation", "imported"),
        (
            (
                row["id"],
                row["document"]["name"],
                len(row["document"]["variants"]),
                len(row["document"]["ecus"]),
                row["generation"],
                when(row["imported_at"]),
            )
            for row in rows
        ),
        empty="no programme yet; ringroad programme import FILE",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad programme show road"))
@click.argument("programme")
@with_client
def show(shell: Shell, client: Client, *, programme: str) -> None:
    """Show a programme's variants, ECUs and line."""
    row = client.get(f"/programmes/{programme}")
    document = row["document"]
    line = document["line"]
    ecus = table(
        ("ecu", "hardware", "bus", "os", "storage", "agent", "supplier", "variants"),
        (
            (
                name + (" *" if ecu["primary"] else ""),
                ecu["hardware_id"],
                ecu["bus"],
                ecu["os"],
                ecu["storage"],
                ecu["agent"],
                ecu["supplier"],
                [each for each, variant in document["variants"].items() if name in variant["ecus"]],
            )
            for name, ecu in sorted(
                document["ecus"].items(), key=lambda item: (not item[1]["primary"], item[0])
            )
        ),
    )
    head = details(
        (
            ("programme", row["id"]),
            ("name", document["name"]),
            ("variants", _variants(document)),
            ("line", f"{line['name']}, {counted(len(line['stations']), 'station')}"),
            ("ratios", [f"{each['option']} {each['p']} of {each['q']}" for each in line["ratios"]]),
            ("generation", row["generation"]),
            ("imported", exactly(row["imported_at"])),
            ("digest", row["digest"]),
        )
    )
    shell.show(row, text=f"{head}\n\n{ecus}\n* Primary")


def _variants(document: Mapping[str, Any]) -> list[str]:
    counts = {name: len(each["ecus"]) for name, each in document["variants"].items()}
    return [f"{name} ({counted(count, 'ECU')})" for name, count in counts.items()]
