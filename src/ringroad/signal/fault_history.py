"""A vehicle's faults over its life: each code with when it came, how often, at what distance, and on which software.

Pure: changes of status out of the lake in, one line per ECU and code out. A vehicle tells every stored fault once more after
a restart; the same status again is no occurrence, so power cycles neither add nor hide one. Of a code that flaps it leaves
changes out and says how often it began to fail in them: those are counted.

Source: ISO 14229-1, annex D.2, for the status bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ringroad.protocol.fault_status import ACTIVE, FOLDED_PATH, WAITED_PATH, began

ODOMETER: Final = "Vehicle.TraveledDistance"  # km; VSS
FOLDED_MAX: Final = 100_000  # of one change; a vehicle looks once a second, and a day has fewer
VERSIONS_MAX: Final = 32  # of one line; a code that outlives more updates shows the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultChange:
    """A fault code's status changed on an ECU. `snapshot`: VSS signals at that moment."""

    ecu: str
    code: str
    at_us: int
    status: int
    software_version: str
    snapshot: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHistory:
    """One code of one ECU over the vehicle's life.

    Attributes:
        told_us: of the newest change or repetition.
        status: as last told; 0: cleared, or healed and forgotten.
        occurrences: how often it began to fail.
        first_us, last_us: when it first came, and when it last began to fail.
        odometer_first_km, odometer_last_km: then; None: the vehicle did not say.
        versions: software on which it was seen, in the order it came; none where its ECU ran none.
        frame: the snapshot of the last time it began to fail; the signals alone.
    """

    ecu: str
    code: str
    status: int
    occurrences: int
    first_us: int
    last_us: int
    changed_us: int
    told_us: int
    odometer_first_km: float | None
    odometer_last_km: float | None
    versions: tuple[str, ...]
    frame: Mapping[str, Any]


def fold(changes: Iterable[FaultChange]) -> list[FaultHistory]:
    """Return a line for each ECU and code, the newest change first. Order and repetition of the changes do not matter."""
    known: dict[tuple[str, str], FaultHistory] = {}
    for change in sorted(changes, key=_order):
        key = change.ecu, change.code
        before = known.get(key)
        if before is None:
            if change.status & ACTIVE:
                known[key] = _first(change)
        elif change.at_us == before.told_us and change.status == before.status:
            continue  # the same change, delivered again
        else:
            known[key] = _next(before, change)
    return sorted(known.values(), key=lambda each: (-each.changed_us, each.ecu, each.code))


def _order(change: FaultChange) -> tuple[int, str, str, int, str]:
    return change.at_us, change.ecu, change.code, change.status, change.software_version


def _first(change: FaultChange) -> FaultHistory:
    odometer = _odometer(change)
    return FaultHistory(
        ecu=change.ecu, code=change.code, status=change.status, occurrences=1 + _folded(change), first_us=change.at_us,
        last_us=change.at_us, changed_us=change.at_us, told_us=change.at_us, odometer_first_km=odometer, odometer_last_km=odometer,
        versions=(change.software_version,) if change.software_version else (), frame=_frame(change),
    )  # fmt: skip


def _next(before: FaultHistory, change: FaultChange) -> FaultHistory:
    again = began(before.status, change.status)
    newly = change.status & ACTIVE and change.software_version not in ("", *before.versions)
    versions = (*before.versions, change.software_version) if newly else before.versions
    return FaultHistory(
        ecu=before.ecu,
        code=before.code,
        status=change.status,
        occurrences=before.occurrences + again + _folded(change),
        first_us=before.first_us,
        last_us=change.at_us if again else before.last_us,
        changed_us=change.at_us if change.status != before.status else before.changed_us,
        told_us=change.at_us,
        odometer_first_km=before.odometer_first_km,
        odometer_last_km=_odometer(change) if again else before.odometer_last_km,
        versions=versions[-VERSIONS_MAX:],
        frame=_frame(change) if again else before.frame,
    )


def _folded(change: FaultChange) -> int:
    """Return how often it began to fail in changes that the vehicle left out before this one."""
    value = change.snapshot.get(FOLDED_PATH, 0)
    whole = isinstance(value, int) and not isinstance(value, bool)
    return min(value, FOLDED_MAX) if whole and value > 0 else 0


def _frame(change: FaultChange) -> Mapping[str, Any]:
    return {path: value for path, value in change.snapshot.items() if path not in {FOLDED_PATH, WAITED_PATH}}


def _odometer(change: FaultChange) -> float | None:
    value = change.snapshot.get(ODOMETER)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
