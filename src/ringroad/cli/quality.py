"""`ringroad quality`: first-pass yield, alarms, gates and results of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ringroad.cli import quality_inspect
from ringroad.cli.client import Client
from ringroad.cli.groups import EXIT_NO, ClientGroup, example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table, tail
from ringroad.kernel.errors import Conflict, InvalidInput, NotFound
from ringroad.kernel.plurals import counted

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")
ROWS_SHOWN = 15  # worst things of a kind
TIMES_MIN = 1.05  # as often as its station, from which a thing is worth a line


@click.group("quality", cls=ClientGroup)
def group() -> None:
    """Quality of a plant: which vehicles are right at once, what fails too often, and what gates let pass."""


for _command in quality_inspect.commands:
    group.add_command(_command)


@group.command("yield", epilog=example("ringroad quality yield", "ringroad quality yield --days 7"))
@click.option(
    "--days", type=click.IntRange(1, 365), default=30, show_default=True, help="Results of the last days."
)
@_PROGRAMME
@with_client
def show_yield(shell: Shell, client: Client, *, days: int, programme: str | None) -> None:
    """Show how many vehicles are right at once, by station, and what fails more often than its station.

    Small counts are pooled with what they belong to; between says where the share is, nine times of ten.
    """
    found = client.get(f"/programmes/{programme_of(client, programme)}/yields", days=days)
    shell.show(found, text=yield_text(found))


@group.command("alarms", epilog=example("ringroad quality alarms", "ringroad quality alarms --all"))
@click.option("--all", "every", is_flag=True, help="Closed ones as well.")
@_PROGRAMME
@with_client
def alarms(shell: Shell, client: Client, *, every: bool, programme: str | None) -> int:
    """Show what fails more often than before. Exit status 1 when something does.

    One plant has a false alarm at all with a probability of 5 %, however long it is watched.
    """
    rows = client.get(f"/programmes/{programme_of(client, programme)}/quality-alarms", only_open=not every)
    shell.show(rows, text=alarms_text(rows))
    return EXIT_NO if any(row["closed_at"] is None for row in rows) else 0


@group.command("close", epilog=example("ringroad quality close 7k3mfq2a --reason 'lot B-17 sent back'"))
@click.argument("alarm")
@click.option("--reason", required=True, help="What was wrong, and what was done.")
@_PROGRAMME
@with_client
def close(shell: Shell, client: Client, *, alarm: str, reason: str, programme: str | None) -> None:
    """Close ALARM, its id or its end: what it counted is over, and its station is watched anew."""
    path = f"/programmes/{programme_of(client, programme)}/quality-alarms"
    alarm_id = alarm if alarm.startswith("alarm_") else client.find(path, alarm)["id"]
    row = client.post(f"/quality-alarms/{alarm_id}/close", {"reason": reason})
    shell.show(row, text=f"closed: {row['says']}")


@group.command("results", epilog=example("ringroad quality results", "ringroad quality results 7k3mfq2a"))
@click.argument("vehicle", required=False)
@click.option("--station", help="Only results of this station.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Rows to show.")
@_PROGRAMME
@with_client
def results(
    shell: Shell,
    client: Client,
    *,
    vehicle: str | None,
    station: str | None,
    limit: int,
    programme: str | None,
) -> None:
    """Show results of checks, newest first: of all vehicles, or of VEHICLE, an order or a VIN."""
    given = {"vehicle": vehicle, "station": station}
    rows = client.get(
        f"/programmes/{programme_of(client, programme)}/station-results",
        limit=limit, **{name: value for name, value in given.items() if value},
    )  # fmt: skip
    shell.show(rows, text=results_text(rows))


@group.command("gates", epilog=example("ringroad quality gates"))
@_PROGRAMME
@with_client
def gates(shell: Shell, client: Client, *, programme: str | None) -> None:
    """Show the quality gates of the line: what escapes each, what it inspects, and what it should."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/gates")
    shell.show(rows, text=gates_text(rows))


@group.command(
    "rate", epilog=example("ringroad quality rate 'end of line' --as-proposed --reason 'a bad lot'")
)
@click.argument("gate")
@click.argument("share", type=click.FloatRange(0, 1), required=False)
@click.option(
    "--as-proposed", is_flag=True, help="All of the kinds that the proposal names, and so many others."
)
@click.option("--reason", required=True, help="Why, for the record.")
@_PROGRAMME
@with_client
def rate(
    shell: Shell, client: Client, *, gate: str, share: float | None, as_proposed: bool, reason: str,
    programme: str | None,
) -> None:  # fmt: skip
    """Let GATE inspect SHARE of vehicles by chance, from 0 to 1, or what is proposed; an approver's word.

    The plant document says so from now on, with the counts that it rests on.
    """
    if (share is None) != as_proposed:
        raise InvalidInput("either SHARE or --as-proposed says how many vehicles the gate inspects")
    path = f"/programmes/{programme_of(client, programme)}/gates"
    found = [row for row in client.get(path) if row["gate"] == gate]
    if len(found) != 1:
        raise NotFound(f"there is no one gate {gate!r}", hint="ringroad quality gates shows all")
    (row,) = found
    if as_proposed and not row["changes"]:
        raise Conflict(
            f"gate {gate!r} has no proposal that is worth a decision", hint="ringroad quality gates says why"
        )
    body = {
        "station": row["station"], "gate": gate, "inspect_permille": row["others_permille"] if share is None else round(1000 * share),
        "all_of": [each["key"] for each in row["all_of"]] if as_proposed else [],
        "generation": row["generation"], "reason": reason,
    }  # fmt: skip
    rows = client.post(f"{path}/rate", body)
    shell.show(rows, text=gates_text(rows))


