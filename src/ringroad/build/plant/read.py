"""Read a plant document, TOML or JSON, with every problem and, in TOML, its line.

Pure: text in, values or problems out. Invariant: a `Plant` is returned only if there is no problem at all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, cast, get_args

from ringroad.build.calendar import Calendar
from ringroad.build.plant import model
from ringroad.build.plant.check import check_parameters, check_structure
from ringroad.build.plant.model import Identity, Plant, Structure
from ringroad.build.plant.parameters import KINDS, Key, path_of
from ringroad.build.plant.posterior import (
    N_MAX,
    SECONDS_MAX,
    SECONDS_MIN,
    STATED,
    STATED_N,
    STATED_SPREAD_PERMILLE,
    Family,
    Origin,
    Posterior,
    stated_rate,
    stated_share,
    stated_time,
)
from ringroad.build.plant.read_identity import read_identity
from ringroad.build.programme import PROBLEMS_MAX
from ringroad.build.programme_line import (
    FREEZE_MAX,
    OPTIONS_MAX,
    POOL_SIZE_MAX,
    POOLS_MAX,
    SPREAD_PERMILLE_MAX,
    STATIONS_MAX,
    read_buffer,
    read_counts,
    read_paint,
    read_ratio,
)
from ringroad.build.toml_lines import Path, TomlLines, locate
from ringroad.build.toml_reader import LABEL_CHARS_MAX, ProgrammeProblem, Reader
from ringroad.kernel.errors import InvalidInput

PLANT_BYTES_MAX: Final = 4 * 1024**2  # bytes; 500 stations with 20 parameters each take some 2 MB
LINES_MAX: Final = 20
SHOPS_MAX: Final = 50
RESOURCES_MAX: Final = 500  # of a shop
ROUTINGS_MAX: Final = 1_000  # of a shop
STEPS_MAX: Final = 200  # of a routing
CALENDARS_MAX: Final = 100
HOURS_MAX: Final = 28  # spans; four for each day of a week
CLOSED_MAX: Final = 1_000  # days
AGVS_MAX: Final = 100
COST_MAX: Final = 1_000_000_000  # of an inspection or an escape, in any unit
ZONES_MAX: Final = 1_000
LEGS_MAX: Final = 1_000
NAMES_MAX: Final = 500  # parts of a leg, places of a fleet
GATES_MAX: Final = 20  # of a station
MILESTONES_MAX: Final = 50
COUNT_MAX: Final = 100_000
PARAMETERS_MAX: Final = 20_000

_OF_STRUCTURE: Final = ("lines", "shops", "calendars", "agvs", "warehouse", "legs")
_PARTS: Final = ("schema", "plant", "structure", *_OF_STRUCTURE, "parameters", "bindings")

Find = Callable[[str], Structure | None]  # a structure by its content hash


def nowhere(_sha256: str) -> Structure | None:
    """Find no structure: nothing is known but what a document says itself."""
    return None


def read_plant(source: str, *, filename: str = "plant.toml", find: Find = nowhere) -> Plant:
    """Read a plant file.

    Args:
        source: of the file.
        filename: for problems.
        find: the structure that a clone's file refers to.

    Raises:
        InvalidInput: naming every problem with its line, up to 50.
    """
    plant, problems = find_plant_problems(source, find=find)
    if plant is None:
        raise refused(problems, filename=filename)
    return plant


def find_plant_problems(
    source: str, *, find: Find = nowhere
) -> tuple[Plant | None, tuple[ProgrammeProblem, ...]]:
    """Return the plant, or None and everything that is wrong with it, in order of lines."""
    if len(source.encode("utf-8", "replace")) > PLANT_BYTES_MAX:
        message = f"the file is larger than {PLANT_BYTES_MAX} bytes"
        return None, (ProgrammeProblem(line=1, message=message),)
    try:
        raw = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = int(match[1]) if match else source.count("\n") + 1
        return None, (ProgrammeProblem(line=line, message=f"not TOML: {error}"),)
    except RecursionError:
        return None, (ProgrammeProblem(line=1, message="not TOML that is read here: it is nested too deep"),)
    return _from_raw(Reader(lines=locate(source.replace("\r\n", "\n")), raw=raw), raw, find, new=True)


def plant_from_document(
    document: Mapping[str, Any], *, what: str = "the plant document", find: Find = nowhere, new: bool = False
) -> Plant:  # fmt: skip
    """Read what `Plant.to_document` wrote; `new`: it comes in, and is held to more than one that is kept. Raises: InvalidInput."""
    plant, problems = _from_raw(
        Reader(lines=TomlLines(source="", lines={}), raw=document), document, find, new=new
    )
    if plant is None:
        raise refused(problems, filename=what)
    return plant


def refused(problems: tuple[ProgrammeProblem, ...], *, filename: str) -> InvalidInput:
    """Return the error that names problems."""
    shown = "\n".join(f"{filename}:{each.line}: {each.message}" for each in problems[:PROBLEMS_MAX])
    more = len(problems) - PROBLEMS_MAX
    tail = f"\n... and {more} more" if more > 0 else ""
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return InvalidInput(
        f"{filename} has {count}:\n{shown}{tail}",
        code="plant_invalid",
        hint="docs/reference/plant-document.md describes every key",
    )


def _from_raw(
    reader: Reader, raw: Mapping[str, Any], find: Find, *, new: bool
) -> tuple[Plant | None, tuple[ProgrammeProblem, ...]]:
    reader.known(raw, (), _PARTS)
    if raw.get("schema", model.SCHEMA) != model.SCHEMA:
        reader.say(("schema",), f"schema {raw['schema']!r} is not known; this release reads {model.SCHEMA}")
    identity = read_identity(reader, raw)
    structure = _referred(reader, raw, identity, find) if "structure" in raw else _structure(reader, raw)
    if structure is None:
        return None, tuple(sorted(reader.problems, key=lambda problem: problem.line))
    check_structure(reader, structure, new=new and "structure" not in raw)  # what is referred to is kept
    parameters = _parameters(reader, raw)
    bindings = _bindings(reader, raw)
    check_parameters(reader, structure, parameters, bindings)
    problems = tuple(sorted(reader.problems, key=lambda problem: problem.line))
    if problems:
        return None, problems
    return Plant(identity=identity, structure=structure, parameters=parameters, bindings=bindings), ()


def _referred(reader: Reader, raw: Mapping[str, Any], identity: Identity, find: Find) -> Structure | None:
    """Return the structure that a clone's document refers to by its hash; None with a problem."""
    sha256 = reader.text(raw, (), "structure")
    if own := [each for each in _OF_STRUCTURE if each in raw]:
        reader.say(
            (own[0],), f"'structure' refers to another plant's: this file cannot have {own[0]!r} of its own"
        )
    if not identity.parent:
        reader.say(("plant",), "'structure' is for clones: name the 'parent' in [plant]")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        reader.say(
            ("structure",), "'structure' must be the hash that ringroad plant show says, 64 hex digits"
        )
    if reader.problems:
        return None
    found = find(sha256)
    if found is None:
        reader.say(
            ("structure",),
            f"no plant here has the structure {sha256[:12]}: import the document of {identity.parent} first",
        )
    return found


