"""What a vehicle tells of itself: samples now and then, fault codes when their status changes, and what was around a fault.

With `fault_before_s` the vehicle keeps a ring of its chosen signals, looks for faults every `FRAME_S`, and tells one at once:
the freeze frame in the event, the seconds before it and after it as samples with their own times. Without, it wakes once in
`telemetry_s`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog

from ringroad.kernel.clock import Clock
from ringroad.kernel.errors import RingroadError
from ringroad.protocol.vehicle import FaultEvent, Sample
from ringroad.vehicle.agents.base import Failed
from ringroad.vehicle.collector import Collector
from ringroad.vehicle.config import VehicleConfig
from ringroad.vehicle.ending import end_if_cancelled
from ringroad.vehicle.orchestrator import Orchestrator
from ringroad.vehicle.signals import SignalSource

BLOCKED_FAULT: Final = "U1F00-00"  # of the Primary while the vehicle is blocked; U1 codes are a maker's own
BLOCKED_STATUS: Final = 0x09  # test failed, confirmed
FRAME_S: Final = 1.0  # s between two samples of the ring, and between two looks for faults while there is one
RING_SAMPLES_MAX: Final = 500  # samples; with those of now they fit one batch of 1,000

_log = structlog.get_logger(__name__)


class SampleRing:
    """The newest samples of chosen signals, so many seconds back and never more than `RING_SAMPLES_MAX`."""

    def __init__(self, paths: Sequence[str], *, before_s: float) -> None:
        self._paths = frozenset(paths)
        self._before = timedelta(seconds=before_s)
        self._kept: deque[Sample] = deque(maxlen=RING_SAMPLES_MAX)

    def chosen(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return those of the chosen signals; all, if none were chosen."""
        return [each for each in samples if not self._paths or each.path in self._paths]

    def record(self, samples: Sequence[Sample], *, now: datetime) -> None:
        """Keep the chosen ones, and forget what is too old."""
        self._kept.extend(self.chosen(samples))
        while self._kept and self._kept[0].at < now - self._before:
            self._kept.popleft()

    def kept(self) -> list[Sample]:
        """Return what is kept, oldest first."""
        return list(self._kept)

    def take(self) -> list[Sample]:
        """Return what is kept, oldest first, and forget it: it is told once."""
        kept = list(self._kept)
        self._kept.clear()
        return kept


def ring_of(config: VehicleConfig) -> SampleRing:
    """Return the ring that a vehicle keeps."""
    return SampleRing(config.fault_signals, before_s=max(config.fault_before_s, config.fault_after_s))


async def keep_ring(ring: SampleRing, signals: SignalSource, clock: Clock) -> None:
    """Record the ring alone, of a vehicle that tells nobody of itself but is looked into; until cancelled."""
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
    """Collect a batch every `telemetry_s`, and at once when a fault code changed and a ring is kept; until cancelled."""
    watch = FaultWatch(orchestrator)
    step_s = FRAME_S if config.fault_before_s else config.telemetry_s
    # A fleet that was started together should not speak together.
    await asyncio.sleep(config.telemetry_s * fraction())
    due_at = clock.monotonic_s()
    after_until: float | None = None
    while True:
        now, at_s = clock.now(), clock.monotonic_s()
        samples = signals.read(now)
        try:
            faults = await watch.look(ring.chosen(samples), now=now)
            after_over = after_until is not None and after_until <= at_s
            if faults or after_over or due_at <= at_s:
                around = ring.take() if faults or after_over else []
                collector.collect(
                    [*around, *samples],
                    faults,
                    software=dict(watch.software),
                    release=orchestrator.state.release_id,
                )
                due_at = at_s + config.telemetry_s if due_at <= at_s else due_at
                after_until = None if after_over else after_until
                after_until = at_s + config.fault_after_s if faults and config.fault_after_s else after_until
            watch.told()
        except RingroadError as error:
            _log.warning("vehicle.telemetry_failed", vin=config.vin, code=error.code, reason=error.message)
        if config.fault_before_s:
            ring.record(samples, now=now)
        end_if_cancelled()
        await asyncio.sleep(step_s)


class FaultWatch:
    """Remembers each ECU's fault codes and tells what changed since the last time it was told.

    A blocked vehicle is a fault of its Primary: so it calls home even when nobody orders anything of it.

    A change that could not be stored (`told` was not called) is told again.
    After a restart every stored fault is told once more; the server sees the same status and changes nothing.
    """

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._orchestrator = orchestrator
        self._known: dict[str, dict[str, int]] = {}  # told
        self._seen: dict[str, dict[str, int]] = {}
        self.software: dict[str, str] = {}

    async def look(self, samples: Sequence[Sample], *, now: datetime) -> list[FaultEvent]:
        """Ask every ECU that is not being updated, and return the changes with a snapshot of `samples`."""
        self._seen = dict(self._known)
        if not self._orchestrator.state.resting:
            return []  # an ECU that is being flashed has no faults worth telling
        events: list[FaultEvent] = []
        snapshot = {sample.path: sample.value for sample in samples}
        answers = await self._orchestrator.ecus.inventories()
        for ecu in self._orchestrator.ecus.on_board:
            answer = answers[ecu.serial]
            if isinstance(answer, Failed):
                continue
            version = answer.running.version if answer.running is not None else ""
            self.software[ecu.name] = version
            current = {fault.code: fault.status for fault in answer.faults}
            if ecu.primary and self._orchestrator.state.blocked:
                current[BLOCKED_FAULT] = BLOCKED_STATUS
            before = self._known.get(ecu.serial, {})
            gone = {code: 0 for code in before if code not in current}
            for code, status in {**current, **gone}.items():
                if before.get(code) != status:
                    events.append(
                        FaultEvent(
                            at=now, ecu=ecu.name, code=code, status=status,
                            software_version=version, snapshot=snapshot,
                        )
                    )  # fmt: skip
            self._seen[ecu.serial] = current
        return events

    def told(self) -> None:
        """Note that what the last look returned is durable."""
        self._known = self._seen
