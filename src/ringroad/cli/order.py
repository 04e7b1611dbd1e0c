"""`ringroad order`: vehicles on order at the plant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, show_page, with_client
from ringroad.cli.names import programme_of, read_at
from ringroad.cli.schedule_text import made_late_text
from ringroad.cli.shell import Shell
from ringroad.cli.tables import table, tail, when
from ringroad.kernel.errors import RingroadError

ORDERS_MAX = 1_000  # by one command


@click.group("order", cls=ClientGroup)
def group() -> None:
    """Vehicles on order at the plant."""


@group.command("add", epilog=example("ringroad order add --variant touring --option sunroof --rush"))
@click.option("--variant", required=True, help="What to build.")
@click.option("--option", "options", multiple=True, help="What is ordered with it; may be repeated.")
@click.option("--programme", help="The vehicle programme; default: the only one.")
@click.option("--region", default="", help="Where it goes.")
@click.option("--due", help="When it must leave the line: 2027-01-31, 2027-01-31T06:00, or now+2d.")
@click.option(
    "--not-before", "earliest", help="Nobody wants it to leave the line earlier; a time as for --due."
)
@click.option("--rush", is_flag=True, help="Before all others that are not on the line yet.")
@click.option(
    "--count", type=click.IntRange(1, ORDERS_MAX), default=1, show_default=True, help="So many of the same."
)
@with_client
def add(
    shell: Shell,
    client: Client,
    *,
    variant: str,
    options: tuple[str, ...],
    programme: str | None,
    region: str,
    due: str | None,
    earliest: str | None,
    rush: bool,
    count: int,
) -> None:
    """Order a vehicle, or more of the same; the line replans."""
    body: dict[str, object] = {
        "programme_id": programme_of(client, programme),
        "variant": variant,
        "options": list(options),
        "region": region,
        "rush": rush,
    }
    if due:
        body["due_at"] = read_at(due)
    if earliest:
        body["earliest_at"] = read_at(earliest)
    rows = [client.post("/orders", body) for _ in range(count)]
    text = "\n".join(
        f"order {row['id']}: {_what(row['variant'], row['options'])}, {row['state']}" for row in rows
    )
    ids = {row["id"] for row in rows}
    others = dict.fromkeys(each for row in rows for each in row.get("made_late", ()) if each not in ids)
    if made := made_late_text(list(others)):
        text += f"\n{made}"
    if due:
        text += _late(client, str(body["programme_id"]), ids)
    shell.show(rows[0] if count == 1 else rows, text=text)


def _late(client: Client, programme: str, orders: Collection[str]) -> str:
    """Return which new orders are planned to leave after they are due; nothing, where no times are planned."""
    try:
        vehicles = client.get(f"/programmes/{programme}/line-times")["vehicles"]
    except RingroadError:
        return ""  # ordered they are
    return late_text(vehicles, orders)


def late_text(vehicles: Sequence[Mapping[str, Any]], orders: Collection[str]) -> str:
    """Return a line for each of these orders that is planned to leave the line after it is due."""
    return "".join(
        f"\norder {each['order_id']} is planned to leave the line late, {when(each['leaves_at'])}"
        for each in vehicles
        if each["late"] and each["order_id"] in orders
    )


@group.command("cancel", epilog=example("ringroad order cancel 7k3mfq2a --reason 'customer withdrew'"))
@click.argument("order")
@click.option("--reason", required=True, help="Why, for the record.")
@with_client
def cancel(shell: Shell, client: Client, *, order: str, reason: str) -> None:
    """Cancel an order whose car is not on the line; the line replans.

    ORDER is an id or its end.
    """
    order_id = order if order.startswith("order_") else client.find("/orders", order)["id"]
    row = client.post(f"/orders/{order_id}/cancel", {"reason": reason})
    shell.show(row, text=f"order {row['id']}: {_what(row['variant'], row['options'])}, {row['state']}")


@group.command("list", epilog=example("ringroad order list --state open"))
@click.option("--programme", help="Only of this programme.")
@click.option("--state", help="Only in this state: open, building, born, cancelled.")
@limited()
@with_client
def list_orders(
    shell: Shell, client: Client, *, programme: str | None, state: str | None, limit: int, offset: int
) -> None:
    """List orders, newest first."""
    rows = client.get("/orders", programme_id=programme, state=state, limit=limit, offset=offset)
    text = table(
        ("id", "variant", "options", "region", "rush", "state", "due", "vin", "received"),
        (
            (
                tail(row["id"]),
                row["variant"],
                row["options"],
                row["region"],
                "rush" if row["rush"] else "",
                row["state"],
                _window(row),
                row["vin"],
                when(row["received_at"]),
            )
            for row in rows
        ),
        empty="no order; ringroad order add",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


def _what(variant: str, options: list[str]) -> str:
    return f"{variant} with {', '.join(options)}" if options else variant


def _window(row: Mapping[str, Any]) -> str:
    """Return when an order is due, and from when on it is wanted."""
    if not row.get("earliest_at"):  # a server of an older release says none
        return when(row["due_at"])
    return (
        f"{when(row['earliest_at'])} to {when(row['due_at'])}"
        if row["due_at"]
        else f"from {when(row['earliest_at'])}"
    )
