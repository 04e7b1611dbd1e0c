"""What nobody said of a line and its twin assumes, and who said the rest; in words for a person. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass

from ringroad.build.model import BUFFER_DEFAULT, SPREAD_PERMILLE_DEFAULT, Line
from ringroad.build.plant.model import Plant
from ringroad.build.plant.posterior import STATED_N

FILE = "the programme's file"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSource:
    """Who says what a line is.

    Attributes:
        name: for people.
        stated: station and key of what it says, though that may be what would be assumed.
    """

    name: str = FILE
    stated: frozenset[tuple[str, str]] = frozenset()


def source_of(programme_id: str, source: str, plant: Plant | None) -> LineSource:
    """Return who says what a programme's line is.

    A plant document's structure says how much room is before a station. It says how times spread where that rests on
    more than one observation; one of a person with the usual spread may have left it out.

    Args:
        programme_id: whose line.
        source: the text of the programme's file.
        plant: the chosen document; None: the file says it.
    """
    if plant is None:
        rows = tomllib.loads(source).get("line", {}).get("stations", [])
        return LineSource(stated=frozenset((row["name"], key) for row in rows for key in row))
    of_line = [each for each in plant.structure.lines if each.programme == programme_id]
    paths = {(line.area, line.name, cell.name) for line in of_line for cell in line.stations}
    room = {(path[-1], "buffer") for path in paths}
    measured = {
        (key.path[-1], "spread_permille")
        for key, each in plant.parameters.items()
        if key.path in paths and key.kind == "cycle_s" and each.n > STATED_N
    }
    return LineSource(name=f"plant {plant.id}", stated=frozenset(room | measured))


def assumptions(line: Line, source: LineSource | None = None) -> tuple[str, ...]:
    """Return what nobody said of a line, in words. Without a source, values equal to a default count as not said."""
    stations, stated = line.stations, source.stated if source else frozenset[tuple[str, str]]()

    def left(key: str, default: int) -> list[str]:
        """Return the stations that have a default because nobody said it."""
        return [s.name for s in stations if getattr(s, key) == default and (s.name, key) not in stated]

    found: list[str] = []
    if plain := left("spread_permille", SPREAD_PERMILLE_DEFAULT):
        found.append(f"times spread by {SPREAD_PERMILLE_DEFAULT / 10:g} % at {_named(plain, len(stations))}")
    if single := left("buffer", BUFFER_DEFAULT):
        found.append(f"room for {BUFFER_DEFAULT} vehicle before {_named(single, len(stations))}")
    breaks = any(station.uptime_s for station in stations)
    if not breaks and left("uptime_s", 0):
        found.append("no station breaks down")
    if not any(station.rework_permille for station in stations) and left("rework_permille", 0):
        found.append("no vehicle needs rework")
    if breaks and line.calendar is not None:
        found.append("a breakdown that is drawn is mended only while the line works")
    return tuple(found)


def _named(names: Sequence[str], stations: int) -> str:
    return "every station" if len(names) == stations else ", ".join(names)
