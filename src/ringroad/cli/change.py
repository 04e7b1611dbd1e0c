"""`ringroad change`: what is done about a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, confirm, example, limited, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, tail, when

NAMES = ("title",)


@click.group("change", cls=ClientGroup)
def group() -> None:
    """Changes: what is done about a finding, proposed and approved."""


@group.command(
    "propose",
    epilog=example(
        "ringroad change propose --finding 7k3mfq2a --title 'Longer debounce' --target 'C0035 below 1.1.0'"
    ),
)
@click.option("--finding", required=True, help="The accepted finding that it answers.")
@click.option("--title", required=True, help="What is done.")
@click.option("--target", required=True, help="What must be true afterwards.")
@click.option("--ecu", help="Where; default: the finding's ECU.")
@with_client
def propose(shell: Shell, client: Client, *, finding: str, title: str, target: str, ecu: str | None) -> None:
    """Propose another change for an accepted finding.

    The first comes with `ringroad finding accept`.
    """
    row = client.find("/findings", finding, names=NAMES)
    body = {"finding_id": row["id"], "title": title, "target": target, "ecu": ecu or row["ecu"]}
    done = client.post("/changes", body)
    shell.show(
        done,
        text=f"change {done['id']} is {done['state']}\nnext: ringroad change approve {tail(done['id'])}",
    )


@group.command("approve", epilog=example("ringroad change approve 7k3mfq2a"))
@click.argument("change")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def approve(shell: Shell, client: Client, *, change: str, yes: bool) -> None:
    """Approve a proposed change.

    What will be approved is shown first.
    Then packages and releases can be made for it.
    """
    row = client.find("/changes", change, names=NAMES)
    click.echo(_details(row), err=True)
    confirm("Approve this change?", yes=yes)
    done = client.post(f"/changes/{row['id']}/approve", {"generation": row["generation"]})
    shell.show(done, text=f"change {done['id']} is {done['state']}")


@group.command("reject", epilog=example("ringroad change reject 7k3mfq2a --reason 'wrong ECU'"))
@click.argument("change")
@click.option("--reason", required=True, help="Why, for the record.")
@with_client
def reject(shell: Shell, client: Client, *, change: str, reason: str) -> None:
    """Reject a change; its finding stays accepted and can get another."""
    row = client.find("/changes", change, names=NAMES)
    done = client.post(f"/changes/{row['id']}/reject", {"reason": reason, "generation": row["generation"]})
    shell.show(done, text=f"change {done['id']} is {done['state']}")


@group.command("list", epilog=example("ringroad change list --state proposed"))
@click.option(
    "--state", type=click.Choice(["proposed", "approved", "rejected", "done"]), help="Only in this state."
)
@click.option("--finding", help="Only for this finding.")
@limited()
@with_client
def list_changes(
    shell: Shell, client: Client, *, state: str | None, finding: str | None, limit: int, offset: int
) -> None:
    """List changes, newest first."""
    finding_id = client.find("/findings", finding, names=NAMES)["id"] if finding else None
    rows = client.get("/changes", state=state, finding_id=finding_id, limit=limit, offset=offset)
    text = table(
        ("id", "title", "ecu", "state", "finding", "releases", "proposed", "by", "approved by"),
        (
            (
                tail(row["id"]),
                row["title"],
                row["ecu"],
                row["state"],
                tail(row["finding_id"]),
                [tail(each) for each in row["release_ids"] or []],
                when(row["proposed_at"]),
                row["proposed_by"],
                row["approved_by"],
            )
            for row in rows
        ),
        empty="no change; ringroad finding accept proposes one",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad change show 7k3mfq2a"))
@click.argument("change")
@with_client
def show(shell: Shell, client: Client, *, change: str) -> None:
    """Show a change; CHANGE is an id, its end, or the title."""
    row = client.find("/changes", change, names=NAMES)
    shell.show(row, text=_details(row))


def _details(row: Mapping[str, Any]) -> str:
    approved = f"{exactly(row['approved_at'])} by {row['approved_by']}" if row["approved_at"] else ""
    return details(
        (
            ("change", row["id"]),
            ("title", row["title"]),
            ("state", row["state"]),
            ("ecu", row["ecu"]),
            ("target", row["target"]),
            ("finding", f"{row['finding_title']} ({tail(row['finding_id'])})"),
            ("lap", row["lap_id"]),
            ("proposed", f"{exactly(row['proposed_at'])} by {row['proposed_by']}"),
            ("approved", approved),
            ("releases", row["release_ids"]),
        )
    )
