"""Tells how far a download or a flash is: the server once a second at most, and whoever looks at the vehicle at any time.

Nothing of it is kept or decided on; of each ECU only the newest number counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.protocol.vehicle import Report
from ringroad.vehicle.agents.base import FlashStep
from ringroad.vehicle.ecu_tries import EcuTry
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.states import CampaignState

PROGRESS_S: Final = 1.0  # s; between two progress reports
WEARS: Final[frozenset[FlashStep]] = frozenset({"erase", "transfer"})  # what of a flash wears it
NOBODY: Final[Mapping[str, tuple[int, int]]] = MappingProxyType({})


class ProgressReports:
    """Progress of one vehicle's campaign."""

    def __init__(self, *, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._told_at_s = 0.0
        self._state = ""  # in which what follows was heard
        self._done: dict[str, tuple[int, int]] = {}
        self._steps: dict[str, FlashStep] = {}
        self._answers: dict[str, EcuTry | None] = {}  # the newest failed try of an ECU when it was last heard

    def of(self, serial: str) -> EcuProgress:
        """Return what to call with the bytes that are done and all bytes of one ECU's step."""
        return EcuProgress(self, serial)

    def done(self) -> Mapping[str, tuple[int, int]]:
        """Return bytes done and in all by serial, in the vehicle's present state."""
        return self._done if self._state == self._memory.state.state else NOBODY

    def answers(self, serial: str) -> None:
        """Take that an ECU is at work: what its try before failed for is over."""
        self._answers[serial] = self._memory.state.failing.get(serial)

    def seen(self) -> CampaignState:
        """Return the vehicle's state without the failed tries of ECUs that were heard since; nothing is decided on it."""
        state = self._memory.state
        heard = {serial for serial, one in state.failing.items() if self._answers.get(serial) == one}
        if not heard or state.resting:
            return state
        failing = {serial: one for serial, one in state.failing.items() if serial not in heard}
        return replace(state, unreachable=state.unreachable - heard, failing=failing)

    def hear(self, serial: str, done_bytes: int, total_bytes: int) -> None:
        """Take how far one ECU is, and tell the server unless it was told just now."""
        self._enter()
        self._done[serial] = (done_bytes, total_bytes)
        now_s = self._clock.monotonic_s()
        if now_s - self._told_at_s >= PROGRESS_S:
            self._told_at_s = now_s
            self._tell(serial)

    def at(self, serial: str, step: FlashStep) -> None:
        """Take the step of a flash that one ECU begins, and tell the server: there are few."""
        self._enter()
        if self._steps.get(serial) != step:
            self._steps[serial] = step
            self._tell(serial)

    def _enter(self) -> None:
        state = self._memory.state.state
        if state != self._state:
            self._state, self._done, self._steps = state, {}, {}

    def _tell(self, serial: str) -> None:
        state = self._memory.state
        if state.action_id is None:
            return
        done_bytes, total_bytes = self._done.get(serial, (0, 0))
        step = self._steps.get(serial, "")
        answering = replace(state, unreachable=frozenset())  # else there was nothing to hear
        # The same step and bytes after a restart are the same report.
        place = f"{step}.{done_bytes}" if step else f"{done_bytes}"
        self._memory.outbox.put_progress(
            Report(
                id=f"{state.epoch}.{state.action_id}.{state.state}.{serial}.{place}",
                action_id=state.action_id,
                state=state.state,
                at=self._clock.now(),
                ecu=serial,
                ecu_state=str(answering.told(serial)) if serial in state.ecus else "",
                done_bytes=done_bytes,
                total_bytes=total_bytes,
                detail=step,
            )
        )


class EcuProgress:
    """Progress of one try on one ECU, for its agent.

    Attributes:
        began: it began to erase; or, of an agent that tells no steps, it transferred again what was there before, so that
            a transfer that is taken up where it broke is none.
    """

    __slots__ = ("_all", "_before_bytes", "_serial", "_steps", "began")

    def __init__(self, reports: ProgressReports, serial: str) -> None:
        self._all = reports
        self._serial = serial
        self._before_bytes = reports.done().get(serial, (0, 0))[0]
        self._steps = False
        self.began = False

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Hear what is done."""
        self.began = self.began or (not self._steps and 0 < done_bytes <= self._before_bytes)
        self._all.answers(self._serial)
        self._all.hear(self._serial, done_bytes, total_bytes)

    def at(self, step: FlashStep) -> None:
        """Hear that a step begins."""
        self._steps = True
        self.began = self.began or step in WEARS
        if step != "session":  # that one is told before the ECU answers
            self._all.answers(self._serial)
        self._all.at(self._serial, step)
