"""What server and vehicle say to each other for remote diagnostics: requests of a SOVD-aligned tree over the vehicle's own link.

MQTT topics, beside those of `vehicle.py`; the vehicle opened the connection, nothing of it listens::

    ringroad/v1/{vin}/diagnostics/request    DiagnosticRequest, server to vehicle, sent again until it is answered
    ringroad/v1/{vin}/diagnostics/answer     DiagnosticAnswer, vehicle to server

A request that is sent again has the same id; the vehicle answers it again and does it once.
The tree, its methods and its bodies are listed in docs/reference/diagnostics.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import Message, Name, ShortText

REQUEST_BYTES_MAX: Final = 64 * 1024  # bytes; the largest body names an operation and its parameters
ANSWER_BYTES_MAX: Final = 256 * 1024  # bytes; a fault memory of 64 codes with snapshots is 60 kB
SAMPLES_MAX: Final = 600  # events of one cyclic subscription: ten minutes, one a second
BULK_BYTES_MAX: Final = 2 * 1024**2  # bytes of one piece of bulk data; the newest are told
BULK_CHUNK_BYTES_MAX: Final = 128 * 1024  # bytes; in base64 they fit one answer
PATH_CHARS_MAX: Final = 300
REASON_CHARS_MAX: Final = 500  # the driver reads it
SESSION_S_MAX: Final = 8 * 3600  # s; a working day of a workshop
SESSION_S_MIN: Final = 60  # s
MODE_S_MAX: Final = 600  # s that a mode of an ECU holds
MODE_VALUES: Final[Mapping[str, tuple[str, str]]] = {  # each mode's default first
    "session": ("default", "extended"),
    "security": ("locked", "unlocked"),
    "authentication": ("deauthenticated", "authenticated"),
    "dtcsetting": ("on", "off"),
    "commctrl": ("enabled", "disabled"),
}
REQUEST_TOPIC: Final = "diagnostics/request"  # below ringroad/v1/{vin}/
ANSWER_TOPIC: Final = "diagnostics/answer"

Scope = Literal["read", "service"]
Method = Literal["GET", "POST", "PUT", "DELETE"]
Consent = Literal["driver", "standing", "test"]
Ref = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:\-]{1,200}$")]
Path = Annotated[str, Meta(min_length=1, max_length=PATH_CHARS_MAX, pattern=r"^/[\x21-\x7e]*$")]

SESSIONS_PATH: Final = "/sessions"
BULK_TYPE: Final = "application/x-ndjson"  # one JSON value per line
DATA_ID_CHARS_MAX: Final = 64
DATA_ID: Final = r"^[0-9A-Za-z][0-9A-Za-z._\-]{0,63}$"  # of data: four hex digits over UDS, a name where an ECU has its own
VALUE_BYTES_MAX: Final = 64  # of one value that is written; both values of a change are kept for good
_DATA_PLACE: Final = re.compile(r"/components/[^/]+/data/[^/]+")
_WRITTEN: Final = re.compile(rf"(?:[0-9a-f]{{2}}){{0,{VALUE_BYTES_MAX}}}")
_RANGE: Final = re.compile(r"bytes=([0-9]{1,9})-([0-9]{0,9})")


def parse_range(text: str, size: int) -> tuple[int, int] | None:
    """Return where a range of so many bytes begins and ends; None for all of them.

    Raises:
        InvalidInput: it begins behind the end. What is no single range from a byte on is no range, as RFC 9110 has it.
    """
    found = _RANGE.fullmatch(text.strip())
    if found is None:
        return None
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if last < first and found[2]:
        return None
    if first >= size:
        raise InvalidInput(
            f"the data ends at byte {size}", code="range", hint="ask for a range that begins before it"
        )
    return first, min(last + 1, size)


def is_write(method: str, path: str) -> bool:
    """Say whether a request writes a value of a component: what was there before and is there then is evidence."""
    return method == "PUT" and _DATA_PLACE.fullmatch(path) is not None


def written_values(body: Mapping[str, Any]) -> dict[str, str]:
    """Return what the answer to a write says was there `before` and is there then, in hex; a strange one says nothing."""
    told = {"before": body.get("before_raw"), "data": body.get("raw")}
    return {
        key: value
        for key, value in told.items()
        if isinstance(value, str) and _WRITTEN.fullmatch(value) is not None
    }


class SessionWanted(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Body of ``POST /sessions``: who wants to look into the vehicle, why, how deep and until when.

    `position` asks for where the vehicle is or was as well. A vehicle from before it refuses such a session.
    """

    by: Name
    reason: Annotated[str, Meta(min_length=1, max_length=REASON_CHARS_MAX)]
    scope: Scope
    expires_at: datetime
    position: bool = False


class DiagnosticRequest(Message, frozen=True, kw_only=True, omit_defaults=True):
    """One request; `until` is the last moment at which the vehicle may begin with it."""

    id: Ref
    session: Ref
    until: datetime
    method: Method
    path: Path
    body: dict[str, Any] = msgspec.field(default_factory=dict)


class DiagnosticAnswer(Message, frozen=True, kw_only=True, omit_defaults=True):
    """What the vehicle says to a request.

    One that is not final says that it is at work, that the driver is asked, how an operation ended, or what a cyclic
    subscription just read.
    """

    id: Ref
    status: Annotated[int, Meta(ge=100, le=599)]
    at: datetime
    final: bool = True
    body: dict[str, Any] = msgspec.field(default_factory=dict)


class CyclicEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a cyclic subscription; the body of an answer that is not final, to the request that began it."""

    number: Annotated[int, Meta(ge=1, le=SAMPLES_MAX)]
    at: datetime
    values: Annotated[
        dict[Annotated[str, Meta(max_length=DATA_ID_CHARS_MAX)], dict[str, Any]], Meta(max_length=8)
    ]


EXECUTION_ENDED: Final = frozenset({"completed", "failed", "stopped"})  # states of one that is over


def ended_execution(answer: DiagnosticAnswer) -> dict[str, Any] | None:
    """Return how an operation ended, where an answer that is not final says so of the request that began it."""
    told = answer.body.get("execution")
    if not isinstance(told, dict) or told.get("id") != answer.id or told.get("status") not in EXECUTION_ENDED:
        return None
    return told


class BulkChunk(Message, frozen=True, kw_only=True):
    """A piece of bulk data; `size` and `sha256` are those of the whole."""

    category: Name
    id: Name
    size: Annotated[int, Meta(ge=0, le=BULK_BYTES_MAX)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    offset: Annotated[int, Meta(ge=0, le=BULK_BYTES_MAX)]
    data: Annotated[str, Meta(max_length=BULK_CHUNK_BYTES_MAX * 4 // 3 + 4)]  # base64


class Refused(Message, frozen=True, kw_only=True):
    """Why the vehicle refused, in the words of `kernel/errors.py`."""

    kind: Name
    code: Name
    message: ShortText
    hint: ShortText = ""
