"""From an image file to what is flashed: (address, bytes) segments.

`bin` and `mcuboot` images are flashed as they are, from address 0, streamed from their source.
Intel HEX and Motorola S-records are decoded; the addresses in the file are the addresses flashed.
The first pass over the source checks the signed hash, so that nothing is erased for bytes nobody signed.

Not here: reading an image's own version (the server does that), `swu` (another agent's format).

Invariant: segments are sorted, do not overlap, and together have at least one byte.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ringroad.kernel.errors import InvalidInput, Untrusted
from ringroad.vehicle.agents.base import EcuImage, ImageSource

TEXT_BYTES_MAX: Final = 256 * 1024 * 1024  # bytes of a HEX or S-record file; held in memory while decoded
KEPT_TEXT_BYTES_MAX: Final = 1 << 20  # bytes; decoded images up to this size are kept
KEPT_TEXTS_MAX: Final = 4  # of them; together below 8 MiB
SEGMENTS_MAX: Final = 64  # a firmware has a handful; one byte per segment would be an attack
CHUNK_BYTES: Final = 64 * 1024
ADDRESS_MAX: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """Bytes that go to one run of addresses. `data` is None when they are read from the source as they are."""

    address: int
    length_bytes: int
    data: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlashImage:
    """An image, checked against its signed hash and ready to be flashed.

    Attributes:
        segments: in order of address.
        content_sha256: digest the ECU computes over its bank, see `content_digest`.
        length_bytes: of all segments.
    """

    segments: tuple[Segment, ...]
    content_sha256: bytes
    length_bytes: int


class MalformedImage(InvalidInput):
    """The file is not what its format says; the message names the line."""


async def open_image(image: EcuImage, source: ImageSource) -> FlashImage:
    """Read the whole source once, check it, and cut it into segments.

    Returns:
        The image; its segments hold the bytes only where the file had to be decoded.

    Raises:
        Untrusted: length or hash are not the signed ones.
        MalformedImage: the file does not decode, or its format is not one that is flashed.
        OSError: the source cannot be read.
    """
    streamed = image.target.format in {"bin", "mcuboot"}
    if image.target.format not in {"bin", "mcuboot", "ihex", "srec"}:
        raise MalformedImage(f"images of format {image.target.format} are not flashed over UDS")
    if not streamed and image.length_bytes > TEXT_BYTES_MAX:
        raise MalformedImage(f"{image.length_bytes} bytes of text, limit {TEXT_BYTES_MAX}")
    file_hash = hashlib.sha256()
    content = hashlib.sha256(_segment_header(0, image.length_bytes))
    text = bytearray()
    offset = 0
    while offset < image.length_bytes:
        chunk = await source.read(offset, min(CHUNK_BYTES, image.length_bytes - offset))
        if not chunk:
            break
        file_hash.update(chunk)
        offset += len(chunk)
        if streamed:
            content.update(chunk)
        else:
            text += chunk
    if offset != image.length_bytes or file_hash.hexdigest() != image.sha256:
        raise Untrusted(f"{image.filename} is not the signed image", code="hash_mismatch")
    if not streamed:
        return flash_image(decode_text(image.target.format, bytes(text)))
    if not image.length_bytes:
        raise MalformedImage("the image is empty")
    whole = Segment(address=0, length_bytes=image.length_bytes, data=None)
    return FlashImage(segments=(whole,), content_sha256=content.digest(), length_bytes=image.length_bytes)


def flash_image(segments: tuple[Segment, ...]) -> FlashImage:
    """Return decoded segments with their digest."""
    digest = content_digest((segment.address, segment.data or b"") for segment in segments)
    return FlashImage(
        segments=segments,
        content_sha256=digest,
        length_bytes=sum(segment.length_bytes for segment in segments),
    )


def content_digest(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the digest of flash content: SHA-256 over (address, length, bytes) of each segment.

    Address and length are 8 bytes, big-endian, so that the same bytes elsewhere are another content.
    """
    digest = hashlib.sha256()
    for address, data in parts:
        digest.update(_segment_header(address, len(data)))
        digest.update(data)
    return digest.digest()


def _segment_header(address: int, length_bytes: int) -> bytes:
    return address.to_bytes(8, "big") + length_bytes.to_bytes(8, "big")


