"""ISO-TP links on a bus: the event loop's clock and the bus's frames drive them. A `UdsChannel` is one of these.

Not here: the protocol (`link.py`) and how frames reach a bus (`can.CanBus`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.vehicle.isotp.link import IsotpLink
from ringroad.vehicle.isotp.model import Aborted, Delivered, Result, Sent, encode_single
from ringroad.vehicle.uds import final_response, suppressed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ringroad.vehicle.can import CanBus
    from ringroad.vehicle.isotp.model import IsotpSettings


class IsotpEndpoint:
    """One link on one bus.

    Args:
        bus: which must be open while messages are sent.
        settings: of the link.
        received: called with each message that came, and with None when one broke off.
    """

    def __init__(
        self, bus: CanBus, settings: IsotpSettings, received: Callable[[bytes | None], None]
    ) -> None:
        self._bus = bus
        self._address = settings.address
        self._link = IsotpLink(settings)
        self._received = received
        self._out: asyncio.Future[Result | None] | None = None  # of the message on its way out
        self._timer: asyncio.TimerHandle | None = None
        self._timer_us = 0
        self.attached = False

    @property
    def receiving(self) -> bool:
        """Whether a message is on its way in."""
        return self._link.receiving

    def attach(self) -> None:
        """Hear the bus."""
        if not self.attached:
            self._bus.listeners.add(self._address.rx_id, self._heard)
            self.attached = True

    def detach(self) -> None:
        """Leave the bus; what was on its way breaks off."""
        if self.attached:
            self._bus.listeners.remove(self._address.rx_id, self._heard)
            self.attached = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._out is not None and not self._out.done():
            self._out.set_result(Result.TIMEOUT_A)
        self._out = None
        self._link = IsotpLink(self._link.settings)

    async def send(self, payload: bytes) -> None:
        """Send a message and return when its last frame is on the bus.

        Raises:
            Unavailable: code ``timeout``; the result in the standard's words is its detail.
            InvalidInput: no message, or a too long one.
        """
        while self._out is not None and not self._out.done():
            await asyncio.wait({self._out})  # of a caller that no longer waits
        out: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
        self._link.send(payload)
        self._out = out
        self._pump()
        result = await asyncio.shield(out)
        if result is not None:
            raise Unavailable("the message did not get through", code="timeout", detail=result)

    def hold(self, *, held: bool) -> None:
        """Let the other side wait before its next block, or go on."""
        self._link.hold(held=held)
        self._pump()

    def _heard(self, frames: Sequence[bytes]) -> None:
        self._link.receive(frames, _now_us())
        self._pump()

    def _confirmed(self, count: int) -> None:
        self._link.confirm(count, _now_us())
        self._pump()

    def _pump(self) -> None:
        """Carry out what the link wants."""
        link = self._link
        now_us = _now_us()
        frames = link.outgoing(now_us)
        if frames:
            self._bus.send(self._address.tx_id, frames, self._confirmed)
        for event in link.events():
            match event:
                case Delivered(payload=payload):
                    self._received(payload)
                case Aborted(result=result, sending=sending):
                    if sending:
                        self._sent(result)
                    else:
                        self._received(None)
                case Sent():
                    self._sent(None)
        wake_us = link.wake_us
        if wake_us is not None and (self._timer is None or wake_us < self._timer_us):
            self._arm(wake_us)

    def _sent(self, result: Result | None) -> None:
        if self._out is not None and not self._out.done():
            self._out.set_result(result)

    def _arm(self, wake_us: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_us = wake_us
        self._timer = asyncio.get_running_loop().call_at(wake_us / 1e6, self._woken)

    def _woken(self) -> None:
        # Most timers are for what has come in time since; only a new look says whether there is another.
        self._timer = None
        self._link.expire(_now_us())
        self._pump()


_ANYTHING: Final = b"\x3e\x80"  # a request that tells frames apart by how they are addressed and padded


class IsotpChannel:
    """A `UdsChannel` to one ECU on a CAN bus.

    Args:
        bus: a controller on it; the channels to its other ECUs share it.
        settings: addresses and timing.
        functional_id: identifier that every ECU of the bus hears; None: functional requests go to this one.
    """

    def __init__(self, bus: CanBus, settings: IsotpSettings, *, functional_id: int | None = None) -> None:
        self._bus = bus
        self._settings = settings
        self._functional_id = functional_id
        self._responses: deque[bytes] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._endpoint = IsotpEndpoint(bus, settings, self._received)

    async def connect(self) -> None:
        """Be on the bus. Raises: Unavailable."""
        await self._bus.open()
        self._endpoint.attach()

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one request and return its final response. Raises: Unavailable."""
        await self.connect()
        turn, ours = self._bus.turn, True
        await turn.acquire()

        def give_way() -> None:
            nonlocal ours
            if ours:
                ours = False
                turn.release()

        try:
            self._responses.clear()
            await self._endpoint.send(payload)
            return await final_response(
                payload,
                self._next,
                timeout_s=timeout_s,
                is_coming=lambda: self._endpoint.receiving,
                on_pending=give_way,
            )
        finally:
            give_way()

    async def notify(self, payload: bytes, *, functional: bool = False) -> None:
        """Send a request whose positive response is suppressed. Raises: Unavailable."""
        await self.connect()
        if functional and self._functional_id is not None:
            frame = encode_single(suppressed(payload), self._settings)
            if frame is None:
                raise InvalidInput("a functional request must fit one frame")
            self._bus.send(self._functional_id, [frame], lambda _: None)
        else:
            await self._endpoint.send(suppressed(payload))

    def audience(self) -> Hashable:
        """Return every ECU of the bus that takes the same functional frame, or this one alone."""
        if self._functional_id is None:
            return self
        return id(self._bus), self._functional_id, encode_single(_ANYTHING, self._settings)

    async def close(self) -> None:
        """Leave the bus to the others on it."""
        self._endpoint.detach()
        await self._bus.leave()

    def _received(self, payload: bytes | None) -> None:
        # A response that broke off is one that never came: the time-out of the request says so.
        if payload is not None:
            self._responses.append(payload)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    async def _next(self) -> bytes:
        while not self._responses:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._responses.popleft()


def _now_us() -> int:
    # Rounded, so that a timer that fires is never found to be a fraction too early, again and again.
    return round(asyncio.get_running_loop().time() * 1e6)
