"""MCUboot images: header, payload, type-length-value areas. Source: MCUboot docs/design.md, imgtool 2.5.

The hash is checked here; the signature is the ECU's own business (its key lives there), only its kind is told.
Encrypted images are refused: their hash covers the plain text, which nobody here can see.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any, Final

from ringroad.build.images.facts import AddressRange, Parsed, refuse

MAGIC: Final = b"\x3d\xb8\xf3\x96"
HEADER_BYTES: Final = 32
_INFO_MAGIC: Final = 0x6907
_PROTECTED_MAGIC: Final = 0x6908
_ENCRYPTED_FLAGS: Final = 0x4 | 0x8
_RAM_LOAD: Final = 0x20
_ROM_FIXED: Final = 0x100
_HASHES: Final = {0x10: "sha256", 0x11: "sha384", 0x12: "sha512"}
_SIGNATURES: Final = {0x20: "rsa2048", 0x22: "ecdsa", 0x23: "rsa3072", 0x24: "ed25519"}
_SECURITY_COUNTER: Final = 0x50
_DEPENDENCY: Final = 0x40
_TRAILERS: Final = (
    bytes.fromhex("77c295f360d2ef7f3552500f2cb67980"),  # BOOT_MAX_ALIGN 8
    bytes.fromhex("2de15d29410b8d77679c110f1f8a"),  # larger alignment: two bytes of alignment stand before it
)

Tlv = tuple[int, bytes]


def peek(data: bytes) -> Parsed | None:
    """Return what an MCUboot image inside a hex file says, or None if there is none.

    Raises:
        InvalidInput: it starts like one but is broken.
    """
    return parse_mcuboot(data) if data[:4] == MAGIC else None


def parse_mcuboot(data: bytes | memoryview) -> Parsed:
    """Read an MCUboot image and check its hash.

    Raises:
        InvalidInput: truncated, no hash, a hash that does not match, encrypted, or bytes under no hash.
    """
    if len(data) < HEADER_BYTES:
        refuse("truncated", f"{len(data)} bytes; an MCUboot header has {HEADER_BYTES}")
    magic, load, header, protected, size, flags = struct.unpack_from("<4sIHHII", data, 0)
    major, minor, revision, build = struct.unpack_from("<BBHI", data, 20)
    if magic != MAGIC:
        refuse("mislabelled", f"byte 0: {bytes(magic).hex()} is not MCUboot's magic {MAGIC.hex()}")
    if header < HEADER_BYTES:
        refuse("malformed", f"byte 8: header size {header} is below {HEADER_BYTES}")
    if flags & _ENCRYPTED_FLAGS:
        refuse("unsupported", "byte 16: the image is encrypted, so its hash cannot be checked here")
    if size == 0:
        refuse("empty", "byte 12: the image has no payload")
    payload_end = header + size
    protected_tlvs: list[Tlv] = []
    hashed_end = payload_end
    if protected:
        protected_tlvs, hashed_end = _tlvs(data, payload_end, _PROTECTED_MAGIC)
        if hashed_end - payload_end != protected:
            refuse(
                "malformed",
                f"byte 10: header announces {protected} protected bytes, found {hashed_end - payload_end}",
            )
    tlvs, end = _tlvs(data, hashed_end, _INFO_MAGIC)
    algorithm = _check_hash(data, hashed_end, tlvs)
    trailing = _check_trailing(data, end)
    return Parsed(
        length=len(data),
        version=_version(major, minor, revision, build),
        load_address=load if flags & (_RAM_LOAD | _ROM_FIXED) else None,
        ranges=(AddressRange(start=load, end=load + payload_end),)
        if flags & (_RAM_LOAD | _ROM_FIXED)
        else (),
        security_counter=_counter(protected_tlvs),
        details={
            "header_bytes": header,
            "payload_bytes": size,
            "flags": flags,
            "hash": algorithm,
            "signatures": [_SIGNATURES[kind] for kind, _ in tlvs if kind in _SIGNATURES],
            "dependencies": _dependencies(protected_tlvs),
            "trailing_bytes": trailing,
        },
    )


def _tlvs(data: bytes | memoryview, at: int, magic: int) -> tuple[list[Tlv], int]:
    """Read one area of type-length-values; return it and the position after it."""
    name = "protected TLV" if magic == _PROTECTED_MAGIC else "TLV"
    if len(data) < at + 4:
        refuse("truncated", f"byte {at}: the {name} area is missing; the file has {len(data)} bytes")
    found, total = struct.unpack_from("<HH", data, at)
    if found != magic:
        refuse("malformed", f"byte {at}: {found:#06x} where the {name} area must start with {magic:#06x}")
    end = at + total
    if len(data) < end:
        refuse("truncated", f"byte {at}: the {name} area ends at byte {end}; the file has {len(data)} bytes")
    items: list[Tlv] = []
    at += 4
    while at < end:
        if end < at + 4:
            refuse("malformed", f"byte {at}: a {name} entry does not fit its area")
        kind, length = struct.unpack_from("<HH", data, at)
        if end < at + 4 + length:
            refuse("malformed", f"byte {at}: a {name} entry of {length} bytes does not fit its area")
        items.append((kind, bytes(data[at + 4 : at + 4 + length])))
        at += 4 + length
    if at != end:
        refuse("malformed", f"byte {end}: the {name} area has no room for its own header")
    return items, end


def _check_hash(data: bytes | memoryview, hashed_end: int, tlvs: list[Tlv]) -> str:
    checked = ""
    for kind, value in tlvs:
        if kind in _HASHES:
            checked = _HASHES[kind]
            if hashlib.new(checked, data[:hashed_end]).digest() != value:
                refuse("hash_mismatch", f"the {checked} TLV does not match bytes 0 to {hashed_end}")
    if not checked:
        refuse("hash_missing", "the image has no hash TLV", hint="sign it with imgtool")
    return checked


def _check_trailing(data: bytes | memoryview, end: int) -> int:
    """Bytes after the TLVs are under no hash: only erased flash or a slot trailer may stand there."""
    tail = data[end:]
    if not len(tail):
        return 0
    first = tail[0]
    blank = first in (0x00, 0xFF) and bytes(tail) == bytes([first]) * len(tail)
    if not blank and not any(bytes(tail[-len(magic) :]) == magic for magic in _TRAILERS):
        refuse("malformed", f"byte {end}: {len(tail)} bytes follow the TLVs and no hash covers them")
    return len(tail)


def _counter(tlvs: list[Tlv]) -> int | None:
    for kind, value in tlvs:
        if kind == _SECURITY_COUNTER:
            if len(value) != 4:
                refuse("malformed", f"the security counter has {len(value)} bytes, not 4")
            return int.from_bytes(value, "little")
    return None


def _dependencies(tlvs: list[Tlv]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind, value in tlvs:
        if kind == _DEPENDENCY:
            if len(value) != 12:
                refuse("malformed", f"a dependency TLV has {len(value)} bytes, not 12")
            image, major, minor, revision, build = struct.unpack("<B3xBBHI", value)
            found.append({"image": image, "version_min": _version(major, minor, revision, build)})
    return found


def _version(major: int, minor: int, revision: int, build: int) -> str:
    return f"{major}.{minor}.{revision}" + (f"+{build}" if build else "")
