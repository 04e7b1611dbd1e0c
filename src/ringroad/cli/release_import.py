"""`ringroad release import`: what was qualified elsewhere becomes packages and a draft, its files checked again.

The server reads what is sent, as it does for the console; here is only what packs a set and its files into one body.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ringroad.build.hawkbit_set import SET_BYTES_MAX, read_set
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import size, table, tail
from ringroad.cli.uploads import check_file, upload
from ringroad.kernel.errors import InvalidInput


@click.command(
    "import",
    epilog=example(
        "ringroad release import winter.json --files artifacts --ecu rootfs=telebox --look",
        "ringroad release import winter.json --files artifacts --ecu rootfs=telebox",
        "ringroad release import release-2.1.0.mender --ecu telebox",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--files",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the artifacts of a distribution set; default: where FILE lies.",
)
@click.option(
    "--ecu",
    "ecus",
    multiple=True,
    help="MODULE=ECU, or the ECU of a Mender artifact; default: the only DDI one.",
)
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option("--name", help="What people call the release; default: as it is called there.")
@click.option("--version", help="Its version; default: as it is there.")
@click.option("--packages-only", is_flag=True, help="Add the packages and make no release.")
@click.option("--look", is_flag=True, help="Say what it would become and what is refused; store nothing.")
@with_client
def import_release(
    shell: Shell,
    client: Client,
    *,
    file: Path,
    files: Path | None,
    ecus: tuple[str, ...],
    programme: str | None,
    name: str | None,
    version: str | None,
    packages_only: bool,
    look: bool,
) -> int:
    """Make packages and a draft out of FILE: a hawkBit distribution set (JSON) or a Mender artifact.

    Every file is read to its end and compared with the sizes, hashes and signatures that come with it.
    """
    check_file(file)
    query = {
        "programme_id": programme_of(client, programme), "ecu": list(ecus), "name": name, "version": version,
        "packages_only": str(packages_only).lower(),
    }  # fmt: skip
    with _body(file, files or file.parent) as path:
        if look:
            return _show_look(shell, upload(client, "/imports/look", path, query=query))
        made = upload(client, "/imports", path, query=query)
    lines = [
        f"package {row['id']}  {row['ecu']} {row['version']}, {row['format']}, {size(row['image_bytes'])}"
        for row in made["packages"]
    ]
    release = made["release"]
    if release is not None:
        lines += [f"release {release['id']}"]
        if release["state"] == "draft":
            lines += [f"next: ringroad release check {tail(release['id'])}"]
    if made.get("already_there"):
        lines.insert(0, "already there: the same was imported before, nothing was made")
    shell.show(
        {"packages": made["packages"]} | ({"release": release} if release else {}), text="\n".join(lines)
    )
    return 0


def _show_look(shell: Shell, looked: Mapping[str, Any]) -> int:
    """Show what would become of it; the exit status says whether all of it is taken."""
    rows = [
        (
            part["module"],
            part["ecu"] or "–",
            part["version"] or "–",
            part["format"] or "–",
            "refused" if part["refused"] else "a package",
        )
        for part in looked["parts"]
    ]
    lines = [
        f"{looked['kind']} {looked['name']} {looked['version'] or ''}, sha256 {looked['sha256']}",
        table(("module", "ecu", "version", "format", "becomes"), rows, empty=""),
        *(line for part in looked["parts"] for line in _said(part)),
    ]
    if looked["refused"]:
        lines += [f"no release: {looked['refused']['message']}"]
    shell.show(looked, text="\n".join(lines))
    return EXIT_NO if looked["refused"] or any(part["refused"] for part in looked["parts"]) else 0


def _said(part: Mapping[str, Any]) -> Iterator[str]:
    refused = part["refused"]
    if refused:
        yield f"{part['module']}: refused: {refused['message']}"
        if refused["hint"]:
            yield f"  hint: {refused['hint']}"
    elif part["signature"]:
        yield f"{part['module']}: {part['signature']}"


@contextmanager
def _body(file: Path, folder: Path) -> Iterator[Path]:
    """Yield what is sent: an artifact as it is, a set in a tar with its files behind it."""
    if file.suffix != ".json":
        yield file
        return
    try:
        with file.open("rb") as source:
            document = source.read(SET_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    wanted = list(dict.fromkeys(module.file.filename for module in read_set(document).modules))
    with tempfile.NamedTemporaryFile(suffix=".tar") as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as archive:
            archive.add(file, "set.json")
            for name in wanted:
                try:
                    archive.add(folder / name, name)
                except OSError as error:
                    raise InvalidInput(
                        f"{folder / name} cannot be read: {error.strerror}", hint="--files names its folder"
                    ) from error
        packed.flush()
        yield Path(packed.name)
