"""Canonical JSON: one value has one byte form, and no other form is read.

Not a general JSON reader: numbers are integers that every JSON library keeps exactly, strings are NFC without
control characters, and nesting is bounded.
Under these rules sorted compact JSON by orjson has the same bytes as securesystemslib's OLPC form, so stock
TUF clients verify what we sign.

Invariant: `decode_canonical(raw)` succeeds only if `encode_canonical(decode_canonical(raw)) == raw`.
Duplicate keys, white space, escapes with a shorter form and unsorted keys all fail that comparison.

Source: Uptane 2.1 section 5.2 (RFC 5198 strings); TUF 1.0.31 section 4.2.
"""

from __future__ import annotations

import unicodedata
from typing import Any, Final

import orjson

from ringroad.kernel.errors import InvalidInput
from ringroad.trust.attacks import Attack, refuse

DEPTH_MAX: Final = 16  # nested containers; Targets metadata needs 8
INTEGER_MAX: Final = 2**53 - 1  # the largest integer that JavaScript clients keep exactly, RFC 8259 section 6


def encode_canonical(value: Any) -> bytes:
    """Return the canonical form of a value made of dict, list, str, int, bool and None.

    Raises:
        InvalidInput: a float, a control character, text that is not NFC, a key that is not text, an integer
            beyond 2**53 - 1, or nesting deeper than 16.
    """
    problem = _problem(value)
    if problem:
        raise InvalidInput(f"not canonical JSON: {problem}", code="not_canonical")
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise InvalidInput("not canonical JSON", code="not_canonical", detail=str(error)) from error


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
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise refuse(Attack.MALFORMED, "this is not JSON", detail=str(error)) from error
    try:
        again = encode_canonical(value)
    except InvalidInput as error:
        raise refuse(Attack.MALFORMED, error.message, detail=error.detail) from error
    if again != raw:
        raise refuse(Attack.MALFORMED, "not canonical JSON: duplicate keys, spaces or unsorted keys")
    return value


def _problem(value: Any) -> str:
    """Say what keeps a value from having a canonical form; empty when nothing does."""
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        if isinstance(item, str):
            problem = _text_problem(item)
            if problem:
                return problem
        elif item is None or isinstance(item, bool):
            continue
        elif isinstance(item, int):
            if abs(item) > INTEGER_MAX:
                return "an integer beyond 2**53 - 1"
        elif isinstance(item, dict | list):
            if depth == DEPTH_MAX:
                return f"nested deeper than {DEPTH_MAX}"
            if isinstance(item, dict):
                if not all(isinstance(key, str) for key in item):
                    return "a key that is not text"
                waiting.extend((key, depth) for key in item)
                waiting.extend((inner, depth + 1) for inner in item.values())
            else:
                waiting.extend((inner, depth + 1) for inner in item)
        else:
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
