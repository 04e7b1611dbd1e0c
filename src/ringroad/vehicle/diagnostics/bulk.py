"""Bulk data of a vehicle: its journal, what it logged, the ring of signals, its ECUs' fault memories, who asked beside it.

Each is text, one JSON value per line, made when somebody begins to read it, and then read in chunks; a chunk fits one answer
over the link. What is kept is bounded, and the newest end of what is larger is what is told.

Invariants:
    * No secret and no position leaves the vehicle this way (`cleaned`).
    * The chunks of one reading are of one text: who reads on after it was made anew is told so.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Reversible
from itertools import chain
from pathlib import Path
from typing import Any, Final

import msgspec

from ringroad.kernel.errors import Conflict, InvalidInput, NotFound, Unavailable
from ringroad.protocol.diagnostics import BULK_BYTES_MAX, BULK_CHUNK_BYTES_MAX
from ringroad.protocol.vehicle import Sample
from ringroad.vehicle.diagnostics.audit import read_audit
from ringroad.vehicle.diagnostics.places import names_position, tells_position
from ringroad.vehicle.journal import Record, parse_records
from ringroad.vehicle.kept import PastUpdate, past_text
from ringroad.vehicle.memory import JOURNAL_NAME

CATEGORIES: Final[Mapping[str, str]] = {
    "journal": "what the orchestrator wrote down: updates, steps, failures, the driver's words",
    "log": "what the vehicle's process logged since it was started",
    "signals": "the ring of signals that is kept for freeze frames",
    "ecus": "each ECU's identification and fault memory, with snapshots",
    "audit": "what testers beside the vehicle asked",
    "birth": "the signed record of what the vehicle was when it left the line",
}
NEWEST: Final = "newest"  # the one item of every category but the ECUs
TEXTS_MAX: Final = 4  # readings under way; another one takes the place of the oldest
LOG_LINES_MAX: Final = 2_000  # of one process
_LINE_CHARS_MAX: Final = 2_000  # of one line of the log
_DEPTH_MAX: Final = 12  # of a line's values
_SECRET: Final = re.compile(
    r"(?i)token|secret|passw|passphrase|passcode|authorization|cookie|private|credential|api_?key|(^|_)(key|seed|pin)$"
)
# In free text, to the end of the line: how a place is worded there has no end of forms. A URL's query may be a key to it.
_LOOKS_SECRET: Final = re.compile(
    r"(?i)\bbearer\s+\S+|\brrt_[0-9a-f]+|-----BEGIN[^-]*-----[\s\S]*|\?[\w.~%-]+=\S*|CurrentLocation[^\n]*"
    r"|\b(?:latitude|longitude)\b[^\n]*"
)

Line = dict[str, Any]
Sources = Mapping[str, Callable[[], Reversible[Line] | bytes]]  # by category; all but that of the ECUs


def cleaned(value: Any, *, depth: int = 0) -> Any:
    """Return a value without secrets and positions: by the names of fields, the paths of signals, and what looks like one. Pure."""
    if depth > _DEPTH_MAX:
        return "…"
    if isinstance(value, Mapping):
        return {
            str(key): "…" if _SECRET.search(str(key)) else cleaned(each, depth=depth + 1)
            for key, each in value.items()
            if not names_position(str(key)) and not tells_position(each)
        }
    if isinstance(value, list | tuple):
        return [cleaned(each, depth=depth + 1) for each in value if not tells_position(each)]
    if isinstance(value, str):
        return _LOOKS_SECRET.sub("…", value)
    if isinstance(value, int | float | bool) or value is None:
        return value
    return _LOOKS_SECRET.sub("…", str(value))


class LogRing:
    """The newest lines that a process logged; a processor of structlog, which lets each of them pass."""

    def __init__(self, *, alone: bool) -> None:
        """Take whether one vehicle is alone in its process: then lines that name no vehicle are its own."""
        self._alone = alone
        self._lines: deque[Line] = deque(maxlen=LOG_LINES_MAX)

    def __call__(self, _logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Keep one line."""
        self._lines.append({"level": level, **event})
        return event

    def lines(self, vin: str) -> list[Line]:
        """Return a vehicle's lines, oldest first."""
        return [each for each in self._lines if each.get("vin", vin if self._alone else None) == vin]


