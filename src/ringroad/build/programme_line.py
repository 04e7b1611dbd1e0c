"""Read the line of a programme file: stations, ratios, paint, and what the twin needs to know of them.

Pure: parsed tables in, a line out; problems go to the reader.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from ringroad.build.model import (
    BUFFER_DEFAULT,
    SPREAD_PERMILLE_DEFAULT,
    Line,
    Paint,
    Ratio,
    Station,
)
from ringroad.build.sequence.problem import CARS_MAX
from ringroad.build.toml_lines import Path
from ringroad.build.toml_reader import Reader, owner

OPTIONS_MAX: Final = 64  # per variant; car-sequencing instances have up to 26
FREEZE_MAX: Final = 200  # vehicles; half a shift, and more would leave a replan nothing to move
STATIONS_MAX: Final = 500  # a long final assembly line has about 300
RATIO_Q_MAX: Final = 100  # vehicles
POOLS_MAX: Final = 100
POOL_SIZE_MAX: Final = 1_000
BUFFER_MAX: Final = 1_000  # vehicles
CYCLE_S_MAX: Final = 86_400  # seconds
UPTIME_S_MAX: Final = 31_536_000  # seconds; a year
SPREAD_PERMILLE_MAX: Final = 2_000

# Keys of a station that are whole numbers: least, most, default.
_NUMBERS: Final = {
    "spread_permille": (0, SPREAD_PERMILLE_MAX, SPREAD_PERMILLE_DEFAULT),
    "transfer_s": (0, CYCLE_S_MAX, 0),
    "uptime_s": (0, UPTIME_S_MAX, 0),
    "repair_s": (0, UPTIME_S_MAX, 0),
    "rework_permille": (0, 900, 0),
    "rework_s": (0, CYCLE_S_MAX, 0),
    "return_s": (0, CYCLE_S_MAX, 0),
}
_NAMES: Final = ("rework_to", "operators", "carriers")


def read_line(reader: Reader, raw: Mapping[str, Any]) -> Line:
    """Return the line; what is wrong with it is said to the reader."""
    body = reader.table(raw, (), "line")
    path: Path = ("line",)
    reader.known(body, path, ("name", "stations", "ratios", "paint", "pools", "freeze"))
    if not body:
        return Line(name="", stations=(), ratios=())
    stations = [
        _station(reader, row, ("line", "stations", index))
        for index, row in enumerate(reader.rows(body, path, "stations", STATIONS_MAX, least=1))
    ]
    ratios = [
        read_ratio(reader, row, ("line", "ratios", index))
        for index, row in enumerate(reader.rows(body, path, "ratios", OPTIONS_MAX, least=0))
    ]
    return Line(
        name=reader.text(body, path, "name"),
        stations=tuple(stations),
        ratios=tuple(ratios),
        paint=read_paint(reader, body, path) if "paint" in body else None,
        pools=read_counts(reader, body, path, "pools", POOLS_MAX, least=1, most=POOL_SIZE_MAX),
        freeze=reader.whole_or(body, path, "freeze", 0, FREEZE_MAX, default=0),
    )


def _station(reader: Reader, row: Mapping[str, Any], at: Path) -> Station:
    reader.known(row, at, ("name", "cycle_s", "extra_s", "buffer", *_NUMBERS, *_NAMES))
    numbers: dict[str, Any] = {
        key: reader.whole(row, at, key, least, most) if key in row else default
        for key, (least, most, default) in _NUMBERS.items()
    }
    for key, needs in (("uptime_s", "repair_s"), ("rework_permille", "rework_s")):
        if (numbers[key] > 0) != (numbers[needs] > 0):
            reader.say(at, f"station {row.get('name', '')!r}: {key!r} and {needs!r} go together")
    names: dict[str, Any] = {key: reader.text(row, at, key) for key in _NAMES if key in row}
    return Station(
        name=reader.text(row, at, "name"),
        cycle_s=reader.whole(row, at, "cycle_s", 1, CYCLE_S_MAX),
        extra_s=read_counts(reader, row, at, "extra_s", OPTIONS_MAX, least=1, most=CYCLE_S_MAX),
        buffer=read_buffer(reader, row, at),
        **numbers,
        **names,
    )


def read_buffer(reader: Reader, row: Mapping[str, Any], at: Path) -> int:
    """Return how many vehicles have a place before a station."""
    buffer = row.get("buffer", BUFFER_DEFAULT)
    if isinstance(buffer, int) and not isinstance(buffer, bool) and buffer < 1:
        reader.say(
            (*at, "buffer"),
            f"{owner(reader.raw, at)} has a buffer of {buffer}: a vehicle that comes to it must have a place, at least 1",
        )
        return BUFFER_DEFAULT
    return reader.whole_or(row, at, "buffer", 1, BUFFER_MAX, default=BUFFER_DEFAULT)


def read_ratio(reader: Reader, row: Mapping[str, Any], at: Path) -> Ratio:
    """Return what a station can bear of an option."""
    reader.known(row, at, ("option", "p", "q", "soft", "station"))
    p = reader.whole(row, at, "p", 1, RATIO_Q_MAX)
    q = reader.whole(row, at, "q", 1, RATIO_Q_MAX)
    if q < p:
        reader.say_of(at, "p", f"{p} of {q} successive vehicles is no limit: p must not exceed q")
    return Ratio(
        option=reader.text(row, at, "option"),
        p=p,
        q=q,
        soft=reader.flag(row, at, "soft"),
        station=reader.text(row, at, "station") if "station" in row else "",
    )


def read_paint(reader: Reader, line: Mapping[str, Any], at: Path) -> Paint:
    """Return the paint shop of a line that has one."""
    path: Path = (*at, "paint")
    body = reader.table(line, at, "paint")
    reader.known(body, path, ("colours", "batch_max"))
    return Paint(
        colours=reader.names(body, path, "colours", OPTIONS_MAX, least=1),
        batch_max=reader.whole(body, path, "batch_max", 1, CARS_MAX),
    )


def read_counts(
    reader: Reader,
    parent: Mapping[str, Any],
    path: Path,
    key: str,
    entries_max: int,
    *,
    least: int,
    most: int,
) -> dict[str, int]:
    """Return a table of whole numbers by name; empty if it is not there."""
    if key not in parent:
        return {}
    body = reader.table(parent, path, key)
    if entries_max < len(body):
        reader.say_of(path, key, f"{key!r} has {len(body)} entries; the limit is {entries_max}")
    return {name: reader.whole(body, (*path, key), name, least, most) for name in body}


def check_line(reader: Reader, line: Line, options: set[str]) -> None:
    """Say which names of the line point nowhere, or the wrong way.

    Args:
        reader: is told.
        line: to be checked.
        options: all options and variants of the programme.
    """
    names = [station.name for station in line.stations]
    for index, station in enumerate(line.stations):
        at: Path = ("line", "stations", index)
        if station.name in names[:index]:
            reader.say((*at, "name"), f"station {station.name!r} stands twice")
        points_to(reader, (*at, "extra_s"), station.extra_s, options, "no variant and no option of one")
        if station.rework_to:
            points_to(reader, (*at, "rework_to"), [station.rework_to], names, "no station")
            if station.rework_to in names[index + 1 :]:
                reader.say(
                    (*at, "rework_to"),
                    f"station {station.name!r} sends refused vehicles on to {station.rework_to!r}, behind its own gate",
                )
        for key in ("operators", "carriers"):
            if getattr(station, key):
                points_to(reader, (*at, key), [getattr(station, key)], line.pools, "no pool in [line.pools]")
    seen: set[str] = set()
    for index, ratio in enumerate(line.ratios):
        at = ("line", "ratios", index)
        if ratio.option in seen:
            reader.say((*at, "option"), f"option {ratio.option!r} has two ratios")
        seen.add(ratio.option)
        points_to(reader, (*at, "option"), [ratio.option], options, "no variant and no option of one")
        if ratio.station:
            points_to(reader, (*at, "station"), [ratio.station], names, "no station")
    if line.paint:
        points_to(reader, ("line", "paint", "colours"), line.paint.colours, options, "no option of a variant")


def points_to(reader: Reader, at: Path, given: Iterable[str], known: Collection[str], word: str) -> None:
    """Say which of the given names is not known, and which one may be meant."""
    for name in given:
        if name and name not in known:
            close = difflib.get_close_matches(name, known, n=1) if reader.advises else []
            advice = f"; did you mean {close[0]!r}?" if close else ""
            reader.say(at, f"{name!r} is {word}{advice}", text=name)
