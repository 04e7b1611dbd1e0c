"""`ringroad campaign return`: the way back for vehicles that kept the release of a stopped campaign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import confirm, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table


@click.command("return", epilog=example("ringroad campaign return winter"))
@click.argument("campaign")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def return_vehicles(shell: Shell, client: Client, *, campaign: str, yes: bool) -> None:
    """Order vehicles back that kept the release of a halted or aborted campaign.

    Who would return to which release, and who cannot and why, is shown first; other vehicles than those are not
    ordered back by it.
    Each vehicle gets a signed order; what became of them is the campaign's outcome.
    """
    row = client.find("/campaigns", campaign)
    path = f"/campaigns/{row['id']}/returns"
    plan = client.get(path)
    click.echo(returns_text(plan), err=True)
    confirm(f"Order {plan['vehicles']} vehicles of {row['name']} back?", yes=yes)
    done = client.post(path, {"sha256": plan["sha256"]})
    shell.show(done, text=f"{done['vehicles']} vehicles of {row['name']} are ordered back")


def returns_text(plan: Mapping[str, Any]) -> str:
    """Return who would return to what, and who cannot."""
    rows = [(count, f"return to {version}", "") for version, count in plan["to"].items()]
    rows += [(count, f"get {package}", "") for package, count in plan["packages"].items()]
    rows += [(count, "cannot return", reason) for reason, count in plan["cannot"].items()]
    return table(("vehicles", "", "because"), rows, empty="no vehicle kept its release")