def text_of(lines: Reversible[Any] | bytes) -> bytes:
    """Return lines as text, cleaned; bytes that are signed as they are; of what is over the limit the newest whole lines, and no older one is looked at."""
    if isinstance(lines, bytes):
        return lines[:BULK_BYTES_MAX]
    newest: list[bytes] = []
    size = 0
    for line in reversed(lines):
        if tells_position(line):
            continue
        newest.append(_encode(line))
        size += len(newest[-1])
        if size > BULK_BYTES_MAX:
            newest.pop()
            break
    return b"".join(reversed(newest))


def _encode(line: Any) -> bytes:
    content = msgspec.json.encode(cleaned(line))
    if len(content) > BULK_CHUNK_BYTES_MAX:
        content = msgspec.json.encode({"cut": content[:_LINE_CHARS_MAX].decode(errors="replace")})
    return content + b"\n"


class JournalLines(Iterable[Line]):
    """The journal's records, as far as they read back; read when they are gone through.

    Of updates whose records were compacted away there is a line each: what is kept of them (`kept.PastUpdate`).
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME

    def __iter__(self) -> Iterator[Line]:
        """Give them, oldest first. Raises: Unavailable, Corrupt."""
        return chain.from_iterable(map(_record_lines, self._records()))

    def __reversed__(self) -> Iterator[Line]:
        """Give them, newest first; who stops early decodes no more. Raises: Unavailable, Corrupt."""
        return (line for each in reversed(self._records()) for line in reversed(_record_lines(each)))

    def _records(self) -> list[Record]:
        try:
            return parse_records(self._path.read_bytes())[0]
        except OSError as error:
            raise Unavailable(f"the journal cannot be read: {error.strerror}", code="disk") from error


def _record_lines(record: Record) -> list[Line]:
    """Return a record as a line, behind one for each update of which it keeps what is left, oldest first."""
    entry = msgspec.json.decode(record.payload)
    past = msgspec.convert(entry.pop("past", ()), tuple[PastUpdate, ...]) if isinstance(entry, dict) else ()
    before = [{"said": past_text(each), "update": msgspec.to_builtins(each)} for each in reversed(past)]
    return [*before, {"record": record.sequence, "entry": entry}]


def audit_lines(folder: Path) -> list[Line]:
    """Return what testers asked. Raises: Unavailable."""
    return [msgspec.json.decode(line) for line in read_audit(folder).splitlines() if line.endswith(b"}")]


def signal_lines(samples: Iterable[Sample]) -> list[Line]:
    """Return samples as lines."""
    return [msgspec.to_builtins(each) for each in samples]


class Texts:
    """The texts that are being read, by session and place."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def drop(self, session: str) -> None:
        """Forget what a session read."""
        for key in [each for each in self._held if each[0] == session]:
            del self._held[key]

    def begin(self, session: str, place: str, text: bytes) -> None:
        """Hold a text that a session begins to read."""
        self._held.pop((session, place), None)
        self._held[session, place] = text
        while len(self._held) > TEXTS_MAX:
            self._held.popitem(last=False)

    def chunk(self, session: str, place: str, *, offset: int, length: int, sha256: str) -> dict[str, Any]:
        """Return a piece of a text that was begun.

        Raises:
            Conflict: it is not the text of which the earlier pieces were.
            InvalidInput: the piece begins behind its end.
        """
        text = self._held.get((session, place))
        digest = hashlib.sha256(text).hexdigest() if text is not None else ""
        if text is None or (sha256 and sha256 != digest):
            raise Conflict("the data was made anew meanwhile", code="changed", hint="begin again from byte 0")
        if offset > len(text):
            raise InvalidInput(f"the data ends at byte {len(text)}", code="range")
        piece = text[offset : offset + length]
        return {
            "size": len(text), "sha256": digest, "offset": offset, "data": base64.b64encode(piece).decode(),
        }  # fmt: skip


def require_item(category: str, item: str, components: Iterable[str]) -> None:
    """Raise unless there is such a piece of bulk data. Raises: NotFound."""
    require_category(category)
    items = list(components) if category == "ecus" else [NEWEST]
    if item not in items:
        raise NotFound(f"there is no {category}/{item[:40]}", hint=f"there is {', '.join(items)[:200]}")


def require_category(category: str) -> None:
    """Raise unless there is such a category. Raises: NotFound."""
    if category not in CATEGORIES:
        raise NotFound(f"there is no bulk data {category[:40]!r}", hint=", ".join(CATEGORIES))
