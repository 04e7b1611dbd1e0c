"""ISO-TP without a bus: what is on the wire, what may go wrong on it, and that no wrong message ever comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import Conflict, InvalidInput
from ringroad.vehicle.can import DATA_BYTES, EXTENDED, can_id, data_bytes
from ringroad.vehicle.isotp.link import IsotpLink
from ringroad.vehicle.isotp.model import (
    BURST_FRAMES_MAX,
    Aborted,
    Address,
    Delivered,
    Event,
    IsotpSettings,
    Result,
    Sent,
    decode_single,
    decode_st_min,
    encode_st_min,
)

HERE = Address.normal(0x7E0, 0x7E8)
THERE = Address.normal(0x7E8, 0x7E0)
CLASSIC = IsotpSettings(address=HERE)
FD = IsotpSettings(address=HERE, frame_bytes=64)


def there(one: IsotpSettings) -> IsotpSettings:
    address = one.address
    return replace(
        one,
        address=Address(
            tx_id=address.rx_id, rx_id=address.tx_id, tx_prefix=address.rx_prefix, rx_prefix=address.tx_prefix
        ),
    )


def nothing_happens(frames: list[bytes]) -> list[bytes]:
    return frames


class Wire:
    """Two links, a clock that goes on when nobody has anything to say, and what may happen between."""

    def __init__(
        self,
        left: IsotpSettings,
        right: IsotpSettings,
        to_right: Callable[[list[bytes]], Sequence[bytes]] = nothing_happens,
        to_left: Callable[[list[bytes]], Sequence[bytes]] = nothing_happens,
    ) -> None:
        self.left, self.right = IsotpLink(left), IsotpLink(right)
        self.sides = ((self.left, self.right, to_right), (self.right, self.left, to_left))
        self.now_us = 0
        self.events: dict[IsotpLink, list[Event]] = {self.left: [], self.right: []}
        self.sent: dict[IsotpLink, list[tuple[int, bytes]]] = {self.left: [], self.right: []}

    def run(self) -> None:
        for _ in range(100_000):
            moved = False
            for link, other, happens in self.sides:
                frames = link.outgoing(self.now_us)
                if frames:
                    moved = True
                    self.sent[link] += [(self.now_us, frame) for frame in frames]
                    link.confirm(len(frames), self.now_us)
                    other.receive(happens(frames), self.now_us)
                for each in (link, other):
                    self.events[each] += each.events()
            if moved:
                continue
            wakes = [link.wake_us for link in (self.left, self.right) if link.wake_us is not None]
            if not wakes:
                return
            assert min(wakes) > self.now_us
            self.now_us = min(wakes)
            for link in (self.left, self.right):
                link.expire(self.now_us)
                self.events[link] += link.events()
        raise AssertionError("the links never come to rest")


def frames_of(payload: bytes, one: IsotpSettings) -> list[bytes]:
    """All frames of a message, as if the other side had agreed to everything."""
    link = IsotpLink(one)
    link.send(payload)
    frames = link.outgoing(0)
    link.confirm(1, 0)
    link.receive([one.address.rx_prefix + b"\x30\x00\x00"], 0)
    while more := link.outgoing(0):
        frames += more
        link.confirm(len(more), 0)
    return frames


def received(frames: Sequence[bytes], one: IsotpSettings = CLASSIC) -> list[Event]:
    link = IsotpLink(there(one))
    for frame in frames:
        link.receive([frame], 0)
        link.outgoing(0)
    return link.events()


# What is on the wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "one", "expected"),
    [
        (b"\x3e\x00", CLASSIC, ["023e00cccccccccc"]),
        (b"\x3e\x00", replace(CLASSIC, padding=None), ["023e00"]),
        (b"\x3e\x00", replace(CLASSIC, padding=0), ["023e000000000000"]),
        (b"1234567", CLASSIC, ["07" + b"1234567".hex()]),
        (b"12345678", CLASSIC, ["1008313233343536", "213738cccccccccc"]),
        (b"12345678", replace(CLASSIC, padding=None), ["1008313233343536", "213738"]),
        (b"1234567", FD, ["07" + b"1234567".hex()]),
        (b"12345678", FD, ["0008" + b"12345678".hex() + "cccc"]),
        (b"12345678", replace(FD, padding=None), ["0008" + b"12345678".hex() + "cccc"]),
        (b"a" * 62, FD, ["003e" + "61" * 62]),
        (b"a" * 63, FD, ["103f" + "61" * 62, "2161cccccccccccc"]),
        (b"a" * 71, FD, ["1047" + "61" * 62, "21" + "61" * 9 + "cccc"]),
        (b"a" * 7, replace(CLASSIC, address=Address.extended(0x600, 0x601, target=0x12, source=0xF1)),
         ["1210" + "07" + "61" * 5, "1221" + "6161" + "cc" * 4]),
        (b"a" * 6, replace(CLASSIC, address=Address.mixed(0x600, 0x601, extension=0x33)), ["3306" + "61" * 6]),
    ],
)  # fmt: skip
def test_frames_look_as_the_standard_has_them(
    payload: bytes, one: IsotpSettings, expected: list[str]
) -> None:
    frames = frames_of(payload, one)
    assert [frame.hex() for frame in frames] == expected
    assert received(frames, one) == [Delivered(payload=payload)]


@pytest.mark.parametrize(
    ("length", "head"), [(4095, "1fff"), (4096, "100000001000"), (65_535, "10000000ffff")]
)
def test_a_length_beyond_twelve_bits_gets_thirty_two(length: int, head: str) -> None:
    frames = frames_of(bytes(length), CLASSIC)
    assert frames[0].hex().startswith(head)
    assert received(frames) == [Delivered(payload=bytes(length))]


@pytest.mark.parametrize(
    ("address", "tx_id", "rx_id"),
    [
        (Address.normal(0x7E0, 0x7E8), 0x7E0, 0x7E8),
        (Address.normal(0x800, 0x801), EXTENDED | 0x800, EXTENDED | 0x801),
        (Address.normal_fixed(0x10, 0xF1), EXTENDED | 0x18DA10F1, EXTENDED | 0x18DAF110),
        (Address.normal_fixed(0x33, 0xF1, functional=True), EXTENDED | 0x18DB33F1, EXTENDED | 0x18DBF133),
        (Address.mixed_fixed(0x10, 0xF1, extension=7), EXTENDED | 0x18CE10F1, EXTENDED | 0x18CEF110),
    ],
)
def test_addresses_become_identifiers(address: Address, tx_id: int, rx_id: int) -> None:
    assert (address.tx_id, address.rx_id) == (tx_id, rx_id)


@given(st.integers(0, 127_000))
@settings(deadline=None)
def test_a_gap_is_a_byte_or_refused(st_min_us: int) -> None:
    if st_min_us % 1000 == 0 or (st_min_us % 100 == 0 and 100 <= st_min_us <= 900):
        assert decode_st_min(encode_st_min(st_min_us)) == st_min_us
    else:
        with pytest.raises(InvalidInput):
            encode_st_min(st_min_us)


@pytest.mark.parametrize("code", [0x80, 0xEF, 0xF0, 0xFA, 0xFF])
def test_a_reserved_gap_is_the_longest(code: int) -> None:
    assert decode_st_min(code) == 127_000


@pytest.mark.parametrize(
    "made",
    [
        lambda: IsotpSettings(address=HERE, frame_bytes=7),
        lambda: IsotpSettings(address=HERE, frame_bytes=10),
        lambda: IsotpSettings(address=HERE, frame_bytes=65),
        lambda: IsotpSettings(address=HERE, block_size=256),
        lambda: IsotpSettings(address=HERE, block_size=-1),
        lambda: IsotpSettings(address=HERE, st_min_us=128_000),
        lambda: IsotpSettings(address=HERE, st_min_us=-1000),
        lambda: IsotpSettings(address=HERE, st_min_us=1500),
        lambda: IsotpSettings(address=HERE, message_bytes_max=0),
        lambda: IsotpSettings(address=HERE, padding=256),
        lambda: IsotpSettings(address=HERE, n_bs_ms=0),
        lambda: IsotpSettings(address=HERE, waits_max=-1),
        lambda: Address.normal(0x7E0, 0x7E0),
        lambda: Address.normal(-1, 0x7E0),
        lambda: Address.normal(1 << 29, 0x7E0),
        lambda: Address.normal_fixed(0x100, 0xF1),
        lambda: Address.extended(0x600, 0x601, target=1, source=256),
        lambda: Address(tx_id=1, rx_id=2, tx_prefix=b"1"),
        lambda: Address(tx_id=1, rx_id=2, tx_prefix=b"12", rx_prefix=b"12"),
    ],
)
def test_settings_that_fit_no_frame_are_refused(made: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        made()


def test_lengths_are_those_that_a_frame_can_have() -> None:
    assert [data_bytes(size) for size in (0, 1, 8, 9, 12, 13, 33, 64)] == [0, 1, 8, 12, 12, 16, 48, 64]
    assert (can_id(0x7FF), can_id(0x800)) == (0x7FF, EXTENDED | 0x800)


# Flow control -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_bytes", [size for size in DATA_BYTES if size >= 8])
@pytest.mark.parametrize("block_size", [0, 1, 3, 255])
def test_a_message_goes_through_any_frame_and_block_size(frame_bytes: int, block_size: int) -> None:
    payload = bytes(number & 0xFF for number in range(5000))
    one = replace(FD, frame_bytes=frame_bytes)
    wire = Wire(one, there(replace(one, block_size=block_size)))
    wire.left.send(payload)
    wire.run()
    assert wire.events[wire.right] == [Delivered(payload=payload)]
    assert wire.events[wire.left] == [Sent()]
    flows = -(-(5000 - frame_bytes) // (frame_bytes - 1) // block_size) if block_size else 1
    assert abs(len(wire.sent[wire.right]) - flows) <= 1
    assert wire.now_us == 0


@pytest.mark.parametrize("st_min_us", [100, 900, 1000, 127_000])
@pytest.mark.parametrize("block_size", [0, 2])
def test_frames_keep_the_gap_that_the_receiver_asked_for(st_min_us: int, block_size: int) -> None:
    wire = Wire(CLASSIC, replace(CLASSIC, address=THERE, st_min_us=st_min_us, block_size=block_size))
    wire.left.send(bytes(50))
    wire.run()
    assert wire.events[wire.right] == [Delivered(payload=bytes(50))]
    times = [at for at, frame in wire.sent[wire.left] if frame[0] >> 4 == 2]
    gaps = [late - early for early, late in pairwise(times)]
    # After a flow control the next block may begin at once.
    assert gaps == [0 if block_size and number % block_size == 1 else st_min_us for number in range(6)]


def test_both_directions_at_once_do_not_disturb_each_other() -> None:
    wire = Wire(CLASSIC, replace(CLASSIC, address=THERE, block_size=4))
    wire.left.send(b"l" * 3000)
    wire.right.send(b"r" * 4000)
    wire.run()
    assert wire.events[wire.left].count(Delivered(payload=b"r" * 4000)) == 1
    assert wire.events[wire.right].count(Delivered(payload=b"l" * 3000)) == 1
    assert Sent() in wire.events[wire.left]
    assert Sent() in wire.events[wire.right]


def test_no_more_than_a_burst_is_out_before_it_is_on_the_bus() -> None:
    link = IsotpLink(CLASSIC)
    link.send(bytes(4000))
    link.outgoing(0)
    link.confirm(1, 0)
    link.receive([b"\x30\x00\x00"], 0)
    assert len(link.outgoing(0)) == BURST_FRAMES_MAX
    assert link.outgoing(0) == []
    link.confirm(3, 0)
    assert len(link.outgoing(0)) == 3


def test_a_receiver_that_waits_is_waited_for_and_then_served() -> None:
    wire = Wire(CLASSIC, replace(CLASSIC, address=THERE, block_size=2))
    wire.right.hold(held=True)
    wire.left.send(bytes(40))
    wire.right.receive(wire.left.outgoing(0), 0)
    wire.left.confirm(1, 0)
    for at_us in (0, 500_000, 1_000_000, 1_500_000):
        assert wire.right.wake_us in {0, at_us}
        frames = wire.right.outgoing(at_us)
        assert [frame[0] for frame in frames] == [0x31]
        wire.right.confirm(1, at_us)
        wire.left.receive(frames, at_us)
        assert wire.left.outgoing(at_us) == []
        assert wire.left.wake_us == at_us + 1_000_000
    wire.right.hold(held=False)
    wire.now_us = 1_600_000
    wire.run()
    assert wire.events[wire.right] == [Delivered(payload=bytes(40))]


def test_a_receiver_that_waits_too_long_gives_up_and_so_does_the_sender() -> None:
    right = replace(CLASSIC, address=THERE, waits_max=3)
    wire = Wire(CLASSIC, right)
    wire.right.hold(held=True)
    wire.left.send(bytes(40))
    wire.run()
    assert wire.events[wire.right] == [Aborted(result=Result.WFT_OVRN, sending=False)]
    assert wire.events[wire.left] == [Aborted(result=Result.TIMEOUT_BS, sending=True)]
    assert len(wire.sent[wire.right]) == 3

    impatient = Wire(replace(CLASSIC, waits_max=1), replace(right, waits_max=9))
    impatient.right.hold(held=True)
    impatient.left.send(bytes(40))
    impatient.run()
    assert impatient.events[impatient.left] == [Aborted(result=Result.WFT_OVRN, sending=True)]


def test_a_message_longer_than_the_receiver_takes_is_refused_before_its_second_frame() -> None:
    wire = Wire(CLASSIC, replace(CLASSIC, address=THERE, message_bytes_max=100))
    wire.left.send(bytes(101))
    wire.run()
    assert wire.events[wire.left] == [Aborted(result=Result.BUFFER_OVFLW, sending=True)]
    assert wire.events[wire.right] == []
    assert len(wire.sent[wire.left]) == 1
    wire.left.send(bytes(100))
    wire.run()
    assert wire.events[wire.right] == [Delivered(payload=bytes(100))]


# What may go wrong --------------------------------------------------------------------------------------


def started(payload: bytes = bytes(40), one: IsotpSettings = CLASSIC) -> IsotpLink:
    """A sender whose first frame is on the bus."""
    link = IsotpLink(one)
    link.send(payload)
    link.outgoing(0)
    link.confirm(1, 0)
    return link


@pytest.mark.parametrize(
    ("flow", "event"),
    [
        (b"\x32\x00\x00", Aborted(result=Result.BUFFER_OVFLW, sending=True)),
        (b"\x33\x00\x00", Aborted(result=Result.INVALID_FS, sending=True)),
        (b"\x3f\x00\x00", Aborted(result=Result.INVALID_FS, sending=True)),
        (b"\x30\x00", None),
        (b"\x30", None),
        (b"", None),
        (b"\x40\x00\x00", None),
    ],
)
def test_a_flow_control_that_says_no_ends_the_message(flow: bytes, event: Event | None) -> None:
    link = started()
    link.receive([flow], 0)
    assert link.outgoing(0) == []
    assert link.events() == ([] if event is None else [event])
    assert link.sending is (event is None)


def test_silence_ends_a_message_after_the_times_of_the_standard() -> None:
    link = IsotpLink(replace(CLASSIC, n_as_ms=10, n_bs_ms=20))
    link.send(bytes(40))
    link.outgoing(0)
    assert link.wake_us == 10_000
    link.expire(9_999)
    assert link.events() == []
    link.expire(10_000)
    assert link.events() == [Aborted(result=Result.TIMEOUT_A, sending=True)]
    link.send(bytes(40))
    link.outgoing(10_000)
    link.confirm(1, 11_000)  # of the frame that was given up on
    assert link.wake_us == 20_000
    link.confirm(1, 12_000)
    assert link.wake_us == 32_000
    link.expire(32_000)
    assert link.events() == [Aborted(result=Result.TIMEOUT_BS, sending=True)]

    receiver = IsotpLink(replace(CLASSIC, address=THERE, n_cr_ms=30))
    receiver.receive([b"\x10\x28abcdef"], 0)
    receiver.outgoing(5_000)
    receiver.confirm(1, 5_000)
    assert receiver.wake_us == 35_000
    receiver.receive([b"\x21abcdefg"], 20_000)
    assert receiver.wake_us == 50_000
    receiver.expire(50_000)
    assert receiver.events() == [Aborted(result=Result.TIMEOUT_CR, sending=False)]
    receiver.receive([b"\x22abcdefg"], 51_000)
    assert receiver.events() == []


def test_a_flow_control_of_ours_that_never_gets_out_ends_what_was_coming_in() -> None:
    link = IsotpLink(replace(CLASSIC, address=THERE))
    link.receive([b"\x10\x28abcdef"], 0)
    assert len(link.outgoing(0)) == 1
    link.expire(1_000_000)
    assert link.events() == [Aborted(result=Result.TIMEOUT_A, sending=False)]


FIRST, SECOND, THIRD = frames_of(b"abcdefghijklmnopqr", CLASSIC)


@pytest.mark.parametrize(
    ("frames", "events"),
    [
        ([FIRST, THIRD], [Aborted(result=Result.WRONG_SN, sending=False)]),
        ([FIRST, SECOND, SECOND], [Aborted(result=Result.WRONG_SN, sending=False)]),
        ([FIRST, b"\x20abcdefg"], [Aborted(result=Result.WRONG_SN, sending=False)]),
        ([FIRST, SECOND, b"\x02\x3e\x00", THIRD],
         [Aborted(result=Result.UNEXP_PDU, sending=False), Delivered(payload=b"\x3e\x00")]),
        ([FIRST, FIRST, SECOND, THIRD],
         [Aborted(result=Result.UNEXP_PDU, sending=False), Delivered(payload=b"abcdefghijklmnopqr")]),
        ([FIRST, SECOND[:5], SECOND, THIRD], [Delivered(payload=b"abcdefghijklmnopqr")]),
        ([FIRST, SECOND + b"1234", SECOND, THIRD], [Delivered(payload=b"abcdefghijklmnopqr")]),
        ([FIRST, SECOND, THIRD[:3]], []),
        ([FIRST, SECOND, THIRD[:6]], [Delivered(payload=b"abcdefghijklmnopqr")]),
        ([FIRST, b"", b"\x30\x00\x00", SECOND, b"\x70", THIRD], [Delivered(payload=b"abcdefghijklmnopqr")]),
        ([SECOND, THIRD], []),
    ],
)  # fmt: skip
def test_what_comes_at_the_wrong_time_is_ignored_or_ends_the_message(
    frames: list[bytes], events: list[Event]
) -> None:
    assert received(frames) == events
    link = IsotpLink(there(CLASSIC))
    link.receive(frames, 0)  # all at once
    assert link.events() == events


@pytest.mark.parametrize(
    "frame",
    [
        "00", "00" * 8, "0861626364656667", "03aabb", "", "05",
        "1007616263646566", "1000000000076566", "100000000fff6162", "10096162636465", "11",
        "0105" + "aa" * 10, "000b" + "aa" * 10, "0000" + "aa" * 10,
        "100a" + "aa" * 10, "103e" + "aa" * 62,
    ],
)  # fmt: skip
def test_frames_whose_length_is_wrong_are_ignored(frame: str) -> None:
    link = IsotpLink(there(CLASSIC))
    link.receive([bytes.fromhex(frame)], 0)
    assert (link.events(), link.outgoing(0), link.receiving) == ([], [], False)


def test_frames_with_another_address_byte_are_somebody_elses() -> None:
    one = replace(CLASSIC, address=Address.extended(0x600, 0x601, target=0x12, source=0xF1))
    ours, theirs = frames_of(b"our message", one), [b"\x13" + each[1:] for each in frames_of(b"o" * 11, one)]
    mixed = [each for pair in zip(theirs, ours, strict=True) for each in pair]
    assert received(mixed, one) == [Delivered(payload=b"our message")]


def test_one_message_after_another_and_none_without_content() -> None:
    link = IsotpLink(CLASSIC)
    with pytest.raises(InvalidInput):
        link.send(b"")
    link.send(b"1")
    with pytest.raises(Conflict):
        link.send(b"2")
    link.outgoing(0)
    link.confirm(1, 0)
    assert link.events() == [Sent()]
    link.send(b"2")


def test_a_functional_request_is_one_frame() -> None:
    assert decode_single(b"\x02\x3e\x80", b"") == b"\x3e\x80"
    assert decode_single(FIRST, b"") is None
    assert decode_single(b"\x12\x02\x3e\x80", b"\x12") == b"\x3e\x80"
    assert decode_single(b"\x13\x02\x3e\x80", b"\x12") is None


# Properties ---------------------------------------------------------------------------------------------

ADDRESSES = st.sampled_from(
    [HERE, Address.extended(0x600, 0x601, target=1, source=2), Address.mixed_fixed(1, 2, extension=3)]
)
SETTINGS = st.builds(
    IsotpSettings,
    address=ADDRESSES,
    frame_bytes=st.sampled_from([size for size in DATA_BYTES if size >= 8]),
    block_size=st.sampled_from([0, 1, 2, 7, 255]),
    st_min_us=st.sampled_from([0, 100, 5000]),
    padding=st.sampled_from([None, 0, 0x55, 0xFF]),
)
PAYLOADS = st.one_of(
    st.binary(min_size=1, max_size=80), st.integers(1, 6000).map(lambda size: (bytes(range(251)) * 24)[:size])
)


@given(SETTINGS, SETTINGS, st.lists(PAYLOADS, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_what_is_sent_arrives(one: IsotpSettings, other: IsotpSettings, payloads: list[bytes]) -> None:
    wire = Wire(one, replace(there(one), block_size=other.block_size, st_min_us=other.st_min_us))
    for payload in payloads:
        wire.left.send(payload)
        wire.run()
    assert wire.events[wire.right] == [Delivered(payload=payload) for payload in payloads]
    assert wire.events[wire.left] == [Sent()] * len(payloads)


class Mischief:
    """A bus that loses, doubles and swaps frames, by a list of draws; a frame never moves sixteen places."""

    def __init__(self, draws: list[int]) -> None:
        self.draws = draws
        self.kept: list[tuple[int, bytes]] = []

    def __call__(self, frames: list[bytes]) -> list[bytes]:
        out = []
        for frame in frames:
            draw = self.draws.pop() if self.draws else 0
            if draw == 1:
                continue
            if 3 <= draw <= 15:
                self.kept.append((draw, frame))
                continue
            out += [frame, frame] if draw == 2 else [frame]
            self.kept = [(left - 1, each) for left, each in self.kept]
            out += [each for left, each in self.kept if left == 2]
            self.kept = [(left, each) for left, each in self.kept if left > 2]
        return out


DRAWS = st.lists(st.sampled_from([0] * 12 + list(range(1, 16))), max_size=120)


@given(SETTINGS, PAYLOADS, DRAWS, DRAWS)
@settings(max_examples=150, deadline=None)
def test_a_message_that_lost_doubled_or_swapped_frames_is_whole_or_absent(
    one: IsotpSettings, payload: bytes, there_draws: list[int], back_draws: list[int]
) -> None:
    wire = Wire(one, there(one), Mischief(there_draws), Mischief(back_draws))
    wire.left.send(payload)
    wire.run()
    for event in wire.events[wire.right]:
        assert not isinstance(event, Delivered) or event.payload == payload
    assert not wire.left.sending
    assert not wire.right.receiving


@given(
    SETTINGS, st.lists(PAYLOADS, min_size=2, max_size=6, unique=True), st.lists(st.booleans(), max_size=300)
)
@settings(max_examples=100, deadline=None)
def test_messages_that_lost_frames_are_delivered_in_order_or_not_at_all(
    one: IsotpSettings, payloads: list[bytes], losses: list[bool]
) -> None:
    def lose(frames: list[bytes]) -> list[bytes]:
        return [frame for frame in frames if not (losses and losses.pop())]

    wire = Wire(one, there(one), lose, lose)
    for payload in payloads:
        wire.left.send(payload)
        wire.run()
    delivered = [event.payload for event in wire.events[wire.right] if isinstance(event, Delivered)]
    assert delivered == [payload for payload in payloads if payload in delivered]


@given(SETTINGS, st.lists(st.one_of(
    st.binary(max_size=64),
    st.builds(lambda head, rest: bytes((head,)) + rest, st.integers(0, 0x3F), st.binary(max_size=63)),
), max_size=40))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_no_bytes_from_the_bus_break_a_link_or_make_it_keep_more_than_its_limit(
    one: IsotpSettings, frames: list[bytes]
) -> None:
    link = IsotpLink(replace(one, message_bytes_max=500))
    link.send(bytes(300))
    now_us = 0
    for frame in frames:
        link.receive([one.address.rx_prefix + frame], now_us)
        link.confirm(len(link.outgoing(now_us)), now_us)
        now_us += 10_000
        link.expire(now_us)
    for event in link.events():
        assert not isinstance(event, Delivered) or 0 < len(event.payload) <= 500
    assert sum(map(len, link._receiver._parts)) <= 500 + 64


@given(
    st.lists(
        st.tuples(st.sampled_from(["receive", "confirm", "expire", "take"]), st.integers(0, 4)), max_size=60
    )
)
@settings(max_examples=200, deadline=None)
def test_confirmations_and_times_in_any_order_end_every_message_once(steps: list[tuple[str, int]]) -> None:
    link = IsotpLink(CLASSIC)
    link.send(bytes(200))
    now_us, ends = 0, 0
    for what, amount in steps:
        match what:
            case "receive":
                link.receive(
                    [b"\x30\x05\x00", b"\x31\x00\x00", b"\x30\x00\x05", b"\x30\x00\x00", b"\x32\x00\x00"][
                        amount:
                    ][:1],
                    now_us,
                )
            case "confirm":
                link.confirm(amount, now_us)
            case "expire":
                now_us += amount * 300_000
                link.expire(now_us)
            case _:
                link.outgoing(now_us)
        ends += len(link.events())
        assert ends == (0 if link.sending else 1)
