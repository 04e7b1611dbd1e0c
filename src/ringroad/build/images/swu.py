"""SWUpdate images: a cpio archive, sw-description first. Source: swupdate doc/source/sw-description.rst.

Every member that sw-description names must be there with the sha256 it gives.
The CMS signature is reported, not verified: its certificate belongs to the device, not to the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ringroad.build.images.facts import Parsed, refuse
from ringroad.build.images.libconfig import TEXT_CHARS_MAX, parse_libconfig

NEWC: Final = b"070701"
CRC: Final = b"070702"
ODC: Final = b"070707"
_HEADER_BYTES: Final = 110
_MEMBERS_MAX: Final = 10_000
_NAME_BYTES_MAX: Final = 4096
_ENTRIES_MAX: Final = 10_000
_CMS_SIGNED_DATA: Final = bytes.fromhex("06092a864886f70d010702")  # OID 1.2.840.113549.1.7.2


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive."""

    name: str
    at: int  # byte where its content starts
    data: memoryview


def parse_swu(data: bytes | memoryview) -> Parsed:
    """Read a .swu file and check every member against sw-description.

    Raises:
        InvalidInput: truncated, not newc or crc, no sw-description, or a member with no or another sha256.
    """
    members = _members(memoryview(data))
    if not members or members[0].name != "sw-description":
        first = members[0].name if members else "nothing"
        refuse("malformed", f"the first member must be sw-description, found {first!r}")
    description = _description(bytes(members[0].data))
    software = description.get("software")
    if not isinstance(software, dict):
        refuse("malformed", "sw-description has no 'software' section")
    version = software.get("version")
    if not isinstance(version, str) or not version:
        refuse("malformed", "sw-description has no software version")
    signature = "absent"
    payload = members[1:]
    if payload and payload[0].name == "sw-description.sig":
        signature = "cms" if _is_cms(payload[0].data) else "raw"
        payload = payload[1:]
    by_name = _by_name(payload)
    named = _check_members(software, by_name)
    if not named:
        refuse("empty", "sw-description installs nothing")
    return Parsed(
        length=len(data),
        version=version,
        details={
            "signature": signature,
            "hardware_compatibility": _hardware(software),
            "members": [{"name": member.name, "bytes": len(member.data)} for member in payload],
            "unnamed_members": sorted(set(by_name) - named),
            "description": str(software.get("description", ""))[:500],
        },
    )


def _members(data: memoryview) -> list[Member]:
    """Read the archive up to its trailer."""
    members: list[Member] = []
    at = 0
    while True:
        if len(data) < at + _HEADER_BYTES:
            refuse("truncated", f"byte {at}: the archive ends without its trailer")
        magic = bytes(data[at : at + 6])
        if magic == ODC:
            refuse(
                "unsupported", "the archive is cpio odc; SWUpdate reads newc and crc", hint="use cpio -H crc"
            )
        if magic not in (NEWC, CRC):
            refuse("malformed", f"byte {at}: {magic!r} is no cpio header")
        fields = _fields(data, at)
        size, name_bytes, check = fields[6], fields[11], fields[12]
        if not 1 < name_bytes <= _NAME_BYTES_MAX:
            refuse("malformed", f"byte {at}: a member name of {name_bytes} bytes")
        start = _align(at + _HEADER_BYTES + name_bytes)
        if len(data) < start + size:
            refuse(
                "truncated",
                f"byte {at}: a member ends at byte {start + size}; the file has {len(data)} bytes",
            )
        name = bytes(data[at + _HEADER_BYTES : at + _HEADER_BYTES + name_bytes - 1]).decode(
            "utf-8", "replace"
        )
        if name == "TRAILER!!!":
            return members
        content = data[start : start + size]
        if magic == CRC and int(np.frombuffer(content, np.uint8).sum(dtype=np.uint64)) & 0xFFFFFFFF != check:
            refuse("checksum", f"byte {at}: the cpio checksum of {name!r} does not match")
        members.append(Member(name, start, content))
        if len(members) > _MEMBERS_MAX:
            refuse("malformed", f"the archive has more than {_MEMBERS_MAX} members")
        at = _align(start + size)


def _fields(data: memoryview, at: int) -> list[int]:
    text = bytes(data[at + 6 : at + _HEADER_BYTES])
    if any(char not in b"0123456789abcdefABCDEF" for char in text):
        refuse("malformed", f"byte {at}: the cpio header holds more than hex digits")
    return [int(text[i : i + 8], 16) for i in range(0, 104, 8)]


def _align(at: int) -> int:
    return (at + 3) & ~3


def _by_name(members: list[Member]) -> dict[str, Member]:
    found: dict[str, Member] = {}
    for member in members:
        if member.name in found:
            refuse("malformed", f"byte {member.at}: {member.name!r} stands twice in the archive")
        found[member.name] = member
    return found


def _description(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("malformed", f"sw-description is not UTF-8 at byte {error.start}")
    if not text.lstrip().startswith("{"):
        return parse_libconfig(text)
    if len(text) > TEXT_CHARS_MAX:
        refuse("oversized", f"sw-description has {len(text)} characters, limit {TEXT_CHARS_MAX}")
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse("malformed", f"sw-description is no JSON: {error}")
    return parsed if isinstance(parsed, dict) else {}


def _check_members(software: dict[str, Any], members: dict[str, Member]) -> set[str]:
    """Check each entry that names a file; return the names."""
    named: set[str] = set()
    for count, entry in enumerate(_entries(software)):
        if count >= _ENTRIES_MAX:
            refuse("malformed", f"sw-description names more than {_ENTRIES_MAX} files")
        name, given = entry["filename"], entry.get("sha256")
        if not isinstance(name, str) or name not in members:
            refuse("truncated", f"sw-description names {name!r}, which is not in the archive")
        if not isinstance(given, str) or not given:
            refuse("hash_missing", f"sw-description gives no sha256 for {name!r}")
        found = hashlib.sha256(members[name].data).hexdigest()
        if given.lower() != found:
            refuse(
                "hash_mismatch", f"byte {members[name].at}: {name!r} has sha256 {found}, announced {given}"
            )
        named.add(name)
    return named


def _entries(node: object) -> Iterator[dict[str, Any]]:
    """Walk groups and lists for entries with a filename, whatever board or slot they stand under."""
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            if "filename" in current:
                yield current
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _hardware(software: dict[str, Any]) -> list[str]:
    """All hardware revisions that the file says it fits, of any board."""
    found: list[str] = []
    pending: list[tuple[str, object]] = [("", software)]
    while pending:
        board, node = pending.pop()
        if not isinstance(node, dict):
            continue
        for key, value in node.items():
            if key == "hardware-compatibility" and isinstance(value, list):
                found.extend(f"{board}:{item}" if board else str(item) for item in value)
            elif isinstance(value, dict):
                pending.append((board or key, value))
    return sorted(set(found))


def _is_cms(data: memoryview) -> bool:
    return len(data) > 20 and data[0] == 0x30 and _CMS_SIGNED_DATA in bytes(data[:32])
