"""Read `programme.toml`: a vehicle programme, its variants, ECUs and line, with every problem and its line.

Pure: text in, values or problems out.

Invariant: a `Programme` is returned only if there is no problem at all; nothing is guessed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from ringroad.build.model import Ecu, Line, Paint, Programme, Ratio, Station, Variant
from ringroad.build.sequence.problem import CARS_MAX
from ringroad.build.toml_lines import Path, TomlLines, locate
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.limits import ECUS_MAX

PROGRAMME_BYTES_MAX: Final = 1024**2  # bytes; 256 ECUs take 80 kB
PROBLEMS_MAX: Final = 50  # reported at once; more than a screen helps nobody
VARIANTS_MAX: Final = 64
OPTIONS_MAX: Final = 64  # per variant; car-sequencing instances have up to 26
STATIONS_MAX: Final = 500  # a long final assembly line has about 300
STORAGE_BYTES_MAX: Final = 64 * 1024**3  # bytes; infotainment eMMC
BUSES: Final = (
    "DoIP",
    "CAN",
    "CAN FD",
    "HTTP",
)  # an ECU's transport; HTTP is for DDI clients and for nodes without UDS
RATIO_Q_MAX: Final = 100  # vehicles

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_CHARS_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeProblem:
    """One thing wrong in the file."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


def read_programme(source: str, *, filename: str = "programme.toml") -> Programme:
    """Read a programme file.

    Args:
        source: the text of the file.
        filename: how to call it in messages.

    Raises:
        InvalidInput: the file has problems; the message names each with its line, up to 50.
    """
    programme, problems = find_problems(source)
    if programme is None:
        shown = "\n".join(
            f"{filename}:{problem.line}: {problem.message}" for problem in problems[:PROBLEMS_MAX]
        )
        more = len(problems) - PROBLEMS_MAX
        tail = f"\n... and {more} more" if more > 0 else ""
        raise InvalidInput(
            f"{filename} has {len(problems)} problem{'s' if len(problems) != 1 else ''}:\n{shown}{tail}",
            code="programme_invalid",
            hint="docs/reference/programme.md describes every key",
        )
    return programme


