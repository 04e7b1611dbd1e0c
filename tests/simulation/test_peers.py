"""Images from peers: asked before the server, never believed, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import parse_vin
from ringroad.trust.state import VerifiedTarget
from ringroad.vehicle import peers
from ringroad.vehicle.address import parse_address
from ringroad.vehicle.fetch import FROM_PEERS, Fetcher, Interrupted
from ringroad.vehicle.gateway import Gateway
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.peers import PeerCaches, PeerShare, check_peer
from ringroad.vehicle.progress import ProgressReports
from ringroad.vehicle.small_http import Answer, BadRequest, Request
from ringroad.vehicle.states import Noted, Opened
from support.ports import free_port
from support.vehicle_world import TOKEN, VIN, DeskIds, World, as_verified, content_of, director_target

IMAGE = content_of("brake", "2.0.0", 400_000)
SERVER = "https://server.test"


class Road:
    """A vehicle, the server's image and a peer's folder."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder / "vehicle")
        signed = director_target(self.world.ecus["brake"], "2.0.0", 2, size=len(IMAGE))
        self.world.server.add_image(signed.image(), IMAGE)
        self.target: VerifiedTarget = as_verified(signed)
        self.store = ImageStore(folder / "images", durability="buffered")
        self.part = folder / "images" / f"{self.target.sha256}.part"
        self.counted = folder / "images" / f"{self.target.sha256}.peers"
        self.peer = folder / "peer"
        self.peer.mkdir()

    def share(self, content: bytes) -> None:
        (self.peer / self.target.sha256).write_bytes(content)

    @property
    def asked_of_server(self) -> list[str]:
        """The ranges that the server was asked for."""
        return [span for _, path, span in self.world.server.asked if "/targets/" in path]

    @contextlib.asynccontextmanager
    async def drive(self, *, dead_peers: int = 0) -> AsyncIterator[tuple[Gateway, Told]]:
        """Give the vehicle's gateway, with peers that nobody serves before one that shares, which is given as well."""
        share, port = Told(self.peer), free_port()
        urls = [f"http://127.0.0.1:{free_port()}" for _ in range(dead_peers)] + [f"http://127.0.0.1:{port}"]
        serving = asyncio.create_task(share.serve(parse_address(f"127.0.0.1:{port}")))
        transport = httpx.ASGITransport(self.world.server)
        try:
            async with httpx.AsyncClient(mounts={SERVER: transport}, timeout=60) as client:
                await listening(port)
                yield Gateway(
                    client, vin=parse_vin(VIN), token=TOKEN, clock=SystemClock(), server_url=SERVER,
                    peers=PeerCaches(client, urls, clock=SystemClock()),
                ), share  # fmt: skip
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    async def download(self, gateway: Gateway) -> bytes:
        self.given = await gateway.download(self.target, self.store, progress=lambda _done, _all: None)
        return (self.part.with_suffix("")).read_bytes()


