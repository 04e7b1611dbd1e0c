"""Reports on their way to the server: told until acknowledged, across restarts, each with one id.

The journal is the outbox: every report is made from a journal record (`report_of`), so nothing has to be
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
from ringroad.vehicle.consent import DENIED, answer_text
from ringroad.vehicle.ecu_tries import count_text
from ringroad.vehicle.files import Durability, replace_file
from ringroad.vehicle.kept import BLOCKED
from ringroad.vehicle.states import (
    Answered,
    CampaignState,
    Declined,
    EcuMoved,
    Entry,
    Moved,
    Noted,
    Opened,
    Refused,
    Tried,
    Unblocked,
    tried_ecu,
)

BATCH_REPORTS_MAX: Final = 200  # reports per request, about 40 kB
SENT_NAME: Final = "reports.acknowledged"
COMMIT_REPORTS_MAX: Final = 20  # failed tries of one commit that the server is told; the rest say the same
DETAIL_CHARS_MAX: Final = 2_000  # as `ShortText`
REPORT_REFUSED: Final = "report_refused"  # code of the report that says so
ANSWER_CODES: Final = {"yes": "consent_given", "later": "postponed", "no": DENIED}


class Outbox:
    """Reports that the server has not acknowledged, oldest first.

    Attributes:
        acknowledged: number of the newest journal record whose report the server has, and every one before it.
    """

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
        self.acknowledged = int(number) if of_epoch == epoch else 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._progress)

    @property
    def settled(self) -> bool:
        """Whether everything that must arrive has arrived."""
        return not self._waiting

    def put(self, sequence: int, report: Report | None) -> None:
        """Take the report of journal record `sequence`, unless it was acknowledged in an earlier life."""
        if report is not None and sequence > self.acknowledged:
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
        newest = self.acknowledged
        while self._waiting and self._waiting[0][1].id in ids:
            newest = self._waiting.popleft()[0]
        if newest > self.acknowledged:
            self.acknowledged = newest
            content = f"{self._epoch} {newest}\n".encode()
            replace_file(self._path, content, durability=self._durability)
        return len(self) < before


def report_of(sequence: int, entry: Entry, after: CampaignState) -> Report | None:
    """Return what the server is told about `entry`, or None.

    The id is the journal's epoch and the record's number: the same record always makes the same report, so one
    that is sent again after a restart is recognised.
    """
    action_id = entry.action_id if isinstance(entry, Declined) else after.action_id
    if isinstance(entry, Unblocked) and action_id is None and after.finished:
        action_id = after.finished[-1]  # declined while it was blocked: that is how the server knows of it
    if action_id is None:
        return None
    if (
        isinstance(entry, Tried)
        and after.state == "COMMITTING"
        and after.tries[entry.what] > COMMIT_REPORTS_MAX
    ):
        return None
    match entry:
        case Opened(at=at):
            ecu, ecu_state, code, detail = "", "", "", ""
        case Moved(at=at, code=code, detail=detail) | Noted(at=at, code=code, detail=detail):
            ecu, ecu_state = "", ""
        case Answered(at=at, answer=answer):
            ecu, ecu_state, code, detail = "", "", ANSWER_CODES[answer.word], answer_text(answer)
        case Tried(at=at, code=code, detail=detail):
            ecu = tried_ecu(entry, after)
            ecu_state = str(after.told(ecu)) if ecu else ""
            count = count_text(after.failing[ecu], now=at) if ecu else ""
            detail = ", ".join(filter(None, (detail, count)))
        case EcuMoved(at=at, serial=ecu, state=state, code=code, detail=detail):
            ecu_state = str(state)
        case Refused(refused=refused) if refused.report.code != REPORT_REFUSED:
            # Nothing of its content: that is what may be wrong with it. And none about one of these: it would not end.
            ecu, ecu_state, code, at = "", "", REPORT_REFUSED, refused.at
            detail = f"report {refused.report.id} was refused as {refused.code}; {after.refused_count} so far"
        case Declined(at=at, detail=detail):
            ecu, ecu_state, code = "", "", BLOCKED
        case Unblocked(at=at):
            ecu, ecu_state, code, detail = "", "", after.code, after.detail
        case _:
            return None
    return Report(
        id=f"{after.epoch}.{sequence}", action_id=action_id, state=after.state, at=at,
        ecu=ecu, ecu_state=ecu_state, code=code, detail=detail[:DETAIL_CHARS_MAX],
    )  # fmt: skip
