"""A `UdsChannel` to an ECU in the same process: no socket, the same troubles.

Fifty vehicles of 33 ECUs run this way in one process; a request that gets no answer fails at once
instead of waiting, so that simulated time does not cost real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from ringroad.kernel.errors import Unavailable
from ringroad.sim.vecu.port import EcuPort, HangUp, Reply
from ringroad.vehicle.uds import answers, is_pending, suppressed


class MemoryChannel:
    """One tester's way to one ECU."""

    __slots__ = ("_port",)

    def __init__(self, port: EcuPort) -> None:
        self._port = port

    async def connect(self) -> None:
        """Be ready. Raises: Unavailable (the ECU died)."""
        if not self._port.alive:
            raise Unavailable("the ECU does not answer", code="connection_lost")

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one request and return its final response. Raises: Unavailable."""
        await self.connect()
        final: bytes | None = None
        hung_up = False
        for step in self._port.exchange(payload):
            match step:
                case Reply(payload=response, delay_ms=delay_ms):
                    if delay_ms > timeout_s * 1000:
                        break
                    if delay_ms:
                        await asyncio.sleep(delay_ms / 1000)
                    if final is None and answers(payload, response) and not is_pending(payload, response):
                        final = response
                case HangUp():
                    hung_up = True
        if final is not None:
            return final
        code = "connection_lost" if hung_up else "timeout"
        raise Unavailable(f"no answer to service 0x{payload[0]:02X}", code=code)

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        """Send a request whose positive response is suppressed."""
        self._port.exchange(suppressed(payload), functional=functional)

    def audience(self) -> Hashable:
        """This ECU alone."""
        return self

    async def close(self) -> None:
        """Nothing to drop."""
