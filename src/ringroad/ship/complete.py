"""What may be written next in a query: text and cursor in, choices out. Pure.

Not the parser: it reads what is before the cursor, finished or not, and never refuses. What it offers, the parser takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ringroad.ship.query import (
    ECU_PROPERTIES,
    KEYWORDS,
    ORDER_OPS,
    PLAIN_FIELDS,
    QUERY_CHARS_MAX,
    TRUTH_FIELDS,
    Field,
    find_tokens,
    is_bare,
)

CHOICES_MAX = 50  # choices offered at once; typing on narrows them
VALUES_MAX = 1_000  # values of one field that are known here; beyond that the first by name
Kind = Literal["field", "comparison", "value", "word"]
State = Literal["term", "op", "op_after_not", "value", "list", "item", "after_item", "joiner", "end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the fleet has, for choices: names of ECUs and the values of fields."""

    ecus: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # ECU and code
    values: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # by field: ``region``, ``ecu.brake.version``


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One thing that may stand there."""

    text: str  # as it is to be written
    kind: Kind
    about: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Choices for a stretch of the text, which the chosen one takes the place of."""

    start: int
    end: int
    choices: tuple[Choice, ...]


ABOUT: Mapping[str, str] = {
    "programme": "vehicle programme",
    "variant": "variant of the programme",
    "region": "as registered",
    "vin": "one vehicle; * stands for any text",
    "gateway": "native or ddi",
    "release": "id of the last confirmed release",
    "tag": "a tag the vehicle has",
    "list": "a named list of vehicles",
    "blocked": "true when it needs service",
    "born": "day it left the line",
    "version": "version last reported",
    "hardware": "hardware id",
    "serial": "serial number",
    "filename": "image file",
    "sha256": "image digest",
    "present": "true when the vehicle has it",
}
_COMPARISONS = {
    "=": "is", "!=": "is not", "~": "like; * stands for any text", "in": "one of (a, b)", "not in": "none of (a, b)",
    "<": "below", "<=": "at most", ">": "above", ">=": "at least",
}  # fmt: skip


def complete(text: str, cursor: int, known: Known) -> Completion:
    """Return what may stand at the cursor.

    Args:
        text: the query, finished or not.
        cursor: characters before it; out of range is the nearest end.
        known: what the fleet has.
    """
    cursor = min(max(cursor, 0), len(text), QUERY_CHARS_MAX)
    tokens = find_tokens(text[:cursor])
    touched = (
        tokens[-1] if tokens and tokens[-1].end == cursor and tokens[-1].kind in ("word", "string") else None
    )
    before = tokens[:-1] if touched else tokens
    start = touched.start if touched else cursor
    typed = text[start:cursor]
    state, name, depth = _walk([token.text for token in before])
    choices = [*_choices(state, name, depth, typed, known)]
    if not before:
        choices.append(Choice(text="all", kind="word", about="every vehicle"))
    return Completion(
        start=start,
        end=_end_of_word(text, cursor) if touched else cursor,
        choices=tuple(_narrowed(choices, typed)),
    )


def _walk(words: Sequence[str]) -> tuple[State, str, int]:
    """Follow the grammar; return where it stands, the field it is at, and how many parentheses are open."""
    state: State = "term"
    name, depth = "", 0
    for at, word in enumerate(words):
        low = word.lower()
        match state:
            case "term":
                if low == "not":
                    continue
                if word == "(":
                    depth += 1
                else:
                    name, state = word, "end" if low == "all" and at == 0 else "op"
            case "op":
                state = "op_after_not" if low == "not" else "list" if low == "in" else "value"
            case "op_after_not":
                state = "list"
            case "value":
                state = "joiner"
            case "list":
                state = "item"
            case "item":
                state = "after_item"
            case "after_item":
                state = "joiner" if word == ")" else "item"
            case "joiner":
                if word == ")":
                    depth = max(0, depth - 1)
                else:
                    state = "term"
            case "end":
                return "end", "", 0
    return state, name, depth


