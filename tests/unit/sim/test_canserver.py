"""A bus as a process: the stream format, who hears what, and clients that are too fast, too slow or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringroad.kernel.errors import InvalidInput, Unavailable
from ringroad.sim.canserver import CLIENTS_MAX, QUEUED_FRAMES_MAX, BusConfig, BusServer, read_bus_config
from ringroad.vehicle.can import DATA_BYTES, ERROR, EXTENDED, REMOTE
from ringroad.vehicle.cannelloni import (
    ASK,
    BANNER,
    BusConnection,
    FrameParser,
    encode_confirmation,
    encode_frames,
)
from ringroad.vehicle.isotp.channel import IsotpEndpoint
from ringroad.vehicle.isotp.model import Address, IsotpSettings

SECONDS = 60.0
IDS = st.one_of(st.integers(0, 0x7FF), st.integers(0, (1 << 29) - 1).map(lambda number: number | EXTENDED))
FRAMES = st.lists(
    st.tuples(IDS, st.sampled_from(DATA_BYTES).flatmap(lambda size: st.binary(min_size=size, max_size=size))),
    max_size=20,
)


@given(FRAMES, st.integers(1, 40))
@settings(deadline=None)
def test_frames_go_there_and_back_in_any_pieces(frames: list[tuple[int, bytes]], piece: int) -> None:
    stream = BANNER + b"".join(encode_frames(each, [data], fd=len(data) > 8) for each, data in frames)
    parser, found = FrameParser(), []
    for at in range(0, len(stream), piece):
        found += parser.feed(stream[at : at + piece])
    assert found == frames


def test_frames_look_as_the_format_has_them() -> None:
    assert encode_frames(0x7E0, [b"\x02\x3e\x00"], fd=False).hex() == "000007e003023e00"
    assert encode_frames(EXTENDED | 0x18DA10F1, [b"\x3e"], fd=True).hex() == "98da10f181013e"
    assert encode_confirmation(3).hex() == "200000000400000003"
    parser = FrameParser()
    remote = (REMOTE | 0x10).to_bytes(4, "big") + b"\x08"
    assert parser.feed(BANNER + remote + encode_frames(1, [b"a"], fd=False)) == [
        (REMOTE | 0x10, b""),
        (1, b"a"),
    ]


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1", b"CANNELLONIv2", BANNER + bytes(4) + b"\x09",
                                    BANNER + bytes(4) + b"\xc1\x00"])  # fmt: skip
def test_what_is_no_such_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(InvalidInput):
        FrameParser().feed(stream)


@given(st.lists(st.binary(max_size=100), max_size=8))
@settings(deadline=None)
def test_no_bytes_break_the_parser(pieces: list[bytes]) -> None:
    parser = FrameParser()
    parser.feed(BANNER)
    try:
        for piece in pieces:
            for _, data in parser.feed(piece):
                assert len(data) <= 64
    except InvalidInput:
        pass
    assert len(parser._buffer) < 200


def with_server(
    story: Callable[[BusServer, int], Awaitable[None]], config: BusConfig | None = None, folder: Path = Path()
) -> None:
    async def run() -> None:
        server = BusServer(config or BusConfig(bit_rate=0), folder)
        port = await server.start()
        try:
            async with asyncio.timeout(SECONDS):
                await story(server, port)
        finally:
            await server.close()
            await asyncio.sleep(0)

    asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - servers have no event for what a test asks
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("kind", ["can", "canfd"])
@pytest.mark.parametrize("bit_rate", [0, 1_000_000])
def test_messages_go_through_a_bus_process_and_are_confirmed(kind: str, bit_rate: int) -> None:
    fd = kind == "canfd"
    config = BusConfig(kind="canfd" if fd else "can", bit_rate=bit_rate, data_bit_rate=8_000_000)

    async def story(server: BusServer, port: int) -> None:
        near, far = BusConnection("127.0.0.1", port, fd=fd), BusConnection("127.0.0.1", port, fd=fd)
        came: asyncio.Queue[bytes | None] = asyncio.Queue()
        one = IsotpSettings(address=Address.normal(0x7E0, 0x7E8), frame_bytes=64 if fd else 8)
        other = IsotpSettings(
            address=Address.normal(0x7E8, 0x7E0), frame_bytes=64 if fd else 8, block_size=100
        )
        ends = IsotpEndpoint(near, one, came.put_nowait), IsotpEndpoint(far, other, came.put_nowait)
        for bus, end in zip((near, far), ends, strict=True):
            await bus.open()
            end.attach()
        await until(lambda: len(server.clients) == 2)
        for size in (1, 62, 4095):
            await ends[0].send(bytes(size))
            assert await came.get() == bytes(size)
        await ends[1].send(b"answer")
        assert await came.get() == b"answer"
        for bus, end in zip((near, far), ends, strict=True):
            end.detach()
            await bus.leave()
        await until(lambda: not server.clients)

    with_server(story, config)


def test_only_who_asked_is_told_what_is_on_the_wire_and_nobody_hears_himself() -> None:
    async def story(server: BusServer, port: int) -> None:
        asks = await asyncio.open_connection("127.0.0.1", port)
        silent = await asyncio.open_connection("127.0.0.1", port)
        frames = encode_frames(0x10, [b"a", b"b"], fd=False)
        asks[1].write(BANNER + ASK)
        silent[1].write(BANNER)
        for reader, _ in (asks, silent):
            assert await reader.readexactly(len(BANNER)) == BANNER
        await until(lambda: any(client._tells for client in server.clients))
        asks[1].write(frames)
        assert await silent[0].readexactly(len(frames)) == frames
        told = FrameParser(_greeted=True)
        count = 0
        while count < 2:
            for can_id, data in told.feed(await asks[0].read(100)):
                assert can_id == ERROR
                count += int.from_bytes(data, "big")
        silent[1].write(frames)
        assert await asks[0].readexactly(len(frames)) == frames
        for _, writer in (asks, silent):
            writer.close()

    with_server(story)


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\n", BANNER + encode_frames(1, [bytes(12)], fd=True), BANNER + bytes(4) + b"\x09"],
)
def test_a_client_that_says_what_the_bus_cannot_carry_is_dropped(said: bytes) -> None:
    async def story(server: BusServer, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(said)
        try:
            assert await reader.read(100) in {BANNER, b""}
            assert await reader.read(100) == b""
        except ConnectionResetError:
            pass
        writer.close()
        await until(lambda: not server.clients)

    with_server(story)


def test_a_client_that_is_faster_than_the_bus_is_read_no_further() -> None:
    async def story(server: BusServer, port: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(BANNER + encode_frames(0x10, [bytes(8)] * 1_000_000, fd=False))
        await until(lambda: any(client._paused for client in server.clients))
        (client,) = server.clients
        most = client._controller.queued_frames
        assert QUEUED_FRAMES_MAX < most < QUEUED_FRAMES_MAX + 262_144 // 13 + 1
        await asyncio.sleep(0.05)
        assert client._controller.queued_frames <= most
        writer.transport.abort()

    with_server(story, BusConfig(bit_rate=100_000))


def test_a_client_that_does_not_read_is_dropped_and_the_others_stay() -> None:
    async def story(server: BusServer, port: int) -> None:
        _, deaf = await asyncio.open_connection("127.0.0.1", port)
        deaf.write(BANNER)
        deaf.transport.pause_reading()  # type: ignore[attr-defined]
        bus = BusConnection("127.0.0.1", port)
        await bus.open()
        bus.listeners.add(0x20, lambda _: None)
        await until(lambda: len(server.clients) == 2)
        confirmed: list[int] = []
        sent = 0
        while len(server.clients) == 2:
            bus.send(0x10, [bytes(8)] * 20_000, confirmed.append)
            sent += 20_000
            await until(lambda: sum(confirmed) == sent)  # noqa: B023 - waited for at once
        assert len(server.clients) == 1
        deaf.transport.abort()
        bus.listeners.remove(0x20, next(iter(bus.listeners._by_id[0x20])))
        await bus.leave()

    with_server(story)


def test_more_clients_than_a_vehicle_has_ecus_are_turned_away() -> None:
    async def story(server: BusServer, port: int) -> None:
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS_MAX)]
        await until(lambda: len(server.clients) == CLIENTS_MAX)
        with pytest.raises(Unavailable):
            await BusConnection("127.0.0.1", port).open()
        for _, writer in streams:
            writer.transport.abort()

    with_server(story)


def test_a_bus_that_is_not_there_is_unavailable_and_a_lost_one_is_found_again() -> None:
    async def story(server: BusServer, port: int) -> None:
        bus = BusConnection("127.0.0.1", port)
        bus.listeners.add(0x20, lambda _: None)
        await bus.open()
        await until(lambda: len(server.clients) == 1)
        (client,) = server.clients
        client.drop()
        await until(lambda: not server.clients)
        await until(lambda: bus._wire is not None and bus._wire.lost)
        bus.send(0x10, [b"lost"], lambda _: None)
        await bus.open()
        await until(lambda: len(server.clients) == 1)
        await server.close()
        await until(lambda: bus._wire is not None and bus._wire.lost)
        with pytest.raises(Unavailable) as gone:
            await bus.open()
        assert gone.value.code == "connection_lost"

    with_server(story)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[bus]\nkind = 'lin'", "kind"),
        ("[bus]\nbit_rate = 2000000", "bit_rate"),
        ("[bus]\nkind = 'canfd'\nbit_rate = 500000\ndata_bit_rate = 1000", "data at least that"),
        ("[bus]\nspeed = 1", "speed"),
        ("[buss]", "buss"),
        ("[bus", "bus.toml"),
    ],
)
def test_a_bus_that_cannot_be_is_refused_before_it_starts(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bus.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInput, match=words):
        read_bus_config(path)
    with pytest.raises(InvalidInput):
        read_bus_config(tmp_path / "absent.toml")


def test_the_port_is_told_in_a_file(tmp_path: Path) -> None:
    async def story(server: BusServer, port: int) -> None:
        assert (tmp_path / "bus.port").read_text() == f"{port}\n"
        with pytest.raises(Unavailable):
            await BusServer(BusConfig(port=port), tmp_path).start()

    with_server(story, BusConfig(port_file="bus.port"), tmp_path)
