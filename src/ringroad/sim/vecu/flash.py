"""Persistent flash of a virtual ECU: boot record, fault record, banks.

::

    0        2 x 32 KiB   boot record: newest of two copies whose checksum holds
    64 KiB   2 x 64 KiB   fault record, the same way
    192 KiB  banks        each as large as configured
    behind   one sector   where a bootloader exchanges the banks (MCUboot's swap modes): its scratch area or spare sector

A record is never written over its newest copy, so a cut leaves the old one or the new one.
A bank is invalid from before its first erased byte until a check found its content right.

Invariants: only `commit` raises `committed_counter`; a valid bank was complete when it was marked.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from ringroad.kernel.errors import Corrupt, InvalidInput
from ringroad.sim.vecu.medium import Medium

BOOT_SLOT_BYTES: Final = 32 * 1024
FAULT_SLOT_BYTES: Final = 64 * 1024
BANKS_OFFSET: Final = 2 * (BOOT_SLOT_BYTES + FAULT_SLOT_BYTES)
SECTOR_BYTES: Final = 64 * 1024  # erased at once
READ_BYTES: Final = 256 * 1024
SEGMENTS_MAX: Final = 64
_MAGIC: Final = b"RRF1"
_HEADER_BYTES: Final = 20  # magic, sequence, length, CRC-32

LayoutName = Literal["ab", "inplace"]
SwapName = Literal["none", "test", "trial"]
ExchangeName = Literal["direct-xip", "scratch", "move"]  # how MCUboot comes from one slot to the other
Place = tuple[Literal["first", "second", "spare"], int]  # a sector: of which bank, or the one behind them


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """What the tester said the content of a bank is; see `vehicle.agents.wire.Identity`."""

    version: str
    sha256: str
    content_sha256: str
    release_counter: int


class Extent(NamedTuple):
    """A run of addresses and where its bytes lie in the bank."""

    address: int
    length_bytes: int
    offset: int


class Bank(msgspec.Struct, frozen=True, kw_only=True):
    """One bank's bookkeeping. `checked`: content matched; `valid`: a bootloader may start it."""

    extents: tuple[Extent, ...] = ()
    signed: Signed | None = None
    checked: bool = False
    valid: bool = False


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """The banks are being exchanged: how many copies are done, and what the swap is when all are."""

    copied: int
    swap: SwapName


