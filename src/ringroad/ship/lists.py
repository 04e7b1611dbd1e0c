"""Membership lists: which rows of an uploaded file name a vehicle, and which are refused and why. Pure.

One VIN per line; what follows a comma, semicolon or tab is left aside, as are empty lines, comments after ``#`` and a
first line that says ``vin``. Not here: who may change a list, and where it is kept (`store/fleet.py`).

Invariant: a refused row is told with the number of its line; nothing is guessed into a VIN.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import parse_vin

LISTS_MAX = 1_000  # lists; a page shows them all
LIST_BYTES_MAX = 64 * 1024**2  # bytes of an upload; a million VINs with two more columns
LIST_ROWS_MAX = 1_000_000  # rows; the fleet this is measured with
REFUSED_TOLD_MAX = 100  # rows told one by one; all are counted
SHOWN_CHARS_MAX = 40  # characters of a refused row that are told
TAGS_MAX = 64  # tags of one vehicle; as many as it may be born with
VINS_MAX = 10_000  # vehicles named in one request

WORD = r"[A-Za-z0-9][A-Za-z0-9_.+:\-]{0,63}"  # a name that needs no quotes in a query
Mode = Literal["replace", "add", "remove"]
_CELL = re.compile(r"[,;\t]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that names no vehicle of ours."""

    line: int  # from 1
    text: str  # its beginning
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFile:
    """What an uploaded file says."""

    lines: dict[str, int]  # VIN, and the line it is named first in
    rows: int  # that were not empty
    duplicates: int
    refused: tuple[RefusedRow, ...]  # by line


def read_list(data: bytes) -> ListFile:
    """Read a file of VINs, written in either case.

    Raises:
        InvalidInput: it has more rows than a list may.
    """
    lines: dict[str, int] = {}
    refused: list[RefusedRow] = []
    rows = duplicates = 0
    for number, raw in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        cell = _CELL.split(raw.partition("#")[0], maxsplit=1)[0].strip().strip("\"'").strip()
        if not cell or (number == 1 and cell.lower() == "vin"):
            continue
        rows += 1
        if rows > LIST_ROWS_MAX:
            raise InvalidInput(
                f"line {number}: more than {LIST_ROWS_MAX} vehicles", hint="make two lists, and name both"
            )
        try:
            vin = parse_vin(cell.upper())
        except InvalidInput:
            refused.append(RefusedRow(line=number, text=_shown(cell), reason="not a VIN"))
            continue
        duplicates += vin in lines
        lines.setdefault(vin, number)
    return ListFile(lines=lines, rows=rows, duplicates=duplicates, refused=tuple(refused))


def refuse_strangers(file: ListFile, known: Collection[str]) -> ListFile:
    """Return the file with the VINs that no vehicle has among the refused rows."""
    strangers = [
        RefusedRow(line=line, text=vin, reason="no such vehicle")
        for vin, line in file.lines.items()
        if vin not in known
    ]
    if not strangers:
        return file
    return ListFile(
        lines={vin: line for vin, line in file.lines.items() if vin in known},
        rows=file.rows,
        duplicates=file.duplicates,
        refused=tuple(sorted((*file.refused, *strangers), key=lambda row: row.line)),
    )


def check_name(name: str, what: str) -> str:
    """Return a name that can be written in a query without quotes.

    Raises:
        InvalidInput: it cannot.
    """
    if re.fullmatch(WORD, name) is None:
        raise InvalidInput(
            f"{name[:SHOWN_CHARS_MAX]!r} is no name of a {what}",
            hint="1 to 64 letters, digits and _ . + : -, the first a letter or digit",
        )
    return name


def digest_vins(vins: Iterable[str]) -> str:
    """Return the SHA-256 over sorted VINs: what a fact says of a list instead of its vehicles."""
    return hashlib.sha256("\n".join(sorted(vins)).encode()).hexdigest()


def _shown(text: str) -> str:
    plain = "".join(character if character.isprintable() else "?" for character in text[:SHOWN_CHARS_MAX])
    return plain + ("…" if len(text) > SHOWN_CHARS_MAX else "")
