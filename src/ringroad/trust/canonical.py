"""Canonical JSON: one value has one byte form, and no other form is read.

Not a general JSON reader: numbers are integers that every JSON library keeps exactly, strings are NFC without
control characters, and nesting is bounded by orjson at 254.
Under these rules sorted compact JSON by orjson has the same bytes as securesystemslib's OLPC form, so stock
TUF clients verify what we sign.

Invariant: `decode_canonical(raw)` succeeds only if `encode_canonical(decode_canonical(raw)) == raw`.
Duplicate keys, white space, escapes with a shorter form and unsorted keys all fail that comparison.

Source: Uptane 2.1 section 5.2 (RFC 5198 strings); TUF 1.0.31 section 4.2.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any, Final

import orjson

from ringroad.kernel.errors import InvalidInput
from ringroad.trust.attacks import Attack, refuse

INTEGER_MAX: Final = 2**53 - 1  # the largest integer that JavaScript clients keep exactly, RFC 8259 section 6
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
# A number with a point or an exponent; inside a string it may be harmless. One pattern per first character,
# because the regular expression engine jumps to a literal ten times faster than to a set.
_FRACTIONS: Final = tuple(re.compile(first + rb"-?[0-9]+[.eE]") for first in (rb":", rb",", rb"\[", rb"\A"))


def encode_canonical(value: Any) -> bytes:
    """Return the canonical form of a value made of dict, list, str, int, bool and None.

    Raises:
        InvalidInput: a float, a control character, text that is not NFC, a key that is not text, an integer
            beyond 2**53 - 1, any other type, or nesting deeper than orjson's limit of 254.
    """
    try:
        raw = orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise InvalidInput("not canonical JSON", code="not_canonical", detail=str(error)) from error
    # orjson also writes dates, tuples and NaN; those do not read back as what they were.
    if _looks_unusual(raw) or orjson.loads(raw) != value:
        problem = _problem(value)
        if problem:
            raise InvalidInput(f"not canonical JSON: {problem}", code="not_canonical")
    return raw


def encode_decoded(value: Any) -> bytes:
    """Return the canonical form of a part of what `decode_canonical` returned, without checking it again."""
    return orjson.dumps(value, option=_OPTIONS)


def decode_canonical(raw: bytes, *, bytes_max: int) -> Any:
    """Return the value of canonical bytes.

    Raises:
        Untrusted: `endless_data` for more than `bytes_max` bytes, `malformed` for anything that is not the
            canonical form of its value.
    """
    if bytes_max < len(raw):
        raise refuse(Attack.ENDLESS_DATA, f"{len(raw)} bytes, limit {bytes_max}")
    try:
        value = orjson.loads(raw)
        again = orjson.dumps(value, option=_OPTIONS)
    except (TypeError, ValueError) as error:
        raise refuse(Attack.MALFORMED, "this is not canonical JSON", detail=str(error)) from error
    if again != raw:
        raise refuse(Attack.MALFORMED, "not canonical JSON: duplicate keys, spaces or unsorted keys")
    problem = _problem(value) if _looks_unusual(raw) else ""
    if problem:
        raise refuse(Attack.MALFORMED, f"not canonical JSON: {problem}")
    return value


def _looks_unusual(raw: bytes) -> bool:
    """Say whether sorted compact JSON may hold escapes, text outside of ASCII, or fractions."""
    return (
        not raw.isascii()
        or b"\\" in raw
        or b"\x7f" in raw
        or any(fraction.search(raw) for fraction in _FRACTIONS)
    )


def _problem(value: Any) -> str:
    """Say what keeps a value from having a canonical form; empty when nothing does."""
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            problem = _text_problem(item)
            if problem:
                return problem
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif item is not None and not isinstance(item, int):
            return f"a value of type {type(item).__name__}"
    return ""


def _text_problem(text: str) -> str:
    if text.isascii() and text.isprintable():
        return ""
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "a control character"
    if not unicodedata.is_normalized("NFC", text):
        return "text that is not NFC"
    return ""
