"""Silence on the bus while one in-place ECU is flashed: the others stop their messages and store no faults.

An ECU in its bootloader sends nothing; the others would store that as lost communication, and the update
would be undone for a fault that it did not cause.

1. `begin`: 10 03, 85 02, 28 03 to every other ECU, functional and once per bus, no answer wanted; from then on 3E in the gaps.
2. `end`: 28 00, 85 01, 10 01.

Nothing here can stop a flash: an ECU that hears nothing goes on as usual, and one that hears only the first part
goes back to usual by itself when TesterPresent stays away for longer than its S3.

Invariant: whatever a life before this one began, the first `end` of this one takes back.

Source: ISO 14229-1 services 0x28 and 0x85; reference in-vehicle 2.4.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.uds import KEEPALIVE_S, UdsChannel

SAY_S_MAX: Final = 3.0  # s for one message to all ECUs; a dead one must not hold up the others
HUSH: Final = (b"\x10\x03", b"\x85\x02", b"\x28\x03\x01")
TALK: Final = (b"\x28\x00\x01", b"\x85\x01", b"\x10\x01")
STILL_HERE: Final = (b"\x3e\x00",)

_log = structlog.get_logger(__name__)


class Silence:
    """The silence of one vehicle's ECUs. One flash at a time, as the orchestrator does it."""

    def __init__(self, channels: Mapping[str, UdsChannel], *, keepalive_s: float = KEEPALIVE_S) -> None:
        """Take the way to each ECU, by serial. Nothing is sent yet."""
        self._channels = dict(channels)
        self._keepalive_s = keepalive_s
        self._keeping: asyncio.Task[None] | None = None
        self._over = False  # until `end` was called once nobody knows what an earlier life left behind

    async def begin(self, flashed: str) -> None:
        """Hush every ECU but `flashed`."""
        await self._stop_keeping()
        self._over = False
        others = [channel for serial, channel in self._channels.items() if serial != flashed]
        await _tell(others, HUSH)
        self._keeping = asyncio.create_task(self._keep(others))

    async def end(self) -> None:
        """Let every ECU talk again. Calling it twice is harmless."""
        await self._stop_keeping()
        if not self._over:
            await _tell(list(self._channels.values()), TALK)
            self._over = True

    async def close(self) -> None:
        """End what this life began."""
        if self._keeping is not None:
            await self.end()

    async def _stop_keeping(self) -> None:
        task, self._keeping = self._keeping, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _keep(self, channels: Sequence[UdsChannel]) -> None:
        while True:
            await asyncio.sleep(self._keepalive_s)
            await _tell(channels, STILL_HERE)


async def _tell(channels: Sequence[UdsChannel], messages: Sequence[bytes]) -> None:
    audiences = {channel.audience(): channel for channel in channels}  # a bus with many ECUs is told once
    unheard = sum(await asyncio.gather(*(_say(channel, messages) for channel in audiences.values())))
    if unheard:
        _log.info("vehicle.silence_unheard", message=messages[0].hex(), audiences=unheard)


async def _say(channel: UdsChannel, messages: Sequence[bytes]) -> bool:
    """Send to one ECU; return whether it could not be sent."""
    try:
        async with asyncio.timeout(SAY_S_MAX):
            for message in messages:
                await channel.notify(message, functional=True)
    except (Unavailable, TimeoutError):
        return True
    return False
