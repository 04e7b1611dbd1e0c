"""Mender artifacts, version 3: a tar of tars, read to the last byte. Source: mender-artifact, artifact-format-v3.md.

1. `version` says mender, 3.
2. `manifest` has a sha256 for every file; each file that is there must be in it, and each one in it must be there.
3. `manifest.sig` signs the manifest; who made it is decided by `artifact_signature.py`, which knows the keys.
4. `header.tar*` tells what is in it, what it provides and what it depends on; `data/NNNN.tar*` is payload NNNN.

A compressed part may unpack to so much and no more, and to so many times its size and no more.
"""

from __future__ import annotations

import json
import lzma
import re
import zlib
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ringroad.build.images.facts import Parsed, refuse
from ringroad.build.images.tar import BLOCK_BYTES, EXTENDED_BYTES_MAX, Entry, Read, entries, is_header
from ringroad.kernel.limits import IMAGE_BYTES_MAX
from ringroad.trust.artifact_keys import SIGNATURE_CHARS_MAX

DOCUMENT_BYTES_MAX: Final = 1024**2  # bytes of a JSON document or the manifest
HEADER_BYTES_MAX: Final = 16 * 1024**2  # bytes of an unpacked header
RATIO_MAX: Final = (
    1_100  # deflate packs at most 1,032 to 1; more than that is no deflate, and xz of nothing but zeros
)
RATIO_FREE_BYTES: Final = 16 * 1024**2  # bytes that may come of anything
PAYLOADS_MAX: Final = 64
LIST_MAX: Final = 1_000  # entries of a provides or depends
EXTENDED_HEADERS_MAX: Final = 64  # before the first file
PART_BYTES: Final = 256 * 1024
_XZ_MEMORY_MAX: Final = 128 * 1024**2  # bytes; xz -9 needs 65 MiB
_HEADER: Final = re.compile(r"header\.tar(\.gz|\.xz|\.zst)?")
_DATA: Final = re.compile(r"data/([0-9]{4})\.tar(\.gz|\.xz|\.zst)?")
_MANIFEST_LINE: Final = re.compile(r"([0-9a-f]{64})  (\S.*)")
_FIRST: Final = re.compile(rb"[./]*version")
_FIRST_IN_PAX: Final = re.compile(rb"[ .](?:path|name)=[./]*version")  # also GNU.sparse.name
_EXTENDED: Final = frozenset(
    (b"x", b"X", b"g", b"L", b"K", b"N", b"A", b"V")
)  # what is said of the next file
_EXTENDED_SIZE: Final = re.compile(rb" *([0-7]{1,11})[ \0]*")  # all readers agree on these
_VERSION: Final = re.compile(r"v?(\d+(?:\.\d+)*(?:[-+][0-9A-Za-z.+-]+)?)")


@dataclass(slots=True, kw_only=True)
class _Found:
    """What was seen so far."""

    digests: dict[str, str] = field(default_factory=dict)  # as the manifest names them
    documents: dict[str, Any] = field(default_factory=dict)
    payload_bytes: int = 0
    manifest_sha256: str = ""
    signature: str | None = None
    payloads: list[int] = field(default_factory=list)


def is_mender(data: bytes | memoryview) -> bool:
    """Tell a Mender artifact: a tar whose first file is `version`, whatever pax or GNU headers stand before that.

    What passes here for another format is never looked at again, so this takes for an artifact whatever any reader of
    one might: mender-artifact is content with a name that begins so, and reads tars older than `ustar`. Headers that
    lead to no file make an artifact too, which `parse_mender` then refuses.

    Args:
        data: the whole file.
    """
    at = 0
    for _ in range(EXTENDED_HEADERS_MAX):
        header = bytes(data[at : at + BLOCK_BYTES])
        if not is_header(header):
            return at > 0
        if _FIRST.match(header) or _FIRST.match(
            header, 345
        ):  # its name, or what `ustar` puts before the name
            return True
        kind, digits = header[156:157], _EXTENDED_SIZE.fullmatch(header[124:136])
        if kind not in _EXTENDED:
            return False
        if digits is None or int(digits[1], 8) > EXTENDED_BYTES_MAX:
            return True
        size = int(digits[1], 8)
        body = bytes(data[at + BLOCK_BYTES : at + BLOCK_BYTES + size])
        if (_FIRST.match(body) and kind == b"L") or _FIRST_IN_PAX.search(body):
            return True
        at += BLOCK_BYTES + size + -size % BLOCK_BYTES
    return True


