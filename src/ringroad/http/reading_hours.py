"""Hours in which vehicles may begin, as who runs them said; and vehicles by what they are named by. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ringroad.http.accounts_store import SQL
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.storage.db import Connection

HOURS_SHOWN_MAX = 200  # different hours; a fleet has few


def vehicle_hours(conn: Connection, vin: str) -> dict[str, Any] | None:
    """Return the hours that its fleet's operator set for a vehicle."""
    found: dict[str, Any] | None = SQL.vehicle_schedule(conn, vin=vin)
    return found


def own_hours(
    conn: Connection, *, fleet: str | None, tag: str | None = None, list_name: str | None = None
) -> list[dict[str, Any]]:
    """Return the hours of vehicles, those of the same hours together, most vehicles first."""
    return list(SQL.own_hours(conn, fleet=fleet, tag=tag, list=list_name, rows_max=HOURS_SHOWN_MAX))


def vehicles_named(
    conn: Connection,
    *,
    fleet: str | None,
    vins: Sequence[str] | None,
    tag: str | None,
    list_name: str | None,
    rows_max: int,
) -> list[str]:
    """Return the VINs of a fleet's vehicles, of all without one, that are named by VIN, tag or list.

    Raises:
        NotFound: a VIN is not of the fleet, or nobody is named: whoever asks cannot tell from none at all.
        InvalidInput: there are more than `rows_max`.
    """
    wanted = None if vins is None else sorted({vin.strip().upper() for vin in vins})
    rows = SQL.vehicles_named(conn, fleet=fleet, vins=wanted, tag=tag, list=list_name, rows_max=rows_max + 1)
    found = [str(row["vin"]) for row in rows]
    if wanted is not None and (strangers := sorted(set(wanted) - set(found))):
        raise NotFound(f"no vehicle {strangers[0][:40]}", hint="check the VINs; nothing was changed")
    if not found:
        raise NotFound("no vehicle is named so", hint="a fleet's tags and lists are those of its account")
    if len(found) > rows_max:
        raise InvalidInput(
            f"more than {rows_max} vehicles", hint="name them in several parts, by tag or list"
        )
    return found


def fleet_names(conn: Connection, fleet: str) -> list[tuple[str, str]]:
    """Return the tags and lists that make up a fleet: kind and name."""
    return [(row["kind"], row["name"]) for row in SQL.fleet_names(conn, fleet=fleet)]
