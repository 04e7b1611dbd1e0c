"""What a software image says about itself, and how a bad one is refused.

Invariant: an `ImageFacts` exists only for an image that was read to its last byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ringroad.build.model import ImageFormat
from ringroad.kernel.errors import InvalidInput

TEXT_BYTES_MAX: Final = 128 * 1024**2  # bytes of a hex or S-record file; 47 MiB of flash
ADDRESS_END: Final = 1 << 32  # both text formats address 32 bits
RANGES_MAX: Final = 4096  # separate areas in one image; real ones have under ten


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """Bytes `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What was read from an image, never typed in.

    Attributes:
        format: which parser read it.
        version: the image's own version, where the format has one.
        load_address: lowest address, where the format has one.
        ranges: areas of memory it fills, in order; empty where the format has no addresses.
        sha256: hex digest of the file.
        sha512: hex digest of the file.
        file_bytes: size of the file.
        length: bytes it puts on the ECU (for hex formats the decoded data, else the file).
        entry: start address, where the format has one.
        security_counter: MCUboot's anti-rollback counter.
        details: the rest, in JSON types, per format.
    """

    format: ImageFormat
    version: str | None = None
    load_address: int | None = None
    ranges: tuple[AddressRange, ...] = ()
    sha256: str
    sha512: str
    file_bytes: int
    length: int
    entry: int | None = None
    security_counter: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form kept in `software_package.facts`."""
        return {
            "format": self.format,
            "version": self.version,
            "load_address": self.load_address,
            "ranges": [[area.start, area.end] for area in self.ranges],
            "length": self.length,
            "file_bytes": self.file_bytes,
            "entry": self.entry,
            "security_counter": self.security_counter,
            "details": dict(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What a parser found; `read_image` adds the digests."""

    length: int
    version: str | None = None
    load_address: int | None = None
    ranges: tuple[AddressRange, ...] = ()
    entry: int | None = None
    security_counter: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


def refuse(code: str, message: str, *, hint: str = "") -> NoReturn:
    """Refuse an image.

    Raises:
        InvalidInput: always, with code ``image_<code>``.
    """
    raise InvalidInput(message, code=f"image_{code}", hint=hint)