def structure_from(document: Mapping[str, Any]) -> Structure:
    """Read the JSON form of a structure alone. Raises: InvalidInput."""
    reader = Reader(lines=TomlLines(source="", lines={}), raw=document)
    reader.known(document, (), _OF_STRUCTURE)
    structure = _structure(reader, document)
    check_structure(reader, structure)
    if reader.problems:
        raise refused(tuple(reader.problems), filename="the structure")
    return structure


def _structure(reader: Reader, raw: Mapping[str, Any]) -> Structure:
    def rows(key: str, most: int) -> list[tuple[dict[str, Any], Path]]:
        return [(row, (key, index)) for index, row in enumerate(reader.rows(raw, (), key, most, least=0))]

    return Structure(
        lines=tuple(_line(reader, row, at) for row, at in rows("lines", LINES_MAX)),
        shops=tuple(_shop(reader, row, at) for row, at in rows("shops", SHOPS_MAX)),
        calendars=tuple(_calendar(reader, row, at) for row, at in rows("calendars", CALENDARS_MAX)),
        agvs=tuple(_agv(reader, row, at) for row, at in rows("agvs", AGVS_MAX)),
        warehouse=_warehouse(reader, raw) if "warehouse" in raw else None,
        legs=tuple(_leg(reader, row, at) for row, at in rows("legs", LEGS_MAX)),
    )


