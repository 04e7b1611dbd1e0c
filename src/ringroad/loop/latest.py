"""What the lake knows of vehicles, for queries that name it."""

from __future__ import annotations

from datetime import datetime

from ringroad.ship.query import Node, keys_in
from ringroad.storage.lake import Lake
from ringroad.storage.latest import Latest, latest_samples


def latest_for(lake: Lake, query: Node, *, now: datetime) -> Latest:
    """Return the last known values of the paths that a query names; the lake is not touched if it names none.

    Raises:
        InvalidInput: it names too many.
        Unavailable: the lake cannot be read now.
    """
    return latest_samples(lake, keys_in(query, "telemetry"), now=now)
