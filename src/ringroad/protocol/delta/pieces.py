"""What both formats need: reading by offset, numbers of seven bits a byte, adding bytes, and saying no."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringroad.kernel.errors import Untrusted

ReadAt = Callable[[int, int], bytes]  # (offset, size) -> bytes, fewer only at the end

PIECE_BYTES: Final = 64 * 1024  # bytes given out at a time
NUMBER_MAX: Final = 2**53 - 1  # no image, offset or count is larger
_LOW_BITS: Final = int.from_bytes(b"\x7f" * PIECE_BYTES, "little")
_HIGH_BITS: Final = int.from_bytes(b"\x80" * PIECE_BYTES, "little")


class MalformedDelta(Untrusted):
    """The delta does not decode to the image it was announced for; the whole image is fetched instead."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="delta_malformed", hint="the whole image is fetched instead")


def read_exactly(read: ReadAt, offset: int, size: int, *, what: str) -> bytes:
    """Return `size` bytes from `offset`. Raises: MalformedDelta, if there are fewer."""
    got = read(offset, size)
    if len(got) != size:
        raise MalformedDelta(f"{what} ends at byte {offset + len(got)}")
    return got


def add_bytes(left: bytes, right: bytes) -> bytes:
    """Return the sum of each pair of bytes, modulo 256; both are of one length, up to `PIECE_BYTES`."""
    size = len(left)
    a, b = int.from_bytes(left, "little"), int.from_bytes(right, "little")
    # Seven bits of every byte are added where no carry leaves the byte; the eighth is put in by exclusive or.
    low = (a & _LOW_BITS) + (b & _LOW_BITS)
    return (low ^ ((a ^ b) & _HIGH_BITS)).to_bytes(size, "little")
