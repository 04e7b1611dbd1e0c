"""How long a whole vehicle's update takes against the least that its buses allow, on simulated time.

The 33 ECUs of the distributed example, each with its bus and its kind of memory; those that are not on CAN are reached by
Ethernet. Orchestrator, agents, ISO-TP and virtual ECUs are the real ones; CAN frames take the time of their bits, Ethernet
takes the time of its bytes, erases and restarts take none. The server is next door, and computing takes no time.

The bound: first the ECUs with two banks are staged, then those in place are flashed. In each of the two phases all buses work
at the same time, and the slowest carries its images' own frames and nothing else; nothing is asked, erased, checked or
restarted. Ours flashes in-place ECUs one after another, since each needs the silence of all others
(`vehicle/agents/quiet.py`); the bound with that dependency is told beside it.

Run: python -m benchmarks makespan
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from benchmarks.figures import Figure
from ringroad.protocol.vehicle import EcuTarget, PostCheck, UpdateGroup, VehiclePackage
from ringroad.sim.canbus import CAN_500K, CAN_FD_2M, VirtualBus, frame_ns
from ringroad.sim.simtime import SimulatedLoop, run_simulated
from ringroad.sim.vecu.can import CanFace
from ringroad.sim.vecu.config import EcuConfig
from ringroad.sim.vecu.medium import MemoryMedium
from ringroad.sim.vecu.memory import MemoryChannel
from ringroad.sim.vecu.port import EcuPort
from ringroad.trust import sign
from ringroad.trust.state import provision
from ringroad.vehicle.agents.base import BytesSource, Done, image_of, no_progress
from ringroad.vehicle.canway import CanWay
from ringroad.vehicle.config import EcuConfig as VehicleEcu
from ringroad.vehicle.connect import make_agents
from ringroad.vehicle.isotp.channel import IsotpChannel
from ringroad.vehicle.isotp.model import Address, IsotpSettings
from ringroad.vehicle.run import Surroundings, open_vehicle
from ringroad.vehicle.uds import UdsChannel

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.vehicle_world import VIN, World, content_of

PROGRAMME = Path(__file__).parents[1] / "examples/distributed/programme.toml"
ETHERNET_BIT_S = 100_000_000  # 100BASE-T1
ETHERNET_HEAD_BYTES = 14 + 4 + 8 + 12 + 20 + 20 + 12  # of a segment: Ethernet with its gap, IP, TCP, DoIP
SEGMENT_BYTES = 1_460
SIZES = {"Ethernet": 4 << 20, "CAN FD": 512 << 10, "CAN": 256 << 10}  # bytes of an image, by bus
BLOCK_BYTES = {"Ethernet": 65_535, "CAN FD": 4_095, "CAN": 4_095}
STEPS_MAX = 5_000


def buses() -> dict[str, tuple[str, str]]:
    """ECU -> bus and kind of memory, the Primary first."""
    programme = tomllib.loads(PROGRAMME.read_text("utf-8"))
    names = next(iter(programme["variants"].values()))["ecus"]
    return {
        name: (ecu["bus"] if ecu["bus"] in {"CAN", "CAN FD"} else "Ethernet", ecu["storage"])
        for name in names
        for ecu in (programme["ecus"][name],)
    }


class Ethernet:
    """One wire that all its ECUs share."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()

    async def carry(self, size: int) -> None:
        async with self.turn:
            await asyncio.sleep(ethernet_s(size))


class Wired(MemoryChannel):
    """A way to an ECU behind Ethernet."""

    __slots__ = ("_wire",)

    def __init__(self, port: EcuPort, wire: Ethernet) -> None:
        super().__init__(port)
        self._wire = wire

    async def request(self, payload: bytes, *, timeout_s: float) -> bytes:
        await self._wire.carry(len(payload))
        answer = await super().request(payload, timeout_s=timeout_s)
        await self._wire.carry(len(answer))
        return answer


