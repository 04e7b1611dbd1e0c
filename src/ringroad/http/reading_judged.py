"""What plans made of a vehicle, beside what the same resolver makes of it as it is known today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from ringroad.http.views import LetGoView, VehicleResolutionView
from ringroad.ship.store.control import read_control_let_go
from ringroad.ship.store.judging import judge_today, read_let_go
from ringroad.storage.db import Connection


def with_today(
    conn: Connection, found: Sequence[VehicleResolutionView], *, vin: str, now: datetime
) -> list[VehicleResolutionView]:
    """Return the same with today's verdict; inside a transaction of the caller.

    Args:
        conn: a connection in a transaction.
        found: of this vehicle; what it costs goes by the number of different releases in them.
        vin: of the vehicle.
        now: the server's time.
    """
    releases = sorted({each.release_id for each in found})
    judged = judge_today(conn, vin=vin, release_ids=releases, now=now) if releases else {}
    return [
        msgspec.structs.replace(each, today=today.verdict, today_sentence=today.sentence)
        if (today := judged.get(each.release_id))
        else each
        for each in found
    ]


def let_go(conn: Connection, campaign_id: str) -> list[LetGoView]:
    """Return whom a campaign let go since its plan, by the verdict of then, most first; its control group after that."""
    return [
        LetGoView(verdict=verdict, vehicles=vehicles, control=control)
        for control, found in (
            (False, read_let_go(conn, campaign_id)), (True, read_control_let_go(conn, campaign_id)),
        )
        for verdict, vehicles in found.items()
    ]  # fmt: skip
