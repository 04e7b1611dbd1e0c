"""The vehicle's diagnostic desk: checks who asks and whether it may be done now, does it, and says what came of it.

Not here: how a request arrives (`link.py`), what it means (`tree.py`), how ECUs are reached (`ecus.py` and the agents).

A request is done in this order, and the first that fails is the answer:

1. The path is understood.
2. The session is open, and its scope is wide enough.
3. What changes something: the component's lock is held by this session.
4. What changes something: the preconditions hold now, by default that the vehicle stands still.
5. No update is under way: an ECU that is being flashed answers nobody else.

What changes something may have waited for the ECU's line: 2 to 5 are looked at once more when it has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, assert_never

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, Forbidden, InvalidInput, NotFound, RingroadError
from ringroad.protocol.diagnostics import (
    BULK_BYTES_MAX,
    BULK_CHUNK_BYTES_MAX,
    MODE_S_MAX,
    DiagnosticAnswer,
    DiagnosticRequest,
)
from ringroad.protocol.preconditions import Expression, evaluate_all
from ringroad.vehicle.agents.base import EcuInventory, Failed
from ringroad.vehicle.agents.session import EcuSession
from ringroad.vehicle.agents.verbs import UdsAgent
from ringroad.vehicle.diagnostics import bulk, operations, places, updates, writing
from ringroad.vehicle.diagnostics import data as did_data
from ringroad.vehicle.diagnostics.bulk import Sources
from ringroad.vehicle.diagnostics.cyclic import Subscriptions
from ringroad.vehicle.diagnostics.faults import fault_status, plain
from ringroad.vehicle.diagnostics.modes import Modes
from ringroad.vehicle.diagnostics.operations import Executions
from ringroad.vehicle.diagnostics.refusal import refuse
from ringroad.vehicle.diagnostics.sessions import Session, Sessions
from ringroad.vehicle.diagnostics.sheet import MASK_ALL, UPDATING, read_datum, read_fault, sheet_of, standing
from ringroad.vehicle.diagnostics.tree import Ask, understand, whole, words
from ringroad.vehicle.diagnostics.ways import MODES, NotOffered, UdsWay, Way, way_to
from ringroad.vehicle.locks import LOCK_S_MAX, LOCK_S_MIN
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.plan import EcuOnBoard
from ringroad.vehicle.signals import SignalSource
from ringroad.vehicle.uds import dtc_bytes
from ringroad.vehicle.writable import Writable

LOCK_S: Final = 300  # s, when the request does not say
MODE_S: Final = 60  # s, when the request does not say

Body = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The vehicle as the desk needs it."""

    orchestrator: Orchestrator
    signals: SignalSource
    clock: Clock
    preconditions: Sequence[Expression]
    bulk: Sources = field(default_factory=dict)
    writes: Mapping[str, Mapping[int, Writable]] = field(default_factory=dict)  # by component
    by_proof: frozenset[str] = frozenset()  # components that are unlocked by 0x29


