"""Two small real repositories, signed with real keys, that tests bend one way at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner

from ringroad.protocol.vehicle import EcuTarget, UpdateGroup, VehiclePackage
from ringroad.trust import sign
from ringroad.trust.canonical import encode_canonical
from ringroad.trust.keys import key_from_seed
from ringroad.trust.metadata import RepositoryName, RoleName
from ringroad.trust.sign import DirectorTarget, RoleHolders
from ringroad.trust.state import EcuIdentity, RefreshResult, TrustState, VehicleInventory, provision
from ringroad.trust.verify import refresh

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
VIN = "LRWRR0000TEST0001"
OTHER_VIN = "LRWRR0000TEST0002"
IMAGE = b"firmware " * 100
Bend = Callable[[dict[str, Any]], None]


def seeded(name: str) -> CryptoSigner:
    return key_from_seed(hashlib.sha256(name.encode()).digest())


@dataclass
class Repo:
    """One repository whose every file can be rebuilt with other contents."""

    name: RepositoryName
    vin: str = ""
    suffix: str = ""
    thresholds: dict[str, int] = field(default_factory=lambda: {"root": 2, "targets": 1})
    generation: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def signers(self, role: str) -> list[CryptoSigner]:
        count = 3 if role == "root" else max(1, self.thresholds.get(role, 1))
        tag = self.generation.get(role, "")
        return [seeded(f"{self.name}{self.suffix}-{role}-{tag}-{index}") for index in range(count)]

    def put_root(
        self, version: int, *, expires: datetime | None = None, also: Iterable[CryptoSigner] = ()
    ) -> bytes:
        holders: dict[RoleName, RoleHolders] = {
            role: RoleHolders(
                keys=tuple(one.public_key for one in self.signers(role)),
                threshold=self.thresholds.get(role, 1),
            )
            for role in ("root", "timestamp", "snapshot", "targets")
        }
        root = sign.build_root(version=version, expires=expires or NOW + timedelta(days=365), holders=holders)
        raw = sign.sign(root, [*self.signers("root"), *also])
        self.files[f"{version}.root.json"] = raw
        return raw

    def put(
        self,
        targets: Any,
        *,
        version: int = 1,
        snapshot_version: int | None = None,
        timestamp_version: int | None = None,
        expires: datetime | None = None,
        bend_targets: Bend | None = None,
    ) -> None:
        until = expires or NOW + timedelta(days=7)
        raw = sign.sign(targets, self.signers("targets"))
        if bend_targets:
            raw = self.bent(raw, "targets", bend_targets)
        self.files[f"{version}.targets.json"] = raw
        number = snapshot_version or version
        snapshot = sign.build_snapshot(
            version=number, expires=until, targets_version=version, targets_raw=raw, vin=self.vin
        )
        self.put_snapshot(sign.sign(snapshot, self.signers("snapshot")), number, timestamp_version, until)

    def put_snapshot(
        self, raw: bytes, number: int, timestamp_version: int | None = None, until: datetime | None = None
    ) -> None:
        self.files[f"{number}.snapshot.json"] = raw
        timestamp = sign.build_timestamp(
            version=timestamp_version or number,
            expires=until or NOW + timedelta(days=7),
            snapshot_version=number,
            snapshot_raw=raw,
            vin=self.vin,
        )
        self.files["timestamp.json"] = sign.sign(timestamp, self.signers("timestamp"))

    def bent(self, raw: bytes, role: str, bend: Bend) -> bytes:
        """Change a file's signed part and sign it again with the right keys."""
        document = parsed(raw)
        bend(document["signed"])
        document["signatures"] = []
        return sign.add_signatures(encode_canonical(document), self.signers(role))


def parsed(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found


@dataclass
class World:
    """A vehicle with two ECUs and both of its repositories."""

    director: Repo
    image: Repo
    state: TrustState
    inventory: VehicleInventory
    now: datetime = NOW
    vin: str = VIN
    asked: list[str] = field(default_factory=list)

    def publish(self, version: int, **options: Any) -> None:
        """Publish the same targets under a new version in both repositories."""
        until = NOW + timedelta(days=30)
        self.image.put(
            sign.build_image_targets(
                version=version, expires=until, targets=[target("brake").image(), target("body").image()]
            ),
            version=version,
            **options,
        )
        self.director.put(
            sign.build_director_targets(
                version=version,
                expires=until,
                vin=self.director.vin,
                vehicle_package=package("brake", "body"),
                targets=[target("brake"), target("body")],
            ),
            version=version,
            **options,
        )

    def run(self) -> RefreshResult:
        """Refresh against the files as they are; keep the new state."""
        repos = {"director": self.director, "image": self.image}
        talk = refresh(self.state, vin=self.vin, now=self.now, inventory=self.inventory)
        answer: bytes | None = None
        self.asked.clear()
        while True:
            try:
                request = talk.send(answer)
            except StopIteration as stop:
                result: RefreshResult = stop.value
                self.state = result.state
                return result
            self.asked.append(f"{request.repository}/{request.filename}")
            answer = repos[request.repository].files.get(request.filename)
            if answer is not None:
                answer = answer[: request.bytes_max + 1]


def target(ecu: str, **changes: Any) -> DirectorTarget:
    content = IMAGE + ecu.encode()
    made = DirectorTarget(
        serial=f"{ecu}-serial",
        filename=f"{ecu}-2.0.0.bin",
        length=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sha512=hashlib.sha512(content).hexdigest(),
        hardware_ids=(f"{ecu}-hw",),
        release_counter=2,
        ecu_target=EcuTarget(name=ecu, mode="ab", format="bin", version="2.0.0"),
    )
    return replace(made, **changes)


def package(*ecus: str) -> VehiclePackage:
    return VehiclePackage(
        release_id="release_1",
        release_version="2.0.0",
        action_id=1,
        groups=[UpdateGroup(name="chassis", ecus=[f"{ecu}-serial" for ecu in ecus])],
    )


def make_world() -> World:
    director, image = Repo("director", vin=VIN), Repo("image")
    state = provision(image_root=image.put_root(1), director_root=director.put_root(1))
    inventory = VehicleInventory(
        ecus=tuple(
            EcuIdentity(serial=f"{ecu}-serial", hardware_id=f"{ecu}-hw", release_counter=1)
            for ecu in ("brake", "body")
        )
    )
    world = World(director=director, image=image, state=state, inventory=inventory)
    world.publish(1)
    return world
