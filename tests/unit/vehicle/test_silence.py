"""The other ECUs keep still while one is flashed, and talk again however that ended."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ringroad.kernel.clock import SystemClock
from ringroad.kernel.errors import Unavailable
from ringroad.protocol.vehicle import EcuTarget
from ringroad.sim.vecu.config import EcuConfig, ServerConfig, ServerTable
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.script import Script, Trouble
from ringroad.sim.vecu.server import VecuServer
from ringroad.sim.vecu.simple import Communication
from ringroad.vehicle.agents.base import BytesSource, Done, EcuImage, Failed, UpdateAgent, no_progress
from ringroad.vehicle.agents.quiet import Silence
from ringroad.vehicle.agents.session import EcuAccess
from ringroad.vehicle.can import Confirmed, Listeners
from ringroad.vehicle.connect import make_agent
from ringroad.vehicle.doip import DoipChannel, DoipEntity
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.uds import UdsChannel, hmac_key

SECRET = b"a secret"
NAMES = ("brake", "body", "central")  # the last one has two banks
OLD, NEW = b"old firmware " * 400, b"new firmware " * 400
STILL, TALKING = (False, Communication.NONE), (True, Communication.BOTH)


def image(data: bytes, counter: int) -> EcuImage:
    return EcuImage(
        serial="brake", target=EcuTarget(name="brake", mode="inplace", format="bin", version=f"{counter}.0"),
        filename="brake.bin", sha256=hashlib.sha256(data).hexdigest(), length_bytes=len(data),
        release_counter=counter, hardware_ids=("HW",),
    )  # fmt: skip


class WatchedMedium(MemoryMedium):
    """Flash that lets somebody look around at each of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.look: Callable[[], None] = lambda: None

    def write(self, offset: int, data: bytes) -> None:
        self.look()
        super().write(offset, data)