class Told(PeerShare):
    """A peer that remembers what it was told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: list[Request] = []

    async def answer(self, request: Request, names: frozenset[str]) -> Answer:
        self.requests.append(request)
        return await super().answer(request, names)


async def listening(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.01)


def test_an_image_comes_from_a_peer_and_the_peer_hears_no_token_and_no_vin(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.share(IMAGE)

    async def run() -> list[Request]:
        async with road.drive(dead_peers=1) as (gateway, share):
            assert await road.download(gateway) == IMAGE
            return share.requests

    (request,) = asyncio.run(run())
    assert request.path == f"/images/{road.target.sha256}"
    assert TOKEN not in repr(request)
    assert VIN not in repr(request)
    assert road.asked_of_server == []
    assert road.given == len(IMAGE)


def test_what_peers_gave_is_written_down_and_told(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.share(IMAGE[:150_000])

    async def run() -> None:
        memory = Memory(tmp_path / "vehicle", clock=SystemClock(), ids=DeskIds(), durability="buffered")
        async with road.drive() as (gateway, _):
            fetcher = Fetcher(
                gateway=gateway, images=road.store, memory=memory, clock=SystemClock(), interrupted=lambda: False,
                reports=ProgressReports(memory=memory, clock=SystemClock()),
            )  # fmt: skip
            memory.write(Opened(at=SystemClock().now(), action_id=7))
            await fetcher.fetch(road.target, serial="S", keep=())
            assert memory.state.peer_bytes == 150_000
            told = [each for each in memory.outbox.batch() if each.code == FROM_PEERS]
            assert [each.detail for each in told] == [f"150000 of {len(IMAGE)} bytes came from peers"]
            memory.close()
        again = Memory(tmp_path / "vehicle", clock=SystemClock(), ids=DeskIds(), durability="buffered")
        assert again.state.peer_bytes == 150_000
        again.write(Opened(at=SystemClock().now(), action_id=8))
        assert again.state.peer_bytes == 0, "it is of one update"
        again.close()

    asyncio.run(run())


def test_what_peers_gave_in_earlier_tries_is_counted_however_those_ended(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.share(IMAGE)

    def stop_at(done_bytes: int) -> Callable[[int, int], None]:
        def progress(done: int, _all: int) -> None:
            if done >= done_bytes:
                raise Interrupted

        return progress

    async def run() -> None:
        async with road.drive() as (gateway, _):
            with pytest.raises(Interrupted):
                await gateway.download(road.target, road.store, progress=stop_at(100_000))
            arrived = road.part.stat().st_size
            assert 0 < arrived < len(IMAGE)
            # And one that power was lost in: the part is longer than what was noted.
            with road.store.resume(road.target) as image, image.from_peer():
                image.write(IMAGE[arrived : arrived + 1_000])
                kept = road.counted.read_bytes()
            road.counted.write_bytes(kept)
            (road.peer / road.target.sha256).unlink()
            assert await road.download(gateway) == IMAGE
            assert road.given == arrived + 1_000
            assert not road.counted.exists()

    asyncio.run(run())


def test_images_that_peers_gave_take_no_notes_from_what_the_vehicle_waits_for(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "vehicle", clock=SystemClock(), ids=DeskIds(), durability="buffered")
    now = SystemClock().now()
    memory.write(Opened(at=now, action_id=7))
    memory.write(Noted(code="precondition", at=now, about="Vehicle.Speed"))
    for number in range(60):
        memory.write(Noted(code=FROM_PEERS, at=now, about=f"S{number}", peer_bytes=5))
    assert (memory.state.peer_bytes, memory.state.notes) == (300, 1)
    assert memory.state.noted == ("precondition", "Vehicle.Speed")
    memory.close()


def test_what_a_peer_does_not_have_comes_from_the_server(tmp_path: Path) -> None:
    road = Road(tmp_path)

    async def run() -> list[Request]:
        async with road.drive() as (gateway, share):
            assert await road.download(gateway) == IMAGE
            return share.requests

    assert len(asyncio.run(run())) == 1
    assert road.asked_of_server == [""]
    assert road.given == 0


def test_a_peer_goes_on_behind_what_the_server_sent(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.share(IMAGE)
    road.part.write_bytes(IMAGE[:100_000])

    async def run() -> list[Request]:
        async with road.drive() as (gateway, share):
            assert await road.download(gateway) == IMAGE
            return share.requests

    (request,) = asyncio.run(run())
    assert request.headers["range"] == "bytes=100000-"
    assert road.given == len(IMAGE) - 100_000


def test_the_server_goes_on_behind_what_a_peer_has_of_it(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.share(IMAGE[:150_000])

    async def run() -> None:
        async with road.drive() as (gateway, _):
            assert await road.download(gateway) == IMAGE

    asyncio.run(run())
    assert road.asked_of_server == ["bytes=150000-"]
    assert road.given == 150_000


@pytest.mark.parametrize("content", [b"x" * len(IMAGE), IMAGE + b"more", b"x" * 150_000])
def test_wrong_bytes_of_a_peer_cost_time_and_nothing_else(tmp_path: Path, content: bytes) -> None:
    road = Road(tmp_path)
    road.share(content)

    async def run() -> None:
        async with road.drive() as (gateway, share):
            assert await road.download(gateway) == IMAGE
            road.store.drop(road.target.sha256)
            assert await road.download(gateway) == IMAGE
            if len(content) >= len(IMAGE):  # shorter ones may have gone bad on the way
                assert len(share.requests) == 1, "a peer that lied is not asked again"

    asyncio.run(run())
    assert road.asked_of_server[-1] == ""
    assert road.given == 0, "what was wrong was not given"


def test_wrong_bytes_that_a_peer_left_before_a_restart_are_dropped(tmp_path: Path) -> None:
    road = Road(tmp_path)
    road.part.write_bytes(b"x" * 100_000)

    async def run() -> None:
        async with road.drive() as (gateway, _):
            assert await road.download(gateway) == IMAGE

    asyncio.run(run())
    assert road.asked_of_server == ["bytes=100000-", ""]


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer, and never come to its end."""
    with contextlib.suppress(OSError):
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"x-more: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.02)


