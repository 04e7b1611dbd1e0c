"""Read what a vehicle was at its birth, and what its updates made of that since."""

from __future__ import annotations

import msgspec

from ringroad.build.release_shape import rxswins_of
from ringroad.build.store_birth import StoredBirth, get_birth
from ringroad.http.accounts_store import SQL
from ringroad.http.views_birth import BirthView, BuiltPartView
from ringroad.kernel.errors import NotFound
from ringroad.storage.db import Connection

UPDATES_MAX = 200  # installed releases that are gone through for a vehicle's present RXSWINs


def birth(conn: Connection, vin: str) -> BirthView:
    """Return a vehicle's birth record with what followed. Raises: NotFound."""
    return _view(conn, get_birth(conn, vin), vin)


def birth_or_why(conn: Connection, vin: str) -> tuple[BirthView | None, str]:
    """Return a vehicle's birth record, or why there is none."""
    try:
        return birth(conn, vin), ""
    except NotFound as error:
        return None, error.message


def _view(conn: Connection, stored: StoredBirth, vin: str) -> BirthView:
    signed = dict(stored.record.signed)
    now, release_now = dict(signed["rxswins"]), ""
    for update in reversed(list(SQL.installed_since(conn, vin=vin, rows_max=UPDATES_MAX))):
        said = rxswins_of(update["document"])
        now |= said
        release_now = update["version"] if said else release_now
    return BirthView(
        vin=vin, sha256=stored.record.sha256, signed_by=next(iter(stored.record.key_ids), ""), made_at=stored.made_at,
        record=signed, envelope=stored.raw.decode(), rxswins_now=now, release_now=release_now,
        later_parts=[msgspec.convert(msgspec.to_builtins(each), BuiltPartView) for each in stored.later],
    )  # fmt: skip
