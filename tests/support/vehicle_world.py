"""One whole vehicle on a desk: simulated ECUs with flash that survives, a real server application, power that can go.

The ECUs obey the contract in `vehicle/agents/base.py`; the application speaks `protocol/vehicle.py`.
Every durable step, in the journal or in an ECU's flash, is one tick; power can be cut at any of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec

from ringroad.protocol.vehicle import (
    Acknowledged,
    Command,
    Conduct,
    DeltaOffer,
    EcuTarget,
    PostCheck,
    Report,
    ReportBatch,
    Sample,
    UpdateGroup,
    VehiclePackage,
)
from ringroad.trust import sign
from ringroad.trust.keys import parse_public_key, public_key_dict
from ringroad.trust.manifest import InventoryKey, VehicleManifest, verify_manifest
from ringroad.trust.metadata import Downgrade, Terms
from ringroad.trust.state import VerifiedTarget, provision
from ringroad.vehicle.agents.base import (
    Done,
    EcuImage,
    EcuInventory,
    Failed,
    Fault,
    ImageSource,
    Outcome,
    Progress,
    Reason,
    Software,
    UpdateAgent,
    tell_step,
)
from ringroad.vehicle.config import EcuConfig, FactoryImage, VehicleConfig, on_board
from ringroad.vehicle.memory import Observer
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.run import Surroundings, open_vehicle
from support.uptane import NOW, Repo, seeded

VIN = "LRWRR0000TEST0001"
TOKEN = "device-token"
STEPS_MAX = 1_000


class PowerCut(Exception):  # noqa: N818 - an event, not a mistake
    """The vehicle's battery was disconnected."""


class Power:
    """Counts durable steps and goes at one of them."""

    def __init__(self) -> None:
        self.ticks = 0
        self.cut_at = 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.cut_at:
            raise PowerCut

    def hook(self, _moment: Literal["before", "after"]) -> None:
        self.tick()


class DeskClock:
    """Time that moves only when told."""

    def __init__(self) -> None:
        self.s = 0.0
        self.wrong = timedelta()  # how far the wall clock is off; monotonic time never is

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.s) + self.wrong

    def monotonic_s(self) -> float:
        return self.s


