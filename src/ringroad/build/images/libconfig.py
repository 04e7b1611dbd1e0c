"""The part of libconfig's grammar that sw-description files use. Source: libconfig manual, section 5.

Left out: `@include`, which would read a file of ours on a stranger's word; it is refused.

Invariant: ends on every input; nesting and size are bounded.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ringroad.build.images.facts import refuse

TEXT_CHARS_MAX: Final = 1024**2  # characters; embedded Lua scripts are the largest part of real ones
DEPTH_MAX: Final = 32

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<number>[-+]?(?:0[xX][0-9A-Fa-f]+L{0,2}(?![\w.])|(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?|\d+L{0,2}(?![\w.])))
      | (?P<name>[A-Za-z*][-A-Za-z0-9_*]*)
      | (?P<mark>[{}()\[\]=:;,])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "\\": "\\", '"': '"'}

Token = tuple[str, str, int]  # kind, text, line


def parse_libconfig(text: str) -> dict[str, Any]:
    """Read a configuration into dicts, lists and scalars.

    Raises:
        InvalidInput: not libconfig; the message names the line.
    """
    if len(text) > TEXT_CHARS_MAX:
        refuse("oversized", f"sw-description has {len(text)} characters, limit {TEXT_CHARS_MAX}")
    reader = _Reader(_tokens(text))
    settings = reader.settings(end="end", depth=0)
    reader.take("end")
    return settings


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            refuse("malformed", f"sw-description line {line}: unexpected {text[at]!r}")
        kind = match.lastgroup or ""
        if kind == "mark":
            kind = match[0]
        if kind != "space":
            tokens.append((kind, match[0], line))
        line += match[0].count("\n")
        at = match.end()
    tokens.append(("end", "the end", line))
    return tokens


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at][0]

    def take(self, *kinds: str) -> str:
        kind, text, line = self._tokens[self._at]
        if kind not in kinds:
            wanted = " or ".join(kinds)
            refuse("malformed", f"sw-description line {line}: expected {wanted}, found {text[:40]!r}")
        self._at += 1
        return text

    def settings(self, *, end: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.peek() != end:
            line = self._tokens[self._at][2]
            name = self.take("name")
            if name in found:
                refuse("malformed", f"sw-description line {line}: {name!r} stands twice")
            self.take("=", ":")
            found[name] = self.value(depth + 1)
            if self.peek() in (";", ","):
                self.take(";", ",")
        return found

    def value(self, depth: int) -> Any:
        if depth > DEPTH_MAX:
            refuse("malformed", f"sw-description nests deeper than {DEPTH_MAX}")
        kind = self.peek()
        if kind == "{":
            self.take("{")
            settings = self.settings(end="}", depth=depth)
            self.take("}")
            return settings
        if kind in ("(", "["):
            return self._list(")" if self.take("(", "[") == "(" else "]", depth)
        if kind == "string":
            return self._strings()
        if kind == "number":
            return _number(self.take("number"))
        text = self.take("name", "string", "number", "{", "(", "[")
        if text.lower() not in ("true", "false"):
            line = self._tokens[self._at - 1][2]
            refuse("malformed", f"sw-description line {line}: {text!r} is no value")
        return text.lower() == "true"

    def _list(self, end: str, depth: int) -> list[Any]:
        items: list[Any] = []
        while self.peek() != end:
            items.append(self.value(depth + 1))
            if self.peek() != end:
                self.take(",")
        self.take(end)
        return items

    def _strings(self) -> str:
        parts: list[str] = []
        while self.peek() == "string":
            parts.append(_ESCAPE.sub(_unescape, self.take("string")[1:-1]))
        return "".join(parts)


def _unescape(match: re.Match[str]) -> str:
    body = match[1]
    return chr(int(body[1:], 16)) if body[0] == "x" and len(body) == 3 else _ESCAPES.get(body, body)


def _number(text: str) -> int | float:
    bare = text.rstrip("L")
    if "x" in bare.lower():
        return int(bare, 16)
    return float(bare) if "." in bare or "e" in bare.lower() else int(bare)
