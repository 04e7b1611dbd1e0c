"""The receiving half of ISO-TP: one message in, and the flow control that the sender waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ringroad.vehicle.can import CLASSIC_BYTES_MAX
from ringroad.vehicle.isotp.model import (
    SHORT_LENGTH_MAX,
    WAIT_EVERY_US,
    Aborted,
    Delivered,
    Event,
    FlowStatus,
    IsotpSettings,
    Result,
    decode_single,
    encode_st_min,
    pad,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Receiver:
    """One message in."""

    __slots__ = (
        "_block_left", "_events", "_flow", "_frame_bytes", "_headers", "_missing", "_next_by_us", "_parts", "_sequence",
        "_settings", "_wait_at_us", "_waits", "active", "held",
    )  # fmt: skip

    def __init__(self, settings: IsotpSettings, events: list[Event]) -> None:
        self._settings = settings
        self._events = events
        self._headers = [settings.address.rx_prefix + bytes((0x20 | number,)) for number in range(16)]
        self.active = False
        self.held = False
        self._parts: list[bytes] = []
        self._missing = 0  # bytes
        self._sequence = 0  # of the next frame
        self._frame_bytes = 0  # of the first frame (RX_DL); only the last may be shorter
        self._block_left: int | None = None
        self._flow: FlowStatus | None = None  # due
        self._next_by_us: int | None = None  # N_Cr
        self._wait_at_us = 0  # the next WAIT, while held
        self._waits = 0

    @property
    def wake_us(self) -> int | None:
        """When `expire` or `outgoing` has something to do."""
        if self.active and self._flow is FlowStatus.CONTINUE:
            return self._wait_at_us if self.held else 0
        return self._next_by_us if self.active else None

    def single(self, data: bytes) -> None:
        """Take a single frame."""
        payload = decode_single(data, self._settings.address.rx_prefix)
        if payload is not None and len(payload) <= self._settings.message_bytes_max:
            self.abort(Result.UNEXP_PDU)
            self._events.append(Delivered(payload=payload))

    def first(self, data: bytes) -> None:
        """Take a first frame. Source: ISO 15765-2, 9.6.3."""
        at = len(self._settings.address.rx_prefix)
        if len(data) < CLASSIC_BYTES_MAX:
            return
        length, start = (data[at] & 0x0F) << 8 | data[at + 1], at + 2
        if not length:
            length, start = int.from_bytes(data[at + 2 : at + 6], "big"), at + 6
            if length <= SHORT_LENGTH_MAX:
                return
        single = len(data) - at - (1 if len(data) == CLASSIC_BYTES_MAX else 2)
        if length <= single:
            return  # it would have fitted a single frame
        self.abort(Result.UNEXP_PDU)
        if length > self._settings.message_bytes_max:
            self._flow = FlowStatus.OVERFLOW
            return
        self.active = True
        self._parts = [data[start:]]
        self._missing = length - (len(data) - start)
        self._sequence = 1
        self._frame_bytes = len(data)
        self._ask()

    def consecutive(self, frames: Sequence[bytes], index: int, now_us: int) -> int:
        """Take consecutive frames from `index` on; return where something else begins. Source: 9.6.4."""
        prefix, headers, size = self._settings.address.rx_prefix, self._headers, self._frame_bytes
        start, count = len(prefix) + 1, len(frames)
        while index < count:
            data = frames[index]
            if data[:start] != headers[self._sequence & 15]:
                if len(data) >= start and data[: start - 1] == prefix:
                    if data[start - 1] >> 4 != 2:
                        break
                    self.abort(Result.WRONG_SN)
                    return index + 1
                index += 1
                continue
            index += 1
            step = len(data) - start
            if len(data) != size and (len(data) > size or step < self._missing):
                continue  # only the last frame may be shorter
            self._parts.append(data[start:])
            self._missing -= step
            self._sequence += 1
            self._next_by_us = now_us + self._settings.n_cr_ms * 1000
            if self._missing <= 0:
                self._finish()
                break
            if self._block_left is not None:
                self._block_left -= 1
                if not self._block_left:
                    self._ask()
        return index

    def abort(self, result: Result) -> None:
        """Give up the message that is coming in, if any."""
        if self.active:
            self._forget()
            self._events.append(Aborted(result=result, sending=False))

    def expire(self, now_us: int) -> None:
        """Give up after N_Cr."""
        if self.active and self._next_by_us is not None and self._next_by_us <= now_us:
            self.abort(Result.TIMEOUT_CR)

    def outgoing(self, now_us: int) -> list[bytes]:
        """Return the flow control that is due, if any."""
        flow = self._flow
        if flow is None:
            return []
        if flow is FlowStatus.CONTINUE and self.held:
            if now_us < self._wait_at_us:
                return []
            self._waits += 1
            if self._waits > self._settings.waits_max:
                self.abort(Result.WFT_OVRN)
                return []
            self._wait_at_us = now_us + WAIT_EVERY_US
            flow = FlowStatus.WAIT
        else:
            self._flow = None
            self._block_left = self._settings.block_size or None
            self._next_by_us = now_us + self._settings.n_cr_ms * 1000
        settings = self._settings
        said = (0x30 | flow, settings.block_size, encode_st_min(settings.st_min_us))
        return [pad(settings.address.tx_prefix + bytes(said), settings)]

    def _ask(self) -> None:
        self._flow = FlowStatus.CONTINUE
        self._next_by_us = None
        self._wait_at_us = 0
        self._waits = 0

    def _finish(self) -> None:
        whole = b"".join(self._parts)
        self._events.append(Delivered(payload=whole[: len(whole) + self._missing]))
        self._forget()

    def _forget(self) -> None:
        self.active = False
        self._parts = []
        self._flow = None
        self._next_by_us = None
