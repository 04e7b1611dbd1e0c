"""`ringroad webhook`: tell other systems of events. For admins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.events import TYPE_HELP
from ringroad.cli.groups import ClientGroup, confirm, example, limited, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, tail, when
from ringroad.kernel.errors import InvalidInput


@click.group("webhook", cls=ClientGroup)
def group() -> None:
    """Tell other systems of events."""


@group.command(
    "create", epilog=example("ringroad webhook create https://hooks.example.com/ringroad --type 'campaign.*'")
)
@click.argument("url")
@click.option("--type", "types", multiple=True, metavar="TYPE", help=TYPE_HELP)
@with_client
def create(shell: Shell, client: Client, *, url: str, types: tuple[str, ...]) -> None:
    """Tell an endpoint of events from now on.

    Prints the secret that signs them, now and never again.
    """
    made = client.post("/webhooks", {"url": url, "types": list(types)})
    shell.show(made, text=f"webhook {made['id']}\nsecret, shown once: {made['secret']}")


@group.command("list", epilog=example("ringroad webhook list"))
@with_client
def list_webhooks(shell: Shell, client: Client) -> None:
    """List all webhooks."""
    rows = client.get("/webhooks")
    text = table(
        ("id", "url", "types", "state", "behind", "failed", "last delivery"),
        (
            (
                tail(row["id"]),
                row["url"],
                row["types"] or "every type",
                _state(row),
                row["behind"],
                row["failures"],
                when(row["delivered_at"]),
            )
            for row in rows
        ),
        empty="no webhook yet",
    )
    shell.show(rows, text=text)


@group.command("show", epilog=example("ringroad webhook show 7k3mfq2a"))
@click.argument("webhook")
@with_client
def show(shell: Shell, client: Client, *, webhook: str) -> None:
    """Show one webhook; WEBHOOK is its id, the end of it, or its address."""
    row = _find(client, webhook)
    shell.show(
        row,
        text=details(
            (
                ("webhook", row["id"]),
                ("url", row["url"]),
                ("types", row["types"] or "every type"),
                ("state", _state(row)),
                ("behind", f"{row['behind']} facts"),
                ("waiting again", row["replays"] or ""),
                ("failed in a row", row["failures"] or ""),
                ("next attempt", exactly(row["next_attempt_at"]) if row["next_attempt_at"] else ""),
                ("last delivery", exactly(row["delivered_at"]) if row["delivered_at"] else "never"),
                ("made", f"{exactly(row['created_at'])} by {row['created_by']}"),
            )
        ),
    )


@group.command("deliveries", epilog=example("ringroad webhook deliveries 7k3mfq2a --failed"))
@click.argument("webhook")
@click.option("--failed", is_flag=True, help="Only attempts that failed.")
@limited()
@with_client
def deliveries(shell: Shell, client: Client, *, webhook: str, failed: bool, limit: int, offset: int) -> None:
    """List the newest attempts to deliver."""
    if offset:
        raise InvalidInput("the log has no pages", hint="a larger --limit; the newest 500 or so are kept")
    found = _find(client, webhook)
    rows = client.get(f"/webhooks/{found['id']}/deliveries", failed="true" if failed else None, limit=limit)
    text = table(
        ("sent", "event", "outcome", "status", "attempt", "ms", "id"),
        (
            (
                exactly(row["sent_at"]),
                row["kind"] + (" (again)" if row["replayed"] else ""),
                row["outcome"],
                row["status"],
                row["attempt"],
                row["took_ms"],
                row["fact_id"],
            )
            for row in rows
        ),
        empty="nothing was sent",
    )
    show_page(shell, rows, text=text, limit=limit)


@group.command(
    "change", epilog=example("ringroad webhook change 7k3mfq2a --type 'campaign.*' --type release.signed")
)
@click.argument("webhook")
@click.option("--url", help="Another address; its place in the ledger stays.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help=f"{TYPE_HELP} '*' is every type.")
@click.option(
    "--pause/--go-on", "pause", default=None, help="Send nothing for a while; go on, also when disabled."
)
@with_client
def change(
    shell: Shell, client: Client, *, webhook: str, url: str | None, types: tuple[str, ...], pause: bool | None
) -> None:
    """Change a webhook, pause it, or let it go on."""
    asked = {"url": url, "types": list(types) or None, "active": None if pause is None else not pause}
    body = {name: value for name, value in asked.items() if value is not None}
    if not body:
        raise InvalidInput("nothing to change", hint="--url, --type, --pause or --go-on")
    found = _find(client, webhook)
    done = client.send("PATCH", f"/webhooks/{found['id']}", body=body)
    shell.show(done, text=f"webhook {found['id']} is {done['state']}")


@group.command("rotate", epilog=example("ringroad webhook rotate 7k3mfq2a"))
@click.argument("webhook")
@with_client
def rotate(shell: Shell, client: Client, *, webhook: str) -> None:
    """Make a new secret; for a day the one before signs as well.

    Prints the secret, now and never again.
    """
    found = _find(client, webhook)
    made = client.post(f"/webhooks/{found['id']}/secret")
    shell.show(made, text=f"webhook {made['id']}\nsecret, shown once: {made['secret']}\nfor a day both sign")


@group.command(
    "replay",
    epilog=example(
        "ringroad webhook replay 7k3mfq2a --event fact_01kaz...    (this one again)",
        "ringroad webhook replay 7k3mfq2a --after fact_01kaz...    (everything behind it)",
    ),
)
@click.argument("webhook")
@click.option("--event", help="The id of an event to send again, before what is next.")
@click.option(
    "--after", help="The id of an event: everything behind it is sent, again or for the first time."
)
@with_client
def replay(shell: Shell, client: Client, *, webhook: str, event: str | None, after: str | None) -> None:
    """Send events again."""
    if (event is None) == (after is None):
        raise InvalidInput("what is to be sent again?", hint="either --event or --after")
    found = _find(client, webhook)
    body = {"event": event} if event else {"after": after}
    done = client.post(f"/webhooks/{found['id']}/replay", body)
    shell.show(done, text=f"webhook {found['id']} sends {'it' if event else 'what is behind it'} again")


@group.command("delete", epilog=example("ringroad webhook delete 7k3mfq2a"))
@click.argument("webhook")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def delete(shell: Shell, client: Client, *, webhook: str, yes: bool) -> None:
    """Forget a webhook, its place in the ledger and its log."""
    found = _find(client, webhook)
    confirm(f"delete the webhook to {found['url']}?", yes=yes)
    done = client.send("DELETE", f"/webhooks/{found['id']}")
    shell.show(done, text=f"webhook {found['id']} is deleted")


def _find(client: Client, word: str) -> dict[str, Any]:
    found: dict[str, Any] = client.find("/webhooks", word, names=("url",))
    return found


def _state(row: Mapping[str, Any]) -> str:
    if row["state"] == "active" and row["failures"]:
        return "failing"
    return str(row["state"]) + (f" ({row['state_reason'].replace('_', ' ')})" if row["state_reason"] else "")
