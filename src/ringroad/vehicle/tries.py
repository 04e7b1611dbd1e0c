"""Writes down what a step came to, counts what failed, and says how long to wait until it is tried again.

How often something may fail is decided in `decide`; the counts are those of the journal, so that a restart changes none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Corrupt, RingroadError, Untrusted
from ringroad.vehicle import decide
from ringroad.vehicle.agents.base import Done, Outcome
from ringroad.vehicle.backoff import backoff_s
from ringroad.vehicle.memory import Memory
from ringroad.vehicle.states import EcuMoved, EcuState, Moved, Noted, Tried

NOTES_MAX: Final = 50  # notes per state; a term that flickers must not fill the disk
OFFLINE: Final = "offline"
# The network's, not the campaign's.
NETWORK_CODES: Final = frozenset({OFFLINE, "unavailable", "slow_retrieval"})


class Tries:
    """What the steps of one vehicle's campaign came to."""

    def __init__(
        self, *, memory: Memory, clock: Clock, fraction: Callable[[], float], retry_base_s: float
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._fraction = fraction
        self._retry_base_s = retry_base_s
        self._network_failures = 0

    def after_verb(
        self, outcome: Outcome, *, what: str, serial: str, done: EcuState, began: bool = False
    ) -> float:
        """Take what a verb of an ECU's agent came to, and move the ECU, unless it is tried again.

        Args:
            outcome: of the verb.
            what: was tried, as it is counted.
            serial: of the ECU.
            done: where it stands if it was done.
            began: it had begun to erase, or to transfer.
        """
        if isinstance(outcome, Done):
            self.move_ecu(serial, done)
            return 0.0
        what, tries_max = decide.bound_of(what, outcome.reason, began=began)
        tries = self._memory.state.tries.get(what, 0) + 1
        if outcome.retryable and tries < tries_max:
            return self.again(what, outcome.reason, outcome.detail, tries_max=tries_max)
        self.move_ecu(serial, EcuState.FAILED, code=outcome.reason, detail=outcome.detail)
        return 0.0

    def after_network(self, error: RingroadError, *, what: str, tries_max: int) -> float:
        """Wait after a failed exchange; only what is not the network's fault counts as a try."""
        if isinstance(error, Corrupt):
            raise error
        if isinstance(error, Untrusted):
            return self.end(error.code, error.message)
        if error.code in NETWORK_CODES:
            return self.wait_for_network(error)
        return self.try_again(what, error.code, error.message, tries_max=tries_max)

    def wait_for_network(self, error: RingroadError) -> float:
        """Wait for a network that is away, however often."""
        self.note(error.code, error.message, "")
        self._network_failures += 1
        return self.backoff(self._network_failures)

    def network_answered(self) -> None:
        """Begin with short waits when the network is away the next time."""
        self._network_failures = 0

    def try_again(self, what: str, code: str, detail: str, *, tries_max: int) -> float:
        """Wait before `what` is tried again, or end the campaign for it."""
        tries = self._memory.state.tries.get(what, 0) + 1
        if tries >= tries_max:
            return self.end(code, detail)
        return self.again(what, code, detail, tries_max=tries_max)

    def again(self, what: str, code: str, detail: str, *, tries_max: int) -> float:
        """Count one failed try of `what`, and return the seconds until the next; 0 after the last."""
        tries = self._memory.state.tries.get(what, 0) + 1
        wait_s = self.backoff(tries) if tries < tries_max else 0.0
        now = self._clock.now()
        again_at = now + timedelta(seconds=wait_s) if wait_s else None
        self._memory.write(
            Tried(what=what, at=now, code=code, detail=detail, tries_max=tries_max, again_at=again_at)
        )
        return wait_s

    def end(self, code: str, detail: str) -> float:
        """End the campaign with nothing installed."""
        self._memory.write(Moved(state="FAILED", at=self._clock.now(), code=code, detail=detail))
        return 0.0

    def tried(self, what: str, code: str, detail: str) -> None:
        """Count one failed try of `what`."""
        self._memory.write(Tried(what=what, at=self._clock.now(), code=code, detail=detail))

    def note(self, code: str, detail: str, about: str) -> None:
        """Note why nothing goes on, unless that was the last note."""
        state = self._memory.state
        if state.noted != (code, about) and state.notes < NOTES_MAX:
            self._memory.write(Noted(code=code, at=self._clock.now(), about=about, detail=detail))

    def move_ecu(self, serial: str, state: EcuState, *, code: str = "", detail: str = "") -> None:
        """Say where an ECU stands from now on."""
        now = self._clock.now()
        self._memory.write(EcuMoved(serial=serial, state=state, at=now, code=code, detail=detail))

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures."""
        return backoff_s(failures, fraction=self._fraction(), base_s=self._retry_base_s)
