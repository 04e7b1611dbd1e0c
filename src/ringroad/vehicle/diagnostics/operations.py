"""Operations of an ECU and their executions: begun by one request, looked at by later ones.

One runs per component; how it ends is kept in memory. What came over the link is noted there (`link.py`), and a restart
takes it from there again: what it cut off has failed, and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

import msgspec
import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Conflict, NotFound, RingroadError, Unavailable
from ringroad.vehicle.agents.base import Reason
from ringroad.vehicle.agents.session import RESTART_PAUSE_S, EcuSession, Refusal
from ringroad.vehicle.agents.wire import Did, Rid
from ringroad.vehicle.uds import NegativeResponse, Session

KEPT_MAX: Final = 32  # executions of one vehicle that are remembered
OPERATION_S_MAX: Final = (
    120.0  # s; the slowest restart we allow is 20 s, a self-test answers pending meanwhile
)
RESTART: Final = "reset"
CUT_OFF: Final = "the vehicle was restarted in the middle of it, and what it did is not known"
SHUT_DOWN: Final = "the vehicle's process was ended"

_log = structlog.get_logger(__name__)

State = Literal["running", "completed", "failed", "stopped"]
Result = dict[str, Any]


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One run of an operation. `session` is whose it is."""

    id: str
    component: str
    operation: str
    session: str
    by: str
    status: State
    started_at: datetime
    ended_at: datetime | None = None
    result: dict[str, Any] = msgspec.field(default_factory=dict)
    error: str = ""


async def _reset(ecu: EcuSession) -> Result:
    """ECUReset (0x11), and wait until the ECU has started again: in a session that it was not left in.

    Raises:
        Refusal: it is another ECU then, it was not seen to start, or it does not tell its session.
    """
    async with _extended(ecu):
        try:
            await ecu.uds.reset()
        except NegativeResponse:
            raise
        except Unavailable:
            pass  # it may restart before it answers
        ecu.uds.entered = None  # whatever it answered, until it was seen
        await _started_again(ecu)
        version = (await ecu.uds.read(Did.SOFTWARE_VERSION)).decode("ascii", "replace")
    return {"software_version": version}


@asynccontextmanager
async def _extended(ecu: EcuSession) -> AsyncIterator[None]:
    """Have an ECU in its extended session, which it leaves whatever happens, unless a mode kept it there before."""
    kept = ecu.uds.entered is Session.EXTENDED
    try:
        await ecu.uds.session(Session.EXTENDED)
        yield
    finally:
        if kept:
            ecu.uds.entered = ecu.uds.entered or Session.EXTENDED
        elif ecu.uds.entered is not Session.DEFAULT:
            ecu.uds.entered = None  # until it says that it did: whoever looks for its faults goes on with it
            with contextlib.suppress(RingroadError, Refusal):
                await ecu.identify()
                await ecu.uds.session(Session.DEFAULT)


async def _started_again(ecu: EcuSession) -> None:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + ecu.access.restart_s_max
    while True:
        over = loop.time() >= give_up_at
        try:
            await ecu.identify()
            if await ecu.uds.read(Did.ACTIVE_SESSION) == bytes([Session.DEFAULT]):
                ecu.uds.entered = Session.DEFAULT
                return
            if over:
                why = f"no restart was seen in {ecu.access.restart_s_max:g} s"
                raise Refusal(Reason.BOOT_FAILED, why)
        except NegativeResponse as negative:
            if over or not isinstance(negative, Unavailable):  # it is not busy alone
                raise
        except Unavailable:
            await ecu.channel.close()
            if over:
                raise
        await asyncio.sleep(RESTART_PAUSE_S)


async def _self_test(ecu: EcuSession) -> Result:
    return {"passed": await _routine(ecu, Rid.SELF_TEST) == b"\x00"}


async def _preconditions(ecu: EcuSession) -> Result:
    return {"ready": await _routine(ecu, Rid.CHECK_PRECONDITIONS) == b"\x00"}


async def _routine(ecu: EcuSession, rid: int) -> bytes:
    async with _extended(ecu):
        return await ecu.run_routine(rid)


OPERATIONS: Final[Mapping[str, tuple[str, Callable[[EcuSession], Awaitable[Result]]]]] = {
    RESTART: ("restart the ECU and wait until it answers", _reset),
    "self-test": ("let the ECU test itself", _self_test),
    "check-preconditions": ("ask the ECU whether it could be flashed now", _preconditions),
}


def catalogue(offered: Collection[str]) -> list[dict[str, Any]]:
    """Return the operations that an ECU offers, as an answer lists them."""
    return [{"id": key, "name": name} for key, (name, _) in OPERATIONS.items() if key in offered]


def require_operation(operation: str) -> None:
    """Raise unless there is such an operation. Raises: NotFound."""
    if operation not in OPERATIONS:
        raise NotFound(f"there is no operation {operation[:40]!r}", hint=", ".join(OPERATIONS))


