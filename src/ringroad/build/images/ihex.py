"""Intel HEX. Source: Intel, Hexadecimal Object File Format Specification, revision A (1988).

Stricter than most readers: every line must check, the end record must be there and last, nothing may overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringroad.build.images.facts import Parsed, refuse
from ringroad.build.images.mcuboot import peek
from ringroad.build.images.memory import Chunk, join

_DATA, _END, _SEGMENT, _START_SEGMENT, _LINEAR, _START_LINEAR = range(6)
_FIXED_BYTES = {_END: 0, _SEGMENT: 2, _START_SEGMENT: 4, _LINEAR: 2, _START_LINEAR: 4}


@dataclass(slots=True)
class _State:
    base: int = 0
    wraps: bool = False  # only segment addressing (type 02) wraps at 64 KiB
    entry: int | None = None
    end_line: int = 0
    chunks: list[Chunk] = field(default_factory=list)


def parse_ihex(text: bytes) -> Parsed:
    """Read an Intel HEX file.

    Raises:
        InvalidInput: with the line: not a record, wrong checksum, overlap, no end record, data after it.
    """
    state = _State()
    for number, raw in enumerate(text.splitlines(), 1):
        row = raw.strip(b" \t\x1a")
        if not row:
            continue
        if state.end_line:
            refuse("malformed", f"line {number}: a record follows the end record of line {state.end_line}")
        _record(state, number, _decode(number, row))
    if not state.end_line:
        refuse(
            "truncated", "the end record (:00000001FF) is missing", hint="the file was cut; export it again"
        )
    areas = join(state.chunks)
    if not areas:
        refuse("empty", "the file holds no data record")
    inner = peek(areas[0][1])
    return Parsed(
        length=sum(len(data) for _, data in areas),
        version=inner.version if inner else None,
        load_address=areas[0][0].start,
        ranges=tuple(area for area, _ in areas),
        entry=state.entry,
        security_counter=inner.security_counter if inner else None,
        details={"records": len(state.chunks)} | ({"mcuboot": dict(inner.details)} if inner else {}),
    )


def _decode(number: int, row: bytes) -> bytes:
    """Return the bytes of one record: length, address, type, data, checksum."""
    if row[:1] != b":":
        refuse("malformed", f"line {number}: a record starts with ':', not {row[:1]!r}")
    try:
        record = bytes.fromhex(row[1:].decode("ascii"))
    except ValueError:
        record = b""
    if 2 * len(record) != len(row) - 1 or not record:
        code = "truncated" if row[1:].isalnum() else "malformed"
        refuse(code, f"line {number}: not pairs of hex digits")
    if len(record) < 5 or len(record) != record[0] + 5:
        code = "truncated" if len(record) < record[0] + 5 else "malformed"
        refuse(code, f"line {number}: {len(record)} bytes, but its length field asks for {record[0] + 5}")
    if sum(record) & 0xFF:
        right = -sum(record[:-1]) & 0xFF
        refuse("checksum", f"line {number}: checksum is {record[-1]:02X}, computed {right:02X}")
    return record


def _record(state: _State, number: int, record: bytes) -> None:
    offset = int.from_bytes(record[1:3], "big")
    kind = record[3]
    data = record[4:-1]
    if kind in _FIXED_BYTES and len(data) != _FIXED_BYTES[kind]:
        refuse(
            "malformed", f"line {number}: record type {kind:02X} must have {_FIXED_BYTES[kind]} data bytes"
        )
    if kind == _DATA:
        _data(state, number, offset, data)
    elif kind == _END:
        state.end_line = number
    elif kind == _SEGMENT:
        state.base, state.wraps = int.from_bytes(data, "big") << 4, True
    elif kind == _LINEAR:
        state.base, state.wraps = int.from_bytes(data, "big") << 16, False
    elif kind == _START_SEGMENT:
        state.entry = (int.from_bytes(data[:2], "big") << 4) + int.from_bytes(data[2:], "big")
    elif kind == _START_LINEAR:
        state.entry = int.from_bytes(data, "big")
    else:
        refuse("malformed", f"line {number}: unknown record type {kind:02X}")


def _data(state: _State, number: int, offset: int, data: bytes) -> None:
    """Keep data; in segment addressing the offset wraps at 64 KiB within one record."""
    if not data:
        return
    room = 0x10000 - offset
    if state.wraps and room < len(data):
        state.chunks.append(Chunk(state.base + offset, data[:room], number))
        state.chunks.append(Chunk(state.base, data[room:], number))
    else:
        state.chunks.append(Chunk(state.base + offset, data, number))