def decode_text(file_format: str, text: bytes) -> tuple[Segment, ...]:
    """Decode an Intel HEX (``ihex``) or Motorola S-record (``srec``) file.

    Raises:
        MalformedImage: with the line number.
    """
    return _decode_kept(file_format, text) if len(text) <= KEPT_TEXT_BYTES_MAX else _decode(file_format, text)


def _decode(file_format: str, text: bytes) -> tuple[Segment, ...]:
    records = _ihex_records(text) if file_format == "ihex" else _srec_records(text)
    return _join(records)


# An image is decoded when it is prepared and again when it is installed, often for several like ECUs in a row.
_decode_kept = functools.lru_cache(maxsize=KEPT_TEXTS_MAX)(_decode)


def _ihex_records(text: bytes) -> Iterator[tuple[int, bytes]]:
    base, ended = 0, False
    for number, line in _lines(text):
        if ended:
            raise MalformedImage(f"line {number}: data after the end record")
        if line[:1] != b":":
            raise MalformedImage(f"line {number}: an Intel HEX record starts with a colon")
        record = _unhex(line[1:], number)
        if len(record) < 5 or len(record) != record[0] + 5 or sum(record) & 0xFF:
            raise MalformedImage(f"line {number}: wrong length or checksum")
        data = record[4:-1]
        match record[3]:
            case 0x00:
                yield base + (record[1] << 8 | record[2]), data
            case 0x01:
                ended = True
            case 0x02:
                base = int.from_bytes(data, "big") << 4
            case 0x04:
                base = int.from_bytes(data, "big") << 16
            case 0x03 | 0x05:
                pass  # where execution starts; a bootloader knows that from its vector table
            case other:
                raise MalformedImage(f"line {number}: unknown record type {other:02X}")
    if not ended:
        raise MalformedImage("the end record is missing: the file is truncated")


_SREC_ADDRESS_BYTES = {b"0": 2, b"1": 2, b"2": 3, b"3": 4, b"5": 2, b"6": 3, b"7": 4, b"8": 3, b"9": 2}


def _srec_records(text: bytes) -> Iterator[tuple[int, bytes]]:
    ended = False
    for number, line in _lines(text):
        if ended:
            raise MalformedImage(f"line {number}: data after the termination record")
        kind = line[1:2]
        size = _SREC_ADDRESS_BYTES.get(kind)
        if line[:1] not in b"Ss" or size is None:
            raise MalformedImage(f"line {number}: not an S-record")
        record = _unhex(line[2:], number)
        if len(record) != (record[0] if record else 0) + 1 or len(record) < size + 2 or ~sum(record) & 0xFF:
            raise MalformedImage(f"line {number}: wrong length or checksum")
        if kind in b"123":
            yield int.from_bytes(record[1 : 1 + size], "big"), record[1 + size : -1]
        elif kind in b"789":
            ended = True
    if not ended:
        raise MalformedImage("the termination record is missing: the file is truncated")


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped:
            yield number, stripped


def _unhex(digits: bytes, number: int) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError as error:
        raise MalformedImage(f"line {number}: not hexadecimal digits") from error


def _join(records: Iterable[tuple[int, bytes]]) -> tuple[Segment, ...]:
    # Consecutive records are joined as they come; whole runs are sorted afterwards.
    runs: list[tuple[int, bytearray]] = []
    for address, data in records:
        if not data:
            continue
        if runs and runs[-1][0] + len(runs[-1][1]) == address:
            runs[-1][1].extend(data)
        else:
            runs.append((address, bytearray(data)))
    joined: list[tuple[int, bytearray]] = []
    for address, run in sorted(runs, key=lambda item: item[0]):
        if address + len(run) - 1 > ADDRESS_MAX:
            raise MalformedImage(f"address 0x{address:X} does not fit 32 bits")
        if joined and joined[-1][0] + len(joined[-1][1]) > address:
            raise MalformedImage(f"address 0x{address:X} is written twice")
        if joined and joined[-1][0] + len(joined[-1][1]) == address:
            joined[-1][1].extend(run)
        else:
            joined.append((address, run))
    if not joined:
        raise MalformedImage("the file holds no data")
    if len(joined) > SEGMENTS_MAX:
        raise MalformedImage(f"{len(joined)} segments, limit {SEGMENTS_MAX}")
    return tuple(Segment(address=address, length_bytes=len(run), data=bytes(run)) for address, run in joined)