@dataclass
class Bus:
    """Three ECUs; whoever writes to the brake's flash sees what the others do at that moment."""

    ports: dict[str, EcuPort]
    channels: dict[str, UdsChannel]
    medium: WatchedMedium
    servers: list[VecuServer] = field(default_factory=list)
    seen: set[tuple[bool, Communication]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.medium.look = lambda: self.seen.update(self.now(name) for name in NAMES[1:])

    def now(self, name: str) -> tuple[bool, Communication]:
        ecu = self.ports[name].ecu
        return ecu.faults.enabled, ecu.communication

    def agent(self, silence: Silence | None) -> UpdateAgent:
        access = EcuAccess(
            serial="brake", derive=hmac_key(SECRET), timeout_s=1.0, restart_s_max=1.5, silence=silence
        )
        return make_agent("inplace", self.channels["brake"], access)

    async def flash(self, data: bytes, counter: int, *, silence: Silence | None = None) -> bool:
        agent = self.agent(silence)
        installed = await agent.install(image(data, counter), BytesSource(data), progress=no_progress)
        if isinstance(installed, Failed):
            return False
        assert isinstance(await agent.activate(image(data, counter)), Done)
        assert isinstance(await agent.commit(image(data, counter)), Done)
        return True

    async def close(self) -> None:
        for channel in self.channels.values():
            await channel.close()
        for server in self.servers:
            await server.close()


async def make_bus(folder: Path | None = None) -> Bus:
    """Build the bus in memory, or over DoIP with its files in `folder`."""
    medium = WatchedMedium()
    ports: dict[str, EcuPort] = {}
    channels: dict[str, UdsChannel] = {}
    servers = []
    for name in NAMES:
        config = EcuConfig(
            serial=name, hardware_id="HW", vin="WRR00000000000001", bank_bytes=10_000, secret=SECRET,
            layout="ab" if name == "central" else "inplace", block_bytes=1026,
        )  # fmt: skip
        port = EcuPort(config, medium if name == "brake" else MemoryMedium(), clock=SystemClock())
        channel: UdsChannel = MemoryChannel(port)
        if folder is not None:
            table = ServerTable(flash=f"{name}.bin", fsync=False)
            server = VecuServer(ServerConfig(ecu=config, server=table, folder=folder), clock=SystemClock())
            server.port = port
            servers.append(server)
            channel = DoipChannel(
                DoipEntity("127.0.0.1", await server.start()), ecu_address=table.logical_address
            )
        ports[name], channels[name] = port, channel
    bus = Bus(ports=ports, channels=channels, medium=medium, servers=servers)
    assert await bus.flash(OLD, 1)
    bus.seen.clear()
    return bus


@pytest.mark.parametrize("wire", ["memory", "doip"])
def test_the_others_are_still_while_one_is_flashed_and_then_talk_again(wire: str, tmp_path: Path) -> None:
    async def story() -> None:
        bus = await make_bus(tmp_path if wire == "doip" else None)
        assert await bus.flash(NEW, 2, silence=Silence(bus.channels))
        assert STILL in bus.seen
        await until(lambda: {bus.now(name) for name in NAMES} == {TALKING})
        await bus.close()

    asyncio.run(story())


def test_no_write_of_the_flash_or_the_restart_happens_in_noise() -> None:
    async def story() -> None:
        bus = await make_bus()
        agent = bus.agent(Silence(bus.channels))
        assert isinstance(await agent.install(image(NEW, 2), BytesSource(NEW), progress=no_progress), Done)
        assert {bus.now(name) for name in NAMES[1:]} == {STILL}  # the brake is still in its bootloader
        assert isinstance(await agent.activate(image(NEW, 2)), Done)
        assert bus.seen == {STILL}
        assert {bus.now(name) for name in NAMES} == {TALKING}

    asyncio.run(story())


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(kind="nrc", service=0x36, nrc=0x72, times=99),
        Trouble(kind="nrc", service=0x31, at=2, nrc=0x22, times=99),
        Trouble(kind="die", service=0x34),
    ],
)
def test_a_flash_that_fails_leaves_nobody_silenced(trouble: Trouble) -> None:
    async def story() -> None:
        bus = await make_bus()
        port = bus.ports["brake"]
        port.script, port._seen = Script(transport=(trouble,)), [0]
        assert not await bus.flash(NEW, 2, silence=Silence(bus.channels))
        assert STILL in bus.seen
        assert {bus.now(name) for name in NAMES[1:]} == {TALKING}

    asyncio.run(story())


def test_a_cancelled_flash_leaves_nobody_silenced() -> None:
    async def story() -> None:
        bus = await make_bus()

        class Stuck(BytesSource):
            async def read(self, offset: int, size: int) -> bytes:
                if offset:
                    await asyncio.Event().wait()
                return await BytesSource.read(self, offset, size)

        agent = bus.agent(Silence(bus.channels))
        work = asyncio.create_task(agent.install(image(NEW, 2), Stuck(NEW), progress=no_progress))
        await until(lambda: STILL in bus.seen or work.done())
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert {bus.now(name) for name in NAMES[1:]} == {TALKING}

    asyncio.run(story())


def test_what_an_earlier_life_silenced_the_next_one_ends() -> None:
    async def story() -> None:
        bus = await make_bus()
        killed = Silence(bus.channels)
        agent = bus.agent(killed)
        assert isinstance(await agent.install(image(NEW, 2), BytesSource(NEW), progress=no_progress), Done)
        await killed._stop_keeping()  # as kill -9 would
        assert {bus.now(name) for name in NAMES[1:]} == {STILL}
        assert await bus.flash(NEW, 2, silence=Silence(bus.channels))  # installed already
        assert {bus.now(name) for name in NAMES} == {TALKING}

    asyncio.run(story())


