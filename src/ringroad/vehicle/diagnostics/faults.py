"""Fault memories as people read them: the records of service 0x19, and what their status bits mean.

Pure: bytes in, values out; what an ECU sends is not trusted to be well-formed.

Source: ISO 14229-1, 12.3 and annex D.2.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.uds import dtc_display

SNAPSHOTS_MAX: Final = 16  # records of one fault
IDENTIFIERS_MAX: Final = 64  # of one record

# Bit by bit, lowest first: the name in an answer, and what it says to a person when it is set.
STATUS_BITS: Final = (
    ("testFailed", "failing now"),
    ("testFailedThisOperationCycle", "failed since the vehicle was started"),
    ("pendingDTC", "not yet confirmed, seen in this start or the last"),
    ("confirmedDTC", "confirmed"),
    ("testNotCompletedSinceLastClear", "not tested since it was cleared"),
    ("testFailedSinceLastClear", "failed since it was cleared"),
    ("testNotCompletedThisOperationCycle", "not tested since the vehicle was started"),
    ("warningIndicatorRequested", "asks for a warning lamp"),
)
_BYTES_OF: Final = {0xFD10: 4, 0xFD11: 4, 0xFD12: 2, 0xFD13: 4}
_NAME_OF: Final = {
    0xFD10: ("time", "s since 1970"),
    0xFD11: ("odometer", "km"),
    0xFD12: ("speed", "km/h"),
    0xFD13: ("operation cycle", ""),
}


class FaultStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One code in a fault memory."""

    code: str
    status: int
    flags: dict[str, bool]
    words: str


class SnapshotValue(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a snapshot."""

    did: str
    name: str
    value: int
    unit: str


class SnapshotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The surroundings of one failure, as the ECU kept them."""

    record: int
    data: list[SnapshotValue]
    raw: str = ""  # hex of what we have no layout for


class Extended(msgspec.Struct, frozen=True, kw_only=True):
    """What an ECU counts beside a code."""

    occurrences: int | None = None
    aging: int | None = None
    raw: str = ""


def fault_status(code: str, status: int) -> FaultStatus:
    """Return a status byte with its bits named."""
    flags = {name: bool(status >> bit & 1) for bit, (name, _) in enumerate(STATUS_BITS)}
    return FaultStatus(code=code, status=status, flags=flags, words=status_words(status))


def status_words(status: int) -> str:
    """Return what a status byte says to a person."""
    if status & 0x09 == 0x09:
        head = ["confirmed and failing now"]
    else:
        head = [STATUS_BITS[bit][1] for bit in (0, 3) if status >> bit & 1]
    if not head and status & 0x04:
        head = [STATUS_BITS[2][1]]
    tail = [STATUS_BITS[7][1]] if status & 0x80 else []
    return ", ".join(head + tail) or "not failing"


def parse_snapshots(response: bytes) -> tuple[str, int, list[SnapshotRecord]]:
    """Read the answer to 19 04: code, status and records.

    A record whose identifiers we know no length of is kept whole, as hex: where the next begins is then unknown.

    Raises:
        InvalidInput: it is cut off in the middle of something.
    """
    code, status, rest = _head(response)
    records: list[SnapshotRecord] = []
    while rest and len(records) < SNAPSHOTS_MAX:
        if len(rest) < 2:
            raise InvalidInput("the snapshot is truncated")
        number, count, rest = rest[0], rest[1], rest[2:]
        data: list[SnapshotValue] = []
        for _ in range(min(count, IDENTIFIERS_MAX)):
            if len(rest) < 2:
                raise InvalidInput("the snapshot is truncated")
            did = int.from_bytes(rest[:2], "big")
            size = _BYTES_OF.get(did)
            if size is None:
                records.append(SnapshotRecord(record=number, data=data, raw=rest.hex()))
                return code, status, records
            if len(rest) < 2 + size:
                raise InvalidInput("the snapshot is truncated")
            name, unit = _NAME_OF[did]
            value = int.from_bytes(rest[2 : 2 + size], "big")
            data.append(SnapshotValue(did=f"{did:04X}", name=name, value=value, unit=unit))
            rest = rest[2 + size :]
        records.append(SnapshotRecord(record=number, data=data))
    return code, status, records


def parse_extended(response: bytes) -> Extended:
    """Read the answer to 19 06. Raises: InvalidInput."""
    _, _, rest = _head(response)
    if len(rest) == 3 and rest[0] == 1:
        return Extended(occurrences=rest[1], aging=rest[2])
    return Extended(raw=rest.hex())


def _head(response: bytes) -> tuple[str, int, bytes]:
    if len(response) < 6:
        raise InvalidInput("the ECU's answer is truncated")
    return dtc_display(response[2:5]), response[5], response[6:]


def plain(value: Any) -> Any:
    """Return a struct as JSON types."""
    return msgspec.to_builtins(value)
