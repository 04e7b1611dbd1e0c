"""A rehearsal: a vehicle of a programme, built out of virtual ECUs, gets an update, over real sockets, on this computer.

Everything is the real thing but the hardware: the vehicle's own orchestrator, agents and wiring; a DoIP or HTTP server per
ECU, a bus process's server per CAN bus, on loopback; a desk (`desk.py`) that signs and serves the release.

1. Make firmware for every ECU, old and new, in the format its agent takes; suppliers' MCUboot keys too.
2. Build the vehicle with the old firmware, as the plant does (`assembly.py`), and give its ECUs power behind sockets.
3. Order the new release, all ECUs in one update group, and run the vehicle until it rests.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ringroad.kernel.clock import Clock, Ids
from ringroad.protocol.vehicle import EcuTarget, PostCheck, Sample, UpdateGroup, VehiclePackage
from ringroad.sim.assembly import (
    LOCAL_AGENTS,
    PARKED,
    BaselinePackage,
    Blueprint,
    Surroundings,
    assemble,
    make_vin,
)
from ringroad.sim.canserver import BusConfig, BusServer
from ringroad.sim.desk import Desk
from ringroad.sim.vecu.config import read_config as read_vecu_config
from ringroad.sim.vecu.medium import Medium
from ringroad.sim.vecu.script import Behaviour, Script
from ringroad.sim.vecu.server import VecuServer
from ringroad.trust.mcuboot import McubootSigner, sign_mcuboot
from ringroad.trust.sign import DirectorTarget
from ringroad.vehicle.agents.base import (
    CheckKind,
    EcuImage,
    EcuInventory,
    Failed,
    FlashStep,
    ImageSource,
    Outcome,
    Progress,
    UpdateAgent,
    tell_step,
)
from ringroad.vehicle.config import DESK_URL, VehicleConfig, write_config
from ringroad.vehicle.connect import connect_agents
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.run import Surroundings as VehicleSurroundings
from ringroad.vehicle.run import open_vehicle
from ringroad.vehicle.states import RESTING, CampaignState, Entry

OLD: Final = "1.0.0"
NEW: Final = "2.0.0"
ACTION: Final = 1
KINDS: Final[tuple[CheckKind, ...]] = get_args(CheckKind)
HEX_BYTES: Final = 16  # of data per line of an Intel HEX file
CLASSIC_BIT_RATE: Final = 500_000
FD_DATA_BIT_RATE: Final = 2_000_000

Moved = Callable[[Entry, CampaignState], None]
Sent = Callable[[str, int, int], None]  # (ECU serial, bytes done, bytes in all)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is rehearsed.

    Attributes:
        programme_id: of the programme.
        variant: of it.
        ecus: name -> the programme's table of that ECU.
        soc_bytes: of an image for an ECU with two banks or a folder.
        mcu_bytes: of an image for a microcontroller.
        failing: name of an ECU whose new software fails its self-test; empty: all is well.
        real_bit_rates: whether frames on the CAN buses take the time of their bits.
    """

    programme_id: str
    variant: str
    ecus: Mapping[str, Mapping[str, Any]]
    soc_bytes: int
    mcu_bytes: int
    failing: str = ""
    real_bit_rates: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EcuEnd:
    """Where one ECU ended: the version that runs (empty: none), whether for good; what its packages are packed as."""

    name: str
    serial: str
    format: str
    version: str
    for_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Where the vehicle ended."""

    state: str
    code: str
    detail: str
    ecus: tuple[EcuEnd, ...]


class Parked:
    """Signals of a vehicle that is parked and charged."""

    def read(self, now: datetime) -> Sequence[Sample]:
        """Return them."""
        return [Sample(at=now, path=path, value=value) for path, value in PARKED.items()]


@dataclass(kw_only=True)
class Rehearsal:
    """A vehicle that was built; `power` gives its ECUs power, `update` updates it.

    Attributes:
        plan: what is rehearsed.
        folder: of the vehicle.
        config: of the vehicle, with the ports that its ECUs have since `power`.
        desk: its server.
        new: the new packages, by ECU name.
        servers: what stands for buses and ECUs while they have power.
    """

    plan: Plan
    folder: Path
    config: VehicleConfig
    desk: Desk
    new: Mapping[str, BaselinePackage]
    servers: list[VecuServer | BusServer] = field(default_factory=list, init=False)

    @contextlib.asynccontextmanager
    async def power(self, clock: Clock) -> AsyncIterator[None]:
        """Start buses and ECUs on loopback, and tell the vehicle's configuration where they are."""
        try:
            await self._start(clock)
            yield
        finally:
            for server in reversed(self.servers):
                await server.close()

    async def _start(self, clock: Clock) -> None:
        buses: dict[str, str] = {}
        for kind in sorted({ecu.can.bus for ecu in self.config.ecus if ecu.can is not None}):
            rate = CLASSIC_BIT_RATE if self.plan.real_bit_rates else 0
            bus = BusServer(BusConfig(kind=kind, bit_rate=rate, data_bit_rate=FD_DATA_BIT_RATE), self.folder)
            buses[kind] = f"127.0.0.1:{await bus.start()}"
            self.servers.append(bus)
        script = self.script()
        ecus = []
        for ecu in self.config.ecus:
            if ecu.agent in LOCAL_AGENTS:
                bad = {**ecu.settings, "health": "false"} if ecu.name == self.plan.failing else ecu.settings
                ecus.append(msgspec.structs.replace(ecu, settings=bad))
                continue
            found = read_vecu_config(self.folder / f"{ecu.serial}.toml")
            can = ecu.can and msgspec.structs.replace(ecu.can, channel=buses[ecu.can.bus])
            server = VecuServer(found.moved(can), clock=clock)
            server.port.follow(script)
            self.servers.append(server)
            number = await server.start()
            if ecu.agent == "sovd":
                settings = {**ecu.settings, "url": f"http://127.0.0.1:{number}"}
                ecus.append(msgspec.structs.replace(ecu, settings=settings))
            else:
                ecus.append(msgspec.structs.replace(ecu, port=number or ecu.port, can=can))
        self.config = msgspec.structs.replace(self.config, ecus=tuple(ecus))
        write_config(self.folder, self.config, durability="buffered")

    def script(self) -> Script:
        """Return what goes wrong on the ECUs."""
        if not self.plan.failing:
            return Script()
        digest = hashlib.sha256(self.new[self.plan.failing].image).hexdigest()
        return Script(images={digest: Behaviour(self_test="fail")})

    def order(self) -> None:
        """Order the new release: every ECU, in one group, the Primary last."""
        ecus = sorted(self.config.ecus, key=lambda ecu: ecu.primary)
        targets = [_target(ecu.serial, self.new[ecu.name], ecu.mode) for ecu in ecus]
        for target, ecu in zip(targets, ecus, strict=True):
            self.desk.add(target.image(), self.new[ecu.name].image)
        serials = [ecu.serial for ecu in ecus]
        package = VehiclePackage(
            release_id=f"release_{NEW}", release_version=NEW, action_id=ACTION,
            groups=[UpdateGroup(name="all", ecus=serials)],
            post_checks=[PostCheck(ecu=serial, kind=kind) for serial in serials for kind in KINDS],
            preconditions=["Vehicle.Speed == 0"],
        )  # fmt: skip
        self.desk.order(package, targets)

    async def update(
        self, *, clock: Clock, ids: Ids, fraction: Callable[[], float], moved: Moved, sent: Sent
    ) -> Ending:
        """Run the vehicle until it rests; where the update ended before, only look at its ECUs.

        Args:
            clock: the machine's.
            ids: for the journal.
            fraction: for jitter.
            moved: told of each journal entry.
            sent: told of bytes on their way to an ECU.

        Raises:
            RingroadError: the vehicle could not be run.
        """
        over = asyncio.Event()

        def observe(entry: Entry, state: CampaignState) -> None:
            moved(entry, state)
            if has_ended(state):
                over.set()

        made = connect_agents(self.folder, self.config)
        agents: dict[str, UpdateAgent] = {
            serial: Watched(serial, agent, sent) for serial, agent in made.items()
        }
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.desk)) as client:
            surroundings = VehicleSurroundings(
                clock=clock, ids=ids, fraction=fraction, agents=agents, signals=Parked(), client=client,
                durability="buffered", observer=observe,
            )  # fmt: skip
            async with open_vehicle(self.folder, self.config, surroundings) as orchestrator:
                if not has_ended(orchestrator.state):
                    await _run_until(over, orchestrator)
                state = orchestrator.state
                answers = await orchestrator.ecus.inventories()
        return Ending(
            state=state.state, code=state.code, detail=state.detail,
            ecus=tuple(_end(self.new[ecu.name], ecu.serial, answers[ecu.serial]) for ecu in self.config.ecus),
        )  # fmt: skip


