"""Identifiers and routines of our ECUs beyond ISO 14229-1, and their byte layouts.

Shared by the agents and the virtual ECU; described for people in docs/reference/vecu.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ringroad.kernel.errors import InvalidInput

BANKS_MAX: Final = 2


class Did(IntEnum):
    """Data identifiers. Below 0xFD00 those of ISO 14229-1 annex C, from there ours."""

    BOOT_SOFTWARE = 0xF180
    ACTIVE_SESSION = 0xF186
    SOFTWARE_NUMBER = 0xF188
    SOFTWARE_VERSION_OEM = 0xF189
    SERIAL = 0xF18C
    VIN = 0xF190
    HARDWARE = 0xF191
    SOFTWARE_VERSION = 0xF195
    FINGERPRINT_WRITE = 0xF15A
    FINGERPRINT_READ = 0xF15B
    IMAGE_SHA256 = 0xFD00
    SLOT_STATE = 0xFD01
    IDENTITY = 0xFD02
    COMMITTED_COUNTER = 0xFD03


class Rid(IntEnum):
    """Routine identifiers. 0x0202, 0x0203, 0xFF00 and 0xFF01 are the industry's; 0x03xx are ours."""

    CHECK_MEMORY = 0x0202
    CHECK_PRECONDITIONS = 0x0203
    ACTIVATE = 0x0301
    COMMIT = 0x0302
    ROLLBACK = 0x0303
    STATUS = 0x0304
    SELF_TEST = 0x0305
    ERASE = 0xFF00
    CHECK_DEPENDENCIES = 0xFF01


class Layout(IntEnum):
    """How an ECU keeps its software."""

    INPLACE = 0
    AB = 1


class Mode(IntEnum):
    """What answers."""

    BOOTLOADER = 0
    APPLICATION = 1


class Swap(IntEnum):
    """Where an A/B ECU stands between two banks."""

    NONE = 0  # the active bank is confirmed
    TEST = 1  # the other bank boots at the next reset, on trial
    TRIAL = 2  # the active bank is on trial: the next reset goes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the signed metadata say about the bytes that are about to be flashed.

    Attributes:
        version: as signed.
        sha256: of the image file, 32 bytes.
        content_sha256: of the decoded content, 32 bytes, `vehicle.segments.content_digest`.
        release_counter: as signed.
        hardware_id: one the image is for; the ECU refuses another's.
    """

    version: str
    sha256: bytes
    content_sha256: bytes
    release_counter: int
    hardware_id: str

    def encode(self) -> bytes:
        """Return the data of `Did.IDENTITY`."""
        return b"".join(
            (
                b"\x01",
                self.release_counter.to_bytes(4, "big"),
                self.sha256,
                self.content_sha256,
                _text(self.version),
                _text(self.hardware_id),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Identity:
        """Return the identity in `data`. Raises: InvalidInput."""
        reader = _Reader(data)
        reader.expect_format()
        identity = cls(
            release_counter=reader.number(4),
            sha256=reader.take(32),
            content_sha256=reader.take(32),
            version=reader.text(),
            hardware_id=reader.text(),
        )
        reader.expect_end()
        return identity


@dataclass(frozen=True, slots=True, kw_only=True)
class BankStatus:
    """One bank: whether a bootloader would start it, and what it holds."""

    valid: bool
    version: str
    sha256: bytes
    release_counter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotStatus:
    """Data of `Did.SLOT_STATE`, and status record of `Rid.STATUS`."""

    layout: Layout
    mode: Mode
    swap: Swap
    active: int
    committed_counter: int
    capacity_bytes: int
    banks: tuple[BankStatus, ...]

    @property
    def running(self) -> BankStatus | None:
        """The software that runs, None in the bootloader."""
        return self.banks[self.active] if self.mode is Mode.APPLICATION else None

    @property
    def staged(self) -> BankStatus | None:
        """The valid software in the bank that does not run, of an A/B ECU."""
        if self.layout is Layout.INPLACE:
            return None
        other = self.banks[1 - self.active]
        return other if other.valid else None

    def encode(self) -> bytes:
        """Return the bytes."""
        parts = [
            bytes((1, self.layout, self.mode, self.swap, self.active)),
            self.committed_counter.to_bytes(4, "big"),
            self.capacity_bytes.to_bytes(8, "big"),
            bytes((len(self.banks),)),
        ]
        for bank in self.banks:
            parts += [
                bytes((bank.valid,)),
                bank.release_counter.to_bytes(4, "big"),
                bank.sha256,
                _text(bank.version),
            ]
        return b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> SlotStatus:
        """Return the status in `data`. Raises: InvalidInput."""
        reader = _Reader(data)
        reader.expect_format()
        try:
            layout, mode, swap = Layout(reader.number(1)), Mode(reader.number(1)), Swap(reader.number(1))
        except ValueError as error:
            raise InvalidInput("the slot state names an unknown layout, mode or swap") from error
        active, committed, capacity = reader.number(1), reader.number(4), reader.number(8)
        count = reader.number(1)
        if count > BANKS_MAX or active >= count:
            raise InvalidInput(f"the slot state names {count} banks and active bank {active}")
        banks = tuple(
            BankStatus(
                valid=bool(reader.number(1)),
                release_counter=reader.number(4),
                sha256=reader.take(32),
                version=reader.text(),
            )
            for _ in range(count)
        )
        reader.expect_end()
        return cls(
            layout=layout,
            mode=mode,
            swap=swap,
            active=active,
            committed_counter=committed,
            capacity_bytes=capacity,
            banks=banks,
        )


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 255:
        raise InvalidInput(f"{text[:20]!r}... is longer than 255 bytes")
    return bytes((len(data),)) + data


class _Reader:
    """Takes values off bytes; anything missing is InvalidInput."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise InvalidInput("the record is truncated")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self) -> str:
        try:
            return self.take(self.number(1)).decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("the record holds text that is not UTF-8") from error

    def expect_format(self) -> None:
        if self.number(1) != 1:
            raise InvalidInput("the record has an unknown format")

    def expect_end(self) -> None:
        if self._at != len(self._data):
            raise InvalidInput("the record is too long")
