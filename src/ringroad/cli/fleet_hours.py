"""`ringroad fleet hours` and `fleet consent`: what a fleet's operator says for vehicles."""

from __future__ import annotations

from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import read_at
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table
from ringroad.http.console.why import hours_said
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import find_zone
from ringroad.kernel.plurals import counted


@click.command(
    "hours",
    epilog=example(
        "ringroad fleet hours WRR1ZZZ00PA000001 --hours 'mon-fri 22:00-05:00' --time-zone Europe/Oslo",
        "ringroad fleet hours --all --hours 01:00-05:00 --not-before 2027-01-04 --time-zone Europe/Oslo",
        "ringroad fleet hours --tag cab --clear",
        "ringroad fleet hours --all",
    ),
)
@click.argument("vins", nargs=-1)
@click.option("--all", "everyone", is_flag=True, help="All vehicles; for the operator of a fleet, all of it.")
@click.option("--tag", help="The vehicles with this tag.")
@click.option("--list", "list_name", help="The vehicles of this list.")
@click.option("--hours", multiple=True, metavar="SPAN", help="They may begin then; 'mon-fri 22:00-05:00'.")
@click.option("--quiet-hours", "quiet", multiple=True, metavar="SPAN", help="They may not begin then.")
@click.option(
    "--not-before", metavar="WHEN", help="Updates are put off until then; 2027-01-04 or with a time."
)
@click.option("--time-zone", default="UTC", show_default=True, help="Where a vehicle's own is not known.")
@click.option("--clear", is_flag=True, help="Whenever a campaign may.")
@with_client
def hours(
    shell: Shell,
    client: Client,
    *,
    vins: tuple[str, ...],
    everyone: bool,
    tag: str | None,
    list_name: str | None,
    hours: tuple[str, ...],
    quiet: tuple[str, ...],
    not_before: str | None,
    time_zone: str,
    clear: bool,
) -> None:
    """Say when vehicles may begin an update, by their own clocks; without hours, show it.

    These hours hold beside those of a campaign: a vehicle begins where both are open.
    What is set takes the place of what was: name hours and --not-before together.
    """
    if bool(vins) + everyone + (tag is not None) + (list_name is not None) != 1:
        raise InvalidInput("name vehicles by VIN, by --tag, by --list or by --all, one of them")
    given = bool(hours or quiet or not_before)
    if clear and given:
        raise InvalidInput("--clear goes without hours")
    schedule: dict[str, Any] | None = None
    if given:
        schedule = {"hours": hours, "quiet": quiet, "time_zone": time_zone}
        schedule["not_before"] = instant(not_before, time_zone) if not_before else None
    if len(vins) == 1:
        _one(shell, client, vins[0].upper(), schedule, clear=clear)
    elif given or clear:
        body: dict[str, Any] = {"schedule": schedule, "everyone": everyone, "tag": tag, "list": list_name}
        body["vins"] = [vin.upper() for vin in vins] if vins else None
        done = client.send("PUT", "/fleet/schedule", body=body)
        verb = "cleared" if clear else "set"
        news = f"that changes {done['changed']} of them" if done["changed"] else "all had that before"
        text = f"hours of {counted(done['vehicles'], 'vehicle')} are {verb}; {news}"
        if done.get("reached"):  # an older server does not count them
            text += f"\nan update had been released for {done['reached']} of them before: silence until its deadline counts"
        shell.show(done, text=text)
    elif vins:
        raise InvalidInput("of several vehicles hours are shown by --tag, --list or --all")
    else:
        rows = client.get("/fleet/schedule", tag=tag, list=list_name)
        cells = ((row["vehicles"], hours_said(row["schedule"]), row["example"]) for row in rows)
        shell.show(rows, text=table(("vehicles", "may begin", "for example"), cells, empty="no vehicle"))


def _one(shell: Shell, client: Client, vin: str, schedule: dict[str, Any] | None, *, clear: bool) -> None:
    path = f"/vehicles/{vin}/schedule"
    if schedule is None and not clear:
        found = client.get(path)
        shell.show(found, text=hours_said(found["schedule"]))
        return
    done = client.send("DELETE", path) if schedule is None else client.send("PUT", path, body=schedule)
    shell.show(done, text=f"vehicle {done['id']}: {done['state']}")


def instant(text: str, time_zone: str) -> str:
    """Return a day, or a time of day, as an instant; by the clock of the zone where it names none.

    Raises:
        InvalidInput: it is none, or there is no such time zone.
    """
    zone = find_zone(time_zone)
    if zone is None:
        raise InvalidInput(
            f"there is no time zone {time_zone[:60]!r}", hint="an IANA name, for example Europe/Oslo"
        )
    return read_at(text, zone=zone)


@click.command("consent", epilog=example("ringroad fleet consent WRR1ZZZ00PA000001"))
@click.argument("vin")
@click.option("--decline", is_flag=True, help="Decline it instead.")
@with_client
def consent(shell: Shell, client: Client, *, vin: str, decline: bool) -> None:
    """Agree to the update that a vehicle is asked about, on behalf of its driver."""
    done = client.post(f"/vehicles/{vin.upper()}/consent", {"agree": not decline})
    shell.show(done, text=f"vehicle {done['id']}: {done['state']}")
