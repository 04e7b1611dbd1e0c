"""A tar archive, read to its end from a stream that may lie about its size. Source: POSIX.1-2017 pax, 4.1.

Only what a package may hold: plain files with plain names. Links, devices, sparse files and names that lead elsewhere
are refused. Nothing is written anywhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ringroad.build.images.facts import refuse

BLOCK_BYTES: Final = 512
MEMBERS_MAX: Final = 10_000
NAME_CHARS_MAX: Final = 1_024
EXTENDED_BYTES_MAX: Final = 64 * 1024  # bytes of a long name or of a pax header
PART_BYTES: Final = 256 * 1024
_DIGITS: Final = re.compile(rb"[ \t\0]*([0-7]*)")
_PAX: Final = re.compile(rb"([0-9]{1,8}) ([^=]+)=")

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file. `content` is there where the file is small enough to keep."""

    name: str
    size: int
    sha256: str
    content: bytes | None


def entries(read: Read, *, what: str, keep_bytes_max: int) -> Iterator[Entry]:
    """Yield the files of an archive; each is read before the next one.

    Args:
        read: returns up to so many bytes, fewer at the end only.
        what: the archive, for messages.
        keep_bytes_max: a file up to this size has its content.

    Raises:
        InvalidInput: truncated, malformed, too many files, or one that no package may hold.
    """
    long_name, long_size, told = "", -1, b""
    for count in range(4 * MEMBERS_MAX):
        header = _exactly(read, BLOCK_BYTES, what)
        if not any(header):
            _end(read, what)
            return
        if count >= MEMBERS_MAX:
            break
        kind, size = header[156:157], _size(header, what)
        if kind in (b"x", b"L"):
            if told not in (b"", kind):  # readers disagree on which of them counts
                refuse("malformed", f"{what}: one file has a pax header and a GNU name")
            told = kind
            if size > EXTENDED_BYTES_MAX:
                refuse("oversized", f"{what}: a name of {size} bytes")
            body = _exactly(read, size, what)
            _exactly(read, -size % BLOCK_BYTES, what)
            if kind == b"L":
                long_name = body.rstrip(b"\0").decode("utf-8", "replace")
            else:
                long_name, long_size = _pax(body, what)
            continue
        name = long_name or _name(header)
        size = long_size if long_size >= 0 else size
        long_name, long_size, told = "", -1, b""
        if kind == b"5" and size == 0:
            _check_name(name.rstrip("/"), what)
            continue
        if kind not in (b"0", b"\0"):
            refuse("unsupported", f"{what}: {name[:80]!r} is no plain file")
        _check_name(name, what)
        digest, kept, left = hashlib.sha256(), bytearray(), size
        while left:
            part = _exactly(read, min(left, PART_BYTES), what)
            digest.update(part)
            if size <= keep_bytes_max:
                kept += part
            left -= len(part)
        _exactly(read, -size % BLOCK_BYTES, what)
        content = bytes(kept) if size <= keep_bytes_max else None
        yield Entry(name=name, size=size, sha256=digest.hexdigest(), content=content)
    refuse("oversized", f"{what} has more than {MEMBERS_MAX} files")


def is_header(block: bytes) -> bool:
    """Tell whether some reader of tars, strict or not, would take a block for a header: its checksum holds."""
    if len(block) < BLOCK_BYTES:
        return False
    stored = block[148:156]
    digits = _DIGITS.match(stored)
    said = (
        int.from_bytes(stored[1:], "big") if stored[0] & 0x80 else int(digits[1] or b"0", 8) if digits else 0
    )
    rest = block[:148] + block[156:]
    total = sum(rest) + 8 * 32
    return said in (total, total - 256 * sum(byte >> 7 for byte in rest))  # old ones add signed bytes


def _check_name(name: str, what: str) -> None:
    parts = name.split("/")
    if len(name) > NAME_CHARS_MAX or "\0" in name or "\\" in name or any(p in ("", ".", "..") for p in parts):
        refuse("malformed", f"{what}: the name {name[:80]!r} leads out of the archive, or is none")


def _size(header: bytes, what: str) -> int:
    stored = header[148:156].split(b"\0")[0].strip(b" ")
    total = sum(header[:148]) + 8 * 32 + sum(header[156:])
    if not re.fullmatch(rb"[0-7]{1,7}", stored) or int(stored, 8) != total:
        refuse("malformed", f"{what}: a header's checksum does not hold")
    field = header[124:136]
    if field[0] & 0x80:  # base 256, for 8 GiB and more
        return int.from_bytes(field, "big") & ((1 << 95) - 1)
    digits = field.split(b"\0")[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]{0,12}", digits) or (not digits and field.strip(b" \0")):
        refuse("malformed", f"{what}: a header's size is no number")
    return int(digits or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0")[0].decode("utf-8", "replace")
    prefix = header[345:500].split(b"\0")[0].decode("utf-8", "replace")
    return f"{prefix}/{name}" if header[257:262] == b"ustar" and prefix else name


def _pax(body: bytes, what: str) -> tuple[str, int]:
    name, size, at = "", -1, 0
    while at < len(body):
        match = _PAX.match(body, at)
        length = int(match[1]) if match else 0
        if match is None or length <= match.end() - at or at + length > len(body):
            refuse("malformed", f"{what}: a pax header that makes no sense")
        value = body[match.end() : at + length - 1]
        if match[2] == b"path":
            name = value.decode("utf-8", "replace")
        elif match[2] == b"size":
            if not value.isdigit() or len(value) > 18:
                refuse("malformed", f"{what}: a pax size that is no number")
            size = int(value)
        elif match[2] not in (b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"):
            refuse("unsupported", f"{what}: a pax header {match[2][:40]!r}")
        at += length
    return name, size


def _exactly(read: Read, size: int, what: str) -> bytes:
    """Read so many bytes. Raises: InvalidInput, it ends before."""
    found = bytearray()
    while len(found) < size:
        part = read(size - len(found))
        if not part:
            refuse("truncated", f"{what} ends {size - len(found)} bytes early")
        found += part
    return bytes(found)


def _end(read: Read, what: str) -> None:
    """Read the rest, which is empty blocks."""
    total = 0
    while part := read(PART_BYTES):
        total += len(part)
        if any(part):
            refuse("malformed", f"{what} has something behind its end")
        if total > 1024 * BLOCK_BYTES:
            refuse("oversized", f"{what} has half a megabyte of nothing behind its end")
