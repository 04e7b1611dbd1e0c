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

import psycopg
import structlog

from ringroad.http.device import ddi, native
from ringroad.http.device.images import Blobs, legacy_digests, send_image
from ringroad.http.device.read_model import Device, Offer, ReadModel
from ringroad.http.device.steering import Need, PollPolicy, Steering
from ringroad.http.device.store import SQL, NewReport, ReportWriter, keep_fresh
from ringroad.http.device.wire import (
    COME_BACK,
    Answer,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    header,
    parse_json_object,
    problem,
    read_body,
    refusal,
    send_answer,
)
from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Forbidden, NotFound, RingroadError, Unavailable
from ringroad.kernel.limits import FEEDBACK_BYTES_MAX
from ringroad.storage.db import Connection

log = structlog.get_logger()

TENANT = "DEFAULT"
NATIVE = "/uptane/v1/"
BUNDLES_KEPT = 1_000  # (release, variant) pairs whose artifacts stay known
_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}")
_ABOUT = frozenset({"deploymentBase", "cancelAction"})
_DONE = Answer(200, b"")
_CLOSED = problem(410, "gone", "this action is closed")
_STARTING = problem(503, "starting", "the gateway is reading its vehicles", COME_BACK, hint="come back")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What the gateways are told at start."""

    polls: PollPolicy
    reports_per_min_max: int  # of one vehicle; beyond, it is asked to wait
    public_url: str = ""  # origin in links; empty: the Host the device used


class Gateways:
    """Both gateways and what they share: read model, report writer, blobs."""

    express_paths: tuple[bytes, ...] = (b"/DEFAULT/controller/v1/", b"/uptane/v1/vehicles/")

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
        self.steering = Steering(config.polls, clock=clock, vehicles=self.model.vehicles)
        self.writer = ReportWriter(open_connection, clock=clock)
        self._open_connection = open_connection
        self._borrow = borrow
        self._native = native.NativeGateway(self, borrow, apply_manifest)
        self._bundles: dict[tuple[str, str], list[ddi.Artifact]] = {}
        self._minute = 0  # one object for all devices that report in it
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

    def express(self, request: Request, reply: Reply) -> bool:
        """Answer a poll at once and a report when it is durable; everything else is left to ASGI.

        Returns:
            Whether it is one of those; if so `reply` is called once, now or later, in this thread.
        """
        try:
            if request.path.startswith(NATIVE):
                return self._native.express(request, reply)
            return self._express_ddi(request, reply)
        except RingroadError as error:
            reply(self.refuse(request.path, error))
            return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a device."""
        path: str = scope["path"]
        request = Request(method=scope["method"], path=path, headers=scope["headers"], scheme=scope["scheme"])
        try:
            if path.startswith(NATIVE):
                answer = await self._native.answer(request, scope, receive, send)
            else:
                answer = await self._answer_ddi(request, scope, receive, send)
        except RingroadError as error:
            answer = self.refuse(path, error)
        except psycopg.Error as error:  # only before an answer has begun: images need no database by then
            log.warning("database unavailable", path=path, detail=str(error))
            answer = refusal(Unavailable("the database does not answer", hint="come back"))
        if answer is not None:
            await send_answer(send, answer)

    @staticmethod
    def refuse(path: str, error: RingroadError) -> Answer:
        """Log and return what an error of ours means to a device."""
        log.info("device refused", path=path, code=error.code, reason=error.message, detail=error.detail)
        return refusal(error)

    async def settled(self, request: Request) -> Answer:
        """Return what `express` answers to a poll or report whose body is whole."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def reply(answer: Answer) -> None:
            if not future.done():  # its client went away
                future.set_result(answer)

        if not self.express(request, reply):
            raise NotFound("no such resource")
        return await future

    def authenticate(self, request: Request, vin: str, *, scheme: bytes) -> Device | Answer:
        """Return the device behind a request, or why not.

        A wrong token and an unknown device get the same answer.
        """
        if not self.model.fresh:
            return _STARTING
        value = header(request.headers, b"authorization") or b""
        device = self.model.devices.get(vin)
        token = value[len(scheme) :] if value[: len(scheme)].lower() == scheme.lower() else b""
        if device is None or not token or len(token) > 512 or not device.knows(token):
            return problem(
                401, "unauthorized", "unknown device or wrong token",
                (b"www-authenticate", scheme.strip()), hint=f"Authorization: {scheme.decode()}<device token>",
            )  # fmt: skip
        return device

    def limit(self, device: Device) -> Answer | None:
        """Count a message with reports; return what a device is answered that sends too many."""
        seconds = int(self.clock.monotonic_s())
        if seconds // 60 != self._minute:
            self._minute = seconds // 60
        if device.spend(minute=self._minute, reports_max=self.config.reports_per_min_max):
            return None
        return problem(
            429, "too_many", "this vehicle reports too much", (b"retry-after", b"%d" % (60 - seconds % 60)),
            hint=f"at most {self.config.reports_per_min_max} reports a minute; send it again later",
        )  # fmt: skip

    def offer_now(self, device: Device) -> tuple[Offer | None, Need]:
        """Return what this device may be told now, and what it waits for."""
        return self.model.offer_now(device, self.clock.now)

    # DDI ------------------------------------------------------------------------------------------

    def _express_ddi(self, request: Request, reply: Reply) -> bool:
        # "", tenant, "controller", "v1", id, ...
        match request.method, request.path.split("/"):
            case "GET", ["", tenant, _, _, vin] if tenant == TENANT:
                device = self._ddi_device(request, vin)
                reply(device if isinstance(device, Answer) else self._poll(request, vin, device))
            case "POST", ["", tenant, _, _, vin, about, action, "feedback"] if (
                tenant == TENANT and about in _ABOUT
            ):
                device = self._ddi_device(request, vin)
                if isinstance(device, Answer):
                    reply(device)
                elif (wait := self.limit(device)) is not None:
                    reply(wait)
                else:
                    self._feedback(request, reply, vin, device, about=about, action=action)
            case _:
                return False
        return True

    def _ddi_device(self, request: Request, vin: str) -> Device | Answer:
        device = self.authenticate(request, vin, scheme=b"TargetToken ")
        if isinstance(device, Device) and not device.ddi:
            # Here a bare word closes an action; a native vehicle must show its ECUs' signed manifest.
            raise Forbidden("this vehicle speaks Uptane, not DDI", hint="/uptane/v1", code="wrong_gateway")
        return device

    async def _answer_ddi(
        self, request: Request, scope: Scope, receive: Receive, send: Send
    ) -> Answer | None:
        parts = request.path.split("/")
        if len(parts) < 5 or parts[1] != TENANT:
            return problem(404, "not_found", "no such tenant", hint=f"the tenant is {TENANT}")
        vin = parts[4]
        device = self._ddi_device(request, vin)
        if isinstance(device, Answer):
            return device
        match (request.method, parts[5:]):
            case ("GET", []):
                return await self.settled(request)
            case ("PUT", ["configData"]):
                if (wait := self.limit(device)) is not None:
                    return wait
                body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                return await self._config_data(body, vin, device)
            case ("GET", ["deploymentBase", action]):
                offer = self._offer(device, action, "update")
                artifacts = await self._artifacts(offer)
                return Answer(200, ddi.render_deployment(offer, artifacts, base=self._base(request, vin)))
            case ("GET", ["cancelAction", action]):
                return Answer(200, ddi.render_cancel(self._offer(device, action, "cancel").action_id))
            case ("POST", ["deploymentBase" | "cancelAction", _, "feedback"]):
                request.body = await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                return await self.settled(request)
            case ("PUT", ["installedBase"]):
                await read_body(receive, bytes_max=FEEDBACK_BYTES_MAX)
                return _DONE
            case ("GET" | "HEAD", ["softwaremodules", module, "artifacts", filename]):
                return await self._artifact(scope, send, device, module, filename)
            case _:
                return problem(404, "not_found", "no such DDI resource")

    def _poll(self, request: Request, vin: str, device: Device) -> Answer:
        if device.offer is None and not device.config_wanted:
            return ddi.idle_answer(self.steering.wait_s(vin, device.need))
        offer, need = self.offer_now(device)
        poll_s = self.steering.wait_s(vin, need)
        if offer is None and not device.config_wanted:
            return ddi.idle_answer(poll_s)
        return Answer(200, ddi.render_poll(device, offer, base=self._base(request, vin), poll_s=poll_s))

    def _base(self, request: Request, vin: str) -> str:
        origin = self.config.public_url
        if not origin:
            host = (header(request.headers, b"host") or b"").decode("latin-1")
            if not _HOST.fullmatch(host):
                host = "localhost"
            origin = f"{request.scheme}://{host}"
        return f"{origin}/{TENANT}/controller/v1/{vin}"

    def _offer(self, device: Device, action: str, kind: str) -> Offer:
        offer, _ = self.offer_now(device)
        if offer is None or offer.action_id != ddi.parse_action_id(action) or offer.kind != kind:
            raise NotFound("this device has no such action")
        return offer

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

    async def _artifact(
        self, scope: Scope, send: Send, device: Device, module: str, filename: str
    ) -> Answer | None:
        wanted = filename.removesuffix(".MD5SUM")
        offer, _ = self.offer_now(device)
        if offer is None:
            raise NotFound("this device has nothing to download")
        for artifact in await self._artifacts(offer):
            if artifact.module_id == module and artifact.filename == wanted:
                if wanted == filename:
                    return await send_image(
                        scope, send, self.blobs, sha256=artifact.sha256, size=artifact.size
                    )
                text = f"{artifact.md5}  {artifact.filename}\n".encode()
                return Answer(200, text, ((b"content-type", b"text/plain"),))
        raise NotFound("this device has no such artifact")

    async def _config_data(self, body: bytes, vin: str, device: Device) -> Answer:
        mode, data = ddi.parse_config_data(parse_json_object(body))
        key = ddi.dedupe_key(f"config:{self.clock.now().isoformat()}", 0, body)
        report = NewReport(vin=vin, dedupe_key=key, kind="config", body={"mode": mode, "data": data})
        await self.writer.write([report])
        device.config_wanted = False
        # 200 and nothing else: SWUpdate takes 204 for an error and never installs.
        return _DONE

    def _feedback(
        self, request: Request, reply: Reply, vin: str, device: Device, *, about: str, action: str
    ) -> None:
        number = ddi.parse_action_id(action)
        if number is not None and number <= device.closed_action_id:
            reply(_CLOSED)
            return
        if device.offer is None or device.offer.action_id != number:
            raise NotFound("this device has no such action")
        body = bytes(request.body)
        feedback = ddi.parse_feedback(parse_json_object(body))
        cancel = about == "cancelAction"
        closes = feedback.execution == "closed" if cancel else feedback.closes
        kind = "cancel" if cancel else "closed" if closes else "progress"

        def settle(error: RingroadError | None) -> None:
            if error is None and closes:
                device.close(number)
            elif error is None:
                device.begin(number)
            reply(_DONE if error is None else self.refuse(request.path, error))

        self.writer.put([self._report(vin, number, kind, feedback, body)], settle)

    @staticmethod
    def _report(vin: str, action_id: int, kind: str, feedback: ddi.Feedback, body: bytes) -> NewReport:
        content = {
            "gateway": "ddi",
            "execution": feedback.execution,
            "finished": feedback.finished,
            "done": feedback.done,
            "total": feedback.total,
            "details": feedback.details,
        }
        return NewReport(
            vin=vin, dedupe_key=ddi.dedupe_key(kind, action_id, body), action_id=action_id, kind=kind,
            event_at=feedback.event_at, body=content,
        )  # fmt: skip


__all__ = ["GatewayConfig", "Gateways"]
