"""CAN over TCP: the stream of the cannelloni project, and the controller that speaks it to a bus process.

Whoever connects says the banner, then frames follow one another: identifier 4 bytes (as SocketCAN has it), length 1
(its highest bit marks CAN FD), flags 1 on CAN FD only, data. A remote frame has no data.

Our own addition stays within the format: a frame with the error bit and no data asks the bus to tell when frames are
on the wire; from then on error frames with four bytes say how many more are. Who never asks never sees one.

Source: the cannelloni project's description of its TCP format, version 1; no code of it.

Invariant: bytes that are no frame end the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.can import (
    CLASSIC_BYTES_MAX,
    ERROR,
    FD_BYTES_MAX,
    REMOTE,
    Confirmed,
    Listeners,
)

BANNER: Final = b"CANNELLONIv1"
FD_BIT: Final = 0x80
BIT_RATE_SWITCH: Final = 0x01
CONNECT_S_MAX: Final = 5.0
ASK: Final = ERROR.to_bytes(4, "big") + b"\x00"


def encode_frames(can_id: int, frames: Sequence[bytes], *, fd: bool) -> bytes:
    """Return the bytes of data frames with one identifier."""
    head = can_id.to_bytes(4, "big")
    if fd:
        heads = {
            size: head + bytes((size | FD_BIT, BIT_RATE_SWITCH)) for size in {len(each) for each in frames}
        }
    else:
        heads = {size: head + bytes((size,)) for size in {len(each) for each in frames}}
    return b"".join([part for frame in frames for part in (heads[len(frame)], frame)])


def encode_confirmation(count: int) -> bytes:
    """Return the error frame that says how many more frames are on the wire."""
    return ERROR.to_bytes(4, "big") + b"\x04" + count.to_bytes(4, "big")


@dataclass(slots=True)
class FrameParser:
    """Cuts a stream into frames; sans I/O."""

    _buffer: bytearray = field(default_factory=bytearray)
    _greeted: bool = False

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take received bytes; return complete frames as (identifier with its bits, data).

        Raises:
            InvalidInput: the other side speaks something else; the connection must be closed.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        if not self._greeted:
            if not BANNER.startswith(bytes(buffer[: len(BANNER)])):
                raise InvalidInput("the other side does not speak CAN over TCP")
            if len(buffer) < len(BANNER):
                return []
            self._greeted, at = True, len(BANNER)
        frames: list[tuple[int, bytes]] = []
        end = len(buffer)
        while end - at >= 5:
            can_id, size, start = int.from_bytes(buffer[at : at + 4], "big"), buffer[at + 4], at + 5
            most = CLASSIC_BYTES_MAX
            if size & FD_BIT:
                size, start, most = size & ~FD_BIT, at + 6, FD_BYTES_MAX
            if size > most:
                raise InvalidInput(f"no CAN frame has {size} bytes")
            if can_id & REMOTE:
                size = 0
            if start + size > end:
                break
            frames.append((can_id, bytes(buffer[start : start + size])))
            at = start + size
        del buffer[:at]
        return frames


class BusConnection:
    """A `CanBus` on a bus process.

    Args:
        host: where it listens.
        port: its TCP port.
        fd: whether the bus is CAN FD.
    """

    def __init__(self, host: str, port: int, *, fd: bool = False) -> None:
        self.fd = fd
        self._host = host
        self._port = port
        self.listeners = Listeners()
        self.turn = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._wire: _Wire | None = None

    async def open(self) -> None:
        """Connect, and connect anew when the connection was lost. Raises: Unavailable."""
        async with self._opening:
            if self._wire is not None and not self._wire.lost:
                return
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(CONNECT_S_MAX):
                    _, self._wire = await loop.create_connection(
                        lambda: _Wire(self.listeners), self._host, self._port
                    )
                    await self._wire.greeted.wait()
            except (OSError, TimeoutError) as error:
                self._drop()
                raise Unavailable(
                    f"no CAN bus answers at {self._host}:{self._port}",
                    code="connection_lost",
                    detail=str(error),
                ) from error
            if self._wire.lost:
                self._drop()
                raise Unavailable(f"no CAN bus is at {self._host}:{self._port}", code="connection_lost")

    async def leave(self) -> None:
        """Close the connection, if nothing is heard here any more."""
        async with self._opening:
            if not self.listeners:
                self._drop()

    def send(self, can_id: int, frames: Sequence[bytes], confirmed: Confirmed) -> None:
        """Send frames; without a connection they are lost, and never confirmed."""
        if self._wire is not None:
            self._wire.send(encode_frames(can_id, frames, fd=self.fd), len(frames), confirmed)

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.drop()
            self._wire = None


class _Wire(asyncio.Protocol):
    """One connection: frames to listeners, confirmations to senders."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._parser = FrameParser()
        self._transport: asyncio.Transport | None = None
        self._flying: deque[tuple[int, Confirmed]] = deque()
        self.greeted = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(BANNER + ASK)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.lost = True
        self.greeted.set()

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._parser.feed(data)
        except InvalidInput:
            self.drop()
            return
        self.greeted.set()
        for can_id, group in groupby(frames, key=itemgetter(0)):
            if can_id & ERROR:
                self._confirm(sum(int.from_bytes(count, "big") for _, count in group))
            else:
                self._listeners.hear(can_id, [payload for _, payload in group])

    def send(self, data: bytes, count: int, confirmed: Confirmed) -> None:
        if self._transport is not None and not self.lost:
            self._flying.append((count, confirmed))
            self._transport.write(data)

    def drop(self) -> None:
        self.lost = True
        self.greeted.set()
        if self._transport is not None:
            self._transport.abort()

    def _confirm(self, count: int) -> None:
        while count and self._flying:
            flying, confirmed = self._flying.popleft()
            if flying > count:
                self._flying.appendleft((flying - count, confirmed))
            done = min(count, flying)
            count -= done
            confirmed(done)