def test_a_rollback_is_as_quiet_as_an_installation() -> None:
    async def story() -> None:
        bus = await make_bus()
        agent = bus.agent(Silence(bus.channels))
        assert isinstance(await agent.install(image(NEW, 2), BytesSource(NEW), progress=no_progress), Done)
        bus.seen.clear()
        undone = await agent.rollback(
            image(NEW, 2), backup=image(OLD, 1), source=BytesSource(OLD), progress=no_progress
        )
        assert isinstance(undone, Done)
        assert bus.seen == {STILL}
        assert {bus.now(name) for name in NAMES} == {TALKING}

    asyncio.run(story())


def test_a_closed_agent_ends_the_silence_it_began() -> None:
    async def story() -> None:
        bus = await make_bus()
        agent = bus.agent(Silence(bus.channels))
        await agent.install(image(NEW, 2), BytesSource(NEW), progress=no_progress)
        await agent.close()
        assert {bus.now(name) for name in NAMES[1:]} == {TALKING}

    asyncio.run(story())


def test_the_silence_is_held_while_the_flash_takes_long() -> None:
    async def story() -> None:
        bus = await make_bus()
        heard: list[bytes] = []

        class Listening(MemoryChannel):
            async def notify(self, payload: bytes, *, functional: bool = False) -> None:
                heard.append(payload)
                await super().notify(payload, functional=functional)

        silence = Silence({"body": Listening(bus.ports["body"])}, keepalive_s=0.001)
        await silence.begin("brake")
        await until(lambda: heard.count(b"\x3e\x00") > 2)
        await silence.end()
        count = len(heard)
        await asyncio.sleep(0.01)
        assert len(heard) == count  # nobody keeps what has ended

    asyncio.run(story())


@dataclass
class Wire:
    """A CAN controller that keeps what it is told to send; nobody answers."""

    fd: bool = False
    listeners: Listeners = field(default_factory=Listeners)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    sent: list[tuple[int, bytes]] = field(default_factory=list)

    async def open(self) -> None:
        """Nothing."""

    async def leave(self) -> None:
        """Nothing."""

    def send(self, can_id: int, frames: Sequence[bytes], _confirmed: Confirmed) -> None:
        self.sent += [(can_id, frame) for frame in frames]


def test_a_bus_that_many_ecus_share_is_told_once() -> None:
    async def story() -> None:
        wires = {name: Wire() for name in ("chassis", "body")}
        ways = {
            "brake": ("chassis", 0x7E0, 0x7DF), "steering": ("chassis", 0x7E1, 0x7DF),
            "airbag": ("chassis", 0x7E2, 0x7DE), "door": ("body", 0x7E0, 0x7DF),
        }  # fmt: skip
        channels = {
            name: IsotpChannel(
                wires[bus],
                IsotpSettings(address=Address.normal(request, request + 8)),
                functional_id=functional,
            )
            for name, (bus, request, functional) in ways.items()
        }
        silence = Silence(channels, keepalive_s=60)
        await silence.begin("door")
        hushed = [(0x7DF, b"\x10\x83"), (0x7DF, b"\x85\x82"), (0x7DF, b"\x28\x83\x01")]
        assert Counter(can_id for can_id, _ in wires["chassis"].sent) == {0x7DF: 3, 0x7DE: 3}
        assert [(can_id, frame[1 : 1 + frame[0]]) for can_id, frame in wires["chassis"].sent][:3] == hushed
        assert wires["body"].sent == []  # the one that is flashed is alone there
        await silence.end()
        assert len(wires["body"].sent) == 3

    asyncio.run(story())


def test_an_ecu_that_cannot_be_reached_stops_nothing() -> None:
    async def story() -> None:
        bus = await make_bus()

        class Gone(MemoryChannel):
            async def notify(self, payload: bytes, *, functional: bool = False) -> None:
                raise Unavailable("no such ECU", code="connection_lost")

        silence = Silence({**bus.channels, "body": Gone(bus.ports["body"])})
        assert await bus.flash(NEW, 2, silence=silence)
        assert bus.now("central") == TALKING

    asyncio.run(story())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - the other side is a socket
            await asyncio.sleep(0.001)
