"""The query language that names a campaign's vehicles: text in, syntax tree out. Pure.

::

    programme = roadster and variant in (city, premium) and ecu.brake.version < 2.0.0
      and region = "EU" and tag = pilot and list = winter-recall and not vin in (WRR1ZZZ00PA000001)

    query  = "all" | either
    either = both { "or" both }
    both   = single { "and" single }
    single = "not" single | "(" either ")" | term
    term   = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" ) value
           | field [ "not" ] "in" "(" value { "," value } ")"

`match.py` evaluates the tree. Every error names the column and, where it can, what was meant.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.versions import version_key

QUERY_CHARS_MAX = 256 * 1024  # characters; ten thousand VINs in a list
TERMS_MAX = 200  # terms per query
DEPTH_MAX = 30  # nested parentheses and nots
IN_VALUES_MAX = 10_000  # values per list

Op = Literal["=", "!=", "<", "<=", ">", ">=", "~", "in", "not in"]
ORDER_OPS = frozenset({"<", "<=", ">", ">="})

PLAIN_FIELDS = (
    "programme",
    "variant",
    "region",
    "vin",
    "gateway",
    "release",
    "tag",
    "list",
    "blocked",
    "born",
)
ECU_PROPERTIES = ("version", "hardware", "serial", "filename", "sha256", "present")
TRUTH_FIELDS = frozenset({"blocked", "present", "fault"})
LAKE_FIELDS = frozenset({"telemetry", "fault"})  # told by the telemetry lake, not by the database
KEYWORDS = frozenset({"and", "or", "not", "in", "all"})
_TOKEN = re.compile(
    r"\s+|(?P<string>\"[^\"\n]*\"|'[^'\n]*')|(?P<op><=|>=|!=|=|<|>|~)|(?P<punct>[(),])"
    r"|(?P<word>[A-Za-z0-9_*][A-Za-z0-9_.+:*\-]*)"
)
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?")
_MEANT = {"==": "=", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!="}


class QueryError(InvalidInput):
    """The query cannot be read.

    Attributes:
        column: 1-based character in the query where reading stopped.
    """

    def __init__(self, message: str, *, column: int, hint: str = "") -> None:
        super().__init__(f"query, column {column}: {message}", hint=hint, code="query_invalid")
        self.column = column


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What a term looks at: ``variant``, ``ecu.brake.version``, ``telemetry.Vehicle.TraveledDistance``."""

    root: str
    key: str = ""  # ECU or attribute name, VSS path, ECU and fault code
    prop: str = ""  # of an ECU

    @property
    def told_as(self) -> str:
        """What the lake knows it by; no VSS path begins like a fault."""
        return f"fault {self.key}" if self.root == "fault" else self.key

    @property
    def ordered(self) -> bool:
        """Whether ``<`` and its kin mean something."""
        return self.root in ("born", "attribute", "telemetry") or self.prop == "version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One comparison."""

    field: Field
    op: Op
    values: frozenset[str]
    text: str
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Every part must hold."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Either:
    """One part must hold."""

    parts: tuple[Node, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Negation:
    """The part must be known not to hold."""

    part: Node
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """Every vehicle; must be written, an empty query is an error."""

    text: str = "all"


Node = Term | Both | Either | Negation | Everything


def parse_query(text: str) -> Node:
    """Read a query.

    Raises:
        QueryError: it cannot be read; the column and what was meant are named.
    """
    if len(text) > QUERY_CHARS_MAX:
        raise QueryError(f"longer than {QUERY_CHARS_MAX} characters", column=QUERY_CHARS_MAX)
    parser = _Parser(text)
    return parser.query()


def point_at(text: str, column: int, *, chars_max: int = 76) -> str:
    """Return the line of a query around a column, and a caret below it.

    Args:
        text: the query.
        column: 1-based, as in `QueryError`; beyond the end is the end.
        chars_max: characters of the line that are shown.
    """
    at = min(max(column, 1), len(text) + 1) - 1
    begin = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[begin : end if end >= 0 else len(text)]
    first = max(0, at - begin - chars_max // 2)
    shown = line[first : first + chars_max]
    before = "…" if first else ""
    after = "…" if first + chars_max < len(line) else ""
    plain = "".join(character if character.isprintable() else " " for character in shown)
    return f"{before}{plain}{after}\n{' ' * (len(before) + at - begin - first)}^"


def terms_of(node: Node) -> Iterator[Term]:
    """Yield every term of a query from left to right."""
    match node:
        case Term():
            yield node
        case Both(parts=parts) | Either(parts=parts):
            for part in parts:
                yield from terms_of(part)
        case Negation(part=part):
            yield from terms_of(part)
        case Everything():
            return


def number_of(text: str) -> float | None:
    """Return a finite number; None for any other text."""
    return float(text) if _NUMBER.fullmatch(text) else None


def keys_in(node: Node, root: str) -> tuple[str, ...]:
    """Return the keys of one kind of field that a query names, for example every telemetry path."""
    return tuple(sorted({term.field.key for term in terms_of(node) if term.field.root == root}))


def names_in(node: Node, root: str) -> tuple[str, ...]:
    """Return the values that terms of one field name exactly, for example every list; patterns are left out."""
    return tuple(
        sorted(
            {
                value
                for term in terms_of(node)
                if term.field.root == root and term.op != "~"
                for value in term.values
            }
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One word, text in quotes, comparison or punctuation of a query."""

    kind: Literal["string", "op", "punct", "word", "end"]
    text: str
    start: int
    end: int

    @property
    def keyword(self) -> str:
        """The lower-case keyword this is, or nothing."""
        lower = self.text.lower()
        return lower if self.kind == "word" and lower in KEYWORDS else ""


def find_tokens(text: str) -> list[Token]:
    """Return the tokens of a text that may be unfinished.

    What cannot be read is passed over; a last open quote is a string that ends with the text.
    """
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None and text[at] in "\"'":
            found.append(Token(kind="string", text=text[at:], start=at, end=len(text)))
            break
        if match is not None and match.lastgroup in ("string", "op", "punct", "word"):
            kind: Literal["string", "op", "punct", "word"] = match.lastgroup  # type: ignore[assignment]
            found.append(Token(kind=kind, text=match.group(), start=match.start(), end=match.end()))
        at = match.end() if match else at + 1
    return found


def is_bare(value: str) -> bool:
    """Tell whether a value can be written without quotes."""
    match = _TOKEN.fullmatch(value)
    return match is not None and match.lastgroup == "word"


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            _refuse_character(text, at)
        else:
            at = match.end()
            match match.lastgroup:
                case "string" | "op" | "punct" | "word" as kind:
                    tokens.append(Token(kind=kind, text=match.group(), start=match.start(), end=match.end()))
                case _:
                    continue  # white space
    tokens.append(Token(kind="end", text="", start=len(text), end=len(text)))
    return tokens


def _refuse_character(text: str, at: int) -> None:
    if text[at] in "\"'":
        raise QueryError("this quote is never closed", column=at + 1, hint="close it before the line ends")
    two = _MEANT.get(text[at : at + 2]) or _MEANT.get(text[at])
    hint = f"did you mean {two!r}?" if two else "put values with other characters in quotes"
    raise QueryError(f"unexpected character {text[at]!r}", column=at + 1, hint=hint)


class _Parser:
    """Recursive descent over the tokens of one query."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._terms = 0
        self._depth = 0

    def query(self) -> Node:
        token = self._peek()
        if token.kind == "end":
            raise QueryError("the query is empty", column=1, hint='write "all" to mean every vehicle')
        if token.keyword == "all":
            self._next()
            node: Node = Everything()
        else:
            node = self._either()
        rest = self._peek()
        if rest.kind != "end":
            self._refuse_rest(rest)
        return node

    def _refuse_rest(self, rest: Token) -> None:
        if rest.text == ")":
            raise QueryError('")" closes nothing', column=rest.start + 1, hint='remove it or open "("')
        close = difflib.get_close_matches(rest.text.lower(), ("and", "or"), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else 'join terms with "and" or "or"'
        raise QueryError(f"unexpected {rest.text[:40]!r}", column=rest.start + 1, hint=hint)

    def _either(self) -> Node:
        start = self._peek().start
        parts = [self._both()]
        while self._peek().keyword == "or":
            self._next()
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Either(parts=tuple(parts), text=self._since(start))

    def _both(self) -> Node:
        start = self._peek().start
        parts = [self._single()]
        while self._peek().keyword == "and":
            self._next()
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else Both(parts=tuple(parts), text=self._since(start))

    def _single(self) -> Node:
        token = self._peek()
        if token.keyword != "not" and token.text != "(":
            return self._term()
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise QueryError(f"nested deeper than {DEPTH_MAX}", column=token.start + 1)
        self._next()
        node: Node
        if token.keyword == "not":
            part = self._single()
            node = Negation(part=part, text=self._since(token.start))
        else:
            node = self._either()
            self._expect(")", opened_at=token.start)
        self._depth -= 1
        return node

    def _term(self) -> Term:
        token = self._next()
        if token.kind != "word" or token.keyword:
            what = "the query ends here" if token.kind == "end" else f"unexpected {token.text[:40]!r}"
            raise QueryError(f"{what}, a field is missing", column=token.start + 1, hint=_fields_hint())
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise QueryError(f"more than {TERMS_MAX} terms", column=token.start + 1, hint="use in (...)")
        field = _field(token)
        op = self._op(field)
        values = self._list() if op in ("in", "not in") else (self._value(),)
        for value in values:
            _check_value(field, op, value)
        return Term(
            field=field,
            op=op,
            values=frozenset(_text(value) for value in values),
            text=self._since(token.start),
            column=token.start + 1,
        )

    def _op(self, field: Field) -> Op:
        token = self._next()
        if token.keyword == "in":
            return "in"
        if token.keyword == "not" and self._peek().keyword == "in":
            self._next()
            return "not in"
        if token.kind != "op":
            raise QueryError(
                f"a comparison is missing before {token.text[:40]!r}"
                if token.text
                else "a comparison is missing",
                column=token.start + 1,
                hint="one of = != < <= > >= ~ in, not in",
            )
        if token.text == "=" and self._peek().text == "=":
            raise QueryError("'==' is not a comparison", column=token.start + 1, hint="did you mean '='?")
        if token.text in ORDER_OPS and not field.ordered:
            raise QueryError(f"{field.root} has no order", column=token.start + 1, hint="use =, !=, ~ or in")
        return token.text  # type: ignore[return-value]  # the token pattern admits exactly these

    def _list(self) -> tuple[Token, ...]:
        opened = self._next()
        if opened.text != "(" or opened.kind != "punct":
            raise QueryError('"(" is missing after "in"', column=opened.start + 1, hint="in (a, b)")
        values = [self._value()]
        while self._peek().text == "," and self._peek().kind == "punct":
            self._next()
            values.append(self._value())
            if len(values) > IN_VALUES_MAX:
                raise QueryError(
                    f"more than {IN_VALUES_MAX} values",
                    column=opened.start + 1,
                    hint="make a list: ringroad fleet lists set",
                )
        self._expect(")", opened_at=opened.start)
        return tuple(values)

    def _value(self) -> Token:
        token = self._next()
        if token.kind not in ("string", "word") or token.keyword:
            raise QueryError(
                "a value is missing", column=token.start + 1, hint="a word, or any text in quotes"
            )
        return token

    def _expect(self, punct: str, *, opened_at: int) -> None:
        token = self._next()
        if token.kind != "punct" or token.text != punct:
            raise QueryError(
                f'"(" in column {opened_at + 1} is not closed',
                column=token.start + 1,
                hint=f'put "{punct}" here',
            )

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _since(self, start: int) -> str:
        """The source from `start` to the last token read, white space made plain."""
        return " ".join(self._text[start : self._tokens[self._at - 1].end].split())


def _field(token: Token) -> Field:
    name = token.text
    root, _, rest = name.partition(".")
    if name in PLAIN_FIELDS:
        return Field(root=name)
    if root in ("attribute", "telemetry") and rest:
        return Field(root=root, key=rest)
    if root == "fault":
        if all(rest.rpartition(".")):
            return Field(root=root, key=rest)
        raise QueryError(
            f"{name[:80]!r} names no fault", column=token.start + 1, hint="write fault.<ecu>.<code>"
        )
    if root == "ecu":
        key, _, prop = rest.rpartition(".")
        if key and prop in ECU_PROPERTIES:
            return Field(root=root, key=key, prop=prop)
        raise QueryError(
            f"{name[:80]!r} is not a property of an ECU",
            column=token.start + 1,
            hint=_meant(prop, ECU_PROPERTIES) or "write ecu.<name>.version",
        )
    raise QueryError(
        f"unknown field {name[:80]!r}",
        column=token.start + 1,
        hint=_meant(name, (*PLAIN_FIELDS, "ecu", "attribute", "telemetry", "fault")) or _fields_hint(),
    )


def _check_value(field: Field, op: Op, token: Token) -> None:
    value = _text(token)
    column = token.start + 1
    if field.root in TRUTH_FIELDS or field.prop in TRUTH_FIELDS:
        if value not in ("true", "false") or op not in ("=", "!="):
            raise QueryError("this is true or false", column=column, hint="write = true or = false")
    elif field.root == "born":
        try:
            date.fromisoformat(value)
        except ValueError:
            raise QueryError(
                f"{value[:40]!r} is not a date", column=column, hint="write 2026-11-23"
            ) from None
    elif field.root == "telemetry" and op in ORDER_OPS:
        if number_of(value) is None:
            raise QueryError(f"{value[:40]!r} is not a number", column=column, hint="as 20000 or 0.5")
    elif op in ORDER_OPS and version_key(value) is None:
        raise QueryError(
            f"{value[:40]!r} cannot be ordered", column=column, hint="write a version or a number, as 2.0.0"
        )


def _text(token: Token) -> str:
    return token.text[1:-1] if token.kind == "string" else token.text


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _fields_hint() -> str:
    return f"fields are {', '.join(PLAIN_FIELDS)}, ecu.<name>.<property>, attribute.<name>, telemetry.<path>, fault.<ecu>.<code>"
