"""`ringroad logistics`: parts on their way to the line, and when they will be there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, ClientGroup, example, with_client
from ringroad.cli.logistics_stock import dispatch, slots, stock
from ringroad.cli.names import programme_of, read_at
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.clock import SystemClock, SystemIds
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX
from ringroad.kernel.plurals import counted
from ringroad.sim.legs import sample_past

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")

FILE_BYTES_MAX: Final = 50_000_000  # of a file of shipments and milestones
BATCH: Final = 1_000  # shipments or milestones in one request
SAMPLE_MAX: Final = 5_000  # shipments of a made-up past
STAGES: Final[Mapping[str, str]] = {"planned": "planned", "departed": "departed", "at_hub": "at its hub"}


@click.group("logistics", cls=ClientGroup)
def group() -> None:
    """Parts on their way to the line, and when they will be there."""


for _command in (stock, slots, dispatch):
    group.add_command(_command)


@group.command("legs", epilog=example("ringroad logistics legs"))
@_PROGRAMME
@with_client
def legs(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show the legs and AGV fleets of the plant, with what they bring and their milestones."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/logistics")["ways"]
    text = table(
        ("leg", "class", "brings", "milestones"),
        ((row["name"], row["leg_class"], row["parts"] or "anything", row["milestones"]) for row in rows),
        empty="the plant has no legs; they stand in its document: ringroad plant import, ringroad plant choose",
    )
    shell.show(rows, text=text)


@group.command(
    "announce",
    epilog=example(
        "ringroad logistics announce S-17 --leg 'tow bars by sea' --part tow_bar --order 7k3mfq2a"
        " --at 2027-01-04T06:00 --at 2027-01-05T18:00 --at 2027-01-22T09:00 --at 2027-01-23T06:00",
    ),
)
@click.argument("name")
@click.option("--leg", required=True, help="That it goes by; or the fleet of AGVs.")
@click.option("--part", required=True, help="What it brings.")
@click.option(
    "--order", "orders", multiple=True, help="An order that waits for it: its id or its end; may be repeated."
)
@click.option(
    "--at", "planned", metavar="TIME", multiple=True, required=True,
    help="When it is to reach each milestone, in order: 2027-01-05T18:00, or now-3h, now+2d.",
)  # fmt: skip
@_PROGRAMME
@with_client
def announce(
    shell: Shell,
    client: Client,
    *,
    name: str,
    leg: str,
    part: str,
    orders: tuple[str, ...],
    planned: tuple[str, ...],
    programme: str | None,
) -> None:
    """Announce shipment NAME: what it brings, by which leg, when, and who waits for it."""
    body = {
        "name": name, "leg": leg, "part": part, "planned": [read_at(at) for at in planned],
        "order_ids": [each if each.startswith("order_") else client.find("/orders", each)["id"] for each in orders],
    }  # fmt: skip
    (row,) = client.post(f"/programmes/{programme_of(client, programme)}/shipments", {"shipments": [body]})
    waits = f", {counted(len(row['order_ids']), 'order', 'wait')} for it" if row["order_ids"] else ""
    shell.show(
        row, text=f"{name}: {part} by {leg}, due {exactly(row['milestones'][-1]['planned_at'])}{waits}"
    )


@group.command("told", epilog=example("ringroad logistics told S-17 'left supplier'"))
@click.argument("name")
@click.argument("milestone")
@click.option(
    "--at", metavar="TIME", default="now", show_default=True, help="When: 2027-01-05T18:00, or now-3h."
)
@click.option("--event", default="", help="The sender's own id of the event; told twice it counts once.")
@_PROGRAMME
@with_client
def told(
    shell: Shell,
    client: Client,
    *,
    name: str,
    milestone: str,
    at: str,
    event: str,
    programme: str | None,
) -> None:
    """Tell that shipment NAME reached MILESTONE."""
    event_id = event or SystemIds().new("told")
    body = {"id": event_id, "shipment": name, "milestone": milestone, "at": read_at(at)}
    found = client.post(f"/programmes/{programme_of(client, programme)}/milestones", {"milestones": [body]})
    if found["refused"]:
        raise InvalidInput(found["refused"][0]["reason"], hint="the running schedule stays")
    shell.show(found, text=f"{name}: {milestone}{', as was told before' if found['repeated'] else ''}")


@group.command("lost", epilog=example("ringroad logistics lost S-17 --reason 'container went overboard'"))
@click.argument("name")
@click.option("--reason", required=True, help="Why, for the record.")
@_PROGRAMME
@with_client
def lost(shell: Shell, client: Client, *, name: str, reason: str, programme: str | None) -> None:
    """Say that shipment NAME never arrives; its orders are held until another is announced for them."""
    rows = _open(client, programme_of(client, programme))
    row = next((each for each in rows if each["name"] == name), None)
    if row is None:
        raise NotFound(f"no shipment {name!r} is on its way", hint="ringroad logistics list")
    row = client.post(f"/shipments/{row['id']}/lost", {"reason": reason})
    shell.show(
        row,
        text=f"{name} is lost, {counted(len(row['order_ids']), 'order', 'are')} held until another is announced for them",
    )


@group.command("list", epilog=example("ringroad logistics list --late"))
@click.option("--late", is_flag=True, help="Only what is late more often than not.")
@_PROGRAMME
@with_client
def list_shipments(shell: Shell, client: Client, *, late: bool, programme: str | None) -> None:
    """Show what is on its way, and when it is expected."""
    rows = _open(client, programme_of(client, programme))
    if late:
        rows = [row for row in rows if row["expected"] and row["expected"]["late"]]
    shell.show(rows, text=shipments_text(rows))


@group.command("skill", epilog=example("ringroad logistics skill"))
@_PROGRAMME
@with_client
def skill(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show how well arrivals are known at each stage, against the route's median, and the coverage by class."""
    found = client.get(f"/programmes/{programme_of(client, programme)}/logistics")
    shell.show(found, text=skill_text(found["stages"], found["arrived"]))


