"""Changes of faults that wait to be told, and which of them are worth a batch of their own.

A batch at once has the seconds around it, so a fault that comes and goes every second would fill the disk of a vehicle that
is offline. So batches at once are paced; what waits goes with the next batch, whichever that is. Of a code that changed
more than twice meanwhile the first and the newest change are told, and how often it began to fail in between.

Pure but for what it keeps.

Invariants:
    * Every code that changed is told, with its first change and how it stands; what was left out is counted. What waits is
      in memory: of what power takes, the next life tells how it stands (`told_faults.py`).
    * A change that waited says for how long in its snapshot, as the seconds around it were not told.
    * Those that flap never take more than half of an hour's batches at once: the other half is for codes of which nothing
      was told at once within the hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.protocol.fault_status import FOLDED_PATH, WAITED_PATH, began
from ringroad.protocol.vehicle import FaultEvent

HOUR_S: Final = 3600.0
AT_ONCE_S_MIN: Final = (
    5.0  # s between two batches at once; half of the ring, so that none of it is lost meanwhile
)
AT_ONCE_PER_HOUR_MAX: Final = (
    60  # batches; at 50 kB each a third of the queue's 8 MiB, however many faults there are
)
AGAIN_PER_HOUR_MAX: Final = 30  # of these, batches in which no code is new: the other half is for those
SAME_PER_HOUR_MAX: Final = 6  # batches at once for one code of an ECU
EVENTS_PER_BATCH_MAX: Final = TELEMETRY_BATCH_MAX  # more wait for the next one

Key = tuple[str, str]  # ECU and code


@dataclass(slots=True)
class _Waiting:
    first: FaultEvent
    newest: FaultEvent | None = None
    begun: int = 0  # times that it began to fail behind the first change

    def add(self, event: FaultEvent) -> None:
        before = self.newest or self.first
        self.begun += began(before.status, event.status)
        self.newest = event

    def events(self) -> list[FaultEvent]:
        if self.newest is None:
            return [self.first]
        folded = self.begun - began(self.first.status, self.newest.status)
        if folded <= 0:
            return [self.first, self.newest]
        snapshot = {**self.newest.snapshot, FOLDED_PATH: folded}
        return [self.first, msgspec.structs.replace(self.newest, snapshot=snapshot)]


class FaultNews:
    """What changed and is not stored yet."""

    def __init__(self) -> None:
        self._waiting: dict[Key, _Waiting] = {}
        self._at_once: deque[float] = deque()  # when batches were made at once, s; of an hour
        self._again: deque[float] = deque()  # of these, when none of their codes was new
        self._of: dict[Key, deque[float]] = {}  # when a code was told at once; of an hour

    def add(self, events: Iterable[FaultEvent]) -> None:
        """Take changes, in the order in which they happened."""
        for event in events:
            waiting = self._waiting.get((event.ecu, event.code))
            if waiting is None:
                self._waiting[event.ecu, event.code] = _Waiting(event)
            else:
                waiting.add(event)

    def waiting(self, *, now: datetime) -> int:
        """Return how many codes changed and wait for longer than a batch at once would."""
        before = now - timedelta(seconds=AT_ONCE_S_MIN)
        return sum(each.first.at < before for each in self._waiting.values())

    def worth_a_batch(self, *, now_s: float) -> bool:
        """Say whether what waits is told now, and not with the next batch that is due."""
        self._forget(now_s - HOUR_S)
        if self._at_once and now_s - self._at_once[-1] < AT_ONCE_S_MIN:
            return False
        if len(self._at_once) >= AT_ONCE_PER_HOUR_MAX:
            return False
        told = [len(self._of.get(key, ())) for key in self._waiting]
        if 0 in told:
            return True
        return len(self._again) < AGAIN_PER_HOUR_MAX and any(count < SAME_PER_HOUR_MAX for count in told)

    def batch(self) -> list[FaultEvent]:
        """Return what one batch tells; it waits on until it is `stored`."""
        events: list[FaultEvent] = []
        for waiting in self._waiting.values():
            of_code = waiting.events()
            if len(events) + len(of_code) > EVENTS_PER_BATCH_MAX:
                break
            events += of_code
        return events

    def stored(self, events: Sequence[FaultEvent], *, now_s: float, at_once: bool) -> None:
        """Note that a batch with these is durable; `at_once`: it was made for them."""
        keys = dict.fromkeys((event.ecu, event.code) for event in events)
        for key in keys:
            del self._waiting[key]
        if not at_once:
            return
        self._at_once.append(now_s)
        if all(key in self._of for key in keys):
            self._again.append(now_s)
        for key in keys:
            self._of.setdefault(key, deque()).append(now_s)

    def _forget(self, until_s: float) -> None:
        for times in (self._at_once, self._again, *self._of.values()):
            while times and times[0] <= until_s:
                times.popleft()
        self._of = {key: times for key, times in self._of.items() if times}


def told_late(events: Sequence[FaultEvent], *, now: datetime) -> list[FaultEvent]:
    """Return changes that go with a batch that was due anyhow, each that waited with for how long.

    Their batch has no seconds around them, so whoever reads it sees why.
    """
    return [_late(event, (now - event.at).total_seconds()) for event in events]


def _late(event: FaultEvent, waited_s: float) -> FaultEvent:
    if waited_s < AT_ONCE_S_MIN:
        return event
    return msgspec.structs.replace(event, snapshot={**event.snapshot, WAITED_PATH: int(waited_s)})
