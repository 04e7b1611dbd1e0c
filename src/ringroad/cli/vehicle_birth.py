"""`ringroad vehicle birth`: what a vehicle was when it left the line, as it carries that itself. Needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ringroad.cli.fleet_birth import facts_of, lists
from ringroad.cli.groups import example
from ringroad.cli.tables import details
from ringroad.vehicle.birth import verified

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell


@click.command("birth", epilog=example("ringroad vehicle birth --data var/vehicles/WRRDEM121TA000001"))
@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="The vehicle's data folder."
)
@click.pass_obj
def birth(shell: Shell, folder: Path) -> None:
    """Show the birth record that a vehicle carries, once it is verified against the root it was born with.

    Needs no server.
    """
    found = verified(folder)
    signed = [("record", found.sha256[:16]), ("signed", f"by {found.key_ids[0][:16]}, verified")]
    told = [details([*facts_of(found.signed), *signed]), *lists(found.signed)]
    shell.show(
        {"record": msgspec.to_builtins(found.signed), "sha256": found.sha256, "signed_by": found.key_ids[0]},
        text="\n\n".join(part for part in told if part),
    )
