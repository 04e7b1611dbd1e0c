"""HPatchLite: one stream, packed with tinyuz, that an MCU applies to its other bank as it arrives.

The stream says how many covers there are; then for each: its length, where it lies in the base, how many literals
come before it, those literals, and what is added to the base (nothing, or a byte for each byte).

Every buffer comes out of one `Buffers`, so that what an MCU needs is counted and not guessed.

Source: github.com/sisong/HDiffPatch, libHDiffPatch/HPatchLite/hpatch_lite.c (MIT).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringroad.protocol.delta.pieces import NUMBER_MAX, MalformedDelta, ReadAt, add_bytes, read_exactly
from ringroad.protocol.delta.tinyuz import DICTIONARY_SIZE_BYTES, Unpacker

MAGIC: Final = b"hI"
PLAIN: Final = 0  # compression by number; what would not get smaller is not packed
TINYUZ: Final = 1
VERSION: Final = 1
BUFFER_BYTES_MAX: Final = 4 * 1024  # bytes; what an MCU in its bootloader can spare
CODE_BYTES: Final = 128  # packed bytes read at a time
PIECE_BYTES: Final = 256  # bytes of the base, and as many of what is added, at a time; a flash page
DICTIONARY_BYTES_MAX: Final = BUFFER_BYTES_MAX - CODE_BYTES - 2 * PIECE_BYTES
_NUMBER_BYTES_MAX: Final = 8


class Buffers:
    """Every buffer of one run, counted."""

    def __init__(self, bytes_max: int = BUFFER_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self.used_bytes = 0

    def take(self, size: int, *, what: str) -> bytearray:
        """Return a new buffer. Raises: MalformedDelta, if all of them would be too large."""
        self.used_bytes += size
        if self.used_bytes > self._bytes_max:
            raise MalformedDelta(f"{what} of {size} bytes, limit {self._bytes_max} for all buffers")
        return bytearray(size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The beginning of a delta.

    Attributes:
        new_bytes: of the new image.
        dictionary_bytes: that unpacking needs; 0 when nothing is packed.
        end: offset of the stream.
    """

    new_bytes: int
    dictionary_bytes: int
    end: int


HEADER_BYTES_MAX: Final = len(MAGIC) + 2 + 7 + 7 + DICTIONARY_SIZE_BYTES


def parse_header(start: bytes) -> Header:
    """Read the beginning of a delta.

    Raises:
        MalformedDelta: it is none, or packed in a way that is not read here.
    """
    if len(start) < 4 or start[:2] != MAGIC or start[2] not in (PLAIN, TINYUZ) or start[3] >> 6 != VERSION:
        raise MalformedDelta("this is no HPatchLite packed with tinyuz")
    new_end = 4 + (start[3] & 7)
    sizes_end = new_end + (start[3] >> 3 & 7)
    end = sizes_end + (DICTIONARY_SIZE_BYTES if start[2] == TINYUZ else 0)
    if len(start) < end:
        raise MalformedDelta("the delta's header ends early")
    if start[2] == TINYUZ and not any(start[sizes_end:end]):
        raise MalformedDelta("a dictionary of no bytes")
    return Header(
        new_bytes=int.from_bytes(start[4:new_end], "little"),
        dictionary_bytes=int.from_bytes(start[sizes_end:end], "little"),
        end=end,
    )


def rebuild(
    read_base: ReadAt,
    base_bytes: int,
    read_delta: ReadAt,
    delta_bytes: int,
    *,
    length: int,
    buffers: Buffers | None = None,
) -> Iterator[bytes]:
    """Yield the new image of `length` bytes, a piece at a time.

    Args:
        read_base: of the base, whose digest was compared.
        base_bytes: its size.
        read_delta: of the delta, whose digest was compared.
        delta_bytes: its size.
        length: announced size of the new image.
        buffers: where the run's buffers come from, for whoever counts them.

    Raises:
        MalformedDelta: at any piece.
    """
    header = parse_header(read_delta(0, min(HEADER_BYTES_MAX, delta_bytes)))
    if header.new_bytes != length:
        raise MalformedDelta("the delta is for an image of another size")
    stream = _Stream(read_delta, delta_bytes, header, buffers or Buffers())
    done = base_end = 0
    covers = stream.number()
    for index in range(covers):
        size = stream.number()
        tag = stream.byte()
        step = stream.number(begun=tag & 31) if tag & 32 else tag & 31
        base_at = base_end - step if tag & 64 else base_end + step
        gap = stream.number()
        if not 0 <= base_at <= base_bytes or size > base_bytes - base_at or gap + size > length - done:
            raise MalformedDelta(f"cover {index} lies outside of an image")
        if size == 0 and index + 1 < covers:
            raise MalformedDelta(f"cover {index} is empty")
        while gap:
            piece = stream.take(min(gap, PIECE_BYTES))
            gap -= len(piece)
            done += len(piece)
            yield piece
        base_end, done = base_at + size, done + size
        while base_at < base_end:
            piece = read_exactly(read_base, base_at, min(PIECE_BYTES, base_end - base_at), what="the base")
            base_at += len(piece)
            yield piece if tag & 128 else add_bytes(piece, stream.take(len(piece)))
    if done != length:
        raise MalformedDelta("the delta says less than the image holds")


class _Stream:
    """The unpacked stream, and the buffers that it needs."""

    def __init__(self, read: ReadAt, delta_bytes: int, header: Header, buffers: Buffers) -> None:
        self._read = read
        self._at = header.end
        self._end = delta_bytes
        self._unpacker: Unpacker | None = None
        if header.dictionary_bytes:
            self._unpacker = Unpacker(
                self._code,
                dictionary=buffers.take(header.dictionary_bytes, what="a dictionary"),
                cache=buffers.take(CODE_BYTES, what="a code cache"),
            )
        buffers.take(PIECE_BYTES, what="a piece of the base")
        self._piece = memoryview(buffers.take(PIECE_BYTES, what="a piece of what is added"))

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, at most `PIECE_BYTES`."""
        piece = self._piece[:size]
        if self._unpacker is not None:
            self._unpacker.into(piece)
        elif self._code(piece) != size:
            raise MalformedDelta("the delta ends early")
        return bytes(piece)

    def byte(self) -> int:
        """Return the next byte."""
        return self.take(1)[0]

    def number(self, *, begun: int = 0) -> int:
        """Return a number of seven bits a byte."""
        value = begun
        for _ in range(_NUMBER_BYTES_MAX):
            byte = self.byte()
            value = value << 7 | byte & 0x7F
            if value > NUMBER_MAX:
                break
            if byte < 0x80:
                return value
        raise MalformedDelta("a number is too large")

    def _code(self, into: memoryview) -> int:
        got = self._read(self._at, min(len(into), self._end - self._at))
        self._at += len(got)
        into[: len(got)] = got
        return len(got)