def find_problems(source: str) -> tuple[Programme | None, tuple[ProgrammeProblem, ...]]:
    """Return the programme, or None and everything that is wrong with it, in order of lines."""
    if len(source.encode("utf-8", "replace")) > PROGRAMME_BYTES_MAX:
        problem = ProgrammeProblem(line=1, message=f"the file is larger than {PROGRAMME_BYTES_MAX} bytes")
        return None, (problem,)
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(match[1]) if match else source.count("\n") + 1
        return None, (ProgrammeProblem(line=line, message=f"not TOML: {error}"),)
    reader = _Reader(lines=locate(source.replace("\r\n", "\n")))
    programme = _programme(reader, raw)
    problems = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    return (None, problems) if problems or programme is None else (programme, ())


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Collects problems with their lines while values are taken out of the parsed tables."""

    lines: TomlLines
    problems: list[ProgrammeProblem] = field(default_factory=list)

    def say(self, path: Path, message: str, *, text: str = "") -> None:
        self.problems.append(ProgrammeProblem(line=self.lines.line_of(path, text=text), message=message))

    def table(self, parent: Mapping[str, Any], path: Path, key: str) -> dict[str, Any]:
        value = parent.get(key)
        if not isinstance(value, dict):
            word = "is missing" if value is None else "must be a table"
            self.say((*path, key), f"[{_dotted((*path, key))}] {word}")
            return {}
        return cast("dict[str, Any]", value)

    def known(self, table: Mapping[str, Any], path: Path, names: Iterable[str]) -> None:
        names = list(names)
        for key in table:
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                advice = f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(names)}"
                self.say((*path, key), f"unknown key {key!r} in [{_dotted(path) or 'the file'}]{advice}")

    def text(self, table: Mapping[str, Any], path: Path, key: str) -> str:
        value = self._take(table, path, key, str, "a text")
        if isinstance(value, str) and not 0 < len(value.strip()) <= _LABEL_CHARS_MAX:
            self.say((*path, key), f"{key!r} must have 1 to {_LABEL_CHARS_MAX} characters")
        return value if isinstance(value, str) else ""

    def choice(self, table: Mapping[str, Any], path: Path, key: str, allowed: tuple[str, ...]) -> str:
        value = self._take(table, path, key, str, "a text")
        if isinstance(value, str) and value not in allowed:
            close = difflib.get_close_matches(value, allowed, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            self.say((*path, key), f"{key!r} is {value!r}; it must be one of {', '.join(allowed)}{advice}")
        return value if isinstance(value, str) else ""

    def whole(self, table: Mapping[str, Any], path: Path, key: str, least: int, most: int) -> int:
        value = self._take(table, path, key, int, "a whole number")
        if not isinstance(value, int):
            return least
        if not least <= value <= most:
            self.say((*path, key), f"{key!r} is {value}; it must be between {least} and {most}")
        return value

    def flag(self, table: Mapping[str, Any], path: Path, key: str) -> bool:
        return self._take(table, path, key, bool, "true or false") is True if key in table else False

    def names(
        self, table: Mapping[str, Any], path: Path, key: str, most: int, *, least: int
    ) -> tuple[str, ...]:
        if key not in table and least == 0:
            return ()
        value = self._take(table, path, key, list, "a list of texts")
        if not isinstance(value, list):
            return ()
        items = [item for item in value if isinstance(item, str)]
        if len(items) != len(value):
            self.say((*path, key), f"{key!r} must hold texts only")
        if not least <= len(value) <= most:
            self.say((*path, key), f"{key!r} has {len(value)} entries; it must have {least} to {most}")
        for item in sorted({item for item in items if items.count(item) > 1}):
            self.say((*path, key), f"{item!r} stands twice in {key!r}", text=item)
        return tuple(items)

    def rows(
        self, table: Mapping[str, Any], path: Path, key: str, most: int, *, least: int
    ) -> list[dict[str, Any]]:
        value = table.get(key, [])
        if not isinstance(value, list) or any(not isinstance(row, dict) for row in value):
            self.say((*path, key), f"[[{_dotted((*path, key))}]] must be a list of tables")
            return []
        if not least <= len(value) <= most:
            self.say(
                (*path, key),
                f"[[{_dotted((*path, key))}]] stands {len(value)} times; {least} to {most} allowed",
            )
        return value

    def _take(self, table: Mapping[str, Any], path: Path, key: str, kind: type, word: str) -> object:
        value: object = table.get(key)
        if value is None:
            self.say(path, f"[{_dotted(path)}] has no {key!r}")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.say((*path, key), f"{key!r} must be {word}, not {_toml_word(value)}")
            return None
        return value


def _programme(reader: _Reader, raw: Mapping[str, Any]) -> Programme | None:
    reader.known(raw, (), ("programme", "ecus", "variants", "line"))
    head = reader.table(raw, (), "programme")
    reader.known(head, ("programme",), ("id", "name"))
    programme_id, name = "", ""
    if head:
        programme_id = reader.text(head, ("programme",), "id")
        name = reader.text(head, ("programme",), "name")
        if programme_id and not _NAME.fullmatch(programme_id):
            reader.say(("programme", "id"), f"id {programme_id!r}: {_NAME_RULE}")
    ecus = _each(reader, raw, "ecus", ECUS_MAX, _ecu)
    variants = _each(reader, raw, "variants", VARIANTS_MAX, _variant)
    line = _line(reader, raw)
    _cross_check(reader, ecus, variants, line)
    if reader.problems:
        return None
    return Programme(id=programme_id, name=name, variants=variants, ecus=ecus, line=line)


_NAME_RULE: Final = "small letters, digits, '-' and '_', a letter first, up to 63"


T = TypeVar("T")


def _each(
    reader: _Reader,
    raw: Mapping[str, Any],
    key: str,
    most: int,
    make: Callable[[_Reader, str, Mapping[str, Any]], T],
) -> dict[str, T]:
    table = reader.table(raw, (), key)
    if most < len(table):
        reader.say((key,), f"[{key}] has {len(table)} entries; the limit is {most}")
    made: dict[str, T] = {}
    for name, body in table.items():
        if not _NAME.fullmatch(name):
            reader.say((key, name), f"name {name!r}: {_NAME_RULE}")
        if not isinstance(body, dict):
            reader.say((key, name), f"[{key}.{name}] must be a table")
            continue
        made[name] = make(reader, name, body)
    return made


def _ecu(reader: _Reader, name: str, body: Mapping[str, Any]) -> Ecu:
    path: Path = ("ecus", name)
    known = (
        "hardware_id",
        "bus",
        "os",
        "security",
        "storage",
        "storage_bytes",
        "supplier",
        "primary",
        "agent",
    )
    reader.known(body, path, known)
    storage = reader.choice(body, path, "storage", ("ab", "inplace"))
    agent = reader.choice(body, path, "agent", ("ab", "uds", "ddi"))
    if (agent, storage) in (("ab", "inplace"), ("uds", "ab")):
        reader.say((*path, "agent"), f"agent {agent!r} cannot serve storage {storage!r}")
    return Ecu(
        name=name,
        hardware_id=reader.text(body, path, "hardware_id"),
        bus=reader.choice(body, path, "bus", BUSES),
        os=reader.text(body, path, "os"),
        security=reader.text(body, path, "security"),
        storage=cast("Any", storage),
        storage_bytes=reader.whole(body, path, "storage_bytes", 1, STORAGE_BYTES_MAX),
        supplier=reader.text(body, path, "supplier"),
        primary=reader.flag(body, path, "primary"),
        agent=cast("Any", agent),
    )


def _variant(reader: _Reader, name: str, body: Mapping[str, Any]) -> Variant:
    path: Path = ("variants", name)
    reader.known(body, path, ("ecus", "options"))
    return Variant(
        name=name,
        ecus=reader.names(body, path, "ecus", ECUS_MAX, least=1),
        options=reader.names(body, path, "options", OPTIONS_MAX, least=0),
    )


def _line(reader: _Reader, raw: Mapping[str, Any]) -> Line:
    body = reader.table(raw, (), "line")
    path: Path = ("line",)
    reader.known(body, path, ("name", "stations", "ratios", "paint"))
    stations: list[Station] = []
    ratios: list[Ratio] = []
    if body:
        for index, row in enumerate(reader.rows(body, path, "stations", STATIONS_MAX, least=1)):
            at: Path = ("line", "stations", index)
            reader.known(row, at, ("name", "cycle_s"))
            stations.append(
                Station(
                    name=reader.text(row, at, "name"), cycle_s=reader.whole(row, at, "cycle_s", 1, 86_400)
                )
            )
        for index, row in enumerate(reader.rows(body, path, "ratios", OPTIONS_MAX, least=0)):
            at = ("line", "ratios", index)
            reader.known(row, at, ("option", "p", "q", "soft"))
            p = reader.whole(row, at, "p", 1, RATIO_Q_MAX)
            q = reader.whole(row, at, "q", 1, RATIO_Q_MAX)
            if q < p:
                reader.say((*at, "p"), f"{p} of {q} successive vehicles is no limit: p must not exceed q")
            soft = reader.flag(row, at, "soft")
            ratios.append(Ratio(option=reader.text(row, at, "option"), p=p, q=q, soft=soft))
    name = reader.text(body, path, "name") if body else ""
    paint = _paint(reader, body) if "paint" in body else None
    return Line(name=name, stations=tuple(stations), ratios=tuple(ratios), paint=paint)


def _paint(reader: _Reader, line: Mapping[str, Any]) -> Paint:
    path: Path = ("line", "paint")
    body = reader.table(line, ("line",), "paint")
    reader.known(body, path, ("colours", "batch_max"))
    return Paint(
        colours=reader.names(body, path, "colours", OPTIONS_MAX, least=1),
        batch_max=reader.whole(body, path, "batch_max", 1, CARS_MAX),
    )


def _cross_check(
    reader: _Reader, ecus: Mapping[str, Ecu], variants: Mapping[str, Variant], line: Line
) -> None:
    """What no table can know alone: names that point elsewhere, one Primary per variant, unused things."""
    for name, variant in variants.items():
        path: Path = ("variants", name, "ecus")
        for ecu in variant.ecus:
            if ecu not in ecus:
                close = difflib.get_close_matches(ecu, ecus, n=1)
                advice = f"; did you mean {close[0]!r}?" if close else ""
                reader.say(path, f"variant {name!r} names an unknown ECU {ecu!r}{advice}", text=ecu)
        members = [ecus[ecu] for ecu in variant.ecus if ecu in ecus]
        primaries = [ecu.name for ecu in members if ecu.primary]
        if len(primaries) != 1:
            found = ", ".join(primaries) or "none"
            reader.say(path, f"variant {name!r} must have exactly one primary ECU, found {found}")
        if any(ecu.agent == "ddi" for ecu in members) and len(members) != 1:
            reader.say(path, f"variant {name!r}: an ECU with agent 'ddi' updates itself and must be alone")
    used = {ecu for variant in variants.values() for ecu in variant.ecus}
    for name in ecus:
        if name not in used:
            reader.say(("ecus", name), f"ECU {name!r} is in no variant")
    options = {option for variant in variants.values() for option in variant.options} | set(variants)
    seen: set[str] = set()
    for index, ratio in enumerate(line.ratios):
        at: Path = ("line", "ratios", index, "option")
        if ratio.option in seen:
            reader.say(at, f"option {ratio.option!r} has two ratios")
        seen.add(ratio.option)
        if ratio.option and ratio.option not in options:
            close = difflib.get_close_matches(ratio.option, options, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            reader.say(at, f"{ratio.option!r} is no variant and no option of one{advice}")
    for colour in line.paint.colours if line.paint else ():
        if colour not in options:
            close = difflib.get_close_matches(colour, options, n=1)
            advice = f"; did you mean {close[0]!r}?" if close else ""
            reader.say(
                ("line", "paint", "colours"),
                f"colour {colour!r} is no option of a variant{advice}",
                text=colour,
            )


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _toml_word(value: object) -> str:
    words = {bool: "true or false", int: "a number", float: "a number with a point", str: "a text"}
    return words.get(type(value), "a list" if isinstance(value, list) else "a table")
