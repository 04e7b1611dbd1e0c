"""The virtual bus: real frame times, arbitration, and what is lost on it. All on simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.canbus import CAN_500K, CAN_FD_2M, BitRates, VirtualBus, frame_ns
from ringroad.sim.simtime import run_simulated
from ringroad.vehicle.can import DATA_BYTES, EXTENDED
from ringroad.vehicle.isotp.channel import IsotpEndpoint
from ringroad.vehicle.isotp.model import Address, IsotpSettings

Heard = list[tuple[int, int, bytes]]  # (µs, identifier, data)


@pytest.mark.parametrize(
    ("can_id", "size", "fd", "bits"),
    [
        (0x7E0, 8, False, (135, 0)),  # the worst case that every paper on CAN has
        (EXTENDED | 0x18DA10F1, 8, False, (160, 0)),
        (0x7E0, 0, False, (55, 0)),
        (0x7E0, 64, True, (17 + 4 + 13, 5 + 512 + 129 + 32)),
        (0x7E0, 16, True, (17 + 4 + 13, 5 + 128 + 33 + 27)),
        (EXTENDED | 0x18DA10F1, 8, True, (36 + 8 + 13, 5 + 64 + 17 + 27)),
    ],
)
def test_a_frame_takes_the_time_of_its_bits(can_id: int, size: int, fd: bool, bits: tuple[int, int]) -> None:  # noqa: FBT001
    rates = CAN_FD_2M if fd else CAN_500K
    assert frame_ns(rates, can_id, size, fd=fd) == bits[0] * 2000 + bits[1] * 500


@given(st.sampled_from(DATA_BYTES), st.sampled_from(DATA_BYTES), st.booleans())
@settings(deadline=None)
def test_more_bytes_never_take_less_time(one: int, other: int, fd: bool) -> None:  # noqa: FBT001
    few, many = sorted((one, other))
    if not fd:
        few, many = min(few, 8), min(many, 8)
    rates = CAN_FD_2M if fd else CAN_500K
    assert frame_ns(rates, 1, few, fd=fd) <= frame_ns(rates, 1, many, fd=fd)


@pytest.mark.parametrize(
    "rates", [(0, 1), (500_000, 250_000), (2_000_000, 2_000_000), (500_000, 9_000_000), (-1, 5)]
)
def test_rates_that_no_bus_has_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput):
        BitRates(nominal=rates[0], data=rates[1])


def listening(bus: VirtualBus, heard: Heard) -> None:
    def everything(can_id: int, frames: Any) -> None:
        now_us = round(asyncio.get_running_loop().time() * 1e6)
        heard.extend((now_us, can_id, frame) for frame in frames)

    bus.join(bus.controller(everything))


def simulated(story: Callable[[VirtualBus, Heard], Coroutine[Any, Any, None]], **arguments: Any) -> Heard:
    async def run() -> Heard:
        bus, heard = VirtualBus(**arguments), Heard()
        listening(bus, heard)
        await story(bus, heard)
        return heard

    return run_simulated(run())[0]


def nobody(_count: int) -> None:
    """Need no confirmation."""


def test_the_lowest_identifier_goes_first_and_frames_do_not_overlap() -> None:
    async def story(bus: VirtualBus, heard: Heard) -> None:
        for can_id in (0x700, EXTENDED | 0x7FF << 18, 0x7FF, 0x100, EXTENDED | 0x100 << 18):
            controller = bus.controller()
            await controller.open()
            controller.send(can_id, [b"first", b"second"], nobody)
        await asyncio.sleep(1)

    heard = simulated(story, rates=CAN_500K)
    order = [0x100, EXTENDED | 0x100 << 18, 0x700, 0x7FF, EXTENDED | 0x7FF << 18]
    assert [(can_id, data) for _, can_id, data in heard] == [
        (can_id, data) for can_id in order for data in (b"first", b"second")
    ]
    expected, at_ns = [], 0
    for _, can_id, data in heard:
        at_ns += frame_ns(CAN_500K, can_id, len(data), fd=False)
        expected.append(at_ns // 1000)
    assert [at for at, _, _ in heard] == expected


def test_a_frame_on_the_bus_is_not_interrupted_by_a_more_important_one() -> None:
    async def story(bus: VirtualBus, heard: Heard) -> None:
        low, high = bus.controller(), bus.controller()
        await low.open()
        await high.open()
        low.send(0x700, [b"a", b"b"], nobody)
        await asyncio.sleep(10e-6)
        high.send(0x1, [b"c"], nobody)
        await asyncio.sleep(1)

    assert [data for _, _, data in simulated(story, rates=CAN_500K)] == [b"a", b"c", b"b"]


@pytest.mark.parametrize("rates", [None, CAN_FD_2M])
def test_a_sender_hears_when_its_frames_are_on_the_bus_and_not_the_frames(rates: BitRates | None) -> None:
    counts: list[int] = []

    async def story(bus: VirtualBus, heard: Heard) -> None:
        controller = bus.controller()
        await controller.open()
        own: list[bytes] = []
        controller.listeners.add(0x10, own.extend)
        controller.send(0x10, [bytes(64)] * 5, counts.append)
        assert counts == []
        await asyncio.sleep(1)
        assert own == []

    assert len(simulated(story, rates=rates, fd=True)) == 5
    assert sum(counts) == 5


def test_what_is_disturbed_arrives_as_often_as_the_disturbance_says() -> None:
    copies = iter([0, 1, 2])

    async def story(bus: VirtualBus, heard: Heard) -> None:
        controller = bus.controller()
        await controller.open()
        controller.send(0x10, [b"1", b"2", b"3"], nobody)
        await asyncio.sleep(1)

    heard = simulated(story, disturb=lambda _, frame: [frame] * next(copies))
    assert [data for _, _, data in heard] == [b"2", b"3", b"3"]


@pytest.mark.parametrize(("size", "fd"), [(9, False), (64, False), (9, True), (65, True)])
def test_frames_that_the_bus_cannot_carry_are_refused(size: int, fd: bool) -> None:  # noqa: FBT001
    async def story(bus: VirtualBus, heard: Heard) -> None:
        controller = bus.controller()
        await controller.open()
        with pytest.raises(InvalidInput):
            controller.send(0x10, [bytes(size)], nobody)

    assert simulated(story, fd=fd) == []


def test_a_controller_that_left_and_a_bus_that_is_cut_carry_nothing() -> None:
    async def story(bus: VirtualBus, heard: Heard) -> None:
        gone, here = bus.controller(), bus.controller()
        await gone.open()
        await here.open()
        gone.send(0x10, [b"1"] * 3, nobody)
        await gone.leave()
        here.send(0x20, [b"2"], nobody)
        await asyncio.sleep(1)
        bus.close()
        here.send(0x20, [b"3"], nobody)
        await asyncio.sleep(1)
        with pytest.raises(Unavailable):
            await here.open()

    assert [data for _, _, data in simulated(story, rates=CAN_500K)] == [b"2"]


@pytest.mark.parametrize(("fd", "frame_bytes"), [(False, 8), (True, 64)])
def test_a_message_takes_the_time_of_its_frames(fd: bool, frame_bytes: int) -> None:  # noqa: FBT001
    size, rates = 4095, CAN_FD_2M if fd else CAN_500K

    async def run() -> tuple[float, int]:
        bus = VirtualBus(rates, fd=fd)
        near, far = bus.controller(), bus.controller()
        came: asyncio.Queue[bytes | None] = asyncio.Queue()
        ends = [
            IsotpEndpoint(
                controller, IsotpSettings(address=address, frame_bytes=frame_bytes), came.put_nowait
            )
            for controller, address in ((near, Address.normal(1, 2)), (far, Address.normal(2, 1)))
        ]
        for controller, end in zip((near, far), ends, strict=True):
            await controller.open()
            end.attach()
        await ends[0].send(bytes(size))
        assert await came.get() == bytes(size)
        return asyncio.get_running_loop().time(), bus.busy_ns

    (seconds, busy_ns), _ = run_simulated(run())
    frames = -(-(size - frame_bytes + 2) // (frame_bytes - 1))
    full = frame_ns(rates, 1, frame_bytes, fd=fd)
    assert busy_ns / 1e9 == pytest.approx(seconds, abs=1e-6)  # never idle
    assert frames * full < busy_ns < (frames + 3) * full


def test_a_message_to_an_ecu_that_is_not_there_breaks_off_after_its_time() -> None:
    async def run() -> str:
        bus = VirtualBus(CAN_500K)
        controller = bus.controller()
        await controller.open()
        end = IsotpEndpoint(controller, IsotpSettings(address=Address.normal(1, 2)), lambda _: None)
        end.attach()
        with pytest.raises(Unavailable) as silent:
            await end.send(bytes(100))
        bus.close()
        with pytest.raises(Unavailable) as cut:
            await end.send(b"1")
        return f"{silent.value.detail} {cut.value.detail}"

    said, seconds = run_simulated(run())
    assert said == "N_TIMEOUT_Bs N_TIMEOUT_A"
    assert seconds == pytest.approx(2.0, abs=0.01)
