"""`ringroad quality`: which vehicles the gates look at, and lots of which every vehicle is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.errors import NotFound
from ringroad.kernel.plurals import counted

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.command(
    "inspect", epilog=example("ringroad quality inspect 5848z3bv", "ringroad quality inspect 5848z3bv --station trim")
)  # fmt: skip
@click.argument("order")
@click.option("--station", help="Only the gates of this station, to which the vehicle came; default: all.")
@_PROGRAMME
@with_client
def inspect(shell: Shell, client: Client, *, order: str, station: str | None, programme: str | None) -> None:
    """Ask which gates look at the vehicle of ORDER, its id or its end; asked again, the answer is the same."""
    programme = programme_of(client, programme)
    body = {"order_id": client.find("/orders", order)["id"]} | ({"station": station} if station else {})
    rows = client.post(f"/programmes/{programme}/inspections", body)
    shell.show(rows, text=inspections_text(rows, empty="there is no gate"))


@click.command("inspections", epilog=example("ringroad quality inspections --limit 5"))
@click.argument("vehicle", required=False)
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Rows to show.")
@_PROGRAMME
@with_client
def inspections(
    shell: Shell, client: Client, *, vehicle: str | None, limit: int, programme: str | None
) -> None:
    """Show which vehicles gates were to look at and which not, newest first: of all, or of VEHICLE, an order or a VIN."""
    rows = client.get(
        f"/programmes/{programme_of(client, programme)}/inspections", limit=limit,
        **({"vehicle": vehicle} if vehicle else {}),
    )  # fmt: skip
    shell.show(rows, text=inspections_text(rows, empty="no gate has had to choose a vehicle yet"))


@click.command("contain", epilog=example("ringroad quality contain battery B-17 --reason 'cells swell'"))
@click.argument("part")
@click.argument("lot")
@click.option("--reason", required=True, help="Why, for the record.")
@_PROGRAMME
@with_client
def contain(shell: Shell, client: Client, *, part: str, lot: str, reason: str, programme: str | None) -> None:
    """Let no vehicle with LOT of PART leave the line unless the gate that should catch it looked at it."""
    body = {"part": part, "lot": lot, "reason": reason}
    row = client.post(f"/programmes/{programme_of(client, programme)}/contained-lots", body)
    shell.show(row, text=said_text(row))


def said_text(row: Mapping[str, Any]) -> str:
    """Return what containing a lot means for vehicles that have it. Pure."""
    lot, on_line, born = f"lot {row['lot']} of {row['part']}", row["on_line"], row.get("born") or 0
    text = f"{lot} is contained; {counted(on_line, 'order')} on the line have it"
    if born:
        text += f"\n{counted(born, 'vehicle')} left the line with it before, which no gate can hold: ringroad trace lot {row['lot']}"
    if not on_line and not born:
        text += (
            "\nno vehicle ever had it; those to come are looked at. If some should have had it: is that how stations tell"
            " this part and this lot?"
        )
    return text


@click.command("contained", epilog=example("ringroad quality contained"))
@click.option("--all", "every", is_flag=True, help="Released ones as well.")
@_PROGRAMME
@with_client
def contained(shell: Shell, client: Client, *, every: bool, programme: str | None) -> None:
    """Show lots of which every vehicle on the line is looked at."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/contained-lots", every=every)
    shell.show(rows, text=contained_text(rows))


@click.command("release", epilog=example("ringroad quality release B-17 --reason 'sent back'"))
@click.argument("lot")
@click.option("--reason", required=True, help="Why, for the record.")
@_PROGRAMME
@with_client
def release(shell: Shell, client: Client, *, lot: str, reason: str, programme: str | None) -> None:
    """End the containment of LOT, the lot, or the id of its containment or its end; an approver's word."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/contained-lots", limit=1_000)
    found = [row for row in rows if lot in {row["lot"], row["id"], tail(row["id"])}]
    if len(found) != 1:
        raise NotFound(f"there is no one contained lot {lot!r}", hint="ringroad quality contained shows all")
    row = client.post(f"/contained-lots/{found[0]['id']}/release", {"reason": reason})
    shell.show(row, text=f"lot {row['lot']} of {row['part']} is released")


commands = (inspect, inspections, contain, contained, release)


def inspections_text(rows: Sequence[Mapping[str, Any]], *, empty: str) -> str:
    """Return choices as a table."""
    return table(
        ("chosen", "order", "gate", "station", "inspect", "result", "why"),
        (
            (
                exactly(row["drawn_at"]), tail(row["order_id"]), row["gate"], row["station"],
                "yes" if row["inspect"] else "no", result_of(row), row["reason"],
            )
            for row in rows
        ),
        empty=empty,
    )  # fmt: skip


def contained_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return contained lots as a table."""
    return table(
        ("id", "part", "lot", "since", "by", "why", "released"),
        (
            (
                tail(row["id"]), row["part"], row["lot"], exactly(row["contained_at"]), row["contained_by"],
                row["reason"],
                f"by {row['released_by']}: {row['release_reason']}" if row["released_at"] else "-",
            )
            for row in rows
        ),
        empty="no lot is contained",
    )  # fmt: skip


def result_of(row: Mapping[str, Any]) -> str:
    """Return what came of a choice."""
    if row["passed"] is None:
        return "awaited" if row["inspect"] and row["vin"] is None else "-"
    return "passed" if row["passed"] else "failed"
