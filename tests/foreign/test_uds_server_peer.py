"""Our UDS client and ISO-TP against python-uds-server and can-isotp, which we did not write, on python-can's virtual bus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

import can
import isotp
import pytest
import uds_server
from uds_server.transport import IsoTpTransport

from ringroad.kernel.errors import Unavailable
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.python_can import PythonCanBus
from ringroad.vehicle.uds import EcuBusy, EcuForbids, EcuRefuses, EcuRejects, Session, UdsClient, hmac_key

pytestmark = pytest.mark.foreign

SECONDS = 60.0
PATIENCE_MS = 10_000  # of both sides: on a busy machine a thread may be late
SECRET, SEED = b"a secret", bytes(range(1, 17))
FLASH_AT, FLASH_BYTES = 0x8000, 40_000
KEY_TRIES, KEY_DELAY_S = 2, 600.0
VIN = b"WRR00000000000001"

T = TypeVar("T")


def make_server(transport: Any, resets: list[int]) -> Any:
    """An ECU as python-uds-server makes one."""
    unlocked = uds_server.AccessRule(
        allowed_sessions=frozenset({2, 3}), allowed_security_levels=frozenset({1})
    )
    return uds_server.UdsServer(
        transport=transport,
        dids=[
            uds_server.DidDefinition(0xF190, len(VIN), read_callback=lambda: VIN),
            uds_server.DidDefinition(0xF15A, 4, access_rule=unlocked),
        ],
        security_levels=[
            uds_server.SecurityLevel(
                1, lambda: SEED, key_validator=lambda seed, key: key == hmac_key(SECRET)(1, seed),
                max_attempts=KEY_TRIES, delay_seconds=KEY_DELAY_S,
            )
        ],
        routines=[uds_server.RoutineDefinition(0xFF00, start_callback=lambda option: b"\x00" + option, access_rule=unlocked)],
        memory_regions=[uds_server.MemoryRegionDefinition(FLASH_AT, FLASH_BYTES, access_rule=unlocked)],
        dtcs=[uds_server.DtcDefinition(0x0A1F00, status=0x09), uds_server.DtcDefinition(0xC10087, status=0x01)],
        resets=[uds_server.EcuResetDefinition(1, callback=lambda: resets.append(1))],
        max_transfer_block_length=0x102,  # 256 bytes a block, so that the counter wraps
    )  # fmt: skip


@contextmanager
def ecu() -> Iterator[tuple[Any, list[int], str]]:
    """The server on a bus of its own, its resets and the bus's name."""
    channel, resets = uuid4().hex, list[int]()
    params = {
        "max_frame_size": 70_000,
        "rx_flowcontrol_timeout": PATIENCE_MS,
        "rx_consecutive_frame_timeout": PATIENCE_MS,
    }
    with can.Bus(interface="virtual", channel=channel) as bus:
        address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=0x7E8, rxid=0x7E0)
        server = make_server(IsoTpTransport(isotp.CanStack(bus, address=address, params=params)), resets)
        server.start()
        try:
            yield server, resets, channel
        finally:
            server.stop()


def ask(channel: str, talk: Callable[[UdsClient], Awaitable[T]]) -> T:
    """Let our client talk to it."""
    settings = IsotpSettings(
        address=Address.normal(0x7E0, 0x7E8), n_as_ms=PATIENCE_MS, n_bs_ms=PATIENCE_MS, n_cr_ms=PATIENCE_MS
    )

    async def story() -> T:
        way = IsotpChannel(PythonCanBus("virtual", channel), settings)
        await way.connect()
        try:
            async with asyncio.timeout(SECONDS):
                return await talk(UdsClient(channel=way, timeout_s=PATIENCE_MS / 1000))
        finally:
            await way.close()

    return asyncio.run(story())


