"""Real CAN interfaces through python-can, which is installed only where one is: ``ringroad[can]``.

python-can blocks, so one thread reads and one writes per bus, however many ECUs are on it.
It is imported when a bus is opened, never before.
"""

from __future__ import annotations

import asyncio
import importlib
import queue
import threading
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.can import EXTENDED, Listeners

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ringroad.vehicle.can import Confirmed

RECEIVE_S: Final = 0.1  # s a thread sleeps in the driver before it looks whether it shall end
SEND_S: Final = 0.5  # s a driver may take for one frame; below N_As
BATCH_FRAMES_MAX: Final = 256  # frames handed to the event loop at once

_Order = tuple[int, "Sequence[bytes]", "Confirmed"]


class PythonCanBus:
    """A `CanBus` on one python-can interface.

    Args:
        interface: python-can's name, for example ``socketcan``.
        channel: of the interface, for example ``can0``.
        fd: send CAN FD frames with the bit rate switch.
        options: more arguments for ``can.Bus``, for example ``bitrate``.
    """

    def __init__(self, interface: str, channel: str, *, fd: bool = False, **options: Any) -> None:
        self.fd = fd
        self._arguments = {**options, "interface": interface, "channel": channel}
        if fd:
            self._arguments["fd"] = True
        self._bus: Any = None
        self._threads: list[threading.Thread] = []
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self.listeners = Listeners()
        self.turn = asyncio.Lock()
        self._gate = asyncio.Lock()
        self._lost = threading.Event()

    async def open(self) -> None:
        """Open the interface. Raises: InvalidInput (python-can is missing), Unavailable (the driver refuses)."""
        async with self._gate:
            if self._bus is None or self._lost.is_set():
                await asyncio.to_thread(self._close)
                await self._open()

    async def leave(self) -> None:
        """Close the interface, if nothing is heard here any more."""
        async with self._gate:
            if not self.listeners:
                await asyncio.to_thread(self._close)

    def send(self, can_id: int, frames: Sequence[bytes], confirmed: Confirmed) -> None:
        """Queue frames for the writing thread."""
        self._orders.put((can_id, frames, confirmed))

    async def _open(self) -> None:
        try:
            can = importlib.import_module("can")
        except ImportError as error:
            raise InvalidInput("python-can is not installed", hint="pip install 'ringroad[can]'") from error
        try:
            bus = await asyncio.to_thread(can.Bus, **self._arguments)
        except (can.CanError, OSError, ValueError, NotImplementedError) as error:
            where = f"{self._arguments['interface']} {self._arguments['channel']}"
            raise Unavailable(
                f"the CAN interface {where} cannot be opened", code="connection_lost", detail=str(error)
            ) from error
        loop = asyncio.get_running_loop()
        self._bus, self._lost, self._orders = bus, threading.Event(), queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._read, args=(can, bus, loop, self._lost), daemon=True),
            threading.Thread(
                target=self._write, args=(can, bus, loop, self._lost, self._orders), daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def _close(self) -> None:
        self._lost.set()
        self._orders.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []
        if self._bus is not None:
            self._bus.shutdown()
            self._bus = None

    def _read(self, can: Any, bus: Any, loop: asyncio.AbstractEventLoop, lost: threading.Event) -> None:
        try:
            while not lost.is_set():
                message = bus.recv(RECEIVE_S)
                batch = []
                while message is not None:
                    if not message.is_error_frame and not message.is_remote_frame:
                        number = message.arbitration_id | (EXTENDED if message.is_extended_id else 0)
                        batch.append((number, bytes(message.data)))
                    if len(batch) >= BATCH_FRAMES_MAX:
                        break
                    message = bus.recv(0)
                if batch:
                    loop.call_soon_threadsafe(self._heard, batch)
        except (can.CanError, OSError, RuntimeError):  # the last: the event loop has ended
            lost.set()

    def _write(
        self,
        can: Any,
        bus: Any,
        loop: asyncio.AbstractEventLoop,
        lost: threading.Event,
        orders: queue.SimpleQueue[_Order | None],
    ) -> None:
        try:
            while not lost.is_set() and (order := orders.get()) is not None:
                can_id, frames, confirmed = order
                number, extended = can_id & ~EXTENDED, bool(can_id & EXTENDED)
                for data in frames:
                    bus.send(
                        can.Message(
                            arbitration_id=number, is_extended_id=extended, data=data, is_fd=self.fd,
                            bitrate_switch=self.fd,
                        ),
                        timeout=SEND_S,
                    )  # fmt: skip
                loop.call_soon_threadsafe(confirmed, len(frames))
        except (can.CanError, OSError, RuntimeError):  # the last: the event loop has ended
            lost.set()

    def _heard(self, batch: list[tuple[int, bytes]]) -> None:
        for can_id, frames in groupby(batch, key=itemgetter(0)):
            self.listeners.hear(can_id, [data for _, data in frames])