class Executions:
    """The executions of one vehicle. `tell` hears of each how it ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.tell: Callable[[Execution], None] = lambda _: None
        self._known: OrderedDict[str, Execution] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[Execution]] = {}  # of those that run
        self._stopping: set[str] = set()  # of those that run
        self._halted: dict[str, str] = {}  # why, of those that the vehicle stopped itself

    def start(self, begun: Execution, work: Callable[[], Awaitable[Result]]) -> Execution:
        """Begin an execution, and return it as it runs.

        Args:
            begun: what is to run, for whom.
            work: does it, where the session may change the ECU now.

        Raises:
            Conflict: another runs on the component.
        """
        for running in self._tasks:
            if self._known[running].component == begun.component:
                raise Conflict(
                    f"{self._known[running].operation} runs on {begun.component}", code="operation_running"
                )
        self._known[begun.id] = begun
        over = len(self._known) - KEPT_MAX
        for key in [each for each in self._known if each not in self._tasks and each != begun.id][
            : max(0, over)
        ]:
            del self._known[key]
        task = asyncio.create_task(_run(begun, work))
        self._tasks[begun.id] = task
        task.add_done_callback(partial(self._ended, begun))
        return begun

    def recall(self, earlier: Iterable[Execution]) -> None:
        """Know executions of an earlier life, which are over; oldest first."""
        for each in list(earlier)[-KEPT_MAX:]:
            self._known[each.id] = each

    def get(self, component: str, operation: str, execution_id: str) -> Execution:
        """Return one execution. Raises: NotFound."""
        found = self._known.get(execution_id)
        if found is None or (found.component, found.operation) != (component, operation):
            raise NotFound(
                "there is no such execution, or it was before a restart of the vehicle", hint="begin it again"
            )
        return found

    def of(self, component: str, operation: str) -> list[Execution]:
        """Return the executions of an operation, newest first."""
        found = [
            each
            for each in self._known.values()
            if (each.component, each.operation) == (component, operation)
        ]
        return found[::-1]

    async def stop(self, execution: Execution) -> Execution:
        """Stop an execution that runs; what the ECU did by then is done."""
        task = self._tasks.get(execution.id)
        if task is not None:
            self._cancel(execution.id, task)
            await asyncio.wait({task})
            await asyncio.sleep(0)  # what is called when a task is done is called a turn later
        return self._known[execution.id]

    def sessions(self) -> set[str]:
        """Return the sessions of what runs."""
        return {self._known[key].session for key in self._tasks}

    def drop(self, session: str) -> None:
        """Stop what a session began; what is being stopped is left to put its ECU back."""
        for key, task in list(self._tasks.items()):
            if self._known[key].session == session:
                self._cancel(key, task)

    def halt(self, why: str) -> None:
        """Stop what moves something: all but restarts, of which nothing is left to be stopped once they are ordered.

        It may be called every second; what is being stopped is left to put its ECU back.
        """
        for key, task in list(self._tasks.items()):
            if self._known[key].operation != RESTART and key not in self._stopping:
                self._halted[key] = why
                self._cancel(key, task)

    async def end(self) -> None:
        """Stop everything; the vehicle shuts down."""
        tasks = dict(self._tasks)
        for key, task in tasks.items():
            if key not in self._stopping:
                self._halted[key] = SHUT_DOWN
            self._cancel(key, task)
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    def _cancel(self, key: str, task: asyncio.Task[Execution]) -> None:
        # Once: what puts the ECU back meanwhile would be cut off by another.
        if key not in self._stopping:
            self._stopping.add(key)
            task.cancel()

    def _ended(self, begun: Execution, task: asyncio.Task[Execution]) -> None:
        self._stopping.discard(begun.id)
        # A task that is stopped before it began runs none of its own lines: so not there.
        why = self._halted.pop(begun.id, "")
        ended = msgspec.structs.replace(begun, status="stopped") if task.cancelled() else task.result()
        if why and ended.status == "stopped":
            ended = msgspec.structs.replace(ended, error="; ".join(filter(None, (why, ended.error))))
        self._known[begun.id] = msgspec.structs.replace(ended, ended_at=self._clock.now())
        self._tasks.pop(begun.id, None)
        self.tell(self._known[begun.id])


async def _run(begun: Execution, work: Callable[[], Awaitable[Result]]) -> Execution:
    try:
        async with asyncio.timeout(OPERATION_S_MAX):
            result = await work()
    except RingroadError as error:
        return msgspec.structs.replace(begun, status="failed", error=error.message)
    except asyncio.CancelledError as cut:
        return msgspec.structs.replace(begun, status="stopped", error="; ".join(_notes(cut)))
    except TimeoutError as late:
        why = "; ".join((f"not over after {OPERATION_S_MAX:g} s", *_notes(late.__cause__)))
        return msgspec.structs.replace(begun, status="failed", error=why)
    except Exception as error:  # noqa: BLE001 - a fault of ours ends this one, and is told
        _log.exception("vehicle.operation_failed", operation=begun.operation, component=begun.component)
        return msgspec.structs.replace(begun, status="failed", error=f"internal: {type(error).__name__}")
    return msgspec.structs.replace(begun, status="completed", result=result)


def _notes(cut: BaseException | None) -> tuple[str, ...]:
    """Return what was noted where work was cut off."""
    return tuple(getattr(cut, "__notes__", ()))
