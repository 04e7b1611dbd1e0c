"""What both halves of ISO-TP share: addresses, settings, results, and the bytes of a flow control."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.can import CLASSIC_BYTES_MAX, DATA_BYTES, EXTENDED, can_id, data_bytes

TIMEOUT_MS: Final = 1000  # N_As, N_Ar, N_Bs, N_Cr. Source: ISO 15765-2, table 16
MESSAGE_BYTES_MAX: Final = 65_535  # bytes; the largest UDS message we negotiate
SHORT_LENGTH_MAX: Final = 4095  # longer ones need the first frame's 32-bit length
BURST_FRAMES_MAX: Final = 64  # frames handed over and not yet on the bus
WAITS_MAX: Final = 10  # N_WFTmax, ours and what we bear of the other side; in a row
WAIT_EVERY_US: Final = 500_000  # half of N_Bs, so that one late WAIT does not end the message
PADDING: Final = (
    0xCC  # alternates on the wire, so that no stuff bits are needed. Source: ISO 15765-2, 10.4.2.1
)
RESERVED_ST_MIN_US: Final = 127_000  # what a reserved STmin counts as. Source: ISO 15765-2, 9.6.5.5


class Result(StrEnum):
    """How a message ended. Source: ISO 15765-2, 8.3.7."""

    TIMEOUT_A = "N_TIMEOUT_A"
    TIMEOUT_BS = "N_TIMEOUT_Bs"
    TIMEOUT_CR = "N_TIMEOUT_Cr"
    WRONG_SN = "N_WRONG_SN"
    INVALID_FS = "N_INVALID_FS"
    UNEXP_PDU = "N_UNEXP_PDU"
    WFT_OVRN = "N_WFT_OVRN"
    BUFFER_OVFLW = "N_BUFFER_OVFLW"


class FlowStatus(IntEnum):
    """What a receiver says in a flow control frame."""

    CONTINUE = 0
    WAIT = 1
    OVERFLOW = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A message has come, whole."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Sent:
    """The last frame of the message is on the bus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aborted:
    """A message ended before its time; `sending` says which way it went."""

    result: Result
    sending: bool


