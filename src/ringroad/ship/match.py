"""Does a vehicle match a query, and if not, why? Pure.

Three truth values: a comparison with something unknown is neither true nor false, and neither is its
negation; only what is known to hold selects a vehicle.

Invariant: missing evidence never selects a vehicle, not even through `not`.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import assert_never

from ringroad.kernel.versions import COMPARE, version_key
from ringroad.ship.model import VehicleFacts
from ringroad.ship.query import (
    LAKE_FIELDS,
    Both,
    Either,
    Everything,
    Field,
    Negation,
    Node,
    Term,
    number_of,
    terms_of,
)  # fmt: skip

REASONS_MAX = 100  # distinct reasons kept in a preview; the rest is counted as "other"
EXAMPLES_MAX = 20  # vehicles per reason
NUMBER_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
Sample = float | bool | str  # as telemetry sent it
_MARKS: Mapping[bool | None, str] = {True: "t", False: "f", None: "u"}
_ALTERNATIVES_MAX = 3  # parts of an "or" named in a reason


@dataclass(frozen=True, slots=True)
class Selected:
    """The vehicle matches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSelected:
    """The vehicle does not match: the first term that fails, and what is there instead."""

    term: str
    actual: str
    unknown: bool = field(default=False, compare=False)  # it may match: what is known does not say

    def __str__(self) -> str:
        return f"{self.term}: {self.actual}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonCount:
    """How many vehicles one term leaves out, with examples."""

    term: str
    vehicles: int
    examples: tuple[tuple[str, str], ...]  # (VIN, actual value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Who matches and who does not, and why."""

    selected: int
    not_selected: int
    selected_examples: tuple[str, ...]
    reasons: tuple[ReasonCount, ...]  # most frequent first
    unknown: int = 0  # of those not selected, who may match: what is known of them does not say
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Names a query can be checked against; an empty one says nothing."""

    programmes: frozenset[str] = frozenset()
    variants: frozenset[str] = frozenset()
    ecus: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    lists: frozenset[str] = frozenset()


def match_vehicle(query: Node, vehicle: VehicleFacts) -> Selected | NotSelected:
    """Decide whether `vehicle` is selected; when not, say which term fails first and what it found."""
    truth = holds(query, vehicle)
    return Selected() if truth else replace(_why(query, vehicle, wanted=True), unknown=truth is None)


def holds(query: Node, vehicle: VehicleFacts) -> bool | None:
    """Evaluate a query in three values: True, False, or None where the facts do not say (Kleene)."""
    match query:
        case Term():
            return _term_holds(query, vehicle)
        case Both(parts=parts):
            answer: bool | None = True
            for part in parts:
                truth = holds(part, vehicle)
                if truth is False:
                    return False
                answer = answer if truth else None
            return answer
        case Either(parts=parts):
            answer = False
            for part in parts:
                truth = holds(part, vehicle)
                if truth:
                    return True
                answer = None if truth is None else answer
            return answer
        case Negation(part=part):
            truth = holds(part, vehicle)
            return None if truth is None else not truth
        case Everything():
            return True
    assert_never(query)


def sample_marks(query: Node, latest: Mapping[str, Mapping[str, Sample]]) -> dict[str, str]:
    """Return by VIN what its last samples mean for each term on telemetry, in order: ``t``, ``f``, or ``u`` for unknown.

    Vehicles with equal marks are the same to the query, whatever they sent. Who sent nothing has none.

    Args:
        query: that is asked.
        latest: last known values by path and VIN.
    """
    terms = [term for term in terms_of(query) if term.field.root in LAKE_FIELDS]
    columns = []
    for term in terms:
        truth_of = lru_cache(maxsize=10_000, typed=True)(partial(_sample_holds, term))
        known = latest.get(term.field.told_as, {})
        columns.append({vin: _MARKS[truth_of(value)] for vin, value in known.items()})
    vins = {vin for column in columns for vin in column}
    return {vin: "".join(column.get(vin, "u") for column in columns) for vin in vins}


def as_like(pattern: str) -> str:
    """Return a pattern in which ``*`` stands for any text as LIKE of SQL takes it."""
    return re.sub(r"([\\%_])", r"\\\1", pattern).replace("*", "%")


def preview(
    query: Node,
    groups: Iterable[tuple[VehicleFacts, int]],
    *,
    vocabulary: Vocabulary | None = None,
    examples_max: int = EXAMPLES_MAX,
) -> Preview:
    """Count who is selected and who is not by reason, with a page of examples for each.

    Args:
        query: that is tried.
        groups: a vehicle, and how many there are that are like it to the query, itself included; 0 for one more
            example of a group that is counted already.
        vocabulary: names the query is checked against.
        examples_max: VINs that are named for each reason.
    """
    tally = ReasonTally(examples_max=examples_max)
    selected = unknown = 0
    examples: list[str] = []
    for vehicle, vehicles in groups:
        match match_vehicle(query, vehicle):
            case Selected():
                selected += vehicles
                if len(examples) < examples_max:
                    examples.append(vehicle.vin)
            case NotSelected() as no:
                tally.add(no.term, vehicle.vin, no.actual, vehicles=vehicles)
                unknown += vehicles if no.unknown else 0
    return Preview(
        selected=selected,
        not_selected=tally.vehicles,
        unknown=unknown,
        selected_examples=tuple(examples),
        reasons=tally.reasons(),
        warnings=lint(query, vocabulary) if vocabulary else (),
    )


def lint(query: Node, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Name values of a query that nothing has, with the nearest that something has."""
    warnings = []
    for term in terms_of(query):
        known = _known_values(term.field, vocabulary)
        if term.field.root == "ecu" and vocabulary.ecus and term.field.key not in vocabulary.ecus:
            warnings.append(
                f"column {term.column}: no ECU is called {term.field.key!r}{_near(term.field.key, vocabulary.ecus)}"
            )
        if known and term.op in ("=", "!=", "in", "not in"):
            warnings.extend(
                f"column {term.column}: no vehicle has {term.field.root} {value!r}{_near(value, known)}"
                for value in sorted(term.values - known)[:EXAMPLES_MAX]
            )
    return tuple(warnings)


