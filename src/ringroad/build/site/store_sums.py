"""What its stations taught a site, told to its hub: sums, and room for vehicles; no time, no single observation.

The hub keeps what a site says of itself; its document learns from that when somebody lets it learn.

The caller opens the transaction.

Invariants:
    A hub takes of a site only what that says of its own plant, and nothing that is not newer than what it took.
    No number is further ahead than a day, so that one wrong clock silences no site.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ringroad.build.clone.store import keep_said
from ringroad.build.clone.store_proposals import sums_of_plant
from ringroad.build.clone.sums import sums_from
from ringroad.build.site.lines import SQL
from ringroad.build.site.store import ACTOR, AGAIN_S, SILENT_S
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.protocol.site import UP_BYTES_MAX, SiteSums, Up
from ringroad.storage.db import Connection
from ringroad.storage.ledger import latest_fact

SUMS_S: Final = (
    3_600  # seconds between two looks of a site at its sums: they stand in a fact of its hub's each time
)
AHEAD: Final = timedelta(days=1)  # of its clock that a hub takes a number
LOOKED: Final = "sums"  # the place of the sums that the hub has: their digest, and when the site looked last
SUMS_TAKEN: Final = "sums-taken/"  # before a site: at its hub, the number of the newest that was taken
NUMBER: Final = "sums-number"  # the place of the number of the newest that the hub has


# At the site ---------------------------------------------------------------------------------------


def with_sums(conn: Connection, site_id: str, told: Up, *, now: datetime) -> Up:
    """Return a sign of life with what the stations taught the plant, if the hub does not have that.

    Without: anything else is to be told first, the site is cut off, it looked lately, nothing changed, the plant is
    nobody's clone, or it says more than fits into a message.
    """
    looked, reached = SQL.place(conn, name=LOOKED), SQL.place(conn, name="reached")
    if (
        told.events
        or told.stops
        or told.birth is not None
        or reached is None
        or now - reached["at"] > timedelta(seconds=SILENT_S)
        or (looked is not None and timedelta() <= now - looked["at"] < timedelta(seconds=SUMS_S))
    ):
        return told
    before = looked["number"] if looked else 0
    found = _sums_of(conn, site_id, _next_number(conn, now))
    if found is None or _digest(found) == before:
        SQL.set_place(conn, name=LOOKED, number=before, now=now)
        return told
    return msgspec.structs.replace(told, sums=found)


def has_told_sums(conn: Connection, sums: SiteSums, *, now: datetime) -> None:
    """Note that the hub's broker has them."""
    SQL.set_place(conn, name=LOOKED, number=_digest(sums), now=now)
    SQL.set_place(conn, name=NUMBER, number=sums.number, now=now)


def tell_sums_again(conn: Connection, have: int | None, *, now: datetime) -> None:
    """Let the site say what its stations taught it again, at its next look, if the hub does not have it."""
    told, looked = SQL.place(conn, name=NUMBER), SQL.place(conn, name=LOOKED)
    if have is None or told is None or looked is None or told["number"] <= have or looked["number"] == 0:
        return
    if not timedelta() <= now - told["at"] < timedelta(seconds=AGAIN_S):  # the hub may not have read it yet
        SQL.set_place(conn, name=LOOKED, number=0, now=looked["at"])


def sums_have(conn: Connection, site_id: str) -> int:
    """Return the number of the newest that a hub took of a site."""
    row = SQL.place(conn, name=SUMS_TAKEN + site_id)
    return int(row["number"]) if row else 0


def _sums_of(conn: Connection, site_id: str, number: int) -> SiteSums | None:
    try:
        said = sums_of_plant(conn, site_id)
    except (NotFound, InvalidInput):  # it has no document yet, or is nobody's clone
        return None
    found = SiteSums(number=number, said=said.to_document())
    return found if said.own and len(msgspec.json.encode(found)) <= UP_BYTES_MAX else None


def _next_number(conn: Connection, now: datetime) -> int:
    """Return a number above all before, also where the site's database is made anew.

    Not above one of when the clock was far ahead: its hub refuses that.
    """
    row = SQL.place(conn, name=NUMBER)
    before = int(row["number"]) if row else 0
    return max(_number_at(now), before + 1 if before <= _number_at(now + 2 * AHEAD) else 0)


def _number_at(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _digest(sums: SiteSums) -> int:
    return int(hashlib.sha256(msgspec.json.encode(sums.said, order="sorted")).hexdigest()[:15], 16)


# At the hub ----------------------------------------------------------------------------------------


def take_sums(conn: Connection, ids: Ids, site_id: str, told: SiteSums, *, now: datetime) -> bool:
    """Keep what a site's stations taught it.

    Returns:
        False if it is not newer than what was taken.

    Raises:
        InvalidInput: it is no message of a clone, another plant's, what its document here could not have observed, or
            of the future.
        NotFound: its document is not here.
    """
    sums = sums_from(told.said)
    if sums.plant != site_id:
        raise InvalidInput(f"site {site_id} says what {sums.plant} observed, and may not")
    number_max = _number_at(now + AHEAD)
    if told.number > number_max:
        raise InvalidInput(
            f"what site {site_id} says has a number of more than a day ahead: set the site's clock"
        )
    added = latest_fact(conn, kind=FactKind.SITE_ADDED, subject=site_id)
    return keep_said(
        conn, ids, sums=sums, number=told.number, number_max=number_max, actor=ACTOR, now=now,
        since=added.recorded_at if added else None,
    )  # fmt: skip
