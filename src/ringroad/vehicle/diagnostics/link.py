"""Diagnostic requests on their way in and answers on their way out, over the connection that the vehicle opened.

The server sends a request again until it has the answer. So each has an id, and:

Invariants:
    * A request is done once: the same id again gets the same answer.
    * One that changes something is noted on the disk before it is begun; after a restart in its middle the answer is
      that nobody knows what it did, and it is not begun again. An operation that it cut off has failed, and is told so.
    * Nothing here grows without bound: requests that wait, answers that are remembered, bytes of either.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Corrupt, Forbidden, InvalidInput, RingroadError, Unavailable
from ringroad.protocol.diagnostics import (
    ANSWER_BYTES_MAX,
    REQUEST_BYTES_MAX,
    SESSIONS_PATH,
    DiagnosticAnswer,
    DiagnosticRequest,
    SessionWanted,
)
from ringroad.vehicle.diagnostics.desk import Desk
from ringroad.vehicle.diagnostics.faults import plain
from ringroad.vehicle.diagnostics.operations import CUT_OFF, Execution
from ringroad.vehicle.diagnostics.refusal import refuse
from ringroad.vehicle.diagnostics.sessions import Session, Sessions, no_of
from ringroad.vehicle.diagnostics.testers import LOCAL
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.files import Durability, replace_file

WAITING_MAX: Final = 32  # requests; the server has no more of one vehicle under way
ANSWERS_WAITING_MAX: Final = 64
REMEMBERED_MAX: Final = 64  # answers, and requests on the disk that changed something
CONSENT_LOOK_S: Final = 1.0  # s between two looks whether the driver has answered
ENDS_TOLD_AGAIN: Final = 16  # operations, the newest; few vehicles have as many of one connection
NOTED_NAME: Final = "diagnostics-done.json"

_log = structlog.get_logger(__name__)


class _Id(msgspec.Struct):
    id: str = ""


class DiagnosticLink:
    """One vehicle's requests and answers. `take` and `answers` are the ends that a connection holds."""

    def __init__(
        self, desk: Desk, sessions: Sessions, *, folder: Path, clock: Clock, durability: Durability
    ) -> None:
        """Read what an earlier life noted; what it had under way has failed. Raises: Corrupt."""
        self._desk = desk
        self._sessions = sessions
        self._clock = clock
        self._durability: Durability = durability
        self._path = folder / NOTED_NAME
        self._noted = _read_noted(self._path)  # id -> the answer, None while it is being done
        self._waiting: asyncio.Queue[DiagnosticRequest] = asyncio.Queue(WAITING_MAX)
        self._known: OrderedDict[str, DiagnosticAnswer | None] = OrderedDict()
        self._asked: dict[str, DiagnosticRequest] = {}  # sessions that wait for the driver, by session
        self._ended: frozenset[str] = frozenset()  # sessions that the server was told the driver ended
        self.answers: asyncio.Queue[bytes] = asyncio.Queue(ANSWERS_WAITING_MAX)
        desk.cyclic.tell = self._tell_event
        desk.executions.tell = self._tell_end
        cut_off = _cut_off(self._noted, now=clock.now())
        if cut_off:
            self._noted |= cut_off
            self._note_if_it_can()
        desk.executions.recall(execution for _, execution in _executions(self._noted))

    def take(self, payload: bytes) -> None:
        """Take one request from the wire; never waits, never raises."""
        request = self._read(payload)
        if request is None:
            return
        if request.id in self._known:
            remembered = self._known[request.id]
            if remembered is not None:
                self._say(remembered)
            return  # else it is at work, and will answer
        if request.id in self._noted:
            self._say(self._noted[request.id] or self._interrupted(request.id))
            return
        try:
            self._waiting.put_nowait(request)
        except asyncio.QueueFull:
            busy = Unavailable("the vehicle has enough requests waiting", code="busy")
            # Not final: the server sends it again.
            self._say(msgspec.structs.replace(refuse(request.id, busy, clock=self._clock), final=False))
            return
        self._remember(request.id, None)

    def connected(self) -> None:
        """Tell again how operations ended: the word of it is lost with a connection or a life, and nobody asks for it."""
        ended = [each for _, each in _executions(self._noted) if each.status != "running"]
        for each in ended[-ENDS_TOLD_AGAIN:]:
            if self.answers.qsize() <= ANSWERS_WAITING_MAX // 2:  # answers go before what was told already
                self._say_end(each)

    async def run(self) -> None:
        """Do requests, one after another, until cancelled."""
        looking = asyncio.create_task(self._look_for_words())
        try:
            while True:
                request = await self._waiting.get()
                answer = await self._do(request)
                if answer.final:
                    self._remember(request.id, answer)
                self._say(answer)
                end_if_cancelled()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            await self._desk.end()

    async def _do(self, request: DiagnosticRequest) -> DiagnosticAnswer:
        now = self._clock.now()
        try:
            if request.until < now:
                raise Conflict("the request came too late", code="expired")
            if request.session.startswith(LOCAL):
                raise Forbidden("this session is of a tester beside the vehicle", code="no_session")
            if request.path == SESSIONS_PATH and request.method == "POST":
                return self._open(request)
            if request.path == SESSIONS_PATH and request.method == "DELETE":
                self._asked.pop(request.session, None)
                self._desk.close(request.session)
                return DiagnosticAnswer(id=request.id, status=200, at=now, body={"state": "closed"})
            if request.method == "GET":
                return _bounded(await self._desk.answer(request), self._clock)
            self._note(request.id, None)
            answer = _bounded(await self._desk.answer(request), self._clock)
            self._note(request.id, answer)
        except RingroadError as error:
            return refuse(request.id, error, clock=self._clock)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one request must not end the others
            _log.exception("vehicle.diagnostics_failed", path=request.path)
            failed = Unavailable("the vehicle failed over this request", code="internal", detail=repr(error))
            return refuse(request.id, failed, clock=self._clock)
        return answer

    # Sessions --------------------------------------------------------------------------------------

    def _open(self, request: DiagnosticRequest) -> DiagnosticAnswer:
        try:
            wanted = msgspec.convert(request.body, SessionWanted)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"the session cannot be read: {error}") from error
        session = self._sessions.ask(request.session, wanted, now=self._clock.now())
        answer = _session_answer(request.id, session, self._clock)
        if not answer.final:
            self._asked[session.id] = request
        return answer

    async def _look_for_words(self) -> None:
        """Tell the server when the driver has answered, and end what outlives its session."""
        while True:
            await asyncio.sleep(CONSENT_LOOK_S)
            try:
                self._desk.tidy()
                self._tell_words()
            except RingroadError as error:
                _log.warning("vehicle.diagnostics_sessions", code=error.code, reason=error.message)

    def _tell_words(self) -> None:
        held = self._sessions.all(now=self._clock.now())
        self._tell_ended(held)
        for session_id, request in list(self._asked.items()):
            session = held.get(session_id)
            if session is None:
                del self._asked[session_id]
                self._known.pop(request.id, None)
            elif session.state != "asked":
                del self._asked[session_id]
                answer = _session_answer(request.id, session, self._clock)
                self._remember(request.id, answer)
                self._say(answer)

    def _tell_ended(self, held: Mapping[str, Session]) -> None:
        """Say by its own id, once, that the driver ended a session; its request had its answer when it was opened."""
        ended = frozenset(
            key for key, each in held.items() if each.state == "declined" and not key.startswith(LOCAL)
        )
        for session_id in sorted(ended - self._ended - self._asked.keys()):
            self._say(_session_answer(session_id, held[session_id], self._clock))
        self._ended = ended

    def _tell_event(self, session_id: str, subscription_id: str, event: dict[str, Any]) -> None:
        """Publish what a subscription read; one that is lost is lost, and its number says so."""
        if session_id.startswith(LOCAL) or self.answers.qsize() > ANSWERS_WAITING_MAX // 2:
            return  # whoever is beside the vehicle hears it there; and answers go before what is only shown
        now = self._clock.now()
        told = DiagnosticAnswer(id=subscription_id, status=206, at=now, final=False, body={"event": event})
        if len(msgspec.json.encode(told)) > ANSWER_BYTES_MAX:  # it ends nothing: the next may be smaller
            large = {**event, "values": {each: {"error": "too_large"} for each in event.get("values", {})}}
            told = msgspec.structs.replace(told, body={"event": large})
        self._say(told)

    def _tell_end(self, ended: Execution) -> None:
        """Publish how an operation ended, behind the answer that said that it runs; that one sent again says so, too."""
        if ended.session.startswith(LOCAL):
            return
        self._say_end(ended)
        told = self._known.get(ended.id) or self._noted.get(
            ended.id
        )  # many looks at it drive it out of the first
        if told is None:
            return
        told = msgspec.structs.replace(told, body=plain(ended))
        self._remember(ended.id, told)
        self._noted[ended.id] = told
        self._note_if_it_can()

    def _say_end(self, ended: Execution) -> None:
        body = {"execution": plain(ended)}
        self._say(DiagnosticAnswer(id=ended.id, status=200, at=self._clock.now(), final=False, body=body))

    # Memory ----------------------------------------------------------------------------------------

    def _read(self, payload: bytes) -> DiagnosticRequest | None:
        if len(payload) > REQUEST_BYTES_MAX:
            _log.warning("vehicle.diagnostics_too_large", size=len(payload))
            return None
        try:
            return msgspec.json.decode(payload, type=DiagnosticRequest)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            _log.warning("vehicle.diagnostics_unreadable", reason=str(error)[:200])
        try:  # a newer server's request is refused by its id rather than left without an answer
            known = msgspec.json.decode(payload, type=_Id).id
            if known:
                strange = InvalidInput("this vehicle cannot read the request", code="not_understood")
                self._say(refuse(known[:200], strange, clock=self._clock))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            pass
        return None

    def _say(self, answer: DiagnosticAnswer) -> None:
        try:
            self.answers.put_nowait(msgspec.json.encode(answer))
        except asyncio.QueueFull:
            _log.warning("vehicle.diagnostics_answer_dropped", id=answer.id)  # the server asks again

    def _remember(self, request_id: str, answer: DiagnosticAnswer | None) -> None:
        self._known[request_id] = answer
        while len(self._known) > REMEMBERED_MAX + WAITING_MAX:
            self._known.popitem(last=False)

    def _note(self, request_id: str, answer: DiagnosticAnswer | None) -> None:
        noted = {**self._noted, request_id: answer}
        while len(noted) > REMEMBERED_MAX:
            del noted[next(iter(noted))]
        replace_file(self._path, msgspec.json.encode(noted), durability=self._durability)
        self._noted = noted

    def _note_if_it_can(self) -> None:
        """Write how operations ended; a full disk keeps nobody from what else the vehicle does."""
        try:
            replace_file(self._path, msgspec.json.encode(self._noted), durability=self._durability)
        except RingroadError as error:
            _log.warning("vehicle.diagnostics_end_not_noted", code=error.code, reason=error.message)

    def _interrupted(self, request_id: str) -> DiagnosticAnswer:
        hint = "look how the component stands, then decide again"
        lost = Conflict(CUT_OFF, code="interrupted", hint=hint)
        return refuse(request_id, lost, clock=self._clock)