def test_our_client_reads_unlocks_flashes_and_resets_it() -> None:
    image = bytes(number * 7 & 0xFF for number in range(FLASH_BYTES))

    async def read(offset: int, size: int) -> bytes:
        return image[offset : offset + size]

    async def flash(client: UdsClient) -> tuple[bytes, list[int]]:
        done: list[int] = []
        await client.session(Session.EXTENDED)
        await client.unlock(hmac_key(SECRET))
        await client.write(0xF15A, b"2026")
        erased = await client.routine(0xFF00, b"\x44")
        block_bytes = await client.download(FLASH_AT, FLASH_BYTES)
        await client.tester_present()
        await client.transfer(read, FLASH_BYTES, block_bytes=block_bytes, progress=done.append)
        await client.reset()
        return erased, done

    with ecu() as (server, resets, channel):
        erased, done = ask(channel, flash)
        assert (erased, done[0], done[-1], resets) == (b"\x00\x44", 256, FLASH_BYTES, [1])
        assert server.get_memory_region(FLASH_AT, FLASH_BYTES).read(FLASH_AT, FLASH_BYTES) == image
        assert server.get_did(0xF15A).read() == b"2026"
        assert server.current_session == Session.DEFAULT


def test_our_client_reads_and_clears_its_faults() -> None:
    async def look(client: UdsClient) -> list[list[tuple[str, int]]]:
        found = [await client.faults(status_mask=0x08), await client.faults(status_mask=0x01)]
        await client.clear_faults()
        return [*found, await client.faults(status_mask=0xFF)]

    with ecu() as (_, _, channel):
        assert ask(channel, look) == [[("P0A1F-00", 0x09)], [("P0A1F-00", 0x09), ("U0100-87", 0x01)], []]


async def _unknown_session(client: UdsClient) -> None:
    await client.session(Session.DEFAULT)
    await client.call(b"\x10\x7e")


async def _locked(client: UdsClient) -> None:
    await client.session(Session.EXTENDED)
    await client.download(FLASH_AT, 8)


async def _wrong_key(client: UdsClient) -> None:
    await client.session(Session.EXTENDED)
    await client.unlock(hmac_key(b"another"))


async def _too_many_keys(client: UdsClient) -> None:
    await client.session(Session.EXTENDED)
    for _ in range(KEY_TRIES - 1):
        with pytest.raises(EcuForbids):
            await client.unlock(hmac_key(b"another"))
    await client.unlock(hmac_key(b"another"))


async def _no_download(client: UdsClient) -> None:
    await client.call(b"\x36\x01\x00")


async def _wrong_counter(client: UdsClient) -> None:
    await client.session(Session.EXTENDED)
    await client.unlock(hmac_key(SECRET))
    await client.download(FLASH_AT, 8)
    await client.call(b"\x36\x09\x00")


async def _no_such_data(client: UdsClient) -> None:
    await client.read(0x1234)


@pytest.mark.parametrize(
    ("talk", "kind", "nrc"),
    [
        (_unknown_session, EcuRejects, 0x12),
        (_locked, EcuForbids, 0x33),
        (_wrong_key, EcuForbids, 0x35),
        (_too_many_keys, EcuBusy, 0x36),
        (_no_download, EcuRefuses, 0x24),
        (_wrong_counter, EcuRefuses, 0x73),
        (_no_such_data, EcuRejects, 0x31),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)).strip("_"),
)
def test_our_client_names_its_refusals(
    talk: Callable[[UdsClient], Awaitable[None]], kind: type[EcuBusy], nrc: int
) -> None:
    with ecu() as (_, _, channel), pytest.raises(kind) as refused:
        ask(channel, talk)
    assert refused.value.nrc == nrc


def test_an_ecu_that_was_stopped_is_unavailable() -> None:
    with ecu() as (server, _, channel):
        assert ask(channel, lambda client: client.read(0xF190)) == VIN
        server.stop()
        with pytest.raises(Unavailable):
            ask(channel, _impatient)


async def _impatient(client: UdsClient) -> bytes:
    client.timeout_s = 0.2
    return await client.read(0xF190)