class Desk:
    """Answers diagnostic requests of one vehicle."""

    def __init__(self, place: Place, sessions: Sessions) -> None:
        self._place = place
        self._sessions = sessions
        self._locks = place.orchestrator.ecus.locks
        self.executions = Executions(place.clock)
        self._texts = bulk.Texts()
        self.cyclic = Subscriptions(place.clock, self._value, allowed=self._is_open)
        self._modes = Modes(
            place.clock,
            resting=lambda: place.orchestrator.state.resting,
            allowed=self._may_go_on,
            by_proof=place.by_proof,
        )

    def close(self, session_id: str) -> None:
        """End a session, give back what it holds, and stop what it began. Raises: Unavailable."""
        self._drop(session_id)
        self._sessions.close(session_id, now=self._place.clock.now())

    def tidy(self) -> None:
        """Do the same for sessions whose time is over, or that the driver ended; stop what runs unless the vehicle stands.

        Raises:
            Unavailable: the disk cannot be used.
        """
        if self.executions.sessions():
            try:
                self._require_standing()
            except Conflict as moving:
                self.executions.halt(moving.message)
        holding = self.executions.sessions() | self._modes.sessions() | self._locks.sessions()
        holding |= self.cyclic.sessions()
        held = self._sessions.all(now=self._place.clock.now())
        for session_id in holding - {key for key, each in held.items() if each.state == "open"}:
            self._drop(session_id)

    def _drop(self, session_id: str) -> None:
        self.executions.drop(session_id)
        self._modes.drop(session_id)
        self._locks.drop(session_id)
        self._texts.drop(session_id)
        self.cyclic.drop(session_id)

    async def end(self) -> None:
        """Stop what runs; the vehicle shuts down."""
        await self.executions.end()
        await self.cyclic.end()
        await self._modes.end()

    async def answer(self, request: DiagnosticRequest) -> DiagnosticAnswer:
        """Do one request of a session; whatever goes wrong is an answer."""
        try:
            body = await self._do(request)
        except RingroadError as error:
            return refuse(request.id, error, clock=self._place.clock)
        return DiagnosticAnswer(id=request.id, status=200, at=self._place.clock.now(), body=body)

    async def _do(self, request: DiagnosticRequest) -> Body:
        ask = understand(request.method, request.path)
        self.tidy()
        session = self._admit(ask, request.session)
        match ask.what:
            case "components":
                return {"items": [self._entry(ecu) for ecu in self._on_board()]}
            case "component":
                return await self._component(ask)
            case "catalogue":
                return {"items": await self._catalogue(ask, words(request.body, "categories"))}
            case "data":
                return await self._data(ask, session)
            case "write":
                return await self._write(ask, session, request.body)
            case "faults":
                return {"items": await self._faults(ask.component, _mask(request.body))}
            case "fault":
                return places.told_to(session, await self._fault(ask))
            case "health":
                return await self._health(_mask(request.body))
            case "clear" | "clear_one":
                return await self._clear(ask, session)
            case "locks":
                return self._lock_list(ask)
            case "lock":
                return self._lock(ask, session, request.body)
            case "unlock":
                self._ecu(ask)
                self._locks.release(ask.component, session=session.id, now=self._place.clock.now())
                return {"items": []}
            case "operations" | "executions" | "execution" | "stop":
                return places.told_to(session, await self._operation(ask))
            case "execute":
                return self._execute(ask, session, request.id)
            case "modes":
                return {"items": self._mode_list(ask)}
            case "mode":
                return await self._mode(ask, session, request.body)
            case "updates" | "update" | "update_status" | "look" | "prepare" | "execute_update":
                return self._update(ask, session)
            case "subscribe" | "subscriptions" | "subscription" | "unsubscribe":
                return await self._subscription(ask, session, request)
            case "bulk" | "bulk_items" | "bulk_chunk":
                return await self._bulk(ask, session, request.body)
            case _:
                assert_never(ask.what)

    # May it be done? -------------------------------------------------------------------------------

    def _admit(self, ask: Ask, session_id: str) -> Session:
        now = self._place.clock.now()
        session = self._sessions.require(session_id, now=now)
        if ask.need.scope == "service" and session.scope != "service":
            raise Forbidden(
                "this session may only read", code="scope", hint="open one with the scope service"
            )
        if ask.need.lock:
            self._ecu(ask)
            self._locks.require(ask.component, session=session_id, now=now)
        if ask.need.standing:
            self._require_standing()
        return session

    def _require_standing(self) -> None:
        now = self._place.clock.now()
        samples = {sample.path: sample for sample in self._place.signals.read(now)}
        refusal = evaluate_all(self._place.preconditions, samples, now=now)
        if refusal is not None:
            raise Conflict(
                f"not now: {refusal.text}", code="precondition", hint="try again when the vehicle stands"
            )

    def _is_open(self, session_id: str) -> bool:
        try:
            self._sessions.require(session_id, now=self._place.clock.now())
        except RingroadError:
            return False
        return self._place.orchestrator.state.resting

    def _may_go_on(self, session_id: str) -> bool:
        try:
            self._sessions.require(session_id, now=self._place.clock.now())
            self._require_standing()
        except RingroadError:
            return False
        return True

    # ECUs ------------------------------------------------------------------------------------------

    def _on_board(self) -> Sequence[EcuOnBoard]:
        return self._place.orchestrator.ecus.on_board

    def _ecu(self, ask: Ask) -> EcuOnBoard:
        return self._named(ask.component)

    def _named(self, component: str) -> EcuOnBoard:
        for ecu in self._on_board():
            if ecu.name == component:
                return ecu
        raise NotFound(
            f"this vehicle has no component {component[:40]!r}", hint="the list of components names them"
        )

    def _entry(self, ecu: EcuOnBoard) -> Body:
        return {
            "id": ecu.name, "name": ecu.name, "serial": ecu.serial, "hardware": ecu.hardware_id, "primary": ecu.primary,
            "offers": list(self._known(ecu).offers),
        }  # fmt: skip

    def _known(self, ecu: EcuOnBoard) -> Way:
        """Return how an ECU would be asked, to see what it offers; it is asked nothing."""
        return way_to(ecu.name, self._place.orchestrator.ecus.peek(ecu.serial))

    @asynccontextmanager
    async def _alone(
        self, ecu: EcuOnBoard, change: tuple[Ask, str] | None = None, *, known: EcuInventory | None = None
    ) -> AsyncIterator[Way]:
        """Have an ECU alone; for a change only if it is the ECU, and its session may still make it now.

        Raises:
            Conflict, Unavailable, Forbidden: not now, or another ECU answers.
        """
        self._require_resting(ecu if change else None)
        async with self._place.orchestrator.ecus.agent(ecu.serial) as agent:
            if isinstance(agent, UdsAgent):
                await agent.ecu.channel.connect()
            way = way_to(ecu.name, agent, known)
            if change is not None:
                await way.identify()
            self._require_resting(ecu if change else None)
            if change is not None:
                self._admit(*change)
            yield way

    @asynccontextmanager
    async def _line(
        self, ecu: EcuOnBoard, change: tuple[Ask, str] | None = None
    ) -> AsyncIterator[EcuSession]:
        """Have the line to an ECU that speaks UDS. Raises: as `_alone`; NotOffered, it speaks none."""
        async with self._alone(ecu, change) as way:
            yield way.uds

    def _require_resting(self, changed: EcuOnBoard | None = None) -> None:
        """Raise unless ECUs may be asked, or this one be changed by whoever holds its lock."""
        at, hint = self._place.orchestrator, "try again when it is over"
        if at.quiet if changed is None else at.state.resting:
            return
        if changed is not None and at.quiet and changed.serial in at.state.ecus:
            hint = f"it does not begin while you hold {changed.name}: give the lock back, for example with ringroad diagnose unlock, and {hint}"
        raise Conflict("an update is under way", code=UPDATING, hint=hint)

    async def _component(self, ask: Ask) -> Body:
        return (await self._stands(self._ecu(ask)))[0]

    async def _stands(self, ecu: EcuOnBoard) -> tuple[Body, EcuInventory | None]:
        """Return how an ECU stands, and what it told of itself; None where it was not asked, or gave no answer."""
        entry = self._entry(ecu)
        if not self._place.orchestrator.quiet:
            return {**entry, "state": "Updating"}, None
        answer = await self._place.orchestrator.ecus.inventory(ecu.serial)
        return {**entry, **standing(answer)}, None if isinstance(answer, Failed) else answer

    async def _catalogue(self, ask: Ask, categories: list[str] | None) -> list[Body]:
        ecu = self._ecu(ask)
        way, writes = self._known(ecu), self._writes(ecu.name)
        if isinstance(way, UdsWay):  # it is known by name, and nobody has to wait for its line
            return did_data.listed(await way.data(), categories, writes)
        async with self._alone(ecu) as way:
            return did_data.listed(await way.data(), categories, {})

    async def _data(self, ask: Ask, session: Session) -> Body:
        data_id, writes = did_data.parse_id(ask.names[1]), self._writes(ask.component)
        places.require(session, data_id)
        async with self._alone(self._ecu(ask)) as way:
            return places.told_to(session, await read_datum(way, data_id, writes))

    def _writes(self, component: str) -> Mapping[int, Writable]:
        return self._place.writes.get(component, {})

    async def _write(self, ask: Ask, session: Session, body: Body) -> Body:
        ecu, did = self._ecu(ask), did_data.parse_did(ask.names[1])
        wanted = writing.require_writable(self._writes(ecu.name), ecu.name, did)
        places.require(session, wanted.name)  # the answer has what was there before
        data = wanted.encode(body.get("data"))
        async with self._line(ecu, (ask, session.id)) as line, self._modes.extended(ecu.name, line):
            held = await writing.write_value(line, wanted, data)
        return {**did_data.describe(did, self._writes(ecu.name)), **held}

    async def _value(self, session_id: str, component: str, data_id: str) -> Any:
        session = self._sessions.require(session_id, now=self._place.clock.now())
        writable = self._writes(component).get(int(data_id, 16)) if did_data.is_did(data_id) else None
        places.require(session, data_id, writable.name if writable is not None else "")
        async with self._alone(self._named(component)) as way:
            return places.told_to(session, await way.read(data_id))["data"]

    async def _subscription(self, ask: Ask, session: Session, request: DiagnosticRequest) -> Body:
        parse = self._known(self._ecu(ask)).parse
        match ask.what:
            case "subscribe":
                begun = self.cyclic.start(
                    request.id,
                    ask.component,
                    request.body,
                    session=session.id,
                    expires_at=session.expires_at,
                    parse=parse,
                )
                return dict(plain(begun))
            case "subscription":
                return dict(plain(self.cyclic.get(ask.component, ask.names[1], session.id)))
            case "unsubscribe":
                return dict(plain(await self.cyclic.stop(ask.component, ask.names[1], session.id)))
            case _:
                return {"items": plain(self.cyclic.of(ask.component, session.id))}

    # Faults ----------------------------------------------------------------------------------------

    async def _faults(self, component: str, mask: int) -> list[Body]:
        async with self._alone(self._named(component)) as way:
            return [plain(fault_status(*each)) for each in await way.faults(mask)]

    async def _health(self, mask: int) -> Body:
        """Ask every ECU for its faults; one that does not answer is told beside the others, and hides none."""
        items: list[Body] = []
        silent: list[Body] = []
        for ecu in self._on_board():
            try:
                items += [{"component": ecu.name, **each} for each in await self._faults(ecu.name, mask)]
            except RingroadError as error:
                silent.append({"component": ecu.name, "code": error.code, "message": error.message})
        return {"items": items, "silent": silent}

    async def _fault(self, ask: Ask) -> Body:
        dtc_bytes(ask.names[1])  # what is no code is refused before anybody is asked
        async with self._alone(self._ecu(ask)) as way:
            return await read_fault(way, ask.names[1])

    async def _clear(self, ask: Ask, session: Session) -> Body:
        code = ask.names[1] if len(ask.names) > 1 else ""
        if code:
            dtc_bytes(code)
        async with self._alone(self._ecu(ask), (ask, session.id)) as way:
            await way.clear(code)
            left = await way.faults(MASK_ALL)
        return {"cleared": code or "all", "left": [plain(fault_status(*each)) for each in left]}

    # Operations and modes --------------------------------------------------------------------------

    async def _operation(self, ask: Ask) -> Body:
        offered = self._known(self._ecu(ask)).operations
        if ask.what == "operations":
            return {"items": operations.catalogue(offered)}
        operation = ask.names[1]
        operations.require_operation(operation)
        if ask.what == "executions":
            return {"items": plain(self.executions.of(ask.component, operation))}
        found = self.executions.get(ask.component, operation, ask.names[2])
        return dict(plain(await self.executions.stop(found) if ask.what == "stop" else found))

    def _execute(self, ask: Ask, session: Session, execution_id: str) -> Body:
        ecu, operation = self._ecu(ask), ask.names[1]
        operations.require_operation(operation)
        way = self._known(ecu)
        if operation not in way.operations:
            raise NotOffered(ecu.name, operation, (*way.offers, *way.operations))
        self._require_resting(ecu)

        async def work() -> Body:
            async with self._alone(ecu, (ask, session.id)) as way:
                return await way.operate(operation)

        begun = operations.Execution(
            id=execution_id, component=ecu.name, operation=operation, session=session.id, by=session.by,
            status="running", started_at=self._place.clock.now(),
        )  # fmt: skip
        return dict(plain(self.executions.start(begun, work)))

    def _mode_list(self, ask: Ask) -> list[Body]:
        offered = MODES in self._known(self._ecu(ask)).offers
        return list(plain(self._modes.of(ask.component))) if offered else []

    async def _mode(self, ask: Ask, session: Session, body: Body) -> Body:
        ecu, value = self._ecu(ask), body.get("value")
        if not isinstance(value, str):
            raise InvalidInput("value is the mode's new value", hint="its modes list what each may be")
        seconds = whole(body, "mode_expiration", default=MODE_S, least=1, most=MODE_S_MAX)
        until = min(self._place.clock.now() + timedelta(seconds=seconds), session.expires_at)
        await self._modes.set(
            ecu.name, ask.names[1], value, session=session.id, expires_at=until,
            line=lambda: self._line(ecu), changing=lambda: self._line(ecu, (ask, session.id)),
        )  # fmt: skip
        return {"items": self._mode_list(ask)}

    # Bulk data -------------------------------------------------------------------------------------

    async def _bulk(self, ask: Ask, session: Session, body: Body) -> Body:
        if ask.what == "bulk":
            return {"items": [{"id": key, "name": name} for key, name in bulk.CATEGORIES.items()]}
        category = ask.names[0]
        names = [ecu.name for ecu in self._on_board()]
        if ask.what == "bulk_items":
            bulk.require_category(category)
            return {"items": [{"id": each} for each in (names if category == "ecus" else [bulk.NEWEST])]}
        item, place = ask.names[1], "/".join(ask.names)
        bulk.require_item(category, item, names)
        offset = whole(body, "offset", default=0, least=0, most=BULK_BYTES_MAX)
        length = whole(body, "length", default=BULK_CHUNK_BYTES_MAX, least=1, most=BULK_CHUNK_BYTES_MAX)
        sha256 = body.get("sha256", "")
        if not isinstance(sha256, str):
            raise InvalidInput("sha256 is the digest that the first chunk came with")
        if not sha256:  # whoever names none begins
            lines = await self._ecu_lines(item) if category == "ecus" else self._place.bulk[category]()
            # In a thread: it is megabytes, and an update may be under way.
            self._texts.begin(session.id, place, await asyncio.to_thread(bulk.text_of, lines))
        chunk = self._texts.chunk(session.id, place, offset=offset, length=length, sha256=sha256)
        return {"category": category, "id": item, **chunk}

    async def _ecu_lines(self, component: str) -> list[Body]:
        """Return what an ECU says of itself, and each of its faults with what surrounded it."""
        self._require_resting()
        ecu = self._named(component)
        entry, known = await self._stands(ecu)
        if known is None:
            return [entry]
        return await sheet_of(entry, lambda: self._alone(ecu, known=known), self._writes(component))

    # Updates ---------------------------------------------------------------------------------------

    def _update(self, ask: Ask, session: Session) -> Body:
        """Show what the Director assigned, or let the orchestrator look at it now; it alone decides what follows."""
        now = self._place.clock.now()

        def free(components: Sequence[str]) -> None:
            held = [one for one in components if self._locks.of(one, now=now) is not None]
            for component in held:
                self._locks.require(component, session=session.id, now=now)
            for component in held:
                self._locks.release(component, session=session.id, now=now)

        return updates.answered(ask, self._place.orchestrator, free=free)

    # Locks -----------------------------------------------------------------------------------------

    def _lock_list(self, ask: Ask) -> Body:
        self._ecu(ask)
        lock = self._locks.of(ask.component, now=self._place.clock.now())
        return {"items": [plain(lock)] if lock is not None else []}

    def _lock(self, ask: Ask, session: Session, body: Body) -> Body:
        ecu, now, at = self._ecu(ask), self._place.clock.now(), self._place.orchestrator
        held = self._locks.of(ask.component, now=now)
        if held is None and not at.quiet and ecu.serial in at.state.ecus:
            raise Conflict(
                f"an update is under way on {ecu.name}", code=UPDATING, hint="try again when it is over"
            )
        seconds = whole(body, "lock_expiration", default=LOCK_S, least=LOCK_S_MIN, most=LOCK_S_MAX)
        lock = self._locks.take(
            ask.component, session=session.id, by=session.by, seconds=seconds, now=now, until=session.expires_at,
        )  # fmt: skip
        return {"items": [plain(lock)]}


def _mask(body: Mapping[str, Any]) -> int:
    return whole(body, "mask", default=MASK_ALL, least=1, most=0xFF)