def _session_answer(request_id: str, session: Session, clock: Clock) -> DiagnosticAnswer:
    body: dict[str, Any] = {"state": session.state, "consent": session.consent}
    status = {"asked": 202, "open": 200, "declined": 403}[session.state]
    if session.state == "declined":
        body["error"] = {
            "kind": "forbidden",
            "code": "declined",
            "message": no_of(session),
            "hint": "",
        }
    return DiagnosticAnswer(
        id=request_id, status=status, at=clock.now(), final=session.state != "asked", body=body
    )


def _bounded(answer: DiagnosticAnswer, clock: Clock) -> DiagnosticAnswer:
    if len(msgspec.json.encode(answer)) <= ANSWER_BYTES_MAX:
        return answer
    large = InvalidInput(f"the answer is over {ANSWER_BYTES_MAX // 1024} kiB", code="too_large")
    return refuse(answer.id, large, clock=clock)


def _read_noted(path: Path) -> dict[str, DiagnosticAnswer | None]:
    if not path.exists():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, DiagnosticAnswer | None])
    except (OSError, msgspec.MsgspecError) as error:
        raise Corrupt(f"{path.name} does not read back", hint="remove it") from error


def _executions(noted: Mapping[str, DiagnosticAnswer | None]) -> Iterator[tuple[DiagnosticAnswer, Execution]]:
    """Give the operations among what was noted, oldest first, each with the answer to the request that began it.

    What does not read as one is passed over: another version noted it.
    """
    for key, answer in noted.items():
        if answer is not None and answer.body.get("id") == key and "operation" in answer.body:
            with contextlib.suppress(msgspec.ValidationError):
                yield answer, msgspec.convert(answer.body, Execution)


def _cut_off(
    noted: Mapping[str, DiagnosticAnswer | None], *, now: datetime
) -> dict[str, DiagnosticAnswer | None]:
    """Return the answers of operations that ran when an earlier life ended, as they are from now on."""
    return {
        each.id: msgspec.structs.replace(
            answer,
            body=plain(msgspec.structs.replace(each, status="failed", error=CUT_OFF, ended_at=now)),
        )
        for answer, each in _executions(noted)
        if each.status == "running"
    }
