"""What a vehicle of a campaign waits for, in the words that `fleet show` has for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ringroad.cli.client import Client
from ringroad.cli.shell import Shell
from ringroad.http.console.why import why_not_updating
from ringroad.http.views import AssignmentView, VehicleView
from ringroad.kernel.limits import PAGE_ROWS_MAX

OPEN = ("pending", "offered", "active")


def why_it_waits(shell: Shell, client: Client, found: Mapping[str, Any], *, vin: str) -> str:
    """Return what a vehicle waits for in a campaign; empty where its update is over, or it takes no part.

    Args:
        shell: for the time.
        client: of the server.
        found: what the campaign's plan made of the vehicle, and the state of its update.
        vin: of the vehicle.
    """
    if found["state"] not in OPEN:
        return ""
    rows = client.get(f"/vehicles/{vin}/assignments", limit=PAGE_ROWS_MAX)
    mine = next((row for row in rows if row["campaign_id"] == found["campaign_id"]), None)
    if mine is None:
        return ""
    vehicle = msgspec.convert(client.get(f"/vehicles/{vin}"), VehicleView, strict=False)
    assignment = msgspec.convert(mine, AssignmentView, strict=False)
    return why_not_updating(vehicle, assignment, now=shell.clock.now()).text