class ReasonTally:
    """Counts vehicles by reason, bounded: after `REASONS_MAX` reasons the rest is "other"."""

    def __init__(self, *, examples_max: int = EXAMPLES_MAX) -> None:
        self.vehicles = 0
        self._examples_max = examples_max
        self._counts: dict[str, int] = {}
        self._examples: dict[str, list[tuple[str, str]]] = {}

    def add(self, reason: str, vin: str, actual: str, *, vehicles: int = 1) -> None:
        """Count vehicles, and take one of them for an example."""
        if reason not in self._counts and len(self._counts) >= REASONS_MAX:
            reason = "other"
        self.vehicles += vehicles
        self._counts[reason] = self._counts.get(reason, 0) + vehicles
        examples = self._examples.setdefault(reason, [])
        if len(examples) < self._examples_max:
            examples.append((vin, actual))

    def counts(self) -> Mapping[str, int]:
        """Vehicles per reason, most frequent first."""
        return dict(sorted(self._counts.items(), key=lambda item: (-item[1], item[0])))

    def reasons(self) -> tuple[ReasonCount, ...]:
        """The same with examples."""
        return tuple(
            ReasonCount(term=term, vehicles=count, examples=tuple(self._examples[term]))
            for term, count in self.counts().items()
        )


def _why(query: Node, vehicle: VehicleFacts, *, wanted: bool) -> NotSelected:
    """Explain why `query` is not `wanted` on this vehicle."""
    match query:
        case Term():
            return NotSelected(term=query.text, actual=_describe(query.field, vehicle))
        case Negation(part=part):
            inner = _why(part, vehicle, wanted=not wanted)
            return NotSelected(term=query.text, actual=inner.actual)
        case Both(parts=parts) | Either(parts=parts):
            failing = [part for part in parts if holds(part, vehicle) is not wanted]
            if isinstance(query, Both) == wanted:
                return _why(failing[0], vehicle, wanted=wanted)
            named = [_why(part, vehicle, wanted=wanted).actual for part in failing[:_ALTERNATIVES_MAX]]
            return NotSelected(term=query.text, actual="; ".join(dict.fromkeys(named)))
        case Everything():
            return NotSelected(term="all", actual="every vehicle")
    assert_never(query)


