"""The orchestrator's memory: journal, the state it adds up to, and the reports that follow from it.

Invariant: `state` is always what the journal on disk folds to; nothing is remembered beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ringroad.kernel.clock import Clock, Ids
from ringroad.kernel.errors import Corrupt
from ringroad.vehicle.files import TELEMETRY_NAME, TRUST_NAME, Durability
from ringroad.vehicle.identity import MANIFEST_NAME
from ringroad.vehicle.journal import Journal, RecordHook, parse_records
from ringroad.vehicle.kept import RefusedReport
from ringroad.vehicle.outbox import SENT_NAME, Outbox, report_of
from ringroad.vehicle.records import decode_entry, encode_entry
from ringroad.vehicle.states import (
    Born,
    CampaignState,
    Compacted,
    Entry,
    Refused,
    Started,
    fold,
)

JOURNAL_NAME: Final = "journal"
# Made only after the first record of a journal: where one of them is, there was a journal. A plant may fill the
# image store beforehand, so that is no witness.
WITNESSES: Final = (TRUST_NAME, MANIFEST_NAME, SENT_NAME, TELEMETRY_NAME)
COMPACT_RECORDS_MIN: Final = 100  # below this, rewriting costs more than it saves

Observer = Callable[[Entry, CampaignState], None]


class Memory:
    """The journal of one vehicle, open for writing."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        ids: Ids,
        durability: Durability,
        hook: RecordHook | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Open the journal, fold it, and note that the orchestrator was started.

        A journal that vanished from beside other files of the vehicle is not taken for a new vehicle's: what was
        installed, what is on trial and how it could be undone is unknown. The vehicle begins blocked.

        Raises:
            Corrupt: the journal is damaged, from a newer version, or older than what the server acknowledged.
            Unavailable: the disk cannot be used.
        """
        self._clock = clock
        self._observer = observer
        self._journal = Journal(folder / JOURNAL_NAME, durability=durability, hook=hook)
        self.state = CampaignState()
        entries = [(record.sequence, decode_entry(record.payload)) for record in self._journal.records]
        if not entries:
            born = Born(epoch=ids.new("journal"), at=clock.now(), beside=_witnesses(folder))
            entries = [(self._journal.append(encode_entry(born)).sequence, born)]
        self.outbox = Outbox(folder, epoch=_epoch(entries[0][1]), durability=durability)
        if self.outbox.acknowledged > self.sequence:
            raise Corrupt(
                f"the journal ends at record {self.sequence}, the server acknowledged {self.outbox.acknowledged}",
                hint="an older journal was put in its place; a technician must read the ECUs before it is used",
                code="journal_corrupt",
            )
        for sequence, entry in entries:
            self._take(sequence, entry)
        self._journal.forget()
        if not self.state.resting:
            self.write(Started(at=clock.now()))

    @property
    def sequence(self) -> int:
        """Number of the newest record."""
        return self._journal.sequence

    def write(self, entry: Entry) -> None:
        """Make `entry` durable, then true.

        Raises:
            Unavailable: the disk is full; nothing changed.
        """
        record = self._journal.append(encode_entry(entry))
        self._take(record.sequence, entry)
        self._journal.forget()
        if self._observer is not None:
            self._observer(entry, self.state)

    def put_aside(self, code: str) -> None:
        """Give up telling the server the oldest report, which it refuses as `code`; progress is just forgotten.

        Raises:
            Unavailable: the disk is full; the report still waits.
        """
        oldest = self.outbox.oldest()
        if oldest is None:
            self.outbox.forget_progress()
            return
        sequence, report = oldest
        refused = RefusedReport(report=report, code=code, at=self._clock.now())
        self.write(Refused(sequence=sequence, refused=refused))

    def compact(self) -> None:
        """Shorten the journal, if no campaign is under way and every report has arrived.

        Not of a blocked vehicle: its plan says how its ECUs are brought back.
        """
        if (
            self.state.resting
            and not (self.state.blocked and self.state.plan)
            and self.outbox.settled
            and self._journal.count > COMPACT_RECORDS_MIN
        ):
            self._journal.compact(encode_entry(compacted(self.state, at=self._clock.now())))

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _take(self, sequence: int, entry: Entry) -> None:
        self.state = fold(self.state, entry)
        self.outbox.put(sequence, report_of(sequence, entry, self.state))
        if isinstance(entry, Refused):
            self.outbox.put_aside(entry.sequence)


def read_state(folder: Path) -> CampaignState:
    """Return what a vehicle's journal says, without taking part: for `ringroad vehicle status`.

    Raises:
        Corrupt: the journal is damaged or from a newer version.
        OSError: it cannot be read.
    """
    path = folder / JOURNAL_NAME
    records = parse_records(path.read_bytes())[0] if path.exists() else []
    state = CampaignState()
    if not records:
        return fold(state, Born(epoch="", at=datetime.min.replace(tzinfo=UTC), beside=_witnesses(folder)))
    for record in records:
        state = fold(state, decode_entry(record.payload))
    return state


def compacted(state: CampaignState, *, at: datetime) -> Compacted:
    """Return the entry that says all that a resting `state` still means."""
    return Compacted(
        epoch=state.epoch, at=at, state=state.state, release_id=state.release_id,
        finished=state.finished, past=state.past, installed=dict(state.installed), before=dict(state.before),
        refused=state.refused, refused_count=state.refused_count, code=state.code, detail=state.detail,
    )  # fmt: skip


def _witnesses(folder: Path) -> tuple[str, ...]:
    return tuple(name for name in WITNESSES if (folder / name).exists())


def _epoch(first: Entry) -> str:
    return fold(CampaignState(), first).epoch
