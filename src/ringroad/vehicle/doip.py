"""DoIP of ISO 13400-2: the frames, and asyncio TCP channels to the ECUs behind an entity.

The codec half (`encode`, `FrameParser`) does no I/O and is shared with the virtual ECU's server.

Invariant: a frame longer than `PAYLOAD_BYTES_MAX` or with a broken header ends the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.uds import final_response, suppressed

PORT: Final = 13400
VERSION: Final = 0x02  # ISO 13400-2:2012; 0xFF is the wildcard of vehicle identification
HEADER_BYTES: Final = 8
PAYLOAD_BYTES_MAX: Final = 1024 * 1024  # bytes; the largest UDS message we negotiate is 65,535
TESTER_ADDRESS: Final = 0x0E00
ROUTING_ACTIVATED: Final = 0x10
FUNCTIONAL_ADDRESS: Final = 0xE400  # every ECU behind the entity; ISO 13400-2, table 13


class PayloadType(IntEnum):
    """Payload types. Source: ISO 13400-2, table 17."""

    GENERIC_NACK = 0x0000
    IDENTIFICATION_REQUEST = 0x0001
    IDENTIFICATION_REQUEST_EID = 0x0002
    IDENTIFICATION_REQUEST_VIN = 0x0003
    IDENTIFICATION_RESPONSE = 0x0004
    ROUTING_ACTIVATION_REQUEST = 0x0005
    ROUTING_ACTIVATION_RESPONSE = 0x0006
    ALIVE_CHECK_REQUEST = 0x0007
    ALIVE_CHECK_RESPONSE = 0x0008
    ENTITY_STATUS_REQUEST = 0x4001
    ENTITY_STATUS_RESPONSE = 0x4002
    POWER_MODE_REQUEST = 0x4003
    POWER_MODE_RESPONSE = 0x4004
    DIAGNOSTIC_MESSAGE = 0x8001
    DIAGNOSTIC_ACK = 0x8002
    DIAGNOSTIC_NACK = 0x8003


class HeaderNack(IntEnum):
    """Why a frame was not looked into."""

    INCORRECT_PATTERN = 0x00
    UNKNOWN_PAYLOAD_TYPE = 0x01
    MESSAGE_TOO_LARGE = 0x02
    OUT_OF_MEMORY = 0x03
    INVALID_PAYLOAD_LENGTH = 0x04


class DiagnosticNack(IntEnum):
    """Why a diagnostic message was not delivered."""

    INVALID_SOURCE_ADDRESS = 0x02
    UNKNOWN_TARGET_ADDRESS = 0x03
    MESSAGE_TOO_LARGE = 0x04
    TARGET_UNREACHABLE = 0x06


class BadHeader(InvalidInput):
    """The bytes are not DoIP, or too many. `nack` is the answer the other side gets."""

    def __init__(self, nack: HeaderNack) -> None:
        super().__init__(f"not a DoIP frame we take: {nack.name.lower()}")
        self.nack = nack


def encode(payload_type: int, payload: bytes, *, version: int = VERSION) -> bytes:
    """Return one frame: generic header and payload."""
    return (
        bytes((version, version ^ 0xFF))
        + payload_type.to_bytes(2, "big")
        + len(payload).to_bytes(4, "big")
        + payload
    )


def encode_diagnostic(source: int, target: int, uds: bytes) -> bytes:
    """Return the frame of one UDS message."""
    return (
        b"\x02\xfd\x80\x01"
        + (len(uds) + 4).to_bytes(4, "big")
        + source.to_bytes(2, "big")
        + target.to_bytes(2, "big")
        + uds
    )


@dataclass(slots=True)
class FrameParser:
    """Cuts a byte stream into frames; sans I/O."""

    _buffer: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take received bytes; return the complete frames as (payload type, payload).

        Raises:
            BadHeader: synchronisation is lost; the connection must be closed.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            if buffer[start] ^ buffer[start + 1] != 0xFF:
                raise BadHeader(HeaderNack.INCORRECT_PATTERN)
            length = int.from_bytes(buffer[start + 4 : start + 8], "big")
            if length > PAYLOAD_BYTES_MAX:
                raise BadHeader(HeaderNack.MESSAGE_TOO_LARGE)
            end = start + HEADER_BYTES + length
            if len(buffer) < end:
                break
            payload_type = buffer[start + 2] << 8 | buffer[start + 3]
            frames.append((payload_type, bytes(memoryview(buffer)[start + HEADER_BYTES : end])))
            start = end
        if start:
            del buffer[:start]
        return frames


class DoipEntity:
    """One DoIP entity and the connection to it, which all channels to ECUs behind it share.

    An entity lets a tester's address in once: who opened a connection per ECU would be refused by the second.

    Args:
        host: address of the DoIP entity.
        port: TCP port.
        tester_address: ours.
        connect_s_max: s for connecting and routing activation.
    """

    def __init__(
        self, host: str, port: int, *, tester_address: int = TESTER_ADDRESS, connect_s_max: float = 5.0
    ) -> None:
        self._host = host
        self._port = port
        self.tester_address = tester_address
        self._connect_s_max = connect_s_max
        self._wire: _Wire | None = None
        self._users: set[int] = set()  # addresses of ECUs whose channels are open
        self._connecting = asyncio.Lock()  # `notify` may come while a request opens the connection
        self._failures = 0  # to connect
        self._failed = Unavailable("")  # the last of them

    async def connect(self, ecu_address: int) -> _Wire:
        """Connect and activate routing, where that is not so already. Raises: Unavailable.

        Who comes while somebody else connects shares the result: a dead entity costs its ECUs one attempt, not one each.
        """
        failures = self._failures
        async with self._connecting:
            if self._wire is None or self._wire.lost:
                if failures != self._failures:
                    raise Unavailable(
                        self._failed.message, code=self._failed.code, detail=self._failed.detail
                    )
                self._drop()
                try:
                    self._wire = await self._open()
                except Unavailable as error:
                    self._failures += 1
                    self._failed = error.with_traceback(None)
                    raise
            self._users.add(ecu_address)
            return self._wire

    async def _open(self) -> _Wire:
        loop = asyncio.get_running_loop()
        wire = _Wire(self.tester_address)
        try:
            async with asyncio.timeout(self._connect_s_max):
                await loop.create_connection(lambda: wire, self._host, self._port)
                activation = self.tester_address.to_bytes(2, "big") + bytes(5)
                wire.send(encode(PayloadType.ROUTING_ACTIVATION_REQUEST, activation))
                code = await wire.next_activation()
        except (OSError, TimeoutError) as error:
            wire.abort()
            raise Unavailable(
                f"no DoIP entity answers at {self._host}:{self._port}",
                code="connection_lost",
                detail=str(error),
            ) from error
        except BaseException:
            wire.abort()
            raise
        if code != ROUTING_ACTIVATED:
            wire.abort()
            raise Unavailable(f"routing activation was refused with 0x{code:02X}", code="connection_lost")
        return wire

    def leave(self, ecu_address: int, *, deaf: _Wire | None = None) -> None:
        """Drop the connection, unless channels to other ECUs use it and it is not `deaf`."""
        self._users.discard(ecu_address)
        if not self._users or (deaf is not None and deaf is self._wire):
            self._drop()

    def _drop(self) -> None:
        if self._wire is not None:
            self._wire.abort()
            self._wire = None


class DoipChannel:
    """A `UdsChannel` to one ECU behind a DoIP entity.

    Args:
        entity: the way to it.
        ecu_address: logical address of the ECU.
    """

    def __init__(self, entity: DoipEntity, *, ecu_address: int) -> None:
        self._entity = entity
        self._ecu_address = ecu_address
        self._wire: _Wire | None = None
        self._heard_bytes: int | None = None  # on the wire before a request that timed out

    async def connect(self) -> None:
        """Connect and activate routing. Raises: Unavailable."""
        wire = await self._entity.connect(self._ecu_address)
        if wire is not self._wire:
            wire.inbox(self._ecu_address).clear()
            self._wire = wire

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one request and return its final response. Raises: Unavailable."""
        await self.connect()
        wire = self._wire
        if wire is None:
            raise Unavailable("the connection was closed", code="connection_lost")
        inbox = wire.inbox(self._ecu_address)
        inbox.clear()  # answers to earlier requests
        self._heard_bytes, heard_bytes = None, wire.heard_bytes
        wire.send(encode_diagnostic(self._entity.tester_address, self._ecu_address, payload))
        try:
            return await final_response(payload, inbox.next_response, timeout_s=timeout_s)
        except ConnectionError as error:
            await self.close()
            raise Unavailable(
                "the ECU closed the connection", code="connection_lost", detail=str(error)
            ) from error
        except Unavailable:
            self._heard_bytes = heard_bytes
            raise

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        """Send a request whose positive response is suppressed. Raises: Unavailable."""
        await self.connect()
        if self._wire is not None:
            target = FUNCTIONAL_ADDRESS if functional else self._ecu_address
            self._wire.send(encode_diagnostic(self._entity.tester_address, target, suppressed(payload)))

    def audience(self) -> Hashable:
        """Return what hears a functional request."""
        return self._entity

    async def close(self) -> None:
        """Drop the connection, unless it is another ECU's way, too.

        An entity acknowledges every request, even to an ECU that is silent. One that has said nothing at all since a
        request has restarted without closing the connection, which then is nobody's way any more.
        """
        wire, self._wire = self._wire, None
        deaf = wire is not None and wire.heard_bytes == self._heard_bytes
        self._heard_bytes = None
        self._entity.leave(self._ecu_address, deaf=wire if deaf else None)


