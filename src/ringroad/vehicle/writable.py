"""Which of an ECU's data may be written, as the vehicle's own configuration says, and how a value becomes bytes. Pure.

A line of the table ``[ecus.writes]`` is ``IDENTIFIER = "KIND BYTES NAME"``, as ``F198 = "text 10 repair shop"``.

Invariant: what an ECU is, what it runs and who flashed it is never written by diagnostics, whatever the table says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.diagnostics import VALUE_BYTES_MAX
from ringroad.vehicle.agents.wire import Did

Kind = Literal["text", "number", "hex"]

WRITES_MAX: Final = 64  # identifiers of one ECU
NUMBER_BYTES_MAX: Final = 6  # a number that JSON keeps exactly
_DID: Final = re.compile(r"[0-9A-Fa-f]{4}")
_LINE: Final = re.compile(r"([a-z]{1,10}) ([0-9]{1,3})(?: ([\x20-\x7e]{1,60}))?")
_RESERVED: Final = frozenset(int(did) for did in Did)


@dataclass(frozen=True, slots=True, kw_only=True)
class Writable:
    """One identifier that may be written.

    Attributes:
        did: the identifier.
        kind: how people write it: ``text`` (ASCII, padded with zeros), ``number`` (unsigned), ``hex``.
        size_bytes: that the ECU keeps.
        name: what it is called.
    """

    did: int
    kind: Kind
    size_bytes: int
    name: str

    def encode(self, value: Any) -> bytes:
        """Return a value's bytes. Raises: InvalidInput, it is none of this kind and size."""
        match self.kind:
            case "text":
                if isinstance(value, str) and len(value) <= self.size_bytes and _is_plain(value):
                    return value.encode("ascii").ljust(self.size_bytes, b"\x00")
            case "number":
                whole = isinstance(value, int) and not isinstance(value, bool)
                if whole and 0 <= value < 1 << 8 * self.size_bytes:
                    return int(value).to_bytes(self.size_bytes, "big")
            case "hex":
                if isinstance(value, str) and re.fullmatch(rf"[0-9A-Fa-f]{{{2 * self.size_bytes}}}", value):
                    return bytes.fromhex(value)
        raise InvalidInput(f"{self.did:04X} is {self.wanted}", code="value")

    def decode(self, data: bytes) -> Any:
        """Return what bytes of an ECU mean; those of another size or kind are hex."""
        if self.kind == "number" and len(data) <= NUMBER_BYTES_MAX:
            return int.from_bytes(data, "big")
        if self.kind == "text":
            text = data.rstrip(b"\x00").decode("latin-1")
            if _is_plain(text):
                return text
        return data.hex()

    @property
    def wanted(self) -> str:
        """What a value must be, in words."""
        match self.kind:
            case "text":
                return f"a text of at most {self.size_bytes} characters"
            case "number":
                return f"a whole number from 0 to {(1 << 8 * self.size_bytes) - 1}"
            case "hex":
                return f"{2 * self.size_bytes} hex digits"


def parse_writes(table: Mapping[str, str]) -> dict[int, Writable]:
    """Return the identifiers that a table ``[ecus.writes]`` allows.

    Raises:
        InvalidInput: a line is none, or names what diagnostics never write.
    """
    if len(table) > WRITES_MAX:
        raise InvalidInput(f"writes: {WRITES_MAX} identifiers at most")
    return {each.did: each for each in (_parse(key, line) for key, line in table.items())}


def _parse(key: str, line: str) -> Writable:
    found = _LINE.fullmatch(line)
    if _DID.fullmatch(key) is None or found is None or found[1] not in get_args(Kind):
        raise InvalidInput(
            f"writes: {key[:20]} = {line[:80]!r} cannot be read", hint='F198 = "text 10 repair shop"'
        )
    did, size = int(key, 16), int(found[2])
    if did in _RESERVED:
        raise InvalidInput(
            f"writes: {key.upper()} says who the ECU is or what it runs, which diagnostics never write"
        )
    kind: Kind = next(each for each in get_args(Kind) if each == found[1])
    most = NUMBER_BYTES_MAX if kind == "number" else VALUE_BYTES_MAX
    if not 1 <= size <= most:
        raise InvalidInput(f"writes: {key.upper()}: a {kind} has 1 to {most} bytes")
    return Writable(did=did, kind=kind, size_bytes=size, name=found[3] or f"data {did:04X}")


def _is_plain(text: str) -> bool:
    return text.isascii() and (text.isprintable() or not text)
