"""HDIFF13 of HDiffPatch: four sections, each packed with LZMA2 or not at all.

========  ==========================================================================================
covers    which part of the base each part of the new image is like: offset, gap and length
control   runs over the whole new image: add 0, add 255, add one byte, add the next bytes of `values`
values    the bytes that `control` adds to the base
literals  the bytes that are like nothing in the base
========  ==========================================================================================

Procedure of `rebuild`:

1. Read the header; compare its sizes with the announced ones and with the file's.
2. For each cover: literals up to its beginning, then the base's bytes with control and values added.
3. Literals up to the end; every section is used up.

Source: github.com/sisong/HDiffPatch, libHDiffPatch/HPatch/patch.c (MIT), whose `hpatchz` reads the same files.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringroad.protocol.delta.pieces import (
    NUMBER_MAX,
    PIECE_BYTES,
    MalformedDelta,
    ReadAt,
    add_bytes,
    read_exactly,
)

MAGIC: Final = b"HDIFF13&"
PACKINGS: Final = (b"lzma2\0", b"\0")  # what may follow; the second packs nothing
HEADER_BYTES_MAX: Final = 160  # bytes; magic, packing and eleven numbers of up to ten bytes
SECTIONS: Final = ("covers", "control", "values", "literals")
DICTIONARY_BYTES_MAX: Final = (
    2 * 1024**2
)  # bytes per section; eight MiB for the four, of the 16 that an ECU has
_NUMBER_BYTES_MAX: Final = 10
_READ_BYTES: Final = 16 * 1024  # bytes of a section read or unpacked at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Where one section lies in the delta.

    Attributes:
        start: offset of its first byte.
        stored_bytes: in the delta.
        plain_bytes: unpacked.
        packed: whether it is packed.
    """

    start: int
    stored_bytes: int
    plain_bytes: int
    packed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The beginning of a delta.

    Attributes:
        new_bytes: of the new image.
        base_bytes: of the base.
        covers: how many.
        sections: in the order of `SECTIONS`.
        end: offset behind the last section.
    """

    new_bytes: int
    base_bytes: int
    covers: int
    sections: tuple[Section, ...]
    end: int


def parse_header(start: bytes) -> Header:
    """Read the beginning of a delta.

    Raises:
        MalformedDelta: it is none, or packed in a way that is not read here.
    """
    packing = next((one for one in PACKINGS if start.startswith(MAGIC + one)), None)
    if packing is None:
        raise MalformedDelta("this is no HDIFF13 packed with LZMA2")
    offset = len(MAGIC) + len(packing)
    numbers: list[int] = []
    while len(numbers) < 3 + 2 * len(SECTIONS):
        value, offset = _number(start, offset)
        numbers.append(value)
    new_bytes, base_bytes, covers, *sizes = numbers
    sections = []
    for index in range(len(SECTIONS)):
        plain, packed = sizes[2 * index : 2 * index + 2]
        if packed and packing == b"\0":
            raise MalformedDelta("a section is packed, and the header does not say how")
        stored = packed or plain
        sections.append(Section(start=offset, stored_bytes=stored, plain_bytes=plain, packed=packed > 0))
        offset += stored
    return Header(
        new_bytes=new_bytes, base_bytes=base_bytes, covers=covers, sections=tuple(sections), end=offset
    )


def dictionary_bytes(bits: int) -> int:
    """Return the size of the dictionary that the first byte of LZMA2 names."""
    return (2 | bits & 1) << (bits // 2 + 11)


def rebuild(
    read_base: ReadAt, base_bytes: int, read_delta: ReadAt, delta_bytes: int, *, length: int
) -> Iterator[bytes]:
    """Yield the new image of `length` bytes, a piece at a time.

    Args:
        read_base: of the base, whose digest was compared.
        base_bytes: its size.
        read_delta: of the delta, whose digest was compared.
        delta_bytes: its size.
        length: announced size of the new image.

    Raises:
        MalformedDelta: at any piece.
    """
    header = parse_header(read_delta(0, min(HEADER_BYTES_MAX, delta_bytes)))  # 1
    if (header.new_bytes, header.base_bytes, header.end) != (length, base_bytes, delta_bytes):
        raise MalformedDelta("the delta is for images of other sizes")
    covers, control, values, literals = (_Reader(read_delta, section) for section in header.sections)
    added = _Added(control, values)
    done = base_end = 0
    for index in range(header.covers):  # 2
        sign, step = covers.number(tag_bits=1)
        base_at = base_end - step if sign else base_end + step
        gap, size = covers.number()[1], covers.number()[1]
        if not 0 <= base_at <= base_bytes or size > base_bytes - base_at or gap + size > length - done:
            raise MalformedDelta(f"cover {index} lies outside of an image")
        if gap + size == 0 and index + 1 < header.covers:
            raise MalformedDelta(f"cover {index} is empty")
        yield from _copied(literals, added, gap)
        base_end, done = base_at + size, done + gap + size
        while base_at < base_end:
            piece = read_exactly(read_base, base_at, min(PIECE_BYTES, base_end - base_at), what="the base")
            base_at += len(piece)
            yield added.to(piece)
    yield from _copied(literals, added, length - done)  # 3
    if added.left or not all(reader.used_up() for reader in (covers, control, values, literals)):
        raise MalformedDelta("the delta says more than the image holds")


def _copied(literals: _Reader, added: _Added, size: int) -> Iterator[bytes]:
    """Yield the next literals; control runs over them too and adds nothing there."""
    added.skip(size)
    while size:
        piece = literals.take(min(size, PIECE_BYTES))
        size -= len(piece)
        yield piece


class _Reader:
    """One section, unpacked as it is read."""

    def __init__(self, read: ReadAt, section: Section) -> None:
        self._read = read
        self._at = section.start
        self._end = section.start + section.stored_bytes
        self._plain_left = section.plain_bytes
        self._unpack = self._open() if section.packed else None
        self._kept = b""
        self._kept_at = 0

    def byte(self) -> int:
        """Return the next byte."""
        if self._kept_at == len(self._kept):
            self._fill()
        self._kept_at += 1
        return self._kept[self._kept_at - 1]

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes."""
        piece = self._kept[self._kept_at : self._kept_at + size]
        self._kept_at += len(piece)
        if len(piece) == size:
            return piece
        parts, left = [piece], size - len(piece)
        while left:
            self._fill()
            part = self._kept[:left]
            self._kept_at = len(part)
            left -= len(part)
            parts.append(part)
        return b"".join(parts)

    def number(self, *, tag_bits: int = 0) -> tuple[int, int]:
        """Return the tag in the first byte's high bits, and the number behind it."""
        byte = self.byte()
        more_bit = 1 << (7 - tag_bits)
        tag, value = byte >> (8 - tag_bits), byte & (more_bit - 1)
        more = byte & more_bit
        for _ in range(_NUMBER_BYTES_MAX):
            if not more:
                return tag, value
            byte = self.byte()
            value, more = value << 7 | byte & 0x7F, byte & 0x80
            if value > NUMBER_MAX:
                break
        raise MalformedDelta("a number is too large")

    def used_up(self) -> bool:
        """Say whether every byte was taken."""
        return self._plain_left == 0 and self._kept_at == len(self._kept)

    def _open(self) -> lzma.LZMADecompressor:
        bits = read_exactly(self._read, self._at, 1, what="the delta")[0]
        size = dictionary_bytes(bits)
        if size > DICTIONARY_BYTES_MAX:
            raise MalformedDelta(f"a dictionary of {size} bytes, limit {DICTIONARY_BYTES_MAX}")
        self._at += 1
        return lzma.LZMADecompressor(
            format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": size}]
        )

    def _fill(self) -> None:
        """Have at least one more byte, or refuse."""
        got = b""
        if self._plain_left:
            wanted = min(_READ_BYTES, self._plain_left)
            got = self._stored(wanted) if self._unpack is None else self._unpacked(self._unpack, wanted)
        if not got:
            raise MalformedDelta("a section of the delta ends early")
        self._kept, self._kept_at = got, 0
        self._plain_left -= len(got)

    def _stored(self, size: int) -> bytes:
        got = self._read(self._at, min(size, self._end - self._at))
        self._at += len(got)
        return got

    def _unpacked(self, unpack: lzma.LZMADecompressor, size: int) -> bytes:
        try:
            while not unpack.eof:
                stored = self._stored(_READ_BYTES) if unpack.needs_input else b""
                got = unpack.decompress(stored, max_length=size)
                if got or (unpack.needs_input and self._at == self._end):
                    return got
        except lzma.LZMAError as error:
            raise MalformedDelta(f"a section does not unpack: {error}") from error
        return b""


