"""`ringroad vecu place`: give the virtual ECUs of a born vehicle addresses, and say what to start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ringroad.cli.groups import example
from ringroad.cli.simulated import shown
from ringroad.cli.tables import table
from ringroad.sim.placing import place

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell

DOIP_PORT: Final = 13_400  # of DoIP entities. Source: ISO 13400-2


@click.command("place", epilog=example("ringroad vecu place --data var/vehicles/WRRDEM121TA000001"))
@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="The vehicle's data folder."
)
@click.option(
    "--port", default=DOIP_PORT, show_default=True, help="The lowest port to use; those in use are left out."
)
@click.pass_obj
def place_command(shell: Shell, folder: Path, port: int) -> None:
    """Let each virtual ECU of a vehicle be a process of its own, and the vehicle one beside them.

    Its addresses are written into the vehicle's folder, and the commands that start everything are told.
    Ports of a vehicle that was placed and does not run count as free; the port from which on to place
    another one is told.
    """
    folder = folder.absolute()
    placed = place(folder, first_port=port)
    rows = [
        {
            "name": each.name, "kind": each.kind, "address": each.address,
            "start": f"ringroad vecu {'bus' if each.kind == 'bus' else 'run'} --config {shown(each.file)}",
        }
        for each in placed
    ]  # fmt: skip
    run = f"ringroad vehicle run --data {shown(folder)}"
    rows_told = [tuple(row.values()) for row in rows]
    told = table(("ECU", "WAY", "ADDRESS", "START"), rows_told, whole={"ADDRESS", "START"})
    used = [int(each.address.rpartition(":")[2]) for each in placed]
    beside = max(used, default=port - 1) + 1
    shell.show(
        {"processes": rows, "vehicle": run, "next_port": beside},
        text=f"{told}\nthen: {run}\nanother vehicle beside it: ringroad vecu place --port {beside}",
    )
