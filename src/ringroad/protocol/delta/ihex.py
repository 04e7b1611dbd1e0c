"""Intel HEX files as what they say: a delta between two texts is seven times as large as one between their contents.

`flatten` turns a file into its contents and the few facts that its text depends on; `restore` turns them into
the same text again, byte for byte. A file that would not come back so is not flattened.

Not here: what a file means for a flash (`vehicle/segments.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ringroad.protocol.delta.pieces import PIECE_BYTES, MalformedDelta

TEXT_BYTES_MAX: Final = 8 * 1024**2  # bytes of a file; contents of less than half are held in memory
RUNS_MAX: Final = 4_096  # gaps in a file; one has a handful
_MAGIC: Final = b"RRHX1\0"  # contents begin at a multiple of 4, as instructions do
# magic, end of line, record size, whether page 0 is named, whether pages are segments, start bytes, start, runs
_HEAD: Final = struct.Struct(">6sBBBBB9sI")
_RUN: Final = struct.Struct(">II")
_ENDS: Final = (b"\n", b"\r\n")
_PAGE: Final = 0x1_0000  # bytes that one extended address covers
_ADDRESSES: Final = 1 << 32
_SEGMENT_PAGES: Final = 16  # pages that a segment's 20 bits reach


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """What the text depends on besides its contents."""

    line_end: bytes
    record_bytes: int
    page_first: bool  # whether the first line names page 0
    segments: bool  # whether pages below 1 MiB are named by segment (record 02), as GNU objcopy does
    start: bytes  # the record that says where execution begins, without length and checksum; may be empty


def flatten(text: bytes) -> bytes | None:
    """Return what a file says, or None if `restore` would not give the same text."""
    if len(text) > TEXT_BYTES_MAX:
        return None
    try:
        style, records = _parse(text)
    except ValueError:
        return None
    runs: list[tuple[int, bytearray]] = []
    short = True
    for address, data in records:
        if short or runs[-1][0] + len(runs[-1][1]) != address:
            runs.append((address, bytearray()))
        runs[-1][1].extend(data)
        short = len(data) < style.record_bytes and (address + len(data)) % _PAGE != 0
    if not 0 < len(runs) <= RUNS_MAX:
        return None
    flat = b"".join(
        [
            _HEAD.pack(
                _MAGIC, _ENDS.index(style.line_end), style.record_bytes, style.page_first, style.segments,
                len(style.start), style.start, len(runs),
            ),
            *(_RUN.pack(address, len(data)) for address, data in runs),
            *(data for _, data in runs),
        ]
    )  # fmt: skip
    return flat if b"".join(restore(flat)) == text else None


def restore(flat: bytes) -> Iterator[bytes]:
    """Yield the text again, a piece at a time.

    Raises:
        MalformedDelta: these are not bytes that `flatten` gave.
    """
    if len(flat) < _HEAD.size:
        raise MalformedDelta("no flattened Intel HEX file")
    magic, end, record_bytes, page_first, segments, start_bytes, start, count = _HEAD.unpack_from(flat)
    data_at = _HEAD.size + count * _RUN.size
    if magic != _MAGIC or end >= len(_ENDS) or not record_bytes or start_bytes > len(start):
        raise MalformedDelta("no flattened Intel HEX file")
    if count > RUNS_MAX or data_at > len(flat):
        raise MalformedDelta("a flattened Intel HEX file with too many runs")
    line_end = _ENDS[end]
    lines: list[bytes] = []
    size = 0
    page = -1 if page_first else 0
    for index in range(count):
        address, left = _RUN.unpack_from(flat, _HEAD.size + index * _RUN.size)
        if left > len(flat) - data_at or address + left > _ADDRESSES:
            raise MalformedDelta("a flattened Intel HEX file ends early")
        while left:
            if address // _PAGE != page:
                page = address // _PAGE
                lines.append(_page_record(page, line_end, segments=bool(segments)))
            step = min(left, record_bytes, _PAGE - address % _PAGE)
            lines.append(_record(address % _PAGE, 0, flat[data_at : data_at + step], line_end))
            address, left, data_at, size = address + step, left - step, data_at + step, size + 2 * step
            if size >= PIECE_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
    if data_at != len(flat):
        raise MalformedDelta("a flattened Intel HEX file says more than its runs")
    if start_bytes:
        lines.append(_record(0, start[0], start[1:start_bytes], line_end))
    lines.append(_record(0, 1, b"", line_end))
    yield b"".join(lines)


def _page_record(page: int, line_end: bytes, *, segments: bool) -> bytes:
    if segments and page < _SEGMENT_PAGES:
        return _record(0, 2, (page << 12).to_bytes(2, "big"), line_end)
    return _record(0, 4, page.to_bytes(2, "big"), line_end)


def _record(address: int, kind: int, data: bytes, line_end: bytes) -> bytes:
    body = bytes([len(data), address >> 8, address & 0xFF, kind]) + data
    return b":%b%02X%b" % (body.hex().upper().encode(), -sum(body) & 0xFF, line_end)


def _parse(text: bytes) -> tuple[_Style, list[tuple[int, bytes]]]:
    """Return a file's style and its data records. Raises: ValueError, if it is unusual in any way."""
    line_end = b"\r\n" if b"\r\n" in text[:1024] else b"\n"
    page, page_first, segments, start = 0, False, False, b""
    records: list[tuple[int, bytes]] = []
    for number, line in enumerate(text.split(line_end)):
        if not line:
            continue
        body = bytes.fromhex(line[1:].decode("ascii"))
        if line[:1] != b":" or len(body) < 5 or len(body) != body[0] + 5:
            raise ValueError(number)
        kind, data = body[3], body[4:-1]
        if kind == 0 and data:
            records.append((page * _PAGE + (body[1] << 8 | body[2]), data))
        elif kind in (2, 4) and len(data) == 2:
            page = int.from_bytes(data, "big") >> (12 if kind == 2 else 0)
            segments = segments or kind == 2
            page_first = page_first or (number == 0 and page == 0)
        elif kind in (3, 5) and len(data) <= 8:
            start = bytes([kind]) + data
        elif kind != 1:
            raise ValueError(number)
    size = max((len(data) for _, data in records), default=0)
    style = _Style(
        line_end=line_end, record_bytes=size, page_first=page_first, segments=segments, start=start
    )
    return style, records
