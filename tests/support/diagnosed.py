"""A vehicle whose virtual ECUs have faults, and its diagnostic desk: real agents, real UDS, no network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ringroad.kernel.clock import Clock
from ringroad.protocol.diagnostics import DiagnosticAnswer, DiagnosticRequest, Method, Scope, SessionWanted
from ringroad.protocol.preconditions import parse_expression
from ringroad.sim.vecu.fault_memory import Snapshot
from ringroad.sim.vecu.http import SovdFace
from ringroad.sim.vecu.script import Behaviour, FaultRate, Script
from ringroad.vehicle.agents.base import UpdateAgent
from ringroad.vehicle.agents.disk import RealDisk
from ringroad.vehicle.agents.plugins import AgentSite
from ringroad.vehicle.agents.sovd import SovdAgent
from ringroad.vehicle.diagnostics.bulk import JournalLines, audit_lines
from ringroad.vehicle.diagnostics.desk import Desk, Place
from ringroad.vehicle.diagnostics.face import Around, DiagnosticFace
from ringroad.vehicle.diagnostics.link import DiagnosticLink
from ringroad.vehicle.diagnostics.sessions import Policy, Sessions
from ringroad.vehicle.proof import prover_of
from ringroad.vehicle.writable import parse_writes
from support.flashed_vehicle import FlashedVehicle
from support.vehicle_world import VIN, DeskIds, DeskSignals, director_target

FAULT, OTHER = "C0051-00", "U0121-00"
WRITES = {"F198": "text 10 repair shop", "0100": "hex 4 variant coding", "0101": "number 2"}


class DiagnosedVehicle(FlashedVehicle):
    """A gateway and a brake. The brake has two faults, seen twice."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ecus=(("gateway", "ab"), ("brake", "inplace")))
        self.signals = DeskSignals()
        self.behind_http = False
        self.data_of["brake"] = {"F198": "00" * 10, "0100": "0a0b0c0d", "0101": "0001"}

    def agents(self) -> dict[str, UpdateAgent]:
        """As always; with `behind_http` the gateway is reached over HTTP instead of UDS."""
        made = super().agents()
        if self.behind_http:
            serial = self.ecus["gateway"].serial
            port = self.ports["gateway"]
            site = AgentSite(
                name="gateway", serial=serial, hardware_id="gateway-hw", mode="ab", folder=self.folder, disk=RealDisk("buffered"),
                settings={"url": "http://gateway"}, secret=port.ecu.config.secret,
            )  # fmt: skip
            made[serial] = SovdAgent(site, transport=httpx.ASGITransport(SovdFace(port)))
        return made

    def put_behind_http(self) -> None:
        """From now on reach the gateway over HTTP; it has a fault."""
        self.behind_http = True
        gateway = self.ports["gateway"].ecu
        sha256 = director_target(self.ecus["gateway"], "1.0.0", 1).sha256
        faults = (FaultRate(code=OTHER, rate_permille=1000),)
        gateway.script = Script(images={sha256: Behaviour(faults=faults)})
        gateway.run_cycle()

    def ask_for_proof(self) -> None:
        """Let the brake ask for Authentication instead of SecurityAccess."""
        serial = self.ecus["brake"].serial
        key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.owners, self.proofs = {"brake": public.decode()}, {serial: prover_of(pem, serial)}

    async def prepare(self) -> None:
        """Flash the ECUs, and let the brake fail."""
        await self.build()
        sha256 = director_target(self.ecus["brake"], "1.0.0", 1).sha256
        faults = tuple(FaultRate(code=code, rate_permille=1000) for code in (FAULT, OTHER))
        ecu = self.ports["brake"].ecu
        ecu.script = Script(images={sha256: Behaviour(faults=faults)})
        for odometer in (12_000, 12_034):
            ecu.run_cycle(Snapshot(unix_s=1_790_000_000, odometer_km=odometer, speed_kmh=42))


class Bench:
    """The desk and the link of one vehicle, and a hand that asks."""

    def __init__(
        self,
        vehicle: DiagnosedVehicle,
        desk: Desk,
        link: DiagnosticLink,
        clock: Clock,
        *,
        face: DiagnosticFace,
        folder: Path,
    ) -> None:
        self.vehicle, self.desk, self.link, self.clock = vehicle, desk, link, clock
        self.face, self.folder = face, folder
        self._count = 0

    def request(
        self, method: Method, path: str, body: dict[str, Any] | None = None, *, session: str = "s1"
    ) -> DiagnosticRequest:
        """Return a request with an id of its own."""
        self._count += 1
        until = self.clock.now() + timedelta(minutes=5)
        return DiagnosticRequest(
            id=f"ask_{self._count}", session=session, until=until, method=method, path=path, body=body or {}
        )

    async def ask(
        self, method: Method, path: str, body: dict[str, Any] | None = None, *, session: str = "s1"
    ) -> tuple[int, dict[str, Any]]:
        """Ask the desk; return status and body."""
        answer = await self.desk.answer(self.request(method, path, body, session=session))
        return answer.status, answer.body

    def wanted(self, scope: Scope = "service", *, by: str = "ole", minutes: int = 30) -> dict[str, Any]:
        """The body that asks for a session."""
        until: datetime = self.clock.now() + timedelta(minutes=minutes)
        return dict(msgspec.to_builtins(SessionWanted(by=by, reason="a hum", scope=scope, expires_at=until)))

    def said(self) -> list[DiagnosticAnswer]:
        """Return what the vehicle has to say, and forget it."""
        found = []
        while not self.link.answers.empty():
            found.append(msgspec.json.decode(self.link.answers.get_nowait(), type=DiagnosticAnswer))
        return found


@asynccontextmanager
async def bench(
    folder: Path,
    *,
    policy: Policy = "test",
    clock: Clock | None = None,
    prepared: bool = True,
    proof: bool = False,
    behind_http: bool = False,
) -> AsyncIterator[Bench]:
    """Give the bench of a vehicle; its ECUs are flashed and have faults. `proof`: the brake is unlocked by 0x29."""
    vehicle = DiagnosedVehicle(folder)
    if proof:
        vehicle.ask_for_proof()
    if prepared:
        await vehicle.prepare()
    if behind_http:
        vehicle.put_behind_http()
    used = clock or vehicle.clock
    async with vehicle.boot() as orchestrator:
        sessions = Sessions(folder, policy, durability="buffered")
        place = Place(
            orchestrator=orchestrator, signals=vehicle.signals, clock=used,
            preconditions=(parse_expression("Vehicle.Speed == 0"),),
            writes={"brake": parse_writes(WRITES)}, by_proof=frozenset(vehicle.owners),
            bulk={"journal": partial(JournalLines, folder), "audit": partial(audit_lines, folder), "log": list, "signals": list},
        )  # fmt: skip
        desk = Desk(place, sessions)
        link = DiagnosticLink(desk, sessions, folder=folder, clock=used, durability="buffered")
        around = Around(folder=folder, vin=VIN, clock=used, ids=DeskIds(), durability="buffered")
        face = DiagnosticFace(desk, sessions, around)
        yield Bench(vehicle, desk, link, used, face=face, folder=folder)


async def open_session(at: Bench, session: str = "s1", scope: Scope = "service", by: str = "ole") -> None:
    """Open a session on a vehicle that agrees by itself."""
    request = at.request("POST", "/sessions", at.wanted(scope, by=by), session=session)
    answer = await at.link._do(request)
    assert answer.status == 200, answer
