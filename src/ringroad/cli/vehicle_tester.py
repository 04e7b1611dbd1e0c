"""`ringroad vehicle tester`: who may ask this vehicle's own diagnostics for a session, beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringroad.cli.tables import table
from ringroad.kernel.clock import new_secret
from ringroad.kernel.errors import NotFound
from ringroad.protocol.diagnostics import Scope
from ringroad.vehicle.config import read_config
from ringroad.vehicle.diagnostics.sessions import answer_session, look_at_sessions
from ringroad.vehicle.diagnostics.testers import add_tester, read_testers, remove_tester

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell

_DATA = click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="The vehicle's data folder."
)


@click.group("tester")
def group() -> None:
    """Testers that may open a session at the vehicle itself, where diagnostics_http of its config.toml is set."""


@group.command("add")
@_DATA
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(["read", "service"]), default="read", show_default=True,
    help="The widest session it may ask for.",
)  # fmt: skip
@click.pass_obj
def add(shell: Shell, folder: Path, name: str, scope: Scope) -> None:
    """Add a tester; its token is shown once."""
    read_config(folder)
    token = add_tester(folder, name, scope, secret=new_secret)
    shell.show({"name": name, "scope": scope, "token": token}, text=f"{name} may {scope}; its token: {token}")


@group.command("list")
@_DATA
@click.pass_obj
def list_testers(shell: Shell, folder: Path) -> None:
    """List the testers of a vehicle."""
    read_config(folder)
    held = read_testers(folder)
    text = table(
        ("tester", "scope"), ((each.name, each.scope) for each in held), empty="this vehicle has no tester"
    )
    shell.show([{"name": each.name, "scope": each.scope} for each in held], text=text)


@group.command("remove")
@_DATA
@click.argument("name")
@click.pass_obj
def remove(shell: Shell, folder: Path, name: str) -> None:
    """Remove a tester; its token is worth nothing at once, and its session ends."""
    read_config(folder)
    gone = remove_tester(folder, name)
    now = shell.clock.now()
    for each in look_at_sessions(folder, now=now):
        if each.id.startswith(gone.sessions_begin) and each.state != "declined":
            try:
                answer_session(folder, each.id, allow=False, now=now)
            except NotFound:  # it ended by itself meanwhile
                continue
    shell.show({"name": name, "removed": True}, text=f"removed {name}")