async def packing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with what would unpack to a thousand times as much."""
    body = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    with contextlib.suppress(OSError):
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("behave", [dribbling, packing])
def test_a_peer_that_never_comes_to_the_point_or_sends_packed_bytes_is_left_for_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behave: Any
) -> None:
    monkeypatch.setattr(peers, "PEER_HEAD_S", 0.2)
    road = Road(tmp_path)

    async def run() -> None:
        serving: list[asyncio.Task[Any] | None] = []

        async def behaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.append(asyncio.current_task())
            try:
                await behave(reader, writer)
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(behaving, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = httpx.ASGITransport(road.world.server)
        async with server, httpx.AsyncClient(mounts={SERVER: transport}, timeout=60) as client:
            gateway = Gateway(
                client, vin=parse_vin(VIN), token=TOKEN, clock=SystemClock(), server_url=SERVER,
                peers=PeerCaches(client, [url], clock=SystemClock()),
            )  # fmt: skip
            assert await road.download(gateway) == IMAGE
        for task in filter(None, serving):
            task.cancel()
        await asyncio.gather(*filter(None, serving), return_exceptions=True)

    asyncio.run(run())
    assert road.asked_of_server == [""]


def test_an_answer_that_nobody_takes_opens_no_file(tmp_path: Path) -> None:
    name = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / name).write_bytes(b"whole")
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = [asked(PeerShare(tmp_path), path=f"/images/{name}") for _ in range(20)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all(answer.stream is not None for answer in kept)


def asked(share: PeerShare, method: str = "GET", path: str = "", **headers: str) -> Answer:
    request = Request(method=method, path=path, headers={"host": "10.0.0.7:8781"} | headers)
    return asyncio.run(share.answer(request, frozenset({"10.0.0.7:8781"})))


def test_a_peer_shares_nothing_but_whole_images(tmp_path: Path) -> None:
    name = hashlib.sha256(b"whole").hexdigest()
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / name).write_bytes(b"whole")
    (folder / f"{name}.part").write_bytes(b"who")
    (tmp_path / "token").write_text("secret")
    share = PeerShare(folder)
    for path in ("/", "/images/", "/images/../token", f"/images/{name}.part", f"/images/{name}/", "/token",
                 f"/images/{name.upper()}", f"/images/{'0' * 64}"):  # fmt: skip
        assert asked(share, path=path).status == HTTPStatus.NOT_FOUND, path
    assert asked(share, "PUT", f"/images/{name}").status == HTTPStatus.METHOD_NOT_ALLOWED
    with pytest.raises(BadRequest):
        asked(share, path=f"/images/{name}", host="pages.example")
    assert (
        asked(share, path=f"/images/{name}", range="bytes=9-").status
        == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
    )


@pytest.mark.parametrize(
    ("span", "status", "told"),
    [
        ("", HTTPStatus.OK, b"whole"),
        ("bytes=2-", HTTPStatus.PARTIAL_CONTENT, b"ole"),
        ("bytes=0-", HTTPStatus.PARTIAL_CONTENT, b"whole"),
        ("bytes=-2", HTTPStatus.OK, b"whole"),
        ("bytes=1-2,4-", HTTPStatus.OK, b"whole"),
    ],
)
def test_an_image_is_given_from_where_it_is_asked_for(
    tmp_path: Path, span: str, status: HTTPStatus, told: bytes
) -> None:
    name = hashlib.sha256(b"whole").hexdigest()
    (tmp_path / name).write_bytes(b"whole")

    async def run() -> tuple[Answer, bytes]:
        request = Request(method="GET", path=f"/images/{name}", headers={"host": "a:1", "range": span})
        answer = await PeerShare(tmp_path).answer(request, frozenset({"a:1"}))
        assert answer.stream is not None
        return answer, b"".join([piece async for piece in answer.stream])

    answer, sent = asyncio.run(run())
    assert (answer.status, sent) == (status, told)
    assert answer.headers["Content-Length"] == str(len(told))


@pytest.mark.parametrize(
    "url",
    ["", "10.0.0.7:8781", "ftp://10.0.0.7", "http://", "http://user:secret@10.0.0.7", "http://10.0.0.7:99999",
     "http://10.0.0.7/?a=1", "http://10.0.0.7/#a", "http://" + "a" * 200],
)  # fmt: skip
def test_an_address_that_is_none_of_a_peer_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_peer(url)
    assert "http://" in caught.value.hint
    assert "secret" not in caught.value.message
