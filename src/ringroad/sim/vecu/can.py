"""One virtual ECU on a CAN bus: requests come through ISO-TP, physical or functional, and so do responses.

Invariant: an ECU that restarts forgets what was on its way, and one that is dead sends no frame.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ringroad.kernel.errors import Unavailable
from ringroad.sim.vecu.port import EcuPort, HangUp, Reply, Step
from ringroad.vehicle.can import CanBus
from ringroad.vehicle.isotp.channel import IsotpEndpoint
from ringroad.vehicle.isotp.model import IsotpSettings, decode_single
from ringroad.vehicle.uds import NEGATIVE, Nrc

RETRY_S: Final = 0.2  # s between two looks whether the bus is there
STEPS_MAX: Final = 4_096  # responses that wait for the bus; an erase may be pending a thousand times


class CanFace:
    """Puts an ECU on a bus and answers there.

    Args:
        port: the ECU.
        bus: a controller of its own.
        settings: addresses and timing, as the ECU has them.
        functional_id: identifier that all ECUs hear.
        pending_s: between a "response pending" and what follows it.
    """

    def __init__(
        self,
        port: EcuPort,
        bus: CanBus,
        settings: IsotpSettings,
        *,
        functional_id: int | None = None,
        pending_s: float = 0.0,
    ) -> None:
        self._port = port
        self._bus = bus
        self._settings = settings
        self._functional_id = functional_id
        self._pending_s = pending_s
        self._endpoint = IsotpEndpoint(bus, settings, self._asked)
        self._steps: deque[Step] = deque()
        self._due = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Get onto the bus, waiting for it as long as it takes, and stay there."""
        await self._join()
        self._endpoint.attach()
        if self._functional_id is not None:
            self._bus.listeners.add(self._functional_id, self._asked_functionally)
        self._tasks = [asyncio.create_task(self._stay()), asyncio.create_task(self._answer())]

    async def close(self) -> None:
        """Leave the bus."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self._functional_id is not None:
            self._bus.listeners.remove(self._functional_id, self._asked_functionally)
        self._endpoint.detach()
        await self._bus.leave()

    def _asked(self, request: bytes | None) -> None:
        if request is not None:
            self._exchange(request, functional=False)

    def _asked_functionally(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            request = decode_single(frame, self._settings.address.rx_prefix)
            if request is not None:
                self._exchange(request, functional=True)

    def _exchange(self, request: bytes, *, functional: bool) -> None:
        steps = self._port.exchange(request, functional=functional)
        if not self._port.alive:
            self._steps.clear()
            self._endpoint.detach()
        elif len(self._steps) + len(steps) <= STEPS_MAX:
            self._steps += steps
            self._due.set()

    async def _answer(self) -> None:
        while True:
            await self._due.wait()
            while self._steps:
                match self._steps.popleft():
                    case Reply(payload=payload, delay_ms=delay_ms):
                        await asyncio.sleep(delay_ms / 1000)
                        await self._send(payload)
                    case HangUp():
                        self._endpoint.detach()
                        self._endpoint.attach()
            self._due.clear()

    async def _send(self, payload: bytes) -> None:
        with suppress(Unavailable):  # nobody takes it: the tester's time-out, not ours
            await self._endpoint.send(payload)
        if self._pending_s and payload[0] == NEGATIVE and payload[2] == Nrc.RESPONSE_PENDING:
            await asyncio.sleep(self._pending_s)

    async def _stay(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            await self._join()

    async def _join(self) -> None:
        while True:
            try:
                await self._bus.open()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
            else:
                return
