"""Reading the NHTSA complaints flat file: one line in, one complaint or a reason out.

Pure. The file has 49 tab-separated fields and no header; dates are YYYYMMDD; one complaint number (ODINO) comes
once per component. What we take, by the field numbers of the description::

     2 ODINO      4 MAKETXT     5 MODELTXT    6 YEARTXT     8 FAILDATE
    12 COMPDESC  15 VIN        16 DATEA      20 CDESCR

Invariant: a line is a complaint or in quarantine, never dropped and never half read.

Source: NHTSA Office of Defects Investigation, "Import instructions" for FLAT_CMPL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from typing import BinaryIO

from ringroad.signal.model import Complaint, Quarantined

FIELDS = 49
SOURCE = "nhtsa"
LINE_BYTES_MAX = 64 * 1024  # bytes; the longest description has 2,048 characters
LINES_MAX = 20_000_000  # lines; the whole archive since 1995 has about 2 million
YEAR_MIN = 1885  # the first car; also turns typing errors into reasons
YEAR_UNKNOWN = 9999
NAME_CHARS_MAX = 200
VIN_PREFIX_CHARS = 11  # as published; the serial number would name a person's car
RAW_BYTES_MAX = 4 * 1024  # bytes of a refused line that are kept to be read

_READ_BYTES = 1024**2


def split_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines without their ends; a line beyond `LINE_BYTES_MAX` comes cut, one byte longer than the limit."""
    rest = b""
    skipping = False
    while block := stream.read(_READ_BYTES):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if not skipping:
                yield line[: LINE_BYTES_MAX + 1].removesuffix(b"\r")
            skipping = False
        if len(rest) > LINE_BYTES_MAX:
            if not skipping:
                yield rest[: LINE_BYTES_MAX + 1]
            skipping, rest = True, b""
    if rest and not skipping:
        yield rest.removesuffix(b"\r")


def parse_line(line: bytes, *, today: date) -> Complaint | Quarantined:
    """Read one line of the flat file.

    Args:
        line: without its line end; UTF-8, or Latin-1 where it is not.
        today: dates after it are wrong.
    """
    if len(line) > LINE_BYTES_MAX:
        return _no("line_too_long", f"more than {LINE_BYTES_MAX} bytes")
    if b"\0" in line:
        return _no("nul_byte", f"at byte {line.index(0)}")
    fields = _text(line.removeprefix(b"\xef\xbb\xbf")).split("\t")
    if len(fields) != FIELDS:
        return _no("field_count", f"{len(fields)} fields, {FIELDS} expected")
    number, make, model, year_text, failed, component, vin, added, text = (
        fields[place - 1].strip() for place in (2, 4, 5, 6, 8, 12, 15, 16, 20)
    )
    if not (number.isascii() and number.isdigit() and len(number) <= 12):
        return _no("odi_number", f"field 2 is {number[:20]!r}")
    if not component or not make:
        return _no("missing", "field 12 (component)" if make else "field 4 (make)")
    year = _year(year_text, today=today)
    occurred, received = _date(failed, today=today), _date(added, today=today)
    if isinstance(year, Quarantined):
        return _at(6, year_text, year)
    if isinstance(occurred, Quarantined):
        return _at(8, failed, occurred)
    if isinstance(received, Quarantined):
        return _at(16, added, received)
    digest = hashlib.sha256(f"{component}\0{text}".encode()).hexdigest()
    return Complaint(
        id=f"{SOURCE}:{number}:{digest[:16]}",
        source=SOURCE,
        make=make[:NAME_CHARS_MAX],
        model=model[:NAME_CHARS_MAX],
        model_year=year,
        component=component[:NAME_CHARS_MAX],
        vin_prefix=vin[:VIN_PREFIX_CHARS],
        occurred_on=occurred,
        received_on=received,
        text=text,
        row_sha256=hashlib.sha256(line).hexdigest(),
    )


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("latin-1")  # every byte has a meaning there


def _year(text: str, *, today: date) -> int | Quarantined | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) == 4):
        return _no("year", "not four digits")
    year = int(text)
    if year == YEAR_UNKNOWN:
        return None
    if not YEAR_MIN <= year <= today.year + 2:  # model years are sold early
        return _no("year", f"not between {YEAR_MIN} and {today.year + 2}")
    return year


def _date(text: str, *, today: date) -> date | Quarantined | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) == 8):
        return _no("date", "not YYYYMMDD")
    try:
        day = date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return _no("date", "no such day")
    if not date(YEAR_MIN, 1, 1) <= day <= today:
        return _no("date", f"not between {YEAR_MIN} and {today}")
    return day


def _at(place: int, raw: str, why: Quarantined) -> Quarantined:
    return _no(why.reason, f"field {place} is {raw[:20]!r}: {why.detail}")


def _no(reason: str, detail: str) -> Quarantined:
    return Quarantined(reason=reason, detail=detail)
