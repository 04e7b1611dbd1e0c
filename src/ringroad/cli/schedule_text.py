"""A programme's schedule, asked for and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ringroad.cli.client import Client
from ringroad.cli.tables import tail
from ringroad.kernel.errors import NotFound
from ringroad.kernel.plurals import counted

NAMED_MAX: Final = 5  # orders


def current_schedule(client: Client, programme: str) -> dict[str, Any]:
    """Return a programme's schedule. Raises: NotFound before the first."""
    rows = client.get(f"/programmes/{programme}/schedules", limit=1)
    if not rows:
        raise NotFound(f"{programme} has no schedule yet", hint="it gets one with its first order")
    row: dict[str, Any] = rows[0]
    return row


def latency_text(row: Mapping[str, Any]) -> str:
    """Return what a replan made, and how long that took. Pure."""
    document = row["document"]
    made = made_late_text(document.get("made_late", ()))
    return (
        f"schedule {row['generation']}: {counted(len(document['sequence']), 'car')}, {len(document['held'])} held, "
        f"replanned in {row['replan_latency_us'] / 1000:.1f} ms"
    ) + (f"\n{made}" if made else "")


def made_late_text(orders: Sequence[str]) -> str:
    """Return which orders a new schedule makes late; nothing, where it makes none. Pure."""
    if not orders:
        return ""
    named = ", ".join(tail(each) for each in orders[:NAMED_MAX])
    more = f" and {len(orders) - NAMED_MAX} more" if len(orders) > NAMED_MAX else ""
    return f"late by it, and not by the schedule before: {counted(len(orders), 'order')}: {named}{more}"
