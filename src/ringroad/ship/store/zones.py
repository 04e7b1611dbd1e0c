"""Which time zone vehicles are in: an attribute of theirs, told by themselves or set here for many at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.facts import FactKind
from ringroad.kernel.hours import find_zone
from ringroad.ship.store.reading import SQL
from ringroad.storage.db import Connection
from ringroad.storage.ledger import append_fact


def set_time_zone(
    conn: Connection,
    ids: Ids,
    *,
    vins: Sequence[str],
    query: str,
    programme_id: str,
    time_zone: str,
    actor: str,
    now: datetime,
) -> int:
    """Set the time zone of the vehicles that a query selected; return how many had another one or none.

    Inside a transaction of the caller.

    Raises:
        InvalidInput: there is no such time zone.
    """
    if find_zone(time_zone) is None:
        raise InvalidInput(
            f"there is no time zone {time_zone[:60]!r}", hint="an IANA name, for example Europe/Oslo"
        )
    changed: int = SQL.set_time_zone(conn, vins=list(vins), time_zone=time_zone)
    if changed:
        append_fact(
            conn, ids, kind=FactKind.VEHICLES_TIME_ZONE_SET, subject=programme_id, actor=actor, now=now,
            body={"query": query, "time_zone": time_zone, "vehicles": changed},
        )  # fmt: skip
    return changed
