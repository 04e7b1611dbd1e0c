"""`ringroad fleet`: the vehicles in the field, and why one is not updating."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from ringroad.cli.client import Client
from ringroad.cli.complete import complete_query
from ringroad.cli.drive import drive
from ringroad.cli.fleet_birth import birth, birth_of
from ringroad.cli.fleet_enrol import gateway_token, invite, register, shut_out
from ringroad.cli.fleet_hours import consent, hours
from ringroad.cli.fleet_lists import lists, query_vehicles, tag_vehicles
from ringroad.cli.groups import ClientGroup, example, limited, show_page, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, tail, when
from ringroad.http.console.conduct import state_told
from ringroad.http.console.why import why_not_updating
from ringroad.http.views import AssignmentView, VehicleResolutionView, VehicleView
from ringroad.kernel.errors import NotFound
from ringroad.kernel.plurals import counted
from ringroad.ship.reason_words import reason_words


@click.group("fleet", cls=ClientGroup)
def group() -> None:
    """Vehicles in the field, and why one is not updating."""


for each in (
    birth, drive, query_vehicles, tag_vehicles, lists, hours, consent, register, invite, shut_out, gateway_token,
):  # fmt: skip
    group.add_command(each)


@group.command("list", epilog=example("ringroad fleet list --state failed", "ringroad fleet list --vin WRR1"))
@click.option("--vin", help="Any part of a VIN.")
@click.option("--programme", help="Only of this programme.")
@click.option("--variant", help="Only of this variant.")
@click.option("--release", help="Only those that run this release.")
@click.option(
    "--state",
    type=click.Choice(["blocked", "updating", "failed", "idle"]),
    help="Only in this state.",
)
@limited()
@with_client
def list_vehicles(
    shell: Shell,
    client: Client,
    *,
    vin: str | None,
    programme: str | None,
    variant: str | None,
    release: str | None,
    state: str | None,
    limit: int,
    offset: int,
) -> None:
    """List vehicles by VIN, with what they run and do."""
    release_id = client.find("/releases", release, names=("version", "name"))["id"] if release else None
    rows = client.get(
        "/vehicles",
        q=vin,
        programme_id=programme,
        variant=variant,
        release_id=release_id,
        state=state,
        limit=limit,
        offset=offset,
    )
    text = table(
        ("vin", "variant", "region", "gateway", "release", "update", "last report", "tags"),
        (
            (
                row["vin"],
                row["variant"],
                row["region"],
                row["gateway"],
                row["release_version"],
                "shut out"
                if row.get("shut_out")
                else "blocked"
                if row["blocked_reason"]
                else row["update_state"],
                when(row["last_report_at"]),
                row["tags"],
            )
            for row in rows
        ),
        empty="no vehicle",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad fleet show WRR1ZZZ00PA000001"))
@click.argument("vin")
@with_client
def show(shell: Shell, client: Client, *, vin: str) -> None:
    """Show a vehicle: why it is not updating, its ECUs, its campaigns."""
    vin = vin.upper()
    row = client.get(f"/vehicles/{vin}")
    ecus = client.get(f"/vehicles/{vin}/ecus")
    assignments = client.get(f"/vehicles/{vin}/assignments", limit=10)
    newest = msgspec.convert(assignments[0], AssignmentView, strict=False) if assignments else None
    born, birth_text = birth_of(client, vin)
    planned = _newest_plan(client, vin)
    why = why_not_updating(
        msgspec.convert(row, VehicleView, strict=False), newest, planned, now=shell.clock.now()
    )
    value = row | {
        "why": {"title": why.title, "text": why.text, "next": why.next},
        "ecu_list": ecus,
        "assignments": assignments,
        "birth": born,
    }
    parts = [
        _head(row),
        birth_text,
        "\n".join(part for part in (f"{why.title}: {why.text}", why.next) if part),
    ]
    parts += [_ecus(ecus), _assignments(assignments)]
    shell.show(value, text="\n\n".join(part for part in parts if part))


def _newest_plan(client: Client, vin: str) -> VehicleResolutionView | None:
    """Return what the newest campaign's plan made of a vehicle; None without any, and for the operator of a fleet."""
    try:
        rows = client.get(f"/vehicles/{vin}/resolutions", limit=1)
    except NotFound:
        return None
    return msgspec.convert(rows[0], VehicleResolutionView, strict=False) if rows else None


@group.command("versions", epilog=example("ringroad fleet versions"))
@with_client
def versions(shell: Shell, client: Client) -> None:
    """Count vehicles per release and variant."""
    rows = client.get("/fleet/versions")
    text = table(
        ("release", "variant", "vehicles"),
        ((row["version"], row["variant"], row["vehicles"]) for row in rows),
        empty="no vehicle",
    )
    shell.show(rows, text=text)


@group.command("time-zone", epilog=example("ringroad fleet time-zone 'region = NO' Europe/Oslo"))
@click.argument("query", shell_complete=complete_query)
@click.argument("zone")
@click.option("--programme", help="The vehicle programme; default: the only one.")
@with_client
def time_zone(shell: Shell, client: Client, *, query: str, zone: str, programme: str | None) -> None:
    """Set the time zone of the vehicles that QUERY selects; the windows of campaigns go by it.

    ZONE is an IANA name.
    A vehicle on DDI may tell its own, as its attribute time_zone.
    """
    body = {"query": query, "programme_id": programme_of(client, programme), "time_zone": zone}
    done = client.post("/vehicles/time-zone", body)
    shell.show(done, text=f"{counted(done['vehicles'], 'vehicle')} changed to {zone}")


def _head(row: Mapping[str, Any]) -> str:
    release = f"{row['release_name']} {row['release_version']}" if row["release_version"] else "not reported"
    return details(
        (
            ("vin", row["vin"]),
            ("programme", f"{row['programme_id']}, {row['variant']}"),
            ("region", row["region"]),
            ("tags", row["tags"]),
            ("gateway", row["gateway"]),
            ("release", release),
            ("shut out", "yes; ringroad fleet invite lets it in again" if row.get("shut_out") else ""),
            (
                "blocked",
                f"{row['blocked_reason']}; a technician beside it mends it, then: ringroad vehicle unblock"
                if row["blocked_reason"]
                else "",
            ),
            ("born", exactly(row["born_at"])),
            ("last report", exactly(row["last_report_at"])),
            ("heard of", exactly(row["heard_at"]) if row.get("heard_at") else "never"),
        )
    )


def _ecus(rows: list[Mapping[str, Any]]) -> str:
    return table(
        ("ecu", "serial", "hardware", "version", "file", "reported"),
        (
            (
                row["name"] + (" *" if row["is_primary"] else ""),
                row["serial"],
                row["hardware_id"],
                row["version"],
                row["filename"],
                when(row["reported_at"]),
            )
            for row in rows
        ),
        empty="",
    )


def _assignments(rows: list[Mapping[str, Any]]) -> str:
    return table(
        ("action", "campaign", "kind", "wave", "release", "state", "detail", "finished"),
        (
            (
                row["action_id"],
                f"{row['campaign_name']} ({tail(row['campaign_id'])})",
                row["kind"],
                row["wave"],
                row["release_version"],
                state_told(row["kind"], row["state"]),
                row.get("withdrawn") or reason_words(row["state_detail"]),
                when(row["finished_at"]),
            )
            for row in rows
        ),
        empty="",
    )
