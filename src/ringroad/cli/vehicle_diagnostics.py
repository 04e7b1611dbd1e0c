"""`ringroad vehicle diagnostics`: who wants to look into this vehicle, and what its driver says to that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from ringroad.cli.tables import table
from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.config import read_config
from ringroad.vehicle.diagnostics.sessions import answer_session, living, read_sessions, seen_of

if TYPE_CHECKING:
    from ringroad.cli.shell import Shell


@click.command("diagnostics")
@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path), help="The vehicle's data folder."
)
@click.option("--allow", metavar="SESSION", help="Agree to this session, as the driver.")
@click.option("--deny", metavar="SESSION", help="Decline this session, as the driver, or end it.")
@click.option(
    "--seen", metavar="CODE", default="", help="With --allow: the code beside the session in the list."
)
@click.pass_obj
def diagnostics(shell: Shell, folder: Path, *, allow: str | None, deny: str | None, seen: str) -> None:
    """Show who wants to look into the vehicle; agree or decline, for vehicles with diagnostics = "driver"."""
    config = read_config(folder)
    if allow and deny:
        raise InvalidInput("agree or decline, not both")
    if allow and not seen:
        raise InvalidInput("agree to what you saw", hint="--seen CODE, as the list has it")
    now = shell.clock.now()
    if allow or deny:
        session = answer_session(folder, allow or deny or "", allow=bool(allow), seen=seen, now=now)
        word = "agreed to" if allow else "declined"
        shell.show(
            msgspec.to_builtins(session),
            text=f"{word} {session.id}, asked for by {session.by} until {session.expires_at:%H:%M} UTC",
        )
        return
    held = list(living(read_sessions(folder), now=now).values())
    text = table(
        ("session", "who", "scope", "positions", "state", "until (UTC)", "code", "why"),
        ((each.id, each.by, each.scope, "yes" if each.position else "no", each.state, f"{each.expires_at:%Y-%m-%d %H:%M}", seen_of(each), each.reason) for each in held),
        whole=("session", "code"),
        empty="nobody looks into this vehicle"
        if config.diagnostics != "off"
        else "this vehicle allows no remote diagnostics",
    )  # fmt: skip
    shell.show([{**msgspec.to_builtins(each), "seen": seen_of(each)} for each in held], text=text)
