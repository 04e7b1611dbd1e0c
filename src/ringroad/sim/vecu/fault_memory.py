"""Fault memory of a virtual ECU: status bytes, snapshots and counts that survive power cycles.

An operation cycle runs at each start of the application and whenever the simulation asks for one.

Invariant: while fault setting is off (service 0x85) no status changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ringroad.sim.vecu.flash import RecordStore
from ringroad.vehicle.uds import dtc_bytes, dtc_display

FAULTS_MAX: Final = 64  # per ECU; the oldest is forgotten
SNAPSHOTS_MAX: Final = 2  # per fault: the first and the newest
AGING_CYCLES: Final = 40  # cycles without failure until a confirmed fault is forgotten
COUNT_MAX: Final = 255

TEST_FAILED: Final = 0x01
FAILED_THIS_CYCLE: Final = 0x02
PENDING: Final = 0x04
CONFIRMED: Final = 0x08
NOT_COMPLETED_SINCE_CLEAR: Final = 0x10
FAILED_SINCE_CLEAR: Final = 0x20
NOT_COMPLETED_THIS_CYCLE: Final = 0x40
AVAILABLE: Final = 0x7F  # bits we implement; the warning lamp is another ECU's
NEVER_TESTED: Final = NOT_COMPLETED_SINCE_CLEAR | NOT_COMPLETED_THIS_CYCLE


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The surroundings of a failure, as far as a virtual ECU knows them."""

    unix_s: int = 0
    odometer_km: int = 0
    speed_kmh: int = 0
    cycle: int = 0


