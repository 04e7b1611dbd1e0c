"""What was under way on the lines of a plant that becomes a site. The caller opens the transaction."""

from __future__ import annotations

from dataclasses import dataclass

from ringroad.build.plant.store import get_plant, runs_of
from ringroad.build.store_plant import waiting_orders
from ringroad.build.store_stops import open_stops
from ringroad.storage.db import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """What was under way on the lines of a plant when it was made a site.

    Attributes:
        on_line: orders whose vehicles are on a line; they go on there.
        standing: stations that stand; their stops are not told to a site.
    """

    on_line: tuple[str, ...]
    standing: tuple[str, ...]


def handed_over(conn: Connection, site_id: str) -> HandedOver:
    """Return what is under way on the lines of a plant. Raises: NotFound."""
    lines = runs_of(conn, get_plant(conn, site_id))
    return HandedOver(
        on_line=tuple(
            order.id
            for line in lines
            for order in waiting_orders(conn, programme_id=line)
            if order.state == "building"
        ),
        standing=tuple(
            sorted({stop.station for line in lines for stop in open_stops(conn, programme_id=line)})
        ),
    )
