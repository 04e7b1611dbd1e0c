"""What a vehicle tells of itself: samples now and then, fault codes when their status changes, and what was around a fault.

A vehicle keeps a ring of its chosen signals (`keep_ring`), looks for faults every `FRAME_S`, and tells one at once: the freeze
frame in the event, the seconds before it and after it as samples with their own times. How often it does is paced
(`fault_news.py`); what waits goes with the next batch. With ``fault_before_s = 0`` it keeps
none, and wakes once in `telemetry_s`.

Between two batches only the fault memories are asked for, of ECUs whose agent can and that answered when all was asked for
last; and of a vehicle whose signals are silent nothing is: who asks keeps its buses awake.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import RingroadError
from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.protocol.preconditions import SAMPLE_AGE_S_MAX
from ringroad.protocol.vehicle import FaultEvent, Sample
from ringroad.vehicle.agents.base import EcuInventory, Failed, Fault
from ringroad.vehicle.collector import Collector
from ringroad.vehicle.config import VehicleConfig
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.fault_news import FaultNews, told_late
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.signals import SignalSource

BLOCKED_FAULT: Final = "U1F00-00"  # of the Primary while the vehicle is blocked; U1 codes are a maker's own
BLOCKED_STATUS: Final = 0x09  # test failed, confirmed
_UNSURE: Final = (
    -1
)  # status of a code that an earlier life told of: no ECU has it, so how it stands is a change
FRAME_S: Final = 1.0  # s between two samples of the ring, and between two looks for faults while there is one
ALIVE_FOR: Final = timedelta(
    seconds=SAMPLE_AGE_S_MAX
)  # since a signal was heard of; older ones decide nothing
RING_SAMPLES_MAX: Final = 500  # samples; with those of now they fit one batch of 1,000

_log = structlog.get_logger(__name__)


class SampleRing:
    """The newest samples of chosen signals, so many seconds back and never more than `RING_SAMPLES_MAX`.

    What was told with a fault stays for whoever reads the ring, and is not told again with the next one.
    """

    def __init__(self, paths: Sequence[str], *, before_s: float) -> None:
        self._paths = frozenset(paths)
        self._before = timedelta(seconds=before_s)
        self._kept: deque[Sample] = deque(maxlen=RING_SAMPLES_MAX)
        self._untold = 0  # of the kept ones, the newest
        self._newest: dict[str, datetime] = {}  # by path: what was read twice is kept once

    def chosen(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return those of the chosen signals; all, if none were chosen."""
        return [each for each in samples if not self._paths or each.path in self._paths]

    def record(self, samples: Sequence[Sample], *, now: datetime) -> None:
        """Keep the chosen ones, and forget what is too old."""
        for each in self.chosen(samples):
            if self._newest.get(each.path) != each.at:
                self._newest[each.path] = each.at
                self._kept.append(each)
                self._untold += 1
        while self._kept and abs(now - self._kept[0].at) > self._before:  # or the clock was set back
            self._kept.popleft()
        self._untold = min(self._untold, len(self._kept))

    def kept(self) -> list[Sample]:
        """Return what is kept, oldest first."""
        return list(self._kept)

    def take(self) -> list[Sample]:
        """Return what is kept and was not taken before, oldest first: it is told once."""
        untold, self._untold = self._untold, 0
        return self.kept()[len(self._kept) - untold :]


def ring_of(config: VehicleConfig) -> SampleRing:
    """Return the ring that a vehicle keeps."""
    return SampleRing(config.fault_signals, before_s=max(config.fault_before_s, config.fault_after_s))


async def keep_ring(ring: SampleRing, signals: SignalSource, clock: Clock) -> None:
    """Record the ring, whatever ECUs take their time to answer; until cancelled."""
    while True:
        now = clock.now()
        ring.record(signals.read(now), now=now)
        end_if_cancelled()
        await asyncio.sleep(FRAME_S)


async def observe(
    config: VehicleConfig,
    orchestrator: Orchestrator,
    collector: Collector,
    *,
    signals: SignalSource,
    clock: Clock,
    fraction: Callable[[], float],
    ring: SampleRing,
) -> None:
    """Collect a batch every `telemetry_s`, and at once when a fault code changed and a ring is kept; until cancelled.

    What waits then is stored; what power takes instead is told by the next life, as far as it is still so (`told_faults.py`).
    """
    watch, news = FaultWatch(orchestrator, collector.told), FaultNews()
    # A fleet that was started together should not speak together.
    await asyncio.sleep(config.telemetry_s * fraction())
    due_at = clock.monotonic_s()
    after_until: float | None = None
    waits = 0
    try:
        while True:
            now, at_s = clock.now(), clock.monotonic_s()
            samples = signals.read(now)
            due = not config.fault_before_s or due_at <= at_s
            after_over = after_until is not None and after_until <= at_s
            try:
                if due or are_alive(samples, now=now):
                    news.add(await watch.look(ring.chosen(samples), now=now, whole=due))
                    watch.told()
                at_once = config.fault_before_s > 0 and news.worth_a_batch(now_s=at_s)
                if at_once or after_over or due:
                    around, faults = ring.take() if at_once or after_over else [], news.batch()
                    if config.fault_before_s and not (at_once or after_over):
                        faults = told_late(faults, now=now)
                    collector.collect(
                        before_all(around, samples),
                        faults,
                        software=dict(watch.software),
                        release=orchestrator.state.release_id,
                    )
                    news.stored(faults, now_s=at_s, at_once=at_once)
                    after_until = None if after_over else after_until
                    if at_once and config.fault_after_s:
                        after_until = at_s + config.fault_after_s
                waits = say_waiting(news.waiting(now=now), waits, vin=config.vin)
            except RingroadError as error:
                _log.warning(
                    "vehicle.telemetry_failed", vin=config.vin, code=error.code, reason=error.message
                )
            due_at = at_s + config.telemetry_s if due else due_at
            end_if_cancelled()
            await asyncio.sleep(FRAME_S if config.fault_before_s else config.telemetry_s)
    finally:
        now = clock.now()
        _tell_rest(news, watch, collector, orchestrator, late_at=now if config.fault_before_s else None)


