"""Notes that an image was handed out whole: from then on a failed installation may be the image's own fault.

Not waited for, so that downloads need no database. What was taken is kept here until it is durable, and queued again
where the database did not take it. A process that ends meanwhile loses what is waiting, as it loses any report.

Invariants: no last byte without its note in the queue; a report on an action whose note is not known to be durable
takes the note along, so that neither is stored without the other.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from typing import Final, Protocol

from ringroad.http.device.store import NewReport, Settle
from ringroad.kernel.errors import InvalidInput, RingroadError, Unavailable

FETCHED: Final = "fetched"  # kind of a report of ours; ship/store/reports.py
FETCHED_KEPT: Final = 100_000  # actions remembered as noted; 3 MB
WAITING_MAX: Final = (
    10_000  # notes that are not durable; 10 MB. Beyond it downloads end before their last byte
)
AGAIN_S: Final = 2.0  # seconds until notes that the database did not take are queued again
AGAIN_MAX: Final = 500  # notes queued again at once, so that they leave the queue to what devices say


class Queue(Protocol):
    """What is needed of the report writer."""

    def put(self, reports: list[NewReport], settle: Settle) -> None:
        """Make reports durable, then call `settle`; raises Unavailable where nothing was taken."""
        ...


class HandedOut:
    """Which actions' images were handed out whole."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._noted: set[int] = set()  # as far as is remembered
        self._waiting: dict[int, NewReport] = {}  # taken and not yet known to be durable, oldest first
        self._again: asyncio.TimerHandle | None = None

    def note(self, vin: str, action_id: int) -> None:
        """Keep that an action's image is about to have been handed out whole.

        Raises:
            Unavailable: no note was taken, and the last byte must stay here.
        """
        if action_id in self._noted or action_id in self._waiting:
            return
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("too many downloads are not noted yet", hint="come back later", code="overload")
        report = NewReport(
            vin=vin, dedupe_key=f"{FETCHED}:{action_id}", action_id=action_id, kind=FETCHED, body={"gateway": "ddi"}
        )  # fmt: skip
        self._queue.put([report], partial(self._settle, action_id))
        self._waiting[action_id] = report

    def with_note(self, action_id: int, report: NewReport) -> list[NewReport]:
        """Return a report on an action, behind the action's note if that is not known to be durable."""
        note = self._waiting.get(action_id)
        return [report] if note is None else [note, report]

    def _settle(self, action_id: int, error: RingroadError | None) -> None:
        if isinstance(error, InvalidInput):  # it never will be
            self._waiting.pop(action_id, None)
        elif error is not None:
            self._later()
        elif self._waiting.pop(action_id, None) is not None:
            if len(self._noted) >= FETCHED_KEPT:
                self._noted.clear()
            self._noted.add(action_id)

    def _later(self) -> None:
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._put_again)

    def _put_again(self) -> None:
        self._again = None
        for action_id, note in list(islice(self._waiting.items(), AGAIN_MAX)):
            try:
                self._queue.put([note], partial(self._settle, action_id))
            except Unavailable:
                break
        if self._waiting:
            self._later()
