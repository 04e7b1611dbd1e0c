"""A plant's line as planners and the twin take it, and the line of a programme file as a plant document.

The plant document is the one model. What a programme's file says of its line is read as one, each number as the
word of a person; and whoever plans a line takes expected values out of one.

Pure. Invariant: `line_of(plant_of_line(programme))` is the programme's own line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ringroad.build.model import Line, Programme, Station
from ringroad.build.plant.model import Cell, Identity, Plant, PlantLine, Structure
from ringroad.build.plant.parameters import Key
from ringroad.build.plant.posterior import Origin, Posterior, stated_rate, stated_share, stated_time
from ringroad.build.programme_line import CYCLE_S_MAX, SPREAD_PERMILLE_MAX, UPTIME_S_MAX, check_line
from ringroad.build.toml_lines import TomlLines
from ringroad.build.toml_reader import Reader
from ringroad.kernel.errors import InvalidInput

AREA: Final = "assembly"  # of a line that a programme's file describes
REWORK_PERMILLE_MAX: Final = 900  # as in a programme's file
_FILE: Final = Origin(evidence="the programme's file")
_TIMES: Final = ("transfer_s", "return_s", "repair_s", "rework_s")


def plant_of_line(programme: Programme) -> Plant:
    """Return the plant that a programme's file describes: its line, and what the file says of it."""
    line = programme.line
    parameters: dict[Key, Posterior] = {}
    for station in line.stations:
        path = (AREA, line.name, station.name)
        parameters[Key(path, "cycle_s")] = stated_time(
            station.cycle_s, spread_permille=station.spread_permille, origin=_FILE
        )
        for option, seconds in station.extra_s.items():
            parameters[Key(path, "extra_s", option)] = stated_time(seconds, origin=_FILE)
        for kind in _TIMES:
            if getattr(station, kind):
                parameters[Key(path, kind)] = stated_time(getattr(station, kind), origin=_FILE)
        if station.uptime_s:
            parameters[Key(path, "uptime_s")] = stated_rate(station.uptime_s, origin=_FILE)
        if station.rework_permille:
            share = 1 - station.rework_permille / 1000
            parameters[Key(path, "first_pass")] = stated_share(share, origin=_FILE)
    cells = tuple(
        Cell(
            name=station.name, buffer=station.buffer, rework_to=station.rework_to,
            operators=station.operators, carriers=station.carriers,
        )
        for station in line.stations
    )  # fmt: skip
    built = PlantLine(
        name=line.name, area=AREA, programme=programme.id, stations=cells, ratios=line.ratios, paint=line.paint,
        pools=line.pools, freeze=line.freeze, calendar=line.calendar.name if line.calendar else "",
    )  # fmt: skip
    calendars = (line.calendar,) if line.calendar else ()
    identity = Identity(id=programme.id, name=programme.name, enterprise=programme.name, site=programme.id)
    return Plant(
        identity=identity, structure=Structure(lines=(built,), calendars=calendars), parameters=parameters
    )


def line_of(plant: Plant, programme_id: str) -> Line | None:
    """Return the line of a plant that builds a programme, at its expected values; None if none does."""
    built = next((each for each in plant.structure.lines if each.programme == programme_id), None)
    return None if built is None else as_line(plant, built)


def as_line(plant: Plant, built: PlantLine) -> Line:
    """Return one of a plant's lines at its expected values."""
    return Line(
        name=built.name,
        stations=tuple(_station(plant, built, cell) for cell in built.stations),
        ratios=built.ratios,
        paint=built.paint,
        pools=built.pools,
        freeze=built.freeze,
        calendar=plant.calendars().get(built.calendar),
    )


def check_line_of(plant: Plant, programme: Programme) -> None:
    """See that a plant can build a programme.

    Raises:
        InvalidInput: it has no line for it, or its line names options that the programme does not have.
    """
    line = line_of(plant, programme.id)
    if line is None:
        raise InvalidInput(
            f"plant {plant.id} has no line for programme {programme.id}",
            hint=f'write programme = "{programme.id}" into one of its [[lines]]',
        )
    options = {each for variant in programme.variants.values() for each in variant.options}
    reader = Reader(lines=TomlLines(source="", lines={}), raw={})
    check_line(reader, line, options | set(programme.variants))
    if reader.problems:
        said = "; ".join(problem.message for problem in reader.problems)
        raise InvalidInput(f"plant {plant.id} cannot build programme {programme.id}: {said}")


def with_line(programme: Programme, plant: Plant) -> Programme:
    """Return a programme with the line of the plant that builds it here."""
    line = line_of(plant, programme.id)
    return replace(programme, line=line) if line else programme


def _station(plant: Plant, line: PlantLine, cell: Cell) -> Station:
    path = (line.area, line.name, cell.name)
    own = {(key.kind, key.per): each for key, each in plant.parameters.items() if key.path == path}
    numbers: Mapping[str, Any] = {
        kind: _seconds(own[kind, ""], CYCLE_S_MAX if kind != "repair_s" else UPTIME_S_MAX)
        for kind in _TIMES
        if (kind, "") in own
    }
    cycle = own["cycle_s", ""]
    return Station(
        name=cell.name,
        cycle_s=_seconds(cycle, CYCLE_S_MAX),
        extra_s={per: _seconds(each, CYCLE_S_MAX) for (kind, per), each in own.items() if kind == "extra_s"},
        buffer=cell.buffer,
        spread_permille=min(SPREAD_PERMILLE_MAX, cycle.spread_permille),
        uptime_s=_seconds(own["uptime_s", ""], UPTIME_S_MAX) if ("uptime_s", "") in own else 0,
        rework_permille=_refused(own["first_pass", ""]) if ("first_pass", "") in own else 0,
        rework_to=cell.rework_to,
        operators=cell.operators,
        carriers=cell.carriers,
        **numbers,
    )


def _seconds(belief: Posterior, most: int) -> int:
    return max(1, min(most, round(belief.mean)))


def _refused(first_pass: Posterior) -> int:
    return min(REWORK_PERMILLE_MAX, round(1000 * (1 - first_pass.mean)))
