"""Units of shops that stand, or stood, in PostgreSQL. Who says so, and what follows, is in `store_replan.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ringroad.build.stops import OVERDUE_S
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection, load_queries, of_row

SQL = load_queries("ringroad.build.shop")

STOPS_MAX: Final = 200  # read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopStop:
    """A unit of a resource that stands, or stood."""

    id: str
    plant_id: str
    shop: str
    resource: str
    reason: str
    began_at: datetime
    expected_s: int
    stopped_by: str
    ended_at: datetime | None = None
    ended_by: str | None = None

    def left_s(self, now: datetime) -> int:
        """Return for how many seconds more it is expected to stand."""
        left = round(self.expected_s - (now - self.began_at).total_seconds())
        return left if left > 0 else OVERDUE_S


def get_stop(conn: Connection, stop_id: str) -> ShopStop:
    """Return a stop. Raises: NotFound."""
    row = SQL.stop(conn, stop_id=stop_id)
    if row is None:
        raise NotFound(f"there is no stop {stop_id!r} of a shop")
    return of_row(ShopStop, row)


def list_stops(conn: Connection, plant_id: str, shop: str, *, only_open: bool = False) -> list[ShopStop]:
    """Return stops of a shop: what stands first, then the newest."""
    rows = SQL.stops(conn, plant_id=plant_id, shop=shop, only_open=only_open, rows_max=STOPS_MAX)
    return [of_row(ShopStop, row) for row in rows]


def standing_units(conn: Connection, plant_id: str, shop: str, *, now: datetime) -> Mapping[str, int]:
    """Return the units that stand, and for how many seconds more each is expected to."""
    return {each.resource: each.left_s(now) for each in list_stops(conn, plant_id, shop, only_open=True)}