def _choices(state: State, name: str, depth: int, typed: str, known: Known) -> Iterable[Choice]:
    match state:
        case "term":
            yield from _fields(typed, known)
            yield Choice(text="not", kind="word", about="must be known not to hold")
            yield Choice(text="(", kind="word", about="begin a group")
        case "op":
            ordered, plain = _field_of(name).ordered, not _is_truth(name)
            for word, about in _COMPARISONS.items():
                if (word not in ORDER_OPS or ordered) and (plain or word in ("=", "!=")):
                    yield Choice(text=word, kind="comparison", about=about)
        case "op_after_not":
            yield Choice(text="in", kind="comparison", about="none of (a, b)")
        case "value" | "item":
            for value in _values_of(name, known):
                yield Choice(text=_written(value), kind="value")
        case "list":
            yield Choice(text="(", kind="word", about="begin the values")
        case "after_item":
            yield Choice(text=",", kind="word", about="one more")
            yield Choice(text=")", kind="word", about="end the values")
        case "joiner":
            yield Choice(text="and", kind="word", about="both must hold")
            yield Choice(text="or", kind="word", about="one must hold")
            if depth:
                yield Choice(text=")", kind="word", about="end the group")
        case "end":
            return


def _fields(typed: str, known: Known) -> Iterable[Choice]:
    root, dot, _ = typed.partition(".")
    if dot and root.lower() == "ecu":
        for ecu in known.ecus:
            for prop in ECU_PROPERTIES:
                yield Choice(text=f"ecu.{ecu}.{prop}", kind="field", about=ABOUT[prop])
        return
    for name in PLAIN_FIELDS:
        yield Choice(text=name, kind="field", about=ABOUT[name])
    yield from (Choice(text=f"ecu.{ecu}.version", kind="field", about=ABOUT["version"]) for ecu in known.ecus)
    for key in known.attributes:
        yield Choice(text=f"attribute.{key}", kind="field", about="what the device said of itself")
    for path in known.telemetry:
        yield Choice(text=f"telemetry.{path}", kind="field", about="last known value")
    for fault in known.faults:
        yield Choice(text=f"fault.{fault}", kind="field", about="true while its ECU stores it")


def _field_of(name: str) -> Field:
    root, _, rest = name.partition(".")
    key, _, prop = rest.rpartition(".")
    return Field(root=root, key=key or rest, prop=prop if root == "ecu" else "")


def _is_truth(name: str) -> bool:
    root, _, rest = name.partition(".")
    return (
        name in TRUTH_FIELDS or (root == "ecu" and rest.rpartition(".")[2] in TRUTH_FIELDS) or root == "fault"
    )


def _values_of(name: str, known: Known) -> tuple[str, ...]:
    if _is_truth(name):
        return ("true", "false")
    return known.values.get(name, ())


def _narrowed(choices: Iterable[Choice], typed: str) -> Iterable[Choice]:
    """Those that begin as what was typed, then those that hold it; a choice that is written already is none."""
    low = typed.strip("\"'").lower()
    kept = [choice for choice in choices if choice.text != typed]
    begins = [choice for choice in kept if choice.text.strip('"').lower().startswith(low)]
    holds = [choice for choice in kept if choice not in begins and low in choice.text.lower()]
    return (begins + holds)[:CHOICES_MAX]


def _end_of_word(text: str, cursor: int) -> int:
    """Where the word at the cursor ends, so that a choice replaces all of it."""
    rest = find_tokens("x" + text[cursor:])
    return cursor + rest[0].end - 1 if rest and rest[0].kind == "word" else cursor


def _written(value: str) -> str:
    """A value as the parser takes it; one with both kinds of quotes cannot be written, and is left as it is."""
    if is_bare(value) and value.lower() not in KEYWORDS:
        return value
    return f'"{value}"' if '"' not in value else f"'{value}'"