async def build(
    plan: Plan,
    folder: Path,
    *,
    clock: Clock,
    secret: Callable[[int], bytes],
    medium: Callable[[str], Medium] | None = None,
) -> Rehearsal:
    """Make firmware, keys and server, and build the vehicle with the old release.

    Args:
        plan: what is rehearsed.
        folder: for the vehicle; made.
        clock: the machine's.
        secret: random bytes by count.
        medium: flash by ECU serial; default files in the folder.

    Raises:
        Unavailable: an ECU refused the old release.
        InvalidInput: the programme has an ECU that cannot be simulated.
    """
    keys: dict[str, McubootSigner] = {}
    ecus: dict[str, Mapping[str, Any]] = {}
    for name, table in plan.ecus.items():
        ecus[name] = table
        if table["agent"] == "mcuboot":
            keys[name] = _key(table["security"])
            public = keys[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            ecus[name] = {**table, "settings": {**table.get("settings", {}), "public_key": public.decode()}}
    old, new = (
        {
            name: _package(plan, table, keys.get(name), name=name, version=version, counter=counter)
            for name, table in ecus.items()
        }
        for version, counter in ((OLD, 1), (NEW, 2))
    )
    vin = make_vin(33)
    desk = Desk(vin, now=clock.now(), secret=secret)
    blueprint = Blueprint(
        programme_id=plan.programme_id, variant=plan.variant, region="EU", release_id=f"release_{OLD}", ecus=ecus,
        packages=old,
    )  # fmt: skip
    surroundings = Surroundings(
        server_url=DESK_URL, mqtt_host="", mqtt_port=1883, ca_pem=b"", image_root=desk.image_root,
        director_root=desk.director_root, retry_base_s=0.1,
    )  # fmt: skip
    born, _ = await assemble(
        folder, vin, blueprint, surroundings, clock=clock, secret=secret, medium=medium, durability="buffered"
    )
    for agent in born.agents.values():
        await agent.close()
    for port in born.ports.values():
        port.medium.close()
    for ecu in born.config.ecus:
        target = _target(ecu.serial, old[ecu.name], ecu.mode)
        desk.add(target.image(), old[ecu.name].image)
    return Rehearsal(plan=plan, folder=folder, config=born.config, desk=desk, new=new)


def has_ended(state: CampaignState) -> bool:
    """Say whether the rehearsed update is over."""
    return state.action_id == ACTION and state.state in RESTING


async def _run_until(over: asyncio.Event, orchestrator: Orchestrator) -> None:
    running = asyncio.create_task(orchestrator.run())
    ended = asyncio.create_task(over.wait())
    await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, ended):
        task.cancel()
    results = await asyncio.gather(running, ended, return_exceptions=True)
    if isinstance(results[0], Exception):
        raise results[0]


