"""The door through which a registered device gets its own secret, below ``/enrol/v1/<vin>``.

    POST /enrol/v1/<vin>/certificate   a signing request, PEM; answers the certificate and our authority's
    POST /enrol/v1/<vin>/token         answers a device token, shown this once

Both take ``Authorization: EnrolmentToken <token>``, which works once. A device that has a certificate of ours renews it
with that instead. A secret goes over TLS, or does not leave the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from ringroad.http.auth import came_over_tls, render_token
from ringroad.http.device.identity import admits, is_one_of, token_of, values
from ringroad.http.device.store import SQL
from ringroad.http.device.wire import Answer, Receive, Request, header, problem, read_body
from ringroad.kernel.clock import Ids
from ringroad.kernel.errors import Forbidden, NotFound
from ringroad.kernel.facts import FactKind
from ringroad.storage.db import Connection, transaction
from ringroad.storage.ledger import append_fact, last_of
from ringroad.storage.pki_clients import CSR_BYTES_MAX, Issued, parse_csr

if TYPE_CHECKING:
    from cryptography import x509

    from ringroad.http.device.app import Gateways
    from ringroad.http.device.read_model import Device

ENROL: Final = "/enrol/v1/"
SCHEME: Final = b"EnrolmentToken "
TOKEN_BYTES: Final = 32
_LOOPBACK: Final = ("127.", "::1")
_REFUSED: Final = problem(
    401, "unauthorized", "unknown device, or its enrolment token is wrong, used or too old",
    (b"www-authenticate", b"EnrolmentToken"), hint="Authorization: EnrolmentToken <token>",
)  # fmt: skip


class Issue(Protocol):
    """Signs a request with our authority's key."""

    def __call__(self, csr: x509.CertificateSigningRequest, *, name: str, now: datetime) -> Issued:
        """Return the certificate."""
        ...


class Enrolment:
    """Answers everything below ``/enrol/v1``."""

    def __init__(
        self,
        gateways: Gateways,
        borrow: Callable[[], AbstractContextManager[Connection]],
        *,
        ids: Ids,
        secret: Callable[[int], bytes],
        issue: Issue,
    ) -> None:
        self._gateways = gateways
        self._borrow = borrow
        self._ids = ids
        self._secret = secret
        self._issue = issue

    async def answer(self, request: Request, receive: Receive) -> Answer:
        """Answer one request."""
        match request.method, request.path.removeprefix(ENROL).split("/"):
            case "POST", [vin, "certificate" | "token" as wanted]:
                pass
            case _, [_, "certificate" | "token"]:
                return problem(405, "method", "not with this method", (b"allow", b"POST"))
            case _:
                raise NotFound("no such resource of the enrolment")
        forwarded = values(request.headers, b"x-forwarded-proto")
        proxies = self._gateways.config.proxies
        if not request.peer.startswith(_LOOPBACK) and not came_over_tls(
            request.scheme, request.peer, forwarded, proxies
        ):
            raise Forbidden("enrolment goes over TLS only", hint="use the https port", code="no_tls")
        device = self._gateways.model.devices.get(vin) if self._gateways.model.fresh else None
        token = token_of(header(request.headers, b"authorization") or b"", SCHEME)
        invited = device is not None and token is not None and is_one_of(token, device.enrolment_sha256)
        shown = self._shown(request, vin, device) if token is None and wanted == "certificate" else None
        if device is None or not (invited or shown is not None):
            return _REFUSED
        if (wait := self._gateways.limit(device)) is not None:
            return wait
        body = await read_body(receive, bytes_max=CSR_BYTES_MAX)
        if wanted == "certificate":
            csr = parse_csr(body, name=vin)
            used = hashlib.sha256(token).digest() if token is not None else None
            return await asyncio.to_thread(self._certificate, device, vin, csr, used=used, shown=shown)
        if token is None:
            return _REFUSED
        return await asyncio.to_thread(self._token, device, vin, hashlib.sha256(token).digest())

    def _shown(self, request: Request, vin: str, device: Device | None) -> bytes | None:
        """Return the digest of the certificate of ours that a device shows, where it is good."""
        found = self._gateways.certificate_of(request)
        if device is None or found is None or not found.ours:
            return None
        return found.sha256 if admits(device, vin, found, now=self._gateways.clock.now()) else None

    def _certificate(
        self,
        device: Device,
        vin: str,
        csr: x509.CertificateSigningRequest,
        *,
        used: bytes | None,
        shown: bytes | None,
    ) -> Answer:
        now = self._gateways.clock.now()
        made = self._issue(csr, name=vin, now=now)
        kept = [shown] if shown is not None else []
        with self._borrow() as conn, transaction(conn):
            given = {"vin": vin, "certificates": [made.sha256, *kept], "certificate_until": made.not_after}
            if shown is not None:
                seq = SQL.renew_certificate(conn, **given, shown=shown)
            else:
                seq = SQL.enrol_certificate(conn, **given, enrolment_sha256=used, now=now)
            if seq is None:
                return _REFUSED
            means = "certificate" if shown is None else "renewal"
            self._note(
                conn,
                vin,
                means=means,
                now=now,
                certificate=made.sha256.hex(),
                until=made.not_after.isoformat(),
            )
        device.credentials_seq, device.certificates = seq, (made.sha256, *kept)
        if shown is None:
            device.enrolment_sha256 = None
        return Answer(200, made.pem, ((b"content-type", b"application/x-pem-file"),))

    def _token(self, device: Device, vin: str, used: bytes) -> Answer:
        token = render_token(self._secret(TOKEN_BYTES), "dev")
        digest, now = hashlib.sha256(token.encode()).digest(), self._gateways.clock.now()
        with self._borrow() as conn, transaction(conn):
            seq = SQL.enrol_token(conn, vin=vin, token_sha256=digest, enrolment_sha256=used, now=now)
            if seq is None:
                return _REFUSED
            self._note(conn, vin, means="token", now=now)
        device.credentials_seq, device.token_sha256, device.enrolment_sha256 = seq, digest, None
        return Answer(200, orjson.dumps({"token": token}))

    def _note(self, conn: Connection, vin: str, *, means: str, now: datetime, **more: str) -> None:
        append_fact(
            conn, self._ids, kind=FactKind.VEHICLE_ENROLLED, subject=vin, actor=f"vehicle:{vin}", now=now,
            causes=last_of(conn, vin), body={"means": means, **more},
        )  # fmt: skip
