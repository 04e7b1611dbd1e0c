"""What the API and the console show of births: records, parts, and the checks of the end of the line."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ringroad.http.views import View


class AskedCheck(View, frozen=True, kw_only=True):
    """A check that a gate asks for; `always`: of every vehicle."""

    station: str
    gate: str
    check: str
    always: bool


class EndOfLineView(View, frozen=True, kw_only=True):
    """What the end of a line flashes, and what must be checked before a vehicle is born."""

    release_id: str | None
    rxswins: dict[str, str]  # by type-approved system
    checks: list[AskedCheck]


class BuiltPartView(View, frozen=True, kw_only=True):
    """A part that went into a vehicle."""

    id: str
    order_id: str
    station: str
    part: str
    lot: str
    serial: str
    supplier: str
    fitted_at: datetime


class RefusedPart(View, frozen=True, kw_only=True):
    """A part that cannot be in its vehicle, and why."""

    id: str
    station: str
    reason: str


class PartsTold(View, frozen=True, kw_only=True):
    """What became of parts that were told."""

    taken: int
    known: int
    refused: list[RefusedPart]


class BirthView(View, frozen=True, kw_only=True):
    """A vehicle's birth record, and what followed."""

    vin: str
    sha256: str  # of the signed part, in canonical form
    signed_by: str  # key id; '' if no server had the keys
    made_at: datetime
    record: dict[str, Any]  # what it says
    envelope: str  # as the vehicle carries it: canonical JSON, with the signature
    rxswins_now: dict[str, str]  # after the updates since
    release_now: str  # the newest installed release that declares one; '' for that of the birth
    later_parts: list[BuiltPartView]  # told after the birth, so not in the record