def _line(reader: Reader, row: Mapping[str, Any], at: Path) -> model.PlantLine:
    reader.known(
        row, at, ("name", "area", "programme", "stations", "ratios", "paint", "pools", "calendar", "freeze"))  # fmt: skip
    return model.PlantLine(
        name=reader.text(row, at, "name"),
        area=reader.text(row, at, "area"),
        programme=reader.text_or(row, at, "programme"),
        stations=tuple(
            _cell(reader, each, (*at, "stations", index))
            for index, each in enumerate(reader.rows(row, at, "stations", STATIONS_MAX, least=1))
        ),
        ratios=tuple(
            read_ratio(reader, each, (*at, "ratios", index))
            for index, each in enumerate(reader.rows(row, at, "ratios", OPTIONS_MAX, least=0))
        ),
        paint=read_paint(reader, row, at) if "paint" in row else None,
        pools=read_counts(reader, row, at, "pools", POOLS_MAX, least=1, most=POOL_SIZE_MAX),
        calendar=reader.text_or(row, at, "calendar"),
        freeze=reader.whole_or(row, at, "freeze", 0, FREEZE_MAX, default=0),
    )


def _cell(reader: Reader, row: Mapping[str, Any], at: Path) -> model.Cell:
    reader.known(row, at, ("name", "buffer", "tools", "gates", "rework_to", "operators", "carriers"))
    gates = []
    for index, each in enumerate(reader.rows(row, at, "gates", GATES_MAX, least=0)):
        here = (*at, "gates", index)
        reader.known(each, here, ("name", "checks", "inspect_permille", "inspect_cost", "escape_cost"))
        gates.append(
            model.Gate(
                name=reader.text(each, here, "name"),
                checks=reader.names(each, here, "checks", NAMES_MAX, least=0),
                inspect_permille=reader.whole_or(each, here, "inspect_permille", 0, 1000, default=1000),
                inspect_cost=reader.whole_or(each, here, "inspect_cost", 1, COST_MAX, default=0),
                escape_cost=reader.whole_or(each, here, "escape_cost", 1, COST_MAX, default=0),
            )
        )
    return model.Cell(
        name=reader.text(row, at, "name"),
        buffer=read_buffer(reader, row, at),
        tools=reader.names(row, at, "tools", NAMES_MAX, least=0),
        gates=tuple(gates),
        rework_to=reader.text_or(row, at, "rework_to"),
        operators=reader.text_or(row, at, "operators"),
        carriers=reader.text_or(row, at, "carriers"),
    )


def _shop(reader: Reader, row: Mapping[str, Any], at: Path) -> model.Shop:
    reader.known(row, at, ("name", "area", "resources", "routings"))
    resources = []
    for index, each in enumerate(reader.rows(row, at, "resources", RESOURCES_MAX, least=1)):
        here = (*at, "resources", index)
        reader.known(each, here, ("name", "kind", "count", "calendar", "families"))
        kind = (
            reader.choice(each, here, "kind", get_args(model.ResourceKind)) if "kind" in each else "machine"
        )
        resources.append(
            model.Resource(
                name=reader.text(each, here, "name"),
                kind=cast("Any", kind),
                count=reader.whole_or(each, here, "count", 1, POOL_SIZE_MAX, default=1),
                calendar=reader.text_or(each, here, "calendar"),
                families=reader.names(each, here, "families", NAMES_MAX, least=0),
            )
        )
    routings = []
    for index, each in enumerate(reader.rows(row, at, "routings", ROUTINGS_MAX, least=0)):
        here = (*at, "routings", index)
        reader.known(each, here, ("product", "steps", "options"))
        steps = reader.rows(each, here, "steps", STEPS_MAX, least=1)
        routings.append(
            model.Routing(
                product=reader.text(each, here, "product"),
                steps=tuple(
                    _step(reader, step, (*here, "steps", number)) for number, step in enumerate(steps)
                ),
                options=reader.names(each, here, "options", NAMES_MAX, least=0),
            )
        )
    return model.Shop(
        name=reader.text(row, at, "name"),
        area=reader.text(row, at, "area"),
        resources=tuple(resources),
        routings=tuple(routings),
    )