class StoredFault(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One code's memory. `snapshots`: first, newest."""

    code: str
    status: int
    count: int
    aging: int
    snapshots: tuple[Snapshot, ...]


class _Memory(msgspec.Struct, frozen=True, kw_only=True):
    cycle: int = 0
    image_sha256: str = ""
    image_cycle: int = 0  # operation cycles since this image was first started
    faults: tuple[StoredFault, ...] = ()


class FaultMemory:
    """The faults of one ECU on its flash."""

    __slots__ = ("_memory", "_records", "enabled")

    def __init__(self, records: RecordStore) -> None:
        self._records = records
        self._memory = _Memory()
        self.enabled = True

    def load(self) -> None:
        """Read what the flash holds. Raises: Corrupt."""
        payload = self._records.load()
        self._memory = _Memory() if payload is None else msgspec.json.decode(payload, type=_Memory)
        self.enabled = True

    @property
    def stored(self) -> tuple[StoredFault, ...]:
        """All codes with a status."""
        return self._memory.faults

    @property
    def cycle(self) -> int:
        """Operation cycles so far."""
        return self._memory.cycle

    def find(self, dtc: bytes) -> StoredFault | None:
        """Return what is stored for three DTC bytes."""
        code = dtc_display(dtc)
        return next((fault for fault in self._memory.faults if fault.code == code), None)

    def begin_cycle(self, image_sha256: str) -> int:
        """Start an operation cycle; return its number for this image, 1 being the first.

        The number is durable with the cycle's end: a cut in between repeats the cycle.
        """
        same = self._memory.image_sha256 == image_sha256
        self._memory = msgspec.structs.replace(
            self._memory,
            cycle=self._memory.cycle + 1,
            image_sha256=image_sha256,
            image_cycle=self._memory.image_cycle + 1 if same else 1,
        )
        return self._memory.image_cycle

    def end_cycle(self, failed: Iterable[str], snapshot: Snapshot) -> tuple[StoredFault, ...]:
        """Record the outcome of a cycle's tests; return the faults whose status changed.

        Args:
            failed: display codes whose test failed.
            snapshot: stored with each failure.

        Raises:
            PowerCut: power was lost; the old or the new memory holds.
        """
        before = {fault.code: fault for fault in self._memory.faults}
        after = dict(before)
        if self.enabled:
            failed_codes = list(dict.fromkeys(failed))
            snapshot = msgspec.structs.replace(snapshot, cycle=self._memory.cycle)
            for code in failed_codes:
                after[code] = _failed(before.get(code), code, snapshot)
            for code, fault in before.items():
                if code not in failed_codes:
                    passed = _passed(fault)
                    if passed is None:
                        del after[code]
                    else:
                        after[code] = passed
        faults = tuple(after.values())[-FAULTS_MAX:]
        self._memory = msgspec.structs.replace(self._memory, faults=faults)
        self._store()
        return tuple(
            fault for fault in faults if fault.code not in before or before[fault.code].status != fault.status
        )

    def clear(self, code: str | None) -> None:
        """Forget one code, or all. Raises: PowerCut."""
        kept = tuple(fault for fault in self._memory.faults if code is not None and fault.code != code)
        self._memory = msgspec.structs.replace(self._memory, faults=kept)
        self._store()

    def _store(self) -> None:
        self._records.store(msgspec.json.encode(self._memory))


def _failed(fault: StoredFault | None, code: str, snapshot: Snapshot) -> StoredFault:
    first = () if fault is None else fault.snapshots[: SNAPSHOTS_MAX - 1]
    return StoredFault(
        code=code,
        status=TEST_FAILED | FAILED_THIS_CYCLE | PENDING | CONFIRMED | FAILED_SINCE_CLEAR,
        count=min(COUNT_MAX, 1 if fault is None else fault.count + 1),
        aging=0,
        snapshots=(*first, snapshot),
    )


def _passed(fault: StoredFault) -> StoredFault | None:
    aging = fault.aging + 1
    if aging >= AGING_CYCLES:
        return None
    # Pending goes out after one whole cycle without failure, confirmed only by aging or clearing.
    return msgspec.structs.replace(fault, status=fault.status & (CONFIRMED | FAILED_SINCE_CLEAR), aging=aging)


def snapshot_record(snapshot: Snapshot) -> bytes:
    """Return a snapshot as the data identifiers 0xFD10 to 0xFD13 of service 0x19 04."""
    return b"".join(
        (
            b"\x04",
            b"\xfd\x10" + (snapshot.unix_s & 0xFFFFFFFF).to_bytes(4, "big"),
            b"\xfd\x11" + (snapshot.odometer_km & 0xFFFFFFFF).to_bytes(4, "big"),
            b"\xfd\x12" + min(snapshot.speed_kmh, 0xFFFF).to_bytes(2, "big"),
            b"\xfd\x13" + (snapshot.cycle & 0xFFFFFFFF).to_bytes(4, "big"),
        )
    )


def read_dtc_information(memory: FaultMemory, request: bytes, supported: tuple[str, ...]) -> bytes | None:
    """Answer service 0x19; None when the sub-function is unknown or its length wrong.

    Raises:
        KeyError: the DTC of sub-function 04 or 06 is not stored.
    """
    sub, rest = request[1] & 0x7F, request[2:]
    match sub:
        case 0x01 | 0x02 if len(rest) == 1:
            mask = rest[0] & AVAILABLE
            matching = [fault for fault in memory.stored if fault.status & mask]
            head = bytes((0x59, sub, AVAILABLE))
            if sub == 0x01:
                return head + b"\x01" + len(matching).to_bytes(2, "big")
            return head + b"".join(dtc_bytes(fault.code) + bytes((fault.status,)) for fault in matching)
        case 0x04 if len(rest) == 4:
            fault = _stored(memory, rest[:3])
            answer = b"\x59\x04" + rest[:3] + bytes((fault.status,))
            for number, snapshot in enumerate(fault.snapshots, start=1):
                if rest[3] in {number, 0xFF}:
                    answer += bytes((number,)) + snapshot_record(snapshot)
            return answer
        case 0x06 if len(rest) == 4:
            fault = _stored(memory, rest[:3])
            answer = b"\x59\x06" + rest[:3] + bytes((fault.status,))
            if rest[3] in {0x01, 0xFF}:
                answer += bytes((0x01, fault.count, fault.aging))
            return answer
        case 0x0A if not rest:
            status = dict.fromkeys(supported, NEVER_TESTED) | {f.code: f.status for f in memory.stored}
            codes = b"".join(dtc_bytes(code) + bytes((value,)) for code, value in status.items())
            return bytes((0x59, 0x0A, AVAILABLE)) + codes
        case _:
            return None


def _stored(memory: FaultMemory, dtc: bytes) -> StoredFault:
    fault = memory.find(dtc)
    if fault is None:
        raise KeyError(dtc.hex())
    return fault
