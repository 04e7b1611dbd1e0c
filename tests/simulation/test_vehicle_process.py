"""`ringroad vehicle run` as a process, over real HTTPS and DoIP, killed at journal records and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable, Untrusted
from ringroad.kernel.vin import parse_vin
from ringroad.protocol.vehicle import Command, Conduct
from ringroad.sim.assembly import keep_signals
from ringroad.sim.canserver import BusConfig, BusServer
from ringroad.sim.vecu.config import EcuConfig as VecuConfig
from ringroad.sim.vecu.config import ServerConfig, ServerTable
from ringroad.sim.vecu.server import VecuServer
from ringroad.trust.keys import private_pem
from ringroad.vehicle.agents.base import BytesSource, Done, EcuInventory, image_of, no_progress
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import read_config, write_config
from ringroad.vehicle.connect import connect_agents
from ringroad.vehicle.gateway import Gateway, new_client
from ringroad.vehicle.images import ImageStore
from ringroad.vehicle.journal import CRASH_EXIT_STATUS
from support.ports import free_port
from support.vehicle_process import certificate, serving
from support.vehicle_world import TOKEN, VIN, World, as_verified, content_of, director_target

BOOT_S = 60.0
ENDS = {"SUCCEEDED", "ROLLED_BACK", "FAILED"}


class Bench:
    """A vehicle folder, its virtual ECUs in a thread, A/B ones on DoIP and in-place ones on CAN FD, and a server."""

    def __init__(self, folder: Path, url: str, world: World) -> None:
        self.folder, self.world = folder, world
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        ecus = []
        self.servers: list[VecuServer] = []
        self.bus = BusServer(BusConfig(kind="canfd", bit_rate=0), folder)
        channel = f"127.0.0.1:{self.run(self.bus.start())}"
        for number, ecu in enumerate(world.config.ecus):
            place = number + 1  # of the tester's addresses, 0xF1 is its own
            way = CanWay(
                bus="canfd", channel=channel, request_id=0x18DA00F1 | place << 8, response_id=0x18DAF100 | place
            )  # fmt: skip
            can = way if ecu.mode == "inplace" else None
            config = ServerConfig(
                ecu=VecuConfig(
                    serial=ecu.serial, hardware_id=ecu.hardware_id, vin=VIN, layout=ecu.mode, bank_bytes=8_192
                ),
                server=ServerTable(flash=f"{ecu.name}.flash", fsync=False, logical_address=0x1001 + number),
                folder=folder,
                can=can,
            )  # fmt: skip
            server = VecuServer(config, clock=SystemClock())
            self.servers.append(server)
            port = self.run(server.start())
            (folder / f"{ecu.name}.pem").write_bytes(private_pem(world.keys[ecu.serial]))
            ecus.append(
                msgspec.structs.replace(
                    ecu,
                    host="" if can else "127.0.0.1",
                    port=port or 13400,
                    can=can,
                    logical_address=0x1001 + number,
                    key_file=f"{ecu.name}.pem",
                )
            )
        self.config = msgspec.structs.replace(
            world.config, server_url=url, ca_file="pki/ca.pem", ecus=tuple(ecus), retry_base_s=0.05
        )
        write_config(folder, self.config, durability="buffered")
        (folder / "image.root.json").write_bytes(world.server.image_root)
        (folder / "director.root.json").write_bytes(world.server.director_root)
        (folder / "signals.json").write_text('{"Vehicle.Speed": 0}')
        self.signals = asyncio.run_coroutine_threadsafe(keep_signals(folder / "signals.json"), self.loop)
        self.run(self.build())

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=150)

    async def build(self) -> None:
        agents = connect_agents(self.folder, self.config)
        for ecu in self.config.ecus:
            image = image_of(self.world.factory(ecu.serial))
            source = BytesSource(content_of(ecu.name, "1.0.0"))
            agent = agents[ecu.serial]
            for verb in (agent.prepare, agent.install):
                assert isinstance(await verb(image, source, progress=no_progress), Done)
            assert isinstance(await agent.activate(image), Done)
            assert isinstance(await agent.commit(image), Done)
        for agent in agents.values():
            await agent.close()

    def versions(self) -> set[str]:
        async def ask() -> set[str]:
            found = set()
            for agent in connect_agents(self.folder, self.config).values():
                answer = await agent.inventory()
                assert isinstance(answer, EcuInventory), answer
                assert not answer.trial
                found.add(answer.running.version if answer.running else "nothing")
                await agent.close()
            return found

        found: set[str] = self.run(ask())
        return found

    def start(self, *more: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "ringroad.cli", "vehicle", "run", "--data", str(self.folder), *more],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        self.signals.cancel()
        for server in self.servers:
            self.run(server.close())
        self.run(self.bus.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(60)
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    world = World(tmp_path / "vehicle", ecus=(("central", "ab"), ("brake", "inplace")), now=datetime.now(UTC))
    world.server.clock = lambda: datetime.now(UTC)
    with serving(world.server, tmp_path / "vehicle" / "pki") as url:
        made = Bench(tmp_path / "vehicle", url, world)
        yield made
        made.close()


def wait_for_end(bench: Bench, process: subprocess.Popen[str], *, seconds: float = 150) -> str:
    """Wait until the server was told how the update ended, then end the process."""
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline and process.poll() is None:
            ended = {one.state for one in bench.world.server.reports.values() if not one.ecu} & ENDS
            if ended and len(bench.world.server.manifests) > 1:
                return ended.pop()
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    pytest.fail(f"no end after {seconds} s:\n{output}")


def test_a_vehicle_killed_again_and_again_still_ends_the_update_right(bench: Bench) -> None:
    bench.world.order()
    for records in (3, 6, 5, 4, 5):
        process = bench.start(RINGROAD_CRASH_AFTER_RECORD=str(records))
        output, _ = process.communicate(timeout=60)
        assert process.returncode == CRASH_EXIT_STATUS, output
        for server in bench.servers:
            server.port.power_cycle()
    assert wait_for_end(bench, bench.start()) == "SUCCEEDED"
    assert bench.versions() == {"2.0.0"}
    ids = [one.id for one in bench.world.server.reports.values()]
    assert len(ids) == len(set(ids))
    shown = subprocess.run(
        [sys.executable, "-m", "ringroad.cli", "--json", "vehicle", "status", "--data", str(bench.folder)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    status = msgspec.json.decode(shown.stdout)
    assert (status["state"], status["release_id"], status["running"]) == ("SUCCEEDED", "release_1", False)
    assert {ecu["committed"] for ecu in status["ecus"]} == {"2.0.0"}


def test_of_three_processes_started_at_once_on_one_folder_one_works_and_two_say_why_not(bench: Bench) -> None:
    bench.world.order()
    rivals = [bench.start() for _ in range(3)]
    try:
        deadline = time.monotonic() + BOOT_S
        while sum(one.poll() is None for one in rivals) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for loser in [one for one in rivals if one.poll() is not None]:
            output, _ = loser.communicate(timeout=60)
            assert loser.returncode not in {0, CRASH_EXIT_STATUS}
            assert "another orchestrator" in output
            assert "hint:" in output
            assert "Traceback" not in output
        (winner,) = [one for one in rivals if one.poll() is None]
        assert wait_for_end(bench, winner) == "SUCCEEDED"
        assert bench.versions() == {"2.0.0"}
    finally:
        for one in rivals:
            one.kill()
            one.communicate(timeout=60)


def test_a_driver_agrees_on_the_page_that_the_process_serves(bench: Bench) -> None:
    bench.world.order(conduct=Conduct(consent=["download", "install"]))
    port = free_port()
    process = bench.start("--page", f"127.0.0.1:{port}")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as browser:
            form = wait_for_form(browser)
            assert browser.post("/answer", data={**form, "word": "all"}).headers["location"] == "/"
            assert wait_for_end(bench, process) == "SUCCEEDED"
    finally:
        process.kill()
        process.communicate()
    assert bench.versions() == {"2.0.0"}


def wait_for_form(browser: httpx.Client) -> dict[str, str]:
    """Return the hidden fields of the question, once it is asked."""
    end = time.monotonic() + BOOT_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            found = dict(re.findall(r'type="hidden" name="(\w+)" value="(\w*)"', browser.get("/").text))
            if found:
                return found
        time.sleep(0.1)
    raise AssertionError("nothing was asked")


def test_the_configuration_reads_back_as_it_was_written(bench: Bench) -> None:
    assert read_config(bench.folder) == bench.config


# The gateway client over real TLS -----------------------------------------------------------------------


def gateway(url: str, ca: Path) -> tuple[Gateway, httpx.AsyncClient]:
    client = new_client(ca_file=ca)
    return Gateway(client, vin=parse_vin(VIN), token=TOKEN, clock=SystemClock(), server_url=url), client


class Cutting:
    """Sends half of each image and then breaks the connection, a number of times."""

    def __init__(self, world: World, cuts: int) -> None:
        self.world, self.cuts = world, cuts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if "/targets/" not in scope["path"] or self.cuts == 0:
            await self.world.server(scope, receive, send)
            return
        self.cuts -= 1

        async def half(message: Any) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                return
            body = message["body"]
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            raise ConnectionError("cut")

        await self.world.server(scope, receive, half)


def test_a_download_over_tls_that_breaks_twice_goes_on_each_time(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    target = director_target(world.ecus["brake"], "2.0.0", 2, size=400_000)
    world.server.add_image(target.image(), content_of("brake", "2.0.0", 400_000))
    store = ImageStore(tmp_path / "images", durability="fsync")

    async def run(url: str) -> int:
        link, client = gateway(url, tmp_path / "pki" / "ca.pem")
        breaks = 0
        async with client:
            while target.sha256 not in store.stored():
                try:
                    await link.download(as_verified(target), store, progress=lambda _done, _total: None)
                except Unavailable:
                    breaks += 1
                    assert breaks < 5
        return breaks

    with serving(Cutting(world, 2), tmp_path / "pki") as url:
        assert asyncio.run(run(url)) == 2
    ranges = [span for _, path, span in world.server.asked if "/targets/" in path]
    assert ranges[0] == ""
    starts = [int(span.removeprefix("bytes=").removesuffix("-")) for span in ranges[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0
    store.verify(as_verified(target))


def test_a_server_with_another_ca_is_not_spoken_to(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    other = certificate(tmp_path / "other")

    async def run(url: str) -> None:
        link, client = gateway(url, other)
        async with client:
            with pytest.raises(Unavailable):
                await link.poll()

    with serving(world.server, tmp_path / "pki") as url:
        asyncio.run(run(url))
    assert world.server.asked == []


def test_an_unchanged_poll_is_answered_with_304_and_the_same_command(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    world.server.command = Command(kind="update", poll_s=7, action_id=3)

    async def run(url: str) -> list[Command]:
        link, client = gateway(url, tmp_path / "pki" / "ca.pem")
        async with client:
            return [await link.poll(), await link.poll()]

    with serving(world.server, tmp_path / "pki") as url:
        first, second = asyncio.run(run(url))
    assert first == second == world.server.command


def test_a_longer_image_than_signed_is_dropped(tmp_path: Path) -> None:
    world = World(tmp_path / "vehicle")
    target = director_target(world.ecus["brake"], "2.0.0", 2)
    world.server.images[f"{target.sha256}.{target.filename}"] = b"x" * 10_000
    store = ImageStore(tmp_path / "images", durability="buffered")

    async def run(url: str) -> None:
        link, client = gateway(url, tmp_path / "pki" / "ca.pem")
        async with client:
            with pytest.raises(Untrusted) as caught:
                await link.download(as_verified(replace(target)), store, progress=lambda _done, _total: None)
            assert caught.value.code == "endless_data"

    with serving(world.server, tmp_path / "pki") as url:
        asyncio.run(run(url))
    assert list((tmp_path / "images").iterdir()) == []


def test_no_server_at_all_is_unavailable(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def run() -> None:
        link, client = gateway(f"https://127.0.0.1:{port}", certificate(tmp_path / "pki"))
        async with client:
            with pytest.raises(Unavailable) as caught:
                await link.poll()
            assert caught.value.code == "offline"

    asyncio.run(run())
