"""What no table of a plant document can know alone: names that point elsewhere, cycles, parameters of nothing.

Pure. A message names the station, the step or the leg that is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from typing import Final

from ringroad.build.calendar import Calendar
from ringroad.build.plant.alike import read_alike
from ringroad.build.plant.model import (
    AgvFleet,
    Cell,
    Leg,
    PlantLine,
    Resource,
    Routing,
    Shop,
    Step,
    Structure,
)
from ringroad.build.plant.parameters import KINDS, Key, path_text
from ringroad.build.plant.posterior import Posterior
from ringroad.build.programme_line import points_to
from ringroad.build.toml_lines import Path
from ringroad.build.toml_reader import Reader
from ringroad.kernel.errors import InvalidInput
from ringroad.kernel.hours import Window

NODES: Final = ("order", "result", "stopped", "lot")  # what a station's OPC UA nodes may say
NODE_PREFIXES: Final = ("ns=", "i=", "s=", "g=", "b=", "nsu=")  # OPC UA part 6, 5.3.1.10
NEAR: Final = 0.75  # alike of 1, from which on another name is a misspelt one: sunrof and sunroof are 0.92
CLOSED_YEARS: Final = range(2000, 9000)  # a day of them can be told in any time zone
PAIRED: Final = (("uptime_s", "repair_s"), ("first_pass", "rework_s"))  # one without the other says nothing


def check_structure(reader: Reader, structure: Structure, *, new: bool = False) -> None:
    """Say what of the structure contradicts itself; `new`: also which days it cannot close, which closes nothing where kept."""
    calendars = [calendar.name for calendar in structure.calendars]
    _once(reader, ("calendars",), calendars, "calendar")
    for index, calendar in enumerate(structure.calendars):
        _calendar(reader, calendar, ("calendars", index), new=new)
    _once(reader, ("lines",), [f"{each.area}/{each.name}" for each in structure.lines], "line")
    for index, line in enumerate(structure.lines):
        _line(reader, line, ("lines", index), calendars)
    built = [line.programme for line in structure.lines if line.programme]
    for programme in sorted({each for each in built if built.count(each) > 1}):
        reader.say(("lines",), f"programme {programme!r} is built by more than one line")
    _once(reader, ("shops",), [f"{each.area}/{each.name}" for each in structure.shops], "shop")
    for index, shop in enumerate(structure.shops):
        _shop(reader, shop, ("shops", index), calendars)
    zones = [zone.name for zone in structure.warehouse.zones] if structure.warehouse else []
    _once(reader, ("warehouse", "zones"), zones, "zone")
    _once(reader, ("agvs",), [each.name for each in structure.agvs], "AGV fleet")
    places = [*(line.name for line in structure.lines), *(shop.name for shop in structure.shops), *zones]
    for index, agv in enumerate(structure.agvs):
        points_to(reader, ("agvs", index, "serves"), agv.serves, places, "no line, shop or zone")
    _once(reader, ("legs",), [each.name for each in structure.legs], "leg")
    _one_path_each(reader, structure)


def misspelt_parts(structure: Structure, known: Mapping[str, Collection[str]]) -> list[str]:
    """Say which parts of legs are called nearly like an option or a variant; any other name may be a part number.

    Args:
        structure: whose legs.
        known: options and variants of each programme that its lines build.
    """
    names = {name for each in known.values() for name in each}
    return [
        f"leg {leg.name!r}: no option or variant of {', '.join(sorted(known))} is called {part!r};"
        f" did you mean {near[0]!r}?"
        for leg in structure.legs
        for part in leg.parts
        if part not in names and (near := get_close_matches(part, sorted(names), n=1, cutoff=NEAR))
    ]


def check_parameters(
    reader: Reader,
    structure: Structure,
    parameters: Mapping[Key, Posterior],
    bindings: Mapping[tuple[str, ...], Mapping[str, str]],
) -> None:
    """Say which parameters and bindings are of nothing, and which are missing."""
    things = {path: (kind, thing) for path, kind, thing in structure.things()}
    names = dict.fromkeys(path_text(each) for each in things)
    told: set[tuple[str, ...]] = set()
    for key in parameters:
        at: Path = ("parameters", path_text(key.path))
        if key.path not in things:
            if key.path not in told:
                told.add(key.path)
                points_to(reader, at, [path_text(key.path)], names, "nothing of this plant")
            continue
        of, thing = things[key.path]
        if of not in KINDS[key.kind].of:
            reader.say((*at, key.kind), f"{path_text(key.path)} is a {of}, which has no {key.kind!r}")
        elif known := _known_per(key, thing):
            points_to(reader, (*at, key.kind, key.per), [key.per], known, f"no {KINDS[key.kind].per} of it")
        elif KINDS[key.kind].per == "kind":
            try:
                read_alike(key.per)
            except InvalidInput as error:
                reader.say((*at, key.kind, key.per), str(error))
    for path, (of, _) in things.items():
        own = {key.kind for key in parameters if key.path == path} if of in ("station", "gate") else set()
        if of == "station":
            _complete(reader, path, own)
    for path, nodes in bindings.items():
        at = ("bindings", path_text(path))
        if path not in things or things[path][0] != "station":
            reader.say(at, f"{path_text(path)!r} is no station: only stations are bound")
        reader.known(nodes, at, NODES)
        for name, node in nodes.items():
            if not node.startswith(NODE_PREFIXES):
                reader.say((*at, name), f"{node!r} is no NodeId, for example 'ns=2;s=trim.order'")


def _complete(reader: Reader, path: tuple[str, ...], own: Collection[str]) -> None:
    at: Path = ("parameters", path_text(path))
    if "cycle_s" not in own:
        reader.say(at, f"station {path[-1]!r} has no 'cycle_s' in [parameters.\"{path_text(path)}\"]")
    for one, other in PAIRED:
        if (one in own) != (other in own):
            reader.say(at, f"station {path[-1]!r}: {one!r} and {other!r} go together")


def _known_per(key: Key, thing: object) -> Collection[str]:
    """Return what a parameter may be one each of; nothing if anything may be."""
    match KINDS[key.kind].per, thing:
        case "resource", Step(resources=known):
            return known
        case "change", Resource(families=families):
            return [f"{one}>{other}" for one in families for other in families if one != other] or ["nothing"]
        case "milestone", Leg(milestones=known):
            return known
        case "place", AgvFleet(serves=known):
            return known or ["nothing"]
        case _:
            return ()


def _line(reader: Reader, line: PlantLine, at: Path, calendars: Collection[str]) -> None:
    names = [cell.name for cell in line.stations]
    for index, cell in enumerate(line.stations):
        here = (*at, "stations", index)
        if cell.name in names[:index]:
            reader.say((*here, "name"), f"station {cell.name!r} stands twice")
        _cell(reader, cell, here, line, behind=names[index + 1 :])
    seen: set[str] = set()
    for index, ratio in enumerate(line.ratios):
        if ratio.option in seen:
            reader.say((*at, "ratios", index, "option"), f"option {ratio.option!r} has two ratios")
        seen.add(ratio.option)
        if ratio.station:
            points_to(reader, (*at, "ratios", index, "station"), [ratio.station], names, "no station")
    points_to(reader, (*at, "calendar"), [line.calendar], calendars, "no calendar")


def _cell(reader: Reader, cell: Cell, at: Path, line: PlantLine, *, behind: Collection[str]) -> None:
    if cell.rework_to:
        points_to(
            reader, (*at, "rework_to"), [cell.rework_to], [each.name for each in line.stations], "no station"
        )
        if cell.rework_to in behind:
            reader.say(
                (*at, "rework_to"),
                f"station {cell.name!r} sends refused vehicles on to {cell.rework_to!r}, behind its own gate",
            )
    for key, pool in (("operators", cell.operators), ("carriers", cell.carriers)):
        points_to(reader, (*at, key), [pool], line.pools, "no pool of the line")
    _once(reader, (*at, "gates"), [gate.name for gate in cell.gates], f"station {cell.name!r}: gate")


def _shop(reader: Reader, shop: Shop, at: Path, calendars: Collection[str]) -> None:
    names = [resource.name for resource in shop.resources]
    _once(reader, (*at, "resources"), names, f"shop {shop.name!r}: resource")
    for index, resource in enumerate(shop.resources):
        points_to(
            reader, (*at, "resources", index, "calendar"), [resource.calendar], calendars, "no calendar"
        )
    families = {family for resource in shop.resources for family in resource.families}
    _once(
        reader, (*at, "routings"), [routing.product for routing in shop.routings], f"shop {shop.name!r}: routing"
    )  # fmt: skip
    for index, routing in enumerate(shop.routings):
        here = (*at, "routings", index)
        steps = [step.name for step in routing.steps]
        _once(reader, (*here, "steps"), steps, f"routing {routing.product!r}: step")
        for number, step in enumerate(routing.steps):
            there = (*here, "steps", number)
            points_to(reader, (*there, "resources"), step.resources, names, "no resource of the shop")
            points_to(reader, (*there, "after"), step.after, steps, f"no step of routing {routing.product!r}")
            points_to(reader, (*there, "family"), [step.family], families, "no family of a resource")
        circle = cycle_of(routing)
        if circle:
            reader.say(
                (*here, "steps"), f"routing {routing.product!r} goes round in a circle: {' > '.join(circle)}"
            )


def cycle_of(routing: Routing) -> Sequence[str]:
    """Return steps that wait for each other, in a circle; nothing if there are none."""
    known = {step.name for step in routing.steps}
    try:
        TopologicalSorter(
            {step.name: [each for each in step.after if each in known] for step in routing.steps}
        ).prepare()
    except CycleError as error:
        return list(error.args[1])
    return ()


def _calendar(reader: Reader, calendar: Calendar, at: Path, *, new: bool) -> None:
    if not calendar.hours:
        return
    try:
        Window(hours=calendar.hours, quiet=calendar.breaks, time_zone=calendar.time_zone)
    except InvalidInput as error:
        hint = f" ({error.hint})" if error.hint else ""
        reader.say((*at, "hours"), f"calendar {calendar.name!r}: {error.message}{hint}")
    for day in calendar.closed:
        try:
            year = date.fromisoformat(day).year
            known = not new or year in CLOSED_YEARS
        except ValueError:
            known = False
        if not known:
            reader.say(
                (*at, "closed"), f"calendar {calendar.name!r}: {day!r} is no day like 2026-12-25", text=day
            )


def _one_path_each(reader: Reader, structure: Structure) -> None:
    """Two things of one name would share their parameters."""
    seen: dict[tuple[str, ...], str] = {}
    for path, kind, _ in structure.things():
        if path in seen and seen[path] != kind:
            reader.say((), f"{path_text(path)} is a {seen[path]} and a {kind}: give them names of their own")
        seen[path] = kind


def _once(reader: Reader, at: Path, names: Iterable[str], word: str) -> None:
    listed = [name for name in names if name]
    for name in sorted({each for each in listed if listed.count(each) > 1}):
        reader.say(at, f"{word} {name!r} stands twice", text=name.rpartition("/")[2])
