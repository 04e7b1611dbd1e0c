"""Reports on their way to the server: told until acknowledged, across restarts, each with one id.

The journal is the outbox: every report is made from a journal record (`states.report_of`), so nothing has to be
written twice. One small file remembers up to which record the server has acknowledged.
If that file is lost, reports are sent again under the same ids and the server counts them once.

A report that the server refuses whatever is tried is put aside by a journal record of its own (`states.Refused`).

Progress in bytes is told too, but not kept: the next number says more.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from pathlib import Path
from typing import Final

from ringroad.kernel.errors import Corrupt
from ringroad.protocol.vehicle import Report
from ringroad.vehicle.files import Durability, replace_file

BATCH_REPORTS_MAX: Final = 200  # reports per request, about 40 kB
SENT_NAME: Final = "reports.acknowledged"


class Outbox:
    """Reports that the server has not acknowledged, oldest first."""

    def __init__(self, folder: Path, *, epoch: str, durability: Durability) -> None:
        """Read how far the server has acknowledged the journal of `epoch`.

        Raises:
            Corrupt: the file does not read back.
        """
        self._epoch = epoch
        self._path = folder / SENT_NAME
        self._durability: Durability = durability
        self._waiting: deque[tuple[int, Report]] = deque()
        self._progress: dict[str, Report] = {}
        text = self._path.read_text("utf-8") if self._path.exists() else f"{epoch} 0\n"
        of_epoch, _, number = text.strip().partition(" ")
        if not number.isdigit():
            raise Corrupt(f"{SENT_NAME} does not read back", hint="remove it: reports are sent once more")
        # Another journal's numbers say nothing about this one's.
        self._acknowledged = int(number) if of_epoch == epoch else 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._progress)

    @property
    def settled(self) -> bool:
        """Whether everything that must arrive has arrived."""
        return not self._waiting

    def put(self, sequence: int, report: Report | None) -> None:
        """Take the report of journal record `sequence`, unless it was acknowledged in an earlier life."""
        if report is not None and sequence > self._acknowledged:
            self._waiting.append((sequence, report))
            # Numbers from before a change of state would make a progress bar jump back.
            self._progress.pop(report.ecu, None)

    def put_progress(self, report: Report) -> None:
        """Take a report of bytes done; it replaces an earlier one of the same ECU."""
        self._progress[report.ecu] = report

    def oldest(self) -> tuple[int, Report] | None:
        """Return the report that must arrive first and the number of its record, or None."""
        return self._waiting[0] if self._waiting else None

    def batch(self, *, reports_max: int = BATCH_REPORTS_MAX) -> list[Report]:
        """Return the reports to send next, in the order they happened."""
        waiting = [report for _, report in islice(self._waiting, reports_max)]
        return waiting or list(self._progress.values())[:reports_max]

    def put_aside(self, sequence: int) -> None:
        """Wait no longer for the report of journal record `sequence` to arrive."""
        self._waiting = deque(one for one in self._waiting if one[0] != sequence)

    def forget_progress(self) -> None:
        """Drop what was to be told of bytes done."""
        self._progress.clear()

    def acknowledge(self, ids: frozenset[str]) -> bool:
        """Forget what the server made durable.

        Returns:
            Whether anything was forgotten: what arrived behind a report that did not still waits with it.

        Raises:
            Unavailable: the disk is full; the reports will be sent again.
        """
        before = len(self)
        for ecu in [ecu for ecu, report in self._progress.items() if report.id in ids]:
            del self._progress[ecu]
        newest = self._acknowledged
        while self._waiting and self._waiting[0][1].id in ids:
            newest = self._waiting.popleft()[0]
        if newest > self._acknowledged:
            self._acknowledged = newest
            content = f"{self._epoch} {newest}\n".encode()
            replace_file(self._path, content, durability=self._durability)
        return len(self) < before
