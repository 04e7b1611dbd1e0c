"""The native gateway: Uptane repositories, polls, manifests and reports for our own vehicles.

Paths and messages: `protocol/vehicle.py`. Metadata is public in the Image repository (anybody may audit it)
and answered only to the vehicle itself in the Director repository.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ringroad.http.device.images import send_image
from ringroad.http.device.store import SQL, NewReport
from ringroad.http.device.wire import JSON, Receive, Scope, Send, header, read_body, send_bytes, storable_time
from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.kernel.limits import MANIFEST_BYTES_MAX, REQUEST_BYTES_MAX
from ringroad.protocol.vehicle import TERMINAL_STATES, Acknowledged, Command, ReportBatch
from ringroad.storage.db import Connection

if TYPE_CHECKING:
    from ringroad.http.device.app import Gateways
    from ringroad.http.device.read_model import Device

ApplyManifest = Callable[[Connection, str, bytes, datetime], None]

METADATA_KEPT_BYTES = 64 * 1024**2  # bytes of versioned metadata kept in memory
_METADATA_FILE = re.compile(r"(?:([1-9][0-9]{0,8})\.)?([a-z][a-z0-9_-]{0,63})\.json")
_IMAGE_FILE = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9][A-Za-z0-9._+-]{0,199})")
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(ReportBatch)


class NativeGateway:
    """Answers everything below ``/uptane/v1``."""

    def __init__(
        self,
        gateways: Gateways,
        borrow: Callable[[], AbstractContextManager[Connection]],
        apply_manifest: ApplyManifest | None,
    ) -> None:
        self._gateways = gateways
        self._borrow = borrow
        self._apply_manifest = apply_manifest
        self._kept: OrderedDict[tuple[str, str, str, int], bytes] = OrderedDict()
        self._kept_bytes = 0
        self._idle = _ENCODER.encode(Command(kind="none", poll_s=gateways.config.poll_s))

    async def answer(self, scope: Scope, receive: Receive, send: Send, parts: list[str]) -> None:
        """Answer one request; `parts` is the path below the prefix."""
        match (scope["method"], parts):
            case ("GET", ["vehicles", vin]):
                await self._poll(scope, send, vin)
            case ("POST", ["vehicles", vin, "reports"]):
                await self._reports(scope, receive, send, vin)
            case ("PUT", ["vehicles", vin, "manifest"]):
                await self._manifest(scope, receive, send, vin)
            case ("GET" | "HEAD", ["image", "targets", filename]):
                await self._image(scope, send, filename)
            case ("GET", ["image", filename]):
                await self._metadata(send, "image", "", filename)
            case ("GET", ["director", vin, filename]):
                if await self._device(scope, send, vin) is not None:
                    # Every vehicle has its own Director metadata but the Root, which is one for all.
                    owner = "" if filename.endswith("root.json") else vin
                    await self._metadata(send, "director", owner, filename)
            case _:
                raise NotFound("no such resource of the native gateway")

    async def _device(self, scope: Scope, send: Send, vin: str) -> Device | None:
        return await self._gateways.authenticate(scope, send, vin, scheme=b"Bearer ")

    async def _poll(self, scope: Scope, send: Send, vin: str) -> None:
        device = await self._device(scope, send, vin)
        if device is None:
            return
        offer = device.offer
        if offer is None:
            body, etag = self._idle, b'"idle"'
        else:
            etag = b'"%b-%d"' % (offer.kind.encode(), offer.action_id)
            body = _ENCODER.encode(
                Command(
                    kind=offer.kind, action_id=offer.action_id, poll_s=self._gateways.config.poll_active_s
                )
            )
        if header(scope, b"if-none-match") == etag:
            await send_bytes(send, 304, b"", [(b"etag", etag)])
            return
        await send_bytes(send, 200, body, [JSON, (b"etag", etag)])

    async def _reports(self, scope: Scope, receive: Receive, send: Send, vin: str) -> None:
        device = await self._device(scope, send, vin)
        if device is None:
            return
        body = await read_body(receive, bytes_max=REQUEST_BYTES_MAX)
        try:
            batch = _DECODER.decode(body)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"not a report batch: {error}") from error
        now = self._gateways.clock.now()
        rows = []
        for report in batch.reports:
            if report.at.tzinfo is None:
                raise InvalidInput(f"report {report.id}: `at` has no time zone", hint="use UTC")
            content: dict[str, Any] = msgspec.to_builtins(report)
            rows.append(
                NewReport(
                    vin=vin, dedupe_key=report.id, action_id=report.action_id,
                    kind="closed" if report.state in TERMINAL_STATES and not report.ecu else "progress",
                    event_at=storable_time(report.at, now=now), received_at=now, body={"gateway": "native", **content},
                )
            )  # fmt: skip
        if rows:
            await self._gateways.writer.write(rows)
        for row in rows:
            if row.kind == "closed" and row.action_id is not None and self._offered(device, row.action_id):
                device.close(row.action_id)
        await send_bytes(send, 200, _ENCODER.encode(Acknowledged(ids=[r.id for r in batch.reports])))

    @staticmethod
    def _offered(device: Device, action_id: int) -> bool:
        return device.offer is not None and device.offer.action_id == action_id

    async def _manifest(self, scope: Scope, receive: Receive, send: Send, vin: str) -> None:
        if await self._device(scope, send, vin) is None:
            return
        body = await read_body(receive, bytes_max=MANIFEST_BYTES_MAX)
        await asyncio.to_thread(self._store_manifest, vin, body)
        await send_bytes(send, 200, b'{"accepted":true}')

    def _store_manifest(self, vin: str, body: bytes) -> None:
        if self._apply_manifest is None:
            raise NotFound("this gateway takes no manifests")
        with self._borrow() as conn:
            self._apply_manifest(conn, vin, body, self._gateways.clock.now())

    async def _image(self, scope: Scope, send: Send, filename: str) -> None:
        parsed = _IMAGE_FILE.fullmatch(filename)
        if parsed is None:
            raise NotFound("no such image", hint="images are named <sha256>.<filename>")
        row = await asyncio.to_thread(self._read_image_row, parsed[1], parsed[2])
        if row is None:
            raise NotFound("no such image")
        await send_image(
            scope, send, self._gateways.blobs, sha256=row["image_sha256"], size=row["image_bytes"]
        )

    def _read_image_row(self, sha256: str, filename: str) -> Any:
        with self._borrow() as conn:
            return SQL.image_by_name(conn, sha256=sha256, filename=filename)

    async def _metadata(self, send: Send, repository: str, vin: str, filename: str) -> None:
        parsed = _METADATA_FILE.fullmatch(filename)
        if parsed is None or (parsed[1] is None) != (parsed[2] == "timestamp"):
            raise NotFound("no such metadata", hint="<version>.<role>.json, or timestamp.json")
        version = int(parsed[1] or 0)
        key = (repository, vin, parsed[2], version)
        body = self._kept.get(key)
        if body is None:
            body = await asyncio.to_thread(self._read_metadata, *key)
            if body is None:
                raise NotFound("no such metadata")
            if version:
                self._keep(key, body)
        await send_bytes(send, 200, body)

    def _read_metadata(self, repository: str, vin: str, role: str, version: int) -> bytes | None:
        with self._borrow() as conn:
            if version:
                found = SQL.metadata_version(conn, repository=repository, vin=vin, role=role, version=version)
            else:
                found = SQL.metadata_latest(conn, repository=repository, vin=vin, role=role)
        return None if found is None else bytes(found)

    def _keep(self, key: tuple[str, str, str, int], body: bytes) -> None:
        """Versioned metadata never changes; keep what fits, drop the oldest."""
        self._kept[key] = body
        self._kept_bytes += len(body)
        while self._kept_bytes > METADATA_KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)
