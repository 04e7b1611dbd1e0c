"""`ringroad lap`: how long a lap took, stage by stage, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import click

from ringroad.adapt.verdict import measure_text
from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, patient, show_page, wait_for, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, span, table, tail, when
from ringroad.kernel.errors import NotFound


@click.group("lap", cls=ClientGroup)
def group() -> None:
    """Laps round the loop: lead times and outcomes."""


@group.command("list", epilog=example("ringroad lap list"))
@limited()
@with_client
def list_laps(shell: Shell, client: Client, *, limit: int, offset: int) -> None:
    """List laps, newest first."""
    rows = client.get("/laps", limit=limit, offset=offset)
    text = table(
        ("id", "title", "opened", "latest", "verdict"),
        (
            (
                tail(row["id"]),
                row["title"],
                when(row["opened_at"]),
                (row["latest_kind"] or "").replace(".", " ").replace("_", " "),
                row["verdict"],
            )
            for row in rows
        ),
        empty="no lap yet",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad lap show 7k3mfq2a", "ringroad lap show --wait 2m"))
@click.argument("lap", required=False)
@patient("its outcome")
@with_client
def show(shell: Shell, client: Client, *, lap: str | None, wait: str) -> None:
    """Show lead times per stage, rework and the outcome.

    LAP is an id, its end, or the title; default: the newest.
    """
    lap_id = lap if lap and lap.startswith("lap_") else _lap(client, lap)["id"]

    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.get("/outcomes", lap_id=lap_id, limit=20)
        return found

    outcomes = wait_for(shell, look, wait=wait, what="an outcome")
    report = client.get(f"/laps/{lap_id}")
    shell.show(report | {"outcomes": outcomes}, text=_text(report, outcomes))


def _lap(client: Client, named: str | None) -> dict[str, Any]:
    """Return the lap that was named, or the newest. Raises: NotFound, InvalidInput."""
    if named:
        found: dict[str, Any] = client.find("/laps", named, names=("title",))
        return found
    rows: list[dict[str, Any]] = client.get("/laps", limit=1)
    if not rows:
        raise NotFound("there is no lap yet", hint="a finding begins one")
    return rows[0]


def _text(report: Mapping[str, Any], outcomes: Sequence[Mapping[str, Any]]) -> str:
    ended = report["ended_at"]
    head = details(
        (
            ("lap", report["lap_id"]),
            ("started", exactly(report["started_at"])),
            ("ended", exactly(ended) if ended else f"still open at {exactly(report['measured_to'])}"),
            ("took", _span(report["elapsed_us"])),
        )
    )
    stages = table(
        ("stage", "took", "working", "waiting", "visits"),
        (
            (
                stage["stage"] + (" (now)" if stage["censored"] else ""),
                _span(stage["elapsed_us"]),
                _span(stage["working_us"]),
                _span(stage["waiting_us"]),
                stage["visits"],
            )
            for stage in report["stages"]
            if stage["visits"]
        ),
    )
    approvals, rework = report["approvals"], report["rework"]
    given = f"{approvals['given']} given, {approvals['refused']} refused, {approvals['pending']} pending"
    tail_ = details(
        (
            ("approvals", f"{given}; waited {_span(approvals['waiting_us'])}"),
            *(("", _approval(each)) for each in approvals["each"]),
            ("rework", [f"{name.replace('_', ' ')} {count}" for name, count in rework.items() if count]),
            *(
                (
                    "outcome",
                    f"{each['verdict'].replace('_', ' ')}, by campaign {each['campaign_name']}: {measure_text(each['measure'])}",
                )
                for each in outcomes
            ),
        )
    )
    return f"{head}\n\n{stages}\n\n{tail_}"


def _approval(each: Mapping[str, Any]) -> str:
    """Return which decision one of those counted was."""
    what = f"{each['kind'].replace('.', ' ').replace('_', ' ')} by {each['actor']}, {exactly(each['at'])}"
    return f"{what}: waits for a decision" if each["verdict"] == "pending" else what


def _span(microseconds: int) -> str:
    return span(timedelta(microseconds=microseconds))
