"""Both gateways as one raw ASGI application: DDI for existing clients, native for our vehicles.

A poll touches memory only. A report is answered after it is durable. While the read model is not
fresh, devices get 503 with Retry-After: an old offer is worse than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from ringroad.http.device import ddi, native
from ringroad.http.device.images import Blobs, legacy_digests, send_image
from ringroad.http.device.read_model import Device, Offer, ReadModel
from ringroad.http.device.store import SQL, NewReport, ReportWriter, keep_fresh
from ringroad.http.device.wire import (
    JSON,
    Receive,
    Scope,
    Send,
    header,
    parse_json_object,
    read_body,
    send_bytes,
    send_error,
    send_refusal,
)
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Forbidden, NotFound, RingroadError, Unavailable
from ringroad.kernel.limits import FEEDBACK_BYTES_MAX
from ringroad.storage.db import Connection

log = structlog.get_logger()

TENANT = "DEFAULT"
BUNDLES_KEPT = 1_000  # (release, variant) pairs whose artifacts stay known
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")
_RETRY = [(b"retry-after", b"5")]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What the gateways are told at start."""

    database_url: str
    poll_s: int  # seconds between polls of an idle vehicle
    poll_active_s: int  # seconds between polls while it has something to do
    public_url: str = ""  # origin in links; empty: the Host the device used