def ethernet_s(size: int) -> float:
    segments = -(-size // SEGMENT_BYTES)
    return (size + segments * ETHERNET_HEAD_BYTES) * 8 / ETHERNET_BIT_S


def image_s(bus: str, size: int) -> float:
    """Seconds that the bus needs for an image's own frames."""
    block = BLOCK_BYTES[bus] - 2
    blocks = [block] * (size // block) + ([size % block] if size % block else [])
    if bus == "Ethernet":
        return sum(ethernet_s(one + 2) for one in blocks)
    fd = bus == "CAN FD"
    rates, frame = (CAN_FD_2M, 64) if fd else (CAN_500K, 8)
    can_id = Address.normal_fixed(1, 0xF1).tx_id
    return sum(-(-(one + 2) // (frame - 1)) * frame_ns(rates, can_id, frame, fd=fd) for one in blocks) / 1e9


def per_bus(placed: dict[str, tuple[str, str]], *, in_place: bool) -> dict[str, float]:
    """Seconds that each bus carries images, of the ECUs that are staged or of those that are flashed in place."""
    total: dict[str, float] = defaultdict(float)
    for bus, storage in placed.values():
        if (storage == "inplace") is in_place:
            total[bus] += image_s(bus, SIZES[bus])
    return total


def target_of(world: World, name: str, version: str, counter: int, size: int) -> sign.DirectorTarget:
    ecu, data = world.ecus[name], content(name, version, size)
    return sign.DirectorTarget(
        serial=ecu.serial, filename=f"{name}-{version}.bin", length=size,
        sha256=hashlib.sha256(data).hexdigest(), sha512=hashlib.sha512(data).hexdigest(),
        hardware_ids=(f"{name}-hw",), release_counter=counter,
        ecu_target=EcuTarget(name=name, mode=ecu.mode, format="bin", version=version),
    )  # fmt: skip


def content(name: str, version: str, size: int) -> bytes:
    text = f"{name} {version} ".encode()
    return (text * (size // len(text) + 1))[:size]


async def lived(folder: Path, loop: SimulatedLoop) -> tuple[dict[str, float], str]:
    """Seconds in each state of the update, and how it ended."""
    placed = buses()
    world = World(folder, ecus=[(name, storage) for name, (_, storage) in placed.items()], now=loop.now())
    world.server.clock = loop.now
    can = {"CAN": VirtualBus(CAN_500K), "CAN FD": VirtualBus(CAN_FD_2M, fd=True)}
    testers = {bus: one.controller() for bus, one in can.items()}
    wire, faces = Ethernet(), []
    channels: dict[str, UdsChannel] = {}
    for number, (name, (bus, storage)) in enumerate(placed.items(), start=1):
        ecu = world.ecus[name]
        made = EcuConfig(
            serial=ecu.serial, hardware_id=f"{name}-hw", vin=VIN, layout=storage, bank_bytes=SIZES[bus],
            block_bytes=BLOCK_BYTES[bus],
        )  # fmt: skip
        port = EcuPort(made, MemoryMedium(), clock=loop)
        if bus == "Ethernet":
            channels[ecu.serial] = Wired(port, wire)
            continue
        fd = bus == "CAN FD"
        tester = IsotpSettings(address=Address.normal_fixed(number, 0xF1), frame_bytes=64 if fd else 8)
        face = CanFace(
            port, can[bus].controller(), replace(tester, address=Address.normal_fixed(0xF1, number))
        )
        await face.start()
        faces.append(face)
        channels[ecu.serial] = IsotpChannel(testers[bus], tester)
    agents = make_agents(world.config.ecus, channels, secrets={})
    for serial, agent in agents.items():  # as the plant does
        image = image_of(world.factory(serial))
        source = BytesSource(content_of(image.target.name, "1.0.0"))
        assert isinstance(await agent.prepare(image, source, progress=no_progress), Done)
        assert isinstance(await agent.install(image, source, progress=no_progress), Done)
        assert isinstance(await agent.activate(image), Done)
        assert isinstance(await agent.commit(image), Done)
    world.config = msgspec.structs.replace(
        world.config,
        ecus=tuple(
            on_its_bus(number, ecu, placed[ecu.name][0]) for number, ecu in enumerate(world.config.ecus)
        ),
    )
    order(world, placed)
    spent: dict[str, float] = defaultdict(float)
    roots = provision(image_root=world.server.image_root, director_root=world.server.director_root)
    async with httpx.AsyncClient(transport=world.transport) as client:
        surroundings = Surroundings(
            clock=loop, ids=world.ids, fraction=lambda: 0.5, agents=agents, signals=world.signals, client=client,
            keys=world.keys, roots=roots, durability="buffered",
        )  # fmt: skip
        async with open_vehicle(folder, world.config, surroundings) as orchestrator:
            await orchestrator.exchange()
            for _ in range(STEPS_MAX):
                state, before_s = orchestrator.state.state, loop.time()
                delay_s = await orchestrator.step()
                if delay_s is None:
                    break
                await asyncio.sleep(delay_s)
                spent[state] += loop.time() - before_s
            ended = str(orchestrator.state.state)
    for agent in agents.values():
        await agent.close()
    for face in faces:
        await face.close()
    return spent, ended


def on_its_bus(number: int, ecu: VehicleEcu, bus: str) -> VehicleEcu:
    """What the vehicle's configuration says of the way to an ECU."""
    if bus == "Ethernet":
        return ecu
    kind = "canfd" if bus == "CAN FD" else "can"
    channel = f"127.0.0.1:{1 if kind == 'can' else 2}"
    way = CanWay(bus=kind, channel=channel, request_id=0x600 + number, response_id=0x680 + number)
    return msgspec.structs.replace(ecu, host="", can=way)


def order(world: World, placed: dict[str, tuple[str, str]]) -> None:
    """Order the new release for every ECU, in one group, the Primary last."""
    targets = [target_of(world, name, "2.0.0", 2, SIZES[bus]) for name, (bus, _) in placed.items()]
    for target in targets:
        name = target.ecu_target.name
        world.server.add_image(target.image(), content(name, "2.0.0", SIZES[placed[name][0]]))
    serials = [ecu.serial for ecu in reversed(world.ecus.values())]
    checks: list[Any] = [PostCheck(ecu=serial, kind="version") for serial in serials]
    world.server.publish(
        VehiclePackage(
            release_id="release_1", release_version="2.0.0", action_id=1,
            groups=[UpdateGroup(name="all", ecus=serials)], post_checks=checks,
            preconditions=["Vehicle.Speed == 0"],
        ),
        targets,
    )  # fmt: skip


def run() -> list[Figure]:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    placed = buses()
    staged, flashed = per_bus(placed, in_place=False), per_bus(placed, in_place=True)
    slowest = max(staged, key=staged.__getitem__)
    least_s = staged[slowest] + max(flashed.values())
    alone_s = staged[slowest] + sum(flashed.values())
    loop = SimulatedLoop()
    with tempfile.TemporaryDirectory() as name:
        (spent, ended), _ = run_simulated(lived(Path(name), loop), loop)
    assert ended == "SUCCEEDED", ended
    took_s = sum(spent.values())
    parts = ", ".join(f"{state} {seconds:.1f}" for state, seconds in spent.items() if seconds >= 0.05)
    return [
        Figure(
            name="update.makespan_ratio", value=round(took_s / least_s, 3), unit="times", target=1.15, better="lower",
            note=f"{len(placed)} ECUs, images of {' / '.join(f'{size >> 10} KiB on {bus}' for bus, size in SIZES.items())}: "
            f"{took_s:.1f} s simulated ({parts}) against {least_s:.1f} s: staging {slowest} {staged[slowest]:.1f}, in place "
            f"{max(flashed, key=flashed.__getitem__)} {max(flashed.values()):.1f}; {took_s / alone_s:.3f} where in-place ECUs "
            f"must be flashed one after another",
        )
    ]  # fmt: skip
