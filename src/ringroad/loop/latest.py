"""What the lake knows of vehicles, for queries that name it."""

from __future__ import annotations

from datetime import datetime

from ringroad.ship.query import Field, Node, keys_in
from ringroad.storage.lake import Lake
from ringroad.storage.latest import Latest, latest_faults, latest_samples


def latest_for(lake: Lake, query: Node, *, now: datetime) -> Latest:
    """Return the last known values of the paths and faults that a query names; the lake is not touched if it names none.

    Raises:
        InvalidInput: it names too many.
        Unavailable: the lake cannot be read now.
    """
    samples = latest_samples(lake, keys_in(query, "telemetry"), now=now)
    faults = latest_faults(lake, keys_in(query, "fault"), now=now)
    return {**samples, **{Field(root="fault", key=name).told_as: found for name, found in faults.items()}}
