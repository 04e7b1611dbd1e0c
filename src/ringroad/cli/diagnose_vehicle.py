"""`ringroad diagnose updates`, `update`, `logs`: what a vehicle was assigned, letting it go on, and what it wrote down."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Any

import click
import msgspec

from ringroad.cli.client import Client
from ringroad.cli.diagnose_words import show_answer, tree
from ringroad.cli.groups import example, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, when
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.plurals import counted

WATCH_LOOK_S = 1.0  # s between two looks for what came; each asks the server, none the vehicle
WATCH_MORE_S = 15  # looks after the last reading is due

_VIN = click.argument("vin")


@click.command("updates", epilog=example("ringroad diagnose updates LRWRR0000DEMO0001"))
@_VIN
@click.option("--look", is_flag=True, help="Let the vehicle ask the Director now what it is assigned.")
@with_client
def updates(shell: Shell, client: Client, *, vin: str, look: bool) -> None:
    """List the updates that a vehicle knows, newest first: assigned, under way, and the 20 that ended last."""
    place = tree(vin, "updates")
    found = client.post(place, {}) if look else client.get(place)
    show_answer(
        shell, found,
        lambda: table(
            ("update", "release", "version", "state", "began", "ended", "why"),
            (
                (
                    row["id"], row.get("release"), row.get("version"), row["state"], when(row.get("began_at")),
                    when(row.get("ended_at")), _why(row),
                )
                for row in found["items"]
            ),
            whole=("why",),
            empty="this vehicle was assigned no update",
        ),
    )  # fmt: skip


@click.command(
    "update",
    epilog=example(
        "ringroad diagnose update LRWRR0000DEMO0001 7",
        "ringroad diagnose update LRWRR0000DEMO0001 7 --prepare",
        "ringroad diagnose update LRWRR0000DEMO0001 7 --execute --yes",
    ),
)
@_VIN
@click.argument("update_id")
@click.option("--prepare", is_flag=True, help="Let the vehicle get it ready now.")
@click.option("--execute", is_flag=True, help="Let the vehicle begin with it, now that it is ready.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@with_client
def update(
    shell: Shell, client: Client, *, vin: str, update_id: str, prepare: bool, execute: bool, yes: bool
) -> None:
    """Show one update of a vehicle, or let the vehicle go on with it.

    The vehicle verifies it, asks its driver and keeps its preconditions as ever; what it waits for is why it refuses.
    """
    if prepare and execute:
        raise InvalidInput("prepare or execute, not both")
    place = tree(vin, "updates", update_id)
    if not prepare and not execute:
        found = client.get(place)
    else:
        if execute and not yes and not click.confirm(f"Let {vin} install update {update_id} now?", err=True):
            raise InvalidInput("nothing was begun", hint="--yes begins without asking")
        found = client.send("PUT", f"{place}/{'prepare' if prepare else 'execute'}")
    show_answer(shell, found, lambda: _update_text(found))


@click.command(
    "watch",
    epilog=example("ringroad diagnose watch LRWRR0000DEMO0001 brake F186 F195 --interval 1 --seconds 30"),
)
@_VIN
@click.argument("ecu")
@click.argument("data", nargs=-1, required=True)
@click.option("--interval", default=1, show_default=True, help="Seconds between two readings, 60 at most.")
@click.option("--seconds", default=30, show_default=True, help="How long, 600 at most.")
@with_client
def watch(
    shell: Shell, client: Client, *, vin: str, ecu: str, data: tuple[str, ...], interval: int, seconds: int
) -> None:
    """Let an ECU's data be read again and again, and show it as it comes; it ends with your session."""
    place = tree(vin, "components", ecu, "cyclic-subscriptions")
    body = {"data": ",".join(data), "interval": interval, "duration": seconds}
    begun = client.post(place, body)
    if "tries" in begun:
        show_answer(shell, begun, lambda: "")
        return
    seen, told = 0, []
    for _ in range(seconds + WATCH_MORE_S):
        for event in client.get(f"{place}/{begun['id']}/events", after=seen):
            seen = event["number"]
            told.append(event)
            values = (
                f"{did} {each.get('value', each.get('error'))}" for did, each in event["values"].items()
            )
            if not shell.json:
                shell.say(f"{exactly(event['at'])}  {'  '.join(values)}")
        if seen >= -(-seconds // interval):
            break
        sleep(WATCH_LOOK_S)
    shell.show(told, text=f"{len(told)} readings")


@click.command(
    "logs",
    epilog=example(
        "ringroad diagnose logs LRWRR0000DEMO0001                    (what there is)",
        "ringroad diagnose logs LRWRR0000DEMO0001 journal --out journal.jsonl",
        "ringroad diagnose logs LRWRR0000DEMO0001 ecus brake",
    ),
)
@_VIN
@click.argument("category", required=False)
@click.argument("item", required=False)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it into this file.")
@with_client
def logs(
    shell: Shell, client: Client, *, vin: str, category: str | None, item: str | None, out: Path | None
) -> None:
    """Read a vehicle's journal, log, ring of signals, fault memories or visits of testers, one JSON value per line.

    Secrets and positions stay in the vehicle; of what is over 2 MiB the newest end is told.
    """
    if category is None:
        found = client.get(tree(vin, "bulk-data"))
        show_answer(
            shell, found,
            lambda: table(("category", "is"), ((r["id"], r["name"]) for r in found["items"]), whole=("is",)),
        )  # fmt: skip
        return
    if category == "ecus" and item is None:
        raise InvalidInput("of which ECU?", hint=f"ringroad diagnose logs {vin} ecus ECU")
    with client.open_bytes(tree(vin, "bulk-data", category, item or "newest")) as (headers, pieces):
        content = b"".join(pieces)
        kind = headers.get("content-type", "")
    if kind.startswith("application/json"):  # the vehicle is offline: the request waits
        show_answer(shell, msgspec.json.decode(content), lambda: "")
        return
    lines = lines_in(content)
    if out is not None:
        out.write_bytes(content)
        shell.show(
            {"lines": lines, "bytes": len(content)},
            text=f"{out}: {counted(lines, 'line')}, {counted(len(content), 'byte')}",
        )
        return
    told = [msgspec.json.decode(line) for line in content.splitlines()]
    shell.show(told, text=content.decode(errors="replace").rstrip())


def _why(update: Mapping[str, Any]) -> str:
    return ": ".join(str(update[key]) for key in ("code", "detail") if update.get(key))


def _update_text(found: Mapping[str, Any]) -> str:
    head = f"update {found['id']}: {found['state']}, {found['phase']} {found['status']}"
    if found.get("progress"):
        head += f", {found['progress']} %"
    lines = [head]
    if found.get("began_at") or found.get("ended_at"):
        times = (("began", found.get("began_at")), ("ended", found.get("ended_at")))
        lines.append(", ".join(f"{word} {when(at)}" for word, at in times if at))
    waits = found.get("waits_for")
    if waits:
        lines.append(f"waits: {waits['text']}")
    elif _why(found):
        lines.append(_why(found))
    if found.get("notes"):
        lines.append(str(found["notes"]))
    if found.get("components"):
        lines.append(
            table(
                ("ecu", "from", "to", "state", "why"),
                (
                    (
                        row["component"],
                        row["from_version"],
                        row["to_version"],
                        row["state"],
                        row.get("why", ""),
                    )
                    for row in found["components"]
                ),
            )
        )
    return "\n".join(lines)


def lines_in(content: bytes) -> int:
    """Return how many lines these are; the last one may have no end."""
    return content.count(b"\n") + (content[-1:] not in {b"", b"\n"})
