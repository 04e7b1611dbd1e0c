"""Reads vehicles to register out of a CSV or TOML file; every problem has its line. Pure: text in, rows out.

CSV has a header: vin, variant, and where wanted region, tags (separated by ;) and serial:<ECU> for each ECU's serial.
TOML has [[vehicle]] tables with vin, variant, region, tags and serials = { ECU = "serial" }.
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ringroad.build.toml_lines import locate
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.vin import is_vin

FILE_BYTES_MAX: Final = 64 * 1024**2  # bytes; a million vehicles of 60 bytes
PROBLEMS_SHOWN_MAX: Final = 20
NAME_CHARS_MAX: Final = 200
_FIELDS: Final = ("vin", "variant", "region", "tags", "serials")
_SERIAL: Final = "serial:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One vehicle as the file has it; `body` is what the API takes."""

    line: int
    body: Mapping[str, Any]


class _Problems:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []

    def add(self, line: int, text: str) -> None:
        self.lines.append(f"{self.name}:{line}: {text}")

    def refuse(self) -> None:
        if self.lines:
            more = len(self.lines) - PROBLEMS_SHOWN_MAX
            shown = self.lines[:PROBLEMS_SHOWN_MAX] + ([f"and {more} more"] if more > 0 else [])
            raise InvalidInput("\n".join(shown), hint="nothing was registered", code="registration_file")


def read_registrations(content: bytes, *, name: str) -> list[Row]:
    """Read a file of vehicles.

    Args:
        content: the file's bytes.
        name: of the file; ``.toml`` is TOML, everything else CSV.

    Raises:
        InvalidInput: it cannot be read; each problem with its line.
    """
    problems = _Problems(name)
    if len(content) > FILE_BYTES_MAX:
        raise InvalidInput(f"{name} has more than {FILE_BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{name}:{line}: not UTF-8", code="registration_file") from error
    found = list((_toml if name.endswith(".toml") else _csv)(text, problems))
    _check(found, problems)
    problems.refuse()
    if not found:
        raise InvalidInput(f"{name}: there is no vehicle in it", code="registration_file")
    return found


def _csv(text: str, problems: _Problems) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [word.strip() for word in next(reader, [])]
        if not _good_header(header, problems):
            return
        while True:
            line = reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                problems.add(line, f"{len(cells)} fields, the header has {len(header)}")
                continue
            yield Row(line=line, body=_body(dict(zip(header, (cell.strip() for cell in cells), strict=True))))
    except csv.Error as error:
        problems.add(reader.line_num, f"not CSV: {error}")


def _good_header(header: Sequence[str], problems: _Problems) -> bool:
    before = len(problems.lines)
    for wanted in ("vin", "variant"):
        if wanted not in header:
            problems.add(1, f"the header has no {wanted}; it must name the columns, for example vin,variant")
    for word in header:
        if word not in _FIELDS[:4] and not (word.startswith(_SERIAL) and len(word) > len(_SERIAL)):
            problems.add(
                1, f"unknown column {word[:40]!r}; vin, variant, region, tags and serial:<ECU> are known"
            )
    if len(set(header)) != len(header):
        problems.add(1, "a column is there twice")
    return len(problems.lines) == before


def _body(cells: Mapping[str, str]) -> dict[str, Any]:
    body: dict[str, Any] = {"vin": cells["vin"].upper(), "variant": cells["variant"]}
    if cells.get("region"):
        body["region"] = cells["region"]
    if tags := [word.strip() for word in cells.get("tags", "").split(";") if word.strip()]:
        body["tags"] = tags
    serials = {
        key.removeprefix(_SERIAL): value for key, value in cells.items() if key.startswith(_SERIAL) and value
    }
    return body | ({"serials": serials} if serials else {})


def _toml(text: str, problems: _Problems) -> Iterator[Row]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        problems.add(int(at[1]) if at else text.count("\n") + 1, f"not TOML: {error}")
        return
    lines = locate(text)
    for key in document:
        if key != "vehicle":
            problems.add(lines.line_of((key,)), f"unknown {key[:40]!r}; vehicles are [[vehicle]]")
    vehicles = document.get("vehicle", [])
    if not isinstance(vehicles, list):
        problems.add(lines.line_of(("vehicle",)), "vehicles are [[vehicle]], with two brackets")
        return
    for number, vehicle in enumerate(vehicles):
        line = lines.line_of(("vehicle", number))
        if not isinstance(vehicle, dict) or (reason := _bad_table(vehicle)):
            problems.add(line, reason if isinstance(vehicle, dict) else "a vehicle is a table")
            continue
        yield Row(line=line, body=vehicle | {"vin": vehicle["vin"].upper()})


def _bad_table(vehicle: Mapping[str, Any]) -> str:
    for key in vehicle:
        if key not in _FIELDS:
            return f"unknown {key[:40]!r}; {', '.join(_FIELDS)} are known"
    for key in ("vin", "variant", "region"):
        if not isinstance(vehicle.get(key, "" if key == "region" else None), str):
            return f"{key} must be a text"
    tags, serials = vehicle.get("tags", []), vehicle.get("serials", {})
    if not isinstance(tags, list) or not all(isinstance(word, str) for word in tags):
        return "tags must be a list of texts"
    if not isinstance(serials, dict) or not all(isinstance(word, str) for word in serials.values()):
        return 'serials must be a table of texts, { ECU = "serial" }'
    return ""


def _check(rows: Sequence[Row], problems: _Problems) -> None:
    first: dict[str, int] = {}
    for row in rows:
        vin, variant = row.body["vin"], row.body["variant"]
        if not is_vin(vin):
            problems.add(
                row.line, f"{vin[:40]!r} is not a VIN: 17 capital letters and digits without I, O, Q"
            )
        elif vin in first:
            problems.add(row.line, f"{vin} is in line {first[vin]} too")
        first.setdefault(vin, row.line)
        words = [variant, row.body.get("region", ""), *row.body.get("tags", ())]
        words += row.body.get("serials", {}).values()
        if not re.fullmatch(r"[A-Za-z0-9_.:\-]{1,200}", variant):
            problems.add(row.line, f"{variant[:40]!r} is no variant")
        if max(map(len, words)) > NAME_CHARS_MAX or any("\0" in word for word in words):
            problems.add(row.line, f"a field has more than {NAME_CHARS_MAX} characters, or a NUL")
