"""What a programme leaves to the twin's defaults, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ringroad.build.model import BUFFER_DEFAULT, SPREAD_PERMILLE_DEFAULT, Line


def assumptions(line: Line) -> tuple[str, ...]:
    """Return what a programme leaves to the twin's defaults, in words. Values equal to a default count as left."""
    stations = line.stations
    found: list[str] = []
    plain = [station.name for station in stations if station.spread_permille == SPREAD_PERMILLE_DEFAULT]
    if plain:
        found.append(f"times spread by {SPREAD_PERMILLE_DEFAULT / 10:g} % at {_named(plain, len(stations))}")
    single = [station.name for station in stations if station.buffer == BUFFER_DEFAULT]
    if single:
        found.append(f"room for {BUFFER_DEFAULT} vehicle before {_named(single, len(stations))}")
    if not any(station.uptime_s for station in stations):
        found.append("no station breaks down")
    if not any(station.rework_permille for station in stations):
        found.append("no vehicle needs rework")
    return tuple(found)


def _named(names: Sequence[str], stations: int) -> str:
    return "every station" if len(names) == stations else ", ".join(names)
