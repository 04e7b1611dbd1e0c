"""`ringroad schedule stop`, `resume` and `stops`: stations that stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import example, with_client
from ringroad.cli.names import programme_of
from ringroad.cli.schedule_text import current_schedule, latency_text
from ringroad.cli.shell import Shell
from ringroad.cli.tables import exactly, table
from ringroad.kernel.errors import NotFound
from ringroad.kernel.limits import PAGE_ROWS_MAX

_PROGRAMME = click.option("--programme", help="The vehicle programme; default: the only one.")


@click.command(
    "stop",
    epilog=example(
        "ringroad schedule stop roof --reason 'robot 3 lost its pressure' --minutes 20",
        "ringroad schedule stop roof --quality --only sunroof --reason 'glass cracks in the frame'",
    ),
)
@click.argument("station")
@_PROGRAMME
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--quality", is_flag=True, help="A quality stop, which an approver lifts; else a breakdown.")
@click.option(
    "--only", "options", metavar="OPTION", multiple=True,
    help="Only this option or variant cannot pass; its orders are held and the others go on.",
)  # fmt: skip
@click.option(
    "--minutes", type=click.IntRange(1, 10_080), help="How long it will stand; default: a repair of its own."
)
@with_client
def stop(
    shell: Shell,
    client: Client,
    *,
    station: str,
    programme: str | None,
    reason: str,
    quality: bool,
    options: tuple[str, ...],
    minutes: int | None,
) -> None:
    """Record that STATION stands; the line waits for it and replans."""
    programme = programme_of(client, programme)
    before = client.get(f"/programmes/{programme}/line-stops", only_open=True, limit=PAGE_ROWS_MAX)
    body: dict[str, Any] = {
        "station": station, "kind": "quality" if quality else "breakdown", "reason": reason, "options": list(options),
    }  # fmt: skip
    if minutes is not None:
        body["expected_s"] = 60 * minutes
    row = client.post(f"/programmes/{programme}/line-stops", body)
    who = f" for {', '.join(row['options'])}" if row["options"] else ""
    said = f"{station} stands{who}, {minutes_text(row['expected_s'])} min are expected"
    if row["id"] in {each["id"] for each in before}:
        said = f"{station} stood{who} before, told by {row['stopped_by']}: {row['reason']}; it is one stop and ends once"
    shell.show(row, text=f"{said}\n{latency_text(current_schedule(client, programme))}")


def minutes_text(seconds: int) -> str:
    """Return seconds as minutes, with no power of ten however many they are."""
    return f"{round(seconds / 60, 2):.12g}"


@click.command("resume", epilog=example("ringroad schedule resume roof"))
@click.argument("station")
@_PROGRAMME
@with_client
def resume(shell: Shell, client: Client, *, station: str, programme: str | None) -> None:
    """Record that STATION goes on; the line replans."""
    programme = programme_of(client, programme)
    standing = client.get(f"/programmes/{programme}/line-stops", only_open=True, limit=PAGE_ROWS_MAX)
    mine = [row for row in standing if row["station"] == station]
    if not mine:
        named = ", ".join(sorted({row["station"] for row in standing}))
        raise NotFound(f"{station} does not stand", hint=f"what stands: {named or 'nothing'}")
    rows = [client.post(f"/line-stops/{row['id']}/end", {}) for row in mine]
    said = "\n".join(f"{station} goes on, it stood {stood_text(row)}" for row in rows)
    shell.show(rows, text=f"{said}\n{latency_text(current_schedule(client, programme))}")


@click.command("stops", epilog=example("ringroad schedule stops --count 5"))
@_PROGRAMME
@click.option(
    "--count", type=click.IntRange(1, PAGE_ROWS_MAX), default=20, show_default=True, help="Stops to show."
)
@with_client
def stops(shell: Shell, client: Client, *, programme: str | None, count: int) -> None:
    """Show which stations stand or stood, and why."""
    rows = client.get(f"/programmes/{programme_of(client, programme)}/line-stops", limit=count)
    shell.show(rows, text=stops_text(rows))


def stops_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line per stop."""
    return table(
        ("began", "station", "", "stood", "for", "told by", "reason"),
        (
            (
                exactly(row["began_at"]), row["station"], row["kind"],
                stood_text(row) if row["ended_at"] else "stands", row["options"],
                "a station" if row["stopped_by"] == "system:mes" else row["stopped_by"], row["reason"],
            )
            for row in rows
        ), empty="no station stood",
    )  # fmt: skip


def stood_text(row: Mapping[str, Any]) -> str:
    """Return how long a stop lasted. Pure."""
    began, ended = (datetime.fromisoformat(row[key]) for key in ("began_at", "ended_at"))
    return f"{(ended - began).total_seconds() / 60:.1f} min"