def _step(reader: Reader, row: Mapping[str, Any], at: Path) -> model.Step:
    reader.known(row, at, ("name", "resources", "after", "family", "splits"))
    return model.Step(
        name=reader.text(row, at, "name"),
        resources=reader.names(row, at, "resources", RESOURCES_MAX, least=1),
        after=reader.names(row, at, "after", STEPS_MAX, least=0),
        family=reader.text_or(row, at, "family"),
        splits=reader.flag(row, at, "splits"),
    )


def _calendar(reader: Reader, row: Mapping[str, Any], at: Path) -> Calendar:
    reader.known(row, at, ("name", "time_zone", "hours", "breaks", "closed"))
    return Calendar(
        name=reader.text(row, at, "name"),
        time_zone=reader.text_or(row, at, "time_zone", default="UTC"),
        hours=reader.names(row, at, "hours", HOURS_MAX, least=1),
        breaks=reader.names(row, at, "breaks", HOURS_MAX, least=0),
        closed=reader.names(row, at, "closed", CLOSED_MAX, least=0),
    )


def _agv(reader: Reader, row: Mapping[str, Any], at: Path) -> model.AgvFleet:
    reader.known(row, at, ("name", "count", "carries", "serves"))
    return model.AgvFleet(
        name=reader.text(row, at, "name"),
        count=reader.whole(row, at, "count", 1, POOL_SIZE_MAX),
        carries=reader.whole_or(row, at, "carries", 1, COUNT_MAX, default=1),
        serves=reader.names(row, at, "serves", NAMES_MAX, least=0),
    )


def _warehouse(reader: Reader, raw: Mapping[str, Any]) -> model.Warehouse:
    path: Path = ("warehouse",)
    body = reader.table(raw, (), "warehouse")
    reader.known(body, path, ("name", "area", "zones"))
    zones = []
    for index, each in enumerate(reader.rows(body, path, "zones", ZONES_MAX, least=1)):
        here = (*path, "zones", index)
        reader.known(each, here, ("name", "places", "rank"))
        zones.append(
            model.Zone(
                name=reader.text(each, here, "name"),
                places=reader.whole(each, here, "places", 1, COUNT_MAX),
                rank=reader.whole_or(each, here, "rank", 0, COUNT_MAX, default=0),
            )
        )
    return model.Warehouse(
        name=reader.text(body, path, "name"), area=reader.text(body, path, "area"), zones=tuple(zones)
    )


def _leg(reader: Reader, row: Mapping[str, Any], at: Path) -> model.Leg:
    reader.known(row, at, ("name", "supplier", "mode", "parts", "milestones"))
    mode = reader.choice(row, at, "mode", get_args(model.Mode)) if "mode" in row else "road"
    return model.Leg(
        name=reader.text(row, at, "name"),
        supplier=reader.text(row, at, "supplier"),
        mode=cast("Any", mode),
        parts=reader.names(row, at, "parts", NAMES_MAX, least=1),
        milestones=reader.names(row, at, "milestones", MILESTONES_MAX, least=1),
    )


