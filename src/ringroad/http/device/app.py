"""Both gateways as one raw ASGI application: DDI for existing clients, native for our vehicles.

A poll touches memory only. A report is answered after it is durable. While the read model is not
fresh, devices get 503 with Retry-After: an old offer is worse than none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg
import structlog

from ringroad.http.auth import is_within
from ringroad.http.device import native
from ringroad.http.device.contacts import Contacts
from ringroad.http.device.ddi_gateway import DDI_SCHEME, DdiGateway
from ringroad.http.device.enrolment import ENROL, Enrolment
from ringroad.http.device.identity import HANDED_ON, admits, handed_on, is_gateway_token, token_of
from ringroad.http.device.images import Blobs
from ringroad.http.device.overload import LoadPolicy, Pressure, Shed, overload
from ringroad.http.device.read_model import Device, Offer, ReadModel
from ringroad.http.device.steering import Need, PollPolicy, Steering
from ringroad.http.device.store import ReportWriter, keep_fresh
from ringroad.http.device.wire import (
    Answer,
    Header,
    Receive,
    Reply,
    Request,
    Scope,
    Send,
    header,
    problem,
    refusal,
    send_answer,
)
from ringroad.http.express import CERTIFICATE
from ringroad.kernel.clock import Clock, system_fraction
from ringroad.kernel.errors import InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.storage.db import Connection
from ringroad.storage.pki_clients import ClientCertificate, ClientTrust
from ringroad.storage.settings import Network

log = structlog.get_logger()

NATIVE = "/uptane/v1/"
RETRY_S = 5  # seconds until a device that was turned away asks again, at least
GATEWAY_SCHEME = b"GatewayToken "


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What the gateways are told at start."""

    polls: PollPolicy
    reports_per_min_max: int  # of one vehicle; beyond, it is asked to wait
    silence_s_max: float = (
        20.0  # seconds without a word from the database; one change of a million vehicles takes ten
    )
    public_url: str = ""  # origin in links; empty: the Host the device used
    proxies: tuple[Network, ...] = ()  # whose word is taken on TLS, and on a device's certificate


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
        pressure: Pressure | None = None,
        fraction: Callable[[], float] = system_fraction,
        trust: ClientTrust | None = None,
        signed_url: Callable[[str], str | None] | None = None,
        enrol: Callable[[Gateways], Enrolment] | None = None,
    ) -> None:
        self.config = config
        self.blobs = blobs
        self.clock = clock
        self.model = ReadModel()
        self.steering = Steering(config.polls, clock=clock, vehicles=self.model.vehicles)
        self.pressure = pressure or Pressure(LoadPolicy())
        self._fraction = fraction
        self.writer = ReportWriter(
            open_connection, clock=clock, rows_max=self.pressure.policy.reports_waiting_max
        )
        self._open_connection = open_connection
        self._native = native.NativeGateway(self, borrow, apply_manifest)
        self._ddi = DdiGateway(self, borrow)
        self._trust = trust
        self.signed_url = signed_url  # of an image in the object store; None: images are sent from here
        self._enrolment = enrol(self) if enrol is not None else None
        self._contacts = Contacts(open_connection, clock=clock)
        self._minute = 0  # one object for all devices that report in it
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start following the database and writing reports."""
        self._tasks = [
            asyncio.create_task(keep_fresh(self.model, self._open_connection, self.clock)),
            asyncio.create_task(self.writer.run()),
            asyncio.create_task(self._contacts.run()),
            asyncio.create_task(
                self.pressure.watch(clock=self.clock, waiting=lambda: self.writer.rows, changed=self._ease)
            ),
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
            return self._ddi.express(request, reply)
        except RingroadError as error:
            reply(self.refuse(request.path, error))
            return True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of a device."""
        path: str = scope["path"]
        peer = scope["client"][0] if scope.get("client") else ""
        request = Request(
            method=scope["method"], path=path, headers=scope["headers"], scheme=scope["scheme"], peer=peer,
            certificate=scope.get(CERTIFICATE),
        )  # fmt: skip
        try:
            if path.startswith(NATIVE):
                answer = await self._native.answer(request, scope, receive, send)
            elif path.startswith(ENROL):
                if self._enrolment is None:
                    raise NotFound("nobody enrols here")
                answer = await self._enrolment.answer(request, receive)
            else:
                answer = await self._ddi.answer(request, scope, receive, send)
        except RingroadError as error:
            answer = self.refuse(path, error)
        except psycopg.DataError as error:  # what was sent, not the database: sending it again does not help
            answer = self.refuse(
                path, InvalidInput("a value cannot be stored", code="unstorable", detail=str(error))
            )
        except psycopg.Error as error:  # only before an answer has begun: images need no database by then
            log.warning("database unavailable", path=path, detail=str(error))
            answer = self.refuse(path, Unavailable("the database does not answer", hint="come back"))
        if answer is not None:
            await send_answer(send, answer)

    def refuse(self, path: str, error: RingroadError) -> Answer:
        """Log and return what an error of ours means to a device."""
        log.info("device refused", path=path, code=error.code, reason=error.message, detail=error.detail)
        return refusal(error, self._come_back())

    def turned_away(self, vin: str, device: Device, what: Shed) -> Answer | None:
        """Return what a device is answered whose request is let go for the load, or None."""
        if self.pressure.shed < what or (device.offer is not None and device.offer.kind == "cancel"):
            return None
        wait_s = max(RETRY_S, self.steering.wait_s(vin, device.need))
        return refusal(overload(), (b"retry-after", b"%d" % wait_s))

    def _ease(self, shed: Shed) -> None:
        self.steering.doublings = int(shed)

    def _come_back(self) -> Header:
        """Return when to ask again: within the time that the fleet takes to come back."""
        spread_s = max(RETRY_S, self.model.vehicles_known // self.config.polls.polls_per_s_max)
        return (b"retry-after", b"%d" % (1 + int(self._fraction() * spread_s)))

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
        if not self.model.fresh or self.clock.monotonic_s() - self.model.heard_s > self.config.silence_s_max:
            return problem(
                503, "starting", "the gateway is reading its vehicles", self._come_back(), hint="come back"
            )
        device = self.model.devices.get(vin)
        value = header(request.headers, b"authorization")
        if device is not None and (
            self._is_its_certificate(request, vin, device)
            if value is None
            else self._is_its_token(value, device, scheme=scheme)
        ):
            if device.contact_due_s < self._contacts.now_s:
                self._contacts.meet(vin, device)
            return device
        return problem(
            401, "unauthorized", "unknown device or wrong token",
            (b"www-authenticate", scheme.strip()), hint=f"Authorization: {scheme.decode()}<device token>",
        )  # fmt: skip

    def _is_its_token(self, value: bytes, device: Device, *, scheme: bytes) -> bool:
        token = token_of(value, scheme)
        if token is not None:
            return device.knows(token)
        # The tenant's: for DDI only, and for devices that are on record.
        token = token_of(value, GATEWAY_SCHEME) if scheme == DDI_SCHEME and device.ddi else None
        return token is not None and is_gateway_token(token, self.model.gateway_tokens)

    def _is_its_certificate(self, request: Request, vin: str, device: Device) -> bool:
        certificate = self.certificate_of(request)
        return certificate is not None and admits(device, vin, certificate, now=self.clock.now())

    def certificate_of(self, request: Request) -> ClientCertificate | None:
        """Return the certificate that a client shows, to us or to a proxy of ours; None: none that we trust."""
        if self._trust is None:
            return None
        der = request.certificate
        if self.config.proxies and is_within(request.peer, self.config.proxies):
            der = handed_on(
                header(request.headers, HANDED_ON) or b""
            )  # its own is the proxy's, not a device's
        return self._trust.read(der) if der else None

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

    def poll_again_s(self, vin: str, device: Device, need: Need) -> int:
        """Return how many seconds from now a device that waits for that is to poll again."""
        opens_in_s = self.model.opens_in_s(device, self.clock.now) if need is Need.WAITING else None
        return self.steering.wait_s(vin, need, opens_in_s=opens_in_s)

    def offer_now(self, device: Device) -> tuple[Offer | None, Need]:
        """Return what this device may be told now, and what it waits for."""
        return self.model.offer_now(device, self.clock.now)


__all__ = ["GatewayConfig", "Gateways"]
