"""What gateways tell each other through the database: from which change on to read, and what was ended.

A notice is delivered when its transaction commits, and to whoever listens then; who was cut off reads everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

Closing = tuple[int, str]  # action and VIN

NOTICE_BYTES_MAX: Final = 7_900  # PostgreSQL refuses a payload of 8,000
_CLOSED: Final = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One payload. `changed_from` None: something changed, nobody said from where on."""

    changed_from: int | None = None
    closed: tuple[Closing, ...] = ()


def closing_notices(closings: Iterable[Closing]) -> list[str]:
    """Return payloads that tell what was ended; usually one."""
    notices: list[str] = []
    for action_id, vin in dict.fromkeys(closings):
        line = f"\n{action_id} {vin}"
        if notices and len((notices[-1] + line).encode()) <= NOTICE_BYTES_MAX:
            notices[-1] += line
        else:
            notices.append(_CLOSED + line)
    return notices


def parse_notice(payload: str) -> Notice:
    """Read a payload; one that makes no sense says that something changed."""
    head, *lines = payload.split("\n")
    if head.isdecimal() and head.isascii():
        return Notice(changed_from=int(head))
    if head == _CLOSED:
        pairs = [line.partition(" ") for line in lines]
        if pairs and all(number.isascii() and number.isdecimal() for number, _, _ in pairs):
            return Notice(closed=tuple((int(number), vin) for number, _, vin in pairs))
    return Notice()
