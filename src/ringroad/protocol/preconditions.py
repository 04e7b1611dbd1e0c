"""Preconditions: expressions over VSS samples that must hold before an ECU is touched.

Grammar, loosest binding first::

    precondition := expression [ "FOR" SECONDS ] [ "WITHIN" SECONDS ]
    expression := both ( "OR" both )*
    both       := one ( "AND" one )*
    one        := "NOT" one | "(" expression ")" | term
    term       := PATH [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) LITERAL ]
    LITERAL    := number | "true" | "false" | 'text'

A path alone must be true. A sample that is missing, too old or of another type is unknown, and unknown never
allows, not even under NOT. ``FOR 30``: it was true at every look for 30 s; ``WITHIN 5``: samples are at most 5 s old.
The server reads them when a release is checked, the vehicle before every ECU.

Invariants:
    * `evaluate` returns None only if the whole expression is known to be true now.
    * What was not looked at was not held: after a pause or a restart a hold time begins anew.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from ringroad.kernel.errors import InvalidInput
from ringroad.protocol.vehicle import Sample

EXPRESSION_CHARS_MAX: Final = 500
TERMS_MAX: Final = 32  # per expression
DEPTH_MAX: Final = 8  # nested brackets and NOTs
SAMPLE_AGE_S_MAX: Final = 60  # s; the collector reads each source at least this often
HOLD_S_MAX: Final = 3_600  # s; a vehicle that has to stand longer before its update would never get it
LOOK_GAP_S_MAX: Final = 10.0  # s between two looks; the orchestrator looks every 2 s, whatever it does

Literal = float | bool | str

_WORDS: Final = frozenset({"AND", "OR", "FOR", "WITHIN"})
_TOKEN = re.compile(r"\s*(?:(==|!=|<=|>=|<|>|\(|\))|('[^']*')|([A-Za-z_][\w.]*)|(-?\d+(?:\.\d+)?))")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One comparison; `text` is how it is shown to people."""

    path: str
    operator: str
    literal: Literal

    @property
    def text(self) -> str:
        """The term as it is written."""
        return f"{self.path} {self.operator} {_show(self.literal)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    """True if its part is false."""

    part: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class All:
    """True if each part is."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """True if one part is."""

    parts: tuple[Expression, ...]


Expression = Term | Not | All | Either


@dataclass(frozen=True, slots=True, kw_only=True)
class Precondition:
    """An expression, for how long it must hold, and how old its samples may be.

    Attributes:
        text: as it was written.
        expression: what must be true.
        hold_s: seconds for which it must be.
        age_s_max: seconds; an older sample says nothing.
    """

    text: str
    expression: Expression
    hold_s: float = 0
    age_s_max: float = SAMPLE_AGE_S_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What was seen so far, in monotonic seconds: `since` when each text holds, and the last look."""

    since: Mapping[str, float] = field(default_factory=dict)
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why an update may not go on now.

    Attributes:
        term: the term that did not hold.
        value: what the sample said; ``"missing"`` or ``"stale"`` if it said nothing usable.
    """

    term: str
    value: str

    @property
    def text(self) -> str:
        """One line for a person who asks why nothing is installed."""
        return f"{self.term}, but the value is {self.value}"


def parse_precondition(text: str) -> Precondition:
    """Return `text` as a precondition.

    Raises:
        InvalidInput: it is not one, or it is over one of the limits.
    """
    if len(text) > EXPRESSION_CHARS_MAX:
        raise InvalidInput(f"a precondition has at most {EXPRESSION_CHARS_MAX} characters")
    return _Parser(_tokens(text)).precondition(text)


def parse_expression(text: str) -> Expression:
    """Return `text` as an expression, without hold time and age.

    Raises:
        InvalidInput: it is not one, or it is over one of the limits.
    """
    found = parse_precondition(text)
    if found != Precondition(text=text, expression=found.expression):
        raise InvalidInput("only the condition is wanted here, without FOR and WITHIN")
    return found.expression


def evaluate_all(
    expressions: Sequence[Expression], samples: Mapping[str, Sample], *, now: datetime
) -> Refusal | None:
    """Return the first refusal among `expressions`, or None if all are known to hold."""
    found = (evaluate(expression, samples, now=now) for expression in expressions)
    return next((refusal for refusal in found if refusal is not None), None)


def look(
    preconditions: Sequence[Precondition],
    samples: Mapping[str, Sample],
    *,
    now: datetime,
    at_s: float,
    held: Held,
) -> tuple[Refusal | None, Held]:
    """Return the first refusal, or None if all are known to hold for as long as they must; and what was seen.

    Args:
        preconditions: all that must hold.
        samples: the newest by path.
        now: time of the samples' clock.
        at_s: monotonic seconds, which no clock that is set can move.
        held: of the look before.
    """
    followed = 0 <= at_s - held.at_s <= LOOK_GAP_S_MAX
    since: dict[str, float] = {}
    refused: Refusal | None = None
    for each in preconditions:
        refusal = evaluate(each.expression, samples, now=now, age_s_max=each.age_s_max)
        if refusal is None:
            since[each.text] = held.since.get(each.text, at_s) if followed else at_s
            so_far_s = at_s - since[each.text]
            if so_far_s < each.hold_s:
                refusal = Refusal(term=each.text, value=f"true for {so_far_s:.0f} s so far")
        refused = refused or refusal
    return refused, Held(since=since, at_s=at_s)


def evaluate(
    expression: Expression,
    samples: Mapping[str, Sample],
    *,
    now: datetime,
    age_s_max: float = SAMPLE_AGE_S_MAX,
) -> Refusal | None:
    """Return None if `expression` is known to be true, else the term to blame and its value."""
    # A sample from the future is as little evidence as an old one: some clock is wrong.
    fresh = {
        path: sample
        for path, sample in samples.items()
        if abs(now - sample.at) <= timedelta(seconds=age_s_max)
    }
    truth, blamed = _truth(expression, fresh, samples.keys())
    return None if truth is True else blamed


def _truth(
    expression: Expression, samples: Mapping[str, Sample], known: Collection[str]
) -> tuple[bool | None, Refusal]:
    """Return true, false or unknown (None), and the term that decided it."""
    match expression:
        case Term():
            return _term_truth(expression, samples, known)
        case Not(part=part):
            truth, blamed = _truth(part, samples, known)
            negated = Refusal(term=f"NOT {blamed.term}", value=blamed.value)
            return (None if truth is None else not truth), negated
        case All(parts=parts):
            found = [_truth(part, samples, known) for part in parts]
            return _first(found, wanted=False) or _first(found, wanted=None) or found[0]
        case Either(parts=parts):
            found = [_truth(part, samples, known) for part in parts]
            return _first(found, wanted=True) or _first(found, wanted=None) or found[0]
        case _:
            assert_never(expression)


def _first(
    found: Sequence[tuple[bool | None, Refusal]], *, wanted: bool | None
) -> tuple[bool | None, Refusal] | None:
    return next((each for each in found if each[0] is wanted), None)


def _term_truth(
    term: Term, samples: Mapping[str, Sample], known: Collection[str]
) -> tuple[bool | None, Refusal]:
    sample = samples.get(term.path)
    if sample is None:
        return None, Refusal(term=term.text, value="stale" if term.path in known else "missing")
    blamed = Refusal(term=term.text, value=_show(sample.value))
    if _kind(sample.value) != _kind(term.literal):
        return None, blamed
    return _COMPARE[term.operator](sample.value, term.literal), blamed


def _kind(value: float | bool | str) -> str:  # noqa: FBT001 - a sample's value is what it is
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def _show(value: float | bool | str) -> str:  # noqa: FBT001 - a sample's value is what it is
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"'{value}'" if isinstance(value, str) else f"{value:g}"


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidInput(f"precondition {text!r}: cannot read {text[position : position + 20]!r}")
        tokens.append(match.group().strip())
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._next = 0
        self._terms = 0

    def precondition(self, text: str) -> Precondition:
        expression = self._either(depth=0)
        hold_s = self._seconds("FOR", default=0, most=HOLD_S_MAX)
        age_s_max = self._seconds("WITHIN", default=SAMPLE_AGE_S_MAX, most=SAMPLE_AGE_S_MAX)
        self._end()
        return Precondition(text=text, expression=expression, hold_s=hold_s, age_s_max=age_s_max)

    def _seconds(self, word: str, *, default: float, most: int) -> float:
        if not self._accept(word):
            return default
        seconds = _literal(self._take())
        if not isinstance(seconds, float) or not 0 < seconds <= most:
            raise InvalidInput(f"precondition: {word} takes more than 0 and at most {most} seconds")
        return seconds

    def _end(self) -> None:
        if self._peek():
            raise InvalidInput(f"precondition: {self._peek()!r} was not expected")

    def _either(self, *, depth: int) -> Expression:
        parts = [self._both(depth=depth)]
        while self._accept("OR"):
            parts.append(self._both(depth=depth))
        return parts[0] if len(parts) == 1 else Either(parts=tuple(parts))

    def _both(self, *, depth: int) -> Expression:
        parts = [self._one(depth=depth)]
        while self._accept("AND"):
            parts.append(self._one(depth=depth))
        return parts[0] if len(parts) == 1 else All(parts=tuple(parts))

    def _one(self, *, depth: int) -> Expression:
        if depth > DEPTH_MAX:
            raise InvalidInput(f"a precondition is nested at most {DEPTH_MAX} deep")
        if self._accept("NOT"):
            return Not(part=self._one(depth=depth + 1))
        if self._accept("("):
            expression = self._either(depth=depth + 1)
            if not self._accept(")"):
                raise InvalidInput("precondition: a closing bracket is missing")
            return expression
        return self._term()

    def _term(self) -> Term:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise InvalidInput(f"a precondition has at most {TERMS_MAX} terms")
        path = self._take()
        if not path or not (path[0].isalpha() or path[0] == "_") or path in _WORDS:
            raise InvalidInput(f"precondition: a VSS path was expected, not {path!r}")
        if self._peek() not in _COMPARE:
            return Term(path=path, operator="==", literal=True)
        sign = self._take()
        literal = _literal(self._take())
        if not isinstance(literal, float) and sign not in {"==", "!="}:
            raise InvalidInput(f"precondition: {sign} needs a number")
        return Term(path=path, operator=sign, literal=literal)

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _accept(self, token: str) -> bool:
        if self._peek() != token:
            return False
        self._next += 1
        return True


def _literal(word: str) -> Literal:
    if word in {"true", "false"}:
        return word == "true"
    if word.startswith("'"):
        return word[1:-1]
    try:
        return float(word)
    except ValueError as error:
        raise InvalidInput(f"precondition: a value was expected, not {word!r}") from error
