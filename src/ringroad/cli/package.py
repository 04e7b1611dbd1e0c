"""`ringroad package`: software packages, one image for one ECU each."""

from __future__ import annotations

from pathlib import Path

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, show_page, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.release_file import find_package
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, size, table, tail, when
from ringroad.cli.uploads import check_file, upload
from ringroad.kernel.limits import PAGE_ROWS_MAX


@click.group("package", cls=ClientGroup)
def group() -> None:
    """Software packages: real image files, read and checked as they come in."""


@group.command(
    "add",
    epilog=example(
        "ringroad package add brake-2.1.0.hex --ecu brake --version 2.1.0",
        "ringroad package add gateway.mcuboot.bin --ecu gateway --requires 'brake>=2.1,<3'",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--ecu", required=True, help="The ECU of the programme that it is for.")
@click.option("--version", help="Its version, where the image does not say it itself.")
@click.option("--name", help="What people call it; default: the ECU's name.")
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option(
    "--format",
    "image_format",
    type=click.Choice(["bin", "ihex", "srec", "mcuboot", "swu", "mender"]),
    help="What the file must be; default: what it looks like.",
)
@click.option("--counter", type=click.IntRange(0, 2**31 - 1), help="Release counter; never goes down.")
@click.option("--filename", help="Name in the Image repository; default: made from name and version.")
@click.option("--requires", multiple=True, help="Other software it needs, for example 'gateway>=1.2,<2'.")
@click.option("--conflicts", multiple=True, help="Other software it must not run beside: 'gateway<1.2'.")
@click.option(
    "--upgrades-from", help="Versions that it may be installed over, for example '>=1.2,<2'; default: any."
)
@click.option("--change", help="The change that it is made for.")
@with_client
def add(
    shell: Shell,
    client: Client,
    *,
    file: Path,
    ecu: str,
    version: str | None,
    name: str | None,
    programme: str | None,
    image_format: str | None,
    counter: int | None,
    filename: str | None,
    requires: tuple[str, ...],
    conflicts: tuple[str, ...],
    upgrades_from: str | None,
    change: str | None,
) -> None:
    """Add the image in FILE.

    Version, addresses and hash are read from it where its format has them.
    """
    check_file(file)
    query = {
        "programme_id": programme_of(client, programme),
        "ecu": ecu,
        "name": name or ecu,
        "version": version,
        "filename": filename,
        "release_counter": counter,
        "format": image_format,
        "requires": ";".join(requires) or None,
        "conflicts": ";".join(conflicts) or None,
        "upgrades_from": upgrades_from,
        "change_id": client.find("/changes", change, names=("title",))["id"] if change else None,
    }
    row = upload(client, "/packages", file, query=query)
    text = (
        f"package {row['id']}\n{row['ecu']} {row['version']}, {row['format']}, {size(row['image_bytes'])}, "
        f"counter {row['release_counter']}, sha256 {row['image_sha256'][:16]}"
    )
    if alike := row.get("same_bytes_as"):
        text += f"\nthese are the bytes of {ecu} {', '.join(alike)}: a vehicle that runs them leaves {ecu} out of an update"
    shell.show(row, text=text)


@group.command("list", epilog=example("ringroad package list --ecu brake"))
@click.option("--programme", help="Only of this programme.")
@click.option("--ecu", help="Only for this ECU.")
@limited()
@with_client
def list_packages(
    shell: Shell, client: Client, *, programme: str | None, ecu: str | None, limit: int, offset: int
) -> None:
    """List software packages, newest first."""
    rows = client.get("/packages", programme_id=programme, ecu=ecu, limit=limit, offset=offset)
    text = table(
        ("id", "ecu", "version", "format", "size", "counter", "file", "added"),
        (
            (
                tail(row["id"]),
                row["ecu"],
                row["version"],
                row["format"],
                size(row["image_bytes"]),
                row["release_counter"],
                row["filename"],
                when(row["added_at"]),
            )
            for row in rows
        ),
        empty="no package yet; ringroad package add FILE --ecu NAME",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad package show brake@2.1.0", "ringroad package show 7k3mfq2a"))
@click.argument("package")
@with_client
def show(shell: Shell, client: Client, *, package: str) -> None:
    """Show a package and what was read from its image.

    PACKAGE is ECU@VERSION, an id, or the end of one.
    """
    row = find_package(package, client.get("/packages", limit=PAGE_ROWS_MAX))
    needs, clashes = (
        [f"{each['ecu']} {each['range']}" for each in row[name]] for name in ("requires", "conflicts")
    )
    text = details(
        (
            ("package", row["id"]),
            ("programme", row["programme_id"]),
            ("ecu", row["ecu"]),
            ("name", row["name"]),
            ("version", row["version"]),
            ("counter", row["release_counter"]),
            ("file", row["filename"]),
            ("format", row["format"]),
            ("size", f"{size(row['image_bytes'])} ({row['image_bytes']} bytes)"),
            ("hardware", row["hardware_ids"]),
            ("requires", needs),
            ("conflicts", clashes),
            ("over", row["upgrades_from"] if row["upgrades_from"] != "*" else ""),
            ("sha256", row["image_sha256"]),
            ("added", exactly(row["added_at"])),
            *((f"  {key.replace('_', ' ')}", value) for key, value in row["facts"].items()),
        )
    )
    shell.show(row, text=text)
