"""The self-test of an ECU behind HTTP: answered at once, or by an execution that is asked for until it is over.

As SOVD has operations: 200 with the result, or 202 with an ``id`` and the status ``running``; then GET of that execution, and
DELETE to stop it. An ECU that answers at once has no execution, so it cannot be told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote

from ringroad.kernel.errors import RingroadError, Unavailable
from ringroad.vehicle.agents.base import Reason
from ringroad.vehicle.agents.session import STOP_S_MAX, STOP_TRIES, UNCONFIRMED, Refusal, see_through
from ringroad.vehicle.agents.sovd_wire import Execution, Executions, NotThere, Passed, decode

EXECUTIONS: Final = "/operations/self-test/executions"
POLL_S: Final = 0.1
EXECUTIONS_MAX: Final = 16  # that are stopped, where it is not known which one was begun

Ask = Callable[[str, str], Awaitable[bytes]]  # method and path; raises Unavailable and Refusal


async def self_test(ask: Ask) -> bool:
    """Let the ECU test itself, and say whether it passed; who cuts that off has it stopped on the ECU.

    What is not known of that is noted on the `CancelledError`.

    Raises:
        Unavailable: it does not answer.
        Refusal: it does not test itself, or not to the end.
        InvalidInput: what it answers is not understood.
    """
    begun = ""
    try:
        body = await ask("POST", EXECUTIONS)
        told = decode(body, Execution)
        begun = told.id
        while told.status == "running" and begun:
            await asyncio.sleep(POLL_S)
            body = await ask("GET", _place(begun))
            told = decode(body, Execution)
    except asyncio.CancelledError as cut:
        if note := await see_through(_stop(ask, begun)):
            cut.add_note(note)
        raise
    if told.status in {"failed", "stopped"}:
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
