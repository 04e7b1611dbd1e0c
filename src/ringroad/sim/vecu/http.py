"""A virtual ECU that speaks HTTP instead of UDS: updates in the manner of SOVD, beside data, faults and operations.

Aligned with SOVD's resources as far as they are public; what SOVD has no word for is named ``x-ringroad-...``.
The paths are in docs/reference/vecu.md. Flash, boot and faults are those of every virtual ECU with two banks.

Invariant: a request that power interrupts is answered with 503, and the ECU has started again from its flash.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import uvicorn
from msgspec import Meta
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import Name, Sha256
from ringroad.sim.vecu.fault_memory import StoredFault
from ringroad.sim.vecu.flash import Bank, Extent, Signed
from ringroad.sim.vecu.medium import PowerCut
from ringroad.sim.vecu.port import EcuPort
from ringroad.sim.vecu.programming import NOT_OK, NegativeReply
from ringroad.vehicle.agents.wire import BankStatus, Swap

BODY_BYTES_MAX: Final = 4 << 20  # of one request
DATA: Final = (  # what it tells beside its identification
    {"id": "operation-cycles", "name": "operation cycles so far", "category": "currentData"},
)
SNAPSHOT: Final = (  # identifier, name and unit as over UDS, and the field
    ("FD10", "time", "s since 1970", "unix_s"),
    ("FD11", "odometer", "km", "odometer_km"),
    ("FD12", "speed", "km/h", "speed_kmh"),
    ("FD13", "operation cycle", "", "cycle"),
)
_RANGE: Final = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


class Registration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the signed metadata say about the image that is about to come."""

    version: Name
    sha256: Sha256
    length: Annotated[int, Meta(ge=1)]
    release_counter: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    hardware_id: Name


