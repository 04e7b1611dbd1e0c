"""Make one delta, and prove that it gives the new image: `python -m ringroad.build.deltas.make CLASS BASE NEW DELTA`.

A process of its own, since HDiffPatch is C++ that holds the interpreter and up to nine times both images in memory,
and since a crash of it must not be one of the worker. It prints the name of the format.

Invariant: what is written was decoded by the vehicle's own code and gave the new image, byte for byte.
"""

from __future__ import annotations

import lzma
import os
import resource
import sys
from pathlib import Path
from typing import Final

import hdiffpatch

from ringroad.build.deltas.choose import NO_DELTA_STATUS, EcuClass
from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.delta import hdiff13, hpatchlite, ihex
from ringroad.protocol.delta.apply import IHEX, LINUX, MCU, rebuild
from ringroad.protocol.delta.pieces import MalformedDelta

MEMORY_BYTES_MAX: Final = 4 * 1024**3  # bytes; 128 MiB images need 1.5 GiB
NICE: Final = 15  # in the background: the worker's other threads go first
# (lc, lp, pb) of LZMA that are tried for each section; the first two win on code, the third on differences.
_LZMA: Final = ((3, 0, 0), (4, 0, 0), (0, 0, 0))
_TINYUZ: Final = hdiffpatch.TuzConfig(dict_size=hpatchlite.DICTIONARY_BYTES_MAX, literal_line=True)


def make_delta(ecu_class: EcuClass, base: bytes, new: bytes) -> tuple[str, bytes]:
    """Return the name of the format and the delta.

    Args:
        ecu_class: ``linux`` for the smallest delta, ``mcu`` for one that 4 KiB of buffers apply.
        base: the image that vehicles have.
        new: the image they shall have.

    Raises:
        InvalidInput: no delta gives the new image.
    """
    flat_base, flat_new = ihex.flatten(base), ihex.flatten(new)
    flat = flat_base is not None and flat_new is not None
    before, after = (flat_base or base, flat_new or new) if flat else (base, new)
    if ecu_class == "mcu":
        name, delta = MCU, hdiffpatch.diff_lite(before, after, compression=_TINYUZ, validate=False)
    else:
        name, delta = LINUX, pack(hdiffpatch.diff(before, after, None, validate=False))
    algorithm = IHEX + name if flat else name
    at = 0
    for piece in rebuild(
        algorithm, lambda offset, size: base[offset : offset + size], len(base),
        lambda offset, size: delta[offset : offset + size], len(delta), length=len(new),
    ):  # fmt: skip
        if new[at : at + len(piece)] != piece:
            raise InvalidInput("the delta does not give the new image", code="delta_wrong")
        at += len(piece)
    return algorithm, delta


def pack(plain: bytes) -> bytes:
    """Pack each section of an HDIFF13 with the LZMA2 that suits it best; HDiffPatch packs all of them alike."""
    header = hdiff13.parse_header(plain[: hdiff13.HEADER_BYTES_MAX])
    numbers = [header.new_bytes, header.base_bytes, header.covers]
    stored: list[bytes] = []
    for section in header.sections:
        content = plain[section.start : section.start + section.stored_bytes]
        packed = min((_packed(content, *setting) for setting in _LZMA), key=len)
        smaller = len(packed) < len(content)
        numbers += [len(content), len(packed) if smaller else 0]
        stored.append(packed if smaller else content)
    head = hdiff13.MAGIC + hdiff13.PACKINGS[0] + b"".join(_number(value) for value in numbers)
    return head + b"".join(stored)


def _packed(content: bytes, lc: int, lp: int, pb: int) -> bytes:
    bits = 0
    while hdiff13.dictionary_bytes(bits) < min(len(content), hdiff13.DICTIONARY_BYTES_MAX):
        bits += 1
    setting = {
        "id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": hdiff13.dictionary_bytes(bits),
        "lc": lc, "lp": lp, "pb": pb,
    }  # fmt: skip
    return bytes([bits]) + lzma.compress(content, format=lzma.FORMAT_RAW, filters=[setting])


def _number(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))


def main(arguments: list[str]) -> None:
    """Make one delta between two files."""
    ecu_class, base, new, delta = arguments
    os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    try:
        algorithm, content = make_delta(
            "mcu" if ecu_class == "mcu" else "linux", Path(base).read_bytes(), Path(new).read_bytes()
        )
    except (InvalidInput, MalformedDelta) as error:
        sys.stderr.write(error.message)
        sys.exit(NO_DELTA_STATUS)
    Path(delta).write_bytes(content)
    sys.stdout.write(algorithm)


if __name__ == "__main__":
    main(sys.argv[1:])
