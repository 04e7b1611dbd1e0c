"""Sparse memory that the two text formats fill, record by record.

Invariant: no byte is written twice; two records for one address mean that one of them is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringroad.build.images.facts import ADDRESS_END, RANGES_MAX, AddressRange, refuse


@dataclass(frozen=True, slots=True)
class Chunk:
    """The data of one record."""

    start: int
    data: bytes
    line: int

    @property
    def end(self) -> int:
        """Address after the last byte."""
        return self.start + len(self.data)


def join(chunks: list[Chunk]) -> list[tuple[AddressRange, bytes]]:
    """Sort records by address and join neighbours.

    Raises:
        InvalidInput: two records overlap, the end is beyond 32 bits, or there are too many gaps.
    """
    areas: list[tuple[int, list[bytes]]] = []
    end = -1
    line = 0
    for chunk in sorted(chunks, key=lambda chunk: (chunk.start, chunk.line)):
        if chunk.start < end:
            refuse(
                "malformed",
                f"line {chunk.line}: address {chunk.start:#010x} was already filled by line {line}",
            )
        if chunk.end > ADDRESS_END:
            refuse("malformed", f"line {chunk.line}: data goes beyond address 0xffffffff")
        if chunk.start == end:
            areas[-1][1].append(chunk.data)
        else:
            areas.append((chunk.start, [chunk.data]))
        end, line = chunk.end, chunk.line
        if len(areas) > RANGES_MAX:
            refuse("malformed", f"the image has more than {RANGES_MAX} separate areas")
    joined = ((start, b"".join(parts)) for start, parts in areas)
    return [(AddressRange(start=start, end=start + len(data)), data) for start, data in joined]
