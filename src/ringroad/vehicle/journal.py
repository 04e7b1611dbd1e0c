"""The orchestrator's journal: one append-only file, one checked record per transition.

A record is one line: CRC-32 in hex, sequence number, JSON::

    1c291ca3 17 {"type":"Moved","state":"COMMITTING",...}

It is not a database and knows nothing of what the payloads mean (`states` does).

Invariants:
    * `append` returns only after the record is as durable as the policy says.
    * A torn last record is dropped when the file is opened; damage anywhere else is `Corrupt`.
    * Sequence numbers grow by one and are never used twice, not even across compaction.
"""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NoReturn

from ringroad.kernel.errors import Corrupt, InvalidInput, Unavailable
from ringroad.vehicle.files import Durability, replace_file, sync_descriptor, sync_folder, write_all

RECORD_BYTES_MAX: Final = 1024**2  # bytes; a plan of 256 ECUs is about 150 kB
JOURNAL_BYTES_MAX: Final = 64 * 1024**2  # bytes; one campaign of 33 ECUs is about 60 kB
CRASH_EXIT_STATUS: Final = -signal.SIGKILL  # as `subprocess` tells it; a shell shows 137

# Called with "before" and "after" around each append; may raise or end the process. For tests and simulation.
RecordHook = Callable[[Literal["before", "after"]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One durable line of the journal."""

    sequence: int
    payload: bytes


class Journal:
    """An open journal file. One writer: the data folder's lock sees to that.

    Attributes:
        records: those read when it was opened and appended since, until `forget`.
        sequence: number of the newest record; 0 when there is none.
        count: records in the file.
    """

    def __init__(self, path: Path, *, durability: Durability, hook: RecordHook | None = None) -> None:
        """Open or create the journal at `path` and drop a torn last record.

        Raises:
            Corrupt: a record other than the last does not read back, or numbers are missing.
            Unavailable: the disk cannot be read or written.
        """
        self._path = path
        self._durability: Durability = durability
        self._hook = hook
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}.new").unlink(missing_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            content = _read_bounded(path)
            self.records, good_bytes = parse_records(content)
            if good_bytes < len(content):
                os.ftruncate(self._descriptor, good_bytes)
                sync_descriptor(self._descriptor, durability=durability)
            sync_folder(path.parent, durability=durability)
        except OSError as error:
            _refuse_disk(error)
        self._good_bytes = good_bytes
        self.sequence = self.records[-1].sequence if self.records else 0
        self.count = len(self.records)

    def forget(self) -> None:
        """Drop the payloads from memory, once they were read; the file keeps them."""
        self.records = []

    def append(self, payload: bytes) -> Record:
        """Make `payload` the newest record and wait until it is durable.

        Raises:
            InvalidInput: the payload is larger than `RECORD_BYTES_MAX` or has a line break.
            Unavailable: the disk is full; the journal is as before.
        """
        if self._hook is not None:
            self._hook("before")
        record = Record(sequence=self.sequence + 1, payload=payload)
        line = encode_record(record)
        if self._good_bytes + len(line) > JOURNAL_BYTES_MAX:
            raise Unavailable(f"the journal is over {JOURNAL_BYTES_MAX} bytes", code="journal_full")
        try:
            write_all(self._descriptor, line)
            sync_descriptor(self._descriptor, durability=self._durability)
        except OSError as error:
            # What was written in part would be damage in the middle once the next record follows it.
            try:
                os.ftruncate(self._descriptor, self._good_bytes)
            except OSError:
                self.close()  # better no journal than a damaged one
            _refuse_disk(error)
        self._good_bytes += len(line)
        self.records.append(record)
        self.sequence, self.count = record.sequence, self.count + 1
        if self._hook is not None:
            self._hook("after")
        return record

    def compact(self, payload: bytes) -> Record:
        """Replace every record by one that says the same, with the next number.

        Raises:
            Unavailable: the disk is full and the journal as before; or the new file took its place but cannot be
                used: then the journal is closed, and a restart reads it.
        """
        if self._hook is not None:
            self._hook("before")
        record = Record(sequence=self.sequence + 1, payload=payload)
        line = encode_record(record)
        try:
            replace_file(self._path, line, durability=self._durability)
        except Unavailable:
            if not self._is_current():
                self.close()  # what is appended to a file without a name would be gone after a restart
            raise
        self.close()
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            _refuse_disk(error)
        self._good_bytes = len(line)
        self.records = [record]
        self.sequence, self.count = record.sequence, 1
        if self._hook is not None:
            self._hook("after")
        return record

    def _is_current(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except OSError:
            return False

    def close(self) -> None:
        """Close the file. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def encode_record(record: Record) -> bytes:
    """Return the line of `record`.

    Raises:
        InvalidInput: the payload is too large or has a line break.
    """
    if len(record.payload) > RECORD_BYTES_MAX or b"\n" in record.payload:
        raise InvalidInput(f"a journal record must be one line of at most {RECORD_BYTES_MAX} bytes")
    body = b"%d %s" % (record.sequence, record.payload)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def parse_records(content: bytes) -> tuple[list[Record], int]:
    """Return the records of a journal file and how many bytes of it are good.

    Only the last record may be torn: its bytes are not counted as good.

    Raises:
        Corrupt: any other record does not read back, or a number is missing.
    """
    records: list[Record] = []
    offset = 0
    while offset < len(content):
        end = content.find(b"\n", offset)
        record = _parse_line(content[offset:end]) if end >= 0 else None
        if record is None:
            if end >= 0 and end + 1 < len(content):
                raise _corrupt(offset, "its checksum does not match")
            break
        if records and record.sequence != records[-1].sequence + 1:
            raise _corrupt(offset, f"record {record.sequence} follows {records[-1].sequence}")
        records.append(record)
        offset = end + 1
    return records, offset


def crash_after(records: int) -> RecordHook:
    """Return a hook that kills the process with signal 9, as a power cut would, once `records` records were appended."""
    left = records

    def hook(moment: Literal["before", "after"]) -> None:
        nonlocal left
        if moment == "after":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _parse_line(line: bytes) -> Record | None:
    checksum, _, body = line.partition(b" ")
    sequence, _, payload = body.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body) or not sequence.isdigit():
        return None
    return Record(sequence=int(sequence), payload=payload)


def _read_bounded(path: Path) -> bytes:
    if path.stat().st_size > JOURNAL_BYTES_MAX:
        raise _corrupt(JOURNAL_BYTES_MAX, "the file is larger than a journal can be")
    return path.read_bytes()


def _corrupt(offset: int, why: str) -> Corrupt:
    return Corrupt(
        f"the journal is damaged at byte {offset}: {why}",
        hint="keep a copy of the folder, then let a technician read the ECUs before it is used again",
        code="journal_corrupt",
    )


def _refuse_disk(error: OSError) -> NoReturn:
    raise Unavailable(
        f"the journal cannot be used: {error.strerror}",
        hint="free some space or make the folder writable",
        code="disk",
    ) from error
