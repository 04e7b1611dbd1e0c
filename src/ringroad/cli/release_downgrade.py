"""`ringroad release approve-downgrade`, and how decisions to go back are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import confirm, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import tail
from ringroad.kernel.errors import Conflict, InvalidInput


@click.command("approve-downgrade", epilog=example("ringroad release approve-downgrade 2.2.0 --as ines"))
@click.argument("release")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def approve_downgrade(shell: Shell, client: Client, *, release: str, yes: bool) -> None:
    """Approve that a checked release takes ECUs back to older software.

    Whoever created the release cannot.
    What may replace what is fixed by this, by the digests of the images, and becomes part of what the offline keys sign.
    """
    row = client.find("/releases", release, names=("version", "name"))
    mark = row["document"].get("downgrade")
    if not mark:
        raise InvalidInput(f"{row['name']} {row['version']} does not ask to go back")
    if row["state"] != "checked":
        raise Conflict(
            f"{row['name']} {row['version']} is {row['state']}; only a checked release can be approved",
            hint=f"ringroad release check {tail(row['id'])}",
        )
    click.echo(f"asked by {row['created_by']}: {mark['reason']}", err=True)
    for line in marked(mark):
        click.echo(line, err=True)
    confirm("Take these ECUs back?", yes=yes)
    row = client.post(f"/releases/{row['id']}/approve-downgrade", {"generation": row["generation"]})
    lines = [*decided(row["downgrades"]), f"next: ringroad release sign {tail(row['id'])}"]
    shell.show(row, text="\n".join(lines))


def document_of_marks(words: Iterable[str], reason: str) -> dict[str, Any]:
    """Return the `downgrade` member that ``ECU=VERSIONS`` options ask for; empty without any.

    Raises:
        InvalidInput: an option cannot be read, or a reason is missing or stands alone.
    """
    ecus: dict[str, str] = {}
    for word in words:
        ecu, _, versions = word.partition("=")
        if not ecu.strip() or not versions.strip():
            raise InvalidInput(
                f"--back {word!r} is not ECU=VERSIONS", hint="for example: --back 'brake=>=2.1, <3'"
            )
        ecus[ecu.strip()] = versions.strip()
    if bool(ecus) != bool(reason.strip()):
        raise InvalidInput("--back and --back-reason belong together", hint="say why the vehicles go back")
    return {"downgrade": {"reason": reason, "ecus": ecus}} if ecus else {}


def marked(mark: Mapping[str, Any]) -> list[str]:
    """Return a line for each ECU that a release asks to take back."""
    return [f"{ecu} back from {versions}" for ecu, versions in sorted(mark["ecus"].items())]


def decided(downgrades: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield lines that show decisions to go back completely."""
    for one in downgrades:
        yield f"{one['ecu']} back to {one['version']}, until {one['expires']}: {one['reason']}"
        yield f"  asked by {one['asked_by']}, approved by {one['approved_by']}, for release {one['release_id']}"
        yield f"  sha256 {one['sha256']} over"
        for digest, version in sorted(one["over"].items(), key=lambda item: item[1]):
            yield f"    {version}  sha256 {digest}"
