"""`ringroad schedule`: the line's sequence, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, read_text, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.plant_events import FILE_BYTES_MAX, read_events
from ringroad.cli.schedule_stops import resume, stop, stops
from ringroad.cli.schedule_text import current_schedule, latency_text
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, table, tail
from ringroad.kernel.errors import Unavailable
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted

ANSWER_S_MAX = 300.0  # seconds; the first answer on a machine compiles
ANSWER_LOOK_S = 0.25  # seconds between two looks
_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.group("schedule", cls=ClientGroup)
def group() -> None:
    """The line's schedule: sequence, blocked options, stations that stand, replanning."""


for command in (stop, resume, stops):
    group.add_command(command)


@group.command("show", epilog=example("ringroad schedule show --cars 20"))
@_PROGRAMME
@click.option(
    "--cars", type=click.IntRange(1, PAGE_ROWS_MAX), default=30, show_default=True, help="Cars to show."
)
@with_client
def show(shell: Shell, client: Client, *, programme: str | None, cars: int) -> None:
    """Show the current schedule: who is next, who waits and why."""
    programme = programme_of(client, programme)
    row = current_schedule(client, programme)
    orders = {each["id"]: each for each in client.get("/orders", programme_id=programme, limit=PAGE_ROWS_MAX)}
    said = client.get(f"/programmes/{programme}/schedule-checks", limit=1)
    shell.show(row | {"check": said[0] if said else None}, text=_text(row, orders, cars, said))


@group.command("times", epilog=example("ringroad schedule times --cars 20"))
@_PROGRAMME
@click.option(
    "--cars", type=click.IntRange(1, PAGE_ROWS_MAX), default=30, show_default=True, help="Cars to show."
)
@with_client
def times(shell: Shell, client: Client, *, programme: str | None, cars: int) -> None:
    """Show when cars enter and leave the line, and when it rests.

    At mean times, if nothing else stops; rests are those of the line's calendar in the plant document.
    """
    programme = programme_of(client, programme)
    row = client.get(f"/programmes/{programme}/line-times")
    shell.show(row, text=times_text(row, cars))


def times_text(row: Mapping[str, Any], cars: int) -> str:
    """Return when cars pass the line and when it rests. Pure."""
    by = f"by calendar {row['calendar']!r}, {row['time_zone']}" if row["calendar"] else "always"
    now = f"; it rests until {exactly(row['rests_until'])}" if row["rests_until"] else ""
    found = table(
        ("place", "order", "enters", "leaves", "due", ""),
        (
            (
                place, tail(each["order_id"]), exactly(each["enters_at"]) if each["enters_at"] else "on the line",
                exactly(each["leaves_at"]), exactly(each["due_at"]), "late" if each["late"] else "",
            )
            for place, each in enumerate(row["vehicles"][:cars], 1)
        ),
        empty="no car is to be built",
    )  # fmt: skip
    rests = [f"rests  {exactly(each['since'])} to {exactly(each['until'])}" for each in row["rests"]]
    return "\n\n".join(part for part in (f"the line works {by}{now}", found, "\n".join(rests)) if part)


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
    shell.show(done, text=f"{option} is blocked\n{latency_text(current_schedule(client, programme))}")


@group.command("unblock", epilog=example("ringroad schedule unblock sunroof"))
@click.argument("option")
@_PROGRAMME
@with_client
def unblock(shell: Shell, client: Client, *, option: str, programme: str | None) -> None:
    """Let the line build OPTION again; the line replans."""
    programme = programme_of(client, programme)
    done = client.post(f"/programmes/{programme}/unblocked-options", {"option": option})
    shell.show(done, text=f"{option} is not blocked\n{latency_text(current_schedule(client, programme))}")


@group.command("checks", epilog=example("ringroad schedule checks --count 5"))
@_PROGRAMME
@click.option(
    "--count", type=click.IntRange(1, PAGE_ROWS_MAX), default=10, show_default=True, help="Checks to show."
)
@with_client
def checks(shell: Shell, client: Client, *, programme: str | None, count: int) -> None:
    """Show what the twin said of schedules that cost less than the running one.

    Released ones took its place; the running one was kept where they were not better on the line.
    """
    programme = programme_of(client, programme)
    rows = client.get(f"/programmes/{programme}/schedule-checks", limit=count)
    shell.show(rows, text=_checks(rows))


