"""Values of the signal stage: what arrives, what could not be read, what a finding is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringroad.storage.lake import Rows  # whoever reads complaints needs no lake


@dataclass(frozen=True, slots=True, kw_only=True)
class VehicleRef:
    """What ingest must know of a vehicle: it exists, and what it is compared with."""

    vin: str
    programme: str
    variant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message that became rows; `flags` counts rows whose clock was not plainly right."""

    rows: Rows
    flags: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Something that could not be read. `reason` is a stable word, `detail` names the place."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineRow:
    """One entry of the quarantine, as a person reads it."""

    id: int
    source: str
    locator: str
    reason: str
    raw: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One consumer complaint about one component."""

    id: str
    source: str
    make: str
    model: str
    model_year: int | None
    component: str
    vin_prefix: str
    occurred_on: date | None
    received_on: date | None
    text: str
    row_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import did: every row is new, a duplicate or quarantined."""

    rows: int
    new: int
    duplicates: int
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something is wrong in the field, with the evidence for it."""

    id: str
    lap_id: str
    title: str
    programme_id: str
    ecu: str
    software_version: str
    fault_code: str
    state: str
    state_reason: str
    evidence: Mapping[str, Any]
    generation: int
    opened_at: datetime
    closed_at: datetime | None
