"""`ringroad site`: plants with engines of their own, which go on when they are cut off from their hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, confirm, example, limited, read_text, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.supervisor import prepare_var, read_state
from ringroad.cli.tables import counted, exactly, table, when
from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.storage.leaf import read_credentials, store_credentials, stored_credentials
from ringroad.storage.process import folder_error, write_private

CREDENTIALS_BYTES_MAX: Final = 64 * 1024  # bytes of the file that a hub gives a site
EXIT_CUT_OFF: Final = 7  # as `unavailable` in cli/errors.py


@click.group("site", cls=ClientGroup)
def group() -> None:
    """Plants with engines of their own, which go on when they are cut off."""


@group.command("add", epilog=example("ringroad site add leipzig --out leipzig.json"))
@click.argument("plant")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="New file for its credentials.",
)
@click.option("--address", metavar="HOST:PORT", help="Where it reaches this hub, if not under its own name.")
@with_client
def add(shell: Shell, client: Client, *, plant: str, out: Path, address: str | None) -> None:
    """Let a plant be a site, and write what it shows its hub.

    Again: new credentials, and the old ones end. For admins.
    """
    if out.exists():
        raise InvalidInput(f"{out} exists", hint="choose another file; credentials are not written over")
    made = client.post("/sites", {"plant_id": plant, **({"address": address} if address else {})})
    try:
        write_private(out, made["credentials"])
    except OSError as error:
        raise folder_error(error, out) from error
    shell.show(
        {"site": plant, "hub": made["hub"], "credentials": str(out)},
        text=f"{plant} is a site of {made['hub']}\nits credentials: {out}, a secret; there: ringroad site join {out.name}",
    )


@group.command("join", epilog=example("ringroad --var leipzig site join leipzig.json"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def join(shell: Shell, file: Path) -> None:
    """Make this installation a site of the hub that wrote FILE; from its next start on.

    Everything else stays as it is: its own database, console and line.
    """
    settings = shell.settings()
    given = read_credentials(read_text(file, bytes_max=CREDENTIALS_BYTES_MAX), what=str(file))
    if read_state(settings):
        raise Conflict(
            f"Ringroad runs in {settings.var}", hint="end it first: ringroad down", code="already_running"
        )
    before = stored_credentials(settings.site)
    if before is not None and before.site != given.site:
        raise Conflict(
            f"{settings.var} is site {before.site}, it cannot become {given.site}",
            hint="another site has a var folder of its own", code="other_site",
        )  # fmt: skip
    prepare_var(settings)
    store_credentials(settings.site, given)
    shell.show(
        {"site": given.site, "hub": given.hub},
        text=f"site {given.site} of {given.hub}; start it with: ringroad up",
    )


@group.command("list", epilog=example("ringroad site list"))
@with_client
def list_sites(shell: Shell, client: Client) -> None:
    """List sites: who is connected, who is cut off since when, and what waits there."""
    rows = client.get("/sites")
    text = table(
        ("site", "link", "waiting", "last reconciled", "conflicts"),
        (
            (row["id"], _link(row), row["waiting"], when(row["reconciled_at"]), row["conflicts"])
            for row in rows
        ),
        empty="no plant is a site",
    )
    shell.show(rows, text=text)


@group.command("conflicts", epilog=example("ringroad site conflicts leipzig"))
@click.argument("site")
@limited()
@with_client
def conflicts(shell: Shell, client: Client, *, site: str, limit: int, offset: int) -> None:
    """List where a site and its hub had different truths, and how that was settled."""
    if offset:
        raise InvalidInput("conflicts have no pages", hint="a larger --limit")
    rows = client.get(f"/sites/{site}/conflicts", limit=limit)
    told = [f"{exactly(row['at'])}  {row['kind']} {row['subject']}: {row['reason']}" for row in rows]
    show_page(shell, rows, text="\n".join(told) or "none", limit=limit)


@group.command("remove", epilog=example("ringroad site remove leipzig --yes"))
@click.argument("site")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def remove(shell: Shell, client: Client, *, site: str, yes: bool) -> None:
    """Let a plant be no site any more: its token ends. For admins."""
    confirm(f"end the token of {site}? What it has not told by then stays there.", yes=yes)
    done = client.send("DELETE", f"/sites/{site}")
    shell.show(done, text=f"{site} is no site any more")


@group.command("status", epilog=example("ringroad --var leipzig site status"))
@with_client
def status(shell: Shell, client: Client) -> int:
    """At a site: show what its hub does not have yet; exit status 7 when it is cut off."""
    row = client.get("/site")
    link = "connected" if row["connected"] else f"cut off, last reached {when(row['reached_at'])}"
    waits = "nothing waits" if not row["waiting"] else f"{counted(row['waiting'], 'event')} waiting"
    shell.show(row, text=f"site {row['site']} of {row['hub']}: {link}; {waits}")
    return 0 if row["connected"] else EXIT_CUT_OFF


def _link(row: Mapping[str, Any]) -> str:
    if row["connected"]:
        return "connected"
    return f"cut off since {exactly(row['cut_off_since'])}" if row["heard_at"] else "never heard"
