"""A CAN bus in memory: arbitration by identifier, and every frame takes the time it takes at real bit rates.

Time is the event loop's: the machine's for servers, `simtime.SimulatedLoop` for simulations.
Without bit rates frames arrive as fast as the machine is.

Not here: bus errors and error counters. What a bus loses or doubles is said by `disturb`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.can import CLASSIC_BYTES_MAX, EXTENDED, Confirmed, Listeners, data_bytes

QUEUE_FRAMES_MAX: Final = (
    100_000  # frames waiting in one controller; 200 senders with a burst each are 12,800
)
NS: Final = 1_000_000_000
Disturb = Callable[[int, bytes], Sequence[bytes]]  # what arrives instead of a frame: nothing, it, it twice
Everything = Callable[[int, Sequence[bytes]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BitRates:
    """Bits per second, of arbitration and of CAN FD's data phase."""

    nominal: int
    data: int

    def __post_init__(self) -> None:
        """Refuse rates that no bus has."""
        if not 0 < self.nominal <= self.data <= 8_000_000 or self.nominal > 1_000_000:
            raise InvalidInput("bit rates: nominal up to 1 Mbit/s, data at least that and up to 8 Mbit/s")


CAN_500K: Final = BitRates(nominal=500_000, data=500_000)
CAN_FD_2M: Final = BitRates(nominal=500_000, data=2_000_000)


