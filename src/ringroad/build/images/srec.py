"""Motorola S-record. Source: the `srec(5)` manual page; S19, S28 and S37 files.

Stricter than most readers: every line must check, a count record must be right, the end record must be last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ringroad.build.images.facts import Parsed, refuse
from ringroad.build.images.mcuboot import peek
from ringroad.build.images.memory import Chunk, join

_ADDRESS_BYTES = {0: 2, 1: 2, 2: 3, 3: 4, 5: 2, 6: 3, 7: 4, 8: 3, 9: 2}


@dataclass(slots=True)
class _State:
    header: str = ""
    data_records: int = 0
    entry: int | None = None
    end_line: int = 0
    chunks: list[Chunk] = field(default_factory=list)


def parse_srec(text: bytes) -> Parsed:
    """Read an S-record file.

    Raises:
        InvalidInput: with the line: not a record, wrong checksum or count, overlap, no end record.
    """
    state = _State()
    for number, raw in enumerate(text.splitlines(), 1):
        row = raw.strip(b" \t\x1a")
        if not row:
            continue
        if state.end_line:
            refuse("malformed", f"line {number}: a record follows the end record of line {state.end_line}")
        _record(state, number, row)
    if not state.end_line:
        refuse(
            "truncated", "the end record (S7, S8 or S9) is missing", hint="the file was cut; export it again"
        )
    areas = join(state.chunks)
    if not areas:
        refuse("empty", "the file holds no data record")
    inner = peek(areas[0][1])
    details = {"header": state.header, "records": state.data_records}
    return Parsed(
        length=sum(len(data) for _, data in areas),
        version=inner.version if inner else None,
        load_address=areas[0][0].start,
        ranges=tuple(area for area, _ in areas),
        entry=state.entry,
        security_counter=inner.security_counter if inner else None,
        details=details | ({"mcuboot": dict(inner.details)} if inner else {}),
    )


def _record(state: _State, number: int, row: bytes) -> None:
    if row[:1] != b"S" or not row[1:2].isdigit():
        refuse("malformed", f"line {number}: a record starts with 'S' and a digit, not {row[:2]!r}")
    kind = row[1] - ord("0")
    if kind not in _ADDRESS_BYTES:
        refuse("malformed", f"line {number}: unknown record type S{kind}")
    record = _decode(number, row)
    width = _ADDRESS_BYTES[kind]
    if len(record) < width + 2:
        refuse("malformed", f"line {number}: an S{kind} record needs {width} address bytes")
    address = int.from_bytes(record[1 : 1 + width], "big")
    data = record[1 + width : -1]
    if kind == 0:
        state.header = data.decode("ascii", "replace").rstrip("\0")[:200]
    elif kind <= 3:
        state.data_records += 1
        if data:
            state.chunks.append(Chunk(address, data, number))
    elif kind in (5, 6):
        if data or address != state.data_records:
            refuse(
                "truncated", f"line {number}: {address} data records announced, {state.data_records} found"
            )
    else:
        if data:
            refuse("malformed", f"line {number}: an end record holds no data")
        state.entry, state.end_line = address, number


def _decode(number: int, row: bytes) -> bytes:
    """Return the bytes of one record: count, address, data, checksum."""
    try:
        record = bytes.fromhex(row[2:].decode("ascii"))
    except ValueError:
        record = b""
    if 2 * len(record) != len(row) - 2 or not record:
        code = "truncated" if row.isalnum() else "malformed"
        refuse(code, f"line {number}: not pairs of hex digits")
    if len(record) != record[0] + 1:
        code = "truncated" if len(record) < record[0] + 1 else "malformed"
        refuse(code, f"line {number}: {len(record)} bytes, but its count field asks for {record[0] + 1}")
    right = ~sum(record[:-1]) & 0xFF
    if record[-1] != right:
        refuse("checksum", f"line {number}: checksum is {record[-1]:02X}, computed {right:02X}")
    return record
