"""What runs on a line now: its schedule, the orders that wait, what stands; for a search, a question or a page.

Not here: searches and the twin, so that whoever only looks needs no compiler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ringroad.build.logistics.availability import PartAvailability
from ringroad.build.logistics.store import availability_from, get_outlook
from ringroad.build.model import Line
from ringroad.build.plan_line import Order
from ringroad.build.stops import LineStop, on_line
from ringroad.build.store import get_programme
from ringroad.build.store_plant import Schedule, current_schedule, waiting_orders
from ringroad.build.store_stops import open_stops
from ringroad.build.store_times import line_drift
from ringroad.build.twin.assumed import LineSource, source_of
from ringroad.build.twin.drift import StationDrift
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What a search needs to know of a line."""

    schedule: Schedule
    orders: tuple[Order, ...]
    line: Line
    stops: tuple[LineStop, ...] = ()  # what stands now
    drift: tuple[StationDrift, ...] = ()  # how the twin fares against what the line measured
    available: Mapping[str, PartAvailability] = field(
        default_factory=dict
    )  # when parts are there, by order, as was last said
    source: LineSource = field(default_factory=LineSource)  # who says what the line is


def load_running(conn: Connection, programme_id: str) -> Running:
    """Return the current schedule with its orders. Raises: NotFound before the first schedule."""
    schedule = current_schedule(conn, programme_id)
    if schedule is None:
        raise NotFound(f"{programme_id} has no schedule")
    stored = get_programme(conn, programme_id)
    line = stored.programme.line
    waits = get_outlook(conn, programme_id).document.get("orders", {})
    return Running(
        schedule=schedule,
        orders=tuple(waiting_orders(conn, programme_id=programme_id)),
        line=line,
        stops=tuple(on_line(open_stops(conn, programme_id=programme_id), line)),
        drift=line_drift(conn, programme_id, line),
        available={order_id: availability_from(given) for order_id, given in waits.items()},
        source=source_of(programme_id, stored.source, stored.plant),
    )
