"""Take values out of a parsed TOML file, and collect what is wrong with them, each with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from ringroad.build.toml_lines import Path, TomlLines

LABEL_CHARS_MAX: Final = 100
ADVISED_MAX: Final = 50  # problems with advice and an exact line: as many as are shown; each takes 10 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeProblem:
    """One thing wrong in the file."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(slots=True, kw_only=True)
class Reader:
    """Collects problems with their lines while values are taken out of the parsed tables."""

    lines: TomlLines
    raw: Mapping[str, Any]  # the parsed file, for whose a value is
    problems: list[ProgrammeProblem] = field(default_factory=list)

    @property
    def advises(self) -> bool:
        """Whether there is a point in looking for what may be meant; beyond the first problems nobody reads it."""
        return len(self.problems) < ADVISED_MAX

    def say(self, path: Path, message: str, *, text: str = "") -> None:
        """Note a problem at a path, or at a text under it."""
        line = self.lines.line_of(path, text=text if self.advises else "")
        self.problems.append(ProgrammeProblem(line=line, message=message))

    def say_of(self, path: Path, key: str, message: str) -> None:
        """Note a problem with a value of the table at a path, and whose it is."""
        whose = owner(self.raw, path)
        self.say((*path, key), f"{whose}: {message}" if whose else message)

    def table(self, parent: Mapping[str, Any], path: Path, key: str) -> dict[str, Any]:
        """Return a table of `parent`, or an empty one with a problem."""
        value = parent.get(key)
        if not isinstance(value, dict):
            word = "is missing" if value is None else "must be a table"
            self.say((*path, key), f"[{dotted((*path, key))}] {word}")
            return {}
        return cast("dict[str, Any]", value)

    def known(self, table: Mapping[str, Any], path: Path, names: Iterable[str]) -> None:
        """Note each key that has no meaning."""
        names = list(names)
        for key in table:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1) if self.advises else []
                advice = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"
                self.say((*path, key), f"unknown key {key!r} in [{dotted(path) or 'the file'}]{advice}")

    def text(self, table: Mapping[str, Any], path: Path, key: str) -> str:
        """Return a text of 1 to 100 characters."""
        value = self._take(table, path, key, str, "a text")
        if isinstance(value, str) and not 0 < len(value.strip()) <= LABEL_CHARS_MAX:
            self.say_of(path, key, f"{key!r} must have 1 to {LABEL_CHARS_MAX} characters")
        return value if isinstance(value, str) else ""

    def choice(self, table: Mapping[str, Any], path: Path, key: str, allowed: tuple[str, ...]) -> str:
        """Return one of the allowed texts."""
        value = self._take(table, path, key, str, "a text")
        if isinstance(value, str) and value not in allowed:
            close = difflib.get_close_matches(value, allowed, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            self.say_of(path, key, f"{key!r} is {value!r}; it must be one of {', '.join(allowed)}{advice}")
        return value if isinstance(value, str) else ""

    def whole(self, table: Mapping[str, Any], path: Path, key: str, least: int, most: int) -> int:
        """Return a whole number within its limits."""
        value = self._take(table, path, key, int, "a whole number")
        if not isinstance(value, int):
            return least
        if not least <= value <= most:
            self.say_of(path, key, f"{key!r} is {value}; it must be between {least} and {most}")
        return value

    def text_or(self, table: Mapping[str, Any], path: Path, key: str, *, default: str = "") -> str:
        """Return a text of 1 to 100 characters, or the default where it is left out."""
        return self.text(table, path, key) if key in table else default

    def whole_or(
        self, table: Mapping[str, Any], path: Path, key: str, least: int, most: int, *, default: int
    ) -> int:
        """Return a whole number within its limits, or the default where it is left out."""
        return self.whole(table, path, key, least, most) if key in table else default

    def number_or(
        self, table: Mapping[str, Any], path: Path, key: str, least: float, most: float, *, default: float
    ) -> float:
        """Return a number within its limits, with or without a point, or the default where it is left out."""
        if key not in table:
            return default
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.say_of(path, key, f"{key!r} must be a number, not {_toml_word(value)}")
            return default
        if not least <= value <= most:
            self.say_of(path, key, f"{key!r} is {value}; it must be between {least:g} and {most:g}")
            return default
        return float(value)

    def flag(self, table: Mapping[str, Any], path: Path, key: str) -> bool:
        """Return true or false; false where it is left out."""
        return self._take(table, path, key, bool, "true or false") is True if key in table else False

    def names(
        self, table: Mapping[str, Any], path: Path, key: str, most: int, *, least: int
    ) -> tuple[str, ...]:
        """Return a list of texts, each once; an empty one where it may be left out."""
        if key not in table and least == 0:
            return ()
        value = self._take(table, path, key, list, "a list of texts")
        if not isinstance(value, list):
            return ()
        items = [item for item in value if isinstance(item, str)]
        if len(items) != len(value):
            self.say_of(path, key, f"{key!r} must hold texts only")
        if not least <= len(value) <= most:
            self.say_of(path, key, f"{key!r} has {len(value)} entries; it must have {least} to {most}")
        for item in sorted({item for item in items if items.count(item) > 1}):
            self.say((*path, key), f"{item!r} stands twice in {key!r}", text=item)
        return tuple(items)

    def rows(
        self, table: Mapping[str, Any], path: Path, key: str, most: int, *, least: int
    ) -> list[dict[str, Any]]:
        """Return a list of tables."""
        value = table.get(key, [])
        if not isinstance(value, list) or any(not isinstance(row, dict) for row in value):
            self.say((*path, key), f"[[{dotted((*path, key))}]] must be a list of tables")
            return []
        if not least <= len(value) <= most:
            self.say(
                (*path, key),
                f"[[{dotted((*path, key))}]] stands {len(value)} times; {least} to {most} allowed",
            )
        return value

    def _take(self, table: Mapping[str, Any], path: Path, key: str, kind: type, word: str) -> object:
        value: object = table.get(key)
        if value is None:
            self.say(path, f"{owner(self.raw, path) or f'[{dotted(path)}]'} has no {key!r}")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.say_of(path, key, f"{key!r} must be {word}, not {_toml_word(value)}")
            return None
        return value


# What stands in a list or a table of its own, as people call it, and what it is named by.
_WORDS: Final = {
    "agvs": "AGV fleet",
    "calendars": "calendar",
    "ecus": "ECU",
    "gates": "gate",
    "legs": "leg",
    "lines": "line",
    "ratios": "ratio of",
    "resources": "resource",
    "routings": "routing",
    "shops": "shop",
    "stations": "station",
    "steps": "step",
    "variants": "variant",
    "zones": "zone",
}
_NAMED_BY: Final = ("name", "option", "product")


def owner(raw: Mapping[str, Any], path: Path) -> str:
    """Return whose the values of the table at a path are: "station 'trim', extra_s"; nothing for a part of the file itself."""
    if path[:1] in (("parameters",), ("bindings",)) and len(path) > 1:
        thing, *of = (str(step) for step in path[1:])
        return thing + ("#" + ".".join(of) if of else "")
    said: list[str] = []
    at: Any = raw
    for before, step in zip(("", *path), path, strict=False):
        at = at[step]
        if before in _WORDS:
            said.append(f"{_WORDS[str(before)]} {_called(step, at)}")
        elif before and step not in _WORDS:
            said.append(str(step))
    return ", ".join(said)


def _called(step: str | int, table: Mapping[str, Any]) -> str:
    """Return what a table is named by, or the how manieth it is."""
    if isinstance(step, str):
        return repr(step[:LABEL_CHARS_MAX])
    names = [table[key] for key in _NAMED_BY if isinstance(table.get(key), str)]
    return repr(names[0][:LABEL_CHARS_MAX]) if names else str(step + 1)


def dotted(path: Path) -> str:
    """Return a path as TOML writes it."""
    return ".".join(str(part) for part in path)


def _toml_word(value: object) -> str:
    words = {bool: "true or false", int: "a number", float: "a number with a point", str: "a text"}
    return words.get(type(value), "a list" if isinstance(value, list) else "a table")
