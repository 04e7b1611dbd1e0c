"""A programme's schedule, asked for and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringroad.cli.client import Client
from ringroad.cli.tables import counted
from ringroad.kernel.errors import NotFound


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
    return (
        f"schedule {row['generation']}: {counted(len(document['sequence']), 'car')}, {len(document['held'])} held, "
        f"replanned in {row['replan_latency_us'] / 1000:.1f} ms"
    )
