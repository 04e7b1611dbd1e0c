"""Where in a TOML file a key or table stands: `tomllib` gives values without lines.

Not a TOML parser: it runs after `tomllib` accepted the text, so it may trust the grammar and only
skips strings, comments and brackets. Keys inside inline tables are found at the line of the outer key.

Invariant: a path that cannot be found yields the line of its nearest parent, never an error.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass

Path = tuple[str | int, ...]

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_KEY = re.compile(r"\s*(\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'|[A-Za-z0-9_-]+)\s*")
_SKIP = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'(?:.|\n)*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*', re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlLines:
    """Line numbers, counted from 1, by path: ``("line", "stations", 0, "name")``."""

    source: str
    lines: Mapping[Path, int]

    def line_of(self, path: Path, *, text: str = "") -> int:
        """Return the line of `path`, or of its nearest parent.

        Args:
            path: keys and list indices from the root.
            text: a quoted value within the key's own statement, to point into a long list.
        """
        while path and path not in self.lines:
            path = path[:-1]
        line = self.lines.get(path, 1)
        if text:
            rows = self.source.split("\n")
            starts = sorted(set(self.lines.values()))
            following = next((start for start in starts if line < start), len(rows) + 1)
            for number in range(line, following):
                if f'"{text}"' in rows[number - 1] or f"'{text}'" in rows[number - 1]:
                    return number
        return line


def locate(source: str) -> TomlLines:
    """Find the line of every table and key of a TOML text that `tomllib` accepts."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    line, counted = 1, 0  # up to where
    at = _skip_space(source, 0)
    while at < len(source):
        line += source.count("\n", counted, at)
        counted = at
        if source.startswith("[[", at):
            keys, at = _keys(source, at + 2)
            base = _resolve(keys, counts)
            table = (*base, counts.get(base, 0))
            counts[base] = counts.get(base, 0) + 1
            lines.setdefault(base, line)
            lines[table] = line
            at = source.index("]]", at) + 2
        elif source[at] == "[":
            keys, at = _keys(source, at + 1)
            table = _resolve(keys, counts)
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], line)
            lines[table] = line
            at = source.index("]", at) + 1
        else:
            keys, at = _keys(source, at)
            for depth in range(1, len(keys) + 1):
                lines.setdefault((*table, *keys[:depth]), line)
            at = _skip_value(source, at + 1)
        at = _skip_space(source, at)
    return TomlLines(source=source, lines=lines)


def _resolve(keys: list[str], counts: Mapping[Path, int]) -> Path:
    """Insert the current index after each key that is an array of tables, except the last."""
    path: Path = ()
    for number, key in enumerate(keys):
        path = (*path, key)
        if path in counts and number < len(keys) - 1:
            path = (*path, counts[path] - 1)
    return path


def _skip_space(source: str, at: int) -> int:
    match = _SPACE.match(source, at)
    return match.end() if match else at


def _keys(source: str, at: int) -> tuple[list[str], int]:
    """Read a dotted key; return its parts and the position after it."""
    keys: list[str] = []
    while match := _KEY.match(source, at):
        part = match[1]
        keys.append(tomllib.loads(f"v = {part}")["v"] if part[0] in "\"'" else part)
        at = match.end()
        if not source.startswith(".", at):
            break
        at += 1
    return keys, at


def _skip_value(source: str, at: int) -> int:
    """Return the position after a value: the first line end outside strings and brackets."""
    depth = 0
    while at < len(source):
        if match := _SKIP.match(source, at):
            at = match.end()
            continue
        char = source[at]
        if char in "[{":
            depth += 1
        elif char in "]}":
            depth -= 1
        elif char == "\n" and depth == 0:
            return at
        at += 1
    return at
