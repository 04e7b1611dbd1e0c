"""Two plans of one campaign, told apart: what was asked for, what came of it, who joins and who leaves. Pure.

Patient with documents of older versions: what one of them does not say reads as ``none``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from ringroad.kernel.hours import moment_words

EXAMPLES_MAX = 20  # vehicles named per kind of move
OUTSIDE = "not selected"
NONE = "none"
Kind = Literal["joins", "leaves", "moves"]

# What people call a field, where its own name says less.
_WORDS: Final[Mapping[str, str]] = MappingProxyType({
    "failed_permille_max": "failed at most", "reports_min": "outcomes at least", "silence_s_max": "evidence no older than",
    "silent_permille_max": "without an outcome at most", "sequential": "against the control group",
    "alpha_ppm": "good updates halted at most", "window_s": "watched for", "tick_s": "compared every", "late_s": "read after",
    "gap_s": "gap that still counts", "quiet_s": "silent after", "ramp": "budget of harm", "retry": "another attempt",
    "attempts_max": "attempts", "first_s": "after", "last_s": "after at most", "reasons": "when it fails by",
    "stratify_by": "dealt evenly by", "rollback_installed": "return after a halt", "seed": "seed of the lot",
    "consent": "asks the driver", "consent_phases": "asks before", "wave_vehicles": "vehicles of each wave",
    "install_s_estimate": "time to install", "counts": "vehicles", "harm_counts": "over",
})  # fmt: skip
_CODES: Final = frozenset(
    {"urgency", "late_joiners", "reasons", "harm_counts"}
)  # fields whose values are names of ours
_UNIT: Final = re.compile(r"_(s|permille|ppm|milli)(?=_|$)")

# What follows from what else is told, or from the hour.
_LEFT_ASIDE = frozenset({"facts_as_of", "targets_sha256", "past", "not_selected", "episodes"})


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
    request = dict(document.get("request") or {})
    if request.get("ramp"):
        ramp = {"counts": "in_flight"} | request["ramp"]
        request["ramp"] = {"harm_counts" if name == "counts" else name: value for name, value in ramp.items()}
    yield from _flat("", request)
    yield from _flat("", {name: value for name, value in document.items() if name != "request"})


def _flat(prefix: str, value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        if name in _LEFT_ASIDE:
            continue
        words = prefix + (_WORDS.get(name) or _UNIT.sub("", name).replace("_", " "))
        if isinstance(each, Mapping) and not _is_size(each):
            yield from _flat(f"{words}: ", each)
        else:
            yield from _told(words, name, each)


def _told(words: str, name: str, value: Any) -> Iterator[tuple[str, str]]:
    unit = _UNIT.search(name)
    if unit is not None and isinstance(value, int) and not isinstance(value, bool):
        yield words, _measured(unit[1], value)
    elif name == "metrics" and value:
        yield words, ", ".join(_metric(each) if isinstance(each, Mapping) else _text(each) for each in value)
    else:
        text = _text(value)
        yield words, text.replace("_", " ") if name in _CODES else text


def _measured(unit: str, value: int) -> str:
    match unit:
        case "s":
            return _length(value)
        case "permille":
            return f"{value / 10:g} %"
        case "ppm":
            return f"{value / 10_000:g} %"
        case _:
            return f"{value / 1000:g}"


def _metric(metric: Mapping[str, Any]) -> str:
    path = f" of {metric['path']}" if metric.get("path") else ""
    weight = f", weight {metric['weight']}" if metric.get("weight", 1) != 1 else ""
    return f"{str(metric.get('name')).replace('_', ' ')}{path} up to {metric.get('margin_milli', 0) / 1000:g} times{weight}"


def _text(value: Any) -> str:
    match value:
        case _ if value in (None, "", [], {}, ()):
            return NONE
        case bool():
            return "yes" if value else "no"
        case Mapping() if _is_size(value):
            at = value.get("not_before")
            size = value.get("vehicles")
            return (f"{value['permille'] / 10:g} %" if size is None else f"{size}") + (
                f" from {moment_words(datetime.fromisoformat(at))}" if at else ""
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
    return value.keys() <= {"vehicles", "permille", "not_before"} and len(value) > 0


def _length(seconds: int) -> str:
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds and seconds % unit_s == 0:
            return f"{timedelta(seconds=seconds) // timedelta(seconds=unit_s)} {unit}"
    return f"{seconds} s"


def _line(finding: Mapping[str, Any]) -> str:
    return f"{finding['severity']}: {finding['message']} [{finding['code']}]"
