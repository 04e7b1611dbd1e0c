"""An event loop whose clock jumps: hours of simulated time cost what the code in them costs.

Invariant: time goes on only when nothing is left to do now. Threads have no part in that: while one works the
clock may jump, so a simulation starts none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Never sleeps: says how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.slept_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self.slept_s += max(timeout, 0.0)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs on simulated time; also a `Clock`."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._simulated = _Selector()
        self._start = start
        super().__init__(self._simulated)

    def time(self) -> float:
        """Return simulated seconds since the loop was made."""
        return self._simulated.slept_s

    def now(self) -> datetime:
        """Return the simulated time of day."""
        return self._start + timedelta(seconds=self.time())

    def monotonic_s(self) -> float:
        """Return simulated seconds."""
        return self.time()


def run_simulated(work: Coroutine[Any, Any, T], loop: SimulatedLoop | None = None) -> tuple[T, float]:
    """Run `work` to its end; return its result and the simulated seconds it took."""
    with asyncio.Runner(loop_factory=lambda: loop or SimulatedLoop()) as runner:
        result = runner.run(work)
        return result, runner.get_loop().time()