class BootState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a bootloader remembers."""

    layout: LayoutName
    bank_bytes: int
    banks: tuple[Bank, ...]
    active: int = 0
    swap: SwapName = "none"
    boots: int = 0
    committed_counter: int = 0
    key_failures: int = 0
    fingerprint: str = ""
    data: dict[str, str] = {}  # what testers wrote, by identifier, in hex
    exchange: Exchange | None = None


class RecordStore:
    """One value that survives power cuts: two copies, the older one is written."""

    __slots__ = ("_medium", "_offset", "_sequence", "_slot_bytes")

    def __init__(self, medium: Medium, offset: int, slot_bytes: int) -> None:
        self._medium = medium
        self._offset = offset
        self._slot_bytes = slot_bytes
        self._sequence = 0

    def load(self) -> bytes | None:
        """Return the newest whole copy, None when there never was one.

        Raises:
            Corrupt: both copies are damaged, which one cut cannot do.
        """
        newest: bytes | None = None
        damaged = 0
        self._sequence = 0
        for slot in (0, 1):
            start = self._offset + slot * self._slot_bytes
            header = self._medium.read(start, _HEADER_BYTES)
            sequence = int.from_bytes(header[4:12], "big")
            length = int.from_bytes(header[12:16], "big")
            blank = header == b"\xff" * _HEADER_BYTES
            if header[:4] != _MAGIC or length > self._slot_bytes - _HEADER_BYTES:
                damaged += not blank
                continue
            payload = self._medium.read(start + _HEADER_BYTES, length)
            if zlib.crc32(payload, zlib.crc32(header[4:12])) != int.from_bytes(header[16:20], "big"):
                damaged += 1
                continue
            if sequence > self._sequence:
                self._sequence, newest = sequence, payload
        if newest is None and damaged == 2:
            raise Corrupt(
                "both copies of a flash record are damaged", hint="this is not a virtual ECU's flash file"
            )
        return newest

    def store(self, payload: bytes) -> None:
        """Make `payload` the newest copy, durably. Raises: PowerCut, InvalidInput (too long)."""
        if len(payload) > self._slot_bytes - _HEADER_BYTES:
            raise InvalidInput(f"a flash record of {len(payload)} bytes does not fit {self._slot_bytes}")
        sequence = self._sequence + 1
        number = sequence.to_bytes(8, "big")
        crc = zlib.crc32(payload, zlib.crc32(number))
        header = _MAGIC + number + len(payload).to_bytes(4, "big") + crc.to_bytes(4, "big")
        self._medium.sync()  # what the record speaks of must be there first
        self._medium.write(self._offset + sequence % 2 * self._slot_bytes, header + payload)
        self._medium.sync()
        self._sequence = sequence


class Flash:
    """Boot record and banks on one medium. `state` is always what is durable."""

    __slots__ = ("_accepts", "_exchange", "_medium", "_records", "faults", "state")

    def __init__(
        self,
        medium: Medium,
        *,
        layout: LayoutName,
        bank_bytes: int,
        accepts: Callable[[bytes, Signed], bool] | None = None,
        exchange: ExchangeName = "direct-xip",
    ) -> None:
        self._medium = medium
        self._accepts = accepts
        self._exchange = exchange
        self._records = RecordStore(medium, 0, BOOT_SLOT_BYTES)
        self.faults = RecordStore(medium, 2 * BOOT_SLOT_BYTES, FAULT_SLOT_BYTES)
        banks = (Bank(),) if layout == "inplace" else (Bank(), Bank())
        self.state = BootState(layout=layout, bank_bytes=bank_bytes, banks=banks)

    def load(self) -> None:
        """Read the boot record; a blank flash stays as configured.

        Raises:
            Corrupt: the record is damaged, or of an ECU with another layout or bank size.
        """
        payload = self._records.load()
        if payload is None:
            return
        try:
            state = msgspec.json.decode(payload, type=BootState)
        except msgspec.DecodeError as error:
            raise Corrupt("the boot record does not read back", detail=str(error)) from error
        if (state.layout, state.bank_bytes) != (self.state.layout, self.state.bank_bytes):
            raise Corrupt(
                f"the flash belongs to an ECU with {state.layout} banks of {state.bank_bytes} bytes",
                hint="use its configuration, or another flash file",
            )
        self.state = state

    def store(self, state: BootState) -> None:
        """Make `state` durable. Raises: PowerCut, and then the old or the new state holds."""
        self._records.store(msgspec.json.encode(state))
        self.state = state

    def store_bank(self, index: int, bank: Bank) -> None:
        """Replace the bookkeeping of one bank, durably. Raises: PowerCut."""
        banks = tuple(bank if i == index else old for i, old in enumerate(self.state.banks))
        self.store(msgspec.structs.replace(self.state, banks=banks))

    def erase(self, index: int, length_bytes: int) -> None:
        """Mark a bank invalid, then erase its first bytes. Raises: PowerCut."""
        self.store_bank(index, Bank())
        start = self._start(index)
        for offset in range(0, length_bytes, SECTOR_BYTES):
            self._medium.erase(start + offset, min(SECTOR_BYTES, length_bytes - offset))

    def allocate(self, index: int, address: int, length_bytes: int, signed: Signed | None) -> Extent:
        """Reserve room for a segment behind those already there.

        Raises:
            InvalidInput: no room, too many segments, or the addresses overlap a segment.
            PowerCut: power was lost.
        """
        bank = self.state.banks[index]
        offset = sum(extent.length_bytes for extent in bank.extents)
        overlaps = any(
            address < extent.address + extent.length_bytes and extent.address < address + length_bytes
            for extent in bank.extents
        )
        if length_bytes < 1 or offset + length_bytes > self.state.bank_bytes or overlaps:
            raise InvalidInput("the segment does not fit the bank")
        if len(bank.extents) == SEGMENTS_MAX:
            raise InvalidInput(f"more than {SEGMENTS_MAX} segments")
        extent = Extent(address, length_bytes, offset)
        self.store_bank(index, Bank(extents=(*bank.extents, extent), signed=signed))
        return extent

    def program(self, index: int, offset: int, data: bytes) -> None:
        """Write bytes at an offset of a bank. Raises: PowerCut."""
        self._medium.write(self._start(index) + offset, data)

    def content(self, index: int) -> Iterator[bytes]:
        """Return the bytes of all segments in order of address, in chunks."""
        start = self._start(index)
        for extent in sorted(self.state.banks[index].extents):
            for at in range(0, extent.length_bytes, READ_BYTES):
                size = min(READ_BYTES, extent.length_bytes - at)
                yield self._medium.read(start + extent.offset + at, size)

    def digest(self, index: int) -> bytes:
        """Return the digest of a bank's content, as `vehicle.segments.content_digest` defines it."""
        digest = hashlib.sha256()
        start = self._start(index)
        for extent in sorted(self.state.banks[index].extents):
            digest.update(extent.address.to_bytes(8, "big") + extent.length_bytes.to_bytes(8, "big"))
            for at in range(0, extent.length_bytes, READ_BYTES):
                size = min(READ_BYTES, extent.length_bytes - at)
                digest.update(self._medium.read(start + extent.offset + at, size))
        return digest.digest()

    def runnable(self, index: int) -> bool:
        """Say whether a bank is marked valid and still holds what was signed."""
        bank = self.state.banks[index]
        return bank.valid and self.right(index)

    def right(self, index: int) -> bool:
        """Say whether a bank holds what was signed, and the bootloader has nothing of its own against it."""
        signed = self.state.banks[index].signed
        if signed is None or self.digest(index).hex() != signed.content_sha256:
            return False
        return self._accepts is None or self._accepts(b"".join(self.content(index)), signed)

    def boot(self, state: BootState) -> None:
        """Make what the bootloader decided durable; where software runs in the first bank alone, bring it there.

        Raises:
            PowerCut: power was lost; `go_on` at the next start.
        """
        if self._exchange == "direct-xip" or state.active == 0:
            self.store(state)
            return
        begun = Exchange(copied=0, swap=state.swap)
        self.store(msgspec.structs.replace(state, active=0, swap=self.state.swap, exchange=begun))
        self.go_on()

    def go_on(self) -> bool:
        """Finish an exchange that was begun; return whether one was. Raises: PowerCut."""
        if self.state.exchange is None:
            return False
        sector = min(SECTOR_BYTES, self.state.bank_bytes)
        used = max(sum(extent.length_bytes for extent in bank.extents) for bank in self.state.banks)
        copies = exchange_copies(self._exchange, -(-used // sector))
        for done in range(self.state.exchange.copied, len(copies)):
            to, source = (self._sector(place, sector) for place in copies[done])
            content = self._medium.read(source, sector)
            self._medium.erase(to, sector)
            self._medium.write(to, content)
            copied = msgspec.structs.replace(self.state.exchange, copied=done + 1)
            self.store(msgspec.structs.replace(self.state, exchange=copied))
        banks, swap = tuple(reversed(self.state.banks)), self.state.exchange.swap
        self.store(msgspec.structs.replace(self.state, banks=banks, swap=swap, exchange=None))
        return True

    def _sector(self, place: Place, sector_bytes: int) -> int:
        bank, number = place
        if bank == "spare":
            return self._start(2)
        return self._start(0 if bank == "first" else 1) + number * sector_bytes

    def _start(self, index: int) -> int:
        return BANKS_OFFSET + index * self.state.bank_bytes


def exchange_copies(how: ExchangeName, sectors: int) -> list[tuple[Place, Place]]:
    """Return the copies, to and from, that exchange the first sectors of two banks.

    What a copy is made from stands unchanged until the next one begins, so that each may be repeated.

    Source: MCUboot docs/design.md, "Swap using scratch" and "Swap using move".
    """
    if how == "direct-xip":
        return []
    copies: list[tuple[Place, Place]] = []
    if how == "scratch":
        for number in range(sectors):
            first, second, spare = _places(number)
            copies += [(spare, first), (first, second), (second, spare)]
        return copies
    places = [_places(number)[0] for number in range(sectors)] + [("spare", 0)]
    copies += [(places[number + 1], places[number]) for number in reversed(range(sectors))]
    for number in range(sectors):
        first, second, _ = _places(number)
        copies += [(first, second), (second, places[number + 1])]
    return copies


def _places(number: int) -> tuple[Place, Place, Place]:
    return ("first", number), ("second", number), ("spare", 0)


class Booted(NamedTuple):
    """Outcome of a boot: the state to store and whether its active bank is started."""

    state: BootState
    application: bool


def decide_boot(state: BootState, *, runnable: tuple[bool, ...]) -> Booted:
    """Decide what a bootloader starts.

    1. An unconfirmed trial goes back: the reset itself is the verdict.
    2. A bank that is due is tried, once.
    3. What cannot run is not started: a trial goes back at once, a confirmed bank falls back to the other
       one when that may run and is not older than the committed counter, else the bootloader stays.

    Args:
        state: as stored.
        runnable: per bank, whether it is valid, holds its content and survives its start.
    """
    active, swap = state.active, state.swap
    if state.layout == "ab":
        if swap == "trial":  # 1
            active, swap = 1 - active, "none"
        elif swap == "test":  # 2
            active, swap = 1 - active, "trial"
        if not runnable[active] and swap == "trial":  # 3
            active, swap = 1 - active, "none"
        other = state.banks[1 - active]
        if (
            not runnable[active]
            and runnable[1 - active]
            and other.signed is not None
            and other.signed.release_counter >= state.committed_counter
            and state.swap == "none"
        ):
            active = 1 - active
    booted = msgspec.structs.replace(state, active=active, swap=swap, boots=state.boots + 1)
    return Booted(booted, runnable[active])