@group.command("refused", epilog=example("ringroad logistics refused"))
@_PROGRAMME
@with_client
def refused(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show milestones that were not believed, and why."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/logistics")["refused"]
    text = table(
        ("told", "shipment", "milestone", "why"),
        ((exactly(row["refused_at"]), row["shipment"], row["milestone"], row["reason"]) for row in rows),
        empty="no milestone was refused",
    )
    shell.show(rows, text=text)


@group.command("import", epilog=example("ringroad logistics import shipments.json"))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_PROGRAMME
@with_client
def import_file(shell: Shell, client: Client, *, file: Path, programme: str | None) -> None:
    """Announce the shipments of FILE and tell their milestones.

    FILE is JSON: `shipments` and `milestones`, each as the API takes them. What was imported before counts once.
    """
    document = read_file(file)
    programme = programme_of(client, programme)
    for start in range(0, len(document["shipments"]), BATCH):
        body = {"shipments": document["shipments"][start : start + BATCH]}
        client.post(f"/programmes/{programme}/shipments", body)
    total: dict[str, Any] = {
        "shipments": len(document["shipments"]),
        "taken": 0,
        "repeated": 0,
        "refused": [],
    }
    for start in range(0, len(document["milestones"]), BATCH):
        body = {"milestones": document["milestones"][start : start + BATCH]}
        found = client.post(f"/programmes/{programme}/milestones", body)
        for key in ("taken", "repeated", "refused"):
            total[key] += found[key]
    said = f"{total['shipments']} shipments, {total['taken']} milestones, {total['repeated']} known before"
    why = "".join(f"\nrefused: {each['reason']}" for each in total["refused"])
    shell.show(total, text=said + why)
    if total["refused"]:
        raise SystemExit(EXIT_NO)