class Watched:
    """An `UpdateAgent` whose progress somebody else is told as well."""

    def __init__(self, serial: str, agent: UpdateAgent, sent: Sent) -> None:
        self._serial = serial
        self._agent = agent
        self._sent = sent
        self.activate = agent.activate
        self.verify = agent.verify
        self.commit = agent.commit
        self.inventory = agent.inventory
        self.close = agent.close

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """See `UpdateAgent`."""
        return await self._agent.prepare(image, source, progress=self._both(progress))

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        """See `UpdateAgent`."""
        return await self._agent.install(image, source, progress=self._both(progress))

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,
        source: ImageSource | None = None,
        progress: Progress,
    ) -> Outcome:
        """See `UpdateAgent`."""
        return await self._agent.rollback(image, backup=backup, source=source, progress=self._both(progress))

    def _both(self, progress: Progress) -> Progress:
        return _Both(progress, self._serial, self._sent)


@dataclass(frozen=True, slots=True)
class _Both:
    """Tells an ECU's progress to two."""

    progress: Progress
    serial: str
    sent: Sent

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        self.progress(done_bytes, total_bytes)
        self.sent(self.serial, done_bytes, total_bytes)

    def at(self, step: FlashStep) -> None:
        tell_step(self.progress, step)


# Firmware -------------------------------------------------------------------------------------------


