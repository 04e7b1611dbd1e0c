"""Two plans of one campaign, told apart: what was asked for, what came of it, who joins and who leaves. Pure.

Patient with documents of older versions: what one of them does not say reads as ``none``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

EXAMPLES_MAX = 20  # vehicles named per kind of move
OUTSIDE = "not selected"
NONE = "none"
Kind = Literal["joins", "leaves", "moves"]

# What follows from what else is told, or from the hour.
_LEFT_ASIDE = frozenset({"facts_as_of", "targets_sha256", "past", "not_selected"})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field that two plans have otherwise."""

    field: str  # in words: ``gate: soak``
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Vehicles that stand elsewhere in the newer plan."""

    kind: Kind
    before: str  # "wave 1", "control", "mismatch", ..., "not selected"
    after: str
    vehicles: int
    examples: tuple[str, ...]  # the first by VIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What sets the newer plan apart."""

    older: int  # generations
    newer: int
    fields: tuple[FieldChange, ...]
    findings_gone: tuple[str, ...]
    findings_new: tuple[str, ...]
    moves: tuple[Move, ...]  # joining, then leaving, then moving, most vehicles first


def compare_documents(older: Mapping[str, Any], newer: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """Return each field that is not the same, in the order of the documents."""
    before, after = dict(_fields(older)), dict(_fields(newer))
    return tuple(
        FieldChange(field=name, before=before.get(name, NONE), after=after.get(name, NONE))
        for name in dict.fromkeys((*before, *after))
        if before.get(name, NONE) != after.get(name, NONE)
    )


def compare_findings(
    older: Sequence[Mapping[str, Any]], newer: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return findings that are gone, and those that are new, as lines."""
    before, after = [_line(each) for each in older], [_line(each) for each in newer]
    return (
        tuple(line for line in before if line not in after),
        tuple(line for line in after if line not in before),
    )


def move_of(before: str | None, after: str | None, vehicles: int, examples: Iterable[str]) -> Move:
    """Tell what a change of place is: only who is in a wave or held back takes part."""
    was, now = takes_part(before), takes_part(after)
    kind: Kind = "moves" if was == now else "joins" if now else "leaves"
    return Move(
        kind=kind,
        before=before or OUTSIDE,
        after=after or OUTSIDE,
        vehicles=vehicles,
        examples=tuple(examples),
    )


def in_order(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Return joining, then leaving, then moving vehicles, most first."""
    order: tuple[Kind, ...] = ("joins", "leaves", "moves")
    return tuple(
        sorted(moves, key=lambda each: (order.index(each.kind), -each.vehicles, each.before, each.after))
    )


def takes_part(place: str | None) -> bool:
    """Tell whether a vehicle in this place is updated or held back by the plan."""
    return place is not None and (place == "control" or place.startswith("wave "))


def _fields(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    request = document.get("request") or {}
    yield from _flat("", request)
    yield from _flat("", {name: value for name, value in document.items() if name != "request"})


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        if name in _LEFT_ASIDE:
            continue
        words = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(each, Mapping) and not _is_size(each):
            yield from _flat(f"{words}: ", each)
        else:
            yield from _told(words, name, each)


def _told(words: str, name: str, value: Any) -> Iterator[tuple[str, str]]:
    if name.endswith("_s") and isinstance(value, int) and not isinstance(value, bool):
        yield words.removesuffix(" s"), _length(value)
    elif name.endswith("_permille_max") and isinstance(value, int):
        yield words.replace(" permille", ""), f"{value / 10:g} %"
    else:
        yield words, _text(value)


def _text(value: Any) -> str:
    match value:
        case _ if value in (None, "", [], {}, ()):
            return NONE
        case bool():
            return "yes" if value else "no"
        case Mapping() if _is_size(value):
            return (
                f"{value['vehicles']}"
                if value.get("vehicles") is not None
                else f"{value['permille'] / 10:g} %"
            )
        case Mapping():
            return ", ".join(f"{name.replace('_', ' ')} {_text(each)}" for name, each in value.items())
        case list() | tuple():
            return (
                "; " if any(isinstance(each, Mapping) and not _is_size(each) for each in value) else ", "
            ).join(_text(each) for each in value)
        case _:
            return str(value)


def _is_size(value: Mapping[str, Any]) -> bool:
    return value.keys() <= {"vehicles", "permille"} and len(value) > 0


def _length(seconds: int) -> str:
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds and seconds % unit_s == 0:
            return f"{timedelta(seconds=seconds) // timedelta(seconds=unit_s)} {unit}"
    return f"{seconds} s"


def _line(finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']}: {finding['message']} [{finding['code']}]"