def parse_mender(data: bytes | memoryview) -> Parsed:
    """Read a Mender artifact and check every file against its manifest.

    Raises:
        InvalidInput: truncated, mislabelled, malformed, too large when unpacked, or a file that the manifest does not
            have or has otherwise.
    """
    view, found = memoryview(data), _Found()
    manifest: dict[str, str] = {}
    seen: set[str] = set()
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        part = bytes(view[at : at + size])
        at += len(part)
        return part

    for entry in entries(read, what="the artifact", keep_bytes_max=DOCUMENT_BYTES_MAX):
        part = _part_before(view, at, entry)
        if not manifest and entry.name not in ("version", "manifest"):
            refuse("malformed", f"{entry.name[:80]!r} comes before the manifest")
        if entry.name in seen:  # two manifests would be one that is signed and one that is followed
            refuse("malformed", f"{entry.name[:80]!r} is there twice")
        seen.add(entry.name)
        if entry.name == "manifest":
            manifest, found.manifest_sha256 = _manifest(entry), entry.sha256
        elif entry.name == "manifest.sig":
            found.signature = _signature(entry)
        elif match := _HEADER.fullmatch(entry.name):
            _read_header(part, match[1], found)
            found.digests[entry.name] = entry.sha256
        elif match := _DATA.fullmatch(entry.name):
            _read_payload(part, match[2], match[1], found)
        elif entry.name == "version":
            _check_version(entry)
            found.digests["version"] = entry.sha256
        else:
            refuse("unsupported", f"{entry.name[:80]!r} is no part of a version 3 artifact that we know")
    _check_manifest(manifest, found.digests)
    return _summary(found, length=len(view))


def _part_before(view: memoryview, at: int, entry: Entry) -> memoryview:
    """Return an entry's bytes; the reader stands behind its padding."""
    end = at - (-entry.size % BLOCK_BYTES)
    return view[end - entry.size : end]


def _check_version(entry: Entry) -> None:
    document = _json(entry)
    if document.get("format") != "mender":
        refuse("mislabelled", "`version` does not say that this is a mender artifact")
    if document.get("version") != 3:
        refuse("unsupported", f"artifact version {str(document.get('version'))[:20]}; 3 is known")


def _manifest(entry: Entry) -> dict[str, str]:
    if entry.content is None:
        refuse("oversized", f"the manifest has {entry.size} bytes, limit {DOCUMENT_BYTES_MAX}")
    lines: dict[str, str] = {}
    for number, line in enumerate(entry.content.decode("utf-8", "replace").splitlines(), 1):
        match = _MANIFEST_LINE.fullmatch(line)
        if match is None or match[2] in lines:
            refuse("malformed", f"manifest line {number} is no checksum, or names a file again")
        lines[match[2]] = match[1]
    if not lines:
        refuse("malformed", "the manifest is empty")
    return lines


def _signature(entry: Entry) -> str:
    """Return the signature as it is written; what is no Base64 was signed by nobody, and is told so later."""
    if entry.content is None or entry.size > SIGNATURE_CHARS_MAX:
        refuse("oversized", f"manifest.sig has {entry.size} bytes, limit {SIGNATURE_CHARS_MAX}")
    return entry.content.decode("ascii", "replace").replace("\0", "?").strip()


