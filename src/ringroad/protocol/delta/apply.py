"""From a base and a delta to the new image, by the name of the format.

A name that is not in `ALGORITHMS` is not an error of anybody: a newer server may offer what an older vehicle cannot
read, and then the whole image is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringroad.protocol.delta import hdiff13, hpatchlite, ihex
from ringroad.protocol.delta.pieces import MalformedDelta, ReadAt, read_exactly

LINUX: Final = "hdiff13"
MCU: Final = "hpatchlite"
IHEX: Final = "ihex+"
ALGORITHMS: Final = frozenset({LINUX, MCU, IHEX + LINUX, IHEX + MCU})
_FLAT_PIECE_BYTES: Final = 1024**2  # bytes of a base read at a time


def rebuild(
    algorithm: str, read_base: ReadAt, base_bytes: int, read_delta: ReadAt, delta_bytes: int, *, length: int
) -> Iterator[bytes]:
    """Yield the new image of `length` bytes, a piece at a time.

    Args:
        algorithm: of `ALGORITHMS`.
        read_base: of the base, whose digest was compared.
        base_bytes: its size.
        read_delta: of the delta, whose digest was compared.
        delta_bytes: its size.
        length: signed size of the new image.

    Raises:
        MalformedDelta: at any piece.
    """
    if algorithm not in ALGORITHMS:
        raise MalformedDelta(f"deltas of kind {algorithm} are not read here")
    decode = hdiff13.rebuild if algorithm.endswith(LINUX) else hpatchlite.rebuild
    if not algorithm.startswith(IHEX):
        yield from decode(read_base, base_bytes, read_delta, delta_bytes, length=length)
        return
    flat = _flat(read_base, base_bytes)
    start = read_delta(0, min(delta_bytes, hdiff13.HEADER_BYTES_MAX))
    parse = hdiff13.parse_header if algorithm.endswith(LINUX) else hpatchlite.parse_header
    flat_bytes = parse(start).new_bytes
    if flat_bytes > min(length, ihex.TEXT_BYTES_MAX):  # what a file says is shorter than its text
        raise MalformedDelta("the delta says more than the image holds")
    new = bytearray()
    for piece in decode(
        lambda offset, size: flat[offset : offset + size],
        len(flat),
        read_delta,
        delta_bytes,
        length=flat_bytes,
    ):
        new += piece
    yield from ihex.restore(bytes(new))


def _flat(read_base: ReadAt, base_bytes: int) -> bytes:
    if base_bytes > ihex.TEXT_BYTES_MAX:
        raise MalformedDelta(f"an Intel HEX file of {base_bytes} bytes, limit {ihex.TEXT_BYTES_MAX}")
    parts = [
        read_exactly(read_base, offset, min(_FLAT_PIECE_BYTES, base_bytes - offset), what="the base")
        for offset in range(0, base_bytes, _FLAT_PIECE_BYTES)
    ]
    flat = ihex.flatten(b"".join(parts))
    if flat is None:
        raise MalformedDelta("the base is no Intel HEX file of the usual kind")
    return flat
