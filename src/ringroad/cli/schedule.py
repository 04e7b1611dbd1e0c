"""`ringroad schedule`: the line's sequence, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import counted, details, exactly, table, tail
from ringroad.kernel.errors import NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.group("schedule", cls=ClientGroup)
def group() -> None:
    """The line's schedule: sequence, blocked options, replanning."""


@group.command("show", epilog=example("ringroad schedule show --cars 20"))
@_PROGRAMME
@click.option(
    "--cars", type=click.IntRange(1, PAGE_ROWS_MAX), default=30, show_default=True, help="Cars to show."
)
@with_client
def show(shell: Shell, client: Client, *, programme: str | None, cars: int) -> None:
    """Show the current schedule: who is next, who waits and why."""
    programme = programme_of(client, programme)
    row = _current(client, programme)
    orders = {each["id"]: each for each in client.get("/orders", programme_id=programme, limit=PAGE_ROWS_MAX)}
    shell.show(row, text=_text(row, orders, cars))


@group.command("block", epilog=example("ringroad schedule block sunroof --reason 'glass is late'"))
@click.argument("option")
@_PROGRAMME
@click.option("--reason", required=True, help="Why, for the record.")
@with_client
def block(shell: Shell, client: Client, *, option: str, programme: str | None, reason: str) -> None:
    """Hold back orders with OPTION; the line replans.

    OPTION may also be a variant.
    """
    programme = programme_of(client, programme)
    done = client.post(f"/programmes/{programme}/blocked-options", {"option": option, "reason": reason})
    shell.show(done, text=f"{option} is blocked\n{_latency(_current(client, programme))}")


@group.command("unblock", epilog=example("ringroad schedule unblock sunroof"))
@click.argument("option")
@_PROGRAMME
@with_client
def unblock(shell: Shell, client: Client, *, option: str, programme: str | None) -> None:
    """Let the line build OPTION again; the line replans."""
    programme = programme_of(client, programme)
    done = client.post(f"/programmes/{programme}/unblocked-options", {"option": option})
    shell.show(done, text=f"{option} is not blocked\n{_latency(_current(client, programme))}")


@group.command("replan", epilog=example("ringroad schedule replan"))
@_PROGRAMME
@with_client
def replan(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Plan the line again over the orders as they are now."""
    programme = programme_of(client, programme)
    row = client.post(f"/programmes/{programme}/replan", {})
    shell.show(row, text=_latency(row))


def _current(client: Client, programme: str) -> dict[str, Any]:
    rows = client.get(f"/programmes/{programme}/schedules", limit=1)
    if not rows:
        raise NotFound(f"{programme} has no schedule yet", hint="it gets one with its first order")
    row: dict[str, Any] = rows[0]
    return row


def _latency(row: Mapping[str, Any]) -> str:
    document = row["document"]
    return (
        f"schedule {row['generation']}: {counted(len(document['sequence']), 'car')}, {len(document['held'])} held, "
        f"replanned in {row['replan_latency_us'] / 1000:.1f} ms"
    )


def _text(row: Mapping[str, Any], orders: Mapping[str, Mapping[str, Any]], cars: int) -> str:
    document = row["document"]
    # Those that were built since are history; what the page of orders does not have is shown by its id.
    waiting = [
        orders.get(each, {"id": each, "state": ""})
        for each in document["sequence"]
        if each not in orders or orders[each]["state"] in {"open", "building"}
    ]
    head = details(
        (
            ("schedule", row["id"]),
            ("generation", row["generation"]),
            ("made", f"{exactly(row['made_at'])}, {row['cause'].replace('_', ' ')}"),
            ("replanned in", f"{row['replan_latency_us'] / 1000:.1f} ms"),
            (
                "cars",
                f"{len(waiting)}, {sum(order['state'] == 'building' for order in waiting)} of them on the line",
            ),
            ("held", f"{len(document['held'])}"),
            ("violations", f"{document['violations']}"),
            ("late", f"{document['late_orders']}"),
            ("baseline", tail(document["baseline_release_id"])),
            ("blocked", [f"{option} ({reason})" for option, reason in document["blocked"].items()]),
        )
    )
    sequence = table(
        ("place", "order", "variant", "options", "rush", "state"),
        (
            (place, *_order(orders.get(each["id"]), each["id"]))
            for place, each in enumerate(waiting[:cars], 1)
        ),
        empty="no car is to be built",
    )
    held = [f"held  {tail(each['order_id'])}  {each['reason']}" for each in document["held"][:cars]]
    return "\n\n".join(part for part in (head, sequence, "\n".join(held)) if part)


def _order(order: Mapping[str, Any] | None, order_id: str) -> tuple[object, ...]:
    if order is None:
        return tail(order_id), "", "", "", ""
    rush = "rush" if order["rush"] else ""
    return tail(order_id), order["variant"], order["options"], rush, order["state"]
