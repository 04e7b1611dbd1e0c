"""`ringroad lap`: how long a lap took, stage by stage, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, show_page, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, span, table, tail, when


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


@group.command("show", epilog=example("ringroad lap show 7k3mfq2a"))
@click.argument("lap")
@with_client
def show(shell: Shell, client: Client, *, lap: str) -> None:
    """Show lead times per stage, rework and the outcome."""
    lap_id = lap if lap.startswith("lap_") else client.find("/laps", lap, names=("title",))["id"]
    report = client.get(f"/laps/{lap_id}")
    outcomes = client.get("/outcomes", lap_id=lap_id, limit=20)
    shell.show(report | {"outcomes": outcomes}, text=_text(report, outcomes))


def _text(report: Mapping[str, Any], outcomes: list[Mapping[str, Any]]) -> str:
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
        ("stage", "took", "working", "waiting", "visits", ""),
        (
            (
                stage["stage"],
                _span(stage["elapsed_us"]),
                _span(stage["working_us"]),
                _span(stage["waiting_us"]),
                stage["visits"],
                "still in it" if stage["censored"] else "",
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
            ("rework", [f"{name.replace('_', ' ')} {count}" for name, count in rework.items() if count]),
            *(
                ("outcome", f"{each['verdict']}  {each['campaign_name']}, {exactly(each['measured_at'])}")
                for each in outcomes
            ),
        )
    )
    return f"{head}\n\n{stages}\n\n{tail_}"


def _span(microseconds: int) -> str:
    return span(timedelta(microseconds=microseconds))
