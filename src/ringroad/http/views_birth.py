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


class SuspectView(View, frozen=True, kw_only=True):
    """Something that vehicles with a fault have more often than chance explains."""

    kind: str
    thing: str
    value: str
    label: str
    station: str
    vehicles: int
    with_fault: int
    chance: float
    ratio_milli: int | None
    ratio_low_milli: int
    ratio_high_milli: int | None
    standing: str  # first, stands (also without the first), goes_with (the first)
    gate_station: str
    gate: str  # that should have caught it; '' for none
    gate_reason: str


class TracedView(View, frozen=True, kw_only=True):
    """What faulty vehicles have in common."""

    programme_id: str
    sentence: str
    named: int  # vehicles with the fault
    faulty: int  # of them with a birth record
    total: int  # vehicles of the programme with one
    asked: int
    threshold: float
    noticed: int | None
    suspects: list[SuspectView]


class LotView(View, frozen=True, kw_only=True):
    """Who has a lot of a part."""

    part: str
    lot: str
    vehicles: int
    vins: list[str]
    orders: list[str]  # still on the line


class ClaimView(View, frozen=True, kw_only=True):
    """A claim, and where what failed was built."""

    id: str
    vin: str
    part: str
    fault_code: str
    text: str
    occurred_at: datetime
    told_by: str
    told_at: datetime
    lot: str | None
    supplier: str | None
    software_version: str | None
    station: str | None
    gate_station: str | None
    gate: str | None  # that should have caught it
    reason: str | None


class RefusedClaim(View, frozen=True, kw_only=True):
    """A claim that cannot be, and why."""

    id: str
    vin: str
    reason: str


class ClaimsTold(View, frozen=True, kw_only=True):
    """What became of claims that were told."""

    taken: int
    known: int
    refused: list[RefusedClaim]


class FieldTraceView(View, frozen=True, kw_only=True):
    """One vehicle's claim or fault, traced to where it was built."""

    source: str
    source_id: str
    vin: str
    part: str
    lot: str
    supplier: str
    software_version: str
    station: str
    gate_station: str
    gate: str
    reason: str
    occurred_at: datetime
    traced_at: datetime
