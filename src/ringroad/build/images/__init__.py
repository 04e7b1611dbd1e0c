"""Software images: read, told apart, and refused with the reason.

`read_image` is the door; one module per format behind it, each pure: bytes in, facts out.

Invariant: what is returned was read to its last byte, and every check its format carries held.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from pathlib import Path
from typing import get_args

from ringroad.build.images.facts import TEXT_BYTES_MAX, AddressRange, ImageFacts, Parsed, refuse
from ringroad.build.images.ihex import parse_ihex
from ringroad.build.images.mcuboot import MAGIC, parse_mcuboot
from ringroad.build.images.mender import is_mender, parse_mender
from ringroad.build.images.srec import parse_srec
from ringroad.build.images.swu import CRC, NEWC, ODC, parse_swu
from ringroad.build.model import ImageFormat
from ringroad.kernel.errors import NotFound
from ringroad.kernel.limits import IMAGE_BYTES_MAX

__all__ = ["AddressRange", "ImageFacts", "detect_format", "read_image"]

# Lenient, so that a damaged first record is refused as a bad hex file and not taken for a raw binary.
_IHEX_START = re.compile(rb"\s*:[0-9A-Fa-f]{8}")
_SREC_START = re.compile(rb"\s*S[0-9][0-9A-Fa-f]{6}")
_START_BYTES = 1024  # enough for the longest first record of both text formats


def read_image(data: bytes | memoryview | Path, *, declared_format: str | None = None) -> ImageFacts:
    """Read a software image.

    Args:
        data: the file's bytes, or where it lies; a path is mapped, not loaded.
        declared_format: what its sender says it is; None to find out.

    Raises:
        NotFound: the path does not exist.
        InvalidInput: empty, oversized, truncated, mislabelled or broken; the code says which, the
            message names the byte or line.
    """
    if not isinstance(data, Path):
        return _read(memoryview(data), declared_format)
    try:
        with data.open("rb") as file:
            if data.stat().st_size == 0:
                refuse("empty", "the image has no bytes")
            # Not closed by hand: a refused image's traceback still holds views of the mapping.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return _read(memoryview(mapped), declared_format)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFound(
            f"there is no file {data.name!r}", code="image_not_found", detail=str(error)
        ) from error


def detect_format(data: bytes | memoryview) -> ImageFormat:
    """Tell the format of a file; what has no mark of its own is ``bin``.

    Whether it is a Mender artifact is asked first: the name in a tar's first block can be the mark of another format.
    """
    if is_mender(data):
        return "mender"
    start = bytes(data[:_START_BYTES])
    if start[:4] == MAGIC:
        return "mcuboot"
    if start[:6] in (NEWC, CRC, ODC):
        return "swu"
    if _IHEX_START.match(start):
        return "ihex"
    if _SREC_START.match(start):
        return "srec"
    return "bin"


def _read(view: memoryview, declared_format: str | None) -> ImageFacts:
    if len(view) == 0:
        refuse("empty", "the image has no bytes")
    if len(view) > IMAGE_BYTES_MAX:
        refuse("oversized", f"the image has {len(view)} bytes, limit {IMAGE_BYTES_MAX}")
    image_format = _settle_format(detect_format(view), declared_format)
    parsed = _parse(view, image_format)
    return ImageFacts(
        format=image_format,
        version=parsed.version,
        load_address=parsed.load_address,
        ranges=parsed.ranges,
        sha256=hashlib.sha256(view).hexdigest(),
        sha512=hashlib.sha512(view).hexdigest(),
        file_bytes=len(view),
        length=parsed.length,
        entry=parsed.entry,
        security_counter=parsed.security_counter,
        details=parsed.details,
    )


def _settle_format(found: ImageFormat, declared: str | None) -> ImageFormat:
    if declared is None:
        return found
    if declared not in get_args(ImageFormat):
        refuse(
            "unsupported", f"unknown format {declared!r}", hint=f"one of {', '.join(get_args(ImageFormat))}"
        )
    if declared != found:
        looks = "no known mark" if found == "bin" else f"the mark of {found}"
        refuse(
            "mislabelled",
            f"declared as {declared}, but its first bytes have {looks}",
            hint=f"declare it as {found}, or leave the format out",
        )
    return found


def _parse(view: memoryview, image_format: ImageFormat) -> Parsed:
    match image_format:
        case "mcuboot":
            return parse_mcuboot(view)
        case "swu":
            return parse_swu(view)
        case "mender":
            return parse_mender(view)
        case "ihex" | "srec":
            if len(view) > TEXT_BYTES_MAX:
                refuse("oversized", f"the {image_format} file has {len(view)} bytes, limit {TEXT_BYTES_MAX}")
            return parse_ihex(bytes(view)) if image_format == "ihex" else parse_srec(bytes(view))
        case "bin":
            return Parsed(length=len(view))