def _tell_rest(
    news: FaultNews,
    watch: FaultWatch,
    collector: Collector,
    orchestrator: Orchestrator,
    *,
    late_at: datetime | None,
) -> None:
    """Store what waits while the vehicle ends; where a ring is kept (`late_at`: now), each with for how long it waited."""
    release = orchestrator.state.release_id
    try:
        while faults := news.batch():
            told = faults if late_at is None else told_late(faults, now=late_at)
            collector.collect([], told, software=dict(watch.software), release=release)
            news.stored(faults, now_s=0.0, at_once=False)
    except RingroadError as error:
        _log.warning("vehicle.faults_lost", code=error.code, reason=error.message)


def say_waiting(codes: int, before: int, *, vin: str) -> int:
    """Log how many codes wait for the batch that is due next, when there are more than ever; return the most so far."""
    if before < codes:
        _log.info("vehicle.faults_wait", vin=vin, codes=codes)
    return max(codes, before)


def are_alive(samples: Sequence[Sample], *, now: datetime) -> bool:
    """Say whether a signal was heard of lately: what others publish stays the newest of its path for good."""
    return any(now - each.at <= ALIVE_FOR for each in samples)


def before_all(around: Sequence[Sample], samples: Sequence[Sample]) -> list[Sample]:
    """Return what surrounded a fault before what is now, each once; of the former only so much as one batch holds beside it."""
    now = {(each.path, each.at) for each in samples}
    earlier = [each for each in around if (each.path, each.at) not in now]
    room = max(0, TELEMETRY_BATCH_MAX - 1 - len(samples))
    return [*earlier[len(earlier) - min(room, len(earlier)) :], *samples]


class FaultWatch:
    """Remembers each ECU's fault codes and tells what changed since the last time it was told.

    A blocked vehicle is a fault of its Primary: so it calls home even when nobody orders anything of it.

    A change that nobody took (`told` was not called) is told again.
    After a restart every stored fault is told once more; the server sees the same status and changes nothing.
    What an earlier life told of and its ECU has no more is told as gone.
    """

    def __init__(self, orchestrator: Orchestrator, told: Mapping[str, Sequence[str]] | None = None) -> None:
        """Take which codes an earlier life told of as there, by the ECU's name."""
        self._orchestrator = orchestrator
        self._known: dict[str, dict[str, int]] = {  # told
            ecu.serial: dict.fromkeys((told or {}).get(ecu.name, ()), _UNSURE)
            for ecu in orchestrator.ecus.on_board
        }
        self._seen: dict[str, dict[str, int]] = {}
        self._answering: frozenset[str] = frozenset()  # serials that answered when all was asked for last
        self.software: dict[str, str] = {}

    async def look(self, samples: Sequence[Sample], *, now: datetime, whole: bool = True) -> list[FaultEvent]:
        """Ask every ECU that is not being updated, and return the changes with a snapshot of `samples`.

        Args:
            samples: of the freeze frame.
            now: the vehicle's time.
            whole: ask for everything; else for the fault memories alone, where that is cheap.
        """
        self._seen = dict(self._known)
        if not self._orchestrator.quiet:
            return []  # an ECU that is being flashed has no faults worth telling
        ecus = self._orchestrator.ecus
        answers: Mapping[str, EcuInventory | Sequence[Fault] | Failed]
        answers = await (ecus.inventories() if whole else ecus.faults(self._answering))
        if whole:
            self._answering = frozenset(
                serial for serial, each in answers.items() if isinstance(each, EcuInventory)
            )
        snapshot = {sample.path: sample.value for sample in samples}
        events: list[FaultEvent] = []
        for ecu in ecus.on_board:
            answer = answers.get(ecu.serial)
            if answer is None:
                continue
            if isinstance(answer, Failed):
                self._answering -= {ecu.serial}  # it is left alone until all is asked for again
                continue
            if isinstance(answer, EcuInventory):
                if answer.running is None:
                    self.software.pop(ecu.name, None)  # nothing runs there
                else:
                    self.software[ecu.name] = answer.running.version
                answer = answer.faults
            current = {fault.code: fault.status for fault in answer}
            if ecu.primary and self._orchestrator.state.blocked:
                current[BLOCKED_FAULT] = BLOCKED_STATUS
            before = self._known.get(ecu.serial, {})
            gone = {code: 0 for code in before if code not in current}
            for code, status in {**current, **gone}.items():
                if before.get(code) != status:
                    events.append(
                        FaultEvent(
                            at=now, ecu=ecu.name, code=code, status=status,
                            software_version=self.software.get(ecu.name, ""), snapshot=snapshot,
                        )
                    )  # fmt: skip
            self._seen[ecu.serial] = current
        return events

    def told(self) -> None:
        """Note that whoever asked keeps what the last look returned; what ends with it is told by the next life."""
        self._known = self._seen