_ADD_NOTHING: Final = 0
_ADD_255: Final = 1
_ADD_BYTE: Final = 2
_ADD_VALUES: Final = 3


class _Added:
    """What is added to the base: runs that go over the whole new image."""

    def __init__(self, control: _Reader, values: _Reader) -> None:
        self._control = control
        self._values = values
        self._kind = _ADD_NOTHING
        self._byte = 0
        self.left = 0  # bytes of the run

    def to(self, piece: bytes) -> bytes:
        """Return `piece` with what the control says of it added."""
        size, at = len(piece), 0
        if self.left >= size and self._kind == _ADD_NOTHING:
            self.left -= size
            return piece  # most of an image is like its base
        sums = bytearray(size)  # what to add, 0 where nothing
        while at < size:
            step = self._run(size - at)
            if self._kind == _ADD_VALUES:
                sums[at : at + step] = self._values.take(step)
            elif self._kind != _ADD_NOTHING:
                sums[at : at + step] = bytes([self._byte]) * step
            at += step
        return add_bytes(piece, bytes(sums))

    def skip(self, size: int) -> None:
        """Go over bytes that nothing is added to."""
        while size:
            step = self._run(size)
            if self._kind == _ADD_VALUES:
                self._values.take(step)
            size -= step

    def _run(self, size: int) -> int:
        """Return how many of the next `size` bytes one run covers, and count them as done."""
        if not self.left:
            self._kind, more = self._control.number(tag_bits=2)
            self.left = more + 1
            if self._kind == _ADD_255:
                self._byte = 255
            elif self._kind == _ADD_BYTE:
                self._byte = self._values.byte()
        step = min(self.left, size, PIECE_BYTES)
        self.left -= step
        return step


def _number(data: bytes, offset: int) -> tuple[int, int]:
    value = 0
    for at in range(offset, min(offset + _NUMBER_BYTES_MAX, len(data))):
        value = value << 7 | data[at] & 0x7F
        if value > NUMBER_MAX:
            break
        if data[at] < 0x80:
            return value, at + 1
    raise MalformedDelta("the delta's header ends early or says a number that is too large")
