"""`ringroad plant tell`, `events` and `state`: what the stations of a line say, and where its vehicles are by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, example, read_text, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted
from ringroad.protocol.mes import MesEvent

FILE_BYTES_MAX = 16 * 1024**2
PER_REQUEST = 1_000
PROBLEMS_SHOWN = 20  # lines of a file that are no events
NAME_CHARS = 100  # of a station or an order that such a line names

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.command("tell", epilog=example("ringroad plant tell events.jsonl"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_PROGRAMME
@with_client
def tell(shell: Shell, client: Client, *, file: Path, programme: str | None) -> None:
    """Tell what stations did: FILE has an event on each line, in JSON.

    What cannot be changes nothing, and is kept with the reason: ringroad plant events --refused.
    With a line that is no event at all, nothing of FILE is taken.
    """
    programme = programme_of(client, programme)
    events = read_events(read_text(file, bytes_max=FILE_BYTES_MAX), filename=str(file))
    for first in range(0, len(events), PER_REQUEST):
        client.post(f"/programmes/{programme}/mes-events", {"events": events[first : first + PER_REQUEST]})
    text = f"{counted(len(events), 'event')} told; those that cannot be: ringroad plant events --refused"
    shell.show({"told": len(events)}, text=text)


@click.command(
    "events", epilog=example("ringroad plant events --station trim", "ringroad plant events --refused")
)
@_PROGRAMME
@click.option("--order", help="Only events of this order.")
@click.option("--station", help="Only events of this station.")
@click.option("--refused", is_flag=True, help="Those that cannot be, with the reason.")
@click.option("--count", type=click.IntRange(1, PAGE_ROWS_MAX), default=20, show_default=True)
@with_client
def events(
    shell: Shell, client: Client, *, programme: str | None, order: str | None, station: str | None,
    refused: bool, count: int,
) -> None:  # fmt: skip
    """Show the newest events of the line's stations."""
    programme = programme_of(client, programme)
    if refused:
        rows = client.get(f"/programmes/{programme}/refused-events", limit=count)
        told = [f"{exactly(each['received_at'])}  {each['code']}: {each['reason']}" for each in rows]
        text = "\n".join(told) or "no event was refused"  # in full: each says what to do
        shell.show(rows, text=text)
        return
    asked = {name: value for name, value in (("order_id", order), ("station", station)) if value}
    rows = client.get(f"/programmes/{programme}/mes-events", limit=count, **asked)
    text = table(
        ("at", "position", "station", "", "order", "what"),
        (
            (exactly(each["event"]["at"]), each["position"], each["event"]["station"], each["event"]["kind"],
             tail(each["event"].get("order_id")), _what(each["event"]))
            for each in rows
        ), empty="no station has said anything yet",
    )  # fmt: skip
    shell.show(rows, text=text)


@click.command(
    "state", epilog=example("ringroad plant state", "ringroad plant state --position 120 --with events.jsonl")
)
@_PROGRAMME
@click.option("--position", type=click.IntRange(0), help="After so many events; default: now.")
@click.option(
    "--with", "branch", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="And after these events, which did not happen; nothing is kept of them.",
)  # fmt: skip
@with_client
def state(
    shell: Shell, client: Client, *, programme: str | None, position: int | None, branch: Path | None
) -> int:
    """Show where the vehicles of the line are, and what stands.

    Exit status 1 when an event of FILE cannot be.
    """
    programme = programme_of(client, programme)
    refused: list[str] = []
    if branch is None:
        found = client.get(
            f"/programmes/{programme}/line-state", **({} if position is None else {"position": position})
        )
    else:
        told = read_events(read_text(branch, bytes_max=FILE_BYTES_MAX), filename=str(branch))
        body: dict[str, object] = {"events": told}
        if position is not None:
            body["position"] = position
        answer = client.post(f"/programmes/{programme}/line-state/branches", body)
        found, refused = answer["state"], answer["refused"]
    shell.show({"state": found, "refused": refused}, text=state_text(found, refused))
    return EXIT_NO if refused else 0


def state_text(found: Mapping[str, Any], refused: Sequence[str]) -> str:
    """Return a line's state, station by station."""
    rows = table(
        ("station", "in it", "behind it", "left", "passed", "failed", "stands"),
        (
            (each["name"], [tail(order) for order in each["inside"]], [tail(order) for order in each["behind"]],
             each["left"], each["passed"], each["failed"], each["stopped"] or "-")
            for each in found["stations"]
        ), empty="the line has no station",
    )  # fmt: skip
    said = f"after {counted(found['position'], 'event')}; {counted(found['built'], 'vehicle')} left the line"
    failed = [f"{tail(order)} failed {', '.join(checks)}" for order, checks in found["failed"].items()]
    return "\n".join([rows, "", said, *failed, *(f"cannot be: {reason}" for reason in refused)])


def read_events(source: str, *, filename: str) -> list[dict[str, Any]]:
    """Read events, one in JSON on each line. Raises: InvalidInput, naming each line that is none, up to a limit."""
    found = []
    problems = []
    for number, line in enumerate(source.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found.append(msgspec.to_builtins(msgspec.json.decode(line, type=MesEvent)))
        except msgspec.DecodeError as error:
            problems.append(f"{filename}:{number}: {_about(line)}{error}")
    if problems:
        more = [f"and {len(problems) - PROBLEMS_SHOWN} more"] if len(problems) > PROBLEMS_SHOWN else []
        raise InvalidInput(
            "\n".join(["no event of the file is taken:", *problems[:PROBLEMS_SHOWN], *more]),
            hint="docs/reference/mes-events.md describes every event",
        )
    if not found:
        raise InvalidInput(f"{filename} has no event")
    return found


class _About(msgspec.Struct, frozen=True):
    """What of a line that is no event may say what it is about."""

    station: Any = None
    order_id: Any = None


def _about(line: str) -> str:
    """Return the station and the order that a bad line names, as far as it does."""
    try:
        about = msgspec.json.decode(line, type=_About)
    except msgspec.DecodeError:
        return ""
    named = [("station", about.station), ("order", about.order_id)]
    words = ", ".join(f"{what} {str(name)[:NAME_CHARS]}" for what, name in named if name)
    return f"{words}: " if words else ""


def _what(event: Mapping[str, Any]) -> str:
    match event["kind"]:
        case "left":
            return f"worked {event['worked_s']:g} s" if "worked_s" in event else ""
        case "result":
            return f"{event['check']} {'passed' if event['passed'] else 'failed'}"
        case "used":
            return f"{event['part']} of lot {event['lot']}"
        case "stopped":
            return str(event["reason"])
        case _:
            return ""


commands = (tell, events, state)