def gates_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return gates, each with its proposal and why."""
    if not rows:
        return "the line has no gate; gates stand in the plant document: ringroad plant import, ringroad plant choose"
    lines: list[str] = []
    for row in rows:
        escape = f"{_percent(row['escape_rate'])} ({_percent(row['escape_low'])} to {_percent(row['escape_high'])})"
        lines.append(
            f"{row['gate']} at {row['station']}: inspects {row['inspect_permille'] / 10:g} %, {row['refused']} of"
            f" {row['inspected']} refused, {row['missed'] + row['slipped']} of {row['left']} escaped, which is {escape}"
        )
        lines += [f"    and all of {kind['says']}" for kind in row["inspects_all"]]
        if row["decided"]:
            lines.append(f"    so decided: {row['decided']}")
        if row["changes"]:
            lines.append(
                f"    should inspect {row['proposed_permille'] / 10:g} %: of 1,000 vehicles an estimated"
                f" {row['escapes_then']:.2f} would escape instead of {row['escapes_now']:.2f}, at a cost of {row['cost_then']:.0f} instead of"
                f" {row['cost_now']:.0f}"
            )
        lines += [f"    {reason}" for reason in row["reasons"]]
        if row["changes"]:
            lines += [f"    should inspect all of {kind['says']}: {kind['why']}" for kind in row["all_of"]]
    return "\n".join(lines)


def yield_text(found: Mapping[str, Any]) -> str:
    """Return yields as tables: stations, then what fails more often than its station."""
    stations = [row for row in found["levels"] if row["kind"] == "station"]
    if not stations:
        return "no check has told a result yet; ringroad plant run does, or POST station-results"
    shown = table(
        ("station", "vehicles", "failed", "right at once", "between"),
        (
            (row["station"], row["vehicles"], row["failed"], _percent(row["first_pass"]), _between(row))
            for row in stations
        ),
        empty="",
    )
    worse = sorted(
        (row for row in found["levels"] if row["kind"] != "station" and row["times"] >= TIMES_MIN),
        key=lambda row: -row["times"],
    )[:ROWS_SHOWN]
    rolled = f"right at once at every station: {_percent(found['rolled'])}"
    rolled += f" ({_percent(found['rolled_low'])} to {_percent(found['rolled_high'])})"
    lines = [shown, "", rolled]
    if worse:
        rows = (
            (row["station"], f"{row['kind']} {row['value']}", row["vehicles"], row["failed"],
             _percent(row["first_pass"]), _between(row), f"{row['times']:.1f}×")
            for row in worse
        )  # fmt: skip
        head = ("station", "of it", "vehicles", "failed", "right at once", "between", "fails")
        lines += ["", table(head, rows, empty="")]
    return "\n".join(lines)


def alarms_text(rows: list[Mapping[str, Any]]) -> str:
    """Return alarms, each with what can be done."""
    if not rows:
        return "nothing fails more often than before"
    lines: list[str] = []
    for row in rows:
        lines.append(f"{tail(row['id'])}  {exactly(row['opened_at'])}  {row['says']}")
        if row["closed_at"] is not None:
            lines.append(f"    closed by {row['closed_by']}: {row['reason']}")
        elif row["finding_id"]:
            lines.append(f"    it opened a finding: ringroad finding show {tail(row['finding_id'])}")
        else:
            only = "".join(f" --only {each}" for each in row["offer"]["options"])
            lines.append(
                f"    to stop it: ringroad schedule stop {row['station']} --quality{only} --reason ..."
            )
    standing = sum(row["closed_at"] is None for row in rows)
    if standing:
        lines += [
            "",
            f"{counted(standing, 'alarm')} stand; ringroad quality close ALARM --reason ... ends one",
        ]
    return "\n".join(lines)


def results_text(rows: list[Mapping[str, Any]]) -> str:
    """Return results as a table."""
    return table(
        ("at", "vehicle", "station", "check", "gate", "outcome", "software", "lots"),
        (
            (
                exactly(row["at"]), tail(row["vehicle"]) if row["order_id"] else row["vehicle"], row["station"],
                row["check"], row["gate"] or "-", row["outcome"].replace("_", " "), row["software"] or "-",
                ", ".join(f"{part}={lot}" for part, lot in row["lots"].items()) or "-",
            )
            for row in rows
        ),
        empty="no check has told a result yet",
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _between(row: Mapping[str, Any]) -> str:
    return f"{100 * row['low']:.1f}–{100 * row['high']:.1f} %"