class Refused(Exception):  # noqa: N818 - travels from a step to its answer, never further
    """A request ends with an error of SOVD's form."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error_code": "vendor-specific", "vendor_code": code, "message": message or code}


@dataclass(slots=True)
class _Update:
    """The update at work; forgotten at every start, as a transfer over UDS is."""

    registration: Registration
    extent: Extent
    received: int = 0
    phase: str = "register"
    status: str = "completed"
    error: str = ""


Answer = tuple[int, Any]


class SovdFace:
    """The HTTP server of one ECU, as an ASGI application. Its bank layout is ``ab``."""

    def __init__(self, port: EcuPort) -> None:
        if port.ecu.config.layout != "ab":
            raise InvalidInput("an ECU behind HTTP has two banks")
        if port.script.transport:
            raise InvalidInput(
                "the script's transport is about UDS, which an ECU behind HTTP does not speak",
                hint="torn_write, images and versions are obeyed over HTTP, too",
            )
        self._port = port
        self._update: _Update | None = None
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; return the port."""
        config = uvicorn.Config(self, lifespan="off", log_config=None, access_log=False)
        config.load()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: HttpToolsProtocol(config, server_state=self._state, app_state={}, _loop=loop), host, port
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening, and drop connections."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._state.connections):
            connection.shutdown()

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        body = await _body(receive)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        status, value = self.answer(scope["method"], scope["path"], headers, body)
        content = msgspec.json.encode(value) if value is not None else b""
        told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": content})

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Answer one request, sans I/O; `body` is None when it was too long."""
        if not self._port.alive:
            return 503, None
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._port.ecu.config.secret.hex().encode()):
            return 401, Refused(401, "access_denied").body
        if body is None:
            return 413, Refused(413, "too_large").body
        try:
            return self._route(method, path.removeprefix("/v1/").split("/"), headers, body)
        except Refused as refused:
            return refused.status, refused.body
        except NegativeReply as negative:
            return 409, Refused(409, "precondition", str(negative)).body
        except PowerCut:
            self._restart()
            return 503, None

    def _route(self, method: str, parts: list[str], headers: dict[str, str], body: bytes) -> Answer:
        match method, parts:
            case "GET", ["data", "identification"]:
                return 200, {"id": "identification", "data": self._identification()}
            case "GET", ["faults"]:
                stored = self._port.ecu.faults.stored
                return 200, {"items": [{"code": one.code, "status": {"mask": one.status}} for one in stored]}
            case "GET", ["faults", code]:
                return 200, self._fault(self._stored(code))
            case "DELETE", ["faults"]:
                self._port.ecu.faults.clear(None)
                return 204, None
            case "DELETE", ["faults", code]:
                self._port.ecu.faults.clear(self._stored(code).code)
                return 204, None
            case "GET", ["data"]:
                return 200, {"items": list(DATA)}
            case "GET", ["data", "operation-cycles"]:
                return 200, {**DATA[0], "data": self._port.ecu.faults.cycle}
            case "POST", ["operations", "reset", "executions"]:
                self._restart()
                return 202, {"status": "running"}
            case "POST", ["operations", "self-test", "executions"]:
                return 200, {"status": "completed", "passed": self._self_test()}
            case "GET", ["updates"]:
                return 200, {"items": [self._update.registration.sha256] if self._update else []}
            case "POST", ["updates"]:
                return self._register(body)
            case "PUT", ["bulk-data", "updates", name]:
                return self._take(self._known(name), headers, body)
            case "GET", ["updates", name, "status"]:
                update = self._known(name)
                return 200, {
                    "phase": update.phase, "status": update.status, "received_bytes": update.received,
                    "vendor_code": update.error,
                }  # fmt: skip
            case "DELETE", ["updates", name]:
                self._known(name)
                self._update = None
                return 204, None
            case "PUT", ["updates", name, "prepare"]:
                return self._prepare(self._known(name))
            case "PUT", ["updates", name, ("execute" | "x-ringroad-commit" | "x-ringroad-rollback") as verb]:
                return self._swap(name, verb)
            case _:
                raise Refused(404, "not_found")

    # Updates ---------------------------------------------------------------------------------------

    def _register(self, body: bytes) -> Answer:
        ecu = self._port.ecu
        try:
            wanted = msgspec.json.decode(body, type=Registration)
        except msgspec.MsgspecError as error:
            raise Refused(400, "malformed", str(error)) from error
        state = ecu.flash.state
        if wanted.hardware_id != ecu.config.hardware_id:
            raise Refused(409, "wrong_hardware")
        if wanted.release_counter < state.committed_counter:
            raise Refused(409, "counter_too_low")
        if wanted.length > state.bank_bytes:
            raise Refused(409, "too_large")
        if state.swap == "trial":
            raise Refused(409, "precondition", "another image is on trial")
        if self._update is not None and self._update.registration == wanted:
            return 200, {"id": wanted.sha256}
        if state.swap == "test":
            ecu.flash.store(msgspec.structs.replace(state, swap="none"))
        self._update = None
        bank = ecu.programmer.target
        ecu.flash.erase(bank, wanted.length)
        extent = ecu.flash.allocate(bank, 0, wanted.length, None)
        self._update = _Update(registration=wanted, extent=extent)
        return 201, {"id": wanted.sha256}

    def _take(self, update: _Update, headers: dict[str, str], body: bytes) -> Answer:
        found = _RANGE.fullmatch(headers.get("content-range", ""))
        start, end, total = map(int, found.groups()) if found else (-1, -1, -1)
        fits = total == update.registration.length and end - start + 1 == len(body)
        if not fits or start != update.received or not body or end >= total:
            raise Refused(416, "transfer_failed", f"bytes from {update.received} are due")
        flash, bank = self._port.ecu.flash, self._port.ecu.programmer.target
        flash.program(bank, update.extent.offset + start, body)
        update.received = end + 1
        return 204, None

    def _prepare(self, update: _Update) -> Answer:
        ecu, wanted = self._port.ecu, update.registration
        bank = ecu.programmer.target
        digest = hashlib.sha256()
        for chunk in ecu.flash.content(bank):
            digest.update(chunk)
        update.phase, update.status, update.error = "prepare", "failed", "hash_mismatch"
        if update.received == wanted.length and digest.hexdigest() == wanted.sha256:
            signed = Signed(
                version=wanted.version, sha256=wanted.sha256, release_counter=wanted.release_counter,
                content_sha256=ecu.flash.digest(bank).hex(),
            )  # fmt: skip
            whole = Bank(extents=(update.extent,), signed=signed, checked=True, valid=True)
            ecu.flash.store_bank(bank, whole)
            update.status, update.error = "completed", ""
        return 202, {"status": f"/v1/updates/{wanted.sha256}/status"}

    def _swap(self, name: str, verb: str) -> Answer:
        """Execute, commit or roll back the image with that digest, which need not be the update at work."""
        status, programmer = self._port.ecu.status(), self._port.ecu.programmer
        runs = status.running is not None and status.running.sha256.hex() == name
        staged = status.staged is not None and status.staged.sha256.hex() == name
        match verb:
            case "execute" if runs:
                return 202, None
            case "execute":
                if not staged:
                    raise Refused(409, "not_staged")
                programmer.activate()
                self._restart()
                return 202, None
            case "x-ringroad-commit":
                if not runs:
                    raise Refused(409, "not_active")
                programmer.commit()
                return 200, None
            case _:
                if runs and status.swap is not Swap.TRIAL:
                    raise Refused(409, "already_committed")
                if (runs or (staged and status.swap is Swap.TEST)) and programmer.rollback() == NOT_OK:
                    self._restart()
                return 200, None

    def _known(self, name: str) -> _Update:
        if self._update is None or self._update.registration.sha256 != name:
            raise Refused(404, "unknown_update")
        return self._update

    def _restart(self) -> None:
        self._update = None
        self._port.power_cycle()

    # What it is ------------------------------------------------------------------------------------

    def _identification(self) -> dict[str, Any]:
        config, status = self._port.ecu.config, self._port.ecu.status()
        return {
            "serial": config.serial,
            "hardware_id": config.hardware_id,
            "vin": config.vin,
            "running": _software(status.running),
            "staged": _software(status.staged),
            "trial": status.swap is Swap.TRIAL,
            "committed_counter": status.committed_counter,
            "boot": self._port.ecu.boot,
        }

    def _stored(self, code: str) -> StoredFault:
        for each in self._port.ecu.faults.stored:
            if each.code == code:
                return each
        raise Refused(404, "unknown_fault")

    def _fault(self, fault: StoredFault) -> dict[str, Any]:
        snapshots = [
            {"record": number, "data": [{"did": did, "name": name, "unit": unit, "value": getattr(snapshot, field)} for did, name, unit, field in SNAPSHOT]}
            for number, snapshot in enumerate(fault.snapshots, start=1)
        ]  # fmt: skip
        counts = {"occurrences": fault.count, "aging": fault.aging}
        return {
            "item": {"code": fault.code, "status": {"mask": fault.status}},
            "environment_data": {"snapshots": snapshots, "extended_data": counts},
        }

    def _self_test(self) -> bool:
        running = self._port.ecu.running
        if running is None or running.signed is None:
            raise Refused(409, "precondition", "no application runs")
        signed = running.signed
        return self._port.ecu.script.behaviour(signed.sha256, signed.version).self_test == "pass"


def _software(bank: BankStatus | None) -> dict[str, Any] | None:
    if bank is None:
        return None
    return {"version": bank.version, "sha256": bank.sha256.hex(), "release_counter": bank.release_counter}


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if size <= BODY_BYTES_MAX:
            parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts) if size <= BODY_BYTES_MAX else None
