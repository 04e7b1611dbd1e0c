"""Both directions of one pair of ISO-TP addresses; see the package for what it promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringroad.kernel.errors import Conflict
from ringroad.vehicle.isotp.model import BURST_FRAMES_MAX, Aborted, Event, IsotpSettings, Result, Sent
from ringroad.vehicle.isotp.receive import Receiver
from ringroad.vehicle.isotp.send import Sender, Step

if TYPE_CHECKING:
    from collections.abc import Sequence


class IsotpLink:
    """Both directions of one pair of addresses.

    The owner of the bus calls `receive` with frames, `confirm` when frames of ours are on the bus, and `expire`
    when `wake_us` has come; after each of these and after `send` it takes `outgoing` and `events`.
    """

    __slots__ = (
        "_confirmed",
        "_deadline_us",
        "_events",
        "_handed",
        "_lost",
        "_receiver",
        "_sender",
        "settings",
    )

    def __init__(self, settings: IsotpSettings) -> None:
        self.settings = settings
        self._events: list[Event] = []
        self._sender = Sender(settings)
        self._receiver = Receiver(settings, self._events)
        self._handed = 0  # frames of ours since the start
        self._confirmed = 0  # of these, on the bus
        self._lost = 0  # given up on; a confirmation may still come
        self._deadline_us: int | None = None  # N_As

    @property
    def sending(self) -> bool:
        """Whether a message is on its way out."""
        return self._sender.step is not Step.IDLE

    @property
    def receiving(self) -> bool:
        """Whether a message is on its way in."""
        return self._receiver.active

    @property
    def wake_us(self) -> int | None:
        """When `expire` or `outgoing` will have something to do without anything else happening."""
        times = (self._deadline_us, self._sender.wake_us, self._receiver.wake_us)
        return min((each for each in times if each is not None), default=None)

    def send(self, payload: bytes) -> None:
        """Begin to send a message.

        Raises:
            Conflict: another one is on its way.
            InvalidInput: it is empty or longer than 32 bits can say.
        """
        if self.sending:
            raise Conflict("a message is being sent", hint="one after another")
        self._sender.begin(payload)

    def receive(self, frames: Sequence[bytes], now_us: int) -> None:
        """Take frames in the order in which they came. What is no ISO-TP frame of this link is ignored."""
        receiver = self._receiver
        at = len(self.settings.address.rx_prefix)
        prefix = self.settings.address.rx_prefix
        index, count = 0, len(frames)
        while index < count:
            if receiver.active:
                index = receiver.consecutive(frames, index, now_us)
                if index == count:
                    return
            data = frames[index]
            index += 1
            if len(data) <= at or data[:at] != prefix:
                continue
            match data[at] >> 4:
                case 0:
                    receiver.single(data)
                case 1:
                    receiver.first(data)
                case 3:
                    self._end_sending(self._sender.flow(data, at, now_us))
                case _:
                    pass

    def confirm(self, count: int, now_us: int) -> None:
        """`count` more of the frames that were taken are on the bus."""
        stale = min(count, self._lost)
        self._lost -= stale
        count = min(count - stale, self._handed - self._confirmed)
        if not count:
            return
        self._confirmed += count
        flying = self._confirmed < self._handed
        self._deadline_us = now_us + self.settings.n_as_ms * 1000 if flying else None
        if self._sender.confirm(self._confirmed, now_us):
            self._events.append(Sent())

    def expire(self, now_us: int) -> None:
        """End what took too long."""
        if self._deadline_us is not None and self._deadline_us <= now_us:
            self._lost += self._handed - self._confirmed
            self._confirmed = self._handed
            self._deadline_us = None
            if self.sending:
                self._end_sending(Result.TIMEOUT_A)
            self._receiver.abort(Result.TIMEOUT_A)
        self._end_sending(self._sender.expire(now_us))
        self._receiver.expire(now_us)

    def hold(self, *, held: bool) -> None:
        """Let the other side wait (WAIT frames) before its next block, or go on."""
        self._receiver.held = held

    def outgoing(self, now_us: int) -> list[bytes]:
        """Take the frames that go onto the bus now."""
        frames = self._receiver.outgoing(now_us)
        room = BURST_FRAMES_MAX - (self._handed - self._confirmed)
        if self.sending and room > 0:
            more = self._sender.outgoing(now_us, room)
            if more:
                frames += more
                self._sender.mark = self._handed + len(frames)
        if frames:
            if self._deadline_us is None:
                self._deadline_us = now_us + self.settings.n_as_ms * 1000
            self._handed += len(frames)
        return frames

    def events(self) -> list[Event]:
        """Take what happened since the last call."""
        events = self._events[:]
        self._events.clear()
        return events

    def _end_sending(self, result: Result | None) -> None:
        if result is not None:
            self._sender.step = Step.IDLE
            self._events.append(Aborted(result=result, sending=True))