def frame_ns(rates: BitRates, can_id: int, size: int, *, fd: bool) -> int:
    """Return the nanoseconds a data frame and the gap behind it occupy the bus, with as many stuff bits as can be.

    Args:
        rates: of the bus.
        can_id: decides between 11 and 29 bits.
        size: payload bytes.
        fd: a CAN FD frame with bit rate switch.

    Source: Davis, Burns, Bril, Lukkien 2007, equation 1 (classic); ISO 11898-1 frame formats (FD).
    """
    extended = bool(can_id & EXTENDED)
    if not fd:
        stuffed = (54 if extended else 34) + 8 * size  # start of frame to checksum
        return (stuffed + 13 + (stuffed - 1) // 4) * NS // rates.nominal
    arbitration = 36 if extended else 17  # start of frame to the bit rate switch
    header = 5 + 8 * size  # error state, length, data
    checksum = 4 + 17 + 6 if size <= 16 else 4 + 21 + 7  # stuff count, checksum, its fixed stuff bits
    slow = arbitration + (arbitration - 1) // 4 + 13  # delimiters, acknowledgement, end of frame, gap
    return slow * NS // rates.nominal + (header + header // 4 + checksum) * NS // rates.data


class _Order:
    """Frames of one identifier that one sender handed over together."""

    __slots__ = ("at", "can_id", "confirmed", "frames")

    def __init__(self, can_id: int, frames: Sequence[bytes], confirmed: Confirmed) -> None:
        self.can_id = can_id
        self.frames = frames
        self.confirmed = confirmed
        self.at = 0  # the next frame


class Controller:
    """A `CanBus`: one place on a virtual bus."""

    def __init__(self, bus: VirtualBus, everything: Everything | None) -> None:
        self.fd = bus.fd
        self.orders: deque[_Order] = deque()
        self.queued_frames = 0
        self.listeners = Listeners()
        self.turn = asyncio.Lock()
        self.everything = everything
        self._bus = bus

    async def open(self) -> None:
        """Be on the bus. Raises: Unavailable, when it is cut."""
        if self._bus.cut:
            raise Unavailable("the bus is cut", code="connection_lost")
        self._bus.join(self)

    async def leave(self) -> None:
        """Leave the bus, if nothing is heard here any more."""
        if not self.listeners:
            self._bus.part(self)

    def send(self, can_id: int, frames: Sequence[bytes], confirmed: Confirmed) -> None:
        """Queue frames; a controller that is full or not on the bus loses them, as a real one would."""
        if frames and self.queued_frames + len(frames) <= QUEUE_FRAMES_MAX:
            self._bus.queue(self, _Order(can_id, frames, confirmed))


class VirtualBus:
    """One bus.

    Args:
        rates: real ones; None is as fast as the machine.
        fd: frames are CAN FD with bit rate switch.
        disturb: what becomes of each frame on its way.
    """

    def __init__(
        self, rates: BitRates | None = None, *, fd: bool = False, disturb: Disturb | None = None
    ) -> None:
        self.rates = rates
        self.fd = fd
        self.disturb = disturb
        self.cut = False  # nothing gets through any more
        self.busy_ns = 0  # what frames took so far
        self._controllers: dict[Controller, None] = {}  # in the order in which they came
        self._waiting: dict[Controller, None] = {}
        self._current: tuple[Controller, _Order, bytes] | None = None  # on the bus
        self._free_at_ns = 0
        self._busy = False
        self._timer: asyncio.Handle | None = None

    def controller(self, everything: Everything | None = None) -> Controller:
        """Return a new place on the bus; `everything` hears all identifiers."""
        return Controller(self, everything)

    def join(self, controller: Controller) -> None:
        """Take a controller onto the bus."""
        self._controllers[controller] = None

    def part(self, controller: Controller) -> None:
        """Let a controller go, with what it still wanted to send."""
        self._controllers.pop(controller, None)
        self._waiting.pop(controller, None)
        controller.orders.clear()
        controller.queued_frames = 0

    def queue(self, controller: Controller, order: _Order) -> None:
        """Take frames into a controller's queue."""
        if self.cut or controller not in self._controllers:
            return
        _check(order.frames, fd=self.fd)
        controller.orders.append(order)
        controller.queued_frames += len(order.frames)
        self._waiting[controller] = None
        if self._timer is None and not self._busy:
            loop = asyncio.get_running_loop()
            if self.rates is None:
                self._timer = loop.call_soon(self._flush)
            else:
                # A frame that comes to a quiet bus starts now, but what is queued in the same breath arbitrates.
                self._free_at_ns = max(self._free_at_ns, int(loop.time() * NS))
                self._timer = loop.call_soon(self._next)

    def close(self) -> None:
        """Cut the bus."""
        self.cut = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for controller in tuple(self._controllers):
            self.part(controller)

    def _flush(self) -> None:
        """Deliver what is queued now, lowest identifier of all heads first."""
        self._timer = None
        batch = []
        while self._waiting:
            controller, order = self._win()
            self._take(controller, order, len(order.frames))
            batch.append((controller, order))
        for controller, order in batch:
            self._deliver(controller, order.can_id, order.frames)
            order.confirmed(len(order.frames))

    def _next(self) -> None:
        """Let a frame end, and the next begin, until one of them ends in the future."""
        loop, rates = asyncio.get_running_loop(), self.rates or CAN_500K
        self._timer, self._busy = None, True
        while not self.cut:
            ended, self._current = self._current, None
            # What is queued already arbitrates before anybody can answer: no software is as fast as the gap between
            # two frames. Otherwise important answers would keep others off the bus for good.
            self._current = self._begin(rates)
            if ended is not None:
                controller, order, frame = ended
                self._deliver(controller, order.can_id, (frame,))
                order.confirmed(1)
            self._current = self._current or self._begin(rates)
            if self._current is None:
                break
            if self._free_at_ns > loop.time() * NS:
                self._timer = loop.call_at(self._free_at_ns / NS, self._next)
                break
        self._busy = False

    def _begin(self, rates: BitRates) -> tuple[Controller, _Order, bytes] | None:
        if not self._waiting:
            return None
        controller, order = self._win()
        frame = order.frames[order.at]
        self._take(controller, order, 1)
        took_ns = frame_ns(rates, order.can_id, len(frame), fd=self.fd)
        self.busy_ns += took_ns
        self._free_at_ns += took_ns
        return controller, order, frame

    def _win(self) -> tuple[Controller, _Order]:
        controller = (
            min(self._waiting, key=_priority) if len(self._waiting) > 1 else next(iter(self._waiting))
        )
        return controller, controller.orders[0]

    def _take(self, controller: Controller, order: _Order, count: int) -> None:
        order.at += count
        controller.queued_frames -= count
        if order.at == len(order.frames):
            controller.orders.popleft()
        # To the end, so that two with the same identifier take turns.
        del self._waiting[controller]
        if controller.orders:
            self._waiting[controller] = None

    def _deliver(self, sender: Controller, can_id: int, frames: Sequence[bytes]) -> None:
        if self.disturb is not None:
            disturb = self.disturb
            frames = [arrived for frame in frames for arrived in disturb(can_id, frame)]
            if not frames:
                return
        for controller in tuple(self._controllers):
            if controller is sender:
                continue
            controller.listeners.hear(can_id, frames)
            if controller.everything is not None:
                controller.everything(can_id, frames)


def _priority(controller: Controller) -> int:
    """Return what arbitrates: the 11 bits both kinds begin with, and a standard frame before an extended one."""
    can_id = controller.orders[0].can_id
    if can_id & EXTENDED:
        number = can_id & ~EXTENDED
        return (number >> 18) << 19 | 1 << 18 | number & 0x3FFFF
    return can_id << 19


def _check(frames: Sequence[bytes], *, fd: bool) -> None:
    for frame in frames:
        size = len(frame)
        if size > CLASSIC_BYTES_MAX and (not fd or size > 64 or data_bytes(size) != size):
            raise InvalidInput(f"no frame of this bus has {size} bytes")
