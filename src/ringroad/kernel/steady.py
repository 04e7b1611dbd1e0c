"""Does a process' wall clock go with its monotonic clock? Who decides by the wall clock asks first.

Not here: whether the clock is right. At its start a process takes it as it is, for it has no look before to compare.

Invariant: a clock that was set and set back, however often, is never taken in between for less than `SETTLE_S`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.kernel.hours import length_words

STEP_S_MAX: Final = (
    300.0  # seconds; more than clocks of machines differ, and than a time server steps once it runs
)
SETTLE_S: Final = (
    600.0  # seconds; a clock that stands elsewhere for so long was set on purpose, or the machine slept
)
HINT: Final = "see that the clock is right, and a time service runs: campaigns are decided on once it is back, or ten minutes on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The wall clock at one time, and by how many seconds it was set since it was last taken: 0 for not at all."""

    now: datetime
    step_s: float = 0.0

    @property
    def text(self) -> str:
        """Return ``ok``, or what became of the clock."""
        way = "ahead" if self.step_s > 0 else "back"
        return f"was set {length_words(round(abs(self.step_s)))} {way}" if self.step_s else "ok"


class Steady:
    """Looks at both clocks again and again; of one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_s: float | None = None  # of the wall clock from the monotonic one, as it was last taken
        self._elsewhere: tuple[float, float] | None = None  # the offset that it has now, since when

    def look(self) -> Look:
        """Read the wall clock, and compare."""
        now, at_s = self._clock.now(), self._clock.monotonic_s()
        offset_s = now.timestamp() - at_s
        step_s = 0.0 if self._offset_s is None else offset_s - self._offset_s
        if abs(step_s) > STEP_S_MAX:
            if self._elsewhere is None or abs(offset_s - self._elsewhere[0]) > STEP_S_MAX:
                self._elsewhere = (offset_s, at_s)
            if at_s - self._elsewhere[1] < SETTLE_S:
                return Look(now=now, step_s=step_s)
        self._offset_s, self._elsewhere = offset_s, None
        return Look(now=now)