def _package(
    plan: Plan, table: Mapping[str, Any], key: McubootSigner | None, *, name: str, version: str, counter: int
) -> BaselinePackage:
    agent = table["agent"]
    micro = agent in {"uds", "mcuboot"}
    payload = hashlib.shake_256(f"{name} {version}".encode()).digest(
        plan.mcu_bytes if micro else plan.soc_bytes
    )
    kind: Literal["bin", "ihex", "mcuboot"] = "bin"
    if agent == "uds":
        kind, payload = "ihex", _intel_hex(payload)
    elif key is not None:
        kind, payload = "mcuboot", sign_mcuboot(payload, key, version=version, security_counter=counter)
    elif agent == "container":
        payload = _archive({"etc/version": version.encode(), "app/main": payload})
    return BaselinePackage(
        ecu=name, filename=f"{name}-{version}.{kind}", version=version, format=kind, image=payload,
        release_counter=counter, hardware_ids=(table["hardware_id"],),
    )  # fmt: skip


def _key(security: str) -> McubootSigner:
    if "ed25519" in security:
        return ed25519.Ed25519PrivateKey.generate()
    return generate_private_key(SECP256R1())


def _intel_hex(data: bytes) -> bytes:
    """Return data as an Intel HEX file that starts at address 0."""
    lines = []
    for at in range(0, len(data), HEX_BYTES):
        if at % 0x10000 == 0:
            lines.append(_record(4, 0, (at >> 16).to_bytes(2, "big")))
        lines.append(_record(0, at & 0xFFFF, data[at : at + HEX_BYTES]))
    return "".join([*lines, _record(1, 0, b"")]).encode()


def _record(kind: int, address: int, data: bytes) -> str:
    body = bytes((len(data),)) + address.to_bytes(2, "big") + bytes((kind,)) + data
    return f":{(body + bytes((-sum(body) & 0xFF,))).hex().upper()}\n"


def _archive(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _target(serial: str, package: BaselinePackage, mode: Literal["ab", "inplace"]) -> DirectorTarget:
    return DirectorTarget(
        serial=serial,
        filename=package.filename,
        length=len(package.image),
        sha256=hashlib.sha256(package.image).hexdigest(),
        sha512=hashlib.sha512(package.image).hexdigest(),
        hardware_ids=package.hardware_ids,
        release_counter=package.release_counter,
        ecu_target=EcuTarget(name=package.ecu, mode=mode, format=package.format, version=package.version),
    )


def _end(package: BaselinePackage, serial: str, answer: EcuInventory | Failed) -> EcuEnd:
    runs = None if isinstance(answer, Failed) else answer.running
    return EcuEnd(
        name=package.ecu,
        serial=serial,
        format=package.format,
        version=runs.version if runs is not None else "",
        for_good=runs is not None and not isinstance(answer, Failed) and not answer.trial,
    )
