"""can-isotp, which we did not write, and our ISO-TP talk to each other over python-can's virtual bus."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import can
import isotp
import pytest

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.isotp.channel import IsotpEndpoint
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.python_can import PythonCanBus

pytestmark = pytest.mark.foreign

SECONDS = 60.0
PATIENCE_MS = 10_000  # of both sides: on a busy machine a thread may be late
BASE = IsotpSettings(
    address=Address.normal(0x7E0, 0x7E8), n_as_ms=PATIENCE_MS, n_bs_ms=PATIENCE_MS, n_cr_ms=PATIENCE_MS
)
PEER = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=0x7E8, rxid=0x7E0)


@dataclass(frozen=True)
class Case:
    """How both sides are set up."""

    name: str
    ours: IsotpSettings = BASE
    address: Any = PEER
    params: tuple[tuple[str, Any], ...] = ()

    @property
    def fd(self) -> bool:
        return self.ours.frame_bytes > 8


CASES = (
    Case("classic"),
    Case("classic, blocks of three both ways", replace(BASE, block_size=3), params=(("blocksize", 3),)),
    Case("gaps of a millisecond both ways", replace(BASE, st_min_us=1000), params=(("stmin", 1),)),
    Case("gaps of 300 microseconds both ways", replace(BASE, st_min_us=300), params=(("stmin", 0xF3),)),
    Case("no padding", replace(BASE, padding=None)),
    Case("their padding", params=(("tx_padding", 0xAA),)),
    Case("FD", replace(BASE, frame_bytes=64), params=(("tx_data_length", 64),)),
    Case("FD, short frames", replace(BASE, frame_bytes=20), params=(("tx_data_length", 12),)),
    Case(
        "29 bits, normal fixed",
        replace(BASE, address=Address.normal_fixed(0x10, 0xF1)),
        isotp.Address(isotp.AddressingMode.NormalFixed_29bits, target_address=0xF1, source_address=0x10),
    ),
    Case(
        "extended",
        replace(BASE, address=Address.extended(0x600, 0x601, target=0x12, source=0xF1)),
        isotp.Address(
            isotp.AddressingMode.Extended_11bits, txid=0x601, rxid=0x600, source_address=0x12, target_address=0xF1
        ),
    ),
    Case(
        "mixed",
        replace(BASE, address=Address.mixed(0x600, 0x601, extension=0x33)),
        isotp.Address(isotp.AddressingMode.Mixed_11bits, txid=0x601, rxid=0x600, address_extension=0x33),
    ),
    Case(
        "mixed, 29 bits",
        replace(BASE, address=Address.mixed_fixed(0x10, 0xF1, extension=0x33)),
        isotp.Address(
            isotp.AddressingMode.Mixed_29bits, target_address=0xF1, source_address=0x10, address_extension=0x33
        ),
    ),
)  # fmt: skip


@contextmanager
def peer(case: Case, channel: str, on_error: Callable[[Exception], None] | None = None) -> Iterator[None]:
    """can-isotp on the virtual bus, answering each message with its bytes in reverse order."""
    params = {
        "max_frame_size": 70_000,
        "rx_flowcontrol_timeout": PATIENCE_MS,
        "rx_consecutive_frame_timeout": PATIENCE_MS,
        "can_fd": case.fd,
        "bitrate_switch": case.fd,
        **dict(case.params),
    }
    with can.Bus(interface="virtual", channel=channel) as bus:
        stack = isotp.CanStack(bus, address=case.address, params=params, error_handler=on_error)
        stack.start()
        stopped = threading.Event()

        def answer() -> None:
            while not stopped.is_set():
                payload = stack.recv(block=True, timeout=0.05)
                if payload is not None:
                    stack.send(bytes(payload)[::-1])

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            stack.stop()


async def exchange(case: Case, channel: str, payloads: list[bytes]) -> list[bytes | None]:
    bus = PythonCanBus("virtual", channel, fd=case.fd)
    answers: asyncio.Queue[bytes | None] = asyncio.Queue()
    endpoint = IsotpEndpoint(bus, case.ours, answers.put_nowait)
    await bus.open()
    endpoint.attach()
    try:
        heard = []
        async with asyncio.timeout(SECONDS):
            for payload in payloads:
                await endpoint.send(payload)
                heard.append(await answers.get())
        return heard
    finally:
        endpoint.detach()
        await bus.leave()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_can_isotp_understands_us_and_we_understand_it(case: Case) -> None:
    sizes = [1, 6, 7, 8, 62, 63, 100, 400]
    if "gaps" not in case.name:
        sizes += [4095, 4096, 20_000]
    payloads = [bytes(number * 7 & 0xFF for number in range(size)) for size in sizes]
    channel = uuid4().hex
    with peer(case, channel):
        assert asyncio.run(exchange(case, channel, payloads)) == [each[::-1] for each in payloads]


def test_can_isotp_refuses_what_is_too_long_and_we_hear_it() -> None:
    channel = uuid4().hex
    with peer(Case("", params=(("max_frame_size", 100),)), channel):
        with pytest.raises(Unavailable) as refused:
            asyncio.run(exchange(CASES[0], channel, [bytes(101)]))
        assert refused.value.detail == "N_BUFFER_OVFLW"
        assert asyncio.run(exchange(CASES[0], channel, [bytes(100)])) == [bytes(100)]


def test_can_isotp_hears_our_refusal() -> None:
    channel = uuid4().hex
    ours = replace(CASES[0], ours=replace(BASE, message_bytes_max=100))
    refused = threading.Event()

    async def too_long() -> None:
        asking = asyncio.create_task(exchange(ours, channel, [bytes(101)]))
        assert await asyncio.to_thread(refused.wait, SECONDS)
        assert not asking.done()
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking

    def on_error(error: Exception) -> None:
        if isinstance(error, isotp.OverflowError):
            refused.set()

    with peer(CASES[0], channel, on_error):
        assert asyncio.run(exchange(ours, channel, [bytes(100)])) == [bytes(100)]
        asyncio.run(too_long())


def test_a_peer_that_is_not_there_is_a_time_out() -> None:
    quick = replace(CASES[0], ours=replace(BASE, n_bs_ms=50))
    with pytest.raises(Unavailable) as silent:
        asyncio.run(exchange(quick, uuid4().hex, [bytes(100)]))
    assert (silent.value.code, silent.value.detail) == ("timeout", "N_TIMEOUT_Bs")


def test_an_interface_that_cannot_be_opened_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        asyncio.run(PythonCanBus("no_such_interface", "can0").open())