def _check_manifest(manifest: dict[str, str], digests: dict[str, str]) -> None:
    if missing := sorted(manifest.keys() - digests.keys()):
        refuse("truncated", f"{missing[0][:80]!r} is in the manifest and not in the artifact")
    if extra := sorted(digests.keys() - manifest.keys()):
        refuse("malformed", f"{extra[0][:80]!r} is not in the manifest")
    for name, sha256 in digests.items():
        if manifest[name] != sha256:
            refuse("checksum", f"{name[:80]!r} is not what the manifest says")


def _read_header(part: memoryview, packed: str | None, found: _Found) -> None:
    if "header-info" in found.documents:
        refuse("malformed", "there are two headers")
    read = _unpacked(part, packed, what="the header", bytes_max=HEADER_BYTES_MAX)
    for entry in entries(read, what="the header", keep_bytes_max=DOCUMENT_BYTES_MAX):
        if entry.name in found.documents:
            refuse("malformed", f"{entry.name[:80]!r} is in the header twice")
        if entry.name == "header-info" or entry.name.endswith("/type-info"):
            found.documents[entry.name] = _json(entry)
    if "header-info" not in found.documents:
        refuse("malformed", "the header has no header-info")


def _read_payload(part: memoryview, packed: str | None, number: str, found: _Found) -> None:
    if "header-info" not in found.documents:
        refuse("malformed", "a payload comes before the header")
    if len(found.payloads) >= PAYLOADS_MAX or int(number) != len(found.payloads):
        refuse("malformed", f"payload {number} is out of order, or there are more than {PAYLOADS_MAX}")
    found.payloads.append(int(number))
    left = IMAGE_BYTES_MAX - found.payload_bytes
    read = _unpacked(part, packed, what=f"payload {number}", bytes_max=left)
    for entry in entries(read, what=f"payload {number}", keep_bytes_max=0):
        name = f"data/{number}/{entry.name}"
        if name in found.digests:
            refuse("malformed", f"{name[:80]!r} is there twice")
        found.digests[name] = entry.sha256
        found.payload_bytes += entry.size


def _unpacked(part: memoryview, packed: str | None, *, what: str, bytes_max: int) -> Read:
    """Return a reader of what a part unpacks to, which ends in a refusal where that is too much."""
    match packed:
        case None:
            return _plain(part)
        case ".gz":
            unpacker: _Unpacker = _Gunzip()
        case ".xz":
            unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_MAX)
        case _:
            return _Unzst(part, what=what, bytes_max=bytes_max).read
    return _Unpacking(part, unpacker, what=what, bytes_max=bytes_max).read


def _plain(part: memoryview) -> Read:
    at = 0

    def read(size: int) -> bytes:
        nonlocal at
        got = bytes(part[at : at + size])
        at += len(got)
        return got

    return read


class _Unpacker(Protocol):
    """What `lzma` has and `zlib` has under other names."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return up to so many bytes."""
        ...


