"""`ringroad campaign return`: the way back for vehicles that kept the release of a stopped campaign."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import click

from ringroad.adapt.recovery import recovery_body, recovery_of, standing
from ringroad.cli.campaign_text import recovery_text
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, confirm, example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.kernel.plurals import counted


@click.command("return", epilog=example("ringroad campaign return winter"))
@click.argument("campaign")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def return_vehicles(shell: Shell, client: Client, *, campaign: str, yes: bool) -> int:
    """Order vehicles back that kept the release of a halted or aborted campaign.

    Who would return to which release, and who cannot and why, is shown first; other vehicles than those are not
    ordered back by it.
    Each vehicle gets a signed order; what became of them is the campaign's outcome.

    Exit status 1 when vehicles kept the release and none can go back.
    """
    row = client.find("/campaigns", campaign)
    path = f"/campaigns/{row['id']}/returns"
    plan = client.get(path)
    if not plan["vehicles"] and not plan["cannot"]:
        became = recovery_text(read_recovery(client, row["id"]))
        shell.show(plan, text=f"{nobody_text(row)}\n{became}")
        return 0
    click.echo(returns_text(plan), err=True)
    if not plan["vehicles"]:
        shell.show(plan, text=f"no vehicle of {row['name']} can go back; see why above")
        return EXIT_NO
    confirm(f"Order {counted(plan['vehicles'], 'vehicle')} of {row['name']} back?", yes=yes)
    done = client.post(path, {"sha256": plan["sha256"]})
    shell.show(done, text=f"{counted(done['vehicles'], 'vehicle')} of {row['name']} ordered back")
    return 0


def read_recovery(client: Client, campaign_id: str) -> dict[str, Any]:
    """Return what became of a stopped campaign's vehicles, page by page; how far that is goes to standard error."""
    vehicles: Counter[str] = Counter()
    moved_on_to: Counter[str] = Counter()
    after = ""
    while True:
        page = client.get(f"/campaigns/{campaign_id}/recovery", after=after or None)
        vehicles.update(page["vehicles"])
        moved_on_to.update(page.get("moved_on_to", {}))
        after = page.get("next") or ""  # a server of the version before counts all at once
        if not after:
            body = recovery_body(recovery_of(vehicles, moved_on_to))
            return body | {"verdict": standing(body)}
        click.echo(f"{vehicles.total():,} vehicles counted so far", err=True)


def nobody_text(row: Mapping[str, Any]) -> str:
    """Return why there is nobody to order back: those that were are back, or on their way, or nobody kept the release."""
    ordered, back, failed = row["returns_ordered"], row["returned"], row["returns_failed"]
    if not ordered:
        return f"no vehicle of {row['name']} kept its release: nobody is to go back"
    if ordered == back:
        return f"all {ordered} vehicles of {row['name']} that were ordered back are back"
    words = [f"{back} back", f"{ordered - back - failed} on their way"]
    words += [f"{failed} of which it came to nothing, and that do not run it any more"] if failed else []
    return f"nobody else of {row['name']} is to go back; of {ordered} that were ordered: {', '.join(words)}"


def returns_text(plan: Mapping[str, Any]) -> str:
    """Return who would return to what, and who cannot."""
    rows = [(count, f"return to {version}", "") for version, count in plan["to"].items()]
    rows += [(count, "cannot return", reason) for reason, count in plan["cannot"].items()]
    text = table(("vehicles", "", "because"), rows, empty="no vehicle kept its release")
    packages = ", ".join(f"{package} ({count})" for package, count in plan["packages"].items())
    return f"{text}\nthose that return get back, by ECU: {packages}" if packages else text
