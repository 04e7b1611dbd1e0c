"""The native gateway: Uptane repositories, polls, manifests and reports for our own vehicles.

Paths and messages: `protocol/vehicle.py`. Metadata is public in the Image repository (anybody may audit it)
and answered only to the vehicle itself in the Director repository.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ringroad.http.device.images import send_image
from ringroad.http.device.overload import Shed, overload
from ringroad.http.device.shared_reads import SharedReads
from ringroad.http.device.steering import is_told
from ringroad.http.device.store import SQL, NewReport
from ringroad.http.device.wire import (
    JSON,
    Answer,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    header,
    read_body,
    storable_time,
)
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError
from ringroad.kernel.limits import MANIFEST_BYTES_MAX, REQUEST_BYTES_MAX
from ringroad.protocol.vehicle import (
    DELTA_FILENAME,
    HEARS,
    HEARS_WHY,
    TERMINAL_STATES,
    Acknowledged,
    Command,
    ReportBatch,
)
from ringroad.storage.db import Connection

if TYPE_CHECKING:
    from ringroad.http.device.app import Gateways
    from ringroad.http.device.read_model import Device, Offer

MetadataKey = tuple[str, str, str, int]  # repository, VIN or empty, role, version (0: the newest)
ApplyManifest = Callable[[Connection, str, bytes, datetime], None]

METADATA_KEPT_BYTES = 64 * 1024**2  # bytes of versioned metadata kept in memory
_METADATA_FILE = re.compile(r"(?:([1-9][0-9]{0,8})\.)?([a-z][a-z0-9_-]{0,63})\.json")
_IMAGE_FILE = re.compile(r"([0-9a-f]{64})\.([A-Za-z0-9][A-Za-z0-9._+-]{0,199})")
_POLL_ETAG = re.compile(rb'"([a-z]+(?:-[0-9]+)?)-([0-9]{1,6})"')  # what to do, and when to come again
HEARS_NAME, HEARS_VALUE = (each.encode() for each in HEARS)
HEARS_WHY_NAME, HEARS_WHY_VALUE = (each.encode() for each in HEARS_WHY)
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
        self._kept: OrderedDict[MetadataKey, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._metadata_reads = SharedReads(self._read_metadata)

    def express(self, request: Request, reply: Reply) -> bool:
        """Answer a poll or a batch of reports; see `Gateways.express`."""
        match request.method, request.path.split("/"):
            case "GET", ["", "uptane", "v1", "vehicles", vin]:
                device = self._device(request, vin)
                reply(device if isinstance(device, Answer) else self._poll(request, vin, device))
            case "POST", ["", "uptane", "v1", "vehicles", vin, "reports"]:
                device = self._device(request, vin)
                if isinstance(device, Answer):
                    reply(device)
                elif (wait := self._gateways.limit(device)) is not None:
                    reply(wait)
                else:
                    self._reports(request, reply, vin, device)
            case _:
                return False
        return True

    async def answer(self, request: Request, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Answer one request, unless it was streamed."""
        match (request.method, request.path.split("/")[3:]):
            case ("GET", ["vehicles", _]):
                return await self._gateways.settled(request)
            case ("POST", ["vehicles", vin, "reports"]):
                device = self._device(request, vin)
                if isinstance(device, Answer):
                    return device
                request.body = await read_body(receive, bytes_max=REQUEST_BYTES_MAX)
                return await self._gateways.settled(request)
            case ("PUT", ["vehicles", vin, "manifest"]):
                return await self._manifest(request, receive, vin)
            case ("GET" | "HEAD", ["image", "targets", filename]):
                return await self._image(request, scope, send, filename)
            case ("GET", ["image", filename]):
                return await self._metadata("image", "", filename)
            case ("GET", ["director", vin, filename]):
                device = self._device(request, vin)
                if isinstance(device, Answer):
                    return device
                # Every vehicle has its own Director metadata but the Root, which is one for all.
                return await self._metadata(
                    "director", "" if filename.endswith("root.json") else vin, filename
                )
            case _:
                raise NotFound("no such resource of the native gateway")

    def _device(self, request: Request, vin: str) -> Device | Answer:
        return self._gateways.authenticate(request, vin, scheme=b"Bearer ")

    def _poll(self, request: Request, vin: str, device: Device) -> Answer:
        if (away := self._gateways.turned_away(vin, device, Shed.POLLS)) is not None:
            return away
        offer, need = self._gateways.offer_now(device)
        poll_s = self._gateways.poll_again_s(vin, device, need)
        agreed, reason = _told_beside(offer, request)
        kind = (
            b"idle"
            if offer is None
            else b"agreed"
            if agreed
            else b"reason"
            if reason
            else offer.kind.encode()
        )
        what = kind if offer is None else b"%b-%d" % (kind, offer.action_id)
        known = _POLL_ETAG.fullmatch(header(request.headers, b"if-none-match") or b"")
        if known is not None and known[1] == what and is_told(int(known[2]), poll_s):
            return Answer(304, b"", ((b"etag", known[0]),))
        command = (
            Command(kind="none", poll_s=poll_s)
            if offer is None
            else Command(
                kind=offer.kind, action_id=offer.action_id, poll_s=poll_s, agreed=agreed, reason=reason
            )
        )
        return Answer(200, _ENCODER.encode(command), (JSON, (b"etag", b'"%b-%d"' % (what, poll_s))))

    def _reports(self, request: Request, reply: Reply, vin: str, device: Device) -> None:
        try:
            batch = _DECODER.decode(request.body)
        except msgspec.MsgspecError as error:
            raise InvalidInput(f"not a report batch: {error}") from error
        device.reports += max(0, len(batch.reports) - 1)  # the message itself was counted as one
        rows = []
        for report in batch.reports:
            if report.at.tzinfo is None:
                raise InvalidInput(f"report {report.id}: `at` has no time zone", hint="use UTC")
            content: dict[str, Any] = msgspec.to_builtins(report)
            rows.append(
                NewReport(
                    vin=vin, dedupe_key=report.id, action_id=report.action_id,
                    kind="closed" if report.state in TERMINAL_STATES and not report.ecu else "progress",
                    event_at=storable_time(report.at), body={"gateway": "native", **content},
                )
            )  # fmt: skip

        def settle(error: RingroadError | None) -> None:
            if error is not None:
                reply(self._gateways.refuse(request.path, error))
                return
            for row in rows:
                if row.action_id is None or not self._offered(device, row.action_id):
                    continue
                if row.kind == "closed":
                    device.close(row.action_id)
                else:
                    device.begin(row.action_id)
            reply(Answer(200, _ENCODER.encode(Acknowledged(ids=[r.id for r in batch.reports]))))

        if rows:
            self._gateways.writer.put(rows, settle)
        else:
            settle(None)

    @staticmethod
    def _offered(device: Device, action_id: int) -> bool:
        return device.offer is not None and device.offer.action_id == action_id

    async def _manifest(self, request: Request, receive: Receive, vin: str) -> Answer:
        device = self._device(request, vin)
        if isinstance(device, Answer):
            return device
        if (wait := self._gateways.limit(device)) is not None:
            return wait
        body = await read_body(receive, bytes_max=MANIFEST_BYTES_MAX)
        await asyncio.to_thread(self._store_manifest, vin, body)
        return Answer(200, b'{"accepted":true}')

    def _store_manifest(self, vin: str, body: bytes) -> None:
        if self._apply_manifest is None:
            raise NotFound("this gateway takes no manifests")
        with self._borrow() as conn:
            self._apply_manifest(conn, vin, body, self._gateways.clock.now())

    async def _image(self, request: Request, scope: Scope, send: Send, filename: str) -> Answer | None:
        if self._gateways.pressure.shed >= Shed.DOWNLOADS:  # whose it is, an image does not know
            return self._gateways.refuse(request.path, overload())
        parsed = _IMAGE_FILE.fullmatch(filename)
        if parsed is None:
            raise NotFound("no such image", hint="images are named <sha256>.<filename>")
        row = await asyncio.to_thread(self._read_image_row, parsed[1], parsed[2])
        if row is None:
            raise NotFound("no such image")
        return await send_image(
            scope, send, self._gateways.blobs, sha256=row["image_sha256"], size=row["image_bytes"]
        )

    def _read_image_row(self, sha256: str, filename: str) -> Any:
        with self._borrow() as conn:
            if filename == DELTA_FILENAME:
                return SQL.delta_by_sha256(conn, sha256=sha256)
            return SQL.image_by_name(conn, sha256=sha256, filename=filename)

    async def _metadata(self, repository: str, vin: str, filename: str) -> Answer:
        parsed = _METADATA_FILE.fullmatch(filename)
        if parsed is None or (parsed[1] is None) != (parsed[2] == "timestamp"):
            raise NotFound("no such metadata", hint="<version>.<role>.json, or timestamp.json")
        version = int(parsed[1] or 0)
        key = (repository, vin, parsed[2], version)
        body = self._kept.get(key)
        if body is None:
            body = await self._metadata_reads.get(key)
            if body is None:
                raise NotFound("no such metadata")
            if version:
                self._keep(key, body)
        return Answer(200, body)

    def _read_metadata(self, asked: Sequence[MetadataKey]) -> dict[MetadataKey, bytes]:
        repositories, vins, roles, versions = map(list, zip(*asked, strict=True))
        with self._borrow() as conn:
            rows = SQL.metadata(conn, repositories=repositories, vins=vins, roles=roles, versions=versions)
            return {
                (row["repository"], row["vin"], row["role"], row["version"]): bytes(row["bytes"])
                for row in rows
            }

    def _keep(self, key: MetadataKey, body: bytes) -> None:
        """Versioned metadata never changes; keep what fits, drop the oldest."""
        self._kept[key] = body
        self._kept_bytes += len(body)
        while self._kept_bytes > METADATA_KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _told_beside(offer: Offer | None, request: Request) -> tuple[bool, str]:
    """Return whether an update was agreed to, and why a cancel was ordered, as far as the vehicle takes such a member.

    A cancel is never one that was agreed to: its answer would have the tag of the update's.
    """
    if offer is None:
        return False, ""
    hears = header(request.headers, HEARS_NAME) == HEARS_VALUE
    hears_why = header(request.headers, HEARS_WHY_NAME) == HEARS_WHY_VALUE
    return offer.kind == "update" and offer.consented and hears, offer.reason if hears_why else ""
