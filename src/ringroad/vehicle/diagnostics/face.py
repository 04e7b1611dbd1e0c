"""The vehicle's own diagnostics over HTTP, for a tester beside it: the tree that the server proxies, with the same rules.

``/vehicle/v1/...`` here is ``/api/v1/vehicles/{vin}/diagnostics/...`` at the server: sessions, components, data, faults,
operations, modes, locks, with the same bodies. What a request means and whether it may be done is the desk's (`desk.py`);
here is only who asks, and how HTTP says it.

Off unless `diagnostics_http` names an address; on loopback, or behind TLS where it names another.

Invariants:
    * Nobody is answered without a tester's token, nor for more than a session of that tester, which ends with its token.
    * What a tester asks is written down in the vehicle, what changes something before it is done (`audit.py`).
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, get_args
from urllib.parse import parse_qsl

import msgspec
import structlog
from msgspec import Meta

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound, RingroadError, Unavailable
from ringroad.protocol.diagnostics import (
    BULK_TYPE,
    PATH_CHARS_MAX,
    REASON_CHARS_MAX,
    REQUEST_BYTES_MAX,
    SESSIONS_PATH,
    VALUE_BYTES_MAX,
    DiagnosticAnswer,
    DiagnosticRequest,
    Method,
    Scope,
    SessionWanted,
    is_write,
    parse_range,
    written_values,
)
from ringroad.vehicle.address import Address
from ringroad.vehicle.diagnostics.audit import Audit, Visit
from ringroad.vehicle.diagnostics.desk import Desk
from ringroad.vehicle.diagnostics.refusal import refuse
from ringroad.vehicle.diagnostics.sessions import Session, Sessions
from ringroad.vehicle.diagnostics.testers import LOCAL, Tester, find_tester, read_testers
from ringroad.vehicle.files import Durability
from ringroad.vehicle.small_http import Answer, Limits, Request, SmallServer

BASE: Final = "/vehicle/v1"
ANSWER_S_MAX: Final = 60.0  # s; an ECU may say "pending" for long
STREAMS_MAX: Final = 4  # that listen at a time, of the connections there are
TIDY_S: Final = 1.0  # s between two looks for sessions that are over
HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

_log = structlog.get_logger(__name__)


class WantedHere(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /sessions``, as at the server."""

    reason: Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX)]
    scope: Scope = "read"
    minutes: Annotated[int, Meta(ge=1, le=480)] = 30
    position: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the face needs of the vehicle."""

    folder: Path
    vin: str
    clock: Clock
    ids: Ids
    durability: Durability


class DiagnosticFace:
    """One vehicle's diagnostics, as a tester beside it sees them."""

    def __init__(self, desk: Desk, sessions: Sessions, around: Around) -> None:
        self._desk = desk
        self._sessions = sessions
        self._around = around
        self._streams = 0
        self._audit = Audit(around.folder, durability=around.durability)

    async def serve(self, address: Address, *, tls: ssl.SSLContext | None) -> None:
        """Serve until cancelled."""
        limits = Limits(body_bytes_max=REQUEST_BYTES_MAX, answer_s_max=ANSWER_S_MAX)
        tidying = asyncio.create_task(self._tidy())
        try:
            await SmallServer(self.answer, headers=HEADERS, limits=limits).serve(address, tls=tls)
        finally:
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)
            await self._desk.end()

    async def answer(self, request: Request, names: frozenset[str]) -> Answer:
        """Answer one request; `names`: what it may call this host."""
        if request.headers.get("host", "").lower() not in names:
            return _refusal(
                HTTPStatus.MISDIRECTED_REQUEST, "forbidden", "host", "this address has another name",
                hint="name it in the request as diagnostics_http does",
            )  # fmt: skip
        tester = self._tester(request)
        if tester is None:
            why = _refusal(
                HTTPStatus.UNAUTHORIZED, "forbidden", "no_token", "who is asking?",
                hint="Authorization: Bearer TOKEN, as ringroad vehicle tester add printed it",
            )  # fmt: skip
            return replace(why, headers={"WWW-Authenticate": "Bearer"})
        path, _, query = request.path.partition("?")
        asked_id = self._around.ids.new("ask")
        try:
            return await self._route(request, tester, path, query, asked_id)
        except RingroadError as error:
            return _of_desk(refuse(asked_id, error, clock=self._around.clock))

    async def _route(self, request: Request, tester: Tester, path: str, query: str, asked_id: str) -> Answer:
        if (request.method, path) == ("GET", "/version-info"):
            told = {
                "version": "1.1",
                "base_uri": BASE,
                "vendor_info": {"name": "ringroad", "vin": self._around.vin},
            }
            return _json(HTTPStatus.OK, {"sovd_info": [told]})
        if not path.startswith(f"{BASE}/"):
            raise NotFound("there is no such place", hint=f"GET {BASE}/components")
        place = path.removeprefix(BASE)
        if len(place) > PATH_CHARS_MAX or request.method not in get_args(Method):
            raise NotFound("there is no such place in the tree", hint=f"GET {BASE}/components")
        if place in (SESSIONS_PATH, "/session"):
            return self._session_place(request, tester, place)
        session = self._session_of(tester)
        if session is None:
            hint = f"POST {BASE}{SESSIONS_PATH}"
            raise Forbidden("you have no session on this vehicle", code="no_session", hint=hint)
        asked = DiagnosticRequest(
            id=asked_id, session=session.id, until=self._around.clock.now() + timedelta(seconds=ANSWER_S_MAX),
            method=_method(request.method), path=place, body={**({} if request.method == "GET" else _body(request)), **_query(query)},
        )  # fmt: skip
        if place.endswith("/events") and "/cyclic-subscriptions/" in place and request.method == "GET":
            return await self._events(tester, asked)
        answer = await self._noted(tester, asked)
        if answer.status == HTTPStatus.OK and "data" in answer.body and place.startswith("/bulk-data/"):
            return await self._whole(asked, answer, request.headers)
        return _of_desk(
            answer, begun=path if place.endswith("/executions") and asked.method == "POST" else ""
        )

    async def _noted(self, tester: Tester, asked: DiagnosticRequest) -> DiagnosticAnswer:
        """Let the desk answer, and write down who asked; what changes something, before it is begun too."""
        visit = Visit(
            at=self._around.clock.now(), tester=tester.name, session=asked.session, method=asked.method, path=asked.path,
            wanted=_wanted(asked),
        )  # fmt: skip
        if asked.method != "GET":
            self._audit.note(visit)
        answer = await self._desk.answer(asked)
        error = answer.body.get("error")
        code = str(error.get("code", "")) if answer.status >= 300 and isinstance(error, dict) else ""
        told = written_values(answer.body) if is_write(asked.method, asked.path) else {}
        try:
            self._audit.note(
                msgspec.structs.replace(
                    visit, at=self._around.clock.now(), status=answer.status, code=code, **told
                )
            )
        except Unavailable:
            if asked.method == "GET":
                raise  # what cannot be written down is not told
            # It is done, and that it was asked for is written: the answer must not be lost.
            _log.warning("vehicle.diagnostics_audit", path=asked.path, status=answer.status)
        _log.info(
            "vehicle.diagnostics_asked", tester=tester.name, method=asked.method, path=asked.path,
            status=answer.status, code=code,
        )  # fmt: skip
        return answer

    async def _events(self, tester: Tester, asked: DiagnosticRequest) -> Answer:
        """Return the events of a subscription as they come, as server-sent events."""
        if self._streams >= STREAMS_MAX:
            raise Unavailable("enough listen already", code="busy", hint="end one of them")
        self._streams += 1
        begun = False
        try:
            told = await self._noted(
                tester, msgspec.structs.replace(asked, path=asked.path.removesuffix("/events"))
            )
            if told.status != HTTPStatus.OK:
                return _of_desk(told)
            events = self._desk.cyclic.follow(told.body["component"], told.body["id"], asked.session)
            stream = self._stream(events)
            await anext(stream)  # one that never began would not give its place back when it is closed
            begun = True
            return Answer(status=HTTPStatus.OK, kind="text/event-stream", stream=stream)
        finally:
            if not begun:
                self._streams -= 1

    async def _stream(self, events: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
        """Give the events after one empty piece; its place among the streams was taken before."""
        try:
            yield b""
            async for event in events:
                yield b"id: %d\ndata: %s\n\n" % (event["number"], msgspec.json.encode(event))
            yield b"event: end\ndata: {}\n\n"
        finally:
            self._streams -= 1

    async def _whole(
        self, asked: DiagnosticRequest, first: DiagnosticAnswer, given: Mapping[str, str]
    ) -> Answer:
        """Return a piece of bulk data as bytes, all of it or the range that was asked for."""
        content, size, sha256 = b"", int(first.body["size"]), str(first.body["sha256"])
        answer = first
        while True:
            content += base64.b64decode(answer.body["data"])
            if len(content) >= size:
                break
            body = {"offset": len(content), "sha256": sha256}
            answer = await self._desk.answer(msgspec.structs.replace(asked, body=body))
            if answer.status != HTTPStatus.OK:
                return _of_desk(answer)
        headers = {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        same = given.get("if-range", headers["ETag"]) == headers["ETag"]
        span = parse_range(given.get("range", ""), size) if same else None
        if span is None:
            return Answer(status=HTTPStatus.OK, body=content, kind=BULK_TYPE, headers=headers)
        headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{size}"
        return Answer(
            status=HTTPStatus.PARTIAL_CONTENT,
            body=content[span[0] : span[1]],
            kind=BULK_TYPE,
            headers=headers,
        )

    # Sessions ----------------------------------------------------------------------------------------

    def _tester(self, request: Request) -> Tester | None:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None
        return find_tester(read_testers(self._around.folder), token.strip())

    def _session_of(self, tester: Tester) -> Session | None:
        held = self._sessions.all(now=self._around.clock.now())
        for each in held.values():
            if tester.may_have(each) and each.state != "declined":
                return each
        return None

    def _close_nobodys(self) -> None:
        """End the sessions of testers that are there no more, or may ask for less now. Raises: Corrupt, Unavailable."""
        held = self._sessions.all(now=self._around.clock.now())
        local = [each for key, each in held.items() if key.startswith(LOCAL) and each.state != "declined"]
        testers = read_testers(self._around.folder) if local else []
        for each in local:
            if not any(tester.may_have(each) for tester in testers):
                _log.info("vehicle.diagnostics_orphaned", session=each.id)
                self._desk.close(each.id)

    def _session_place(self, request: Request, tester: Tester, place: str) -> Answer:
        match request.method, place:
            case "GET", "/sessions":
                found = self._session_of(tester)
                return _json(HTTPStatus.OK, {"items": [_told(found)] if found else []})
            case "POST", "/sessions":
                return self._open(request, tester)
            case "DELETE", "/session":
                found = self._session_of(tester)
                if found is None:
                    raise NotFound("you have no session on this vehicle", code="no_session")
                self._note_session(tester, found.id, "DELETE")
                self._desk.close(found.id)
                return _json(HTTPStatus.OK, {**_told(found), "state": "closed"})
            case _:
                raise NotFound("there is no such place in the tree", hint=f"GET {BASE}/components")

    def _open(self, request: Request, tester: Tester) -> Answer:
        try:
            wanted = msgspec.convert(_body(request), WantedHere)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"the session cannot be read: {error}") from error
        if wanted.scope == "service" and tester.scope != "service":
            raise Forbidden("this tester may read only", code="no_permission", hint="ask for the scope read")
        if self._session_of(tester) is not None:
            raise Conflict(
                "you have a session on this vehicle", code="session_open", hint="DELETE /session ends it"
            )
        now = self._around.clock.now()
        session_id = tester.sessions_begin + self._around.ids.new("visit")
        self._note_session(tester, session_id, "POST")
        asked = SessionWanted(
            by=f"{tester.name}, beside the vehicle", reason=wanted.reason, scope=wanted.scope,
            expires_at=now + timedelta(minutes=wanted.minutes), position=wanted.position,
        )  # fmt: skip
        session = self._sessions.ask(session_id, asked, now=now)
        status = HTTPStatus.CREATED if session.state == "open" else HTTPStatus.ACCEPTED
        return _json(status, _told(session), location=f"{BASE}{SESSIONS_PATH}")

    def _note_session(self, tester: Tester, session_id: str, method: str) -> None:
        now = self._around.clock.now()
        self._audit.note(
            Visit(at=now, tester=tester.name, session=session_id, method=method, path=SESSIONS_PATH)
        )

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            try:
                self._desk.tidy()
                self._close_nobodys()
            except RingroadError as error:
                _log.warning("vehicle.diagnostics_sessions", code=error.code, reason=error.message)


def _wanted(asked: DiagnosticRequest) -> str | int:
    """Return the value that a request is to write, as far as it is one."""
    value = asked.body.get("data") if is_write(asked.method, asked.path) else ""
    return value[: 2 * VALUE_BYTES_MAX] if isinstance(value, str) else value if isinstance(value, int) else ""


def tls_of(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return how an address is served behind a certificate. Raises: InvalidInput, it cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A key that is encrypted cannot be used: without a word for it, it would be asked for on the terminal.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except OSError as error:  # ssl.SSLError is one
        raise InvalidInput(f"the certificate of the diagnostics cannot be used: {error}") from error
    return context


_METHODS: Final[Mapping[str, Method]] = {each: each for each in get_args(Method)}


def _method(text: str) -> Method:
    return _METHODS[text]


def _body(request: Request) -> dict[str, Any]:
    if not request.body:
        return {}
    try:
        found = msgspec.json.decode(request.body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidInput("the body is no JSON") from error
    if not isinstance(found, dict):
        raise InvalidInput("the body is no JSON object")
    return found


_QUERY: Final[Mapping[str, Callable[[str], tuple[str, Any]]]] = {
    "mask": lambda text: ("mask", _whole(text)),
    "category": lambda text: ("categories", [text]),
}


def _query(text: str) -> dict[str, Any]:
    """Return what a query says, as the body in which the desk reads it. Raises: InvalidInput."""
    try:
        given = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=8)
    except ValueError as error:
        raise InvalidInput("the query cannot be read") from error
    told: dict[str, Any] = {}
    for name, value in given:
        if name not in _QUERY:
            raise InvalidInput(f"there is no parameter {name[:40]!r}", hint=", ".join(_QUERY))
        key, meant = _QUERY[name](value)
        if key in told:
            raise InvalidInput(f"{name} was given twice")
        told[key] = meant
    return told


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise InvalidInput(f"{text[:20]!r} is no whole number")
    return int(text)


def _told(session: Session) -> dict[str, Any]:
    return {key: each for key, each in msgspec.to_builtins(session).items() if each != ""}


def _of_desk(answer: DiagnosticAnswer, *, begun: str = "") -> Answer:
    """Return the desk's answer over HTTP; what was begun is told with where to look for its end."""
    if begun and answer.status == HTTPStatus.OK:
        return _json(HTTPStatus.ACCEPTED, answer.body, location=f"{begun}/{answer.body.get('id', '')}")
    return _json(HTTPStatus(answer.status), answer.body)


def _refusal(status: HTTPStatus, kind: str, code: str, message: str, *, hint: str) -> Answer:
    return _json(status, {"error": {"kind": kind, "code": code, "message": message, "hint": hint}})


def _json(status: HTTPStatus, body: Mapping[str, Any], *, location: str = "") -> Answer:
    return Answer(status=status, body=msgspec.json.encode(body), kind="application/json", location=location)
