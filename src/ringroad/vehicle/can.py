"""CAN and CAN FD as the vehicle sees them: identifiers, lengths, and the bus a transport is given.

Not here: a bus. `cannelloni.py` reaches a bus process, `python_can.py` an interface, `sim/canbus.py` is one in memory.

Identifiers are numbers as SocketCAN has them: bit 31 marks 29-bit ones, so that 0x123 and 0x00000123 differ.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ringroad.kernel.errors import InvalidInput

EXTENDED: Final = 1 << 31  # a 29-bit identifier
REMOTE: Final = 1 << 30  # a remote frame; we neither send nor take any
ERROR: Final = 1 << 29  # not from the bus but about it
STANDARD_ID_MAX: Final = 0x7FF
EXTENDED_ID_MAX: Final = 0x1FFF_FFFF
CLASSIC_BYTES_MAX: Final = 8
FD_BYTES_MAX: Final = 64
# Payload lengths that a frame can have. Source: ISO 11898-1, DLC coding.
DATA_BYTES: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)

Received = Callable[[Sequence[bytes]], None]  # payloads of one identifier, in the order of the bus
Confirmed = Callable[[int], None]  # how many more of the frames that were handed over are on the bus


class Listeners:
    """Who hears which identifiers at one controller."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[Received, ...]] = {}

    def __bool__(self) -> bool:
        """Whether anybody hears anything."""
        return bool(self._by_id)

    def add(self, can_id: int, received: Received) -> None:
        """Hear frames with this identifier."""
        self._by_id[can_id] = (*self._by_id.get(can_id, ()), received)

    def remove(self, can_id: int, received: Received) -> None:
        """Hear them no more."""
        left = tuple(each for each in self._by_id.get(can_id, ()) if each != received)
        if left:
            self._by_id[can_id] = left
        else:
            self._by_id.pop(can_id, None)

    def hear(self, can_id: int, frames: Sequence[bytes]) -> None:
        """Tell frames to those who hear their identifier."""
        for received in self._by_id.get(can_id, ()):
            received(frames)


class CanBus(Protocol):
    """One controller on one bus. Calls come from the event loop, and so do its callbacks.

    Attributes:
        fd: frames are CAN FD.
        listeners: who hears what.
        turn: held by the one request that is under way. Requests win arbitration over most responses, so that
            two at once would keep a third ECU from answering for as long as they last.
    """

    fd: bool
    listeners: Listeners
    turn: asyncio.Lock

    async def open(self) -> None:
        """Be on the bus; nothing to do when already so. Raises: Unavailable."""
        ...

    async def leave(self) -> None:
        """Close the controller if nothing is heard here any more; `open` comes back."""
        ...

    def send(self, can_id: int, frames: Sequence[bytes], confirmed: Confirmed) -> None:
        """Queue frames; `confirmed` is called later, as they are on the bus. A bus that is lost never calls."""
        ...


def can_id(number: int) -> int:
    """Return an identifier for a number as people write it: above 0x7FF it has 29 bits.

    Raises:
        InvalidInput: more than 29 bits, or negative.
    """
    if not 0 <= number <= EXTENDED_ID_MAX:
        raise InvalidInput(f"0x{number:X} is no CAN identifier", hint="11 bits, or 29")
    return number if number <= STANDARD_ID_MAX else number | EXTENDED


def data_bytes(size: int) -> int:
    """Return the smallest payload length a frame can have for `size` bytes, at most 64."""
    return DATA_BYTES[bisect_left(DATA_BYTES, size)]
