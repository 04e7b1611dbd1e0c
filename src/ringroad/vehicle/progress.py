"""Tells the server how far a download or a flash is: at most one report a second, and only the newest is kept."""

from __future__ import annotations

from typing import Final

from ringroad.kernel.clock import Clock
from ringroad.protocol.vehicle import Report
from ringroad.vehicle.agents.base import Progress
from ringroad.vehicle.memory import Memory

PROGRESS_S: Final = 1.0  # s; between two progress reports


class ProgressReports:
    """Progress of one vehicle's campaign."""

    def __init__(self, *, memory: Memory, clock: Clock) -> None:
        self._memory = memory
        self._clock = clock
        self._told_at_s = 0.0

    def of(self, serial: str) -> Progress:
        """Return what to call with the bytes that are done and all bytes of one ECU's step."""
        state = self._memory.state

        def progress(done_bytes: int, total_bytes: int) -> None:
            now_s = self._clock.monotonic_s()
            if now_s - self._told_at_s < PROGRESS_S or state.action_id is None:
                return
            self._told_at_s = now_s
            self._memory.outbox.put_progress(
                Report(
                    # The same bytes after a restart are the same report.
                    id=f"{state.epoch}.{state.action_id}.{state.state}.{serial}.{done_bytes}",
                    action_id=state.action_id,
                    state=state.state,
                    at=self._clock.now(),
                    ecu=serial,
                    ecu_state=str(self._memory.state.ecus.get(serial, "")),
                    done_bytes=done_bytes,
                    total_bytes=total_bytes,
                )
            )

        return progress
