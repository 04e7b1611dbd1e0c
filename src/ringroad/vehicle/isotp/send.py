"""The sending half of ISO-TP: one message out, as fast as the receiver's flow control allows."""

from __future__ import annotations

from enum import Enum, auto

from ringroad.kernel.errors import InvalidInput
from ringroad.vehicle.isotp.model import (
    SHORT_LENGTH_MAX,
    FlowStatus,
    IsotpSettings,
    Result,
    decode_st_min,
    encode_single,
    pad,
)


class Step(Enum):
    """How far a message is."""

    IDLE = auto()
    START = auto()  # single or first frame is due
    FLOW = auto()  # a flow control is waited for
    BLOCK = auto()  # consecutive frames are due
    LAST = auto()  # everything is handed over


class Sender:
    """One message out. The link counts frames; `mark` is the count at which our last one is on the bus."""

    __slots__ = (
        "_block_left", "_flow_by_us", "_headers", "_not_before_us", "_offset", "_payload", "_sequence", "_settings",
        "_st_min_us", "_waits", "mark", "step",
    )  # fmt: skip

    def __init__(self, settings: IsotpSettings) -> None:
        self._settings = settings
        self._headers = [settings.address.tx_prefix + bytes((0x20 | number,)) for number in range(16)]
        self.step = Step.IDLE
        self.mark = 0
        self._payload = b""
        self._offset = 0
        self._sequence = 0
        self._block_left: int | None = None  # frames until the next flow control; None: no more of these
        self._st_min_us = 0
        self._not_before_us: int | None = (
            None  # the next frame, with STmin; None: when the last is on the bus
        )
        self._flow_by_us: int | None = None  # N_Bs; None: not before our last frame is on the bus
        self._waits = 0

    @property
    def wake_us(self) -> int | None:
        """When `expire` or `outgoing` has something to do."""
        match self.step:
            case Step.FLOW:
                return self._flow_by_us
            case Step.BLOCK if self._st_min_us:
                return self._not_before_us
            case _:
                return None

    def begin(self, payload: bytes) -> None:
        """Have a message sent. Raises: InvalidInput."""
        if not 0 < len(payload) < 1 << 32:
            raise InvalidInput("a message has between 1 byte and 4 GiB")
        self._payload = payload
        self._sequence = 1
        self._waits = 0
        self.step = Step.START

    def flow(self, data: bytes, at: int, now_us: int) -> Result | None:
        """Take a flow control; one that was not waited for is ignored. Source: ISO 15765-2, 9.6.5."""
        if self.step is not Step.FLOW or len(data) < at + 3:
            return None
        match data[at] & 0x0F:
            case FlowStatus.CONTINUE:
                self._block_left = data[at + 1] or None
                self._st_min_us = decode_st_min(data[at + 2])
                self._not_before_us = now_us
                self._waits = 0
                self.step = Step.BLOCK
                return None
            case FlowStatus.WAIT:
                self._waits += 1
                self._flow_by_us = now_us + self._settings.n_bs_ms * 1000
                return Result.WFT_OVRN if self._waits > self._settings.waits_max else None
            case FlowStatus.OVERFLOW:
                return Result.BUFFER_OVFLW
            case _:
                return Result.INVALID_FS

    def confirm(self, confirmed: int, now_us: int) -> bool:
        """Say whether the message is out."""
        if confirmed < self.mark:
            return False
        if self.step is Step.LAST:
            self.step = Step.IDLE
            return True
        if self.step is Step.FLOW and self._flow_by_us is None:
            self._flow_by_us = now_us + self._settings.n_bs_ms * 1000
        elif self.step is Step.BLOCK and self._not_before_us is None:
            self._not_before_us = now_us + self._st_min_us
        return False

    def expire(self, now_us: int) -> Result | None:
        """Give up after N_Bs."""
        if self.step is Step.FLOW and self._flow_by_us is not None and self._flow_by_us <= now_us:
            return Result.TIMEOUT_BS
        return None

    def outgoing(self, now_us: int, room: int) -> list[bytes]:
        """Return the frames that go out now, at most `room`."""
        match self.step:
            case Step.START:
                return [self._start()]
            case Step.BLOCK:
                return self._consecutive(now_us, room)
            case _:
                return []

    def _start(self) -> bytes:
        prefix, payload = self._settings.address.tx_prefix, self._payload
        single = encode_single(payload, self._settings)
        if single is not None:
            self.step = Step.LAST
            return single
        length = len(payload)
        if length <= SHORT_LENGTH_MAX:
            head = prefix + (0x1000 | length).to_bytes(2, "big")
        else:
            head = prefix + b"\x10\x00" + length.to_bytes(4, "big")
        self._offset = self._settings.frame_bytes - len(head)
        self.step, self._flow_by_us = Step.FLOW, None
        return head + payload[: self._offset]

    def _consecutive(self, now_us: int, room: int) -> list[bytes]:
        payload, headers = self._payload, self._headers
        step = self._settings.frame_bytes - len(headers[0])
        length, offset, sequence = len(payload), self._offset, self._sequence
        count = min(room, -((offset - length) // step))
        if self._block_left is not None:
            count = min(count, self._block_left)
        if self._st_min_us:
            # The gap is counted from the frame being on the bus, so one frame at a time is out.
            if self._not_before_us is None or now_us < self._not_before_us:
                return []
            count, self._not_before_us = min(count, 1), None
        frames = []
        for _ in range(count):
            frames.append(headers[sequence & 15] + payload[offset : offset + step])
            sequence += 1
            offset += step
        self._sequence, self._offset = sequence, offset
        if offset >= length:
            self.step = Step.LAST
            frames[-1] = pad(frames[-1], self._settings)
        elif self._block_left is not None:
            self._block_left -= count
            if not self._block_left:
                self.step, self._flow_by_us = Step.FLOW, None
        return frames