def _describe(field: Field, vehicle: VehicleFacts) -> str:
    name = ".".join(part for part in (field.root, field.key, field.prop) if part)
    values = _values(field, vehicle)
    if values is None:
        missing = field.root == "ecu" and field.key not in vehicle.ecus
        return f"the vehicle has no ECU {field.key}" if missing else f"{name} is not known"
    if field.root == "tag":
        return f"tags are {', '.join(values)}" if values else "the vehicle has no tags"
    if field.root == "list":
        return f"it is in {', '.join(values)}" if values else "the vehicle is in no list"
    return f"{name} is {values[0] or 'empty'}"


def _values(field: Field, vehicle: VehicleFacts) -> tuple[str, ...] | None:
    """What the vehicle has there; None when that is not known."""
    match field.root:
        case "ecu":
            return _ecu_values(field, vehicle)
        case "attribute":
            value = vehicle.attributes.get(field.key)
            return None if value is None else (str(value),)
        case "telemetry" | "fault":
            sample = vehicle.telemetry.get(field.told_as)
            return None if sample is None else (_sample_text(sample),)
        case "tag":
            return vehicle.tags
        case "list":
            return vehicle.lists
        case "blocked":
            return ("true" if vehicle.blocked_reason else "false",)
        case "born":
            return None if vehicle.born_at is None else (vehicle.born_at.date().isoformat(),)
        case "programme":
            return (vehicle.programme_id,)
        case "release":
            return None if vehicle.release_id is None else (vehicle.release_id,)
        case "variant":
            return (vehicle.variant,)
        case "region":
            return (vehicle.region,)
        case "gateway":
            return (vehicle.gateway,)
        case _:
            return (vehicle.vin,)


def _sample_text(value: Sample) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.15g}"  # as many digits as every double holds
        case _:
            return str(value)


def _sample_holds(term: Term, value: Sample) -> bool | None:
    return _values_hold(term, (_sample_text(value),))


def _ecu_values(field: Field, vehicle: VehicleFacts) -> tuple[str, ...] | None:
    ecu = vehicle.ecus.get(field.key)
    if field.prop == "present":
        return ("true" if ecu else "false",)
    if ecu is None:
        return None
    value = {
        "version": ecu.version,
        "hardware": ecu.hardware_id,
        "serial": ecu.serial,
        "filename": ecu.filename,
        "sha256": ecu.image_sha256,
    }[field.prop]
    return None if value is None else (value,)


def _term_holds(term: Term, vehicle: VehicleFacts) -> bool | None:
    values = _values(term.field, vehicle)
    return None if values is None else _values_hold(term, values)


def _values_hold(term: Term, values: Sequence[str]) -> bool | None:
    match term.op:
        case "=" | "in":
            return _equal(term, values)
        case "!=" | "not in":
            return not _equal(term, values)
        case "~":
            (pattern,) = term.values
            return any(_glob(pattern).fullmatch(value) for value in values)
        case _:
            (limit,) = term.values
            return _ordered(term, values[0], limit)


def _equal(term: Term, values: Sequence[str]) -> bool:
    if not term.values.isdisjoint(values):
        return True
    if term.field.root == "telemetry" and (number := number_of(values[0])) is not None:
        return any(number_of(value) == number for value in term.values)
    if term.field.prop != "version":
        return False
    key = version_key(values[0])
    return key is not None and any(version_key(value) == key for value in term.values)


def _ordered(term: Term, value: str, limit: str) -> bool | None:
    if term.field.root == "born":  # ISO dates of equal length sort as text
        return COMPARE[term.op](((), 0, ((1, 0, value),), ()), ((), 0, ((1, 0, limit),), ()))
    if term.field.root == "telemetry":
        number, bound = number_of(value), number_of(limit)
        return None if number is None or bound is None else NUMBER_COMPARE[term.op](number, bound)
    left, right = version_key(value), version_key(limit)
    return None if left is None or right is None else COMPARE[term.op](left, right)


@lru_cache(maxsize=256)
def _glob(pattern: str) -> re.Pattern[str]:
    """Compile a pattern in which ``*`` stands for any text."""
    return re.compile(
        ".*".join(re.escape(part) for part in re.sub(r"\*+", "*", pattern).split("*")), re.DOTALL
    )


def _known_values(field: Field, vocabulary: Vocabulary) -> frozenset[str]:
    return {
        "programme": vocabulary.programmes,
        "variant": vocabulary.variants,
        "region": vocabulary.regions,
        "tag": vocabulary.tags,
        "list": vocabulary.lists,
    }.get(field.root, frozenset())


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""
