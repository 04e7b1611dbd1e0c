"""Looks at the preconditions while one ECU is installed, and stops its agent before the old software is gone.

Until the erase begins, an installation pauses; from there on the ECU is finished, and the update pauses after it.
An A/B ECU that runs its old software is not restarted into the new one while a precondition does not hold.

Invariant: nothing here stops between the first erased byte and the last check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from ringroad.protocol.preconditions import Refusal
from ringroad.vehicle.agents.base import Failed, PausableAgent, UpdateAgent
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.states import EcuPlan

LOOK_AGAIN_S: Final = 2.0  # s; between two looks at preconditions and consent
PAUSES_MAX: Final = (
    100  # per ECU; a term that holds until each erase is a fault, and must not fill the journal
)

Note = Callable[[str, str, str], None]  # code, detail, about


@dataclass(slots=True)
class Watch:
    """What was seen during one installation; `paused` once it was stopped before it erased or restarted the ECU."""

    paused: bool = False


class Hold:
    """Holds the restart of an A/B ECU back while a precondition does not hold."""

    def __init__(self, refusal: Callable[[], Refusal | None], note: Note) -> None:
        self._refusal = refusal
        self._note = note
        self._serial = ""  # of the ECU held back; asking it at every look may have it hash a whole bank

    async def look(self, agent: UpdateAgent, ecu: EcuPlan) -> Refusal | None:
        """Return what keeps `ecu` from being activated now; None if nothing does, or if that would not restart it."""
        found = None if ecu.in_place else self._refusal()
        if found is None:
            self._serial = ""
            return None
        if self._serial != ecu.serial:
            answer = await agent.inventory()
            if not isinstance(answer, Failed):
                if answer.running is not None and answer.running.sha256 == ecu.target.sha256:
                    return None
                self._serial = ecu.serial
        self._note("precondition", found.text, found.term)
        return found


@asynccontextmanager
async def watched(
    agent: UpdateAgent, refusal: Callable[[], Refusal | None], note: Note
) -> AsyncIterator[Watch]:
    """Look at the preconditions as long as the block runs, and answer the agent's question before it erases.

    Args:
        agent: at work in the block.
        refusal: the precondition that does not hold now.
        note: writes down what is worth telling.
    """
    watch = Watch()

    def before_erase() -> str:
        found = refusal()
        if found is None:
            return ""
        watch.paused = True
        return found.text

    pausable = agent if isinstance(agent, PausableAgent) else None
    if pausable is not None:
        pausable.ask_before_erase(before_erase)
    looking = asyncio.create_task(_look(refusal, note))
    try:
        yield watch
    finally:
        looking.cancel()
        await asyncio.wait([looking])
        failed = None if looking.cancelled() else looking.exception()
        if pausable is not None:
            pausable.ask_before_erase(None)
    if failed is not None:
        raise failed  # what was seen could not be written down


async def _look(refusal: Callable[[], Refusal | None], note: Note) -> None:
    while True:
        await asyncio.sleep(LOOK_AGAIN_S)
        end_if_cancelled()
        found = refusal()
        if found is not None:
            note("precondition", f"{found.text}; this ECU is finished first", found.term)