Event = Delivered | Sent | Aborted


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a link's frames go to and come from; the named makers know the formats of the standard.

    Attributes:
        tx_id: identifier of our frames, as `can.can_id` returns it.
        rx_id: identifier of theirs.
        tx_prefix: the address byte before what we send, or none.
        rx_prefix: the one before what we take; frames with another are somebody else's.
    """

    tx_id: int
    rx_id: int
    tx_prefix: bytes = b""
    rx_prefix: bytes = b""

    def __post_init__(self) -> None:
        """Refuse identifiers that cannot be told apart."""
        if self.tx_id == self.rx_id and self.tx_prefix == self.rx_prefix:
            raise InvalidInput("a link needs one identifier for each direction")
        if len(self.tx_prefix) != len(self.rx_prefix) or len(self.tx_prefix) > 1:
            raise InvalidInput("an address byte stands before the frames of both directions, or of none")

    @classmethod
    def normal(cls, tx_id: int, rx_id: int) -> Address:
        """Two identifiers, nothing in the data."""
        return cls(tx_id=can_id(tx_id), rx_id=can_id(rx_id))

    @classmethod
    def normal_fixed(cls, target: int, source: int, *, functional: bool = False) -> Address:
        """29 bits made of two 8-bit addresses; functional ones are only heard, never answered to."""
        kind = 0x18DB_0000 if functional else 0x18DA_0000
        return cls(
            tx_id=EXTENDED | kind | _byte(target) << 8 | _byte(source),
            rx_id=EXTENDED | kind | source << 8 | target,
        )

    @classmethod
    def extended(cls, tx_id: int, rx_id: int, *, target: int, source: int) -> Address:
        """The target's address is the first byte of the data."""
        return cls(
            tx_id=can_id(tx_id), rx_id=can_id(rx_id),
            tx_prefix=bytes((_byte(target),)), rx_prefix=bytes((_byte(source),)),
        )  # fmt: skip

    @classmethod
    def mixed(cls, tx_id: int, rx_id: int, *, extension: int) -> Address:
        """11 bits and an address extension as first byte: remote diagnostics behind a gateway."""
        prefix = bytes((_byte(extension),))
        return cls(tx_id=can_id(tx_id), rx_id=can_id(rx_id), tx_prefix=prefix, rx_prefix=prefix)

    @classmethod
    def mixed_fixed(cls, target: int, source: int, *, extension: int) -> Address:
        """29 bits made of two addresses, and an address extension as first byte."""
        prefix = bytes((_byte(extension),))
        return cls(
            tx_id=EXTENDED | 0x18CE_0000 | _byte(target) << 8 | _byte(source),
            rx_id=EXTENDED | 0x18CE_0000 | source << 8 | target,
            tx_prefix=prefix, rx_prefix=prefix,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class IsotpSettings:
    """How one side of a link behaves. Checked when made.

    Attributes:
        address: whose frames.
        frame_bytes: longest frame we send (TX_DL): 8, or up to 64 on CAN FD.
        block_size: consecutive frames we take between two flow controls; 0 is all of them.
        st_min_us: shortest gap we ask for: 0 to 127 whole milliseconds, or 100 to 900 µs in hundreds.
        message_bytes_max: longest message we take; longer ones are refused with an overflow.
        padding: byte that fills frames up, or None for frames as short as they can be.
        n_as_ms: for a frame of ours to get onto the bus (also N_Ar).
        n_bs_ms: for a flow control to come.
        n_cr_ms: for the next consecutive frame to come.
        waits_max: WAIT frames in a row, sent and borne.
    """

    address: Address
    frame_bytes: int = CLASSIC_BYTES_MAX
    block_size: int = 0
    st_min_us: int = 0
    message_bytes_max: int = MESSAGE_BYTES_MAX
    padding: int | None = PADDING
    n_as_ms: int = TIMEOUT_MS
    n_bs_ms: int = TIMEOUT_MS
    n_cr_ms: int = TIMEOUT_MS
    waits_max: int = WAITS_MAX

    def __post_init__(self) -> None:
        """Refuse what cannot be put into a frame."""
        if self.frame_bytes < CLASSIC_BYTES_MAX or self.frame_bytes not in DATA_BYTES:
            raise InvalidInput("frame_bytes must be 8, 12, 16, 20, 24, 32, 48 or 64")
        if not 0 <= self.block_size <= 255:
            raise InvalidInput("block_size must be between 0 and 255")
        encode_st_min(self.st_min_us)
        if not 1 <= self.message_bytes_max < 1 << 32:
            raise InvalidInput("message_bytes_max must be between 1 and 4 GiB")
        if self.padding is not None:
            _byte(self.padding)
        if min(self.n_as_ms, self.n_bs_ms, self.n_cr_ms) < 1 or self.waits_max < 0:
            raise InvalidInput("time-outs must be at least 1 ms, waits_max at least 0")


def encode_st_min(st_min_us: int) -> int:
    """Return the STmin byte. Raises: InvalidInput, when no byte says that."""
    if st_min_us % 1000 == 0 and 0 <= st_min_us <= 127_000:
        return st_min_us // 1000
    if st_min_us % 100 == 0 and 100 <= st_min_us <= 900:
        return 0xF0 + st_min_us // 100
    raise InvalidInput(f"{st_min_us} µs is no STmin", hint="0 to 127 whole ms, or 100 to 900 µs in hundreds")


def decode_st_min(code: int) -> int:
    """Return microseconds for an STmin byte; a reserved one counts as the longest."""
    if code <= 0x7F:
        return code * 1000
    if 0xF1 <= code <= 0xF9:
        return (code - 0xF0) * 100
    return RESERVED_ST_MIN_US


def encode_single(payload: bytes, settings: IsotpSettings) -> bytes | None:
    """Return the single frame that holds `payload`, None when it is too long for one."""
    prefix, length = settings.address.tx_prefix, len(payload)
    if length <= CLASSIC_BYTES_MAX - 1 - len(prefix):
        return pad(prefix + bytes((length,)) + payload, settings)
    if settings.frame_bytes > CLASSIC_BYTES_MAX and length <= settings.frame_bytes - 2 - len(prefix):
        return pad(prefix + bytes((0, length)) + payload, settings)
    return None


def decode_single(data: bytes, prefix: bytes) -> bytes | None:
    """Return what a single frame holds, None when it is none of this address. Source: ISO 15765-2, 9.6.2."""
    at = len(prefix)
    if len(data) < at + 2 or data[:at] != prefix or data[at] >> 4:
        return None
    length, start = data[at], at + 1
    if len(data) > CLASSIC_BYTES_MAX:
        if length:
            return None  # only the longer form is right in a longer frame
        length, start = data[at + 1], at + 2
    return data[start : start + length] if 0 < length <= len(data) - start else None


def pad(data: bytes, settings: IsotpSettings) -> bytes:
    """Fill a frame up: to 8 bytes when frames are padded, and to a length that CAN FD has."""
    size = data_bytes(len(data))
    if settings.padding is None:
        return data.ljust(size, bytes((PADDING,)))
    return data.ljust(max(size, CLASSIC_BYTES_MAX), bytes((settings.padding,)))


def _byte(number: int) -> int:
    if not 0 <= number <= 0xFF:
        raise InvalidInput(f"{number} is no byte")
    return number