class Gateways:
    """Both gateways and what they share: read model, report writer, blobs."""

    def __init__(
        self,
        config: GatewayConfig,
        *,
        blobs: Blobs,
        clock: Clock,
        open_connection: Callable[[], Connection],
        borrow: Callable[[], AbstractContextManager[Connection]],
        apply_manifest: native.ApplyManifest | None = None,
    ) -> None:
        self.config = config
        self.blobs = blobs
        self.clock = clock
        self.model = ReadModel()
        self.writer = ReportWriter(config.database_url)
        self._open_connection = open_connection
        self._borrow = borrow
        self._native = native.NativeGateway(self, borrow, apply_manifest)
        self._bundles: dict[tuple[str, str], list[ddi.Artifact]] = {}
        self._idle_poll = ddi.render_poll(
            Device(b"", ddi=True, config_wanted=False), base="", poll_s=config.poll_s
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start following the database and writing reports."""
        self._tasks = [
            asyncio.create_task(keep_fresh(self.model, self._open_connection)),
            asyncio.create_task(self.writer.run()),
        ]

    async def stop(self) -> None:
        """Stop; what was not yet durable was not acknowledged either."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a device."""
        path: str = scope["path"]
        try:
            if path.startswith("/uptane/v1/"):
                await self._native.answer(scope, receive, send, path[11:].split("/"))
            else:
                await self._answer_ddi(scope, receive, send, path.split("/"))
        except RingroadError as error:
            log.info("device refused", path=path, code=error.code, reason=error.message, detail=error.detail)
            await send_refusal(send, error)
        except psycopg.Error as error:  # only before an answer has begun: images need no database by then
            log.warning("database unavailable", path=path, detail=str(error))
            await send_refusal(send, Unavailable("the database does not answer", hint="come back"))

    # DDI ------------------------------------------------------------------------------------------

    async def _answer_ddi(self, scope: Scope, receive: Receive, send: Send, parts: list[str]) -> None:
        # "", tenant, "controller", "v1", id, ...
        if len(parts) < 5 or parts[1] != TENANT:
            await send_error(send, 404, "not_found", "no such tenant", hint=f"the tenant is {TENANT}")
            return
        device = await self.authenticate(scope, send, parts[4], scheme=b"TargetToken ")
        if device is None:
            return
        if not device.ddi:
            # Here a bare word closes an action; a native vehicle must show its ECUs' signed manifest.
            raise Forbidden("this vehicle speaks Uptane, not DDI", hint="/uptane/v1", code="wrong_gateway")
        method = scope["method"]
        if len(parts) == 5 and method == "GET":
            if device.offer is None and not device.config_wanted:
                await send_bytes(send, 200, self._idle_poll)
                return
            poll_s = self.config.poll_s if device.offer is None else self.config.poll_active_s
            body = ddi.render_poll(device, base=self._base(scope, parts[4]), poll_s=poll_s)
            await send_bytes(send, 200, body)
            return
        match (method, parts[5:]):
            case ("PUT", ["configData"]):
                await self._config_data(receive, send, parts[4], device)
            case ("GET", ["deploymentBase", action]):
                await self._deployment(scope, send, parts[4], device, action)
            case ("POST", ["deploymentBase", action, "feedback"]):
                await self._feedback(receive, send, parts[4], device, action, about="update")
            case ("GET", ["cancelAction", action]):
                offer = self._offer(device, action, "cancel")
                await send_bytes(send, 200, ddi.render_cancel(offer.action_id))
            case ("POST", ["cancelAction", action, "feedback"]):
                await self._feedback(receive, send, parts[4], device, action, about="cancel")
            case ("PUT", ["installedBase"]):
                await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                await send_bytes(send, 200, b"")
            case ("GET" | "HEAD", ["softwaremodules", module, "artifacts", filename]):
                await self._artifact(scope, send, device, module, filename)
            case _:
                await send_error(send, 404, "not_found", "no such DDI resource")

    async def authenticate(self, scope: Scope, send: Send, vin: str, *, scheme: bytes) -> Device | None:
        """Return the device behind a request, or answer why not and return None.

        A wrong token and an unknown device get the same answer.
        """
        if not self.model.fresh:
            await send_error(
                send, 503, "starting", "the gateway is reading its vehicles", hint="come back", headers=_RETRY
            )
            return None
        value = header(scope, b"authorization") or b""
        device = self.model.devices.get(vin)
        token = value[len(scheme) :] if value[: len(scheme)].lower() == scheme.lower() else b""
        if device is None or not token or len(token) > 512 or not device.knows(token):
            await send_error(
                send, 401, "unauthorized", "unknown device or wrong token",
                hint=f"Authorization: {scheme.decode()}<device token>",
                headers=[(b"www-authenticate", scheme.strip())],
            )  # fmt: skip
            return None
        return device

    def _base(self, scope: Scope, vin: str) -> str:
        origin = self.config.public_url
        if not origin:
            host = (header(scope, b"host") or b"").decode("latin-1")
            if not _HOST.fullmatch(host):
                host = "localhost"
            origin = f"{scope['scheme']}://{host}"
        return f"{origin}/{TENANT}/controller/v1/{vin}"

    @staticmethod
    def _offer(device: Device, action: str, kind: str) -> Offer:
        number = ddi.parse_action_id(action)
        if device.offer is None or device.offer.action_id != number or device.offer.kind != kind:
            raise NotFound("this device has no such action")
        return device.offer

    async def _deployment(self, scope: Scope, send: Send, vin: str, device: Device, action: str) -> None:
        offer = self._offer(device, action, "update")
        artifacts = await self._artifacts(offer)
        await send_bytes(send, 200, ddi.render_deployment(offer, artifacts, base=self._base(scope, vin)))

    async def _artifacts(self, offer: Offer) -> list[ddi.Artifact]:
        key = (offer.release_id, offer.variant)
        if key not in self._bundles:
            if len(self._bundles) >= BUNDLES_KEPT:
                self._bundles.clear()
            self._bundles[key] = await asyncio.to_thread(self._read_bundle, *key)
        return self._bundles[key]

    def _read_bundle(self, release_id: str, variant: str) -> list[ddi.Artifact]:
        with self._borrow() as conn:
            rows = list(SQL.bundle_packages(conn, release_id=release_id, variant=variant))
        artifacts = []
        for row in rows:
            sha1, md5 = legacy_digests(self.blobs, row["image_sha256"], row["image_bytes"])
            artifacts.append(
                ddi.Artifact(
                    module_id=row["id"], part="bApp", name=row["name"], version=row["version"],
                    filename=row["filename"], size=row["image_bytes"], sha256=row["image_sha256"],
                    sha1=sha1, md5=md5,
                )
            )  # fmt: skip
        return artifacts

    async def _artifact(self, scope: Scope, send: Send, device: Device, module: str, filename: str) -> None:
        wanted = filename.removesuffix(".MD5SUM")
        if device.offer is None:
            raise NotFound("this device has nothing to download")
        for artifact in await self._artifacts(device.offer):
            if artifact.module_id == module and artifact.filename == wanted:
                if wanted != filename:
                    text = f"{artifact.md5}  {artifact.filename}\n".encode()
                    await send_bytes(send, 200, text, [(b"content-type", b"text/plain")])
                else:
                    await send_image(scope, send, self.blobs, sha256=artifact.sha256, size=artifact.size)
                return
        raise NotFound("this device has no such artifact")

    async def _config_data(self, receive: Receive, send: Send, vin: str, device: Device) -> None:
        body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
        mode, data = ddi.parse_config_data(parse_json_object(body))
        now = self.clock.now()
        report = NewReport(
            vin=vin, dedupe_key=ddi.dedupe_key(f"config:{now.isoformat()}", 0, body), action_id=None,
            kind="config", event_at=now, received_at=now, body={"mode": mode, "data": data},
        )  # fmt: skip
        await self.writer.write([report])
        device.config_wanted = False
        # 200 and nothing else: SWUpdate takes 204 for an error and never installs.
        await send_bytes(send, 200, b"")

    async def _feedback(
        self, receive: Receive, send: Send, vin: str, device: Device, action: str, *, about: str
    ) -> None:
        body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
        number = ddi.parse_action_id(action)
        if number is not None and number <= device.closed_action_id:
            await send_error(send, 410, "gone", "this action is closed")
            return
        if device.offer is None or device.offer.action_id != number:
            raise NotFound("this device has no such action")
        now = self.clock.now()
        feedback = ddi.parse_feedback(parse_json_object(body), now=now)
        closes = feedback.closes if about == "update" else feedback.execution == "closed"
        kind = "cancel" if about == "cancel" else "closed" if closes else "progress"
        await self.writer.write([self._report(vin, number, kind, feedback, body, now=now)])
        if closes:
            device.close(number)
        await send_bytes(send, 200, b"")

    @staticmethod
    def _report(
        vin: str, action_id: int, kind: str, feedback: ddi.Feedback, body: bytes, *, now: Any
    ) -> NewReport:
        content = {
            "gateway": "ddi",
            "execution": feedback.execution,
            "finished": feedback.finished,
            "done": feedback.done,
            "total": feedback.total,
            "details": list(feedback.details),
        }
        return NewReport(
            vin=vin, dedupe_key=ddi.dedupe_key(kind, action_id, body), action_id=action_id, kind=kind,
            event_at=feedback.event_at, received_at=now, body=content,
        )  # fmt: skip


__all__ = ["JSON", "GatewayConfig", "Gateways"]
