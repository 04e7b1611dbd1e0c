"""What a gateway that cannot keep up lets go, and when it takes it on again.

First polls are turned away, then downloads too; reports last, when no more fit into the queue. What is turned away is
told when to come again (`steering.py`), each vehicle at another time. A cancel is told whatever the load.

`decide_shed` is pure. `Pressure` measures: how late the event loop is, and how many reports wait for the database.

Invariants: nothing is let go for one hitch, since the loop must be late several looks in a row; what was let go is
taken on again step by step, after a quiet while below half of what made it be let go, so that it does not flap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import Unavailable
from ringroad.kernel.steady import Steady

log = structlog.get_logger()

LOOK_S: Final = 0.1  # seconds between two looks
DOWNLOADS_FACTOR: Final = 4  # times the lag that lets polls go lets downloads go
POLLS_QUEUE_PERCENT: Final = 50  # of the reports that may wait
DOWNLOADS_QUEUE_PERCENT: Final = 80


class Shed(IntEnum):
    """What is let go; each includes those before it."""

    NOTHING = 0
    POLLS = 1
    DOWNLOADS = 2

    @property
    def text(self) -> str:
        """What health and console say."""
        return ("ok", "turns polls away", "turns polls and downloads away")[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPolicy:
    """How much a gateway takes on."""

    lag_ms: int = 2_000  # how late the event loop may be; vehicles give up after some ten seconds
    reports_waiting_max: int = 50_000  # some 500 bytes each; beyond, they are turned away too
    looks: int = 5  # in a row, for a lag to count
    calm_s: float = 10.0  # seconds below half before one step back


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What was measured. `lag_ms` is what the loop was late by at the best of the last looks."""

    lag_ms: float
    reports_waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedState:
    """What is let go, and since when the load is below half of what that takes; None: it is not."""

    shed: Shed = Shed.NOTHING
    calm_since_s: float | None = None


def decide_shed(policy: LoadPolicy, state: ShedState, load: Load, *, now_s: float) -> ShedState:
    """Decide what to let go: up at once, down one step after a quiet while."""
    asked = _asked(policy, load, percent=100)
    if asked > state.shed:
        return ShedState(shed=asked)
    if state.shed is Shed.NOTHING:
        return state
    if _asked(policy, load, percent=50) >= state.shed:
        return ShedState(shed=state.shed)
    if state.calm_since_s is None:
        return ShedState(shed=state.shed, calm_since_s=now_s)
    if now_s - state.calm_since_s < policy.calm_s:
        return state
    return ShedState(shed=Shed(state.shed - 1))


def _asked(policy: LoadPolicy, load: Load, *, percent: int) -> Shed:
    lag_ms = load.lag_ms * 100 / percent
    queue_percent = load.reports_waiting * 100 * 100 / percent / policy.reports_waiting_max
    if lag_ms >= policy.lag_ms * DOWNLOADS_FACTOR or queue_percent >= DOWNLOADS_QUEUE_PERCENT:
        return Shed.DOWNLOADS
    if lag_ms >= policy.lag_ms or queue_percent >= POLLS_QUEUE_PERCENT:
        return Shed.POLLS
    return Shed.NOTHING


def overload() -> Unavailable:
    """Return what is answered to whoever is turned away."""
    return Unavailable(
        "the server has more to do than it can",
        hint="come back after the seconds in Retry-After",
        code="overload",
    )


class Pressure:
    """The load of one server process, and what it lets go for it."""

    def __init__(self, policy: LoadPolicy) -> None:
        self.policy = policy
        self._state = ShedState()
        self._lags_ms: deque[float] = deque(maxlen=policy.looks)
        self.clock = "ok"  # or by how much the clock of this process was set

    @property
    def shed(self) -> Shed:
        """What is let go now."""
        return self._state.shed

    async def watch(
        self, *, clock: Clock, waiting: Callable[[], int], changed: Callable[[Shed], None]
    ) -> None:
        """Measure until cancelled.

        Args:
            clock: of this machine.
            waiting: how many reports wait.
            changed: told what is let go from now on.
        """
        steady = Steady(clock)
        while True:
            self.clock = steady.look().text
            due_s = clock.monotonic_s() + LOOK_S
            await asyncio.sleep(LOOK_S)
            now_s = clock.monotonic_s()
            self._lags_ms.append(max(0.0, now_s - due_s) * 1_000)
            lasting_ms = min(self._lags_ms) if len(self._lags_ms) == self.policy.looks else 0.0
            before, load = self.shed, Load(lag_ms=lasting_ms, reports_waiting=waiting())
            self._state = decide_shed(self.policy, self._state, load, now_s=now_s)
            if self.shed is not before:
                log.warning(
                    "load", sheds=self.shed.text, lag_ms=round(load.lag_ms), waiting=load.reports_waiting
                )
                changed(self.shed)