def _parameters(reader: Reader, raw: Mapping[str, Any]) -> dict[Key, Posterior]:
    found: dict[Key, Posterior] = {}
    if "parameters" not in raw:
        return found
    tables = reader.table(raw, (), "parameters")
    for path_text in tables:
        if len(found) > PARAMETERS_MAX:
            break
        at: Path = ("parameters", path_text)
        body = reader.table(tables, ("parameters",), path_text)
        reader.known(body, at, KINDS)
        for kind, given in body.items():
            if kind not in KINDS:
                continue
            if not KINDS[kind].per:
                _one(reader, found, Key(path_of(path_text), kind), given, (*at, kind))
                continue
            each_of = reader.table(body, at, kind)
            for per, value in each_of.items():
                _one(reader, found, Key(path_of(path_text), kind, per), value, (*at, kind, per))
    if len(found) > PARAMETERS_MAX:
        reader.say(("parameters",), f"more than {PARAMETERS_MAX} parameters, which is the limit")
    return found


def _one(reader: Reader, found: dict[Key, Posterior], key: Key, given: object, at: Path) -> None:
    """Read one parameter: a number somebody states, a mean and what it is worth, or the sums themselves."""
    before = len(reader.problems)
    body = dict(given) if isinstance(given, Mapping) else {"mean": given}
    family = KINDS[key.kind].family
    reader.known(
        body, at, ("mean", "spread_permille", "n", "total", "squares", "plant", "learned_at", "evidence")
    )
    origin = Origin(
        plant=reader.text_or(body, at, "plant"),
        learned_at=_moment(reader, body, at),
        evidence=reader.text_or(body, at, "evidence", default="" if "total" in body else STATED.evidence),
    )
    n = reader.number_or(body, at, "n", 0.0, N_MAX, default=STATED_N)
    if ("mean" in body) == ("total" in body):
        reader.say(at, f"{key}: either 'mean' or 'total' with 'n' says what is believed")
    if len(reader.problems) > before:
        return
    try:
        found[key] = _posterior(reader, family, body, at, n=n, origin=origin, before=before)
    except InvalidInput as error:
        reader.problems[before:] = []
        reader.say(at, f"{key}: {error.message}")
    except _UnreadError:
        return


class _UnreadError(Exception):
    """A number could not be read; the reader was told."""


def _posterior(
    reader: Reader, family: Family, body: Mapping[str, Any], at: Path,
    *, n: float, origin: Origin, before: int,
) -> Posterior:  # fmt: skip
    if "total" in body:
        total = reader.number_or(body, at, "total", -1e15, 1e15, default=0.0)
        squares = reader.number_or(body, at, "squares", 0.0, 1e15, default=0.0)
        if len(reader.problems) > before:
            raise _UnreadError
        return Posterior(family=family, n=n, total=total, squares=squares, origin=origin)
    low, high = (0.0, 1.0) if family == "share" else (SECONDS_MIN, SECONDS_MAX)
    mean = reader.number_or(body, at, "mean", low, high, default=low)
    spread = reader.whole_or(
        body, at, "spread_permille", 0, SPREAD_PERMILLE_MAX, default=STATED_SPREAD_PERMILLE
    )
    if len(reader.problems) > before:
        raise _UnreadError
    if family != "time" and "spread_permille" in body:
        raise InvalidInput(f"a {family} has no spread: n says how sure it is")
    match family:
        case "time":
            return stated_time(mean, spread_permille=spread, n=n, origin=origin)
        case "share":
            return stated_share(mean, n=n, origin=origin)
        case _:
            return stated_rate(mean, n=n, origin=origin)


def _moment(reader: Reader, body: Mapping[str, Any], at: Path) -> datetime | None:
    """Return when something was learned: a date or time of TOML, or ISO 8601 in JSON; days begin in UTC."""
    value = body.get("learned_at")
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= LABEL_CHARS_MAX:
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    reader.say((*at, "learned_at"), "'learned_at' must be a date or a time with its zone")
    return None


def _bindings(reader: Reader, raw: Mapping[str, Any]) -> dict[tuple[str, ...], dict[str, str]]:
    if "bindings" not in raw:
        return {}
    tables = reader.table(raw, (), "bindings")
    found = {}
    for path_text in tables:
        at: Path = ("bindings", path_text)
        body = reader.table(tables, ("bindings",), path_text)
        found[path_of(path_text)] = {name: reader.text(body, at, name) for name in body}
    return found
