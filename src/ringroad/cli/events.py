"""`ringroad events`: what happens, as CloudEvents, in the order in which the ledger holds it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, with_client
from ringroad.cli.names import read_at
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.publish.cloudevent import PREFIX, families

BEGINNING: Final = "1970-01-01T00:00:00Z"  # before any fact
RETRY_S: Final = 2.0  # seconds between two attempts to take the stream up again
RETRIES_MAX: Final = 30  # attempts in a row without an event or a greeting; a restart takes a few
FROM_HELP: Final = "The id of an event, a time such as 2026-11-25T08:00:00Z or now-2h, or 'start'"
TYPE_HELP: Final = (
    "Only this type, for example campaign.halted, or all that begin alike: 'campaign.*'; may be repeated. "
    f"Types begin with {', '.join(families())}. What the gate of a campaign decides is campaign.*."
)


@click.group("events", cls=ClientGroup)
def group() -> None:
    """What happens, as CloudEvents."""


@group.command("list", epilog=example("ringroad events list --type 'campaign.*' --from 2026-11-25T08:00:00Z"))
@click.option("--from", "start", metavar="WHERE", default="start", show_default=True, help=f"{FROM_HELP}.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help=TYPE_HELP)
@click.option(
    "--limit",
    type=click.IntRange(1, PAGE_ROWS_MAX),
    default=50,
    show_default=True,
    help="Events to show.",
)
@with_client
def list_events(shell: Shell, client: Client, *, start: str, types: tuple[str, ...], limit: int) -> None:
    """List events, oldest first, behind where --from says."""
    rows = client.get("/cloudevents", limit=limit, type=list(types) or None, **_cursor(start))
    text = table(
        ("time", "type", "subject", "by", "id"),
        (
            (
                exactly(row["time"]),
                row["type"].removeprefix(PREFIX),
                tail(row["subject"]),
                row["data"]["actor"],
                row["id"],
            )
            for row in rows
        ),
        empty="no such event",
    )
    shell.show(rows, text=text)
    if len(rows) == limit and not shell.json:
        click.echo(f"the first {limit}; more with --from {rows[-1]['id']}", err=True)


@group.command(
    "follow",
    epilog=example(
        "ringroad events follow --type 'campaign.*'",
        "ringroad events follow --from start --json | jq -r .type      (one event a line)",
        "ringroad events follow --from fact_01kaz...                   (goes on behind the last you have)",
    ),
)
@click.option(
    "--from", "start", metavar="WHERE", default="now", show_default=True, help=f"{FROM_HELP}, or 'now'."
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help=TYPE_HELP)
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@with_client
def follow(shell: Shell, client: Client, *, start: str, types: tuple[str, ...], count: int | None) -> None:
    """Show events as they are recorded, until Ctrl-C.

    With --json each is one line of JSON.
    A connection that breaks is taken up again behind the last event shown.
    """
    cursor = {} if start == "now" else _cursor(start)
    for number, event in enumerate(_follow(client, list(types), cursor), start=1):
        click.echo(msgspec.json.encode(event).decode() if shell.json else _line(event))
        if number == count:
            return


def _follow(client: Client, types: list[str], cursor: Mapping[str, str | None]) -> Iterator[dict[str, Any]]:
    """Yield events without an end. Raises: Unavailable, when the server stays away."""
    last, failed = "", 0
    while True:
        headers, asked = ({"Last-Event-ID": last}, {}) if last else ({}, dict(cursor))
        try:
            with client.open_lines(
                "/cloudevents/stream", headers=headers, type=types or None, **asked
            ) as lines:
                for line in lines:
                    failed = 0
                    if line.startswith("id: "):  # also of the greeting: what was recorded before we came
                        last = line.removeprefix("id: ")
                    elif line.startswith("data: "):
                        yield msgspec.json.decode(line.removeprefix("data: "))
        except Unavailable:
            failed += 1
            if failed == RETRIES_MAX or not last:
                raise
        time.sleep(RETRY_S)


def _cursor(start: str) -> dict[str, str | None]:
    """Return what to ask the server for. Raises: InvalidInput."""
    if start == "start":
        return {"since": BEGINNING}
    if start.startswith("fact_"):
        return {"after": start}
    try:
        at = datetime.fromisoformat(read_at(start))
    except InvalidInput as error:
        raise InvalidInput(f"{start!r} is neither an event nor a time", hint=FROM_HELP.lower()) from error
    return {"since": at.astimezone(UTC).isoformat()}


def _line(event: Mapping[str, Any]) -> str:
    at = datetime.fromisoformat(event["time"]).astimezone(UTC)
    data = event["data"]
    plain = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in data["body"].items()
        if isinstance(value, str | int) and not isinstance(value, bool) and 0 < len(str(value)) <= 60
    ]
    what = event["type"].removeprefix(PREFIX)
    return "  ".join(
        (f"{at:%H:%M:%S}", f"{what:<24}", event["subject"], f"by {data['actor']}", ", ".join(plain[:3]))
    ).rstrip()
