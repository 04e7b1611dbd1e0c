"""`ringroad fleet hours` and `fleet consent`: what a fleet's operator says for a vehicle."""

from __future__ import annotations

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.shell import Shell
from ringroad.kernel.errors import InvalidInput


@click.command(
    "hours",
    epilog=example(
        "ringroad fleet hours WRR1ZZZ00PA000001 --hours 'mon-fri 22:00-05:00' --time-zone Europe/Oslo",
        "ringroad fleet hours WRR1ZZZ00PA000001 --clear",
    ),
)
@click.argument("vin")
@click.option("--hours", multiple=True, metavar="SPAN", help="It may begin then; 'mon-fri 22:00-05:00'.")
@click.option("--quiet-hours", "quiet", multiple=True, metavar="SPAN", help="It may not begin then.")
@click.option("--time-zone", default="UTC", show_default=True, help="Where the vehicle's own is not known.")
@click.option("--clear", is_flag=True, help="Whenever a campaign may.")
@with_client
def hours(
    shell: Shell,
    client: Client,
    *,
    vin: str,
    hours: tuple[str, ...],
    quiet: tuple[str, ...],
    time_zone: str,
    clear: bool,
) -> None:
    """Say when a vehicle may begin an update, by its own clock; without options, show it.

    These hours hold beside those of a campaign: it begins where both are open.
    """
    path = f"/vehicles/{vin.upper()}/schedule"
    if clear and (hours or quiet):
        raise InvalidInput("--clear goes without hours")
    if clear:
        done = client.send("DELETE", path)
    elif hours or quiet:
        done = client.send("PUT", path, body={"hours": hours, "quiet": quiet, "time_zone": time_zone})
    else:
        found = client.get(path)
        schedule = found["schedule"]
        text = "whenever a campaign may"
        if schedule:
            spans = [*schedule["hours"], *(f"not {span}" for span in schedule["quiet"])]
            text = f"{', '.join(spans)}; {schedule['time_zone']}"
        shell.show(found, text=text)
        return
    shell.show(done, text=f"vehicle {done['id']}: {done['state']}")


@click.command("consent", epilog=example("ringroad fleet consent WRR1ZZZ00PA000001"))
@click.argument("vin")
@click.option("--decline", is_flag=True, help="Decline it instead.")
@with_client
def consent(shell: Shell, client: Client, *, vin: str, decline: bool) -> None:
    """Agree to the update that a vehicle is asked about, on behalf of its driver."""
    done = client.post(f"/vehicles/{vin.upper()}/consent", {"agree": not decline})
    shell.show(done, text=f"vehicle {done['id']}: {done['state']}")