class _Inbox:
    """Responses of one ECU."""

    __slots__ = ("_responses", "_waiter", "_wire", "refused")

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire
        self._responses: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self.refused = ""  # why the entity did not deliver the newest request

    def clear(self) -> None:
        """Forget what was answered."""
        self._responses.clear()
        self.refused = ""

    def put(self, response: bytes) -> None:
        """Take a response."""
        self._responses.append(response)
        self.wake()

    def refuse(self, why: str) -> None:
        """Take that the request was not delivered."""
        self.refused = why
        self.wake()

    def wake(self) -> None:
        """Let who waits look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next_response(self) -> bytes:
        """Wait for a response. Raises: ConnectionError."""
        while not self._responses:
            if self._wire.lost or self.refused:
                raise ConnectionResetError(self.refused or "closed by the other side")
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._responses.popleft()


class _Wire(asyncio.Protocol):
    """Frames in, responses out, over one TCP connection."""

    def __init__(self, tester_address: int) -> None:
        self._to_us = tester_address.to_bytes(2, "big")
        self._parser = FrameParser()
        self._inboxes: dict[bytes, _Inbox] = {}  # by ECU address
        self._activation: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self.lost = False
        self.heard_bytes = 0

    def inbox(self, ecu_address: int) -> _Inbox:
        """Return where an ECU's responses arrive."""
        return self._inboxes.setdefault(ecu_address.to_bytes(2, "big"), _Inbox(self))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard_bytes += len(data)
        try:
            frames = self._parser.feed(data)
        except BadHeader:
            self.abort()
            return
        for payload_type, payload in frames:
            inbox = self._inboxes.get(payload[:2]) if payload[2:4] == self._to_us else None
            match payload_type:
                case PayloadType.DIAGNOSTIC_MESSAGE if inbox is not None and len(payload) > 4:
                    inbox.put(payload[4:])
                case PayloadType.DIAGNOSTIC_NACK if inbox is not None and len(payload) > 4:
                    inbox.refuse(f"not delivered: 0x{payload[4]:02X}")
                case PayloadType.ROUTING_ACTIVATION_RESPONSE if len(payload) > 4:
                    if not self._activation.done():
                        self._activation.set_result(payload[4])
                case PayloadType.ALIVE_CHECK_REQUEST:
                    self.send(encode(PayloadType.ALIVE_CHECK_RESPONSE, self._to_us))
                case PayloadType.GENERIC_NACK:
                    self.abort()
                case _:
                    pass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._end()

    def send(self, frame: bytes) -> None:
        if self._transport is not None and not self.lost:
            self._transport.write(frame)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._end()

    async def next_activation(self) -> int:
        return await self._activation

    def _end(self) -> None:
        self.lost = True
        if not self._activation.done():
            self._activation.set_exception(ConnectionResetError("closed by the other side"))
            self._activation.exception()  # who waits hears of it; nobody has to
        for inbox in self._inboxes.values():
            inbox.wake()