@group.command("sample", epilog=example("ringroad logistics sample legs.json --leg 'tow bars by sea'"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--leg", required=True, help="A leg of the plant.")
@click.option(
    "--count", type=click.IntRange(1, SAMPLE_MAX), default=320, show_default=True, help="Shipments."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of their luck.")
@_PROGRAMME
@with_client
def sample(
    shell: Shell, client: Client, *, file: Path, leg: str, count: int, seed: int, programme: str | None
) -> None:
    """Write a made-up past of a leg into FILE, to try things with; `import` takes it."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/logistics")["ways"]
    way = next((row for row in rows if row["name"] == leg), None)
    if way is None:
        raise NotFound(f"the plant has no leg {leg!r}", hint="ringroad logistics legs")
    document = sample_past(
        leg,
        (way["parts"] or ["parts"])[0],
        way["milestones"],
        count=count,
        seed=seed,
        until=SystemClock().now(),
    )
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    shell.show({"file": str(file)}, text=f"{count} shipments by {leg} in {file}; none of them is real")


def read_file(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the shipments and milestones of a file. Raises: InvalidInput."""
    if file.stat().st_size > FILE_BYTES_MAX:
        raise InvalidInput(f"{file} is larger than {FILE_BYTES_MAX} bytes", hint="import it in parts")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{file} is no JSON: {error}") from error
    rows = {
        key: document.get(key, []) if isinstance(document, dict) else None
        for key in ("shipments", "milestones")
    }
    for key, value in rows.items():
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise InvalidInput(f"{file} has no list {key!r}")
    return {key: list(value or []) for key, value in rows.items()}


def shipments_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line per shipment. Pure."""
    return table(
        ("shipment", "part", "leg", "state", "due", "expected", "nine of ten", "", "orders"),
        (
            (
                row["name"], row["part"], row["leg"], row["state"], exactly(row["milestones"][-1]["planned_at"]),
                *expected_text(row["expected"]), ", ".join(tail(each) for each in row["order_ids"]) or "-",
            )
            for row in rows
        ), empty="nothing is on its way",
    )  # fmt: skip


def expected_text(expected: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """Return the median, the 90 % interval, and whether it is late. Pure."""
    if expected is None:
        return "not yet said", "", ""
    at = dict(expected["quantiles"])
    median = next((when for level, when in at.items() if level >= 500), None)
    if median is None:
        return "nobody can say", "", "overdue" if expected["overdue"] else ""
    late = f"{expected['late_min']:.0f} min late" if expected["late"] else "in time"
    low, high = at.get(50), at.get(950)
    between = f"{exactly(low)[5:16]} to {exactly(high)[5:16]}" if low and high else "as planned"
    return exactly(median), between, late


def skill_text(stages: Sequence[Mapping[str, Any]], arrived: int) -> str:
    """Return a line per stage, and what follows from it. Pure."""
    text = table(
        ("known when", "legs", "model", "skill", "at least", "error", "of the route", "worst class", "covered"),
        (
            (
                STAGES[row["stage"]], row["legs"], row["model"] if row["shown"] else "hidden",
                f"{100 * row['skill']:.1f} %", f"{100 * row['skill_low']:.1f} %", f"{row['error_min']:.1f} min",
                f"{row['route_error_min']:.1f} min", *_worst(row["coverage"]),
            )
            for row in stages
        ), empty=f"{arrived} shipments arrived, too few to say",
    )  # fmt: skip
    if any(row["stage"] == "planned" and not row["shown"] for row in stages):
        text += "\n\nwhen a leg is planned there is no skill beyond what its route does: milestones tell more"
    return text


def _worst(coverage: Mapping[str, float]) -> tuple[str, str]:
    worst = min(coverage, key=lambda name: coverage[name], default=None)
    return (worst, f"{100 * coverage[worst]:.1f} %") if worst is not None else ("-", "-")


def _open(client: Client, programme: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get(
        f"/programmes/{programme}/shipments", only_open=True, limit=PAGE_ROWS_MAX
    )
    return rows
