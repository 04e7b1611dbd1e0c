"""Where VSS samples come from, and a source that reads them from a file.

Any bus, broker or simulation can be a source; the orchestrator reads it for preconditions, the collector for
telemetry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from ringroad.kernel.limits import TELEMETRY_BATCH_MAX
from ringroad.protocol.preconditions import SAMPLE_AGE_S_MAX
from ringroad.protocol.vehicle import Sample

FILE_AGE_S_MAX: Final = SAMPLE_AGE_S_MAX  # s since it was written or touched
FILE_BYTES_MAX: Final = 256 * 1024  # bytes; a thousand samples are about 80 kB


class SignalSource(Protocol):
    """Gives the vehicle's current samples."""

    def read(self, now: datetime) -> Sequence[Sample]:
        """Return the newest sample of each path, at most `TELEMETRY_BATCH_MAX`."""
        ...


class FileSignals:
    """Samples from a JSON file ``{"Vehicle.Speed": 0, ...}``, which another process keeps current.

    A file that is missing, unreadable, or was not written for `FILE_AGE_S_MAX` gives no samples, and so refuses
    every precondition: whoever kept it current is gone, and the vehicle may be driving by now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, now: datetime) -> Sequence[Sample]:
        """Return one sample per entry, as old as the file: when it was last written or touched, at most `now`."""
        try:
            status = self._path.stat()
            if status.st_size > FILE_BYTES_MAX or abs(now.timestamp() - status.st_mtime) > FILE_AGE_S_MAX:
                return []
            values = msgspec.json.decode(self._path.read_bytes(), type=dict[str, float | int | bool | str])
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return []
        named = list(values.items())[:TELEMETRY_BATCH_MAX]
        at = min(now, datetime.fromtimestamp(status.st_mtime, tz=UTC))
        return [Sample(at=at, path=path, value=value) for path, value in named]
