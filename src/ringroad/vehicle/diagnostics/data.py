"""Data of an ECU by identifier: which are known by name, and how their bytes read. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ringroad.kernel.errors import InvalidInput, NotFound
from ringroad.protocol.diagnostics import DATA_ID
from ringroad.vehicle.agents.wire import Did, SlotStatus
from ringroad.vehicle.writable import Writable

IDENTIFICATION: Final = "identData"
CURRENT: Final = "currentData"
STORED: Final = "storedData"
SYSTEM: Final = "sysInfo"
CATEGORIES: Final = (IDENTIFICATION, CURRENT, STORED, SYSTEM)

KNOWN: Final[dict[int, tuple[str, str]]] = {
    Did.VIN: ("vehicle identification number", IDENTIFICATION),
    Did.SERIAL: ("serial number", IDENTIFICATION),
    Did.HARDWARE: ("hardware", IDENTIFICATION),
    Did.SOFTWARE_NUMBER: ("software number", IDENTIFICATION),
    Did.SOFTWARE_VERSION: ("software version", IDENTIFICATION),
    Did.SOFTWARE_VERSION_OEM: ("software version of the maker", IDENTIFICATION),
    Did.BOOT_SOFTWARE: ("boot software", IDENTIFICATION),
    Did.IMAGE_SHA256: ("digest of the running image", IDENTIFICATION),
    Did.ACTIVE_SESSION: ("active diagnostic session", CURRENT),
    Did.SLOT_STATE: ("software banks", SYSTEM),
    Did.COMMITTED_COUNTER: ("committed release counter", STORED),
    Did.FINGERPRINT_READ: ("who flashed last", STORED),
}
_NUMBERS: Final = frozenset({Did.ACTIVE_SESSION, Did.COMMITTED_COUNTER})
_ID: Final = re.compile(r"[0-9A-Fa-f]{4}")


def parse_id(text: str) -> str:
    """Return an identifier of data: ``F195``, or the name that an ECU has for it. Raises: NotFound."""
    if _ID.fullmatch(text) is not None:
        return text.upper()
    if re.match(DATA_ID, text) is None:
        raise NotFound(
            f"there is no data {text[:20]!r}", hint="an identifier has four hex digits, as F195, or is a name"
        )
    return text


def is_did(text: str) -> bool:
    """Say whether it is an identifier of four hex digits."""
    return _ID.fullmatch(text) is not None


def parse_did(text: str) -> int:
    """Return the identifier in ``F195``. Raises: NotFound."""
    if _ID.fullmatch(text) is None:
        raise NotFound(f"there is no data {text[:20]!r}", hint="an identifier has four hex digits, as F195")
    return int(text, 16)


def describe(did: int, writes: Mapping[int, Writable]) -> dict[str, Any]:
    """Return an identifier's name and category, and what may be written into it."""
    told: dict[str, Any] = {"id": f"{did:04X}"}
    writable = writes.get(did)
    if writable is None:
        name, category = KNOWN.get(did, (f"data {did:04X}", CURRENT))
        return {**told, "name": name, "category": category}
    may_be = {"kind": writable.kind, "bytes": writable.size_bytes, "wanted": writable.wanted}
    return {**told, "name": writable.name, "category": STORED, "write": may_be}


def listed(
    items: Iterable[Mapping[str, Any]], categories: list[str] | None, writes: Mapping[int, Writable]
) -> list[dict[str, Any]]:
    """Return an ECU's data of some categories or of all; what may be written first.

    Raises:
        InvalidInput: a category is none.
    """
    for each in categories or ():
        if each not in CATEGORIES:
            raise InvalidInput(f"{each[:40]!r} is no category", hint=", ".join(CATEGORIES))
    told = [describe(did, writes) for did in writes] + [dict(each) for each in items]
    return [each for each in told if not categories or each["category"] in categories]


def read_value(did: int, data: bytes) -> Any:
    """Return an identifier's bytes as a number, a text, or what they mean; what is neither is hex."""
    if did in _NUMBERS:
        return int.from_bytes(data, "big")
    if did == Did.SLOT_STATE:
        try:
            return _banks(SlotStatus.decode(data))
        except InvalidInput:
            return data.hex()
    text = data.rstrip(b"\x00")
    if text and all(0x20 <= byte < 0x7F for byte in text):
        return text.decode("ascii")
    return data.hex()


def _banks(status: SlotStatus) -> dict[str, Any]:
    return {
        "layout": status.layout.name.lower(),
        "mode": status.mode.name.lower(),
        "swap": status.swap.name.lower(),
        "active": status.active,
        "banks": [{**dataclasses.asdict(bank), "sha256": bank.sha256.hex()} for bank in status.banks],
    }
