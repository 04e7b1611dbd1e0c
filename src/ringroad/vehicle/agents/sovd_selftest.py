"""The self-test of an ECU behind HTTP: answered at once, or by an execution that is asked for until it is over.

As SOVD has operations: 200 with the result, or 202 with an ``id`` and the status ``running``; then GET of that execution, and
DELETE to stop it. An ECU that answers at once has no execution, so it cannot be told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from ringroad.kernel.errors import RingroadError, Unavailable
from ringroad.vehicle.agents.base import Reason
from ringroad.vehicle.agents.session import STOP_S_MAX, STOP_TRIES, UNCONFIRMED, Refusal, see_through
from ringroad.vehicle.agents.sovd_wire import Execution, Executions, NotThere, Passed, decode

EXECUTIONS: Final = "/operations/self-test/executions"
POLL_S: Final = 0.1
SELF_TEST_S_MAX: Final = 300.0  # s; longer than an operation of diagnostics may take
EXECUTIONS_MAX: Final = 16  # that are stopped, where it is not known which one was begun

Ask = Callable[[str, str], Awaitable[bytes]]  # method and path; raises Unavailable and Refusal


async def self_test(ask: Ask) -> bool:
    """Let the ECU test itself, and say whether it passed.

    An answer that is lost on the way is asked for again. Whatever ends this before the test is known to be over has it
    stopped on the ECU; what is not known of that is noted on a `CancelledError`, and said with a test that took too long.

    Raises:
        Unavailable: it does not answer.
        Refusal: it does not test itself, not to the end, or not within `SELF_TEST_S_MAX`.
        InvalidInput: what it answers is not understood.
    """
    run = _Run()
    try:
        async with asyncio.timeout(SELF_TEST_S_MAX):
            return await _followed(ask, run)
    except asyncio.CancelledError as cut:
        if note := await see_through(_stop(ask, run.begun)):
            cut.add_note(note)
        raise
    except TimeoutError as late:
        note = await see_through(_stop(ask, run.begun))
        if run.lost is not None:
            raise run.lost from late
        why = f"the ECU's self-test is not over after {SELF_TEST_S_MAX:g} s"
        raise Refusal(Reason.SELF_TEST_FAILED, "; ".join(filter(None, (why, note)))) from late
    except (Refusal, RingroadError) as error:
        # An answer to POST that is lost would have named what was begun.
        if not run.over and (run.begun or isinstance(error, Unavailable)):
            await see_through(_stop(ask, run.begun))
        raise


@dataclass(slots=True)
class _Run:
    """What is known of a self-test: its execution, whether it is over, and why it is not known how it stands now."""

    begun: str = ""
    over: bool = False
    lost: Unavailable | None = None


async def _followed(ask: Ask, run: _Run) -> bool:
    body = await ask("POST", EXECUTIONS)
    told = decode(body, Execution)
    run.begun = told.id
    while told.status == "running" and run.begun:
        await asyncio.sleep(POLL_S)
        try:
            body = await ask("GET", _place(run.begun))
        except Unavailable as lost:
            run.lost = lost
            continue
        run.lost = None
        told = decode(body, Execution)
    if told.status in {"failed", "stopped"}:
        run.over = True
        raise Refusal(Reason.ECU_REFUSED, f"the ECU says that its self-test {told.status}")
    return decode(body, Passed).passed


def _place(execution: str) -> str:
    return f"{EXECUTIONS}/{quote(execution, safe='')}"


async def _stop(ask: Ask, begun: str) -> str:
    """Stop what was begun. Returns why it may run still; empty if it does not."""
    why = "it does not answer"
    for _ in range(STOP_TRIES):
        try:
            async with asyncio.timeout(STOP_S_MAX):
                known = [begun] if begun else await _running(ask)
                for one in known:
                    await _end(ask, one)
        except (Unavailable, TimeoutError):
            continue
        except Refusal as refusal:
            why = refusal.failed.detail or str(refusal.failed.reason)
            break
        except RingroadError as error:
            why = error.message
            break
        if known:
            return ""
        return "the ECU is no longer waited for: it has no execution that could be stopped"
    return f"{UNCONFIRMED}: {why}"


async def _running(ask: Ask) -> list[str]:
    """Ask for what runs, where the answer that would have named it was no longer waited for."""
    try:
        listed = decode(await ask("GET", EXECUTIONS), Executions).items[:EXECUTIONS_MAX]
    except NotThere:
        return []
    return [each.id for each in listed if each.id and each.status == "running"]


async def _end(ask: Ask, execution: str) -> None:
    with contextlib.suppress(NotThere):  # then it is over
        await ask("DELETE", _place(execution))