class DeskIds:
    """Ids in order."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}_{self.count}"


@dataclass(frozen=True)
class Installed:
    content: bytes
    version: str
    counter: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def software(self) -> Software:
        return Software(version=self.version, sha256=self.sha256, release_counter=self.counter)


@dataclass
class DeskEcu:
    """An ECU's flash, and the agent for it. A bank that is None holds nothing that boots."""

    name: str
    mode: Literal["ab", "inplace"]
    power: Power
    banks: list[Installed | None]
    active: int = 0
    trial: bool = False
    counter: int = 1
    faults: list[Fault] = field(default_factory=list)
    answers: dict[str, list[Failed]] = field(default_factory=dict)  # what a verb says next instead of working
    claims: set[str] = field(default_factory=set)  # verbs that it says are done, and does not do
    falls_silent: int = 0  # flashes that it gives no more answer in, once its old software is gone
    bad_versions: set[str] = field(default_factory=set)  # whose self-test fails
    verbs: list[str] = field(default_factory=list)
    answering_serial: str = ""
    ask: Callable[[], str] | None = None
    at_install: Callable[[], None] = lambda: None  # the world moves on while the agent works

    def ask_before_erase(self, ask: Callable[[], str] | None) -> None:
        self.ask = ask

    @property
    def serial(self) -> str:
        return f"{self.name}-serial"

    @property
    def running(self) -> Installed | None:
        return self.banks[self.active]

    def reset(self) -> None:
        if self.trial:
            self.active ^= 1
            self.trial = False

    def _runs(self, image: EcuImage) -> bool:
        return self.running is not None and self.running.sha256 == image.sha256

    def _scripted(self, verb: str) -> Failed | None:
        self.verbs.append(verb)
        queue = self.answers.get(verb, [])
        return queue.pop(0) if queue else None

    async def _read(self, image: EcuImage, source: ImageSource) -> Installed | Failed:
        try:
            content = await source.read(0, image.length_bytes)
        except OSError:
            return Failed(reason=Reason.TRANSFER_FAILED, detail="the image cannot be read")
        made = Installed(content=content, version=image.target.version, counter=image.release_counter)
        if made.sha256 != image.sha256:
            return Failed(reason=Reason.HASH_MISMATCH)
        if image.release_counter < self.counter:
            return Failed(reason=Reason.COUNTER_TOO_LOW)
        return made

    async def prepare(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        if failed := self._scripted("prepare"):
            return failed
        if "prepare" in self.claims:
            return Done()
        if self._runs(image) or self.mode == "inplace":
            return Done(already=True)
        made = await self._read(image, source)
        if isinstance(made, Failed):
            return made
        return self._flash(self.active ^ 1, made, progress)

    async def install(self, image: EcuImage, source: ImageSource, *, progress: Progress) -> Outcome:
        if failed := self._scripted("install"):
            return failed
        if self._runs(image):
            return Done(already=True)
        if self.mode == "ab":
            staged = self.banks[self.active ^ 1]
            held = staged is not None and staged.sha256 == image.sha256
            self.at_install()
            return Done(already=True) if held else Failed(reason=Reason.NOT_STAGED)
        made = await self._read(image, source)
        self.at_install()
        if self.running is not None and self.ask is not None and (said := self.ask()):
            return Failed(reason=Reason.PRECONDITION, detail=said)
        return made if isinstance(made, Failed) else self._flash(0, made, progress)

    def _flash(self, bank: int, made: Installed, progress: Progress) -> Outcome:
        tell_step(progress, "erase")
        self.power.tick()
        self.banks[bank] = None
        self.verbs.append("erase")
        if self.falls_silent:
            self.falls_silent -= 1
            return Failed(reason=Reason.UNREACHABLE, detail="silent in the middle of a flash")
        self.power.tick()
        self.banks[bank] = made
        progress(len(made.content), len(made.content))
        return Done()

    async def activate(self, image: EcuImage) -> Outcome:
        if failed := self._scripted("activate"):
            return failed
        if "activate" in self.claims:
            return Done()
        if self._runs(image):
            return Done(already=True)
        other = self.banks[self.active ^ 1] if self.mode == "ab" else None
        if other is None or other.sha256 != image.sha256:
            return Failed(reason=Reason.NOT_STAGED)
        self.power.tick()
        self.active ^= 1
        self.trial = True
        return Done()

    async def verify(
        self, image: EcuImage, checks: frozenset[str], *, known_faults: frozenset[str] = frozenset()
    ) -> Outcome:
        if failed := self._scripted("verify"):
            return failed
        if "verify" in self.claims:
            return Done()
        if not self._runs(image):
            return Failed(reason=Reason.NOT_ACTIVE)
        if "self_test" in checks and image.target.version in self.bad_versions:
            return Failed(reason=Reason.SELF_TEST_FAILED)
        new = {fault.code for fault in self.faults} - known_faults
        if "no_new_faults" in checks and new:
            return Failed(reason=Reason.NEW_FAULTS, detail=", ".join(sorted(new)))
        return Done()

    async def commit(self, image: EcuImage) -> Outcome:
        if failed := self._scripted("commit"):
            return failed
        if not self._runs(image):
            return Failed(reason=Reason.NOT_ACTIVE)
        self.power.tick()
        self.trial = False
        self.counter = max(self.counter, image.release_counter)
        return Done()

    async def rollback(
        self,
        image: EcuImage,
        *,
        backup: EcuImage | None = None,
        source: ImageSource | None = None,
        progress: Progress,
    ) -> Outcome:
        if failed := self._scripted("rollback"):
            return failed
        if self.mode == "ab":
            if self._runs(image) and self.trial:
                self.power.tick()
                self.reset()
            return Done()
        if backup is None or source is None:
            return Failed(reason=Reason.NO_BACKUP)
        if self._runs(backup):
            return Done(already=True)
        made = await self._read(backup, source)
        return made if isinstance(made, Failed) else self._flash(0, made, progress)

    async def inventory(self) -> EcuInventory | Failed:
        if failed := self._scripted("inventory"):
            return failed
        staged = self.banks[self.active ^ 1] if self.mode == "ab" else None
        return EcuInventory(
            serial=self.answering_serial or self.serial,
            hardware_id=f"{self.name}-hw",
            mode="application" if self.running else "bootloader",
            running=self.running.software() if self.running else None,
            trial=self.trial,
            staged=staged.software() if staged else None,
            committed_counter=self.counter,
            faults=tuple(self.faults),
        )

    async def close(self) -> None:
        return


class DeskSignals:
    """VSS samples that a test sets."""

    def __init__(self) -> None:
        self.values: dict[str, float | int | bool | str] = {"Vehicle.Speed": 0}
        self.once: list[float] = []  # speeds that are seen by one look each, before the others

    def read(self, now: datetime) -> Sequence[Sample]:
        values = {**self.values, "Vehicle.Speed": self.once.pop(0)} if self.once else self.values
        return [Sample(at=now, path=path, value=value) for path, value in values.items()]


class Server:
    """The native gateway, as one ASGI application over two signed repositories."""

    def __init__(self, *, now: datetime = NOW) -> None:
        self.until = now + timedelta(days=30)
        self.director, self.image = Repo("director", vin=VIN), Repo("image")
        self.image_root = self.image.put_root(1, expires=self.until)
        self.director_root = self.director.put_root(1, expires=self.until)
        self.images: dict[str, bytes] = {}
        self.listed: list[sign.ImageTarget] = []
        self.downgrades: list[Downgrade] = []
        self.command = Command(kind="none", poll_s=1)
        self.reports: dict[str, Report] = {}
        self.manifests: list[VehicleManifest] = []
        self.keys: list[InventoryKey] = []
        self.asked: list[tuple[str, str, str]] = []  # method, path, range
        self.version = 0
        self.refuses: Callable[[Report], bool] = lambda _: (
            False
        )  # reports that make their batch a bad request
        self.broken = 0  # requests that are answered with 400, whatever they are
        self.busy_s = 0  # polls are turned away and asked to wait so long
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        self.asked.append((scope["method"], scope["path"], headers.get("range", "")))
        status, content, extra = self.answer(scope["method"], scope["path"], headers, body)
        await send({"type": "http.response.start", "status": status, "headers": extra})
        await send({"type": "http.response.body", "body": content})

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        parts = path.removeprefix("/uptane/v1/").split("/")
        if self.broken:
            self.broken -= 1
            return 400, b"", []
        if parts[0] != "image" and headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, b"", []
        if self.busy_s and method == "GET" and parts[0] == "vehicles":
            return 503, b"", [(b"retry-after", b"%d" % self.busy_s)]
        match method, parts:
            case "GET", ["image", "targets", name]:
                return self._image(name, headers.get("range", ""))
            case "GET", ["image", name]:
                return self._file(self.image, name)
            case "GET", ["director", vin, name] if vin == VIN:
                return self._file(self.director, name)
            case "GET", ["vehicles", _]:
                content = msgspec.json.encode(self.command)
                etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                if headers.get("if-none-match") == etag:
                    return 304, b"", [(b"etag", etag.encode())]
                return 200, content, [(b"etag", etag.encode())]
            case "POST", ["vehicles", _, "reports"]:
                batch = msgspec.json.decode(body, type=ReportBatch)
                if any(self.refuses(one) for one in batch.reports):
                    return 400, b"", []
                self.reports.update({one.id: one for one in batch.reports if one.id not in self.reports})
                return 200, msgspec.json.encode(Acknowledged(ids=[one.id for one in batch.reports])), []
            case "PUT", ["vehicles", _, "manifest"]:
                previous = self.manifests[-1] if self.manifests else None
                self.manifests.append(
                    verify_manifest(body, vin=VIN, inventory=self.keys, previous=previous, now=self.clock())
                )
                return 200, b"{}", []
        return 404, b"", []

    def _file(self, repo: Repo, name: str) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        content = repo.files.get(name)
        return (404, b"", []) if content is None else (200, content, [])

    def _image(self, name: str, range_header: str) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        content = self.images.get(name)
        if content is None:
            return 404, b"", []
        if not range_header:
            return 200, content, []
        start = int(range_header.removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, content[start:], [(b"content-range", content_range.encode())]

    def add_image(self, target: sign.ImageTarget, content: bytes) -> None:
        self.images[f"{target.sha256}.{target.filename}"] = content
        self.listed = [one for one in self.listed if one.filename != target.filename] + [target]

    def publish(self, package: VehiclePackage, targets: list[sign.DirectorTarget], *, vin: str = VIN) -> None:
        self.version += 1
        until = self.until
        self.director.vin = vin
        self.image.put(
            sign.build_image_targets(
                version=self.version, expires=until, targets=self.listed, downgrades=self.downgrades
            ),
            version=self.version,
            expires=until,
        )
        self.director.put(
            sign.build_director_targets(
                version=self.version, expires=until, vin=vin, vehicle_package=package, targets=targets
            ),
            version=self.version,
            expires=until,
        )
        self.command = Command(kind="update", poll_s=1, action_id=package.action_id)


def content_of(name: str, version: str, size: int = 3_000) -> bytes:
    return (f"{name} {version} ".encode() * size)[:size]


def director_target(ecu: DeskEcu, version: str, counter: int, *, size: int = 3_000) -> sign.DirectorTarget:
    content = content_of(ecu.name, version, size)
    return sign.DirectorTarget(
        serial=ecu.serial,
        filename=f"{ecu.name}-{version}.bin",
        length=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sha512=hashlib.sha512(content).hexdigest(),
        hardware_ids=(f"{ecu.name}-hw",),
        release_counter=counter,
        ecu_target=EcuTarget(name=ecu.name, mode=ecu.mode, format="bin", version=version),
    )


def desk_ecu(name: str, mode: Literal["ab", "inplace"], power: Power) -> DeskEcu:
    old = Installed(content=content_of(name, "1.0.0"), version="1.0.0", counter=1)
    return DeskEcu(name=name, mode=mode, power=power, banks=[old, None])


class World:
    """A vehicle with two A/B and two in-place ECUs, and its server."""

    def __init__(
        self,
        folder: Path,
        *,
        ecus: Sequence[tuple[str, Literal["ab", "inplace"]]] = (
            ("central", "ab"), ("adas", "ab"), ("brake", "inplace"), ("body", "inplace"),
        ),
        now: datetime = NOW,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.power = Power()
        self.clock = DeskClock()
        self.ids = DeskIds()
        self.signals = DeskSignals()
        self.server = Server(now=now)
        self.server.clock = self.clock.now
        self.ecus = {name: desk_ecu(name, mode, self.power) for name, mode in ecus}
        self.keys = {ecu.serial: seeded(ecu.serial) for ecu in self.ecus.values()}
        self.transport: httpx.AsyncBaseTransport = httpx.ASGITransport(self.server)
        self.observer: Observer | None = None
        self.downloads_max = 3
        self.exchange_every = 1  # steps; more where a test cuts power thousands of times
        first = next(iter(self.ecus))
        self.config = VehicleConfig(
            vin=VIN,
            server_url="http://server",
            ecus=tuple(self._config(ecu, first) for ecu in self.ecus.values()),
        )
        self.server.keys = [
            InventoryKey(
                serial=ecu.serial,
                key=parse_public_key(public_key_dict(self.keys[ecu.serial])),
                is_primary=ecu.name == first,
            )
            for ecu in self.ecus.values()
        ]
        for ecu in self.ecus.values():
            self.server.add_image(director_target(ecu, "1.0.0", 1).image(), content_of(ecu.name, "1.0.0"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(TOKEN)

    def _config(self, ecu: DeskEcu, first: str) -> EcuConfig:
        old = director_target(ecu, "1.0.0", 1)
        return EcuConfig(
            name=ecu.name, serial=ecu.serial, hardware_id=f"{ecu.name}-hw", mode=ecu.mode, host="127.0.0.1",
            port=13400, logical_address=1, key_file="unused", primary=ecu.name == first,
            factory=FactoryImage(
                filename=old.filename, length=old.length, sha256=old.sha256, sha512=old.sha512,
                version="1.0.0", format="bin", release_counter=1,
            ),
        )  # fmt: skip

    def order(
        self,
        *,
        action_id: int = 1,
        version: str = "2.0.0",
        counter: int = 2,
        groups: list[UpdateGroup] | None = None,
        checks: Sequence[PostCheck] | None = None,
        preconditions: Sequence[str] = ("Vehicle.Speed == 0",),
        conduct: Conduct | None = None,
        notes: str = "",
        vin: str = VIN,
        size: int = 3_000,
        offers: Callable[[DeskEcu, sign.DirectorTarget], tuple[DeltaOffer, ...]] = lambda _ecu, _target: (),
        rollback: bool = False,
        terms: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish a release for every ECU and offer it to the vehicle; `terms` are more than its version."""
        targets = [
            with_offers(target, offers(ecu, target))
            for ecu in self.ecus.values()
            for target in (director_target(ecu, version, counter, size=size),)
        ]
        for target in targets:
            image = replace(target.image(), terms=Terms(version=version, **(terms or {})))
            self.server.add_image(image, content_of(target.ecu_target.name, version, size))
        serials = [ecu.serial for ecu in self.ecus.values()]
        kinds: tuple[Literal["version", "self_test", "no_new_faults"], ...] = (
            "version", "self_test", "no_new_faults",
        )  # fmt: skip
        every = [PostCheck(ecu=serial, kind=kind) for serial in serials for kind in kinds]
        self.server.publish(
            VehiclePackage(
                release_id=f"release_{action_id}",
                release_version=version,
                action_id=action_id,
                groups=groups or [UpdateGroup(name="all", ecus=serials)],
                post_checks=every if checks is None else list(checks),
                preconditions=list(preconditions),
                conduct=conduct or Conduct(),
                notes=notes,
                rollback=rollback,
            ),
            targets,
            vin=vin,
        )

    @asynccontextmanager
    async def boot(self) -> AsyncIterator[Orchestrator]:
        """Start the orchestrator in the vehicle's folder."""
        async with httpx.AsyncClient(transport=self.transport) as client:
            surroundings = Surroundings(
                clock=self.clock,
                ids=self.ids,
                fraction=lambda: 0.5,
                agents=self.agents(),
                signals=self.signals,
                client=client,
                downloads_max=self.downloads_max,
                keys=self.keys,
                roots=provision(image_root=self.server.image_root, director_root=self.server.director_root),
                durability="buffered",
                hook=self.power.hook,
                observer=self.observer,
            )
            async with open_vehicle(self.folder, self.config, surroundings) as orchestrator:
                yield orchestrator

    def factory(self, serial: str) -> VerifiedTarget:
        """The image an ECU left the plant with."""
        return next(ecu.factory for ecu in on_board(self.config) if ecu.serial == serial and ecu.factory)

    def agents(self) -> dict[str, UpdateAgent]:
        """The agents that the orchestrator is given, by serial."""
        return {ecu.serial: ecu for ecu in self.ecus.values()}

    async def drive(self, *, until: Callable[[Orchestrator], bool] | None = None) -> str:
        """Run to rest, or until `until`; return the state. Power may go on the way."""
        async with self.boot() as orchestrator:
            for count in range(STEPS_MAX):
                if count % self.exchange_every == 0:
                    await orchestrator.exchange()
                if until is not None and until(orchestrator):
                    break
                delay_s = await orchestrator.step()
                if delay_s is None:
                    await orchestrator.exchange()
                    break
                self.clock.s += delay_s
            else:
                raise AssertionError(f"still {orchestrator.state.state} after {STEPS_MAX} steps")
            return str(orchestrator.state.state)

    async def live(self, *cuts: int) -> str:
        """Run to rest through power cuts, each so many ticks after the start before it."""
        for cut in cuts:
            self.power.cut_at = self.power.ticks + cut
            try:
                return await self.drive()
            except PowerCut:
                self.reset()
            finally:
                self.power.cut_at = 0
        return await self.drive()

    def reset(self) -> None:
        """What a power cycle does to the ECUs."""
        for ecu in self.ecus.values():
            ecu.reset()

    def versions(self) -> set[str]:
        """The versions that run; "nothing" for an ECU that does not boot."""
        return {ecu.running.version if ecu.running else "nothing" for ecu in self.ecus.values()}

    def states(self) -> list[str]:
        """The vehicle's states as the server was told them."""
        told: list[str] = []
        for report in self.server.reports.values():
            if not report.ecu and (not told or told[-1] != report.state):
                told.append(report.state)
        return told


def with_offers(target: sign.DirectorTarget, offers: tuple[DeltaOffer, ...]) -> sign.DirectorTarget:
    """The same target, with deltas to it."""
    return replace(target, ecu_target=msgspec.structs.replace(target.ecu_target, deltas=offers))


def as_verified(target: sign.DirectorTarget) -> VerifiedTarget:
    """The same target as the verifier returns it."""
    return VerifiedTarget(
        serial=target.serial, filename=target.filename, length=target.length, sha256=target.sha256,
        sha512=target.sha512, hardware_ids=target.hardware_ids, release_counter=target.release_counter,
        ecu_target=target.ecu_target,
    )  # fmt: skip
