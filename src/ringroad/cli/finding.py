"""`ringroad finding`: what the field says, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from ringroad.cli.client import Client
from ringroad.cli.groups import ClientGroup, example, limited, patient, show_page, wait_for, with_client
from ringroad.cli.shell import Shell
from ringroad.cli.tables import details, exactly, span, table, tail, when
from ringroad.kernel.errors import InvalidInput, NotFound

HOUR_US = 3_600 * 1_000_000


@click.group("finding", cls=ClientGroup)
def group() -> None:
    """Findings: what the field says, with the evidence for it."""


@group.command("list", epilog=example("ringroad finding list --state open"))
@click.option(
    "--state", type=click.Choice(["open", "accepted", "rejected", "closed"]), help="Only in this state."
)
@patient("the first one")
@limited()
@with_client
def list_findings(
    shell: Shell, client: Client, *, state: str | None, wait: str, limit: int, offset: int
) -> None:
    """List findings, newest first."""

    def look() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = client.get("/findings", state=state, limit=limit, offset=offset)
        return rows

    rows = wait_for(shell, look, wait=wait, what="a finding")
    text = table(
        ("id", "title", "ecu", "version", "fault", "state", "change", "verdict", "opened"),
        (
            (
                tail(row["id"]),
                row["title"],
                row["ecu"],
                row["software_version"],
                row["fault_code"],
                row["state"],
                row["change_state"],
                row["verdict"],
                when(row["opened_at"]),
            )
            for row in rows
        ),
        empty="no finding",
    )
    show_page(shell, rows, text=text, limit=limit, offset=offset)


@group.command("show", epilog=example("ringroad finding show 7k3mfq2a"))
@click.argument("finding")
@with_client
def show(shell: Shell, client: Client, *, finding: str) -> None:
    """Show a finding with its evidence.

    FINDING is an id, its end, or the title.
    """
    row = client.find("/findings", finding, names=("title",))
    text = details(
        (
            ("finding", row["id"]),
            ("title", row["title"]),
            ("state", f"{row['state']}: {row['state_reason']}" if row["state_reason"] else row["state"]),
            ("programme", row["programme_id"]),
            ("ecu", f"{row['ecu']} {row['software_version']}"),
            ("fault", f"{row['fault_code']} {row.get('fault_name') or ''}".rstrip()),
            ("opened", exactly(row["opened_at"])),
            ("change", f"{row['change_id']} ({row['change_state']})" if row["change_id"] else ""),
            ("verdict", row["verdict"]),
            ("lap", row["lap_id"]),
        )
    )
    evidence = _evidence(row["evidence"])
    shell.show(row, text=f"{text}\n\n{evidence}" if evidence else text)


@group.command(
    "accept",
    epilog=example(
        "ringroad finding accept 7k3mfq2a --title 'Debounce wheel speed' --target 'C0035 below 1.1.0'"
    ),
)
@click.argument("finding", required=False)
@click.option("--title", required=True, help="The change that answers it.")
@click.option("--target", required=True, help="What must be true afterwards.")
@click.option("--ecu", help="Where it is changed; default: the finding's ECU.")
@with_client
def accept(
    shell: Shell, client: Client, *, finding: str | None, title: str, target: str, ecu: str | None
) -> None:
    """Accept a finding and propose the change that answers it.

    FINDING is an id, its end, or the title; default: the only open one.
    """
    row = client.find("/findings", finding, names=("title",)) if finding else _only_open(client)
    body = {"title": title, "target": target, "generation": row["generation"]} | ({"ecu": ecu} if ecu else {})
    done = client.post(f"/findings/{row['id']}/accept", body)
    shell.show(
        done,
        text=f"change {done['id']} is {done['state']}\nnext: ringroad change approve {tail(done['id'])}",
    )


@group.command("reject", epilog=example("ringroad finding reject 7k3mfq2a --reason 'test vehicles'"))
@click.argument("finding")
@click.option("--reason", required=True, help="Why, for the record.")
@with_client
def reject(shell: Shell, client: Client, *, finding: str, reason: str) -> None:
    """Reject a finding; its evidence so far is spent."""
    row = client.find("/findings", finding, names=("title",))
    done = client.post(f"/findings/{row['id']}/reject", {"reason": reason, "generation": row["generation"]})
    shell.show(done, text=f"finding {done['id']} is {done['state']}")


def _only_open(client: Client) -> dict[str, Any]:
    """Return the only open finding. Raises: NotFound, InvalidInput."""
    rows: list[dict[str, Any]] = client.get("/findings", state="open", limit=20)
    if not rows:
        raise NotFound("no finding is open", hint="ringroad finding list shows all")
    if len(rows) > 1:
        raise InvalidInput(
            f"{len(rows)} findings are open", hint=f"name one: {', '.join(tail(row['id']) for row in rows)}"
        )
    return rows[0]


def _evidence(evidence: Mapping[str, Any]) -> str:
    """Return the counts a person decides on; whatever else there is stands in --json."""
    arms = [arm for arm in evidence.get("versions", []) if isinstance(arm, Mapping)]
    counts = table(
        ("version", "vehicles", "with fault", "time at risk", "per 1000 h"),
        (
            (
                arm.get("software_version", ""),
                arm.get("vehicles_exposed", ""),
                arm.get("vehicles_with_fault", ""),
                span(timedelta(microseconds=arm.get("exposure_us", 0))),
                _rate(arm),
            )
            for arm in arms
        ),
        empty="",
    )
    ratio = evidence.get("ratio")
    words = ""
    if isinstance(ratio, Mapping) and isinstance(ratio.get("point_milli"), int):
        words = f"rate ratio {ratio['point_milli'] / 1000:.1f}"
        if isinstance(ratio.get("low_milli"), int):
            high = f"{ratio['high_milli'] / 1000:.1f}" if isinstance(ratio.get("high_milli"), int) else "open"
            words += f" ({ratio['low_milli'] / 1000:.1f} to {high})"
    return "\n".join(part for part in (counts, words) if part)


def _rate(arm: Mapping[str, Any]) -> str:
    hours = arm.get("exposure_us", 0) / HOUR_US
    return f"{1000 * arm.get('vehicles_with_fault', 0) / hours:.1f}" if hours else ""