@group.command(
    "what-if",
    epilog=example(
        "ringroad schedule what-if roof --minutes 30", "ringroad schedule what-if roof --position 120"
    ),
)
@click.argument("station")
@_PROGRAMME
@click.option(
    "--minutes",
    type=click.IntRange(1, 10_080),
    default=30,
    show_default=True,
    help="How long it would stand.",
)
@click.option("--position", type=click.IntRange(1), help="From the state after so many events; default: now.")
@click.option(
    "--with", "branch", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="And after these events, which did not happen; nothing is kept of them.",
)  # fmt: skip
@with_client
def what_if(
    shell: Shell, client: Client, *, station: str, programme: str | None, minutes: int, position: int | None,
    branch: Path | None,
) -> None:  # fmt: skip
    """Ask the twin what the schedule would do if STATION stood from now on, or from a state that was.

    Nothing follows from it; decide then.
    """
    programme = programme_of(client, programme)
    body: dict[str, object] = {"station": station, "down_s": 60 * minutes}
    if position is not None:
        body["position"] = position
    if branch is not None:
        body["events"] = read_events(read_text(branch, bytes_max=FILE_BYTES_MAX), filename=str(branch))
    asked = client.post(f"/programmes/{programme}/what-ifs", body)
    end_s = shell.clock.monotonic_s() + ANSWER_S_MAX
    while asked["answer"] is None:
        if shell.clock.monotonic_s() > end_s:
            raise Unavailable("the twin did not answer", hint="see that the worker runs: ringroad status")
        time.sleep(ANSWER_LOOK_S)
        rows = client.get(f"/programmes/{programme}/what-ifs", limit=100)
        asked = next((row for row in rows if row["id"] == asked["id"]), asked)
    shell.show(asked, text=_effect(asked))


def _effect(row: Mapping[str, Any]) -> str:
    answer = row["answer"]
    if answer["refused"]:
        return f"the twin cannot say: {answer['refused']}"
    late = counted(answer["late"], "order") + " in time now would be late at the 0.9 quantile"
    named = ", ".join(tail(each) for each in answer["late_named"])
    return (
        f"{row['station']} stands for {row['down_s'] // 60} min: the last of {counted(answer['vehicles'], 'car')} "
        f"leaves {answer['later_s'] / 60:.1f} min later\n{late}{f': {named}' if named else ''}"
    )


@group.command("replan", epilog=example("ringroad schedule replan"))
@_PROGRAMME
@with_client
def replan(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Plan the line again over the orders as they are now."""
    programme = programme_of(client, programme)
    row = client.post(f"/programmes/{programme}/replan", {})
    shell.show(row, text=latency_text(row))


def _checks(rows: Sequence[Mapping[str, Any]]) -> str:
    found = table(
        ("checked", "against", "", "better", "moved", "after"),
        (
            (
                exactly(row["checked_at"]), row["generation"], "released" if row["released"] else "kept",
                f"{row['better_permille'] / 10:.1f} %", f"{row['moved']} of {row['vehicles']}",
                f"{row['checked_us'] / 1e6:.2f} s",
            )
            for row in rows
        ), empty="nothing was checked yet: the worker checks what it finds better than the running schedule",
    )  # fmt: skip
    if not rows:
        return found
    newest = rows[0]["document"]
    said = [f"newest: {_verdict(rows[0])}"]
    if newest.get("source"):  # checks of an older server have none
        said.append(f"told by {newest['source']}")
    if newest["assumed"]:
        said.append(f"assumed: {'; '.join(newest['assumed'])}")
    return "\n\n".join((found, "\n".join(said)))


def _verdict(row: Mapping[str, Any]) -> str:
    if row["released"]:
        return f"released in place of generation {row['generation']}, {row['reason']}"
    return f"generation {row['generation']} stays, {row['reason']}"


def _text(
    row: Mapping[str, Any],
    orders: Mapping[str, Mapping[str, Any]],
    cars: int,
    checks: Sequence[Mapping[str, Any]],
) -> str:
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
            ("twin", [_verdict(each) for each in checks]),
            (
                "cars",
                f"{len(waiting)}, {sum(order['state'] == 'building' for order in waiting)} of them on the line",
            ),
            ("held", f"{len(document['held'])}"),
            ("violations", f"{document['violations']}"),
            ("late", f"{document['late_orders']}"),
            ("made late", [tail(each) for each in document.get("made_late", ())]),
            ("too early", document.get("early_orders") or ""),
            ("baseline", tail(document["baseline_release_id"])),
            ("blocked", [f"{option} ({reason})" for option, reason in document["blocked"].items()]),
            ("stands", [f"{station} ({why})" for station, why in document.get("stopped", {}).items()]),
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
