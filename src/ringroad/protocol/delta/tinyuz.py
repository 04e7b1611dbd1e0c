"""tinyuz, a small LZ77: what is unpacked for MCUs, within a dictionary and a code cache that the caller gives.

A bit says what follows: 1 a byte; 0 a length and a distance, which is one bit where the last code gave bytes and
the distance is the last one again. Distance 0 is a command, which the length names: a run of bytes, the end of a clip,
the end of the stream.

Source: github.com/sisong/tinyuz, decompress/tuz_dec.c (MIT).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ringroad.protocol.delta.pieces import NUMBER_MAX, MalformedDelta

DICTIONARY_SIZE_BYTES: Final = 4  # bytes at the beginning that say how large the dictionary is
_MATCH_MIN: Final = 2
_FAR: Final = (
    (1 << 11) + (1 << 9) + (1 << 7) - 1
)  # a match farther away than this is a byte longer than it says
_LITERALS_MIN: Final = 15
_LITERALS: Final = 1
_CLIP_END: Final = 2


class Unpacker:
    """One stream, unpacked as it is read."""

    def __init__(
        self, read_code: Callable[[memoryview], int], *, dictionary: bytearray, cache: bytearray
    ) -> None:
        """Begin behind the dictionary's size.

        Args:
            read_code: fills what it is given with the next packed bytes, and returns how many they are.
            dictionary: as large as the stream says.
            cache: for packed bytes.
        """
        self._read_code = read_code
        self._dictionary = dictionary
        self._cache = memoryview(cache)
        self._cache_at = self._cache_end = 0
        self._bits = self._bits_left = 0
        self._head = 0  # where the dictionary is written next
        self._filled = 0  # bytes ever written, up to its size
        self._match_left = self._match_at = self._literals_left = 0
        self._distance = 1  # of the last match
        self._after_bytes = False  # the last code gave bytes, not a match

    def into(self, out: memoryview) -> None:
        """Fill `out` with the next bytes.

        Raises:
            MalformedDelta: the stream ends before, or contradicts itself.
        """
        dictionary, size = self._dictionary, len(self._dictionary)
        head = self._head
        for index in range(len(out)):
            if not self._match_left and not self._literals_left:
                self._head = head
                self._next(size)
            if self._match_left:
                self._match_left -= 1
                byte = dictionary[self._match_at]
                self._match_at = self._match_at + 1 if self._match_at + 1 < size else 0
            else:
                self._literals_left -= 1
                byte = self._byte()
            out[index] = byte
            dictionary[head] = byte
            head = head + 1 if head + 1 < size else 0
            if self._filled < size:
                self._filled += 1
        self._head = head

    def _next(self, size: int) -> None:
        """Read codes up to one that gives a byte."""
        while True:
            if self._low_bits(1):
                self._literals_left, self._after_bytes = 1, True
                return
            length = self._number(2)
            if self._after_bytes and self._low_bits(1):
                distance = self._distance
            else:
                distance = self._byte()
                if distance > 0x7F:
                    distance = (distance & 0x7F | self._number(3) << 7) + 0x80
                length += distance > _FAR
            self._after_bytes = False
            if distance:
                if distance > self._filled:
                    raise MalformedDelta("a match lies before the beginning")
                self._distance, self._match_left = distance, length + _MATCH_MIN
                self._match_at = (self._head - distance) % size
                return
            if length == _LITERALS:
                self._literals_left, self._after_bytes = self._number(3) + _LITERALS_MIN, True
                return
            if length != _CLIP_END:
                raise MalformedDelta("the packed bytes end early")
            self._distance, self._bits, self._bits_left = 1, 0, 0

    def _byte(self) -> int:
        if self._cache_at == self._cache_end:
            self._cache_at, self._cache_end = 0, self._read_code(self._cache)
            if not self._cache_end:
                raise MalformedDelta("the packed bytes end early")
        self._cache_at += 1
        return self._cache[self._cache_at - 1]

    def _low_bits(self, count: int) -> int:
        have = self._bits_left
        bits = self._bits
        if have < count:
            bits |= self._byte() << have
            have += 8
        self._bits, self._bits_left = bits >> count, have - count
        return bits & (1 << count) - 1

    def _number(self, bits: int) -> int:
        """Return a number of groups of `bits`, the highest of which says whether one more follows."""
        value, more = 0, 1 << (bits - 1)
        while value <= NUMBER_MAX:
            group = self._low_bits(bits)
            value = (value << (bits - 1)) + (group & more - 1)
            if not group & more:
                return value
            value += 1
        raise MalformedDelta("a length is too large")
