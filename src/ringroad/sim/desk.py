"""A server for one vehicle on a desk: both Uptane repositories, signed with keys of its own, and the native gateway.

For rehearsals and demonstrations: nothing is stored, everybody who asks in this process is the vehicle.
What a real server checks of a vehicle (tokens, manifests) is not checked here.

Invariant: keys are made when the desk is, and never leave it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from securesystemslib.signer import CryptoSigner

from ringroad.protocol.vehicle import Acknowledged, Command, Report, ReportBatch, VehiclePackage
from ringroad.trust import sign
from ringroad.trust.keys import key_from_seed
from ringroad.trust.metadata import ROLES, RoleName
from ringroad.trust.sign import DirectorTarget, ImageTarget, RoleHolders

VALID: Final = timedelta(days=30)

Answer = tuple[int, bytes, list[tuple[bytes, bytes]]]


@dataclass(kw_only=True)
class _Repository:
    """The files of one repository."""

    vin: str  # empty for the Image repository
    signers: dict[RoleName, CryptoSigner]
    until: datetime
    files: dict[str, bytes] = field(default_factory=dict)

    def put_root(self) -> bytes:
        holders: dict[RoleName, RoleHolders] = {
            role: RoleHolders(keys=(signer.public_key,), threshold=1) for role, signer in self.signers.items()
        }
        root = sign.build_root(version=1, expires=self.until, holders=holders)
        self.files["1.root.json"] = sign.sign(root, [self.signers["root"]])
        return self.files["1.root.json"]

    def put(self, targets: Any, version: int) -> None:
        raw = sign.sign(targets, [self.signers["targets"]])
        snapshot = sign.build_snapshot(
            version=version, expires=self.until, targets_version=version, targets_raw=raw, vin=self.vin
        )
        snapshot_raw = sign.sign(snapshot, [self.signers["snapshot"]])
        timestamp = sign.build_timestamp(
            version=version,
            expires=self.until,
            snapshot_version=version,
            snapshot_raw=snapshot_raw,
            vin=self.vin,
        )
        self.files[f"{version}.targets.json"] = raw
        self.files[f"{version}.snapshot.json"] = snapshot_raw
        self.files["timestamp.json"] = sign.sign(timestamp, [self.signers["timestamp"]])


class Served(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a desk gives: the signed files of both repositories and the images by name, and its newest word."""

    director: dict[str, bytes]
    image: dict[str, bytes]
    images: dict[str, bytes]  # by digest and file name, as they are asked for
    command: Command


class Desk:
    """The server, as an ASGI application.

    Args:
        vin: of its only vehicle.
        now: from which everything signed is valid.
        secret: random bytes by count, for the keys.
    """

    def __init__(self, vin: str, *, now: datetime, secret: Callable[[int], bytes]) -> None:
        until = now + VALID

        def signers() -> dict[RoleName, CryptoSigner]:
            return {role: key_from_seed(secret(32)) for role in ROLES}

        self._vin = vin
        self._until = until
        self._director = _Repository(vin=vin, signers=signers(), until=until)
        self._image = _Repository(vin="", signers=signers(), until=until)
        self.director_root = self._director.put_root()
        self.image_root = self._image.put_root()
        self._images: dict[str, bytes] = {}
        self._listed: dict[str, ImageTarget] = {}
        self._command = Command(kind="none", poll_s=1)
        self._version = 0
        self.reports: dict[str, Report] = {}

    def add(self, target: ImageTarget, content: bytes) -> None:
        """Put an image into the Image repository; it is listed with the next order."""
        self._images[f"{target.sha256}.{target.filename}"] = content
        self._listed[target.filename] = target

    def order(self, package: VehiclePackage, targets: Sequence[DirectorTarget]) -> None:
        """Sign what the vehicle shall install, and offer it at its next poll."""
        self._version += 1
        listed = list(self._listed.values())
        self._image.put(
            sign.build_image_targets(version=self._version, expires=self._until, targets=listed),
            self._version,
        )
        self._director.put(
            sign.build_director_targets(
                version=self._version,
                expires=self._until,
                vin=self._vin,
                vehicle_package=package,
                targets=targets,
            ),
            self._version,
        )
        self._command = Command(kind="update", poll_s=1, action_id=package.action_id)

    def served(self) -> Served:
        """Return what it gives now."""
        return Served(
            director=self._director.files, image=self._image.files, images=self._images, command=self._command
        )

    def serve(self, served: Served) -> None:
        """Give what a desk of before gave, whose keys are gone: nothing more can be ordered."""
        self._director.files, self._image.files = served.director, served.image
        self._images, self._command = served.images, served.command

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Answer one request."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        status, content, extra = self.answer(scope["method"], scope["path"], headers, body)
        await send({"type": "http.response.start", "status": status, "headers": extra})
        await send({"type": "http.response.body", "body": content})

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request, sans I/O."""
        match method, path.removeprefix("/uptane/v1/").split("/"):
            case "GET", ["image", "targets", name]:
                return _range(self._images.get(name), headers.get("range", ""))
            case "GET", ["image", name]:
                return _whole(self._image.files.get(name))
            case "GET", ["director", vin, name] if vin == self._vin:
                return _whole(self._director.files.get(name))
            case "GET", ["vehicles", _]:
                content = msgspec.json.encode(self._command)
                etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
                if headers.get("if-none-match") == etag:
                    return 304, b"", [(b"etag", etag.encode())]
                return 200, content, [(b"etag", etag.encode())]
            case "POST", ["vehicles", _, "reports"]:
                batch = msgspec.json.decode(body, type=ReportBatch)
                self.reports.update({one.id: one for one in batch.reports})
                return 200, msgspec.json.encode(Acknowledged(ids=[one.id for one in batch.reports])), []
            case "PUT", ["vehicles", _, "manifest"]:
                return 200, b"{}", []
            case _:
                return 404, b"", []


def _whole(content: bytes | None) -> Answer:
    return (404, b"", []) if content is None else (200, content, [])


def _range(content: bytes | None, header: str) -> Answer:
    if content is None or not header:
        return _whole(content)
    start = int(header.removeprefix("bytes=").partition("-")[0])
    place = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return 206, content[start:], [(b"content-range", place.encode())]