class _Gunzip:
    """gzip, as `lzma` would do it."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail or data, max_length)


class _Unpacking:
    """One compressed part while it is read."""

    def __init__(self, part: memoryview, unpacker: _Unpacker, *, what: str, bytes_max: int) -> None:
        self._part, self._unpacker, self._what = part, unpacker, what
        self._bytes_max = _most(part, bytes_max)
        self._at = self._out = 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        unpacker = self._unpacker
        while not unpacker.eof:
            chunk = b""
            if unpacker.needs_input:
                chunk = bytes(self._part[self._at : self._at + PART_BYTES])
                self._at += len(chunk)
            try:
                taken = unpacker.decompress(chunk, size)
            except (zlib.error, lzma.LZMAError) as error:
                refuse("malformed", f"{self._what} cannot be unpacked: {str(error)[:80]}")
            if taken:
                self._out += len(taken)
                if self._out > self._bytes_max:
                    refuse("oversized", f"{self._what} unpacks to more than it may")
                return taken
            if not chunk and unpacker.needs_input and not unpacker.eof:
                refuse("truncated", f"{self._what} ends in the middle")
        if self._at < len(self._part) or unpacker.unused_data:
            refuse("malformed", f"{self._what} has something behind its end")
        return b""


class _Unzst:
    """One part that is packed with zstd, which neither Python nor its `zlib` reads yet; Arrow brings it.

    Arrow's decoder refuses windows of more than 128 MiB, and what is not zstd behind the end.
    """

    def __init__(self, part: memoryview, *, what: str, bytes_max: int) -> None:
        from pyarrow import BufferReader, CompressedInputStream  # noqa: PLC0415 - few artifacts need it

        self._stream = CompressedInputStream(BufferReader(part), "zstd")
        self._what, self._bytes_max, self._out = what, _most(part, bytes_max), 0

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        try:
            taken: bytes = self._stream.read(size)
        except OSError as error:
            cut = "truncated" in str(error).lower()
            refuse(
                "truncated" if cut else "malformed",
                f"{self._what} {'ends in the middle' if cut else 'cannot be unpacked'}",
            )
        self._out += len(taken)
        if self._out > self._bytes_max:
            refuse("oversized", f"{self._what} unpacks to more than it may")
        return taken


def _most(part: memoryview, bytes_max: int) -> int:
    """Return to how many bytes a part may unpack."""
    return min(bytes_max, max(RATIO_FREE_BYTES, len(part) * RATIO_MAX)) + RATIO_FREE_BYTES


def _json(entry: Entry) -> dict[str, Any]:
    if entry.content is None:
        refuse("oversized", f"{entry.name[:80]!r} has {entry.size} bytes, limit {DOCUMENT_BYTES_MAX}")
    try:
        document = json.loads(entry.content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        refuse("malformed", f"{entry.name[:80]!r} is no JSON object")
    return document


def _summary(found: _Found, *, length: int) -> Parsed:
    info = found.documents.get("header-info")
    if info is None or not found.payloads:
        refuse("truncated", "there is no header, or no payload")
    payloads = info.get("payloads")
    if not isinstance(payloads, list) or len(payloads) != len(found.payloads):
        refuse("malformed", "header-info names other payloads than there are")
    provides, depends = _texts(info, "artifact_provides"), _texts(info, "artifact_depends")
    types = []
    for number, payload in enumerate(payloads):
        kind = payload.get("type") if isinstance(payload, dict) else None
        of_type = found.documents.get(f"headers/{number:04}/type-info")
        # mender-artifact leaves the type of a rootfs-image empty here; header-info names it
        if of_type is None or (of_type.get("type") or kind) != kind:
            refuse("malformed", f"type-info of payload {number} is missing, or says another type")
        types.append(str(kind)[:200] if kind is not None else "")
        provides |= _texts(of_type, "artifact_provides")
        depends |= _texts(of_type, "artifact_depends")
    name = provides.get("artifact_name")
    if not isinstance(name, str) or not name:
        refuse("malformed", "header-info provides no artifact_name")
    own = next((str(value) for key, value in provides.items() if key.endswith(".version")), name)
    version = _VERSION.fullmatch(own) or _VERSION.fullmatch(own.rpartition("-")[2])
    return Parsed(
        length=length,
        version=version[1] if version else None,
        details={
            "artifact_name": name, "payload_types": types, "payload_bytes": found.payload_bytes,
            "provides": provides, "depends": depends, "signature": "absent" if found.signature is None else "present",
            "manifest_sha256": found.manifest_sha256, "manifest_signature": found.signature,
        },
    )  # fmt: skip


def _texts(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a provides or depends: texts, or lists of texts."""
    given = document.get(key) or {}
    if not isinstance(given, dict) or len(given) > LIST_MAX:
        refuse("malformed", f"{key} is no table")
    for value in given.values():
        words = value if isinstance(value, list) else [value]
        if len(words) > LIST_MAX or not all(isinstance(word, str) and "\0" not in word for word in words):
            refuse("malformed", f"{key} has something that is no text")
    return dict(given)
